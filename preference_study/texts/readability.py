"""How hard a text is to read: its Flesch-Kincaid grade, counted by textstat.

Responses are not plain prose: they hold lists, headings and code, and some are in another language. What is no English prose is
taken out first, by the rules at `lines_of_prose` and `reading_grades`; the words, syllables and sentences of the rest are
textstat's.
"""

import re
from collections.abc import Sequence
from functools import cache

import numpy as np
from textstat.backend import counts, selections, utils

from preference_study.texts.words import words

LANGUAGE = "en_US"
MIN_WORDS = 5
MOST_SYMBOLS = 0.1
MOST_FOREIGN_LETTERS = 0.2
LEAST_KNOWN_WORDS = 0.6
REASONS = ("empty", "code", "not English", "too short")

CODE = re.compile(r"```(`*).*?(?:```\1|\Z)|~~~(~*).*?(?:~~~\2|\Z)|`[^`\n]+`", re.DOTALL)
SYMBOL = re.compile(r"[][(){}<>=;\\|+/^~]")
LETTER_OR_DIGIT = re.compile(r"[^\W_]")
FOREIGN_LETTER = re.compile(r"[^\W\d_A-Za-zªºÀ-ɏḀ-ỿ]")
ADDRESS = re.compile(r"(?:https?://|www\.)\S*[\w/]")
LINK = re.compile(r"!?\[([^][\n]*)\]\([^()\n]*\)")
EMPHASIS = re.compile(r"\*(?=\S)|\*(?<=\S\*)|_(?![^\W_])|_(?<![^\W_]_)")
LINE_MARK = re.compile(r"^\s*(?:(?:[>#*+\-–—‣◦▪·]+|\(?(?:\d{1,3}|[A-Za-z]|[ivxIVX]{2,4})[.)])(?:\s+|$))+")
APOSTROPHE = re.compile(r"[’‘ʼ]")
DASH = re.compile(r"[–—]|--+")


def reading_grades(texts: Sequence[str]) -> tuple[np.ndarray, dict[str, int]]:
    """The Flesch-Kincaid grade of each text, 0.39 words / sentences + 11.8 syllables / words - 15.59 (Kincaid et al. 1975).

    A text is left out for the first of these reasons that holds:

    - "empty": it has no letter and no digit;
    - "code": more than half of its characters are code marked as such, or more than `MOST_SYMBOLS` of the others are
      symbols such as brackets and equals signs, as in unmarked code, formulas and tables;
    - "not English": more than `MOST_FOREIGN_LETTERS` of its letters are not Latin, or of its words of three letters or more,
      less than `LEAST_KNOWN_WORDS` are in the CMU pronouncing dictionary;
    - "too short": fewer than `MIN_WORDS` words are left once code and marks are taken out.

    Returns:
        The grades, in US school years, NaN where a text is left out, and how many texts are left out for each reason.
    """
    grades = {text: _grade(text) for text in dict.fromkeys(texts)}
    left_out = dict.fromkeys(REASONS, 0)
    for text in texts:
        if isinstance(reason := grades[text], str):
            left_out[reason] += 1
    return np.array([np.nan if isinstance(grades[text], str) else grades[text] for text in texts], dtype=float), left_out


def _grade(text: str) -> float | str:
    """The grade, or the reason why there is none."""
    if not LETTER_OR_DIGIT.search(text):
        return "empty"
    rest = ADDRESS.sub("", CODE.sub(" ", text))
    if 2 * _size(rest) < _size(ADDRESS.sub("", text)) or len(SYMBOL.findall(rest)) > MOST_SYMBOLS * _size(rest):
        return "code"
    if not _is_english(rest):
        return "not English"
    lines = lines_of_prose(text)
    found = [word for line in lines for word in selections.list_words(line, lowercase=True)]
    if len(found) < MIN_WORDS:
        return "too short"
    n_sentences = sum(map(counts.count_sentences, lines))
    return 0.39 * (len(found) / n_sentences) + 11.8 * (sum(map(_syllables, found)) / len(found)) - 15.59


def lines_of_prose(text: str) -> list[str]:
    """The lines of a text that hold words, without what is not read out.

    Taken out are code (fenced, inline, and after a fence that is never closed), web addresses, and the marks of bullets,
    numbers, quotations, headings, emphasis and links. Apostrophes are made straight and dashes become spaces: textstat
    would not know "don’t", and would take "night—and" for one word.

    A line is a paragraph, a heading or an item of a list. Sentences are counted by line and added up: textstat, which ends a
    sentence at '.', '!' and '?' alone, would take a whole list for one. It also passes over sentences of one or two words, but
    gives every text, and so every line, at least one.
    """
    text = ADDRESS.sub("", LINK.sub(r"\1", CODE.sub(" ", text)))
    text = APOSTROPHE.sub("'", EMPHASIS.sub("", text)).replace("•", "\n")
    lines = [DASH.sub(" ", LINE_MARK.sub("", line)).strip() for line in text.splitlines()]
    return [line for line in lines if LETTER_OR_DIGIT.search(line)]


def _size(text: str) -> int:
    return len("".join(text.split()))


def _is_english(text: str) -> bool:
    if not text.isascii() and len(FOREIGN_LETTER.findall(text)) > MOST_FOREIGN_LETTERS * sum(map(str.isalpha, text)):
        return False
    long = [word for word in words(APOSTROPHE.sub("'", text).lower()) if len(word) >= 3 and not word.isdigit()]
    known = utils.get_cmudict(LANGUAGE)
    return sum(map(known.__contains__, long)) >= LEAST_KNOWN_WORDS * len(long)


@cache
def _syllables(word: str) -> int:
    """textstat's count: from the CMU dictionary, else one more than pyphen's places for a hyphen."""
    return counts.count_syllables(word, LANGUAGE)
