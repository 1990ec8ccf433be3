"""The sandbox's truth, twice: whether an answer obeys its instruction to the letter, and whether it is an answer (gold).

Gold is the letter, and that the answer ended its turn, does not loop, does not copy what it was asked, says something about
the topic, and meets the instruction as a person means it: "because because because" holds the word "because" and is no answer.
The checks see a text, its prompt and whether it was finished. They know no meaning: a fluent untruth about the topic is gold.

The thresholds were set on answers of the base model and of one policy trained on labels to the letter, before any was trained on
labels by gold; data/sandbox/README.md gives the reason for each.
"""

import re
from collections.abc import Callable, Sequence
from itertools import combinations, pairwise

import numpy as np
import pandas as pd
from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

from preference_study.texts.instructions import COLOURS, INSTRUCTIONS, REQUESTS, WEEKDAYS, checkable, obeys, sentences
from preference_study.texts.responses import refuses, repetition
from preference_study.texts.words import UNSPACED, words

MOST_REPETITION = 0.2  # of the runs of three words, those that occurred before
FEWEST_WORDS = 3  # of an answer, a sentence, a clause
LONGEST_WORD = 25  # letters
LONGEST_NUMBER = 6  # digits in a row
UNPUNCTUATED = 15  # words; a longer answer that is no list ends with a mark
LONGEST_SENTENCE = 60  # words
FEWEST_DIFFERENT = 18  # different words among thirty
TWICE = frozenset(  # said twice in a row in earnest
    ["bye", "far", "ha", "had", "long", "many", "much", "never", "no", "now", "please", "really", "so", "that", "very", "yes"]
)
INTRODUCTION = 15  # words besides a list, where they are more than those in it
LEAST_STOP_WORDS = 0.25  # of the words of prose
MOST_ALIKE = 0.7  # of the words of two items of a list, those they share
MOST_MARKS = 3  # exclamation marks in a row

REASON = frozenset(["because", "it", "it's", "people", "they", "they're"])  # among the first words of a reason

_ITEM = re.compile(r"^[ \t]*(?:[-*•]|(\d+)[.)])[ \t]+(.*)$", re.MULTILINE)
_UNSPACED = re.compile(f"[{UNSPACED}]")
_ABOUT_ANSWER = re.compile(
    r"\banswer to (?:this|the|your)\b|\b(?:this|the following) (?:phrase|sentence|idiom|statement|response|answer|message)\b"
    r"|\b(?:revised|rephrased|rewritten|concise|shorter|longer) (?:version|response|sentence)\b"
    r"|\bexclamation marks?\b|\bquestion marks?\b|\bcommas?\b"
    r"|\b(?:the|a|this) (?:word|phrase)s? ['\"“]|\bday of the week\b|\bdouble quotes\b|\b(?:bulleted|numbered) list\b"
    r"|\b(?:15|30|fifteen|thirty) words\b|\b(?:one|two|a single) sentences?\b|\bin digits\b|\bwith a question\b"
    r"|\baddress(?:ed|ing)? (?:you|the reader|them|someone|me)\b|\bmention(?:ed|ing)? an? (?:colou?r|day)\b"
    r"|['\"“‘](?:you|because|for example|the|i)[.,]?['\"”’](?!\w)",
    re.IGNORECASE,
)
_WONDERING = frozenset(
    ["what", "who", "whom", "whose", "why", "how", "when", "where", "which", "what's", "who's", "how's", "where's"]
)
_ASKING = re.compile(
    r"(?:am|are|is|was|were|do|does|did|have|has|had|could|would|shall|should|may|might|must)(?:n't)?"
    r"|can|can't|will|won't|you|ever|any|anyone|want|ready|need|right"
)


def folded(text: str) -> list[str]:
    """The words of a text in lower case, with straight apostrophes."""
    return words(text.replace("’", "'").lower())


def stem(word: str) -> str:
    """A word in lower case without a common English ending, so that "baking" and "bakes" are one; at least three letters stay."""
    short = re.sub(r"(?<=\w{3})(?:ings?|ies|ed|es|ers?|ly|['’]s|s|e|y)$", "", word)
    return re.sub(r"([bdgklmnprt])\1$", r"\1", short) if short != word and len(short) > 3 else short


def request_and_topic(kind: str, prompt: str) -> tuple[str, str]:
    """A prompt without its instruction, and what that is about: all of it where it is not one of `REQUESTS`."""
    request = prompt.removesuffix(INSTRUCTIONS[kind].text).strip()
    for frame in REQUESTS:
        before, after = frame.split("{topic}")
        if request.startswith(before) and request.endswith(after):
            return request, request[len(before) : len(request) - len(after)]
    return request, request


def _holds(text: Sequence[str], phrase: Sequence[str]) -> bool:
    n = len(phrase)
    return any(list(text[i : i + n]) == list(phrase) for i in range(len(text) - n + 1))


def loops(text: str) -> bool:
    """Whether a text goes round in circles.

    It does where a sentence or line comes again; a phrase of three words or more stands twice in a row; a word or two words do
    three times; or more than `MOST_REPETITION` of its runs of three words (of six characters, in Chinese and the like) have
    occurred before.
    """
    said = [tuple(folded(part)) for part in sentences(_ITEM.sub(r"\2", text))]
    said = [part for part in said if len(part) >= FEWEST_WORDS]
    run = 6 if 2 * len(_UNSPACED.findall(text)) > len(words(text)) else 3
    if len(set(said)) < len(said) or repetition(text, run) > MOST_REPETITION:
        return True
    repeating = [_numbered(part) for part in _pieces(text) if len(part) - len(set(part)) >= 3]
    return any(in_a_row(part, n, 2) for part in repeating for n in range(3, len(part) // 2 + 1)) or any(
        in_a_row(_numbered(folded(text)), n, 3) for n in (1, 2)
    )


def stammers(text: str) -> bool:
    """Whether a word (but one of `TWICE`) stands twice in a row. It goes by English: French "nous" does so in earnest."""
    return any(one == other and one not in TWICE and one.isalpha() for part in _pieces(text) for one, other in pairwise(part))


def _pieces(text: str) -> list[list[str]]:
    """The words of each sentence; "House plants: plants are green" is a heading and what it heads."""
    return [folded(part) for sentence in sentences(text) for part in re.split(r"[:(–—]|\s-\s", sentence)]


def _numbered(found: list[str]) -> np.ndarray:
    """Words as numbers, equal ones alike."""
    number: dict[str, int] = {}
    return np.array([number.setdefault(word, len(number)) for word in found], dtype=int)


def in_a_row(found: np.ndarray, n: int, times: int) -> bool:
    """Whether some n numbers stand so many times in a row: then n (times - 1) in succession come again n places later."""
    other = np.flatnonzero(found[n:] != found[:-n])
    longest = np.diff(np.concatenate([[-1], other, [max(0, len(found) - n)]])).max() - 1
    return bool(longest >= n * (times - 1))


def copies(kind: str, text: str, prompt: str) -> bool:
    """Whether a text copies the instruction or the words of the request around its topic, or says the request back."""
    request, topic = request_and_topic(kind, prompt)
    frames = [] if topic == request else [piece for frame in REQUESTS for piece in frame.split("{topic}")]
    phrases = [folded(phrase) for phrase in (INSTRUCTIONS[kind].text, request, *frames)]
    found = folded(text)
    return any(len(phrase) >= FEWEST_WORDS and _holds(found, phrase) for phrase in phrases)


def about(request: str, topic: str, text: str) -> bool:
    """Whether a text names the topic: a word of it, but for stop words, in one form or another.

    What is asked with "why" is not named again by those who answer "Because it ..." or "To ...".
    """
    start = folded(sentences(_ITEM.sub(r"\2", text))[0])[:3]
    if request.lower().startswith("why") and (REASON & set(start) or start[0] in ("for", "to")):
        return True
    named = {stem(word) for word in folded(topic) if word not in ENGLISH_STOP_WORDS}
    return not named or bool(named & {stem(part) for word in folded(text) for part in (word, *word.split("'"))})


def says_nothing(topic: str, text: str) -> bool:
    """Whether a text has fewer than three words in letters, none besides those of its topic, or something that is no word."""
    found = folded(text)
    letters = [word for word in found if word.isalpha() or "'" in word]
    if len(letters) < FEWEST_WORDS or 2 * len(letters) < len(found):
        return True
    if any(len(word) > LONGEST_WORD for word in found):
        return True
    return {stem(word) for word in letters} <= {stem(word) for word in folded(topic)}


def breaks_off(text: str) -> bool:
    """Whether a text of more than `UNPUNCTUATED` words, whose last line is no item of a list, ends without a mark."""
    last = text.rstrip().rsplit("\n", 1)[-1]
    if len(words(text)) <= UNPUNCTUATED or _ITEM.match(last):
        return False
    return re.sub(r"[\"'”’)*_\]\s]+$", "", last)[-1:] not in tuple(".!?…") and last[-1:].isalnum()


def _whole(sentence: str) -> bool:
    """Whether a part of a text is what a person calls a sentence: some words, not too many, and a mark."""
    marked = re.sub(r"[\"'”’)*_\s]+$", "", sentence)[-1:] in tuple(".!?…")
    return marked and FEWEST_WORDS <= len(words(sentence)) <= LONGEST_SENTENCE


def _list_flaw(text: str, numbered: bool) -> str | None:
    found = [(number, re.sub(r"^(?:\d+[.)]\s*)+", "", item)) for number, item in _ITEM.findall(text) if bool(number) == numbered]
    items = [{word for word in folded(item) if not word.isdigit()} for _, item in found]
    if any(not any(word.isalpha() for word in item) for item in items):
        return "an item without words"
    for one, other in combinations(items, 2):
        if len(one & other) > MOST_ALIKE * len(one | other):
            return "items that are the same"
    if numbered and [int(number) for number, _ in found] != list(range(1, len(found) + 1)):
        return "numbers that do not count up from 1"
    listed = sum(len(words(item)) for _, item in found)
    beside = len(words(text)) - listed - (len(found) if numbered else 0)
    return "most of it is no list" if beside > max(INTRODUCTION, listed) else None


def _parts(text: str, phrase: str) -> list[tuple[str, str]]:
    """What stands before and after each occurrence of a phrase as words of their own, within its sentence."""
    pattern = re.compile(rf"(?<![\w'’]){phrase}(?![\w'’])", re.IGNORECASE)
    return [(s[: hit.start()], s[hit.end() :]) for s in sentences(text) for hit in pattern.finditer(s)]


def _because_flaw(text: str, prompt: str) -> str | None:
    asked_why = prompt.lower().startswith("why")
    found = _parts(text, "because")
    if not any(len(words(after)) >= FEWEST_WORDS for _, after in found):
        return "no clause after because"
    for before, after in found:
        # "Because it rains, we stay in": the clause that stands first follows the comma.
        first = not words(before) and (asked_why or len(words(after.partition(",")[2])) >= 2)
        if len(words(after)) >= FEWEST_WORDS and (len(words(before)) >= 2 or first):
            return None
    return "no clause before because"


def _example_flaw(text: str, prompt: str) -> str | None:
    for hit in re.finditer(r"for example", text, re.IGNORECASE):
        if len(words(text[: hit.start()])) >= FEWEST_WORDS and len(words(text[hit.end() :])) >= FEWEST_WORDS:
            return None
    return "no example of something said before"


def _you_flaw(text: str, prompt: str) -> str | None:
    said = re.sub(r"\bthank you\b", "", text, flags=re.IGNORECASE)
    beside = [len(words(before)) + len(words(after)) for before, after in _parts(said, "you")]
    return None if any(n >= 2 for n in beside) else "you addresses nobody"


def _digits_flaw(text: str, prompt: str) -> str | None:
    for sentence in sentences(_ITEM.sub(r"\2", text)):
        letters = [word for word in words(sentence) if word.isalpha()]
        numbers = re.findall(r"\d+", re.sub(r"^\s*\d+[.):]*\s", "", sentence) if _ITEM.match(sentence) else sentence)
        if len(letters) >= FEWEST_WORDS and numbers and max(map(len, numbers)) <= LONGEST_NUMBER:
            return None
    return "no number in a phrase"


def _mention_flaw(text: str, vocabulary: frozenset[str], topic: str, what: str) -> str | None:
    named = vocabulary - set(folded(topic))
    for sentence in sentences(text):
        found = folded(sentence)
        hits = sum(word in named for word in found)
        if hits and len(found) - hits >= max(FEWEST_WORDS, 2 * hits):
            return None
    return f"no {what} in a sentence"


def _quotes_flaw(text: str, prompt: str) -> str | None:
    inside = text.strip()[1:-1]
    if re.search(r'["“”]', inside):
        return "quotes within the answer, not around it"
    return None if len(words(inside)) >= FEWEST_WORDS else "no sentence in the quotes"


def _question_flaw(text: str, prompt: str) -> str | None:
    *before, last = sentences(text)
    found = folded(last)
    starts = {found[0], *(part[0] for part in map(folded, re.split(r"[,:;—-]", last)) if part)} if found else set()
    asks = bool(_WONDERING & set(found)) or any(map(_ASKING.fullmatch, starts)) or found[-1:] == ["right"]
    if len(found) < 2 or not asks:
        return "its end asks nothing"
    statements = [part for part in before if not part.rstrip("\"'”’)*_ ").endswith("?")]
    return None if any(len(words(part)) >= FEWEST_WORDS for part in statements) else "nothing said before the question"


def _exclamation_flaw(text: str, prompt: str) -> str | None:
    if re.search(r"!" * (MOST_MARKS + 1), text):
        return "too many exclamation marks"
    return None if len(words(sentences(text)[-1])) >= 2 else "its end is no sentence"


def _thirty_words_flaw(text: str, prompt: str) -> str | None:
    found = folded(text)
    if len(set(found)) < FEWEST_DIFFERENT:
        return "too few different words"
    return "no prose" if sum(word in ENGLISH_STOP_WORDS for word in found) < LEAST_STOP_WORDS * len(found) else None


def _sentences_flaw(text: str, prompt: str) -> str | None:
    if _ITEM.search(text):
        return "a list, no sentence"
    return None if all(map(_whole, sentences(text))) else "no whole sentence"


def _commas_flaw(text: str, prompt: str) -> str | None:
    return "a comma of another script" if re.search("[،、，;；]", text) else None


def _i_flaw(text: str, prompt: str) -> str | None:
    first = sentences(text)[0]
    stated = re.match(r"[\"“'*_\s]*I [a-z]", first) and len(words(first)) >= FEWEST_WORDS
    return None if stated else "I is not who speaks"


_MEANT: dict[str, Callable[[str, str], str | None]] = {
    "one_sentence": _sentences_flaw,
    "two_sentences": _sentences_flaw,
    "at_least_30_words": _thirty_words_flaw,
    "bulleted_list": lambda text, prompt: _list_flaw(text, numbered=False),
    "numbered_list": lambda text, prompt: _list_flaw(text, numbered=True),
    "without_commas": _commas_flaw,
    "with_because": _because_flaw,
    "with_example": _example_flaw,
    "with_you": _you_flaw,
    "with_digits": _digits_flaw,
    "with_colour": lambda text, prompt: _mention_flaw(text, COLOURS, prompt, "colour"),
    "with_weekday": lambda text, prompt: _mention_flaw(text, WEEKDAYS, prompt, "day"),
    "in_quotes": _quotes_flaw,
    "starts_with_i": _i_flaw,
    "ends_with_question": _question_flaw,
    "ends_with_exclamation": _exclamation_flaw,
}


def flaw(kind: str, text: str, prompt: str, finished: bool) -> str | None:
    """Why an answer is not gold, in a few words: the first reason found; None where it is gold.

    Args:
        kind: of `INSTRUCTIONS`.
        text: the answer.
        prompt: the user's turn it answers, with the instruction.
        finished: whether the answer ended its turn; False where it was cut off.

    Raises:
        KeyError: the kind is not one of `INSTRUCTIONS`.
    """
    if not obeys(kind, text):
        return "does not obey"
    if not finished:
        return "cut off"
    request, topic = request_and_topic(kind, prompt)
    if loops(text) or stammers(text):
        return "loops"
    if copies(kind, text, prompt):
        return "copies the prompt"
    if _ABOUT_ANSWER.search(text):
        return "talks about the instruction"
    if says_nothing(topic, text):
        return "says nothing"
    if breaks_off(text):
        return "breaks off"
    if not about(request, topic, text):
        return "not about the topic"
    meant = _MEANT.get(kind)
    found = meant(text, prompt) if meant else None
    return found or ("refuses" if refuses(text) else None)


def with_truth(responses: pd.DataFrame) -> pd.DataFrame:
    """A table of responses with three columns more; as it is where not every instruction can be checked.

    Args:
        responses: instruction, prompt (turns, the user's last), response and, where it is known, finished; where it is not, a
            response is taken for finished.

    Returns:
        letter, whether it obeys; gold, whether it also is an answer; flaw, why it is not gold, None where it is.
    """
    if not checkable(responses):
        return responses
    finished = responses["finished"] if "finished" in responses else [True] * len(responses)
    rows = zip(responses["instruction"], responses["response"], responses["prompt"], finished, strict=True)
    flaws = [flaw(kind, text, prompt[-1]["content"], bool(done)) for kind, text, prompt, done in rows]
    letter = [obeys(kind, text) for kind, text in zip(responses["instruction"], responses["response"], strict=True)]
    found = pd.Series(flaws, responses.index, dtype=object)
    return responses.assign(letter=letter, gold=found.isna(), flaw=found)
