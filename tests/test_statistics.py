import math

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar as statsmodels_mcnemar

from stages.lib.statistics import (
    effect_size,
    mcnemar,
    mean,
    paired_tests,
    pairwise_accuracy,
    proportion,
    rank_correlation,
    standard_deviation,
)


def test_proportion_is_wilsons():
    # Newcombe 1998, Statistics in Medicine 17:857, table I, method 3.
    for successes, n, low, high in (
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ):
        share = proportion(successes, n)
        assert (round(share["low"], 4), round(share["high"], 4)) == (low, high)
        assert share["value"] == successes / n and share["n"] == n


def test_mcnemar_is_exact():
    before = np.repeat([True, True, False, False], [20, 3, 26, 41])
    after = np.repeat([True, False, True, False], [20, 3, 26, 41])
    result = mcnemar(before, after)
    expected = statsmodels_mcnemar([[20, 3], [26, 41]], exact=True)
    assert (result["gained"], result["lost"]) == (26, 3)
    assert result["p"] == pytest.approx(expected.pvalue, rel=1e-12)
    assert result["difference"]["value"] == pytest.approx(23 / 90)
    assert mcnemar(before, before)["p"] == 1.0


def test_paired_difference_is_newcombes():
    # Newcombe 1998, Statistics in Medicine 17:2635, table III, method 10: (a, b, c, d) = (36, 12, 2, 0), (20, 12, 2, 16).
    for (a, b, c, d), low, high in (((36, 12, 2, 0), 0.0569, 0.3404), ((20, 12, 2, 16), 0.0562, 0.3292)):
        after = np.repeat([True, True, False, False], [a, b, c, d])
        before = np.repeat([True, False, True, False], [a, b, c, d])
        difference = mcnemar(before, after)["difference"]
        assert (round(difference["low"], 4), round(difference["high"], 4)) == (low, high)


def test_paired_tests_are_scipys():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=40), rng.normal(0.3, size=40)
    tests = paired_tests(b - a)
    assert tests["paired_t"]["p"] == pytest.approx(stats.ttest_rel(b, a).pvalue)
    assert tests["wilcoxon"]["p"] == pytest.approx(stats.wilcoxon(b, a).pvalue)
    assert paired_tests(np.zeros(5)) == {"n": 5, "paired_t": None, "wilcoxon": None}


def test_ties_count_half():
    assert pairwise_accuracy([1, 2, 3, 4], [0, 3, 3, 4])["value"] == 0.5


def test_mean_is_students():
    values = [1.0, 2.0, 4.0]
    interval = stats.t.interval(0.95, 2, loc=np.mean(values), scale=stats.sem(values))
    assert (mean(values)["low"], mean(values)["high"]) == pytest.approx(interval)
    assert mean([3.0]) == {"value": 3.0, "low": None, "high": None, "n": 1}


def test_bootstraps_hold_their_values():
    rng = np.random.default_rng(1)
    x = rng.normal(1, 2, 80)
    y = x + rng.normal(size=80)
    assert effect_size(x, 0)["value"] == pytest.approx(np.mean(x) / np.std(x, ddof=1))
    assert standard_deviation(x, 0)["value"] == pytest.approx(np.std(x, ddof=1))
    correlation = rank_correlation(x, y, 0)
    assert correlation["value"] == pytest.approx(stats.spearmanr(x, y).statistic)
    assert correlation["low"] < correlation["value"] < correlation["high"] < 1
    assert rank_correlation(x, y, 0) == correlation  # seeded


def test_what_does_not_vary_has_no_interval():
    assert standard_deviation([2.0, 2.0, 2.0], 0) == {"value": 0.0, "low": None, "high": None, "n": 3}
    assert effect_size([0.0, 0.0, 0.0], 0)["value"] is None


@pytest.mark.parametrize(("truth", "n"), [(0.5, 100), (0.76, 500), (0.9, 200)])
def test_proportion_covers_the_truth(truth, n):
    """Exact coverage, summed over all outcomes: within 93 to 97%."""
    inside = [k for k in range(n + 1) if proportion(k, n)["low"] <= truth <= proportion(k, n)["high"]]
    assert 0.93 <= math.fsum(stats.binom.pmf(inside, n, truth)) <= 0.97


def test_paired_difference_covers_the_truth():
    rng = np.random.default_rng(2)
    inside = 0
    for _ in range(2000):
        cells = rng.choice(4, size=120, p=[0.3, 0.25, 0.1, 0.35])  # both, only after, only before, neither
        difference = mcnemar((cells == 0) | (cells == 2), (cells == 0) | (cells == 1))["difference"]
        inside += difference["low"] <= 0.15 <= difference["high"]
    assert 0.93 <= inside / 2000 <= 0.97
