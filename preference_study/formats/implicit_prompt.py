"""TRL's with an implicit prompt, of messages; and HH-RLHF's transcripts with "Human:" and "Assistant:" turns."""

import pandas as pd

from preference_study.data.conversations import split_last
from preference_study.errors import BadInput
from preference_study.formats import Format

COLUMNS = ("chosen", "rejected")


def convert(raw: pd.DataFrame, source: str) -> pd.DataFrame:
    """A row whose two conversations differ before the last turn gets no prompt."""
    chosen, rejected = raw["chosen"].map(split_last), raw["rejected"].map(split_last)
    if not any(prompt for prompt, _ in chosen):
        raise BadInput(
            f"{source}: column 'prompt' is missing, and the texts under 'chosen' are no transcripts with "
            "'Human:' and 'Assistant:' turns; add the prompt"
        )
    same = chosen.str[0] == rejected.str[0]
    return raw.assign(
        prompt=chosen.str[0].where(same, None), chosen=chosen.str[1], rejected=rejected.str[1], bad_preference=False
    )


FORMAT = Format(COLUMNS, 4, convert)
