import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from scipy import stats
from scipy.special import expit

from preference_study.analysis.statistics import (
    half_ties,
    not_narrower,
)
from preference_study.analysis.style import (
    STYLE,
    at_equal_features,
    coefficient_intervals,
    even_at_equal_features_p,
    even_at_equal_length_p,
    length_controlled_win_rate,
    length_features,
    style_controlled,
    style_differences,
)


def drawn(n: int, coefficients: list[float], seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(n, len(coefficients) - 1))
    return (rng.random(n) < expit(coefficients[0] + features @ coefficients[1:])).astype(float), features


def test_with_many_prompts_it_is_a_logistic_regression():
    """Beside thousands of rows the prior is nothing: coefficients and robust intervals are those of statsmodels."""
    wins, features = drawn(20000, [0.4, -0.6, 0.3, 0.0])
    fitted = sm.Logit(wins, sm.add_constant(features)).fit(disp=0, cov_type="HC1")
    found = at_equal_features(wins, features)
    assert found == pytest.approx(fitted.params, abs=2e-3)
    intervals = coefficient_intervals(wins, features, found)
    assert [[row["low"], row["high"]] for row in intervals] == [
        pytest.approx(list(ends), abs=3e-3) for ends in fitted.conf_int()[1:]
    ]


def test_a_stack_of_samples_is_each_of_them():
    samples = [drawn(60, [0.2, 1.0, -1.0], seed) for seed in range(3)]
    stacked = at_equal_features(np.stack([w for w, _ in samples]), np.stack([f for _, f in samples]))
    for (wins, features), row in zip(samples, stacked, strict=True):
        assert row == pytest.approx(at_equal_features(wins, features), abs=1e-9)


def test_with_length_alone_it_is_the_win_rate_at_equal_length():
    rng = np.random.default_rng(2)
    words = rng.normal(10, 20, 150)
    wins = half_ties(rng.normal(0.3, 1, 150) + words / 30)
    found = expit(at_equal_features(wins, length_features(words))[0])
    assert found == pytest.approx(length_controlled_win_rate(wins, words, seed=1)["value"], abs=1e-9)


def test_it_is_finite_where_every_prompt_was_won():
    found = at_equal_features(np.ones(30), np.ones((30, 1)))
    assert np.isfinite(found).all() and 0.5 < expit(found[0]) < 1


def responses(words, headings=0, list_items=0, bold=0) -> pd.DataFrame:
    table = pd.DataFrame(dict(zip(STYLE, np.broadcast_arrays(words, headings, list_items, bold), strict=True)))
    return table.assign(cluster=range(len(table)))


def test_differences_are_shares_of_the_sum_in_root_mean_squares():
    base, policy = responses([10, 20, 30], [0, 0, 2]), responses([30, 20, 10], [0, 4, 1])
    found = style_differences(base, policy)
    assert list(found) == ["words", "headings"]
    assert found["words"] == pytest.approx(np.array([0.5, 0, -0.5]) / np.sqrt(0.5 / 3))
    assert found["headings"] == pytest.approx(np.array([0, 1, -1 / 3]) / np.sqrt((1 + 1 / 9) / 3))


def test_a_judge_that_likes_bold_is_seen_through():
    """Every second response of the policy has bold text, and wins for that alone: at equal style it wins as often as it loses."""
    rng = np.random.default_rng(5)
    n = 400
    bold, words = rng.integers(0, 2, n) * 3, rng.integers(20, 60, n)
    base, policy = responses(words), responses(words + rng.integers(-9, 9, n), bold=bold)
    wins = (rng.random(n) < np.where(bold > 0, 0.9, 0.5)).astype(float)
    found = style_controlled(wins, base, policy, seed=1)
    assert wins.mean() > 0.65 and found["win_rate"]["low"] < 0.5 < found["win_rate"]["high"]
    assert found["left_out"] == ["headings", "list_items"]
    assert (
        found["coefficients"]["bold"]["low"] > 0
        and found["coefficients"]["words"]["low"] < 0 < found["coefficients"]["words"]["high"]
    )
    assert list(found["coefficients"]) == ["words", "bold"] and found["win_rate"]["n"] == n


def test_without_any_difference_in_style_the_win_rate_is_left():
    same = responses([5, 6, 7, 8])
    found = style_controlled([1, 1, 0, 1], same, same, seed=1)
    assert found["coefficients"] == {} and found["left_out"] == list(STYLE)
    # A win and a loss of half a weight are added: 3.5 of 5.
    assert found["win_rate"]["value"] == pytest.approx(3.5 / 5)


def test_coefficients_of_clusters_are_those_of_statsmodels():
    wins, features = drawn(9000, [0.4, -0.6, 0.3])
    clusters = np.arange(9000) // 9
    fitted = sm.Logit(wins, sm.add_constant(features)).fit(disp=0, cov_type="cluster", cov_kwds={"groups": clusters})
    intervals = coefficient_intervals(wins, features, at_equal_features(wins, features), clusters)
    assert [[row["low"], row["high"]] for row in intervals] == [
        pytest.approx(list(ends), abs=3e-3) for ends in fitted.conf_int()[1:]
    ]
    assert [(row["n"], row["clusters"]) for row in intervals] == [(9000, 1000)] * 2


def test_a_mark_that_a_few_responses_have_is_not_known_exactly():
    """Three with bold, all lost: the model fits them all, so nothing of them is left to vary."""
    rng = np.random.default_rng(1)
    n, words = 300, rng.integers(40, 60, 300)
    bold, wins = np.where(np.arange(n) < 3, 2, 0), np.where(np.arange(n) < 3, 0.0, rng.random(n) < 0.7)
    found = style_controlled(wins, responses(words), responses(words + rng.integers(-9, 9, n), bold=bold), seed=1)
    assert found["coefficients"]["bold"]["high"] - found["coefficients"]["bold"]["low"] > 1
    # Many of both kinds are known as exactly as before.
    features = np.stack([rng.normal(size=5000)], axis=-1)
    wins = (rng.random(5000) < expit(0.5 * features[:, 0])).astype(float)
    fitted = sm.Logit(wins, sm.add_constant(features)).fit(disp=0)
    [row] = coefficient_intervals(wins, features, at_equal_features(wins, features))
    assert [row["low"], row["high"]] == pytest.approx(list(fitted.conf_int()[1]), abs=5e-3)


def test_where_style_never_varies_the_win_rate_at_equal_style_is_not_known():
    """The policy always writes bold, base never: what is bold's and what is the policy's nothing tells."""
    rng = np.random.default_rng(1)
    n, words = 300, rng.integers(40, 60, 300)
    wins = (rng.random(n) < 0.75).astype(float)
    found = style_controlled(wins, responses(words), responses(words + rng.integers(-9, 9, n), bold=2), seed=1)["win_rate"]
    assert found["low"] < 0.2 and found["high"] > 0.9


def lengths_of(name: str, n: int, rng) -> np.ndarray:
    """How many words more a policy's responses have than base's."""
    return {
        "all longer": lambda: rng.integers(1, 120, n),
        "much longer": lambda: rng.normal(50, 10, n),
        "nearly all longer": lambda: rng.normal(60, 30, n),
        "both": lambda: rng.normal(20, 20, n),
    }[name]()


@pytest.mark.parametrize("name", ["all longer", "much longer", "nearly all longer", "both"])
@pytest.mark.parametrize("n", [60, 300])
def test_a_judge_of_length_alone_shows_nothing_at_equal_length(name, n):
    rng, seen = np.random.default_rng(1), 0
    for _ in range(40):
        words = lengths_of(name, n, rng)
        seen += even_at_equal_length_p(half_ties(words), words) < 0.05
    assert seen <= 4  # of 40, two at the level of the test


def test_where_lengths_overlap_what_is_more_than_length_is_seen():
    rng, seen = np.random.default_rng(2), []
    for better in (0.0, 1.0):
        p = []
        for _ in range(40):
            words = lengths_of("both", 300, rng)
            odds = better + 2 * np.tanh(words / 30)
            p.append(even_at_equal_length_p((rng.random(300) < expit(odds)).astype(float), words))
        seen.append((np.array(p) < 0.05).mean())
    assert seen[0] <= 0.1 and seen[1] >= 0.9


def judged_by_length(better: float, loops: int, more: int, apart: bool, rng) -> tuple[np.ndarray, np.ndarray]:
    """Wins and differences in words by a judge of log length, and by how much `better`, but that some run on and lose for it.

    Args:
        loops, more: how many run on, by how many words.
        apart: whether all of the policy's are longer than base's.
    """
    base = rng.integers(40, 60, 300) if apart else np.exp(rng.normal(4, 0.4, 300))
    policy = base + rng.integers(25, 36, 300) if apart else np.exp(rng.normal(4.4, 0.4, 300))
    wins = (rng.random(300) < expit(better + 1.7 * np.log(policy / base))).astype(float)
    wins[:loops] = 0
    return wins, np.round(policy - base) + np.where(np.arange(300) < loops, more, 0)


@pytest.mark.parametrize(
    ("loops", "more", "apart"), [(0, 0, True), (10, 1500, True), (5, 400, True), (10, 400, False), (10, 1500, False)]
)
def test_a_few_responses_that_run_on_do_not_say_what_is_so_at_equal_length(loops, more, apart):
    rng, seen, held = np.random.default_rng(3), 0, 0
    for draw in range(40):
        wins, words = judged_by_length(0.0, loops, more, apart, rng)
        seen += even_at_equal_length_p(wins, words) < 0.05
        if draw < 5:
            found = length_controlled_win_rate(wins, words, seed=1)
            held += found["low"] <= 0.5 <= found["high"]
    assert seen <= 5 and held >= 4


@pytest.mark.parametrize("loops", [0, 5])
def test_what_is_more_than_length_is_seen_beside_responses_that_run_on(loops):
    rng = np.random.default_rng(4)
    drawn_ = [judged_by_length(0.8, loops, 400, False, rng) for _ in range(20)]
    assert np.mean([even_at_equal_length_p(wins, words) < 0.05 for wins, words in drawn_]) >= 0.9


def test_p_is_raos_where_random_signs_give_a_smaller_one():
    """Rao's score test of a is statsmodels'."""
    equal = 0
    for seed in range(6):
        rng = np.random.default_rng(seed)
        length = np.tanh(rng.normal(50, 10, 400) / 50)
        wins = (rng.random(400) < expit(1 + 2 * length)).astype(float)
        model = sm.GLM(wins, length[:, None], family=sm.families.Binomial()).fit()
        _, p = model.score_test(exog_extra=np.ones((400, 1)))
        found = even_at_equal_features_p(wins, length[:, None])
        assert found >= np.squeeze(p) - 1e-4
        equal += abs(found - np.squeeze(p)) < 1e-4
    assert equal >= 2


def test_not_narrower_by_hand():
    """Without features, 2 of 2 won and half a win and half a loss more: 2.5 of 3, whose information is 3 p (1 - p)."""
    a = np.log(2.5 / 0.5)
    half = stats.t.ppf(0.975, 1) / np.sqrt(3 * (2.5 / 3) * (0.5 / 3))
    narrow = {"value": 2.5 / 3, "low": 0.8, "high": 0.84, "n": 2, "clusters": 2}
    ends = [expit(a - half), expit(a + half)]
    found = not_narrower(narrow, np.empty((2, 0)), np.array([a]))
    assert [found["low"], found["high"]] == pytest.approx(ends) and found["value"] == narrow["value"]
    wide = narrow | {"low": 0.0, "high": 1.0}
    assert not_narrower(wide, np.empty((2, 0)), np.array([a])) == wide
    unknown = narrow | {"low": None, "high": None}
    assert not_narrower(unknown, np.empty((2, 0)), np.array([a])) == found
    alone = unknown | {"clusters": 1}
    assert not_narrower(alone, np.empty((2, 0)), np.array([a])) == alone
