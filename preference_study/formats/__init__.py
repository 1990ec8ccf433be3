"""The shapes that preference data come in, one file each: where a table of that shape has the prompt and both responses.

A new format is a file here with an entry `FORMAT`. The first one, by `order`, whose columns are all there is taken.
"""

import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import pandas as pd

from preference_study.data.conversations import Unusable, is_missing, pair_of
from preference_study.data.files import in_pieces
from preference_study.data.pairs import Table, beside_texts, cluster_labels, extra_columns, system_column
from preference_study.errors import BadInput
from preference_study.formats._rows import Row, Source, about_column, by_preference, two_sides, with_about
from preference_study.registry import entries
from preference_study.sections import Columns


@dataclass(frozen=True)
class Format:
    """A shape of preference data.

    Attributes:
        columns: those it is recognised by, as an error lists them.
        order: formats of a smaller one are tried first.
        rows: its rows, in order; the columns that they do not use travel with the pairs.
    """

    columns: tuple[str, ...]
    order: int
    rows: Callable[[Source], Iterable[Row]]


FORMATS: dict[str, Format] = dict(sorted(entries(sys.modules[__name__], "FORMAT").items(), key=lambda item: item[1].order))
PROMPTS = ("prompt", "question", "input")  # columns of a text that may be about another
MAPPING = """Say under data in params.yaml which columns hold what, for instance
  columns: {prompt: <column>, chosen: <column>, rejected: <column>}
or, where a column says which of two responses was preferred,
  columns: {prompt: <column>, responses: [<column>, <column>], preference: <column>, coding: [<first>, <second>]}"""


class Pairs(NamedTuple):
    """Raw data as pairs, all or a piece of them.

    Attributes:
        table: prompt (turns), chosen, rejected, problem (why a row cannot be used, or missing), cluster where a column was named
            for it, and the columns that travel, a row for each of the data's, in order, its index their number from 0.
        shape: the name of the format they came in; "data.columns" where the user said which columns hold what.
        left_out: the columns that do not travel.
        first: of each row whether its chosen response stands first in the data; None where that cannot be told, or it is no pair.
    """

    table: pd.DataFrame
    shape: str
    left_out: list[str]
    first: list[bool | None]


def to_pairs(
    raw: Table, source: str, columns: Columns | None = None, ranks: tuple[int, int] = (1, -1), cluster: str | None = None
) -> Pairs:
    """All of `pairs_in_pieces` together."""
    pieces = list(pairs_in_pieces(raw, source, columns, ranks, cluster))
    return pieces[0]._replace(
        table=pd.concat([piece.table for piece in pieces]), first=[one for piece in pieces for one in piece.first]
    )


def pairs_in_pieces(
    raw: Table, source: str, columns: Columns | None = None, ranks: tuple[int, int] = (1, -1), cluster: str | None = None
) -> Iterator[Pairs]:
    """Bring any recognised shape to prompt (turns), chosen and rejected (texts), keeping extra columns that can travel.

    What columns hold is decided on all of the data before the first piece.

    Args:
        raw: a table with at least one row.
        source: what to call the table in an error.
        columns: which columns hold what, where the user says so; None recognises the shape.
        ranks: as `Source` has them.
        cluster: the column that says which rows were drawn together; None leaves it to the prompt.

    Raises:
        BadInput: the columns are of no recognised shape, or hold what does not fit it, or the one for clusters is not there.
    """
    shape, found = ("data.columns", mapped(columns, raw, source)) if columns else _recognised(raw, source)
    system = columns.system if columns else system_column(raw)
    # An instruction travels whatever else it is: where it is of a kind that can be checked, the truth goes by it.
    extra, left_out = extra_columns(raw, {*found.columns, system} - {"instruction"})
    kinds = dict.fromkeys(("prompt", "chosen", "rejected", "problem", *(["cluster"] if cluster else [])), "object") | extra
    data = Source(source, raw, ranks)
    beside = [data.cells(system), beside_texts(raw)]
    travel = [*([cluster_labels(raw, cluster, source)] if cluster else []), *map(data.cells, extra)]
    number = 0
    for piece in in_pieces(zip(found.rows(data), *beside, *travel, strict=True)):
        rows, first = [], []
        for row, own, problem, *others in piece:
            pair, side = _pair(row, own, problem)
            rows.append((*pair, *(None if is_missing(cell) else cell for cell in others)))
            first.append(side)
        index = pd.RangeIndex(number, number + len(piece))
        cells = zip(kinds.items(), zip(*rows, strict=True), strict=True)
        table = pd.DataFrame({str(name): pd.Series(own, index, dtype=kind) for (name, kind), own in cells})
        yield Pairs(table, shape, left_out, first)
        number += len(piece)


def _pair(row: Row, system: Any, beside: str | None) -> tuple[tuple, bool | None]:
    """A row's prompt, chosen, rejected and why it cannot be used; and whether the chosen response stands first."""
    try:
        if problem := row.problem or beside:
            raise Unusable(problem)
        return (*pair_of(row.prompt, row.chosen, row.rejected, system), None), row.first
    except Unusable as error:
        return (None, None, None, error.reason), None


def recognised(raw: Table) -> tuple[str, Format] | None:
    """The name of the format that a table is in, and the format, with the column that its prompts are about where it has one."""
    name = next((name for name, found in FORMATS.items() if set(raw.columns) >= set(found.columns)), None)
    if name is None:
        return None
    found = FORMATS[name]
    about = about_column(raw, found.columns) if found.columns[0] in PROMPTS else None
    return name, replace(found, columns=(*found.columns, about), rows=with_about(found.rows, about)) if about else found


def _recognised(raw: Table, source: str) -> tuple[str, Format]:
    present = set(raw.columns)
    if found := recognised(raw):
        return found
    missing = {name: [column for column in found.columns if column not in present] for name, found in FORMATS.items()}
    nearest = min(FORMATS, key=lambda name: len(missing[name]) / len(FORMATS[name].columns))
    told = f"columns {', '.join(map(str, raw.columns))} are of no known shape"
    if len(missing[nearest]) < len(FORMATS[nearest].columns):
        told += f"; nearest is {', '.join(FORMATS[nearest].columns)}, of which column {missing[nearest][0]!r} is missing"
    raise BadInput(f"{source}: {told}. {MAPPING}")


def named_columns(columns: Columns) -> list[str]:
    """The columns that `data.columns` names."""
    one = (columns.prompt, columns.about, columns.system, columns.chosen, columns.rejected, columns.preference)
    return [*(name for name in one if name), *(columns.responses or [])]


def mapped(columns: Columns, raw: Table, source: str) -> Format:
    """The shape that `data.columns` describes; raises `BadInput` where a column that it names is not there."""
    named = named_columns(columns)
    for name in named:
        if name not in raw.columns:
            raise BadInput(f"{source}: data.columns names column {name!r}, and the file has {', '.join(map(str, raw.columns))}")
    if columns.responses is None:
        rows = two_sides(columns.prompt, columns.chosen, columns.rejected)
    else:
        rows = by_preference(columns.prompt, *columns.responses, columns.preference, columns.coding, columns.tie)
    return Format(tuple(named), 0, with_about(rows, columns.about))
