"""Argilla's and Orca's, with a question."""

from preference_study.formats import Format
from preference_study.formats._rows import two_sides

COLUMNS = ("question", "chosen", "rejected")

FORMAT = Format(COLUMNS, 11, two_sides(*COLUMNS))
