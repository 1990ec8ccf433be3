"""PKU-SafeRLHF's."""

from preference_study.formats import Format
from preference_study.formats._two_responses import by_preference, meant

COLUMNS = ("prompt", "response_0", "response_1", "better_response_id")

FORMAT = Format(COLUMNS, 2, lambda raw, source: by_preference(raw, COLUMNS, ("0", "1")), lambda columns: meant(columns, COLUMNS))
