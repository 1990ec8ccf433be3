"""Alpaca's and others' with an instruction, and where it is there an input or a context that the instruction is about."""

from collections.abc import Iterable

from preference_study.formats import Format
from preference_study.formats._rows import ABOUT, Row, Source, are_whole, joined, two_sides

COLUMNS = ("instruction", "chosen", "rejected")


def rows(source: Source) -> Iterable[Row]:
    """The rows; what an instruction is about stands on the lines after it. Beside whole conversations it is only a label."""
    about = next((name for name in ABOUT if name in source.table), None)
    for row, more in zip(two_sides(*COLUMNS)(source), source.cells(about), strict=True):
        yield row._replace(prompt=None if are_whole(row.chosen, row.rejected) else joined(row.prompt, more))


FORMAT = Format(COLUMNS, 12, rows)
