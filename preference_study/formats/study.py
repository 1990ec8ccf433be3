"""The original study's: PKU-Alignment/align-anything, text-to-text."""

from preference_study.formats import Format
from preference_study.formats._two_responses import by_preference, meant

COLUMNS = ("question", "response_1", "response_2", "overall_response")

FORMAT = Format(COLUMNS, 1, lambda raw, source: by_preference(raw, COLUMNS, ("1", "2")), lambda columns: meant(columns, COLUMNS))
