"""Estimates with their intervals, and tests for paired data, by rows or by clusters of rows.

An estimate is a dict {value, low, high, n, clusters}: low and high bound its 95% interval, n is how many observations it is of,
and clusters of how many independent ones they are made.

What is drawn may be a prompt with several rows. `clusters` then gives each row's label: rows of one label are drawn together, and
intervals and tests go by labels (Miller 2024, arXiv 2411.00640). None, or labels that all differ, means that each row is drawn by
itself. From rows of a single label nothing can be said of others: intervals are null and tests have p = 1.

With several rows a cluster the intervals hold the truth 93 to 97 times in 100 from about `ENOUGH` clusters on, as simulated in
the tests; with fewer they may hold it less often.
"""

import math
import warnings
from collections.abc import Callable, Hashable, Iterable, Sequence
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats
from scipy.optimize import brentq
from scipy.special import expit
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint

CONFIDENCE = 0.95
ENOUGH = 25
RESAMPLES = 4000
FLIPS = 20_000  # of signs at random, where all cannot be counted
COUNTED = 2e8  # additions at most to count them
LARGE, RESAMPLES_OF_LARGE = 2000, 1000
BATCH = 2_000_000  # numbers resampled at a time, to bound memory

Clusters = Sequence[Hashable] | None


def estimate(value: float, low: float, high: float, n: int, clusters: int | None = None) -> dict[str, float | int | None]:
    """An estimate as it is stored. What cannot be computed is null, for JSON has no NaN; `clusters` is n where it is None."""
    value, low, high = (float(x) if np.isfinite(x) else None for x in (value, low, high))
    return {"value": value, "low": low, "high": high, "n": int(n), "clusters": int(n if clusters is None else clusters)}


def cluster_numbers(clusters: Clusters) -> np.ndarray | None:
    """Labels as numbers from 0; None where each row is a cluster of its own."""
    if clusters is None:
        return None
    labels = clusters.to_numpy() if isinstance(clusters, pd.Series) else clusters
    labels = labels if isinstance(labels, np.ndarray) else np.array(labels, dtype=object)
    numbers, different = pd.factorize(labels, use_na_sentinel=False)
    return None if len(different) == len(numbers) else numbers


@cache
def student(confidence: float, freedom: int) -> float:
    """Student's quantile that a two-sided interval reaches to; the normal one's with 0 degrees of freedom."""
    tail = (1 + confidence) / 2
    return float(stats.t.ppf(tail, freedom) if freedom else stats.norm.ppf(tail))


def subset(clusters: Clusters, rows: np.ndarray) -> Clusters:
    """The labels of some rows, by a mask; None stays None."""
    return None if clusters is None else np.asarray(clusters)[np.asarray(rows, dtype=bool)]


def _groups(numbers: np.ndarray) -> int:
    return int(numbers.max()) + 1


def cluster_sums(values: Sequence[float], clusters: Clusters) -> np.ndarray:
    """The sum of each cluster's values; the values themselves where each row is one."""
    values, numbers = np.asarray(values, dtype=float), cluster_numbers(clusters)
    return values if numbers is None else np.bincount(numbers, values)


def standard_error(values: Sequence[float], clusters: Clusters = None) -> float:
    """Of a mean, robust to clusters: that of an OLS fit of a constant with CR1 covariance; NaN for a single cluster."""
    values, numbers = np.asarray(values, dtype=float), cluster_numbers(clusters)
    units = len(values) if numbers is None else _groups(numbers)
    if units < 2:
        return np.nan
    if numbers is None:
        return values.std(ddof=1) / np.sqrt(units)
    return np.sqrt(units / (units - 1) * (np.bincount(numbers, values - values.mean()) ** 2).sum()) / len(values)


def effective_rows(values: np.ndarray, clusters: Clusters, confidence: float = CONFIDENCE) -> float:
    """How many independent rows would tell as much as these (Korn and Graubard 1998, Survey Methodology 24:193).

    n over the design effect, times the squared ratio of the normal quantile to Student's with clusters - 1 degrees of freedom,
    and n at most. Where the values do not vary nothing shows how alike the rows of a cluster are: each cluster then counts once.
    """
    numbers = cluster_numbers(clusters)
    if numbers is None:
        return len(values)
    groups, alone = _groups(numbers), standard_error(values)
    if groups < 2:
        return np.nan
    design_effect = (standard_error(values, clusters) / alone) ** 2 if alone > 0 else len(values) / groups
    shrink = (student(confidence, 0) / student(confidence, groups - 1)) ** 2 if alone > 0 else 1.0
    return min(len(values), len(values) * shrink / design_effect) if design_effect > 0 else len(values)


def wilson(successes: float, rows: float, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """The ends of Wilson's interval (Wilson 1927, as in statsmodels); successes and rows need not be whole numbers."""
    low, high = proportion_confint(successes, rows, alpha=1 - confidence, method="wilson")
    # Rounding leaves the ends a little off where there is none, or nothing else.
    return (0.0 if successes == 0 else float(low)), (1.0 if successes == rows else float(high))


def proportion(successes: float, n: int) -> dict:
    """A share of independent rows with Wilson's interval.

    Args:
        successes: how many of n; half a success for a tie.
        n: number of trials, at least 1.
    """
    return estimate(successes / n, *wilson(float(successes), n), n)


def share(points: Sequence[float], clusters: Clusters = None, confidence: float = CONFIDENCE) -> dict:
    """The share of rows that are so, with Wilson's interval at the effective number of rows.

    Args:
        points: 1 where a row is, 0 where it is not, or between.
        confidence: of the interval.
    """
    points, numbers = np.asarray(points, dtype=float), cluster_numbers(clusters)
    n, groups = len(points), len(points) if numbers is None else _groups(numbers)
    rows = effective_rows(points, clusters, confidence)
    ends = wilson(points.sum() * (rows / n), rows, confidence) if np.isfinite(rows) else (np.nan, np.nan)
    return estimate(points.sum() / n, *ends, n, groups)


def half_ties(differences: np.ndarray) -> np.ndarray:
    """1 where a difference is above zero, 0 below, one half for a tie: how every win and every pair ranked right is counted."""
    return (np.sign(differences) + 1) / 2


def win_rate(points: Sequence[float], clusters: Clusters = None, confidence: float = CONFIDENCE) -> dict:
    """The share of rows that are won, a tie being half of one.

    Without ties it is `share`. With them it is one half and half the difference of the shares won and lost, and so is its
    interval (`paired_difference`): a tie varies less than a win or a loss, which Wilson's interval does not know.

    Args:
        points: 1 for a win, 0 for a loss, 0.5 for a tie.
        confidence: of the interval.
    """
    points = np.asarray(points, dtype=float)
    if not (points == 0.5).any():
        return share(points, clusters, confidence)
    found = paired_difference(points == 0, points == 1, clusters, confidence)
    ends = {end: None if found[end] is None else 0.5 + found[end] / 2 for end in ("low", "high")}
    return found | {"value": float(points.sum() / len(points))} | ends


def pairwise_accuracy(chosen: Sequence[float], rejected: Sequence[float], clusters: Clusters = None) -> dict:
    """The share of pairs in which the chosen response scores higher; a tie counts half, as in `win_rate`."""
    return win_rate(half_ties(np.asarray(chosen) - np.asarray(rejected)), clusters)


def mean(values: Sequence[float], clusters: Clusters = None) -> dict:
    """A mean with Student's interval, by clusters with clusters - 1 degrees of freedom; null where nothing varies.

    Where all clusters have the same mean and rows within them vary, the interval is that of as many independent rows.
    """
    values = np.asarray(values, dtype=float)
    numbers = cluster_numbers(clusters)
    units = len(values) if numbers is None else _groups(numbers)
    centre, half = values.mean(), np.nan
    if units > 1 and np.ptp(values) > 0:
        error = standard_error(values, clusters)
        half = (error if error > 1e-12 * np.abs(values).max() else standard_error(values)) * student(CONFIDENCE, units - 1)
    return estimate(centre, centre - half, centre + half, len(values), units)


def side_of_zero(mean: dict) -> int:
    """1 or -1 where the interval of a mean lies above or below zero, else 0; of values that do not vary, the side of all of them.

    Args:
        mean: from `mean`, or another estimate of what zero means no difference in.
    """
    if mean["low"] is None:
        return int(np.sign(mean["value"])) if mean["clusters"] > 1 else 0
    return int(mean["low"] > 0) - int(mean["high"] < 0)


def median(values: Sequence[float], clusters: Clusters = None) -> dict:
    """A median with Woodruff's interval, which few extreme values do not move.

    Wilson's interval of the share of rows below the median, at the effective number of rows, is read off the rows themselves
    (Woodruff 1952, JASA 47:635): its ends are those quantiles, at Weibull's plotting positions. Null where nothing varies.
    """
    values, numbers = np.asarray(values, dtype=float), cluster_numbers(clusters)
    units = len(values) if numbers is None else _groups(numbers)
    centre, ends = np.median(values), (np.nan, np.nan)
    if units > 1 and np.ptp(values) > 0:
        rows = effective_rows(half_ties(values - centre), clusters)
        ends = np.quantile(values, wilson(rows / 2, rows), method="weibull")
    return estimate(centre, *ends, len(values), units)


def bootstrapped(statistic: Callable[..., Any], *columns: Sequence[float], seed: int, clusters: Clusters = None) -> dict:
    """A statistic with a bootstrap interval, resampling whole rows, or whole clusters.

    Bias-corrected and accelerated (Efron 1987) up to `LARGE` rows or clusters. Beyond, its corrections no longer matter while its
    jackknife costs their number squared: the percentile interval then, of fewer resamples. Of clusters the interval is widened as
    Student's is against the normal one (Hesterberg 2015, The American Statistician 69:371, section 4.3).

    Args:
        statistic: takes the columns and an `axis` and returns numbers along that axis.
        columns: observations, of equal length.
        seed: of the resampling.

    Returns:
        An estimate; the interval is null where the statistic does not vary.
    """
    data = tuple(np.asarray(column, dtype=float) for column in columns)
    numbers = cluster_numbers(clusters)
    rows, units = len(data[0]), len(data[0]) if numbers is None else _groups(numbers)
    resamples, method = (RESAMPLES, "BCa") if units <= LARGE else (RESAMPLES_OF_LARGE, "percentile")
    confidence = CONFIDENCE
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # degenerate data: scipy warns and returns NaN, which becomes null
        value = statistic(*data)
        if units < 2:
            return estimate(value, np.nan, np.nan, rows, units)
        if numbers is not None:
            statistic, data = _by_clusters(statistic, data, numbers), (np.arange(units),)
            confidence = 2 * stats.norm.cdf(_widened(units)) - 1
        interval = stats.bootstrap(
            data, statistic, paired=True, n_resamples=resamples, confidence_level=confidence,
            rng=np.random.default_rng(seed), method=method, batch=max(1, BATCH // rows), vectorized=True,
        ).confidence_interval  # fmt: skip
    return estimate(value, interval.low, interval.high, rows, units)


def _widened(clusters: int) -> float:
    """The normal quantile of a 95% interval, widened for so many clusters."""
    return np.sqrt(clusters / (clusters - 1)) * student(CONFIDENCE, clusters - 1)


def _by_clusters(statistic: Callable[..., Any], columns: Sequence[np.ndarray], numbers: np.ndarray) -> Callable[..., Any]:
    """The statistic of columns as one of the numbers of the clusters that are drawn, the drawn along the last axis."""
    order = np.argsort(numbers, kind="stable")
    sizes = np.bincount(numbers)
    starts = np.cumsum(sizes) - sizes

    def of_drawn(drawn: np.ndarray, axis: int = -1) -> np.ndarray:
        flat = np.asarray(drawn, dtype=int).reshape(-1, np.shape(drawn)[-1])
        rows = sizes[flat].sum(axis=1)
        found = np.empty(len(flat))
        for count in np.unique(rows):  # samples of as many rows make one table
            these = np.flatnonzero(rows == count)
            picked = flat[these].ravel()
            first = np.repeat(starts[picked] - np.cumsum(sizes[picked]) + sizes[picked], sizes[picked])
            places = order[(first + np.arange(len(first))).reshape(len(these), count)]
            found[these] = statistic(*(column[places] for column in columns), axis=-1)
        return found.reshape(np.shape(drawn)[:-1])

    return of_drawn


def bootstrapped_change(statistic: Callable[..., Any], *columns: Sequence[float], seed: int, clusters: Clusters = None) -> dict:
    """A statistic that is zero where nothing changed, with a percentile interval and a p-value of the same resamples.

    p is twice the smaller share of resamples on either side of zero, the sample itself counted as one on both: below 0.05 where
    the interval leaves zero out, and 0.0005 at least. A resample in which the statistic is undefined counts on both sides. Of
    clusters both are widened as in `bootstrapped`.

    Args:
        statistic, columns, seed, clusters: as `bootstrapped` takes them.

    Returns:
        An estimate with p.
    """
    data = [np.asarray(column, dtype=float) for column in columns]
    numbers = cluster_numbers(clusters)
    rows, units = len(data[0]), len(data[0]) if numbers is None else _groups(numbers)
    rng, step = np.random.default_rng(seed), max(1, BATCH // rows)
    with np.errstate(invalid="ignore", divide="ignore"):
        value = statistic(*data, axis=-1)
        if units < 2:
            return estimate(value, np.nan, np.nan, rows, units) | {"p": 1.0}
        if numbers is not None:
            statistic, data = _by_clusters(statistic, data, numbers), [np.arange(units)]
        found = []
        for start in range(0, RESAMPLES, step):
            picked = rng.integers(0, units, size=(min(step, RESAMPLES - start), units))
            found.append(statistic(*(column[picked] for column in data), axis=-1))
    values = np.concatenate(found)
    below, above = 1 + (~(values > 0)).sum(), 1 + (~(values < 0)).sum()
    tail, p = (1 + CONFIDENCE) / 2, min(1.0, 2 * min(below, above) / (RESAMPLES + 1))
    if numbers is not None:
        tail = stats.norm.cdf(_widened(units))
        p = 2 * stats.t.sf(stats.norm.isf(p / 2) * np.sqrt((units - 1) / units), units - 1)
    low, high = np.quantile(values, [1 - tail, tail]) if np.isfinite(values).all() else (np.nan, np.nan)
    return estimate(value, low, high, rows, units) | {"p": float(p)}


def sign_flip_p(sums: Sequence[float], seed: int = 0) -> float:
    """The two-sided p-value of a sum against the sums that random signs of its terms give.

    All of them are counted where the terms are multiples of one half and not too many: for terms of 1 and -1 that is the exact
    sign test. Else `FLIPS` are drawn, the sample itself counted as one of them, so that p is 0.00005 at least.

    Args:
        sums: independent terms, such as one a cluster, which zero would be as likely above as below if there were no effect.
        seed: of the signs drawn.
    """
    terms = np.asarray(sums, dtype=float)
    terms = terms[terms != 0]  # zeros stay zero whatever their sign
    if len(terms) < 2:  # of one, both signs are as extreme
        return 1.0
    doubled = np.abs(2 * terms)
    whole = np.round(doubled)
    if np.allclose(doubled, whole, rtol=0, atol=1e-9) and len(terms) * whole.sum() <= COUNTED:
        steps = whole.astype(int) // np.gcd.reduce(whole.astype(int))
        chance = np.ones(1)  # of each sum of as many signs, from the lowest up, in steps of one
        for step in steps:
            longer = np.zeros(len(chance) + 2 * step)
            longer[: len(chance)] += chance / 2
            longer[2 * step :] += chance / 2
            chance = longer
        reached = abs(int(np.sign(terms) @ steps))
        places = np.abs(np.arange(len(chance)) - steps.sum())
        return float(min(1.0, chance[places >= reached].sum()))
    rng, reached = np.random.default_rng(seed), abs(terms.sum()) * (1 - 1e-12)
    step, beyond = max(1, BATCH // len(terms)), 1
    for start in range(0, FLIPS, step):
        signs = rng.integers(0, 2, size=(min(step, FLIPS - start), len(terms)), dtype=np.int8) * 2.0 - 1.0
        beyond += int((np.abs(signs @ terms) >= reached).sum())
    return beyond / (FLIPS + 1)


def paired_mean_change(differences: Sequence[float], seed: int, clusters: Clusters = None) -> dict:
    """The mean of paired differences with Student's interval, and the p-value of a test that turns their signs at random.

    The test, `sign_flip_p` of each cluster's sum, holds where most differences are zero, as bootstrap tests do not.

    Returns:
        An estimate with p.
    """
    return mean(differences, clusters) | {"p": sign_flip_p(cluster_sums(differences, clusters), seed)}


def standard_deviation(values: Sequence[float], seed: int, clusters: Clusters = None) -> dict:
    """The sample standard deviation (n - 1) with a bootstrap interval."""
    return paired_standard_deviation((values,), seed, clusters)


def paired_standard_deviation(members: tuple[Sequence[float], ...], seed: int, clusters: Clusters = None) -> dict:
    """The standard deviation over all members of groups (both responses of each pair), groups resampled whole.

    A bootstrap of clusters covers too rarely here. Of clusters the interval is Student's on the logarithm, with the standard
    error of the jackknife that leaves out one cluster at a time (MacKinnon, Nielsen and Webb 2023, J. of Applied Econometrics
    38:671). It holds the truth 93 times in 100 from about 40 clusters on; with 25 of 17 much alike rows it was 91.

    Args:
        members: one sequence a member: (of the chosen responses, of the rejected ones). The estimate's n counts groups.
    """

    if (numbers := cluster_numbers(clusters)) is not None:
        return _standard_deviation_by_clusters(np.concatenate(members), np.tile(numbers, len(members)), len(numbers))

    def deviation(*columns, axis=-1):
        return np.std(np.concatenate(columns, axis=axis), axis=axis, ddof=1)

    return bootstrapped(deviation, *members, seed=seed, clusters=clusters)


def _standard_deviation_by_clusters(values: np.ndarray, numbers: np.ndarray, n: int) -> dict:
    units, values = _groups(numbers), values - values.mean()
    rows, sums, squares = (len(numbers) - np.bincount(numbers), -np.bincount(numbers, values), np.bincount(numbers, values**2))
    whole, half = values.std(ddof=1), np.nan
    with np.errstate(invalid="ignore", divide="ignore"):
        left = np.log(((values**2).sum() - squares - sums**2 / rows) / (rows - 1)) / 2
        error = np.sqrt((units - 1) / units * ((left - left.mean()) ** 2).sum())
        half = error * student(CONFIDENCE, units - 1) if units > 1 and error > 0 else np.nan
    return estimate(whole, whole * np.exp(-half), whole * np.exp(half), n, units)


def rank_correlation(x: Sequence[float], y: Sequence[float], seed: int, clusters: Clusters = None) -> dict:
    """Spearman's rank correlation, with a bootstrap interval."""
    return paired_rank_correlation((x,), (y,), seed, clusters)


def paired_rank_correlation(
    x: tuple[Sequence[float], ...], y: tuple[Sequence[float], ...], seed: int, clusters: Clusters = None
) -> dict:
    """Spearman's rank correlation over all members of groups (both responses of each pair), groups resampled whole.

    Args:
        x, y: one sequence a member: (of the chosen responses, of the rejected ones). The estimate's n counts groups.
    """

    def correlation(*columns, axis=-1):
        a, b = (stats.rankdata(np.concatenate(side, axis=axis), axis=axis) for side in (columns[: len(x)], columns[len(x) :]))
        a, b = (ranks - ranks.mean(axis=axis, keepdims=True) for ranks in (a, b))
        return (a * b).sum(axis=axis) / np.sqrt((a * a).sum(axis=axis) * (b * b).sum(axis=axis))

    return bootstrapped(correlation, *x, *y, seed=seed, clusters=clusters)


def auc(scores: Sequence[float], labels: Sequence[bool], seed: int, clusters: Clusters = None) -> dict:
    """How often a score of a labelled row is above one of another, the area under the ROC curve, with a bootstrap interval.

    Args:
        labels: some true and some not. A resample without both is undefined, and then the interval is null.
    """

    def area(x, y, axis=-1):
        ranks, labelled = stats.rankdata(x, axis=axis), y.sum(axis=axis)
        above = (ranks * y).sum(axis=axis) - labelled * (labelled + 1) / 2
        return above / (labelled * (x.shape[axis] - labelled))

    return bootstrapped(area, scores, labels, seed=seed, clusters=clusters)


def effect_size(differences: Sequence[float], seed: int, clusters: Clusters = None) -> dict:
    """Cohen's d_z of paired differences, mean / standard deviation, with a bootstrap interval."""

    def d_z(x, axis=-1):
        return np.mean(x, axis=axis) / np.std(x, axis=axis, ddof=1)

    return bootstrapped(d_z, differences, seed=seed, clusters=clusters)


def paired_tests(differences: Sequence[float], clusters: Clusters = None) -> dict:
    """Student's paired t and Wilcoxon's signed-rank test of differences against zero, both two-sided.

    Of clusters, t is the mean over its cluster-robust standard error with clusters - 1 degrees of freedom, and the signed ranks'
    sum is held against random signs of whole clusters.

    Returns:
        {paired_t: {statistic, p}, wilcoxon: {statistic, p}, n, clusters}; null where all differences are zero, Student's also
        where they do not vary.
    """
    differences = np.asarray(differences, dtype=float)
    numbers = cluster_numbers(clusters)
    units = len(differences) if numbers is None else _groups(numbers)
    tests: dict[str, Any] = {"n": len(differences), "clusters": units, "paired_t": None, "wilcoxon": None}
    if units < 2 or not differences.any():
        return tests
    varies = np.ptp(differences) > 0
    if numbers is None:
        student_t = _test(stats.ttest_1samp(differences, 0.0)) if varies else None
        return tests | {"paired_t": student_t, "wilcoxon": _test(stats.wilcoxon(differences))}
    error = standard_error(differences, clusters)
    if varies and error > 0:
        t = differences.mean() / error
        tests["paired_t"] = {"statistic": float(t), "p": float(2 * stats.t.sf(abs(t), units - 1))}
    moved = differences[differences != 0]
    signed = np.sign(moved) * stats.rankdata(np.abs(moved))
    smaller = min(signed[signed > 0].sum(), -signed[signed < 0].sum())  # as scipy's statistic
    p = sign_flip_p(cluster_sums(signed, numbers[differences != 0]))
    return tests | {"wilcoxon": {"statistic": float(smaller), "p": p}}


def _test(result: Any) -> dict[str, float] | None:
    return {"statistic": float(result.statistic), "p": float(result.pvalue)} if np.isfinite(result.pvalue) else None


def mcnemar(before: Sequence[bool], after: Sequence[bool], clusters: Clusters = None) -> dict:
    """The exact McNemar test (two-sided binomial over the pairs that changed) of two paired yes/no columns.

    Of clusters the test turns the signs of what each gained minus lost.

    Returns:
        {gained, lost, p, difference}: rows that became true, that became false, the p-value (1 where none changed), and the
        difference in shares as `paired_difference` gives it.
    """
    before, after = np.asarray(before, dtype=bool), np.asarray(after, dtype=bool)
    gained, lost = int((after & ~before).sum()), int((before & ~after).sum())
    if cluster_numbers(clusters) is None:
        p = stats.binomtest(gained, gained + lost).pvalue if gained + lost else 1.0
    else:
        p = sign_flip_p(cluster_sums(after.astype(float) - before, clusters))
    return {"gained": gained, "lost": lost, "p": float(p), "difference": paired_difference(before, after, clusters)}


def paired_difference(before: np.ndarray, after: np.ndarray, clusters: Clusters = None, confidence: float = CONFIDENCE) -> dict:
    """after's share minus before's over the same rows, with Tango's score interval (Stat. Med. 1998, 17:891).

    It goes by the rows that changed alone. Of clusters it is the interval of the effective number of rows, by the design effect
    of the difference.

    Args:
        before, after: [n] truth values.
        confidence: of the interval.
    """
    before, after = np.asarray(before, dtype=bool), np.asarray(after, dtype=bool)
    n, numbers = len(before), cluster_numbers(clusters)
    units, rows = (n, n) if numbers is None else (_groups(numbers), effective_rows(after * 1.0 - before, clusters, confidence))
    gained, lost = int((after & ~before).sum()), int((before & ~after).sum())
    if units < 2 and n > 1:
        return estimate((gained - lost) / n, np.nan, np.nan, n, units)
    return estimate((gained - lost) / n, *tango(gained * rows / n, lost * rows / n, rows, confidence), n, units)


def tango(gained: float, lost: float, rows: float, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """The ends of Tango's interval of (gained - lost) / rows; the numbers of rows need not be whole."""
    value, quantile = (gained - lost) / rows, student(confidence, 0)

    def score(difference: float) -> float:
        # The share that is lost, most likely given the difference.
        linear = (2 * rows - gained + lost) * difference - gained - lost
        root = math.sqrt(max(0.0, linear**2 + 8 * rows * lost * difference * (1 - difference)))
        variance = rows * ((root - linear) / (2 * rows) + difference * (1 - difference))
        distance = gained - lost - rows * difference
        if variance > 0:
            return distance / math.sqrt(variance)
        return math.copysign(1e9, distance) if distance else 0.0

    def end(side: int) -> float:
        if abs(value - side) < 1e-9:
            return float(side)
        return float(brentq(lambda difference: score(difference) + side * quantile, value, side, xtol=1e-12))

    return end(-1), end(1)


def unpaired_difference(a: dict, b: dict) -> dict:
    """a's value minus b's, two estimates of different rows, with the interval that theirs give.

    It is MOVER's (Zou and Donner 2008, Stat. Med. 27:1693), of two shares with Wilson's intervals Newcombe's (Stat. Med. 1998,
    17:873, method 10); null where one of the two has none.
    """
    n, clusters = a["n"] + b["n"], a["clusters"] + b["clusters"]
    if a["value"] is None or b["value"] is None:
        return estimate(np.nan, np.nan, np.nan, n, clusters)
    value = a["value"] - b["value"]
    if a["low"] is None or b["low"] is None:
        return estimate(value, np.nan, np.nan, n, clusters)
    low = value - np.hypot(a["value"] - a["low"], b["high"] - b["value"])
    high = value + np.hypot(a["high"] - a["value"], b["value"] - b["low"])
    return estimate(value, low, high, n, clusters)


def unpaired_t(a: Sequence[float], b: Sequence[float]) -> dict | None:
    """Student's t-test of two independent samples, equal variances assumed, as in the original study.

    It knows neither pairs nor clusters, as that one did not.

    Returns:
        {statistic, p}; null with fewer than two values on a side, or where nothing varies.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return _test(stats.ttest_ind(a, b)) if min(len(a), len(b)) > 1 else None


def sign_test(differences: Sequence[float], clusters: Clusters = None) -> dict | None:
    """The exact sign test: as many above zero as below? Zeros are left out; null where nothing is left.

    Of clusters the test turns the signs of each one's number above minus below.

    Returns:
        {statistic, p, n, clusters}: the statistic is the number above zero, n how many are not zero, in so many clusters.
    """
    differences = np.asarray(differences, dtype=float)
    moved = differences != 0
    above, n = int((differences > 0).sum()), int(moved.sum())
    if not n:
        return None
    numbers = cluster_numbers(clusters)
    if numbers is None:
        return {"statistic": float(above), "p": float(stats.binomtest(above, n).pvalue), "n": n, "clusters": n}
    p = sign_flip_p(cluster_sums(np.sign(differences), clusters))
    return {"statistic": float(above), "p": p, "n": n, "clusters": len(np.unique(numbers[moved]))}


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values corrected for being one of a family (Holm 1979), in the order given."""
    return multipletests(p_values, method="holm")[1].tolist() if len(p_values) else []


def holm_in_place(family: Iterable[tuple[dict, str]]) -> None:
    """Correct the tests of a family.

    Args:
        family: per test a row and its key of the p-value; at <key>_holm comes the corrected one, None where p is None.
    """
    family = list(family)
    for row, key in family:
        row[f"{key}_holm"] = None
    testable = [(row, key) for row, key in family if row[key] is not None]
    for (row, key), corrected in zip(testable, holm([row[key] for row, key in testable]), strict=True):
        row[f"{key}_holm"] = corrected


def brier_score(margins: Sequence[float], clusters: Clusters = None) -> dict:
    """The mean of (1 - sigmoid(margin))^2 over pairs (Brier 1950); a model that knows nothing has 0.25."""
    return mean((1 - expit(np.asarray(margins, dtype=float))) ** 2, clusters)


CONFIDENCE_BINS = np.linspace(0.5, 1.0, 11)


def reliability(margins: Sequence[float], clusters: Clusters = None) -> list[dict]:
    """Whether confidence is earned: ten bins from 0.5 to 1 of sigmoid(|margin|), its belief that the favoured response is right.

    Args:
        margins: reward of the chosen response minus the rejected one's.

    Returns:
        Per bin that has pairs {low, high, predicted, observed}: mean belief, and share that was right (ties half).
    """
    margins = np.asarray(margins, dtype=float)
    belief, right = expit(np.abs(margins)), half_ties(margins)
    place = _confidence_bin(belief)
    return [
        {
            "low": float(CONFIDENCE_BINS[k]),
            "high": float(CONFIDENCE_BINS[k + 1]),
            "predicted": float(belief[place == k].mean()),
            "observed": share(right[place == k], subset(clusters, place == k)),
        }
        for k in range(len(CONFIDENCE_BINS) - 1)
        if (place == k).any()
    ]


def _confidence_bin(belief: np.ndarray) -> np.ndarray:
    return np.clip(np.searchsorted(CONFIDENCE_BINS, belief, side="right") - 1, 0, len(CONFIDENCE_BINS) - 2)


def calibration_error(margins: Sequence[float], seed: int, clusters: Clusters = None) -> dict:
    """Expected calibration error (Naeini et al. 2015) over the bins of `reliability`: |predicted - observed|, weighted by pairs.

    The interval is a bootstrap one. Resampling adds to this sum of absolute values, so with few pairs it lies high.
    """

    def error(x, axis=-1):
        belief, right = expit(np.abs(x)), half_ties(x)
        place = _confidence_bin(belief)
        gaps = [np.abs(np.where(place == k, belief - right, 0).sum(axis=axis)) for k in range(len(CONFIDENCE_BINS) - 1)]
        return np.sum(gaps, axis=0) / x.shape[axis]

    return bootstrapped(error, margins, seed=seed, clusters=clusters)


def explained_share(margins: Sequence[float], differences: Sequence[float], seed: int, clusters: Clusters = None) -> dict:
    """The share of the margins' sum of squares that a line through the origin in `differences` accounts for.

    Through the origin, and about it, because which response of a pair comes first is arbitrary: swapping both signs of a row
    changes nothing.
    """

    def explained(m, d, axis=-1):
        return (m * d).sum(axis=axis) ** 2 / ((m * m).sum(axis=axis) * (d * d).sum(axis=axis))

    return bootstrapped(explained, margins, differences, seed=seed, clusters=clusters)


# Of b: a standard deviation of 32. A stronger prior would hold b back where the policy's responses are always longer and always
# win, and so give to a what is as well told by length.
PRIOR_PRECISION = 1e-3


def information(features: np.ndarray, found: np.ndarray) -> np.ndarray:
    """[1 + k, 1 + k]: how exactly wins tell a and b of P(win) = sigmoid(a + b . features), with what their priors tell.

    Args:
        features: [n, k].
        found: [1 + k], a and b.
    """
    design = np.column_stack([np.ones(len(features)), features])
    p, even = expit(design @ found), expit(found[0])
    prior = np.diag([even * (1 - even)] + [PRIOR_PRECISION] * features.shape[1])
    return design.T @ (design * (p * (1 - p))[:, None]) + prior


def not_narrower(interval: dict, features: np.ndarray, found: np.ndarray) -> dict:
    """A bootstrap interval of sigmoid(a), or that by the `information`, on either side the wider one.

    Where features are much the same for all rows, or every row was won, a prior alone says how much of it is a. Resampling does
    not see that, as the prior stays what it is.

    Args:
        interval: of sigmoid(a). Of a single cluster it has no bounds and gets none; where resampling finds none, for every sample
            gives the same, the information's stand.
        features, found: as `information` takes them.
    """
    if interval["clusters"] < 2:
        return interval
    half = student(CONFIDENCE, interval["clusters"] - 1) * np.sqrt(np.linalg.inv(information(features, found))[0, 0])
    low, high = (float(expit(found[0] + side * half)) for side in (-1, 1))
    if interval["low"] is not None:
        low, high = min(interval["low"], low), max(interval["high"], high)
    return interval | {"low": low, "high": high}
