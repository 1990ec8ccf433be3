"""HelpSteer 2's preferences: a strength from -3, the first response is much better, to 3, the second is; 0 is a tie."""

from preference_study.formats import Format
from preference_study.formats._strength import by_strength

COLUMNS = ("prompt", "response_1", "response_2", "preference_strength")

FORMAT = Format(COLUMNS, 3, by_strength(*COLUMNS))
