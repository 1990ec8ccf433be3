"""What scores responses: a reward model, or one of the ways to sum up an ensemble's members."""

import numpy as np
import pandas as pd

from preference_study.aggregates import AGGREGATES, aggregate


def scorer_name(variant: str, by: str) -> str:
    """What `scorers` calls a variant of several members summed up `by` one of the ways."""
    return f"{variant} ({by.replace('_', ' ')})"


def scorers(variant: str, scored: pd.DataFrame, columns: list[str], spread_weight: float) -> dict[str, pd.DataFrame]:
    """The scored of one variant by what scores.

    Args:
        scored: with rewards in `columns`: numbers, or for an ensemble a list, a number a member.
        spread_weight: as `aggregate` takes it.

    Returns:
        {variant: scored} of a single model; of an ensemble {"<variant> (worst)": ..., ...} with numbers in `columns`, one per way
        to sum up.
    """
    if not is_ensemble(scored, columns):
        return {variant: scored}
    return {
        scorer_name(variant, by): scored.assign(
            **{column: aggregate(np.array(scored[column].tolist()), by, spread_weight) for column in columns}
        )
        for by in AGGREGATES
    }


def members(scored: pd.DataFrame, columns: list[str]) -> list[pd.DataFrame]:
    """The scored of each member of an ensemble."""
    count = len(scored[columns[0]].iloc[0])
    return [scored.assign(**{column: scored[column].str[number] for column in columns}) for number in range(count)]


def is_ensemble(scored: pd.DataFrame, columns: list[str]) -> bool:
    """Whether the rewards are an ensemble's: a list of the members' each."""
    return len(scored) > 0 and isinstance(scored[columns[0]].iloc[0], list)
