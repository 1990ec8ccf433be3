"""TRL's with an explicit prompt, of texts or of messages."""

import pandas as pd

from preference_study.data.conversations import flatten
from preference_study.formats import Format

COLUMNS = ("prompt", "chosen", "rejected")


def convert(raw: pd.DataFrame, source: str) -> pd.DataFrame:
    return raw.assign(**{column: raw[column].map(flatten) for column in COLUMNS}, bad_preference=False)


FORMAT = Format(COLUMNS, 3, convert)
