"""Argilla's and Orca's, with an input."""

from preference_study.formats import Format
from preference_study.formats._rows import two_sides

COLUMNS = ("input", "chosen", "rejected")

FORMAT = Format(COLUMNS, 13, two_sides(*COLUMNS))
