"""Summing up the rewards of an ensemble's members."""

import numpy as np

from preference_study.params import Aggregate

# In an ensemble's folder: per member {folder, mean_reward}; and, where it says itself how it is summed up, {by, spread_weight}.
MEMBERS, AGGREGATE = "members.json", "aggregate.json"


def aggregate(rewards: np.ndarray, by: Aggregate, spread_weight: float) -> np.ndarray:
    """One reward an answer from those of k members (Coste et al. 2023, section 3).

    Args:
        rewards: [..., k], each member's on a scale of its own origin, so centred before.
        by: mean; worst, the minimum over members, the max-min of robust alignment; mean_minus_spread, the mean minus
            `spread_weight` times the members' standard deviation (with k - 1), their disagreement.

    Returns:
        [...].
    """
    if by == "worst":
        return rewards.min(axis=-1)
    spread = spread_weight * rewards.std(axis=-1, ddof=1) if by == "mean_minus_spread" else 0.0
    return rewards.mean(axis=-1) - spread
