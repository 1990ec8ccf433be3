"""What scores answers: a reward model, or one of the ways to sum up an ensemble's members."""

from typing import get_args

import numpy as np
import pandas as pd

from stages.lib.aggregates import aggregate
from stages.lib.params import Aggregate


def scorer_name(variant: str, by: Aggregate) -> str:
    """What `scorers` calls a variant as a judge: with the way its members are summed up, where it is an ensemble."""
    return f"{variant} ({by.replace('_', ' ')})" if variant == "ensemble" else variant


def scorers(variant: str, marks: pd.DataFrame, columns: list[str], spread_weight: float) -> dict[str, pd.DataFrame]:
    """The marks of one variant by what scores.

    Args:
        marks: with rewards in `columns`: numbers, or for an ensemble a list, a number a member.
        spread_weight: as `aggregate` takes it.

    Returns:
        {variant: marks} of a single model; of an ensemble {"ensemble (worst)": ..., ...} with numbers in `columns`, one per way
        to sum up.
    """
    if not is_ensemble(marks, columns):
        return {variant: marks}
    return {
        scorer_name("ensemble", by): marks.assign(
            **{column: aggregate(np.array(marks[column].tolist()), by, spread_weight) for column in columns}
        )
        for by in get_args(Aggregate)
    }


def members(marks: pd.DataFrame, columns: list[str]) -> list[pd.DataFrame]:
    """The marks of each member of an ensemble."""
    count = len(marks[columns[0]].iloc[0])
    return [marks.assign(**{column: marks[column].str[number] for column in columns}) for number in range(count)]


def is_ensemble(marks: pd.DataFrame, columns: list[str]) -> bool:
    """Whether the rewards are an ensemble's: a list of the members' each."""
    return len(marks) > 0 and isinstance(marks[columns[0]].iloc[0], list)
