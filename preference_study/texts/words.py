"""What a word is, in every count of this project."""

import regex

_BOUNDARY = regex.compile(r"\b", regex.VERSION1 | regex.WORD)

# Scripts that write no spaces between words: Thai, Lao, Burmese, Khmer, kana and Chinese characters. For a character class.
UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"


def words(text: str) -> list[str]:
    """The words of a text in order, as written: what stands between Unicode's word boundaries (UAX #29) and holds a letter or
    digit.

    "Don't", "3.14" and "U.S.A" are one word each, "well-known" is two. Where a script writes no spaces, as Chinese, Japanese and
    Thai do, a character is a word, but for runs of katakana: the boundaries that need no dictionary.
    """
    return [part for part in _BOUNDARY.split(text) if any(map(str.isalnum, part))]
