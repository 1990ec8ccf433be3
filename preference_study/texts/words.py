"""What a word is, in every count of this project."""

import re


def words(text: str) -> list[str]:
    """The words of a text: runs of letters and digits, with apostrophes inside them, in order, as written."""
    return re.findall(r"[^\W_]+(?:['’][^\W_]+)*", text)
