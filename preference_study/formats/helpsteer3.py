"""HelpSteer 3's preferences: the conversation so far as messages, and a strength as HelpSteer 2 has it."""

from preference_study.formats import Format
from preference_study.formats._strength import by_strength

COLUMNS = ("context", "response1", "response2", "overall_preference")

FORMAT = Format(COLUMNS, 4, by_strength(*COLUMNS))
