"""What scores answers: a reward model, or one of the ways to sum up an ensemble's members."""

from typing import get_args

import numpy as np
import pandas as pd

from preference_study.aggregates import aggregate
from preference_study.params import Aggregate


def scorer_name(variant: str, by: Aggregate) -> str:
    """What `scorers` calls a variant as a judge: with the way its members are summed up, where it is an ensemble."""
    return f"{variant} ({by.replace('_', ' ')})" if variant == "ensemble" else variant


def scorers(variant: str, scored: pd.DataFrame, columns: list[str], spread_weight: float) -> dict[str, pd.DataFrame]:
    """The scored of one variant by what scores.

    Args:
        scored: with rewards in `columns`: numbers, or for an ensemble a list, a number a member.
        spread_weight: as `aggregate` takes it.

    Returns:
        {variant: scored} of a single model; of an ensemble {"ensemble (worst)": ..., ...} with numbers in `columns`, one per way
        to sum up.
    """
    if not is_ensemble(scored, columns):
        return {variant: scored}
    return {
        scorer_name("ensemble", by): scored.assign(
            **{column: aggregate(np.array(scored[column].tolist()), by, spread_weight) for column in columns}
        )
        for by in get_args(Aggregate)
    }


def members(scored: pd.DataFrame, columns: list[str]) -> list[pd.DataFrame]:
    """The scored of each member of an ensemble."""
    count = len(scored[columns[0]].iloc[0])
    return [scored.assign(**{column: scored[column].str[number] for column in columns}) for number in range(count)]


def is_ensemble(scored: pd.DataFrame, columns: list[str]) -> bool:
    """Whether the rewards are an ensemble's: a list of the members' each."""
    return len(scored) > 0 and isinstance(scored[columns[0]].iloc[0], list)
