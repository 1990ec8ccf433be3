"""Estimates with their intervals, and tests for paired data.

An estimate is a dict {value, low, high, n}: low and high bound its 95% interval, n is how many observations it is of.
"""

import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from scipy import stats
from scipy.special import expit
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint

CONFIDENCE = 0.95
RESAMPLES = 4000
LARGE, RESAMPLES_OF_LARGE = 2000, 1000
BATCH = 2_000_000  # numbers resampled at a time, to bound memory


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
    # Rounding leaves the ends a little off where there is none, or nothing else.
    return estimate(successes / n, 0.0 if successes == 0 else low, 1.0 if successes == n else high, n)


def half_ties(differences: np.ndarray) -> np.ndarray:
    """1 where a difference is above zero, 0 below, one half for a tie: how every win and every pair ranked right is counted."""
    return (np.sign(differences) + 1) / 2


def pairwise_accuracy(chosen: Sequence[float], rejected: Sequence[float]) -> dict:
    """The share of pairs in which the chosen response scores higher; a tie counts half."""
    return proportion(half_ties(np.asarray(chosen) - np.asarray(rejected)).sum(), len(chosen))


def mean(values: Sequence[float]) -> dict:
    """A mean with Student's interval; of one value the interval is null."""
    values = np.asarray(values, dtype=float)
    centre, half = values.mean(), np.nan
    if len(values) > 1:
        half = stats.sem(values) * stats.t.ppf((1 + CONFIDENCE) / 2, len(values) - 1)
    return estimate(centre, centre - half, centre + half, len(values))


def bootstrapped(statistic: Callable[..., Any], *columns: Sequence[float], seed: int) -> dict:
    """A statistic with a bootstrap interval, resampling whole rows.

    Bias-corrected and accelerated (Efron 1987) up to `LARGE` rows. Beyond, its corrections no longer matter while its jackknife
    costs rows squared: the percentile interval then, of fewer resamples.

    Args:
        statistic: takes the columns and returns a number, or where it has an `axis` argument, numbers along that axis.
        columns: observations, of equal length.
        seed: of the resampling.

    Returns:
        An estimate; the interval is null where the statistic does not vary.
    """
    data = tuple(np.asarray(column, dtype=float) for column in columns)
    rows = len(data[0])
    resamples, method = (RESAMPLES, "BCa") if rows <= LARGE else (RESAMPLES_OF_LARGE, "percentile")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # degenerate data: scipy warns and returns NaN, which becomes null
        value = statistic(*data)
        if rows < 2:
            return estimate(value, np.nan, np.nan, rows)
        interval = stats.bootstrap(
            data, statistic, paired=True, n_resamples=resamples, confidence_level=CONFIDENCE,
            rng=np.random.default_rng(seed), method=method, batch=max(1, BATCH // rows),
        ).confidence_interval  # fmt: skip
    return estimate(value, interval.low, interval.high, rows)


def bootstrapped_change(statistic: Callable[..., Any], *columns: Sequence[float], seed: int) -> dict:
    """A statistic that is zero where nothing changed, with a percentile interval and a p-value of the same resamples of rows.

    p is twice the smaller share of resamples on either side of zero, the sample itself counted as one on both: below 0.05 where
    the interval leaves zero out, and 0.0005 at least. A resample in which the statistic is undefined counts on both sides.

    Args:
        statistic, columns, seed: as `bootstrapped` takes them; the statistic takes an axis.

    Returns:
        An estimate with p.
    """
    data = [np.asarray(column, dtype=float) for column in columns]
    rng, rows = np.random.default_rng(seed), len(data[0])
    step = max(1, BATCH // rows)
    with np.errstate(invalid="ignore", divide="ignore"):
        value = statistic(*data, axis=-1)
        found = []
        for start in range(0, RESAMPLES, step):
            picked = rng.integers(0, rows, size=(min(step, RESAMPLES - start), rows))
            found.append(statistic(*(column[picked] for column in data), axis=-1))
    values = np.concatenate(found)
    below, above = 1 + (~(values > 0)).sum(), 1 + (~(values < 0)).sum()
    tails = [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2]
    low, high = np.quantile(values, tails) if np.isfinite(values).all() else (np.nan, np.nan)
    return estimate(value, low, high, rows) | {"p": float(min(1.0, 2 * min(below, above) / (RESAMPLES + 1)))}


def paired_mean_change(differences: Sequence[float], seed: int) -> dict:
    """The mean of paired differences with Student's interval, and the p-value of a test that turns their signs at random.

    The permutation test (scipy's, exact up to `RESAMPLES` arrangements) holds where most differences are zero, as bootstrap tests
    do not.

    Returns:
        An estimate with p.
    """
    differences = np.asarray(differences, dtype=float)
    varied = differences[differences != 0]  # zeros stay zero whatever their sign
    test = None
    if len(varied) > 1:  # of one, both signs are as extreme
        test = stats.permutation_test(
            (varied,), np.sum, permutation_type="samples", vectorized=True, n_resamples=RESAMPLES, rng=np.random.default_rng(seed)
        )
    return mean(differences) | {"p": float(test.pvalue) if test else 1.0}


def standard_deviation(values: Sequence[float], seed: int) -> dict:
    """The sample standard deviation (n - 1) with a bootstrap interval."""
    return bootstrapped(lambda x, axis=-1: np.std(x, axis=axis, ddof=1), values, seed=seed)


def rank_correlation(x: Sequence[float], y: Sequence[float], seed: int) -> dict:
    """Spearman's rank correlation of independent rows, with a bootstrap interval."""
    return paired_rank_correlation((x,), (y,), seed)


def paired_rank_correlation(x: tuple[Sequence[float], ...], y: tuple[Sequence[float], ...], seed: int) -> dict:
    """Spearman's rank correlation over all members of groups (both responses of each pair), groups resampled whole.

    Args:
        x, y: one sequence a member: (of the chosen responses, of the rejected ones). The estimate's n counts groups.
    """

    def correlation(*columns, axis=-1):
        a, b = (stats.rankdata(np.concatenate(side, axis=axis), axis=axis) for side in (columns[: len(x)], columns[len(x) :]))
        a, b = (ranks - ranks.mean(axis=axis, keepdims=True) for ranks in (a, b))
        return (a * b).sum(axis=axis) / np.sqrt((a * a).sum(axis=axis) * (b * b).sum(axis=axis))

    return bootstrapped(correlation, *x, *y, seed=seed)


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


def _test(result: Any) -> dict[str, float] | None:
    return {"statistic": float(result.statistic), "p": float(result.pvalue)} if np.isfinite(result.pvalue) else None


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


def unpaired_t(a: Sequence[float], b: Sequence[float]) -> dict | None:
    """Student's t-test of two independent samples, equal variances assumed, as in the original study.

    Returns:
        {statistic, p}; null with fewer than two values on a side, or where nothing varies.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return _test(stats.ttest_ind(a, b)) if min(len(a), len(b)) > 1 else None


def sign_test(differences: Sequence[float]) -> dict | None:
    """The exact sign test: as many above zero as below? Zeros are left out; null where nothing is left.

    Returns:
        {statistic, p, n}: the statistic is the number above zero, n how many are not zero.
    """
    differences = np.asarray(differences, dtype=float)
    above, n = int((differences > 0).sum()), int((differences != 0).sum())
    return {"statistic": float(above), "p": float(stats.binomtest(above, n).pvalue), "n": n} if n else None


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


def brier_score(margins: Sequence[float]) -> dict:
    """The mean of (1 - sigmoid(margin))^2 over pairs (Brier 1950); a model that knows nothing has 0.25."""
    return mean((1 - expit(np.asarray(margins, dtype=float))) ** 2)


CONFIDENCE_BINS = np.linspace(0.5, 1.0, 11)


def reliability(margins: Sequence[float]) -> list[dict]:
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
            "observed": proportion(right[place == k].sum(), int((place == k).sum())),
        }
        for k in range(len(CONFIDENCE_BINS) - 1)
        if (place == k).any()
    ]


def _confidence_bin(belief: np.ndarray) -> np.ndarray:
    return np.clip(np.searchsorted(CONFIDENCE_BINS, belief, side="right") - 1, 0, len(CONFIDENCE_BINS) - 2)


def calibration_error(margins: Sequence[float], seed: int) -> dict:
    """Expected calibration error (Naeini et al. 2015) over the bins of `reliability`: |predicted - observed|, weighted by pairs.

    The interval is a bootstrap one. Resampling adds to this sum of absolute values, so with few pairs it lies high.
    """

    def error(x, axis=-1):
        belief, right = expit(np.abs(x)), half_ties(x)
        place = _confidence_bin(belief)
        gaps = [np.abs(np.where(place == k, belief - right, 0).sum(axis=axis)) for k in range(len(CONFIDENCE_BINS) - 1)]
        return np.sum(gaps, axis=0) / x.shape[axis]

    return bootstrapped(error, margins, seed=seed)


def explained_share(margins: Sequence[float], differences: Sequence[float], seed: int) -> dict:
    """The share of the margins' sum of squares that a line through the origin in `differences` accounts for.

    Through the origin, and about it, because which response of a pair comes first is arbitrary: swapping both signs of a row
    changes nothing.
    """

    def share(m, d, axis=-1):
        return (m * d).sum(axis=axis) ** 2 / ((m * m).sum(axis=axis) * (d * d).sum(axis=axis))

    return bootstrapped(share, margins, differences, seed=seed)


def length_controlled_win_rate(wins: Sequence[float], length_differences: Sequence[float], seed: int) -> dict | None:
    """The win rate at equal length (Dubois et al. 2024, length-controlled AlpacaEval, without its term per instruction).

    P(win) = sigmoid(a + b tanh(difference / s)), s the differences' standard deviation about zero; the result is sigmoid(a), with
    a bootstrap interval. A win and a loss of half a prompt's weight at equal length are added, and b has a weak normal prior, so
    that it is finite where every prompt was won or length separates wins from losses.

    Args:
        wins: 1 where the policy's response won, 0 where it lost, 0.5 for a tie.
        length_differences: words of the policy's response minus base's.
        seed: of the bootstrap.
    """
    differences = np.asarray(length_differences, dtype=float)
    scale = np.sqrt(np.mean(differences**2))
    length = np.tanh(differences / scale) if scale > 0 else np.zeros(len(differences))
    return bootstrapped(_win_rate_at_equal_length, wins, length, seed=seed)


PRIOR_PRECISION = 0.1  # of b: a standard deviation of 3.2, so that its 95% prior range is odds of 500 either way


def _win_rate_at_equal_length(wins: np.ndarray, length: np.ndarray, axis: int = -1) -> np.ndarray:
    """Newton's method for the two coefficients, for every row of a stack of samples at once."""
    a = b = np.zeros((*wins.shape[:-1], 1))
    for _ in range(30):
        p = expit(a + b * length)
        prior = expit(a)
        weight = p * (1 - p)
        gradient_a = (wins - p).sum(-1, keepdims=True) + 0.5 - prior
        gradient_b = ((wins - p) * length).sum(-1, keepdims=True) - PRIOR_PRECISION * b
        aa = weight.sum(-1, keepdims=True) + prior * (1 - prior)
        ab = (weight * length).sum(-1, keepdims=True)
        bb = (weight * length**2).sum(-1, keepdims=True) + PRIOR_PRECISION
        determinant = aa * bb - ab**2
        step_a = (bb * gradient_a - ab * gradient_b) / determinant
        step_b = (aa * gradient_b - ab * gradient_a) / determinant
        a, b = a + np.clip(step_a, -2, 2), b + np.clip(step_b, -2, 2)
        if max(np.abs(step_a).max(), np.abs(step_b).max()) < 1e-9:
            break
    return expit(a[..., 0])
