"""Chatbot Arena's conversations: two whole conversations, and which model won."""

from preference_study.formats import Format
from preference_study.formats._rows import by_preference

COLUMNS = ("conversation_a", "conversation_b", "winner")
TIES = ("tie", "tie (bothbad)", "bothbad", "both_bad")

FORMAT = Format(COLUMNS, 5, by_preference(None, *COLUMNS, ("model_a", "model_b"), TIES))
