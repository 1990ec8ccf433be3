"""Argilla's and Orca's, with an input."""

from collections.abc import Iterable

from preference_study.errors import BadInput
from preference_study.formats import Format
from preference_study.formats._rows import SYSTEM, Row, Source, two_sides

COLUMNS = ("input", "chosen", "rejected")


def rows(source: Source) -> Iterable[Row]:
    """The rows; beside an instruction, as Alpaca has it, an input is only a part of the prompt."""
    if "instruction" in source.table:
        raise BadInput(
            f"{source.name}: both 'instruction' and 'input' are there, and the prompt may be made of both: join them in a column "
            "'prompt', or name the one that is the prompt by data.columns"
        )
    return two_sides(*COLUMNS)(source)


FORMAT = Format(COLUMNS, 12, rows, SYSTEM)
