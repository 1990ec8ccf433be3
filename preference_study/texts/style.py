"""The style of a response as LMArena's style control counts it: headings, list items, bold text; its length is words elsewhere.

Li, Angelopoulos and Chiang 2024, "Does style matter?" (blog of LMArena); the patterns are those of its `add_markdown_info.py`.
"""

import re

_CODE = re.compile(r"```[^`]*```")
_PATTERNS = {
    "headings": (r"^#{1,6}\s",),
    "list_items": (r"^\s*\d+\.\s", r"^\s*[-*+]\s"),
    "bold": (r"\*\*[^*\n]+\*\*", r"__[^_\n]+__"),
}


def style(text: str) -> dict[str, int]:
    """How many headings, list items and bold phrases a text has as Markdown, outside blocks of code that hold no backtick."""
    plain = _CODE.sub("", text)
    return {name: sum(len(re.findall(p, plain, re.MULTILINE)) for p in patterns) for name, patterns in _PATTERNS.items()}
