from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from preference_study.analysis.best_of_n import (
    best_against_one,
    best_of_n_curve,
    best_of_n_gains,
    compare_best_of_n,
    expected_best,
)
from preference_study.analysis.statistics import holm


def by_enumeration(rewards, values, n):
    """Every choice of n responses; equal best rewards share."""
    found = []
    for chosen in combinations(range(len(rewards)), n):
        best = max(rewards[i] for i in chosen)
        found.append(np.mean([values[i] for i in chosen if rewards[i] == best]))
    return np.mean(found)


@given(
    st.lists(st.tuples(st.integers(0, 4), st.floats(-5, 5)), min_size=1, max_size=7),
    st.integers(1, 7),
)
def test_the_estimator_is_the_mean_over_every_choice(responses, n):
    rewards, values = (np.array(column, dtype=float) for column in zip(*responses, strict=True))
    n = min(n, len(rewards))
    assert expected_best(rewards, values, n) == pytest.approx(by_enumeration(rewards, values, n), abs=1e-9)


def test_the_ends_are_the_mean_and_the_best():
    rewards, values = np.array([3.0, 1.0, 2.0, 0.0]), np.array([10.0, 20.0, 30.0, 40.0])
    assert expected_best(rewards, values, 1) == pytest.approx(25)
    assert expected_best(rewards, values, 4) == pytest.approx(10)
    # Of 2 of 4: the best in 3 of 6 choices, the second in 2, the third in 1.
    assert expected_best(rewards, values, 2) == pytest.approx((3 * 10 + 2 * 30 + 1 * 20) / 6)


def test_a_reward_that_is_the_truth_raises_it_and_one_that_is_noise_does_not():
    rng = np.random.default_rng(1)
    gold = (rng.random((200, 16)) < 0.4).astype(float)
    for rewards, rises in ((gold, True), (rng.random(gold.shape), False), (-gold, False)):
        found = best_of_n_gains(rewards, gold)
        assert (found["rises_until"] > 1) == rises
        assert [step["to"] for step in found["steps"]] == [2, 4, 8, 16]
    assert best_of_n_gains(-gold, gold)["whole"]["high"] < 0
    row = best_of_n_curve(gold, {"reward": gold})[-1]
    assert row["n"] == 16 and row["kl"] == pytest.approx(np.log(16) - 15 / 16)
    assert row["reward"]["value"] == pytest.approx(gold.max(axis=1).mean()) and row["reward"]["n"] == 200
    assert row["gain"]["reward"]["value"] == pytest.approx(gold.max(axis=1).mean() - gold.mean())


def test_a_reward_that_turns_is_seen_to_turn():
    """Of the two responses in four that look best the very best is a fraud: up to 2 more is better, then worse."""
    rewards = np.tile([0.0, 1.0, 2.0, 3.0], (100, 1))
    gold = np.tile([0.0, 0.5, 1.0, 0.0], (100, 1)) + np.random.default_rng(0).normal(0, 0.01, (100, 4))
    found = best_of_n_gains(rewards, gold)
    assert found["rises_until"] == 2
    assert found["steps"][1]["difference"]["high"] < 0


def test_longer_is_not_better_at_equal_length():
    rng = np.random.default_rng(2)
    words = rng.integers(5, 60, (300, 8)).astype(float)
    gold = (rng.random((300, 8)) < words / 60).astype(float)  # the longer, the likelier
    found = best_against_one(words, gold, words, seed=1)
    assert found["win_rate"]["low"] > 0.5 and found["words_difference"]["low"] > 0
    at_equal_length = found["win_rate_length_controlled"]
    assert at_equal_length["low"] < 0.5 and at_equal_length["high"] < found["win_rate"]["low"]


def test_the_judges_reward_is_an_outcome_where_it_was_measured():
    rng = np.random.default_rng(3)
    ids = np.repeat(["a", "b", "c"], 4)
    samples = pd.DataFrame({"id": ids, "cluster": np.repeat(["p", "q", "p"], 4), "sample": list(range(4)) * 3, "words": 5})
    scored = {name: samples[["id", "sample"]].assign(reward=rng.normal(size=12)) for name in ("standard", "other")}
    found = compare_best_of_n(samples, scored, "standard", seed=1)
    assert set(found["other"]["gains"]) == {"judge"}
    estimates = [found["other"]["gains"]["judge"]["whole"], found["other"]["curve"][1]["words"]]
    estimates += found["other"]["against_one"]["judge"].values()
    assert {(estimate["n"], estimate["clusters"]) for estimate in estimates} == {(3, 2)}
    own = found["standard"]["curve"]
    assert [row["judge"] for row in own] == [row["reward"] for row in own]
    assert compare_best_of_n(samples, {"other": scored["other"]}, "standard", seed=1)["other"]["gains"] == {}
    known = samples.assign(gold=rng.random(12) < 0.5)
    corrected = compare_best_of_n(known, scored, "standard", seed=1)
    assert set(corrected["other"]["gains"]) == {"gold", "judge"}
    family = [gain for numbers in corrected.values() for gain in numbers["gains"].values()]
    assert [gain["p_holm"] for gain in family] == holm([gain["p"] for gain in family]) != [gain["p"] for gain in family]
