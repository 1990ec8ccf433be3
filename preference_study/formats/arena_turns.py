"""Chatbot Arena's 55,000 human preferences: of a conversation all the user's texts and all of each model's, as JSON lists."""

import json
from collections.abc import Iterable
from typing import Any

from preference_study.data.conversations import Turns
from preference_study.formats import Format
from preference_study.formats._rows import Row, Source, as_word

COLUMNS = ("prompt", "response_a", "response_b", "winner_model_a", "winner_model_b", "winner_tie")
YES = {"1", "True", "true"}


def rows(source: Source) -> Iterable[Row]:
    """A model's earlier answers are part of its conversation: where the two differ in them, the row is dropped for that. Where
    they do not, a row without a preference has the prompt that both models were asked."""
    for prompt, a, b, *won in zip(*map(source.cells, COLUMNS), strict=True):
        winners = [as_word(cell) in YES for cell in won]
        problem = "bad_preference" if sum(winners) != 1 else "tie" if winners[2] else None
        said, *both = (_texts(cell) for cell in (prompt, a, b))
        if said is None or None in both or any(len(texts) != len(said) for texts in both):
            yield Row(None, None, None, problem or "not_a_conversation")
            continue
        one, two = (_conversation(said, texts) for texts in both)
        if problem:
            yield Row(one[:-1] if one[:-1] == two[:-1] else None, None, None, problem)
        else:
            yield Row(None, *((one, two) if winners[0] else (two, one)), first=winners[0])


def _texts(cell: Any) -> list[str] | None:
    """The texts of a cell, a list or one written as JSON; a text by itself is one. None where it is neither."""
    if isinstance(cell, str) and cell.lstrip().startswith("["):
        try:
            cell = json.loads(cell)
        except ValueError:
            return None
    texts = [cell] if isinstance(cell, str) else list(cell) if isinstance(cell, (list, tuple)) else []
    return [text or "" for text in texts] if texts and all(text is None or isinstance(text, str) for text in texts) else None


def _conversation(said: list[str], answered: list[str]) -> Turns:
    return [
        {"role": role, "content": text}
        for both in zip(said, answered, strict=True)
        for role, text in zip(("user", "assistant"), both, strict=True)
    ]


FORMAT = Format(COLUMNS, 6, rows)
