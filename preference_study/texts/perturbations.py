"""Changes to an answer's form, small and large, after which a reward model is asked again.

Together they are the set U of "max over policies of min over perturbations U of J(policy, U)".
"""

import random
import re
from collections.abc import Callable
from dataclasses import dataclass

from preference_study.texts.instructions import sentences
from preference_study.texts.words import words

EMPTY_WORDS = ("really", "basically", "actually", "simply")
PADDED = 5  # an empty word after so many
CUT = 0.4  # share of the words
MISSPELT, SHORTEST = 10, 4  # one word of so many; letters of the shortest one
CONFIDENT = "I am absolutely certain of this."
HOPE = "I hope this helps."

# What a line of Markdown begins with: an item of a list, a heading, a quotation.
_MARKER = re.compile(r"[ \t]*(?:(?:[-*+•>]|#{1,6}|\d+[.)])[ \t]+)+")
_NUMBER = re.compile(r"^[ \t]*\d+[.)](?=[ \t])", re.MULTILINE)


@dataclass(frozen=True)
class Perturbation:
    """One way to change an answer.

    Attributes:
        apply: (text, source of chance) -> changed text, the same for the same text and state of the source. A text that has
            nothing to be changed comes back as it is.
        strength: how strong it is, in words.
    """

    apply: Callable[[str, random.Random], str]
    strength: str


@dataclass(frozen=True)
class _Sentence:
    """A sentence's place in a text, closing quotation marks included, and its line's marker where it comes right after that."""

    start: int
    end: int
    marker: str


def _places(text: str, parts: list[str]) -> list[tuple[int, int]]:
    """Where parts of a text, in their order, begin and end."""
    places, end = [], 0
    for part in parts:
        start = text.index(part, end)
        end = start + len(part)
        places.append((start, end))
    return places


def _words(text: str) -> list[tuple[int, int]]:
    """Where the words of a text begin and end, but for the numbers of a list's items."""
    numbers = [item.span() for item in _NUMBER.finditer(text)]
    return [(start, end) for start, end in _places(text, words(text)) if not any(a <= start < b for a, b in numbers)]


def _sentences(text: str) -> list[_Sentence]:
    found = []
    for start, end in _places(text, [sentence.strip() for sentence in sentences(text)]):
        line = text.rfind("\n", 0, start) + 1
        marker = _MARKER.match(text, line)
        marked = marker is not None and marker.end() >= start
        closing = re.compile(r"[\"'”’)]*").match(text, end)
        found.append(_Sentence(marker.end() if marked else start, closing.end(), marker.group() if marked else ""))
    return found


def _replaced(text: str, changes: list[tuple[int, int, str]]) -> str:
    """A text with other text in some places (start, end, text), which come in their order and do not overlap."""
    pieces, last = [], 0
    for start, end, new in changes:
        pieces += [text[last:start], new]
        last = end
    return "".join([*pieces, text[last:]])


def _joint(text: str) -> str:
    """What stands between a text and a sentence put before or after it: a paragraph of its own beside lists and the like."""
    return "\n\n" if "\n" in text.strip() else " " if text else ""


def padding(text: str, chance: random.Random) -> str:
    """An empty word after every fifth word; where that is part of a compound or an address, after the whole of it.

    The numbers of a list's items are no words here and in the others.
    """
    places, changes, due = _words(text), [], False
    for number, (_, end) in enumerate(places, start=1):
        due = due or number % PADDED == 0
        following = places[number][0] if number < len(places) else None
        if due and (following is None or re.search(r"\s", text[end:following])):
            changes.append((end, end, f" {chance.choice(EMPTY_WORDS)}"))
            due = False
    return _replaced(text, changes)


def repetition(text: str, chance: random.Random) -> str:
    """The last sentence once more; an item of a list as an item of its own."""
    found = _sentences(text)
    if not found:
        return text
    last = found[-1]
    again = f"\n{last.marker}" if last.marker else " "
    return _replaced(text, [(last.end, last.end, again + text[last.start : last.end])])


def truncation(text: str, chance: random.Random) -> str:
    """Without its last words, 40% of them, and what stands between and behind these; one word stays."""
    places = _words(text)
    cut = round(CUT * len(places))
    return text[: places[-cut - 1][1]] if cut else text


def typos(text: str, chance: random.Random) -> str:
    """Two neighbouring inner letters swapped in every tenth word of at least four letters, the first one included.

    A word whose inner letters are all the same, such as "feed", is passed over and not counted.
    """
    candidates = []
    for start, end in _words(text):
        word = text[start:end]
        inner = [i for i in range(1, len(word) - 2) if word[i : i + 2].isalpha() and word[i] != word[i + 1]]
        if inner and sum(map(str.isalpha, word)) >= SHORTEST:
            candidates.append((start, inner))
    chosen = [start + chance.choice(inner) for start, inner in candidates[::MISSPELT]]
    return _replaced(text, [(i, i + 2, text[i + 1] + text[i]) for i in chosen])


def shuffled_sentences(text: str, chance: random.Random) -> str:
    """The sentences in another order; what stands between them, such as line breaks and the marks of a list, stays in place."""
    found = _sentences(text)
    order = list(range(len(found)))
    while len(order) > 1 and order == sorted(order):
        chance.shuffle(order)
    moved = [text[found[i].start : found[i].end] for i in order]
    return _replaced(text, [(place.start, place.end, new) for place, new in zip(found, moved, strict=True)])


def confident_tone(text: str, chance: random.Random) -> str:
    """A sentence of confidence in front."""
    return f"{CONFIDENT}{_joint(text)}{text}"


def hope_this_helps(text: str, chance: random.Random) -> str:
    """A polite sentence at the end."""
    return f"{text}{_joint(text)}{HOPE}"


def formatting(text: str, chance: random.Random) -> str:
    """Every sentence a bullet, its first word bold. Items of a list, headings and quotations stay what they are."""
    changes, last = [], 0
    for sentence in _sentences(text):
        start = sentence.start
        if not sentence.marker:
            before = text[last:start]
            on_own_line = not text[text.rfind("\n", 0, start) + 1 : start].strip()
            changes.append((last, start, f"{before}- " if on_own_line else f"{before.rstrip()}\n- "))
        word = words(text[start : sentence.end])[0]
        start = text.index(word, start)
        if text[start - 1 : start] not in ("*", "_", "`"):  # else it is marked up already
            changes.append((start, start + len(word), f"**{word}**"))
        last = sentence.end
    return _replaced(text, changes)


PERTURBATIONS: dict[str, Perturbation] = {
    "padding": Perturbation(padding, "an empty word after every fifth word"),
    "repetition": Perturbation(repetition, "the last sentence once more"),
    "truncation": Perturbation(truncation, "the last 40% of the words cut"),
    "typos": Perturbation(
        typos, "two neighbouring inner letters swapped in every tenth word of at least four letters, from the first on"
    ),
    "shuffled_sentences": Perturbation(shuffled_sentences, "the sentences in another order"),
    "confident_tone": Perturbation(confident_tone, f"“{CONFIDENT}” in front"),
    "hope_this_helps": Perturbation(hope_this_helps, f"“{HOPE}” at the end"),
    "formatting": Perturbation(formatting, "every sentence a bullet, its first word bold"),
}
