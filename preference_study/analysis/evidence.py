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
COARSE = 30  # clusters; of more, random signs give nearly every p
MORE = 0.25  # of a difference that the one rejecting pattern of signs sees, beyond what Student's quantiles say: simulated


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


def _rejecting(clusters: int, tests: int) -> int:
    """How many of the 2^(clusters - 1) two-sided patterns of signs the test by random signs may reject at its level."""
    return int(LEVEL / tests * 2 ** (clusters - 1))


def fewest_clusters(evidence: dict, tests: int) -> int:
    """The smallest number of clusters that can show anything; `evidence` and `tests` as `detectable` takes them.

    Where clusters hold several rows, it is the smallest whose random signs can give a p below the level.
    """
    clusters = 2
    while _by_random_signs(evidence) and not _rejecting(clusters, tests):
        clusters += 1
    return clusters


def _by_random_signs(evidence: dict) -> bool:
    return evidence["n"] > evidence["clusters"]


def _must_be(difference: float, evidence: dict, tests: int, power: float) -> float:
    """The difference that a two-sided test sees with such power, were the true one this large.

    By Connor (1987, Biometrics 43:207), with Student's quantiles. Were there no difference, the variance is what was found, and
    at least what this one needs: prompts on which something changes.

    Where clusters hold several rows the test turns the signs of clusters. Of few clusters these give few different p: the level
    is then the largest p that rejects. As few patterns have less power than Student's test of that level, `MORE` over their
    number is added, and half a step between two rates. The tests hold it against simulations.
    """
    clusters, level, more, step = evidence["clusters"], LEVEL / tests, 1.0, 0.0
    if _by_random_signs(evidence) and clusters <= COARSE:
        rejecting, step = _rejecting(clusters, tests), 1 / evidence["n"]
        level, more = rejecting / 2 ** (clusters - 1), 1 + MORE / rejecting
    none = max(evidence["error"] ** 2, evidence["most"] * difference / evidence["rows"])
    there = max(0.0, none - difference**2 / evidence["rows"])
    student = stats.t.isf(level / 2, clusters - 1) * none**0.5 + stats.t.ppf(power, clusters - 1) * there**0.5
    return more * student + step / 2


def detectable(evidence: dict, tests: int = 1, power: float = POWER) -> float | None:
    """The smallest difference that a two-sided test sees with such power; null where so few clusters can show nothing.

    Args:
        evidence: {error, rows, most, n, clusters}, as `win_rate_evidence` and `rate_evidence` return them.
        tests: of how many tests it is one: Holm's correction tries the smallest p-value at the level over their number.

    Returns:
        More than evidence's `most` where too little was seen to show any.
    """
    if evidence["clusters"] < fewest_clusters(evidence, tests):
        return None
    reach = _must_be(0.0, evidence | {"error": 1.0}, tests, power)
    enough = max(reach * evidence["error"], reach**2 * evidence["most"] / evidence["rows"])
    enough += 1 / evidence["n"] if _by_random_signs(evidence) else 0.0
    return float(brentq(lambda difference: _must_be(difference, evidence, tests, power) - difference, 0.0, 2 * enough))


def needed(evidence: dict, difference: float, tests: int = 1, power: float = POWER) -> int:
    """How many clusters it takes to see a difference with such power, were they as those seen: the smallest number.

    Args:
        evidence, tests, power: as `detectable` takes them.
        difference: to be seen.
    """
    seen = evidence["clusters"]

    def of(clusters: int) -> dict:
        size = clusters / seen
        of_all = {"rows": evidence["rows"] * size, "n": evidence["n"] * size, "clusters": clusters}
        return evidence | {"error": evidence["error"] / size**0.5} | of_all

    # As if Student's quantiles were normal ones, of which it needs a few more.
    many = of(seen) | {"clusters": 10**9}
    count = max(fewest_clusters(evidence, tests), ceil(seen * (_must_be(difference, many, tests, power) / difference) ** 2))
    while _must_be(difference, of(count), tests, power) > difference:
        count += 1
    return count


def _evidence(values: np.ndarray, clusters: Clusters, most: float, p: float, smallest: float) -> dict:
    """`most` is how far from no difference a single value can be."""
    numbers = cluster_numbers(clusters)
    units = len(values) if numbers is None else int(numbers.max()) + 1
    found = {"smallest": smallest, "p_equivalent": p, "error": None, "rows": None, "most": most}
    if units > 1:
        alone, together = standard_error(values), standard_error(values, clusters)
        rows = len(values) * (alone / together) ** 2 if alone > 0 and together > 0 else units
        square = np.mean(values**2) or RULE_OF_THREE / units * most**2  # nothing differed: of so few, more may
        found |= {"error": float(np.sqrt(square / rows)), "rows": float(rows)}
    return found | {"n": len(values), "clusters": units}


def win_rate_evidence(points: np.ndarray, clusters: Clusters, smallest: float) -> dict:
    """Whether a win rate is within a margin of one half, and how exactly it is known.

    Args:
        points: 1 for a win, 0 for a loss, 0.5 for a tie.
        smallest: the smallest difference from one half that matters.

    Returns:
        {smallest, p_equivalent, error, rows, most, n, clusters}: the p-value of both one-sided tests; the standard error were
        there no difference; how many independent rows would tell as much; how far from no difference a win rate can be. error
        and rows are null for a single cluster.
    """
    p = equivalence_p(lambda confidence: win_rate(points, clusters, confidence), 0.5, smallest)
    return _evidence(np.asarray(points, dtype=float) - 0.5, clusters, 0.5, p, smallest)


def rate_evidence(before: np.ndarray, after: np.ndarray, clusters: Clusters, smallest: float) -> dict:
    """The same of a difference of paired rates; `before` and `after` are truth values."""
    p = equivalence_p(lambda confidence: paired_difference(before, after, clusters, confidence), 0.0, smallest)
    return _evidence(np.asarray(after, dtype=float) - np.asarray(before, dtype=float), clusters, 1.0, p, smallest)
