"""The original study's: PKU-Alignment/align-anything, text-to-text."""

from preference_study.formats import Format
from preference_study.formats._rows import by_preference

COLUMNS = ("question", "response_1", "response_2", "overall_response")

FORMAT = Format(COLUMNS, 1, by_preference(*COLUMNS, ("1", "2"), wrong=("0",)))
