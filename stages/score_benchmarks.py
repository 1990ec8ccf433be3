"""A reward model's rewards of a benchmark's responses -> data/scores/benchmarks/<name>/<variant>.json.

python -m preference_study.launch score_benchmarks standard llmbar

All responses of a row see the same prompt. One that is too long is shortened as in training, so that the row's longest response
has room.
"""

import pandas as pd
from transformers import PreTrainedTokenizerBase

from preference_study.artifacts import read_table, write_json
from preference_study.boundary import run
from preference_study.models.language_models import load_tokenizer, rewards
from preference_study.models.reward_models import load_judge
from preference_study.models.tokens import encode_pairs
from preference_study.params import load_params
from preference_study.processes import check_processes


def responses(rows: pd.DataFrame, tokenizer: PreTrainedTokenizerBase) -> pd.DataFrame:
    """A row a response: id, response (its place), prompt, chosen (its text), rejected (the row's longest response, in tokens)."""

    def tokens(text: str) -> int:
        return len(tokenizer(text, add_special_tokens=False)["input_ids"])

    return pd.DataFrame(
        {"id": row.id, "response": place, "prompt": row.prompt, "chosen": text, "rejected": longest}
        for row in rows.itertuples()
        for longest in [max(row.responses, key=tokens)]
        for place, text in enumerate(row.responses)
    )


def main(variant: str, name: str) -> None:
    params = load_params()
    state = check_processes(params.launch.processes)
    tokenizer = load_tokenizer("models/base")
    table = responses(read_table(f"data/benchmarks/{name}.parquet"), tokenizer)
    encoded = encode_pairs(tokenizer, table, params.reward.max_length)
    model = load_judge("models/base", f"models/reward/{variant}")
    sequences = [pair.prompt_ids + pair.chosen_ids for pair in encoded]
    scores = rewards(model, sequences, **params.scoring.model_dump(), description=f"{name}, {variant}")
    if state.is_main_process:
        table = table[["id", "response"]].assign(reward=scores, shortened=[pair.truncated for pair in encoded])
        write_json(f"data/scores/benchmarks/{name}/{variant}.json", table.to_dict("records"))


if __name__ == "__main__":
    run(main)
