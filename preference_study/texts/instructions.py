"""Checkable instructions: each kind is a sentence a prompt ends with and a pure function that says whether a text obeys it.

Obeying is meant to the letter. A check looks at the text alone, so it is exact, cheap and the same for people's and models'
answers; it says nothing about whether the answer is one (`preference_study.texts.gold`).
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd

from preference_study.texts.words import words

# What the sandbox asks about a topic, before the instruction.
REQUESTS = (
    "Say something short about {topic}.",
    "Give a short tip about {topic}.",
    "Tell a friend about {topic} in a short message.",
    "Why do people like {topic}?",
)


@dataclass(frozen=True)
class Instruction:
    """One kind of instruction.

    Attributes:
        text: the sentence appended to the request.
        letter: text of an answer -> whether it does what the sentence asks, to the letter.
    """

    text: str
    letter: Callable[[str], bool]


def sentences(text: str) -> list[str]:
    """The sentences of a text: stretches with a word in letters that end in '.', '!' or '?' before white space, or with the line.

    The numbers of a list are no sentences.
    """
    parts = re.split(r"(?<=[.!?])[\"'”’)]*\s+|\n+", text.strip())
    return [part for part in parts if re.search(r"[^\W\d_]", part)]


def _lines_starting_with(text: str, pattern: str) -> int:
    return len(re.findall(rf"^[ \t]*(?:{pattern})[ \t]+\S", text, flags=re.MULTILINE))


def _has_word(text: str, word: str) -> bool:
    return word in [w.lower() for w in words(text)]


def _last_mark(text: str) -> str:
    return text.rstrip().rstrip("\"'”’)*_ ")[-1:]


COLOURS = frozenset(
    ["black", "blue", "brown", "golden", "gray", "green", "grey", "orange", "pink", "purple", "red", "white", "yellow"]
)
WEEKDAYS = frozenset(["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"])


def _mentions(text: str, vocabulary: frozenset[str]) -> bool:
    return any(w.lower() in vocabulary for w in words(text))


def _in_quotes(text: str) -> bool:
    text = text.strip()
    return len(text) > 2 and text[0] in '"“' and text[-1] in '"”'


INSTRUCTIONS: dict[str, Instruction] = {
    "one_sentence": Instruction("Answer in one sentence.", lambda t: len(sentences(t)) == 1),
    "two_sentences": Instruction("Answer in exactly two sentences.", lambda t: len(sentences(t)) == 2),
    "at_most_15_words": Instruction("Use at most 15 words.", lambda t: 1 <= len(words(t)) <= 15),
    "at_least_30_words": Instruction("Use at least 30 words.", lambda t: len(words(t)) >= 30),
    "bulleted_list": Instruction("Answer as a bulleted list.", lambda t: _lines_starting_with(t, r"[-*•]") >= 2),
    "numbered_list": Instruction("Answer as a numbered list.", lambda t: _lines_starting_with(t, r"\d+[.)]") >= 2),
    "without_the": Instruction('Do not use the word "the".', lambda t: bool(words(t)) and not _has_word(t, "the")),
    "without_commas": Instruction("Do not use commas.", lambda t: bool(words(t)) and "," not in t),
    "with_because": Instruction('Use the word "because".', lambda t: _has_word(t, "because")),
    "with_example": Instruction('Use the words "for example".', lambda t: "for example" in t.lower()),
    "with_you": Instruction('Address the reader as "you".', lambda t: _has_word(t, "you")),
    "with_digits": Instruction("Include a number written in digits.", lambda t: bool(re.search(r"\d", t))),
    "with_colour": Instruction("Mention a colour.", lambda t: _mentions(t, COLOURS)),
    "with_weekday": Instruction("Mention a day of the week.", lambda t: _mentions(t, WEEKDAYS)),
    "in_quotes": Instruction("Put your whole answer in double quotes.", _in_quotes),
    "starts_with_i": Instruction('Start with the word "I".', lambda t: words(t)[:1] == ["I"]),
    "ends_with_question": Instruction("End with a question.", lambda t: _last_mark(t) == "?"),
    "ends_with_exclamation": Instruction("End with an exclamation mark.", lambda t: _last_mark(t) == "!"),
}


def checkable(table: pd.DataFrame) -> bool:
    """Whether every row names an instruction that can be checked; data of one's own may have a column of that name too."""
    return "instruction" in table and bool(
        table["instruction"].map(lambda kind: isinstance(kind, str) and kind in INSTRUCTIONS).all()
    )


def obeys(kind: str, text: str) -> bool:
    """Whether `text` obeys the instruction of that kind.

    Raises:
        KeyError: the kind is not one of `INSTRUCTIONS`.
    """
    return INSTRUCTIONS[kind].letter(text)
