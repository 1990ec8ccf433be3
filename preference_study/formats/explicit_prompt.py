"""TRL's with an explicit prompt, of texts or of messages; and UltraFeedback's, whose two sides are whole conversations."""

from preference_study.formats import Format
from preference_study.formats._rows import two_sides

COLUMNS = ("prompt", "chosen", "rejected")

# Tried before shapes of which a label may be called `answers` or `conversations`: where these three are there, they say it all.
FORMAT = Format(COLUMNS, 8, two_sides(*COLUMNS))
