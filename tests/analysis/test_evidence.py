import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.power import TTestPower

from preference_study.analysis.evidence import detectable, equivalence_p, needed, rate_evidence, win_rate_evidence
from preference_study.analysis.statistics import paired_difference, share, standard_error


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
    points = np.random.default_rng(2).random(60) < 0.5
    found = win_rate_evidence(points, np.arange(60) // 3, 0.1)
    assert found["error"] == standard_error(points.astype(float), np.arange(60) // 3)
    assert (found["n"], found["clusters"], found["smallest"]) == (60, 20, 0.1)
    assert win_rate_evidence(points, ["one"] * 60, 0.1)["error"] is None


def test_few_prompts_that_are_all_alike_are_no_certainty():
    """Five ties, or five prompts gold in neither: nothing differed, and nothing is shown to be as good."""
    ties = win_rate_evidence(np.full(5, 0.5), None, 0.1)
    assert ties["p_equivalent"] > 0.05 and ties["error"] == pytest.approx(0.5 * np.sqrt(3) / 5)
    neither = rate_evidence(np.zeros(5, bool), np.zeros(5, bool), None, 0.1)
    assert neither["p_equivalent"] > 0.05 and neither["error"] == pytest.approx(np.sqrt(3) / 5)


@pytest.mark.parametrize("clusters", [20, 200, 1000])
def test_what_could_be_seen_is_statsmodels(clusters):
    error = 0.4 / np.sqrt(clusters)
    exact = TTestPower().solve_power(nobs=clusters, alpha=0.05 / 3, power=0.8) * 0.4
    assert detectable(error, clusters, tests=3) == pytest.approx(exact, rel=0.02)
    assert detectable(error, 1) is None


def test_what_it_takes_is_the_smallest_number_that_sees_it():
    count = needed(0.03, 200, 0.05, tests=3)
    deviation = 0.03 * np.sqrt(200)
    assert detectable(deviation / np.sqrt(count), count, 3) <= 0.05 < detectable(deviation / np.sqrt(count - 1), count - 1, 3)
    assert needed(1e-9, 200, 0.5) >= 2


def test_ties_make_a_win_rate_surer_to_be_one_half():
    points = np.repeat([1, 0, 0.5], [6, 6, 48])
    assert win_rate_evidence(points, None, 0.1)["p_equivalent"] < 0.05
    assert win_rate_evidence(np.repeat([1, 0], 30), None, 0.1)["p_equivalent"] > 0.05
