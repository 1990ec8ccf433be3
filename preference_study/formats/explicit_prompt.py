"""TRL's with an explicit prompt, of texts or of messages; and UltraFeedback's, whose two sides are whole conversations."""

from preference_study.formats import Format
from preference_study.formats._rows import two_sides

COLUMNS = ("prompt", "chosen", "rejected")

FORMAT = Format(COLUMNS, 10, two_sides(*COLUMNS))
