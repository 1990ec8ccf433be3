"""Estimates with their intervals, and tests for paired data.

An estimate is a dict {value, low, high, n}: low and high bound its 95% interval, n is how many observations it is of.
"""

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from scipy import stats
from statsmodels.stats.proportion import proportion_confint

CONFIDENCE = 0.95
RESAMPLES = 4000


def estimate(value: float, low: float, high: float, n: int) -> dict[str, float | int]:
    """An estimate as it is stored. What cannot be computed is null, for JSON has no NaN."""
    value, low, high = (float(x) if np.isfinite(x) else None for x in (value, low, high))
    return {"value": value, "low": low, "high": high, "n": int(n)}


def proportion(successes: float, n: int) -> dict:
    """A share with Wilson's interval (Wilson 1927, as in statsmodels).

    Args:
        successes: how many of n; half a success for a tie.
        n: number of trials, at least 1.
    """
    low, high = proportion_confint(float(successes), n, alpha=1 - CONFIDENCE, method="wilson")
    return estimate(successes / n, low, high, n)


def pairwise_accuracy(chosen: Sequence[float], rejected: Sequence[float]) -> dict:
    """The share of pairs in which the chosen answer scores higher; a tie counts half."""
    chosen, rejected = np.asarray(chosen), np.asarray(rejected)
    return proportion((chosen > rejected).sum() + (chosen == rejected).sum() / 2, len(chosen))


def mean(values: Sequence[float]) -> dict:
    """A mean with Student's interval; of one value the interval is null."""
    values = np.asarray(values, dtype=float)
    centre, half = values.mean(), np.nan
    if len(values) > 1:
        half = stats.sem(values) * stats.t.ppf((1 + CONFIDENCE) / 2, len(values) - 1)
    return estimate(centre, centre - half, centre + half, len(values))


def bootstrapped(statistic: Callable[..., Any], *columns: Sequence[float], seed: int) -> dict:
    """A statistic with a bias-corrected and accelerated bootstrap interval (Efron 1987), resampling whole rows.

    Args:
        statistic: takes the columns and returns a number, or where it has an `axis` argument, numbers along that axis.
        columns: observations, of equal length.
        seed: of the resampling.

    Returns:
        An estimate; the interval is null where the statistic does not vary.
    """
    data = tuple(np.asarray(column, dtype=float) for column in columns)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # degenerate data: scipy warns and returns NaN, which becomes null
        interval = stats.bootstrap(
            data, statistic, paired=True, n_resamples=RESAMPLES, confidence_level=CONFIDENCE,
            rng=np.random.default_rng(seed), method="BCa",
        ).confidence_interval  # fmt: skip
        return estimate(statistic(*data), interval.low, interval.high, len(data[0]))


def standard_deviation(values: Sequence[float], seed: int) -> dict:
    """The sample standard deviation (n - 1) with a bootstrap interval."""
    return bootstrapped(lambda x, axis=-1: np.std(x, axis=axis, ddof=1), values, seed=seed)


def rank_correlation(x: Sequence[float], y: Sequence[float], seed: int) -> dict:
    """Spearman's rank correlation with a bootstrap interval."""
    return bootstrapped(lambda a, b: stats.spearmanr(a, b).statistic, x, y, seed=seed)


def effect_size(differences: Sequence[float], seed: int) -> dict:
    """Cohen's d_z of paired differences, mean / standard deviation, with a bootstrap interval."""

    def d_z(x, axis=-1):
        return np.mean(x, axis=axis) / np.std(x, axis=axis, ddof=1)

    return bootstrapped(d_z, differences, seed=seed)


def paired_tests(differences: Sequence[float]) -> dict:
    """Student's paired t and Wilcoxon's signed-rank test of differences against zero, both two-sided.

    Returns:
        {paired_t: {statistic, p}, wilcoxon: {statistic, p}, n}; null where all differences are zero.
    """
    differences = np.asarray(differences, dtype=float)
    tests: dict[str, Any] = {"n": len(differences)}
    varies = bool(np.ptp(differences) > 0) if len(differences) > 1 else False
    tests["paired_t"] = _test(stats.ttest_1samp(differences, 0.0)) if varies else None
    tests["wilcoxon"] = _test(stats.wilcoxon(differences)) if varies else None
    return tests


def _test(result: Any) -> dict[str, float]:
    return {"statistic": float(result.statistic), "p": float(result.pvalue)}


def mcnemar(before: Sequence[bool], after: Sequence[bool]) -> dict:
    """The exact McNemar test (two-sided binomial over the pairs that changed) of two paired yes/no columns.

    Returns:
        {gained, lost, p, difference}: rows that became true, that became false, the p-value (1 where none changed), and the
        difference in shares with Newcombe's 1998 paired interval (his method 10).
    """
    before, after = np.asarray(before, dtype=bool), np.asarray(after, dtype=bool)
    gained, lost = int((after & ~before).sum()), int((before & ~after).sum())
    p = stats.binomtest(gained, gained + lost).pvalue if gained + lost else 1.0
    return {"gained": gained, "lost": lost, "p": float(p), "difference": paired_difference(before, after)}


def paired_difference(before: np.ndarray, after: np.ndarray) -> dict:
    """after's share minus before's over the same rows, with Newcombe's interval (Stat. Med. 1998, 17:2635, method 10)."""
    n = len(before)
    both, only_after = int((after & before).sum()), int((after & ~before).sum())
    only_before = int((before & ~after).sum())
    neither = n - both - only_after - only_before
    p2, p1 = proportion(both + only_after, n), proportion(both + only_before, n)
    denominator = np.sqrt(float(both + only_after) * (only_before + neither) * (both + only_before) * (only_after + neither))
    product = both * neither - only_after * only_before
    if product > 0:
        product = max(product - n / 2, 0)
    phi = product / denominator if denominator else 0.0
    up2, down2 = p2["high"] - p2["value"], p2["value"] - p2["low"]
    up1, down1 = p1["high"] - p1["value"], p1["value"] - p1["low"]
    value = p2["value"] - p1["value"]
    low = value - np.sqrt(down2**2 - 2 * phi * down2 * up1 + up1**2)
    high = value + np.sqrt(up2**2 - 2 * phi * up2 * down1 + down1**2)
    return estimate(value, low, high, n)
