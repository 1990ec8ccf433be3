"""Raw preferences -> data/prepared/{train,val}.parquet and metrics/data.json.

python -m stages.prepare_data

Raw files are read, and pairs written, some thousand rows at a time.
"""

from collections.abc import Iterable, Iterator, Set
from typing import NamedTuple

import pandas as pd
import pyarrow as arrow

from preference_study.analysis.statistics import mean, median, pairwise_accuracy, share
from preference_study.artifacts import PIECE, TableAside, open_table, write_json
from preference_study.boundary import run
from preference_study.data.conversations import Turns, prompt_key
from preference_study.data.duplicates import near_any
from preference_study.data.files import RawFile
from preference_study.data.pairs import REASONS, pair_id, usable_pairs
from preference_study.data.sampling import sample_pairs
from preference_study.errors import BadInput
from preference_study.formats import Pairs, pairs_in_pieces
from preference_study.params import Data, load_params


class Split(NamedTuple):
    """What became of one split's rows.

    Attributes:
        shape, left_out: as `Pairs` has them.
        rows: how many the raw file has.
        dropped: per reason the numbers of the rows, from 1.
        usable: of each pair that can be used its cluster and how many words its responses have, in order.
        first: of each row with a preference whether the chosen response stands first, 1 or 0, and its cluster.
    """

    shape: str
    left_out: list[str]
    rows: int
    dropped: dict[str, list[int]]
    usable: pd.DataFrame
    first: pd.DataFrame


def split_summary(split: Split, pairs: pd.DataFrame) -> dict:
    """What became of one split's rows, and the lengths of what is left of it.

    Args:
        pairs: of `split.usable`, those that are used.
    """
    return {
        "shape": split.shape,
        "columns_left_out": split.left_out,
        "rows_in": split.rows,
        "dropped": {reason: len(rows) for reason, rows in split.dropped.items()},
        "not_sampled": len(split.usable) - len(pairs),
        "rows_out": len(pairs),
        "clusters": pairs["cluster"].nunique(),
        "chosen_words": mean(pairs["chosen_words"], pairs["cluster"]),
        "chosen_words_median": median(pairs["chosen_words"], pairs["cluster"]),
        "rejected_words": mean(pairs["rejected_words"], pairs["cluster"]),
        "rejected_words_median": median(pairs["rejected_words"], pairs["cluster"]),
        # In how many rows with a preference the response that stands first is preferred; null where the data have no order.
        "first_wins": share(split.first["first"], split.first["cluster"]) if len(split.first) else None,
        "longer_wins": pairwise_accuracy(pairs["chosen_words"], pairs["rejected_words"], pairs["cluster"]),
    }


def pieces(path: str, data: Data) -> Iterator[Pairs]:
    """A raw file as pairs; raises `BadInput` where it cannot be read or is of no known shape."""
    return pairs_in_pieces(RawFile(path), path, data.columns, data.ranks, data.cluster)


def first_of(read: Pairs) -> pd.DataFrame:
    """Of each row with a preference whether the chosen response stands first in the data, 1 or 0, and its cluster."""
    first = pd.Series(read.first, index=read.table.index, dtype=object).dropna().astype(float)
    told = read.table.loc[first.index]
    cluster = told["cluster"] if "cluster" in told else told["prompt"].map(lambda prompt: pair_id(prompt_key(prompt)))
    return pd.DataFrame({"first": first, "cluster": cluster.astype(object)})


def usable(path: str, data: Data, aside: TableAside, guarded: Set[str] = frozenset(), near: Set[str] = frozenset()) -> Split:
    """Write those pairs of a raw file that can be used aside, and say what became of its rows.

    Args:
        guarded, near: prompts that a row must not have, as `usable_pairs` takes them.

    Raises:
        BadInput: no row can be used; or as `pieces`.
    """
    dropped: dict[str, list[int]] = {reason: [] for reason in REASONS}
    rows, seen, kept, first = 0, set(), [], []
    for read in pieces(path, data):
        pairs, lost = usable_pairs(read.table, guarded, near, seen)
        aside.write(pairs)
        rows += len(read.table)
        for reason in REASONS:
            dropped[reason] += lost[reason]
        kept.append(pairs[["cluster", "chosen_words", "rejected_words"]])
        first.append(first_of(read))
    print(f"{path}: read as {read.shape}" + (f"; left out: {', '.join(read.left_out)}" if read.left_out else ""))
    reasons = []
    for reason, numbers in dropped.items():
        if numbers:
            shown = ", ".join(map(str, numbers[:5])) + (", ..." if len(numbers) > 5 else "")
            reasons.append(f"{len(numbers)} of {rows} rows: {reason} (rows {shown})")
            print(f"{path}: dropped {reasons[-1]}")
    if not any(map(len, kept)):
        raise BadInput(f"{path}: no row can be used; dropped {'; '.join(reasons)}. {what_to_do(dropped)}")
    return Split(read.shape, read.left_out, rows, dropped, *(pd.concat(one, ignore_index=True) for one in (kept, first)))


def what_to_do(dropped: dict[str, list[int]]) -> str:
    """What the reason for which most rows were dropped means, and a remedy."""
    reason = max(dropped, key=lambda name: len(dropped[name]))
    remedy = {
        "prompt_in_validation": "split the data by prompt, so that no prompt is in both files",
        "prompt_near_validation": "split the data by prompt, or set data.drop_near_duplicates to false",
        "not_a_conversation": "a cell must be a text (bytes are none) or a list of messages, {role, content} each",
        "unknown_role": "a message's role must be system, user or assistant, or another word for one of them",
        "turns_in_text": "write prompts as lists of turns, {role, content} each, and responses without marks of a template",
        "bad_preference": "say under data.columns in params.yaml which value of the preference means what",
    }.get(reason, "docs/data.md has what a row must be, and data.columns in params.yaml says which column holds what")
    return f"{reason}: {REASONS[reason]}; {remedy}"


def prompts(batches: Iterable[arrow.RecordBatch]) -> Iterator[Turns]:
    """The prompts of pairs."""
    for batch in batches:
        yield from batch.column("prompt").to_pylist()


def main() -> None:
    params = load_params()
    data = params.data
    asides = {name: TableAside("data/prepared") for name in ("train", "val")}
    val = usable(data.val, data, asides["val"])
    if data.cluster and len(val.usable) > 1 and val.usable["cluster"].nunique() == 1:
        raise BadInput(
            f"{data.val}: all {len(val.usable)} usable rows have {val.usable['cluster'].iloc[0]!r} in column {data.cluster!r}, "
            "which says what was drawn together: of a single cluster no interval and no test can be given. Name another column "
            "as data.cluster, or null, which takes the prompt"
        )
    # The whole validation file guards the training split, whatever part of it is sampled for use.
    guarded = {prompt_key(prompt) for prompt in prompts(asides["val"].batches())}
    near: set[str] = set()
    if data.drop_near_duplicates:
        asked = (prompt for read in pieces(data.train, data) for prompt in read.table["prompt"].dropna())
        near = near_any(asked, prompts(asides["val"].batches()), data.near_duplicate)
    train = usable(data.train, data, asides["train"], guarded, near)
    metrics, both = {}, []
    for name, split, limit in (("train", train, data.max_train), ("val", val, data.max_val)):
        used, path = sample_pairs(split.usable, limit, data.seed), f"data/prepared/{name}.parquet"
        asides[name].write_some(path, used.index.to_numpy())
        print(f"{path}: {len(used)} pairs")
        metrics[name] = split_summary(split, used)
        both.append({prompt_key(prompt) for prompt in prompts(open_table(path).iter_batches(PIECE, columns=["prompt"]))})
    write_json("metrics/data.json", metrics | {"shared_prompts": len(both[0] & both[1])})


if __name__ == "__main__":
    run(main)
