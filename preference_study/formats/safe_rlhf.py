"""PKU-SafeRLHF's."""

from preference_study.formats import Format
from preference_study.formats._rows import by_preference

COLUMNS = ("prompt", "response_0", "response_1", "better_response_id")

FORMAT = Format(COLUMNS, 2, by_preference(*COLUMNS, ("0", "1"), wrong=("2",)))
