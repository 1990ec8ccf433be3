"""HelpSteer 2's preferences: a strength from -3, the first response is much better, to 3, the second is; 0 is a tie."""

import re
from collections.abc import Iterable
from typing import Any

from preference_study.formats import Format
from preference_study.formats._rows import Row, Source
from preference_study.formats._strength import by_strength

COLUMNS = ("prompt", "response_1", "response_2", "preference_strength")
_SPEAKER = re.compile(r"\n?<extra_id_1>(User|Assistant)\n")
_ROWS = by_strength(*COLUMNS)


def rows(source: Source) -> Iterable[Row]:
    """The rows; a prompt of several turns has "<extra_id_1>" and the speaker before each but the first."""
    return (row._replace(prompt=_turns(row.prompt)) for row in _ROWS(source))


def _turns(prompt: Any) -> Any:
    if not isinstance(prompt, str) or not _SPEAKER.search(prompt):
        return prompt
    first, *parts = _SPEAKER.split(prompt)
    later = [{"role": who, "content": said} for who, said in zip(parts[::2], parts[1::2], strict=True)]
    return [{"role": "User", "content": first}, *later]


FORMAT = Format(COLUMNS, 3, rows)
