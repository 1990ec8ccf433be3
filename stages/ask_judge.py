"""A judge's preferences between base's and the policies' responses, and on the validation pairs -> data/judgements/<judge>.json.

python -m preference_study.launch ask_judge skywork
"""

from statistics import mean
from typing import Any

import numpy as np
import pandas as pd

from preference_study.artifacts import read_dicts, read_json, read_table, write_json
from preference_study.boundary import run
from preference_study.errors import BadInput
from preference_study.judges import cases, judgement, seen_texts, some_cases
from preference_study.judges.endpoint import for_first, label_probabilities, read_asked, request, request_key, unlabelled
from preference_study.judges.models import judge_by_labels, judge_by_rewards, load_language_model, load_reward_model
from preference_study.judges.pairwise import both_orders, questions
from preference_study.models.language_models import load_tokenizer
from preference_study.models.reward_models import load_judge
from preference_study.params import load_params
from preference_study.processes import check_processes


def answered(settings: dict[str, Any], table: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, float | None]]:
    """The cases by what an endpoint answered, and what is told of how it judged.

    Returns:
        The table, without a preference where an order's answer names no label; and {questions, no_label, cut_off,
        label_probability}: how many there are, to how many it named no label, how many answers answer_tokens cut off; the mean
        probability that an answer begins with a label, null where it gave no log-probabilities.

    Raises:
        BadInput: of the validation pairs, or of a policy's responses, not one is answered.
    """
    kept, asked = read_asked(f"data/asked/{settings['name']}.jsonl"), questions(settings["question"], table)
    keys = [request_key(settings["base_url"], request(settings, text)) for text in asked["question"]]
    if missing := [key for key in keys if key not in kept]:
        raise BadInput(f"data/asked/{settings['name']}.jsonl lacks the answers to {len(missing)} questions: run dvc repro")
    answers = [kept[key]["answer"] for key in keys]
    found = np.array([for_first(answer) for answer in answers], dtype=float)
    judged = both_orders(table, asked, found)
    for policy, none in judged["preference"].isna().groupby(table["policy"].fillna("")):
        if none.all():
            of = table.index[asked["case"]].isin(none.index)
            raise BadInput(
                f"judge {settings['name']} named a label in both orders of not one "
                f"{f'response of {policy}' if policy else 'validation pair'}; "
                + unlabelled(answers[np.flatnonzero(of & np.isnan(found))[0]])
            )
    labels = [sum(both) for both in map(label_probabilities, answers) if both is not None]
    return judged, {
        "questions": len(found),
        "no_label": int(np.isnan(found).sum()),
        "cut_off": sum(answer.get("finish_reason") == "length" for answer in answers),
        "label_probability": mean(labels) if labels else None,
    }


def main(name: str) -> None:
    params = load_params()
    state = check_processes(params.launch.processes)
    settings = read_json(f"data/judges/{name}.json")
    kind, batching = settings["kind"], params.scoring.model_dump() | {"description": name}
    responses = {policy: read_dicts(f"data/responses/generated/{policy}.parquet") for policy in ("base", *params.policy.methods)}
    table = cases(responses, read_table("data/prepared/val.parquet"))
    if "question" in settings:
        table = some_cases(table, settings["max_prompts"], settings["max_pairs"], settings["seed"])
    if kind == "endpoint":
        table, counts = answered(settings, table)
    elif kind == "language_model":
        model, tokenizer = load_language_model(settings)
        table, counts = judge_by_labels(model, tokenizer, table, settings["question"], settings["max_length"], **batching)
    elif kind == "reward_model":
        model, tokenizer = load_reward_model(settings)
        table, short = judge_by_rewards(model, tokenizer, table, settings["max_length"], settings["until"], **batching)
        counts = {"shortened": short}
    else:
        folder = f"models/judges/{name}/{settings['variant']}"
        model, tokenizer = load_judge("models/base", folder, settings["aggregate"]), load_tokenizer("models/base")
        table, short = judge_by_rewards(model, tokenizer, table, settings["max_length"], "eos", **batching)
        counts = {"shortened": short, "train_pairs": read_json(f"models/judges/{name}/counts.json")["train_pairs"]}
    if state.is_main_process:
        write_json(f"data/judgements/{name}.json", judgement(name, kind, table, **counts) | {"texts": seen_texts(table)})


if __name__ == "__main__":
    run(main)
