"""Stanford Human Preferences: a post and two comments; 1 says that A was preferred, 0 that B was."""

from preference_study.formats import Format
from preference_study.formats._rows import by_preference

COLUMNS = ("history", "human_ref_A", "human_ref_B", "labels")

FORMAT = Format(COLUMNS, 7, by_preference(*COLUMNS, ("1", "0"), wrong=("2",)))
