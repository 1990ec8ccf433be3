"""Rows that were drawn together: labels that all differ change nothing, doubled rows tell nothing more, and intervals hold."""

import math
from itertools import product

import numpy as np
import pytest
import statsmodels.api as sm
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from preference_study.analysis import statistics
from preference_study.analysis.statistics import (
    bootstrapped,
    bootstrapped_change,
    brier_score,
    calibration_error,
    cluster_numbers,
    effect_size,
    explained_share,
    mcnemar,
    mean,
    median,
    paired_difference,
    paired_mean_change,
    paired_rank_correlation,
    paired_standard_deviation,
    paired_tests,
    pairwise_accuracy,
    proportion,
    rank_correlation,
    reliability,
    share,
    sign_flip_p,
    sign_test,
    standard_deviation,
    standard_error,
    subset,
)
from preference_study.analysis.style import length_controlled_win_rate, length_features, win_rate_at_equal_features


def average(x, axis=-1):
    return np.mean(x, axis=axis)


# Everything that takes clusters, as a function of x, y, two truth values a row, and clusters.
EVERY = {
    "share": lambda x, y, a, b, c: share(a, c),
    "accuracy": lambda x, y, a, b, c: pairwise_accuracy(x, y, c),
    "mean": lambda x, y, a, b, c: mean(x, c),
    "median": lambda x, y, a, b, c: median(x, c),
    "deviation": lambda x, y, a, b, c: standard_deviation(x, 0, c),
    "paired deviation": lambda x, y, a, b, c: paired_standard_deviation((x, y), 0, c),
    "correlation": lambda x, y, a, b, c: rank_correlation(x, y, 0, c),
    "paired correlation": lambda x, y, a, b, c: paired_rank_correlation((x, y), (y, a), 0, c),
    "d_z": lambda x, y, a, b, c: effect_size(x, 0, c),
    "tests": lambda x, y, a, b, c: paired_tests(x, c),
    "mcnemar": lambda x, y, a, b, c: mcnemar(a, b, c),
    "sign test": lambda x, y, a, b, c: sign_test(x, c),
    "brier": lambda x, y, a, b, c: brier_score(x, c),
    "reliability": lambda x, y, a, b, c: reliability(x, c),
    "calibration": lambda x, y, a, b, c: calibration_error(x, 0, c),
    "explained": lambda x, y, a, b, c: explained_share(x, y, 0, c),
    "equal length": lambda x, y, a, b, c: length_controlled_win_rate(a, x, 0, c),
    "change": lambda x, y, a, b, c: bootstrapped_change(average, x, seed=0, clusters=c),
    "paired change": lambda x, y, a, b, c: paired_mean_change(x, 0, c),
}


def rows(n: int, seed: int = 0) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(seed)
    x, y = rng.normal(0.3, 1, n).round(1), rng.normal(0, 1, n).round(1)
    return x, y, rng.random(n) < 0.5, rng.random(n) < 0.6


@pytest.mark.parametrize("name", EVERY)
def test_labels_that_all_differ_are_no_clusters(name, monkeypatch):
    monkeypatch.setattr(statistics, "RESAMPLES", 200)
    labels = [f"prompt {i}" for i in range(40)]
    assert EVERY[name](*rows(40), labels) == EVERY[name](*rows(40), None)


@pytest.mark.parametrize("name", EVERY)
def test_the_order_and_the_names_of_clusters_do_not_matter(name, monkeypatch):
    monkeypatch.setattr(statistics, "RESAMPLES", 200)
    numbers = np.arange(40) // 3
    assert EVERY[name](*rows(40), numbers) == EVERY[name](*rows(40), [f"{i} a" for i in numbers])


# What a number is drawn by, in estimates and in tests.
COUNTED = {
    "deviation",
    "paired deviation",
    "correlation",
    "mean",
    "median",
    "share",
    "accuracy",
    "d_z",
    "brier",
    "explained",
    "change",
}


@pytest.mark.parametrize("name", sorted(COUNTED))
def test_rows_and_clusters_are_counted(name, monkeypatch):
    monkeypatch.setattr(statistics, "RESAMPLES", 200)
    found = EVERY[name](*rows(40), np.arange(40) // 3)
    assert (found["n"], found["clusters"]) == (40, 14) and found["low"] < found["value"] < found["high"]


@pytest.mark.parametrize("name", sorted(set(EVERY) - {"reliability"}))
def test_rows_of_one_cluster_tell_nothing_of_others(name):
    found = EVERY[name](*rows(30), ["the only one"] * 30)
    found = found.get("difference", found) | {key: found[key] for key in ("p",) if key in found}
    assert found.get("low") is found.get("high") is None
    assert found.get("p", 1.0) == 1.0 and found.get("paired_t") is found.get("wilcoxon") is None


@pytest.mark.parametrize("name", ["mean", "share", "accuracy", "deviation", "d_z", "change", "brier"])
def test_rows_written_three_times_tell_nothing_more(name, monkeypatch):
    """Within what a correction for few clusters comes to, the interval is that of the rows written once."""
    once, clusters = rows(60), np.repeat(np.arange(60), 3)
    alone = EVERY[name](*once, None)
    thrice = EVERY[name](*(np.repeat(column, 3) for column in once), clusters)
    naive = EVERY[name](*(np.repeat(column, 3) for column in once), None)
    width, same, narrow = (found["high"] - found["low"] for found in (alone, thrice, naive))
    assert same == pytest.approx(width, rel=0.1) and narrow < 0.65 * width


def test_the_standard_error_is_statsmodels():
    x, *_ = rows(50, seed=3)
    clusters = np.random.default_rng(1).integers(0, 12, 50)
    fit = sm.OLS(x, np.ones(50)).fit(cov_type="cluster", cov_kwds={"groups": clusters, "df_correction": True}, use_t=True)
    assert standard_error(x, clusters) == pytest.approx(fit.bse[0])
    found = mean(x, clusters)
    assert [found["low"], found["high"]] == pytest.approx(fit.conf_int()[0].tolist())
    fit = sm.OLS(x, np.ones(50)).fit(cov_type="cluster", cov_kwds={"groups": clusters, "df_correction": True}, use_t=True)
    test = paired_tests(x, clusters)["paired_t"]
    assert (test["statistic"], test["p"]) == (pytest.approx(fit.tvalues[0]), pytest.approx(fit.pvalues[0]))


def test_a_share_that_is_all_or_none_counts_each_cluster_once():
    """Nothing shows how alike the rows of a prompt are: 40 right rows of 10 prompts are 10 right rows."""
    clusters = np.arange(40) // 4
    for value in (0.0, 1.0):
        found = share(np.full(40, value), clusters)
        assert [found[end] for end in ("low", "high")] == [proportion(10 * value, 10)[end] for end in ("low", "high")]
    assert paired_difference(np.ones(40), np.ones(40), clusters)["low"] == paired_difference(np.ones(10), np.ones(10))["low"]


def by_enumeration(sums: list[float]) -> float:
    """Of all arrangements of signs the share whose sum is as far from zero."""
    found = [abs(np.dot(signs, sums)) for signs in product((-1, 1), repeat=len(sums))]
    return float(np.mean(np.array(found) >= abs(sum(sums)) - 1e-9))


@given(st.lists(st.integers(-6, 6).map(lambda i: i / 2), min_size=2, max_size=9))
def test_signs_are_counted_as_by_hand(sums):
    wanted = by_enumeration(sums) if np.count_nonzero(sums) > 1 else 1.0
    assert sign_flip_p(sums) == pytest.approx(wanted)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 25), st.integers(0, 25))
def test_single_steps_are_the_exact_sign_test(above, below):
    if above + below > 1:
        assert sign_flip_p([1.0] * above + [-1.0] * below) == pytest.approx(stats.binomtest(above, above + below).pvalue)


def test_signs_that_cannot_be_counted_are_drawn():
    sums = np.random.default_rng(0).normal(0.5, 1, 12)
    assert sign_flip_p(sums) == pytest.approx(by_enumeration(list(sums)), abs=0.01)
    assert sign_flip_p(np.full(40, math.pi)) == 1 / (statistics.FLIPS + 1)  # 2 of 2 ** 40 are as far, and the sample is one


def test_tests_of_clusters_by_hand():
    differences, clusters = [1.0, 2.0, -0.5, 3.0, 0.0, 1.5, 1.0], list("aabbcde")
    # Signs by cluster 2, 0, 0, 1, 1. Signed ranks: 2.5 + 5, -1 + 6, nothing, 4, 2.5.
    assert sign_test(differences, clusters) == {
        "statistic": 5.0,
        "p": pytest.approx(by_enumeration([2, 1, 1])),
        "n": 6,
        "clusters": 4,
    }
    wilcoxon = paired_tests(differences, clusters)["wilcoxon"]
    assert wilcoxon == {"statistic": 1.0, "p": pytest.approx(by_enumeration([7.5, 5, 4, 2.5]))}
    assert wilcoxon["statistic"] == stats.wilcoxon(differences).statistic
    before, after = np.array([0, 0, 1, 0, 1, 0, 0], bool), np.array([1, 1, 0, 1, 1, 0, 1], bool)
    found = mcnemar(before, after, clusters)
    assert (found["gained"], found["lost"], found["p"]) == (4, 1, pytest.approx(by_enumeration([2, 1])))
    changed = paired_mean_change(differences, 0, clusters)
    assert changed["p"] == pytest.approx(by_enumeration([3, 2.5, 1.5, 1])) and changed["clusters"] == 5


def test_whole_clusters_are_resampled():
    """Rows of a cluster never part: their sum is the same in every resample."""
    x, clusters = np.array([5.0, -5.0, 1.0, 2.0, -3.0, 7.0, -7.0]), list("aabbbcc")
    found = bootstrapped(lambda x, axis=-1: x.sum(axis=axis), x, seed=0, clusters=clusters)
    assert found == {"value": 0.0, "low": None, "high": None, "n": 7, "clusters": 3}
    sizes = bootstrapped_change(lambda x, axis=-1: x.sum(axis=axis), np.ones(7), seed=0, clusters=clusters)
    assert sizes["low"] >= 6 and sizes["high"] <= 9


def test_labels_may_be_anything_and_a_mask_takes_its_own():
    assert cluster_numbers(["b", None, "b", 3]).tolist() == [0, 1, 0, 2] and cluster_numbers([1, 2]) is None
    assert subset(None, [True]) is None and subset(list("abc"), np.array([True, False, True])).tolist() == ["a", "c"]


# Simulation: 1, 4 and 17 rows a cluster, evenly and unevenly many, with the correlation that the answers to one prompt have.
SIZES = {1: 120, 4: 50, 17: 40}


def labels(rng, size: int, even: bool) -> np.ndarray:
    count = SIZES[size]
    return np.repeat(np.arange(count), size if even or size == 1 else 1 + rng.poisson(size - 1, count))


def normal(rng, clusters, alike=0.2):
    return math.sqrt(alike) * rng.normal(size=clusters[-1] + 1)[clusters] + math.sqrt(1 - alike) * rng.normal(size=len(clusters))


def yes(rng, clusters, rate, alike=0.2):
    """Each prompt has its own rate (beta-binomial, with that intra-cluster correlation)."""
    spread = 1 / alike - 1
    return rng.random(len(clusters)) < rng.beta(rate * spread, (1 - rate) * spread, clusters[-1] + 1)[clusters]


def before_and_after(rng, clusters, first, second):
    """Truth values of two policies: the prompt matters to both, and to each in its own way."""
    common = normal(rng, clusters, 0.5)
    one, other = (math.sqrt(0.6) * common + math.sqrt(0.4) * normal(rng, clusters, 0.3) for _ in range(2))
    return one < stats.norm.ppf(first), other < stats.norm.ppf(second)


def correlated(rng, clusters):
    x = normal(rng, clusters)
    return x, 0.5 * x + math.sqrt(0.75) * normal(rng, clusters)


def won_by_length(rng, clusters):
    """The mean over prompts of the odds at equal length is 0.4; what a sample's own model converges to is computed below."""
    length = 10 * normal(rng, clusters)
    odds = 0.4 + np.tanh(length / 10) + normal(rng, clusters, 1.0)[: len(clusters)]
    return (rng.random(len(clusters)) < 1 / (1 + np.exp(-odds))).astype(float), length


def converged() -> float:
    wins, length = won_by_length(np.random.default_rng(0), np.arange(800_000) // 4)
    return win_rate_at_equal_features(wins, *length_features(length).T)


RANK = 6 / math.pi * math.asin(0.25)
QUICK = {  # an interval of columns and clusters, what draws the columns, the truth
    "share of one half": (share, lambda rng, c: [yes(rng, c, 0.5)], 0.5),
    "share of 0.15": (share, lambda rng, c: [yes(rng, c, 0.15)], 0.15),
    "mean": (mean, lambda rng, c: [normal(rng, c)], 0.0),
    "median": (lambda x, c: median(np.exp(x), c), lambda rng, c: [normal(rng, c)], 1.0),
    "mean of 0 and 1": (mean, lambda rng, c: [yes(rng, c, 0.5)], 0.5),
    "difference near one half": (paired_difference, lambda rng, c: before_and_after(rng, c, 0.45, 0.55), 0.1),
    "difference near 0.15": (paired_difference, lambda rng, c: before_and_after(rng, c, 0.15, 0.2), 0.05),
    "deviation": (lambda x, c: standard_deviation(x, 0, c), lambda rng, c: [normal(rng, c)], 1.0),
}
BOOTSTRAPS = {
    "d_z": (lambda x, c: effect_size(x, 0, c), lambda rng, c: [0.3 + normal(rng, c)], 0.3),
    "rank correlation": (lambda x, y, c: rank_correlation(x, y, 0, c), correlated, RANK),
    "change": (lambda x, c: bootstrapped_change(average, x, seed=0, clusters=c), lambda rng, c: [normal(rng, c)], 0.0),
    "explained": (lambda x, y, c: explained_share(x, y, 0, c), correlated, 0.25),
    "equal length": (lambda w, d, c: length_controlled_win_rate(w, d, 0, c), won_by_length, converged),
}


def coverage(case, size: int, runs: int, even: bool) -> float:
    interval, draw, truth = case
    truth, held = truth() if callable(truth) else truth, 0
    for run in range(runs):
        rng = np.random.default_rng(run)
        clusters = labels(rng, size, even)
        found = interval(*draw(rng, clusters), clusters)
        held += found["low"] <= truth <= found["high"]
    return held / runs


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", QUICK)
def test_intervals_hold_the_truth_at_so_many_rows_a_cluster(name, size, monkeypatch):
    """A coverage of 95% is found within 1.4 of it, two standard errors of 1,000 samples."""
    monkeypatch.setattr(statistics, "RESAMPLES", 600)
    runs = 300 if name == "deviation" and size == 1 else 1000
    assert 0.93 <= coverage(QUICK[name], size, runs, even=name != "mean") <= 0.97


@pytest.mark.parametrize("size", [4, 17])
@pytest.mark.parametrize("name", BOOTSTRAPS)
def test_bootstraps_hold_the_truth_at_so_many_rows_a_cluster(name, size, monkeypatch):
    """Those of single rows are in test_statistics."""
    slow = name in ("rank correlation", "equal length")
    monkeypatch.setattr(statistics, "RESAMPLES", 200 if slow else 400)
    runs = 250 if slow else 400
    assert 0.93 <= coverage(BOOTSTRAPS[name], size, runs, even=True) <= 0.97
