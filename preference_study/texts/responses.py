"""What can be seen in a response by itself: whether it repeats itself, echoes its prompt, and refuses."""

import re

from preference_study.texts.instructions import sentences
from preference_study.texts.words import words

OPENING_WORDS = 5
ECHOED_RUN = 5

_SPEAKER = r"\b(?:i|we)"
_NOT = r"(?:can'?t|cannot|can not|won't|will not)"
_CANNOT = (
    rf"{_SPEAKER}(?: \w+)? {_NOT}(?:,? (?:and|or) {_NOT},?)?(?: be able to)?"
    rf"|{_SPEAKER}(?:'m|'re| am| are)(?: \w+)? (?:unable|not able|not going|not allowed|not permitted|not willing) to"
)
_HELPLESS = r" but\b| it\b| myself| \w+ing\b"  # "I can't help but smile"
_ANSWER = (
    r"(?:advise|aid|answer|assist|complete|comply|condone|create|disclose|discuss|do (?:that|this|it|so)|encourage|endorse|engage"
    rf"|fulfill?|generate|give(?! up)|help(?!{_HELPLESS})|offer|participate|promote|provide|recommend"
    r"|respond to (?:this|that|such|your)|reveal|send|share|suggest|support|teach|tell(?! a lie| you how (?!to\b))"
    r"|write)\b(?!.*\benough\b)"
)
_MACHINE = r"\bas an? (?:[\w-]+ )?(?:ai|artificial intelligence|language model|chatbot)\b"
_HOW = r"(?:,? (?:\w+ly|in (?:all )?good conscience),?)?"
_SORRY = rf"(?:(?:{_SPEAKER}(?:'m|'re| am| are)(?: \w+)? |^)sorry|{_SPEAKER} (?:\w+ )?apologi[sz]e|\bmy apologies),? but,?"
# What makes a refusal of "I'm sorry, but", which a correction begins with too ("but your code has a bug").
_REFUSING = (
    rf"(?:{_CANNOT})\b(?! help(?:{_HELPLESS})| agree\b| wait\b)"
    rf"|{_SPEAKER} (?:do not|don't)(?: \w+)? (?:do|engage|feel comfortable|have|know|offer|provide|share|support)\b"
    rf"|{_SPEAKER} have no\b|{_SPEAKER}(?:'m| am)(?: \w+)? not (?:comfortable|designed|programmed|qualified|trained)\b"
    rf"|{_MACHINE}|\bno(?:[.!]|$)"
    r"|\b(?:that|this|it)(?: information)?(?:'s| is)(?: \w+)? (?:private|confidential)\b"
    r"|\b(?:that|this|it)(?:'s| is) not (?:something (?:i|we)|possible for (?:me|us))\b"
    r"|\b(?:that|this|it|request|question)(?:'s| is| goes)(?: \w+)? (?:against|beyond|outside) (?:my|our)\b"
    r"|\brequest (?:violates|is(?: \w+)? (?:illegal|inappropriate|unethical))\b"
)
REFUSALS = (
    rf"(?:{_CANNOT}){_HOW} {_ANSWER}",
    rf"\bno,? (?:{_CANNOT})[.,!]",
    rf"{_SORRY}(?: [\w'-]+,?){{0,3}}? (?:{_REFUSING})",
    rf"{_MACHINE}[^,]*, {_SPEAKER}(?:'m not|(?: \w+)? not| \w+n't| cannot| must)\b",
    rf"{_SPEAKER}(?:'ll| will)? (?:must|have to){_HOW} (?:decline|refuse)\b",
    rf"{_SPEAKER}(?: \w+ly)? (?:decline|refuse) to {_ANSWER}",
    rf"{_SPEAKER}(?:'m not| am not|'re not| are not| don't feel| do not feel) comfortable (?:with|\w+ing)\b",
    rf"{_SPEAKER}(?:'d| would) (?:rather|prefer) not\b",
    rf"{_SPEAKER} (?:don't|do not) (?:think|believe) {_SPEAKER} can {_ANSWER}",
    rf"\b(?:that|this|it)(?:'s| is) not something {_SPEAKER}(?:'m able to| am able to| can| could) {_ANSWER}",
    r"\b(?:that|this|it)(?:'s| is| goes) against my (?:guidelines|policy|policies|principles|programming)\b",
)
_REFUSAL = re.compile("|".join(REFUSALS))


def repetition(text: str, n: int = 3) -> float:
    """The share of the runs of n words that have occurred before in the text, upper and lower case being the same.

    0 where none has, and where the text has fewer than n words; towards 1 for a text that goes round in circles.
    """
    folded = [word.casefold() for word in words(text)]
    runs = list(zip(*(folded[i:] for i in range(n)), strict=False))
    return 1 - len(set(runs)) / len(runs) if runs else 0.0


def refuses(text: str) -> bool:
    """Whether a response opens with a refusal: one of the formulas `REFUSALS` stands in its opening.

    The opening is the first sentence, with those after it as long as it has fewer than `OPENING_WORDS` words ("I'm sorry. I can't
    help you."). Case, quotation marks and Markdown are passed over.

    The formulas are what people and models say of themselves: that they cannot or will not do what an answer consists of ("I
    can't help", "I'm unable to provide"), "I'm sorry, but I can't", "I must decline", or "As an AI, I don't". So "I can't
    wait", "I can't find it", "I can't help but smile", "I can't recommend this book enough" and "I cannot tell a lie" are
    no refusals; nor are "I'm sorry, but your code has a bug", and "You cannot enter a bank at night", which says something
    about banks. A refusal that comes late or in other words is missed, and a first line in which someone in a story says "I
    can't help you" is taken for one.
    """
    plain = re.sub(r"[\"“”*_#>`]", "", re.sub(r"[’‘]", "'", text)).lower()
    opening = ""
    for sentence in sentences(plain):
        opening = f"{opening} {sentence.strip()}".strip()
        if len(words(opening)) >= OPENING_WORDS:
            break
    return _REFUSAL.search(opening) is not None


def echoes(text: str, prompt: str) -> bool:
    """Whether half or more of a response's words stand in runs of five words or more that its prompt has too, case aside."""
    own, asked = ([word.casefold() for word in words(part)] for part in (text, prompt))
    known = {tuple(asked[i : i + ECHOED_RUN]) for i in range(len(asked) - ECHOED_RUN + 1)}
    echoed = set()
    for i in range(len(own) - ECHOED_RUN + 1):
        if tuple(own[i : i + ECHOED_RUN]) in known:
            echoed.update(range(i, i + ECHOED_RUN))
    return 2 * len(echoed) >= len(own) > 0
