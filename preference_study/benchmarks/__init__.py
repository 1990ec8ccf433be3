"""The shapes that benchmarks of reward models come in, one file each: where a row has its prompt and responses, and how a judge's
scores of them count.

A new shape is a file here with an entry `SHAPE`. The first one, by `order`, whose columns are all there is taken.
"""

import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from preference_study.benchmarks._rows import Item, subset_of
from preference_study.benchmarks._rules import Outcome
from preference_study.data.conversations import Unusable, pair_of, prompt_key
from preference_study.data.files import read_table_file
from preference_study.data.pairs import beside_texts, pair_id, system_column
from preference_study.errors import BadInput
from preference_study.formats import Source, recognised
from preference_study.registry import entries


@dataclass(frozen=True)
class Shape:
    """A shape of benchmarks.

    Attributes:
        columns: those it is recognised by.
        order: shapes of a smaller one are tried first.
        items: its rows, in order.
        section: the section that a subset belongs to; raises KeyError where the benchmark has no such subset.
        needs: the subsets, or sections, that the published scores need.
        outcome: (rows as from `read_benchmark`, a judge's scores of each row's responses) -> what they come to.
        rule: how ties count, and what the published scores are, in a sentence for the page.
        lists: whether it is recognised only where `chosen` holds lists of texts; preferences may have the same columns.
    """

    columns: tuple[str, ...]
    order: int
    items: Callable[[Source], Iterable[Item]]
    section: Callable[[str], str]
    needs: tuple[str, ...]
    outcome: Callable[[pd.DataFrame, Sequence[np.ndarray]], Outcome]
    rule: str
    lists: bool = False


SHAPES: dict[str, Shape] = dict(sorted(entries(sys.modules[__name__], "SHAPE").items(), key=lambda item: item[1].order))
PREFERENCES = "preferences"


class Benchmark(NamedTuple):
    """A benchmark as it was read.

    Attributes:
        shape: the name of its shape.
        rows: id (file and row), cluster, subset, section, part, prompt (turns), responses (texts) and correct (a truth value a
            response): those that can be used, in order.
        dropped: per reason the ids of the rows that cannot.
    """

    shape: str
    rows: pd.DataFrame
    dropped: dict[str, list[str]]


def read_benchmark(path: str, shape: str | None = None) -> Benchmark:
    """Read a benchmark's file, or its folder of files of one shape.

    Args:
        path: a file, or a folder whose files' names say their subset, where they have no column for it.
        shape: the name of its shape; None recognises it by its columns.

    Raises:
        BadInput: a file cannot be read, is of no known shape or of another one than the first, or holds a row that does not fit
            its shape, or is there twice where a shape has one of its kind; or no row can be used.
    """
    files, found, dropped = _files(path), [], {}
    for file in files:
        raw = read_table_file(file)
        shape = shape or _recognised(raw, str(file))
        rows, unusable = _usable(raw, file, shape)
        found += rows
        for reason, ids in unusable.items():
            dropped[reason] = [*dropped.get(reason, []), *ids]
    if not found:
        reasons = "; ".join(f"{len(ids)} rows: {reason} ({ids[0]} is the first)" for reason, ids in dropped.items())
        raise BadInput(f"{path}: read as {shape}, no row can be used; {reasons}: look at these rows, or name another shape")
    rows = pd.DataFrame(found)
    for _, same in rows[rows["part"].notna()].groupby(["cluster", "part"], sort=False):
        if len(same) > 1:
            one, other, *_ = same["id"]
            raise BadInput(
                f"{path}: rows {one} and {other} are both the {same['part'].iloc[0]} prompt of {same['cluster'].iloc[0]}, of "
                "which there is one: take one of them out"
            )
    return Benchmark(shape, rows, dropped)


def _files(path: str) -> list[Path]:
    if not Path(path).is_dir():
        return [Path(path)]
    files = sorted(file for file in Path(path).iterdir() if file.is_file() and not file.name.startswith("."))
    if not files:
        raise BadInput(f"{path}: the folder holds no file; put the benchmark's files there, one a subset")
    return files


def _recognised(raw: pd.DataFrame, source: str) -> str:
    for name, shape in SHAPES.items():
        there = shape.columns and set(raw.columns) >= set(shape.columns)
        # Of half the rows: one bad row makes no other shape, nor in CSV one answer that is written as a list.
        if there and (not shape.lists or raw["chosen"].map(_is_list).mean() >= 0.5):
            return name
    if recognised(raw):
        return PREFERENCES
    known = "; ".join(f"{name}: {', '.join(shape.columns)}" for name, shape in SHAPES.items() if shape.columns)
    raise BadInput(
        f"{source}: columns {', '.join(map(str, raw.columns))} are of no known shape of a benchmark ({known}) nor of "
        "preferences; rename them, or name its shape in params.yaml under benchmarks"
    )


def _is_list(cell: Any) -> bool:
    """Whether a cell is a list of texts, and not a conversation, which is one of messages."""
    return isinstance(cell, list) and any(isinstance(one, str) for one in cell)


def _usable(raw: pd.DataFrame, file: Path, name: str) -> tuple[list[dict], dict[str, list[str]]]:
    """The rows of one file that can be used, and per reason the ids of those that cannot."""
    shape, source = SHAPES[name], Source(str(file), raw)
    if missing := [column for column in shape.columns if column not in raw and column not in OPTIONAL]:
        raise BadInput(
            f"{file}: column {missing[0]!r} is missing, and a benchmark of shape {name} has {', '.join(shape.columns)}; name "
            "another shape in params.yaml under benchmarks, or leave it out"
        )
    rows, dropped = [], {}
    beside = zip(source.cells(system_column(raw)), beside_texts(raw), strict=True)
    for number, (item, (system, left_out)) in enumerate(zip(shape.items(source), beside, strict=True), start=1):
        id = f"{file.name}:{number}"
        subset = subset_of(item.subset, file)
        try:
            section = shape.section(subset)
        except KeyError:
            raise BadInput(
                f"{file}: row {number} is of subset {subset!r}, which a benchmark of shape {name} does not have; rename it, or "
                f"name another shape in params.yaml under benchmarks, such as {PREFERENCES}"
            ) from None
        try:
            if problem := item.problem or left_out:
                raise Unusable(problem)
            pairs = [pair_of(item.prompt, item.responses[0], other, system) for other in item.responses[1:]]
            turns, texts = pairs[0][0], [pairs[0][1], *(other for _, _, other in pairs)]
            right, wrong = (
                {text for text, is_right in zip(texts, item.correct, strict=True) if is_right is side} for side in (True, False)
            )
            if right & wrong:
                raise Unusable("equal_responses")
        except Unusable as error:
            dropped.setdefault(error.reason, []).append(id)
            continue
        cluster = item.cluster or pair_id(prompt_key(turns))
        own = {"id": id, "cluster": cluster, "subset": subset, "section": section, "part": item.part}
        rows.append(own | {"prompt": turns, "responses": texts, "correct": list(item.correct)})
    return rows, dropped


# A benchmark whose shape is named may come without the column that says the subset: the file's name says it then.
OPTIONAL = {"subset", "domain", "source"}
