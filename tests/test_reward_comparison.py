import numpy as np
import pandas as pd
import pytest

from stages.lib.aggregates import aggregate
from stages.lib.reward_comparison import against, compare, ensemble_on_perturbations
from stages.lib.scorers import members, scorers
from stages.lib.statistics import resampled_p


def pairs(n: int, length_weight: float, seed: int) -> pd.DataFrame:
    """Rewards of truth, noise and so much length."""
    rng = np.random.default_rng(seed)
    words = np.random.default_rng(1).integers(5, 60, (n, 2))
    quality = np.random.default_rng(2).normal([1, 0], 1, (n, 2))
    rewards = quality + length_weight * np.log1p(words) + rng.normal(0, 0.1, (n, 2))
    return pd.DataFrame(
        {
            "chosen_reward": rewards[:, 0],
            "rejected_reward": rewards[:, 1],
            "chosen_words": words[:, 0],
            "rejected_words": words[:, 1],
        }
    )


def test_less_length_is_seen_and_no_difference_is_not():
    marks = {"standard": pairs(300, 2.0, 3), "cured": pairs(300, 0.0, 4), "same": pairs(300, 2.0, 5)}
    found = compare(marks, {"cured": {"accuracy": None}}, seed=1)
    cured, same = found["cured"]["against_standard"]["length"], found["same"]["against_standard"]["length"]
    assert cured["high"] < 0 and cured["p_holm"] < 0.01
    assert same["low"] < 0 < same["high"] and same["p_holm"] > 0.05
    assert found["cured"]["against_standard"]["right"]["difference"]["low"] > 0
    assert "against_standard" not in found["standard"] and found["cured"]["bias_only"] == {"accuracy": None}
    standard = found["standard"]
    assert standard["accuracy_longer_chosen"]["low"] > standard["accuracy_shorter_chosen"]["high"]
    assert standard["length_correlation_within_pairs"]["low"] > 0.5
    value = abs(found["cured"]["length_correlation_within_pairs"]["value"])
    assert cured["value"] == pytest.approx(value - standard["length_correlation_within_pairs"]["value"])


def test_a_correlation_that_is_turned_round_is_no_smaller():
    assert abs(against(pairs(300, 2.0, 3), turned(pairs(300, 2.0, 3)), seed=1)["length"]["value"]) < 1e-9


def turned(marks: pd.DataFrame) -> pd.DataFrame:
    return marks.assign(chosen_reward=-marks["chosen_reward"], rejected_reward=-marks["rejected_reward"])


def test_ways_to_sum_up_an_ensemble_by_hand():
    rewards = np.array([[1.0, 2.0, 6.0], [0.0, 0.0, 0.0]])
    assert aggregate(rewards, "mean", 9.0).tolist() == [3.0, 0.0]
    assert aggregate(rewards, "worst", 9.0).tolist() == [1.0, 0.0]
    # Deviations -2, -1, 3: variance 14 / 2 = 7.
    assert aggregate(rewards, "mean_minus_spread", 2.0).tolist() == pytest.approx([3 - 2 * 7**0.5, 0.0])


MARKS = pd.DataFrame(
    {
        "perturbation": ["none", "none", "typos", "typos"],
        "chosen_reward": [[2.0, -1.0], [1.0, 1.0], [0.0, 3.0], [5.0, 5.0]],
        "rejected_reward": [[0.0, 0.0], [0.0, 2.0], [1.0, 1.0], [0.0, 0.0]],
        "truth_kept": [True, True, True, False],
    }
)
REWARDS = ["chosen_reward", "rejected_reward"]


def test_an_ensemble_is_several_scorers_and_a_model_is_one():
    found = scorers("ensemble", MARKS, REWARDS, 1.0)
    assert list(found) == ["ensemble (mean)", "ensemble (worst)", "ensemble (mean minus spread)"]
    assert found["ensemble (worst)"]["chosen_reward"].tolist() == [-1.0, 1.0, 0.0, 5.0]
    first, second = members(MARKS, REWARDS)
    assert first["chosen_reward"].tolist() == [2.0, 1.0, 0.0, 5.0] and second["rejected_reward"].tolist() == [0.0, 2.0, 1.0, 0.0]
    assert list(scorers("standard", first, REWARDS, 1.0)) == ["standard"]


def test_an_ensemble_against_its_members_by_hand():
    found = ensemble_on_perturbations(scorers("e", MARKS, REWARDS, 1.0), members(MARKS, REWARDS), seed=1)
    # Members, plain: right and right; wrong and wrong: 1/2 each pair. Worst: -1 < 0 is wrong, 1 > 0 is right.
    assert found["none"]["member"]["value"] == 0.5 and found["none"]["n"] == 2
    assert found["none"]["e (worst)"]["value"] == 0.0
    assert found["typos"]["n"] == 1  # the other pair's truth was changed


def test_the_resampled_p_is_uniform_enough_where_nothing_is_there():
    """A p below 0.05 comes in about 5% of samples; and where all is above zero it is as small as it can be."""

    def mean(values, axis=-1):
        return np.mean(values, axis=axis)

    ps = [resampled_p(mean, np.random.default_rng(seed).normal(size=60), seed=seed) for seed in range(300)]
    assert 0.02 < np.mean(np.array(ps) < 0.05) < 0.1
    assert resampled_p(mean, np.ones(20), seed=1) == pytest.approx(2 / 4001)
    assert resampled_p(mean, np.zeros(20), seed=1) == 1.0
