"""What the formats share: rows of a chosen and a rejected side, and rows in which a column says which of two was preferred."""

import re
import textwrap
from collections import Counter
from collections.abc import Callable, Iterable, Sequence, Set
from itertools import repeat
from typing import Any, NamedTuple

import yaml

from preference_study import sections
from preference_study.data.conversations import Unusable, is_missing, sides_of
from preference_study.data.pairs import Table
from preference_study.errors import BadInput

# More of them than this are no slips, but a coding that is not the one meant.
STRAY_SHARE = 0.1
_WHOLE = re.compile(r"-?[0-9]+")
# Columns of a text that a prompt may be about. Where none of its cells is long it is a label, such as a topic.
ABOUT = ("input", "context")
LONG = 100  # characters
# Texts that are truth values in YAML where they stand without quotes.
_TRUTHS = {"true": "True", "yes": "True", "on": "True", "false": "False", "no": "False", "off": "False"}


class Row(NamedTuple):
    """What a row of raw data holds, as `pair_of` takes it.

    Attributes:
        prompt, chosen, rejected: a row that is no pair for its preference alone keeps its prompt, which can be answered.
        problem: why it is no pair, where its format can tell.
        first: whether the chosen response stands first in the data; None where they have no order of the two.
    """

    prompt: Any
    chosen: Any
    rejected: Any
    problem: str | None = None
    first: bool | None = None


class Source(NamedTuple):
    """Raw data on their way to pairs.

    Attributes:
        name: what to call them in an error.
        table: all of them.
        ranks: of a ranked list, the ranks of the responses that are chosen and rejected; -1 is the last.
    """

    name: str
    table: Table
    ranks: tuple[int, int] = (1, -1)

    def cells(self, column: str | None) -> Iterable[Any]:
        """A column's cells, to be gone through once; missing ones where None is asked for."""
        return repeat(None, len(self.table)) if column is None else self.table[column]


Rows = Callable[[Source], Iterable[Row]]


def two_sides(prompt: str | None, chosen: str, rejected: str) -> Rows:
    """Rows of which two columns hold the chosen and the rejected side; `prompt` is None where both begin with it."""
    return lambda source: map(Row, *(source.cells(name) for name in (prompt, chosen, rejected)))


def about_column(table: Table, columns: Sequence[str]) -> str | None:
    """The column of a text that a table's prompts are about, where one beside the named columns holds long texts."""
    there = [name for name in ABOUT if name in table and name not in columns]
    return next((name for name in there if any(isinstance(cell, str) and len(cell) > LONG for cell in table[name])), None)


def with_about(rows: Rows, about: str | None) -> Rows:
    """The rows with what a prompt is about on the lines after it; beside whole conversations it is a label."""

    def joint(source: Source) -> Iterable[Row]:
        for row, more in zip(rows(source), source.cells(about), strict=True):
            yield row if are_whole(row.chosen, row.rejected) else row._replace(prompt=joined(row.prompt, more))

    return joint if about else rows


def are_whole(chosen: Any, rejected: Any) -> bool:
    """Whether a side is a whole conversation, which has the user's turns too."""
    try:
        return any(turn["role"] == "user" for turns in sides_of(chosen, rejected) for turn in turns)
    except Unusable:
        return False  # the row is dropped for it, whatever its prompt


def joined(prompt: Any, about: Any) -> Any:
    """Both as one text, unless the prompt has it already; what is no text stays as it is."""
    both = isinstance(prompt, str) and isinstance(about, str) and about.strip()
    return f"{prompt.strip()}\n{about.strip()}" if both and about.strip() not in prompt else prompt


def as_word(value: Any) -> str:
    """A preference as a text, as `sections.as_word`; a missing one is ''."""
    return "" if is_missing(value) else sections.as_word(value)


def by_preference(
    prompt: str | None,
    first: str,
    second: str,
    preference: str,
    coding: Sequence[Any],
    tie: Sequence[Any] = (),
    *,
    wrong: Sequence[str] = (),
    word: Callable[[Any], str] = as_word,
) -> Rows:
    """Rows of two responses and a column that says which was preferred.

    Args:
        coding: the values that mean the first and the second response, as texts of whole numbers or words.
        tie: those that mean neither.
        wrong: a value of which a single one already says that another coding is meant.
        word: what a cell of the preference says, as a text that may stand in the coding.
    """
    one, two = map(as_word, coding)
    ties = {as_word(value) for value in tie}

    def rows(source: Source) -> Iterable[Row]:
        found = Counter(map(word, source.cells(preference)))
        stray = {said: count for said, count in found.items() if said and said not in {one, two, *ties}}
        if any(said in stray for said in wrong) or sum(stray.values()) > STRAY_SHARE * found.total():
            del found[""]
            # Beside both values of the coding some few wrong ones are slips.
            allowed = STRAY_SHARE * found.total() if {one, two} <= {*found} else 0
            own = _coding({*found} - ties, (one, two), (first, second), is_another=sum(found[said] for said in wrong) > allowed)
            _refuse(source.name, found, prompt, (first, second), preference, (one, two), own, sorted(ties & {*found}))
        for asked, a, b, cell in zip(*(source.cells(name) for name in (prompt, first, second, preference)), strict=True):
            said = word(cell)
            problem = "tie" if said in ties else "bad_preference" if said not in (one, two) else None
            yield Row(asked, *((a, b) if said == one else (b, a)), problem, None if problem else said == one)

    return rows


def _coding(values: Set[str], meant: tuple[str, str], responses: tuple[str, str], *, is_another: bool) -> list[str]:
    """The coding that values of a preference can be said to have; where that is not known, a place says what belongs there.

    Args:
        values: those that are there, but for ties.
        meant: the values that were to mean the first and the second response.
        is_another: whether the values say that another coding is meant.
    """
    known = [one if one in values and not is_another else None for one in meant]
    if not any(known) and not is_another:
        known = [next((said for said in sorted(values) if _TRUTHS.get(said.lower()) == one), None) for one in meant]
    if not any(known):
        counted = [("0", "1"), ("1", "2")] if is_another else []
        letters = [("A", "B"), ("a", "b")] if responses[0] < responses[1] else []
        known = list(next((pair for pair in (responses, *letters, *counted) if values == {*pair}), known))
    elif len(values) == 2:
        # Of two numbers that differ in their sign alone one means what the other does not.
        rest = values - {*known}
        known = [one or next(iter(rest & {_minus(other)}), None) for one, other in zip(known, reversed(known), strict=True)]
    return [one or f"<the value that means {name!r}>" for one, name in zip(known, responses, strict=True)]


def _minus(word: str | None) -> str | None:
    """A whole number with the other sign, as a text; None of other texts."""
    return str(-int(word)) if word and _WHOLE.fullmatch(word) else None


def _refuse(
    source: str, found: Counter, prompt: str | None, responses: tuple, preference: str, meant: tuple, coding: list, ties: list
) -> None:
    values = ", ".join(f"{word} ({count} rows)" for word, count in found.most_common(6))
    coding, ties = ([int(word) if _WHOLE.fullmatch(word) else word for word in words] for words in (coding, ties))
    mapping = {"prompt": prompt, "responses": list(responses), "preference": preference, "coding": coding, "tie": ties or None}
    mapping = {name: value for name, value in mapping.items() if value is not None}
    quoted = ""
    if "True" in meant and any(isinstance(word, str) and word.lower() in _TRUTHS for word in coding):
        quoted = "; without quotes YAML takes such words for truth values"
    written = yaml.safe_dump({"columns": mapping}, default_flow_style=None, sort_keys=False, width=1000, allow_unicode=True)
    raise BadInput(
        f"{source}: column {preference!r} holds {values}, where {meant[0]} is to mean {responses[0]!r} and {meant[1]} "
        f"{responses[1]!r}. Say under data in params.yaml which value means the first response, then which the second (and under "
        f"tie which mean neither){quoted}:\n{textwrap.indent(written.rstrip(), '  ')}"
    )
