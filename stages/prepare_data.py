"""Raw preferences -> data/prepared/{train,val}.parquet and metrics/data.json.

python -m stages.prepare_data
"""

from collections.abc import Set

import pandas as pd

from preference_study.analysis.statistics import mean, median, pairwise_accuracy, share
from preference_study.artifacts import write_json, write_table
from preference_study.boundary import run
from preference_study.data.conversations import prompt_key
from preference_study.data.duplicates import near_any
from preference_study.data.files import read_table_file
from preference_study.data.pairs import sample_pairs, usable_pairs
from preference_study.errors import BadInput
from preference_study.formats import Pairs, to_pairs
from preference_study.params import Data, load_params


def first_wins(read: Pairs) -> dict | None:
    """In how many rows with a preference the response that stands first is preferred; null where the data have no order."""
    first = pd.Series(read.first, index=read.table.index, dtype=object).dropna()
    if first.empty:
        return None
    told = read.table.loc[first.index]
    return share(first.astype(float), told["cluster"] if "cluster" in told else told["prompt"].map(prompt_key))


def split_summary(pairs: pd.DataFrame, dropped: dict[str, list[int]], read: Pairs, usable: int) -> dict:
    """What became of one split's rows, and the lengths of what is left of it."""
    return {
        "shape": read.shape,
        "columns_left_out": read.left_out,
        "rows_in": len(read.table),
        "dropped": {reason: len(rows) for reason, rows in dropped.items()},
        "not_sampled": usable - len(pairs),
        "rows_out": len(pairs),
        "clusters": pairs["cluster"].nunique(),
        "chosen_words": mean(pairs["chosen_words"], pairs["cluster"]),
        "chosen_words_median": median(pairs["chosen_words"], pairs["cluster"]),
        "rejected_words": mean(pairs["rejected_words"], pairs["cluster"]),
        "rejected_words_median": median(pairs["rejected_words"], pairs["cluster"]),
        "first_wins": first_wins(read),
        "longer_wins": pairwise_accuracy(pairs["chosen_words"], pairs["rejected_words"], pairs["cluster"]),
    }


def read_pairs(path: str, data: Data) -> Pairs:
    """A raw file as pairs; raises `BadInput` where it cannot be read or is of no known shape."""
    return to_pairs(read_table_file(path), path, data.columns, data.ranks, data.cluster)


def prepare(
    path: str, read: Pairs, limit: int | None, seed: int, validation_prompts: set[str], near_validation: Set[str] = frozenset()
) -> tuple[pd.DataFrame, dict]:
    """Drop what cannot be used of one split, as `usable_pairs` does, and sample at most `limit` rows of the rest.

    Raises:
        BadInput: no row can be used.
    """
    rows_in = len(read.table)
    usable, dropped = usable_pairs(read.table, validation_prompts, near_validation)
    told = f"{path}: read as {read.shape}"
    print(told + (f"; left out: {', '.join(read.left_out)}" if read.left_out else ""))
    reasons = []
    for reason, rows in dropped.items():
        if rows:
            shown = ", ".join(map(str, rows[:5])) + (", ..." if len(rows) > 5 else "")
            reasons.append(f"{len(rows)} of {rows_in} rows: {reason} (rows {shown})")
            print(f"{path}: dropped {reasons[-1]}")
    if usable.empty:
        raise BadInput(f"{path}: no row can be used; dropped {'; '.join(reasons)}")
    pairs = sample_pairs(usable, limit, seed)
    print(f"{path}: {len(pairs)} pairs")
    return pairs.reset_index(drop=True), split_summary(pairs, dropped, read, len(usable))


def main() -> None:
    params = load_params()
    data = params.data
    train, val = (read_pairs(path, data) for path in (data.train, data.val))
    # The whole validation file guards the training split, whatever part of it is sampled for use.
    of_validation = list(usable_pairs(val.table, set())[0]["prompt"])
    guarded = {prompt_key(prompt) for prompt in of_validation}
    near = near_any(train.table["prompt"].dropna(), of_validation, data.near_duplicate) if data.drop_near_duplicates else set()
    train, train_summary = prepare(data.train, train, data.max_train, data.seed, guarded, near)
    val, val_summary = prepare(data.val, val, data.max_val, data.seed, set())
    prompts = [{prompt_key(prompt) for prompt in split["prompt"]} for split in (train, val)]
    write_table("data/prepared/train.parquet", train)
    write_table("data/prepared/val.parquet", val)
    metrics = {"train": train_summary, "val": val_summary, "shared_prompts": len(prompts[0] & prompts[1])}
    write_json("metrics/data.json", metrics)


if __name__ == "__main__":
    run(main)
