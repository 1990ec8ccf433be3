"""What the formats share in which a column says which of two responses was preferred."""

from typing import Any

import pandas as pd


def by_preference(raw: pd.DataFrame, columns: tuple[str, str, str, str], values: tuple[str, str]) -> pd.DataFrame:
    """Rows with columns prompt, chosen, rejected, bad_preference and the others.

    Args:
        columns: of the prompt, both responses and the preference.
        values: the preference for the first and for the second response; any other is a bad one.
    """
    prompt, first, second, preference = columns
    chosen_is = raw[preference].map(_integer_text)
    is_first = chosen_is == values[0]
    pairs = pd.DataFrame(
        {
            "prompt": raw[prompt],
            "chosen": raw[first].where(is_first, raw[second]),
            "rejected": raw[second].where(is_first, raw[first]),
            "bad_preference": ~chosen_is.isin(values),
        }
    )
    return pairs.join(raw.drop(columns=list(columns)))


def meant(columns: set[str], own: tuple[str, str, str, str]) -> bool:
    """Whether a table was meant to have these four columns: two of the last three are there, or one with the prompt."""
    prompt, *others = own
    present = columns & set(others)
    return len(present) == 2 or bool(present and prompt in columns and not columns & {"chosen", "rejected"})


def _integer_text(value: Any) -> str:
    """A preference as the text of an integer: 1, 1.0, '1' and ' 1 ' are all '1'; a missing one is ''."""
    text = str(value).strip()
    return text[:-2] if text.endswith(".0") else text
