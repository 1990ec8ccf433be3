import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.power import TTestPower

from preference_study.analysis.evidence import (
    detectable,
    equivalence_p,
    fewest_clusters,
    needed,
    rate_evidence,
    win_rate_evidence,
)
from preference_study.analysis.statistics import paired_difference, share, sign_flip_p, standard_error
from preference_study.power import planned


def test_both_one_sided_tests_are_the_interval_within_the_margin():
    """Of a mean with a known error, the p-value is the larger of two one-sided ones."""

    def interval(confidence):
        half = stats.norm.ppf((1 + confidence) / 2) * 0.03
        return {"low": 0.52 - half, "high": 0.52 + half}

    wanted = max(stats.norm.sf((0.52 - 0.4) / 0.03), stats.norm.cdf((0.52 - 0.6) / 0.03))
    assert equivalence_p(interval, 0.5, 0.1) == pytest.approx(wanted, abs=1e-5)
    assert equivalence_p(interval, 0.5, 0.01) == 1.0  # the value itself lies outside
    assert equivalence_p(lambda confidence: {"low": None, "high": None}, 0.5, 0.1) == 1.0


@pytest.mark.parametrize("clusters", [None, np.arange(400) // 4])
def test_the_p_value_is_where_the_interval_leaves_the_margin(clusters):
    rng = np.random.default_rng(1)
    points, before, after = rng.random(400) < 0.52, rng.random(400) < 0.4, rng.random(400) < 0.42
    p = win_rate_evidence(points, clusters, 0.1)["p_equivalent"]
    at, inside = share(points, clusters, 1 - 2 * p), share(points, clusters, 1 - 2 * (p + 0.01))
    assert max(at["high"] - 0.6, 0.4 - at["low"]) == pytest.approx(0, abs=1e-3) and 0.4 < inside["low"] < inside["high"] < 0.6
    p = rate_evidence(before, after, clusters, 0.1)["p_equivalent"]
    at = paired_difference(before, after, clusters, 1 - 2 * p)
    assert max(at["high"] - 0.1, -0.1 - at["low"]) == pytest.approx(0, abs=1e-3)


def test_what_is_known_of_a_difference():
    points, clusters = np.random.default_rng(2).random(60) < 0.5, np.arange(60) // 3
    found = win_rate_evidence(points, clusters, 0.1)
    alike = (standard_error(points, clusters) / standard_error(points)) ** 2
    assert found["rows"] == pytest.approx(60 / alike) and found["error"] == pytest.approx(0.5 / (60 / alike) ** 0.5)
    assert (found["n"], found["clusters"], found["smallest"], found["most"]) == (60, 20, 0.1, 0.5)
    alone = win_rate_evidence(points, ["one"] * 60, 0.1)
    assert alone["error"] is alone["rows"] is None
    before, after = np.arange(50) < 20, (np.arange(50) >= 5) & (np.arange(50) < 22)  # 2 gained, 5 lost
    changed = rate_evidence(before, after, None, 0.1)
    assert changed["error"] == pytest.approx((7 / 50 / 50) ** 0.5) and (changed["rows"], changed["most"]) == (50, 1.0)


def test_few_prompts_that_are_all_alike_are_no_certainty():
    """Five ties, or five prompts gold in neither: nothing differed, and nothing is shown to be as good."""
    ties = win_rate_evidence(np.full(5, 0.5), None, 0.1)
    assert ties["p_equivalent"] > 0.05 and ties["error"] == pytest.approx(0.5 * np.sqrt(3) / 5)
    neither = rate_evidence(np.zeros(5, bool), np.zeros(5, bool), None, 0.1)
    assert neither["p_equivalent"] > 0.05 and neither["error"] == pytest.approx(np.sqrt(3) / 5)
    half = np.arange(16) < 8
    assert rate_evidence(half, half, None, 0.1)["p_equivalent"] > 0.05


@pytest.mark.parametrize("clusters", [20, 200, 1000])
def test_what_could_be_seen_is_statsmodels(clusters):
    """Where a difference needs next to nothing of the variance that was found."""
    exact = TTestPower().solve_power(nobs=clusters, alpha=0.05 / 3, power=0.8) * 0.4
    evidence = {"error": 0.4 / np.sqrt(clusters), "rows": 1e6, "most": 1.0, "n": clusters, "clusters": clusters}
    assert detectable(evidence, tests=3) == pytest.approx(exact, rel=0.02)
    assert detectable(evidence | {"clusters": 1, "error": None, "rows": None}) is None


def known(square: float, most: float, n: int) -> dict:
    """The evidence of n rows with this mean square of what differs."""
    return {"error": (square / n) ** 0.5, "rows": n, "most": most, "n": n, "clusters": n}


@pytest.mark.parametrize(
    ("square", "most", "difference"), [(0.25, 0.5, 0.1), (0.4, 1.0, 0.1), (0.01, 1.0, 0.1), (0.16, 0.5, 0.06)]
)
def test_what_it_takes_is_the_smallest_number_that_sees_it(square, most, difference):
    count = needed(known(square, most, 77), difference, tests=3)
    assert detectable(known(square, most, count), 3) <= difference < detectable(known(square, most, count - 1), 3)
    assert needed(known(1e-9, 0.5, 200), 0.5) >= 2


def test_what_could_be_seen_is_connors_by_hand():
    """Of 30 prompts without ties: a variance of 1/4 under no difference d, of 1/4 - d^2 where it is there."""
    alpha, beta = stats.t.isf(0.025, 29), stats.t.ppf(0.8, 29)
    difference = 0.25
    for _ in range(50):
        difference = alpha * (0.25 / 30) ** 0.5 + beta * ((0.25 - difference**2) / 30) ** 0.5
    found = detectable(known(0.25, 0.5, 30))
    assert found == pytest.approx(difference) and found < 0.98 * (alpha + beta) * (0.25 / 30) ** 0.5


def power_of_mcnemar(n: int, gained: float, lost: float, level: float) -> float:
    """Of the exact test, over all outcomes; with lost = 1 - gained it is the sign test."""
    power = 0.0
    for changed in range(1, n + 1):
        p = 2 * stats.binom.cdf(np.minimum(ups := np.arange(changed + 1), changed - ups), changed, 0.5)
        seen = stats.binom.pmf(ups, changed, gained / (gained + lost))[p < level].sum()
        power += stats.binom.pmf(changed, n, gained + lost) * seen
    return float(power)


@pytest.mark.parametrize("changed", [(0, 0), (1, 0), (2, 0), (8, 6), (30, 25), (60, 55)])
@pytest.mark.parametrize("n", [40, 120])
def test_what_is_said_to_be_seen_is_seen_by_the_exact_test(changed, n):
    """Were as many prompts to change as did, and at least what a difference needs: 76% and more, some 80."""
    if sum(changed) > n:
        return
    gained, lost = changed
    after = np.arange(n) < gained
    before = (np.arange(n) >= n - lost) & (lost > 0)
    found = rate_evidence(before, after, None, 0.1)
    square = found["error"] ** 2 * n
    for size, difference in ((n, detectable(found, 3)), (needed(found, 0.1, 3), 0.1)):
        if difference < 1:
            moved = max(square, difference)
            assert power_of_mcnemar(size, (moved + difference) / 2, (moved - difference) / 2, 0.05 / 3) >= 0.76


def test_of_a_win_rate_it_is_the_sign_tests_power():
    for wins in (3, 6, 110):
        found = win_rate_evidence(np.repeat([1.0, 0.0], [wins, 0 if wins < 100 else 90]), None, 0.1)
        count = needed(found, 0.1, 3)
        assert 0.78 <= power_of_mcnemar(count, 0.6, 0.4, 0.05 / 3) <= 0.84
    nothing = win_rate_evidence(np.ones(4), None, 0.1)
    assert detectable(nothing) > nothing["most"]  # of four, not even all won are told from one half


def test_ties_make_a_win_rate_surer_to_be_one_half():
    points = np.repeat([1, 0, 0.5], [6, 6, 48])
    assert win_rate_evidence(points, None, 0.1)["p_equivalent"] < 0.05
    assert win_rate_evidence(np.repeat([1, 0], 30), None, 0.1)["p_equivalent"] > 0.05


def power_by_clusters(difference: float, clusters: int, rows: int, alike: float, level: float) -> float:
    """Of random signs of whole clusters, whose rows are won with the cluster's own probability: 1,200 draws."""
    rng, size = np.random.default_rng(clusters), (1 - alike) / alike
    own = rng.beta((0.5 + difference) * size, (0.5 - difference) * size, (1200, clusters))
    return float(np.mean([sign_flip_p(2.0 * won - rows) < level for won in rng.binomial(rows, own)]))


@pytest.mark.parametrize("tests", [1, 3])
@pytest.mark.parametrize("clusters", [4, 5, 6, 7, 8, 9, 12])
def test_of_few_clusters_that_is_seen_which_random_signs_see(clusters, tests):
    """They give no p below 2^(1 - clusters), so that of fewer than six nothing is seen, however large."""
    known = planned(150 * clusters, 150, 0.01, 0.4)["win_rate"]
    difference, fewest = detectable(known, tests), fewest_clusters(known, tests)
    assert (difference is None) == (clusters < fewest) == (2.0 ** (1 - clusters) >= 0.05 / tests)
    if difference is not None:
        assert 0.76 <= power_by_clusters(difference, clusters, 150, 0.01, 0.05 / tests) <= 0.87


def test_what_it_takes_is_never_fewer_clusters_than_can_show_something():
    known = planned(150, 150, 0.001, 0.4)["win_rate"]
    assert [needed(known, 0.4, tests) for tests in (1, 2, 3, 6)] == [6, 7, 7, 8]
    count = needed(known, 0.05, 3)
    at, before = (detectable(planned(150 * clusters, 150, 0.001, 0.4)["win_rate"], 3) for clusters in (count, count - 1))
    assert at <= 0.05 < before


def test_of_many_clusters_the_level_is_the_whole_one():
    """150 clusters of four much alike rows: as 150 rows, each a cluster."""
    alone, together = (planned(150 * rows, rows, 1.0, 0.4)["gold_rate"] for rows in (1, 4))
    assert detectable(together, 3) == detectable(alone, 3)
