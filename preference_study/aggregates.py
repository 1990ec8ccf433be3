"""Summing up the rewards of an ensemble's members."""

from collections.abc import Callable

import numpy as np

# In an ensemble's folder: per member {folder, mean_reward}; and, where it says itself how it is summed up, {by, spread_weight}.
MEMBERS, AGGREGATE = "members.json", "aggregate.json"

# Ways to sum up: (rewards [..., members], spread_weight) -> [...] (Coste et al. 2023, section 3).
AGGREGATES: dict[str, Callable[[np.ndarray, float], np.ndarray]] = {
    "mean": lambda rewards, spread_weight: rewards.mean(axis=-1),
    # The minimum over members: the max-min of robust alignment.
    "worst": lambda rewards, spread_weight: rewards.min(axis=-1),
    # Their disagreement, the standard deviation with k - 1, taken off the mean.
    "mean_minus_spread": lambda rewards, spread_weight: rewards.mean(axis=-1) - spread_weight * rewards.std(axis=-1, ddof=1),
}


def aggregate(rewards: np.ndarray, by: str, spread_weight: float) -> np.ndarray:
    """One reward a response from those of k members.

    Args:
        rewards: [..., k], each member's on a scale of its own origin, so centred before.
        by: one of `AGGREGATES`.
        spread_weight: of the standard deviation in mean_minus_spread.

    Returns:
        [...].
    """
    return AGGREGATES[by](rewards, spread_weight)
