"""What a comparison shows beside a difference: that there is none that matters, what could have been seen, what it would take."""

from collections.abc import Callable
from math import ceil

import numpy as np
from scipy import stats
from scipy.optimize import brentq

from preference_study.analysis.statistics import Clusters, cluster_numbers, paired_difference, standard_error, win_rate

LEVEL = 0.05
POWER = 0.8
RULE_OF_THREE = 3  # of none among so many, the 95% upper bound is three over their number


def equivalence_p(interval: Callable[[float], dict], centre: float, margin: float) -> float:
    """The p-value of two one-sided tests that a value lies within a margin (Schuirmann 1987).

    They reject at the level alpha where the interval of confidence 1 - 2 alpha lies within the margin.

    Args:
        interval: of a confidence, an estimate.
        centre: what means no difference: 0.5 of a win rate.
        margin: how far from it still is as good.

    Returns:
        The smallest such alpha, 0.5 at most where the value itself lies within; 1 where it does not, or has no interval.
    """

    def room(alpha: float) -> float:
        found = interval(1 - 2 * alpha)
        return -np.inf if found["low"] is None else min(found["low"] - (centre - margin), centre + margin - found["high"])

    widest, narrowest = 1e-6, 0.4999
    if room(narrowest) <= 0:
        return 1.0
    return widest if room(widest) > 0 else brentq(room, widest, narrowest, xtol=1e-6)


def detectable(error: float, clusters: int, tests: int = 1, power: float = POWER) -> float | None:
    """The smallest difference that a two-sided test sees with such power (Miller 2024, section 5); null for a single cluster.

    Args:
        error: the standard error of the difference.
        clusters: how many independent observations it is of.
        tests: of how many tests it is one: Holm's correction tries the smallest p-value at the level over their number.
    """
    if clusters < 2:
        return None
    reach = stats.t.isf(LEVEL / tests / 2, clusters - 1) + stats.t.ppf(power, clusters - 1)
    return float(reach * error)


def needed(error: float, clusters: int, difference: float, tests: int = 1, power: float = POWER) -> int:
    """How many clusters it takes to see a difference with such power, were they as those seen: the smallest number, 2 at least.

    Args:
        error, clusters: what was found, and of how many.
        difference: to be seen.
        tests, power: as `detectable` takes them.
    """
    deviation = error * np.sqrt(clusters)
    normal = stats.norm.isf(LEVEL / tests / 2) + stats.norm.ppf(power)
    count = max(2, ceil((normal * deviation / difference) ** 2))
    while detectable(deviation / np.sqrt(count), count, tests, power) > difference:  # Student's needs a few more
        count += 1
    return count


def _evidence(values: np.ndarray, clusters: Clusters, most: float, p: float, smallest: float) -> dict:
    """`most` is how far from no difference a single value can be."""
    numbers = cluster_numbers(clusters)
    units = len(values) if numbers is None else int(numbers.max()) + 1
    error = standard_error(values, clusters)
    if error == 0:  # nothing differed: of so few, more may
        error = most * np.sqrt(RULE_OF_THREE) / units
    found = {"smallest": smallest, "p_equivalent": p, "error": float(error) if np.isfinite(error) else None}
    return found | {"n": len(values), "clusters": units}


def win_rate_evidence(points: np.ndarray, clusters: Clusters, smallest: float) -> dict:
    """Whether a win rate is within a margin of one half, and how exactly it is known.

    Args:
        points: 1 for a win, 0 for a loss, 0.5 for a tie.
        smallest: the smallest difference from one half that matters.

    Returns:
        {smallest, p_equivalent, error, n, clusters}: the p-value of both one-sided tests, and the standard error.
    """
    p = equivalence_p(lambda confidence: win_rate(points, clusters, confidence), 0.5, smallest)
    return _evidence(np.asarray(points, dtype=float), clusters, 0.5, p, smallest)


def rate_evidence(before: np.ndarray, after: np.ndarray, clusters: Clusters, smallest: float) -> dict:
    """The same of a difference of paired rates; `before` and `after` are truth values."""
    p = equivalence_p(lambda confidence: paired_difference(before, after, clusters, confidence), 0.0, smallest)
    return _evidence(np.asarray(after, dtype=float) - np.asarray(before, dtype=float), clusters, 1.0, p, smallest)
