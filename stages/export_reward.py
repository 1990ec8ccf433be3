"""A reward model as other programs load it -> models/export/reward/<variant>, and how it compares with the study's own.

python -m stages.export_reward standard

Rewards of base's responses to the first of the generation prompts, of those that fit whole into reward.max_length.
"""

from datetime import datetime
from pathlib import Path

import numpy as np
import pandas as pd

from preference_study.analysis.parity import beyond, reward_parity
from preference_study.artifacts import read_dicts, read_json, whole_folder, write_json
from preference_study.boundary import run
from preference_study.errors import BadInput, BadModel
from preference_study.export import not_exported
from preference_study.export.card import reward_card
from preference_study.export.folders import sizes, write_reward
from preference_study.export.licence import licence_of
from preference_study.export.plain import PlainReward
from preference_study.models.language_models import load_reward, load_tokenizer, rewards
from preference_study.models.tokens import encode_pairs, names_special
from preference_study.params import Params, load_params
from preference_study.report.origin import origin
from preference_study.variants import VARIANTS

ANSWERED = "data/responses/generated/base.parquet"


def parity(params: Params, name: str, folder: Path) -> dict:
    """An exported folder against the study's own reward model.

    Raises:
        BadInput: no response fits whole.
        BadModel: they differ beyond the bounds.
    """
    answered = pd.DataFrame(read_dicts(ANSWERED))
    pairs = answered.assign(chosen=answered["response"], rejected=answered["response"])
    tokenizer = load_tokenizer("models/base")
    tokens = encode_pairs(tokenizer, pairs, params.reward.max_length)
    said = [
        [*(turn["content"] for turn in prompt), text] for prompt, text in zip(pairs["prompt"], pairs["response"], strict=True)
    ]
    # The study alone shortens, and reads the names of special tokens as letters.
    alike = [not pair.truncated and not names_special(tokenizer, texts) for pair, texts in zip(tokens, said, strict=True)]
    whole = np.flatnonzero(alike)[: params.export.prompts].tolist()
    if not whole:
        raise BadInput(
            f"{ANSWERED}: no prompt and response fit into reward.max_length {params.reward.max_length} and name no special "
            "token, so nothing can be compared with the exported reward model: raise it, or take other prompts"
        )
    sequences = [tokens[place].prompt_ids + tokens[place].chosen_ids for place in whole]
    answered = answered.iloc[whole]
    own = load_reward("models/base", f"models/reward/{name}")
    scoring = params.scoring.model_dump() | {"description": f"{name}, the study's own"}
    as_scored = rewards(own, sequences, **scoring)
    exact = rewards(own.float(), sequences, **scoring)
    del own
    exported = PlainReward(folder)
    conversations = [
        [*prompt, {"role": "assistant", "content": response}]
        for prompt, response in zip(answered["prompt"], answered["response"], strict=True)
    ]
    of_texts, batch = exported.ids(conversations), params.scoring.max_batch
    compared = reward_parity(
        as_scored, exact, exported.rewards(sequences, batch), exported.rewards(of_texts, batch),
        [a == b for a, b in zip(sequences, of_texts, strict=True)], list(answered["cluster"]),
    )  # fmt: skip
    if wrong := beyond(compared):
        raise BadModel(
            f"{name}: the exported reward model is not the study's own: {'; '.join(wrong)}; nothing was exported. Run dvc repro "
            "--force on the stages that make models/base and the reward model, or report it"
        )
    return compared


def main(name: str) -> None:
    params = load_params()
    if reason := not_exported(name):
        raise BadModel(reason)
    section, target = params.reward, Path("models/export/reward") / name
    with whole_folder(target) as made:
        write_reward(made, load_reward("models/base", f"models/reward/{name}"), load_tokenizer("models/base"))
        compared = parity(params, name, made)
        licence = licence_of(params.model.name, params.model.revision)
        shared = {key: value for key, value in section.model_dump().items() if not isinstance(value, dict)}
        for key in ("variants", "judge", "save_steps"):  # what it does not come out by
            del shared[key]
        shared |= {f"{name}.{key}": value for key, value in section.own(name).model_dump().items()}
        model = {"name": params.model.name, "revision": params.model.revision}
        data = {"training pairs": params.data.train, "validation pairs": params.data.val}
        card = reward_card(
            variant=name, model=model, licence=licence,
            run_of=origin(Path(), data, params.seed, datetime.now().astimezone()),
            data=read_json("metrics/data.json"),
            parameters={f"reward.{key}": value for key, value in shared.items()},
            trained=read_json(f"metrics/train_reward/{name}.json"), judge=section.judge, reward=read_json("metrics/reward.json"),
            of_variant=read_json("metrics/variants.json").get(name), max_length=section.max_length, parity=compared,
        )  # fmt: skip
        (made / "README.md").write_text(card, encoding="utf-8")
    write_json(f"metrics/export/reward/{name}.json", compared | {"licence": licence, "bytes": sizes(target)})


if __name__ == "__main__":
    run(main, VARIANTS)
