"""The shapes that preference data come in, one file each: how a table of that shape becomes prompt, chosen and rejected.

A new format is a file here with an entry `FORMAT`. The first one, by `order`, whose columns are all there is taken.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd

from preference_study.errors import BadInput
from preference_study.registry import entries


@dataclass(frozen=True)
class Format:
    """A shape of preference data.

    Attributes:
        columns: those it is recognised by, as an error lists them.
        order: formats of a smaller one are tried first.
        convert: (table, what to call it in an error) -> its rows with columns prompt, chosen, rejected and bad_preference
            (whether the preference names neither response); the columns that are not the format's own stay as they are.
        near: columns of a table -> whether it was meant to be of this format, though some are missing: the error names them.
    """

    columns: tuple[str, ...]
    order: int
    convert: Callable[[pd.DataFrame, str], pd.DataFrame]
    near: Callable[[set[str]], bool] = lambda columns: False


FORMATS: dict[str, Format] = dict(sorted(entries(sys.modules[__name__], "FORMAT").items(), key=lambda item: item[1].order))


def to_pairs(raw: pd.DataFrame, source: str) -> pd.DataFrame:
    """Bring any recognised shape to prompt, chosen, rejected, keeping extra columns as they are.

    A row whose preference is neither of the two allowed values gets `bad_preference` True.

    Args:
        raw: a table as `read_table_file` gives it.
        source: what to call the table in an error.

    Raises:
        BadInput: the columns are of no recognised shape, or chosen and rejected are no transcripts and there is no prompt.
    """
    columns = set(raw.columns)
    for found in FORMATS.values():
        if columns >= set(found.columns):
            return found.convert(raw, source)
        if found.near(columns):
            missing = sorted(set(found.columns) - columns)
            raise BadInput(f"{source}: column {missing[0]!r} is missing; expected {', '.join(found.columns)}")
    known = "; or ".join(", ".join(found.columns) for found in FORMATS.values())
    raise BadInput(f"{source}: columns {', '.join(map(str, raw.columns))} are of no known shape; expected {known}")
