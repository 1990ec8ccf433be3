"""What the formats share: rows of a chosen and a rejected side, and rows in which a column says which of two was preferred."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import pandas as pd

from preference_study.data.conversations import is_missing
from preference_study.errors import BadInput

# More of them than this are no slips, but a coding that is not the one meant.
STRAY_SHARE = 0.1
SYSTEM = ("system", "system_prompt")


class Row(NamedTuple):
    """What a row of raw data holds, as `pair_of` takes it; `problem` is why it is no pair, where its format can tell."""

    prompt: Any
    chosen: Any
    rejected: Any
    system: Any = None
    problem: str | None = None


class Source(NamedTuple):
    """Raw data on their way to pairs.

    Attributes:
        name: what to call them in an error.
        table: as `read_table_file` gives it.
        ranks: of a ranked list, the ranks of the responses that are chosen and rejected; -1 is the last.
    """

    name: str
    table: pd.DataFrame
    ranks: tuple[int, int] = (1, -1)

    def cells(self, column: str | None) -> list[Any]:
        """A column's cells; missing ones where there is no such column, or None is asked for."""
        return list(self.table[column]) if column is not None and column in self.table else [None] * len(self.table)

    def of_first(self, columns: Iterable[str | None]) -> list[Any]:
        """The cells of the first of several columns that is there."""
        return self.cells(next((name for name in columns if name in self.table), None))


Rows = Callable[[Source], Iterable[Row]]


def two_sides(prompt: str | None, chosen: str, rejected: str, system: Sequence[str | None] = SYSTEM) -> Rows:
    """Rows of which two columns hold the chosen and the rejected side.

    Args:
        prompt: its column; None where the conversations begin with it.
        system: columns that can hold a system turn; the first one that is there is taken.
    """

    def rows(source: Source) -> Iterable[Row]:
        return map(Row, *(source.cells(name) for name in (prompt, chosen, rejected)), source.of_first(system))

    return rows


def by_preference(
    prompt: str | None,
    first: str,
    second: str,
    preference: str,
    coding: Sequence[Any],
    tie: Sequence[Any] = (),
    *,
    wrong: Sequence[str] = (),
    system: Sequence[str | None] = SYSTEM,
) -> Rows:
    """Rows of two responses and a column that says which was preferred.

    Args:
        coding: the values that mean the first and the second response, as texts of whole numbers or words.
        tie: those that mean neither.
        wrong: a value of which a single one already says that another coding is meant.
        system: columns that can hold a system turn; the first one that is there is taken.
    """
    one, two = map(as_word, coding)
    ties = {as_word(value) for value in tie}

    def rows(source: Source) -> Iterable[Row]:
        found = [as_word(cell) for cell in source.cells(preference)]
        stray = Counter(word for word in found if word and word not in {one, two, *ties})
        if any(word in stray for word in wrong) or sum(stray.values()) > STRAY_SHARE * len(found):
            _refuse(source.name, Counter(filter(None, found)), prompt, (first, second), preference, (one, two))
        for prompt_, a, b, word, own in zip(
            source.cells(prompt), source.cells(first), source.cells(second), found, source.of_first(system), strict=True
        ):
            problem = "tie" if word in ties else "bad_preference" if word not in (one, two) else None
            yield Row(prompt_, *((a, b) if word == one else (b, a)), own, problem)

    return rows


def as_word(value: Any) -> str:
    """A preference as a text: 1, 1.0, '1' and ' 1 ' are all '1'; a missing one is ''. True is 'True', and no number."""
    text = "" if is_missing(value) else str(value).strip()
    text = text[:-2] if text.endswith(".0") else text
    return "0" if text == "-0" else text


def _refuse(source: str, found: Counter, prompt: str | None, responses: tuple, preference: str, meant: tuple) -> None:
    values = ", ".join(f"{word} ({count} rows)" for word, count in found.most_common(6))
    first, second = ([word for word, _ in found.most_common() if word] + ["<first>", "<second>"])[:2]
    raise BadInput(
        f"{source}: column {preference!r} holds {values}, where {meant[0]} is to mean {responses[0]!r} and {meant[1]} "
        f"{responses[1]!r}. "
        "Say under data in params.yaml which value means which response (and under tie which mean neither):\n"
        f"  columns: {{prompt: {prompt}, responses: [{', '.join(responses)}], preference: {preference}, "
        f"coding: [{', '.join(sorted((first, second)))}]}}  # the first response's value, then the second's"
    )
