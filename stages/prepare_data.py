"""Raw preferences -> data/prepared/{train,val}.parquet and metrics/data.json.

python -m stages.prepare_data
"""

import pandas as pd

from preference_study.analysis.statistics import mean, pairwise_accuracy
from preference_study.artifacts import write_json, write_table
from preference_study.data.files import read_table_file
from preference_study.data.pairs import usable_pairs
from preference_study.errors import BadInput
from preference_study.formats import to_pairs
from preference_study.params import load_params


def split_summary(pairs: pd.DataFrame, dropped: dict[str, list[int]], rows_in: int, usable: int) -> dict:
    """What became of one split's rows, and the lengths of what is left of it."""
    return {
        "rows_in": rows_in,
        "dropped": {reason: len(rows) for reason, rows in dropped.items()},
        "not_sampled": usable - len(pairs),
        "rows_out": len(pairs),
        "chosen_words": mean(pairs["chosen_words"]),
        "rejected_words": mean(pairs["rejected_words"]),
        "longer_wins": pairwise_accuracy(pairs["chosen_words"], pairs["rejected_words"]),
    }


def prepare(path: str, limit: int | None, seed: int, validation_prompts: set[str]) -> tuple[pd.DataFrame, dict]:
    """Read one split, drop what cannot be used, and sample at most `limit` rows of the rest.

    Raises:
        BadInput: the file cannot be read, is of no known shape, or has no usable row.
    """
    raw = read_table_file(path)
    usable, dropped = usable_pairs(to_pairs(raw, path), validation_prompts)
    for reason, rows in dropped.items():
        if rows:
            shown = ", ".join(map(str, rows[:5])) + (", ..." if len(rows) > 5 else "")
            print(f"{path}: dropped {len(rows)} of {len(raw)} rows: {reason} (rows {shown})")
    if usable.empty:
        raise BadInput(f"{path}: no row can be used; see the reasons above")
    pairs = usable if limit is None or limit >= len(usable) else usable.sample(limit, random_state=seed).sort_index()
    print(f"{path}: {len(pairs)} pairs")
    return pairs.reset_index(drop=True), split_summary(pairs, dropped, len(raw), len(usable))


def main() -> None:
    params = load_params()
    # The whole validation file guards the training split, whatever part of it is sampled for use.
    everything, _ = usable_pairs(to_pairs(read_table_file(params.data.val), params.data.val), set())
    prompts = set(everything["prompt"])
    train, train_summary = prepare(params.data.train, params.data.max_train, params.seed, prompts)
    val, val_summary = prepare(params.data.val, params.data.max_val, params.seed, set())
    shared = len(set(train["prompt"]) & set(val["prompt"]))
    write_table("data/prepared/train.parquet", train)
    write_table("data/prepared/val.parquet", val)
    write_json("metrics/data.json", {"train": train_summary, "val": val_summary, "shared_prompts": shared})


if __name__ == "__main__":
    main()
