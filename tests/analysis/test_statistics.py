import math

import numpy as np
import pytest
import statsmodels.api as sm
from hypothesis import assume, example, given
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar as statsmodels_mcnemar
from statsmodels.stats.proportion import confint_proportions_2indep

from preference_study.analysis import statistics
from preference_study.analysis.statistics import (
    brier_score,
    calibration_error,
    effect_size,
    explained_share,
    holm,
    mcnemar,
    mean,
    median,
    paired_difference,
    paired_rank_correlation,
    paired_tests,
    pairwise_accuracy,
    proportion,
    rank_correlation,
    reliability,
    share,
    side_of_zero,
    sign_test,
    standard_deviation,
    tango,
    unpaired_difference,
    unpaired_t,
    win_rate,
)
from preference_study.analysis.style import length_controlled_win_rate, length_features


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


def test_a_difference_of_two_shares_is_newcombes():
    # Newcombe 1998, Statistics in Medicine 17:873, table II, example a, method 10.
    found = unpaired_difference(proportion(56, 70), proportion(48, 80))
    assert [round(found[key], 4) for key in ("value", "low", "high")] == [0.2, 0.0524, 0.3339] and found["n"] == 150
    for (a, n), (b, m) in (((9, 10), (3, 10)), ((0, 60), (4, 35)), ((7, 7), (0, 19))):
        found = unpaired_difference(proportion(a, n), proportion(b, m))
        expected = confint_proportions_2indep(a, n, b, m, method="newcomb", compare="diff")
        assert (found["low"], found["high"]) == pytest.approx(expected)


def test_a_difference_of_means_has_the_intervals_of_both_and_none_without_one_of_them():
    a, b = (mean(values, clusters) for values, clusters in (([1.0, 2.0, 4.0, 9.0], [1, 1, 2, 3]), ([0.0, 3.0, 1.0], None)))
    found = unpaired_difference(a, b)
    assert found["value"] == 4 - 4 / 3 and (found["n"], found["clusters"]) == (7, 6)
    assert found["high"] - found["value"] == pytest.approx(math.hypot(a["high"] - 4, b["high"] - 4 / 3))
    alone = unpaired_difference(a, mean([5.0]))
    assert (alone["value"], alone["low"], alone["high"], alone["n"]) == (-1, None, None, 5)
    assert unpaired_difference(alone | {"value": None}, a)["value"] is None


def test_mcnemar_is_exact():
    before = np.repeat([True, True, False, False], [20, 3, 26, 41])
    after = np.repeat([True, False, True, False], [20, 3, 26, 41])
    result = mcnemar(before, after)
    expected = statsmodels_mcnemar([[20, 3], [26, 41]], exact=True)
    assert (result["gained"], result["lost"]) == (26, 3)
    assert result["p"] == pytest.approx(expected.pvalue, rel=1e-12)
    assert result["difference"]["value"] == pytest.approx(23 / 90)
    assert mcnemar(before, before)["p"] == 1.0


def cells(both: int, gained: int, lost: int, neither: int) -> tuple[np.ndarray, np.ndarray]:
    counts = [both, gained, lost, neither]
    return np.repeat([True, False, True, False], counts), np.repeat([True, True, False, False], counts)


def test_paired_difference_is_tangos():
    # Fagerland, Lydersen and Laake 2014, Stat. Med. 33:2850, airway hyper-responsiveness.
    difference = mcnemar(*cells(1, 1, 7, 12))["difference"]
    assert [round(difference[key], 3) for key in ("value", "low", "high")] == [-0.286, -0.517, -0.026]
    # Of none that changed it is solved by hand: z^2 / (n + z^2), whatever the rates are.
    square = stats.norm.ppf(0.975) ** 2
    for both in (0, 8, 16):
        none = mcnemar(*cells(both, 0, 0, 16 - both))["difference"]
        assert [none["low"], none["high"]] == pytest.approx([-square / (16 + square), square / (16 + square)])
    assert mcnemar(*cells(0, 7, 0, 0))["difference"]["high"] == -mcnemar(*cells(0, 0, 7, 0))["difference"]["low"] == 1.0


@given(st.integers(0, 40), st.integers(0, 40), st.integers(0, 40))
@example(0, 0, 1)
@example(3, 0, 0)
def test_paired_difference_mirrors_and_goes_by_what_changed(gained, lost, same):
    assume(gained + lost + same > 1)
    found = [paired_difference(*cells(*counts)) for counts in ((0, gained, lost, same), (same, lost, gained, 0))]
    low, high = ([one[end] for one in found] for end in ("low", "high"))
    assert low == pytest.approx([-high[1], -high[0]], abs=1e-9)
    assert -1 <= low[0] <= found[0]["value"] + 1e-9 and found[0]["value"] - 1e-9 <= high[0] <= 1


@pytest.mark.parametrize(
    ("gained", "lost", "n"), [(2 / 20, 0, 20), (0.1, 0, 40), (0.1, 0, 100), (0.05, 0.05, 60), (0.3, 0.15, 80)]
)
def test_paired_difference_covers_the_truth_where_few_change(gained, lost, n):
    """Exact coverage over all outcomes is 93% or more, and one of a margin that matters is called as good in 6% at most."""
    covered = as_good = 0.0
    for a in range(n + 1):
        chances = stats.multinomial.pmf([[a, b, n - a - b] for b in range(n - a + 1)], n, [gained, lost, 1 - gained - lost])
        for b, chance in enumerate(chances):
            if chance > 1e-9:
                low, high = tango(a, b, n)
                covered += chance * (low <= gained - lost <= high)
                low, high = tango(a, b, n, 0.9)
                as_good += chance * (max(-low, high) < 0.1)
    assert covered >= 0.93 and (gained - lost < 0.1 or as_good <= 0.06)


def test_paired_tests_are_scipys():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=40), rng.normal(0.3, size=40)
    tests = paired_tests(b - a)
    assert tests["paired_t"]["p"] == pytest.approx(stats.ttest_rel(b, a).pvalue)
    assert tests["wilcoxon"]["p"] == pytest.approx(stats.wilcoxon(b, a).pvalue)
    assert paired_tests(np.zeros(5)) == {"n": 5, "clusters": 5, "paired_t": None, "wilcoxon": None}


def test_the_same_difference_everywhere_is_a_difference():
    """Eight of one sign: random signs reach that in 2 of 256; of four clusters in 2 of 16."""
    tests = paired_tests(np.full(8, 9.0))
    assert tests["paired_t"] is None and tests["wilcoxon"]["p"] == pytest.approx(2 / 256)
    tests = paired_tests(np.full(8, -9.0), list("aabbccdd"))
    assert tests["paired_t"] is None and tests["wilcoxon"]["p"] == pytest.approx(2 / 16)


def test_the_side_of_zero_goes_by_the_interval_or_by_values_that_are_all_the_same():
    rng = np.random.default_rng(0)
    for shift, side in ((3, 1), (-3, -1), (0, 0)):
        assert side_of_zero(mean(rng.normal(shift, 1, 50))) == side
    assert [side_of_zero(mean([value] * 4)) for value in (9.0, -9.0, 0.0)] == [1, -1, 0]
    assert side_of_zero(mean([9.0])) == side_of_zero(mean([9.0, 9.0], ["a", "a"])) == 0  # of one nothing is known


def test_clusters_of_one_mean_are_no_certainty():
    """Twenty clusters, each with 50 and 0: their means do not vary, and rows do."""
    found = mean([50.0, 0.0] * 20, np.arange(40) // 2)
    assert found["value"] == 25 and (found["n"], found["clusters"]) == (40, 20)
    assert found["high"] - 25 == pytest.approx(np.std([50, 0] * 20, ddof=1) / 40**0.5 * stats.t.ppf(0.975, 19))


def test_ties_count_half():
    assert pairwise_accuracy([1, 2, 3, 4], [0, 3, 3, 4])["value"] == 0.5


@pytest.mark.parametrize(("wins", "losses", "ties"), [(9, 0, 51), (6, 6, 48), (1, 0, 59), (0, 0, 20)])
def test_a_win_rate_with_ties_is_half_the_difference_of_won_and_lost(wins, losses, ties):
    points = np.repeat([1, 0, 0.5], [wins, losses, ties])
    found, difference = win_rate(points), paired_difference(points == 0, points == 1)
    assert found["value"] == pytest.approx(points.mean())
    assert [found["low"], found["high"]] == pytest.approx([0.5 + difference["low"] / 2, 0.5 + difference["high"] / 2])
    wide = share(points)
    assert wide["low"] < found["low"] <= found["value"] <= found["high"] < wide["high"]


def test_a_win_rate_says_what_its_sign_test_says():
    won = win_rate(np.repeat([1, 0.5], [9, 51]))
    assert won["low"] > 0.5 and sign_test(np.repeat([1, 0], [9, 51]))["p"] < 0.01
    points = np.repeat([1, 0], [30, 10])
    assert win_rate(points) == share(points)
    alone = win_rate([1, 0.5, 0.5], ["a", "a", "a"])
    assert (alone["low"], alone["high"], alone["clusters"]) == (None, None, 1)


def test_at_equal_length_the_interval_is_never_narrower_than_what_is_known():
    # Of 30 won of 30 Wilson's interval begins at 0.886.
    found = length_controlled_win_rate(np.ones(30), np.arange(30) - 14.5, seed=1)
    assert found["low"] < 0.89 and found["high"] > 0.99
    # Every response 20 words longer: what is length's and what the policy's nothing tells.
    wins = np.repeat([1.0, 0.0], [210, 90])
    found = length_controlled_win_rate(wins, np.full(300, 20), seed=1)
    assert found["low"] < 0.3 and found["high"] > 0.9


def test_mean_is_students():
    values = [1.0, 2.0, 4.0]
    interval = stats.t.interval(0.95, 2, loc=np.mean(values), scale=stats.sem(values))
    assert (mean(values)["low"], mean(values)["high"]) == pytest.approx(interval)
    assert mean([3.0]) == {"value": 3.0, "low": None, "high": None, "n": 1, "clusters": 1}


def test_a_median_by_hand_and_what_does_not_move_it():
    """Of 1 to 99 the row at share q is 100 q; Wilson's interval of one half is 0.5 -+ z / (2 sqrt(n + z^2)), 0.403 to 0.597."""
    values = np.arange(1.0, 100.0)
    found = median(values)
    assert (found["value"], found["n"]) == (50.0, 99)
    assert (found["low"], found["high"]) == pytest.approx((40.336, 59.664), abs=0.001)
    values[-1] = 1e9
    assert median(values) == found
    assert median([3.0])["low"] is median([2.0, 2.0])["high"] is None


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
    assert standard_deviation([2.0, 2.0, 2.0], 0) == {"value": 0.0, "low": None, "high": None, "n": 3, "clusters": 3}
    assert mean([2.0, 2.0, 2.0]) == {"value": 2.0, "low": None, "high": None, "n": 3, "clusters": 3}
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


def test_unpaired_and_sign_tests_are_scipys():
    rng = np.random.default_rng(2)
    a, b = rng.normal(size=30), rng.normal(0.5, size=25)
    assert unpaired_t(a, b)["p"] == pytest.approx(stats.ttest_ind(a, b).pvalue)
    assert unpaired_t([1.0], b) is None
    assert sign_test([2, 1, 3, 0, -1])["p"] == pytest.approx(stats.binomtest(3, 4).pvalue)
    assert sign_test([2, 1, 3, 0, -1])["n"] == 4 and sign_test([0.0]) is None


def test_holm_by_hand():
    # Ordered p times 4, 3, 2, 1, never falling: 0.005 -> 0.02, 0.01 -> 0.03, 0.03 -> 0.06, 0.04 -> 0.06.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []


def test_calibration_by_hand():
    # sigmoid(ln 3) = 0.75, sigmoid(ln 9) = 0.9.
    margins = [math.log(3), math.log(3), -math.log(3), math.log(9)]
    assert brier_score(margins)["value"] == pytest.approx((0.25**2 * 2 + 0.75**2 + 0.1**2) / 4)
    bins = reliability(margins)
    assert [(b["predicted"], b["observed"]["value"], b["observed"]["n"]) for b in bins] == [
        (pytest.approx(0.75), pytest.approx(2 / 3), 3),
        (pytest.approx(0.9), 1.0, 1),
    ]
    assert calibration_error(margins, 0)["value"] == pytest.approx(3 / 4 * (0.75 - 2 / 3) + 1 / 4 * 0.1)
    assert calibration_error(np.zeros(10), 0)["value"] == 0  # says one half, and ties are half right


def test_explained_share_does_not_depend_on_which_response_comes_first():
    rng = np.random.default_rng(3)
    difference = rng.normal(size=50)
    margins = 2 * difference + rng.normal(size=50)
    share = explained_share(margins, difference, 0)["value"]
    fit = sm.OLS(margins, difference).fit()  # without a constant, R squared is about the origin
    assert share == pytest.approx(fit.rsquared)
    sign = rng.choice([-1, 1], 50)
    assert explained_share(margins * sign, difference * sign, 0)["value"] == pytest.approx(share)
    assert explained_share(3 * difference, difference, 0)["value"] == pytest.approx(1)


def test_paired_rank_correlation_is_spearmans_with_pairs_resampled():
    rng = np.random.default_rng(4)
    prompt = rng.normal(size=60)  # what both responses of a pair share
    rewards = (prompt + 0.1 * rng.normal(size=60), prompt + 0.1 * rng.normal(size=60))
    words = (prompt + rng.normal(size=60), prompt + rng.normal(size=60))
    paired = paired_rank_correlation(rewards, words, 0)
    assert paired["value"] == pytest.approx(stats.spearmanr(np.concatenate(rewards), np.concatenate(words)).statistic)
    loose = rank_correlation(np.concatenate(rewards), np.concatenate(words), 0)
    assert paired["n"] == 60 and paired["high"] - paired["low"] > loose["high"] - loose["low"]


def test_the_win_rate_at_equal_length_is_a_logistic_fit():
    rng = np.random.default_rng(5)
    difference = rng.normal(10, 20, 400)
    scaled = length_features(difference)
    wins = (rng.random(400) < 1 / (1 + np.exp(-(-0.4 + scaled @ [1.5, 0.5])))).astype(float)
    fit = sm.Logit(wins, sm.add_constant(scaled)).fit(disp=0)
    found = length_controlled_win_rate(wins, difference, 0)
    # The prior is a pair of half prompts among 400, hence not equal to the last digit.
    assert found["value"] == pytest.approx(1 / (1 + np.exp(-fit.params[0])), abs=0.005)
    assert found["value"] < 0.5 < wins.mean()  # what was won was won by length
    every = length_controlled_win_rate(np.ones(30), np.arange(30), 0)
    assert 0.5 < every["value"] < 1 and every["low"] < 0.5  # all won and all longer: by what, nothing tells
    same_length = length_controlled_win_rate(wins, np.zeros(400), 0)
    assert same_length["value"] == pytest.approx((wins.sum() + 0.5) / 401)


def d_z(x):
    return effect_size(x, 0)


def coverage(interval, draw, truth, runs):
    """How often `interval` of a sample drawn holds the truth."""
    held = 0
    for run in range(runs):
        found = interval(draw(np.random.default_rng(run)))
        held += found["low"] <= truth <= found["high"]
    return held / runs


@pytest.mark.parametrize(
    ("interval", "draw", "truth", "runs"),
    [
        (mean, lambda rng: rng.normal(1, 2, 40), 1.0, 2000),
        (lambda x: proportion(x, 150), lambda rng: rng.binomial(150, 0.7), 0.7, 2000),
        (d_z, lambda rng: rng.normal(0.3, 1, 100), 0.3, 800),
        (lambda x: standard_deviation(x, 0), lambda rng: rng.normal(0, 2, 400), 2.0, 800),
        (lambda x: rank_correlation(x[0], x[1], 0), lambda rng: _correlated(rng, 60), 6 / math.pi * math.asin(0.25), 400),
        (lambda x: explained_share(*x, 0), lambda rng: _correlated(rng, 100), 0.25, 400),
        (lambda x: length_controlled_win_rate(*x, 0), lambda rng: _won_by_length(rng, 120), 1 / (1 + math.exp(-0.4)), 400),
        (lambda x: mcnemar(x[0], x[1])["difference"], lambda rng: _paired_shares(rng, 150), 0.1, 2000),
        (lambda x: brier_score(x), lambda rng: rng.choice([math.log(3), -math.log(3)], 100), (0.25**2 + 0.75**2) / 2, 2000),
    ],
    ids=[
        "mean",
        "proportion",
        "d_z",
        "deviation",
        "rank correlation",
        "explained",
        "win rate at equal length",
        "difference",
        "brier",
    ],
)
def test_intervals_hold_the_truth_95_times_in_100(interval, draw, truth, runs, monkeypatch):
    monkeypatch.setattr(statistics, "RESAMPLES", 1000)  # a quarter of the usual number, for time
    assert 0.93 <= coverage(interval, draw, truth, runs) <= 0.97


def _correlated(rng, n):
    x = rng.normal(size=n)
    return x, 0.5 * x + math.sqrt(0.75) * rng.normal(size=n)


def _won_by_length(rng, n):
    difference = rng.normal(0, 10, n)
    # The scale is the sample's own, as in what is tested.
    odds = 0.4 + length_features(difference) @ [0.8, 0.3]
    return (rng.random(n) < 1 / (1 + np.exp(-odds))).astype(float), difference


def _paired_shares(rng, n):
    table = rng.choice(4, size=n, p=[0.4, 0.2, 0.1, 0.3])  # both, after only, before only, neither
    return np.isin(table, [0, 2]), np.isin(table, [0, 1])


def test_large_samples_get_an_interval_too():
    values = np.random.default_rng(6).normal(0, 2, 5000)
    deviation = standard_deviation(values, 0)
    # The deviation of a normal sample has standard error sigma / sqrt(2 n).
    assert deviation["high"] - deviation["low"] == pytest.approx(2 * 1.96 * 2 / math.sqrt(10000), rel=0.15)
