"""ShareGPT's: the conversation so far beside both answers; messages have `from` and `value`, or role and content."""

from preference_study.formats import Format
from preference_study.formats._rows import two_sides

COLUMNS = ("conversations", "chosen", "rejected")

FORMAT = Format(COLUMNS, 10, two_sides(*COLUMNS))
