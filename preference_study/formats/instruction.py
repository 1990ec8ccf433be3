"""Alpaca's and others' with an instruction, and where it is there an input or a context that the instruction is about."""

from collections.abc import Iterable
from typing import Any

from preference_study.data.conversations import Unusable, sides_of
from preference_study.formats import Format
from preference_study.formats._rows import Row, Source, two_sides

COLUMNS = ("instruction", "chosen", "rejected")
ABOUT = ("input", "context")


def rows(source: Source) -> Iterable[Row]:
    """The rows; what an instruction is about stands on the lines after it. Beside whole conversations it is only a label."""
    about = next((name for name in ABOUT if name in source.table), None)
    for row, more in zip(two_sides(*COLUMNS)(source), source.cells(about), strict=True):
        yield row._replace(prompt=None if _are_whole(row.chosen, row.rejected) else _joined(row.prompt, more))


def _are_whole(chosen: Any, rejected: Any) -> bool:
    """Whether a side is a whole conversation, which has the user's turns too."""
    try:
        return any(turn["role"] == "user" for turns in sides_of(chosen, rejected) for turn in turns)
    except Unusable:
        return False  # the row is dropped for it, whatever its prompt


def _joined(instruction: Any, about: Any) -> Any:
    """Both as one text; what is no text stays as it is."""
    both = isinstance(instruction, str) and isinstance(about, str) and about.strip()
    return f"{instruction.strip()}\n{about.strip()}" if both else instruction


FORMAT = Format(COLUMNS, 12, rows)
