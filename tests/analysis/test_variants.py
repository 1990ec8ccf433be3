import numpy as np
import pandas as pd
import pytest
from scipy import stats

from preference_study.aggregates import aggregate
from preference_study.analysis.scorers import members, scorer_name, scorers
from preference_study.analysis.statistics import bootstrapped_change, holm, paired_mean_change
from preference_study.analysis.stress import ensemble_on_perturbations
from preference_study.analysis.variants import compare_variants, scorer_against_standard
from stages.compare_variants import logged


def pairs(n: int, length_weight: float, seed: int) -> pd.DataFrame:
    """Rewards of truth, noise and so much length."""
    rng = np.random.default_rng(seed)
    words = np.random.default_rng(1).integers(5, 60, (n, 2))
    quality = np.random.default_rng(2).normal([1, 0], 1, (n, 2))
    rewards = quality + length_weight * np.log1p(words) + rng.normal(0, 0.1, (n, 2))
    return pd.DataFrame(
        {
            "cluster": range(n),
            "chosen_reward": rewards[:, 0],
            "rejected_reward": rewards[:, 1],
            "chosen_words": words[:, 0],
            "rejected_words": words[:, 1],
        }
    )


def test_less_length_is_seen_and_no_difference_is_not():
    scored = {"standard": pairs(300, 2.0, 3), "cured": pairs(300, 0.0, 4), "same": pairs(300, 2.0, 5)}
    found = compare_variants(scored, {"cured": {"accuracy": None}}, seed=1)
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
    assert abs(scorer_against_standard(pairs(300, 2.0, 3), turned(pairs(300, 2.0, 3)), seed=1)["length"]["value"]) < 1e-9


def turned(scored: pd.DataFrame) -> pd.DataFrame:
    return scored.assign(chosen_reward=-scored["chosen_reward"], rejected_reward=-scored["rejected_reward"])


def test_ways_to_sum_up_an_ensemble_by_hand():
    rewards = np.array([[1.0, 2.0, 6.0], [0.0, 0.0, 0.0]])
    assert aggregate(rewards, "mean", 9.0).tolist() == [3.0, 0.0]
    assert aggregate(rewards, "worst", 9.0).tolist() == [1.0, 0.0]
    # Deviations -2, -1, 3: variance 14 / 2 = 7.
    assert aggregate(rewards, "mean_minus_spread", 2.0).tolist() == pytest.approx([3 - 2 * 7**0.5, 0.0])


SCORES = pd.DataFrame(
    {
        "id": ["a", "b", "a", "b"],
        "cluster": ["a", "b", "a", "b"],
        "perturbation": ["none", "none", "typos", "typos"],
        "chosen_reward": [[2.0, 1.0], [1.0, 1.0], [0.0, 3.0], [5.0, 5.0]],
        "rejected_reward": [[0.0, 2.0], [0.0, 2.0], [1.0, 1.0], [0.0, 0.0]],
        "truth_kept": [True, True, True, False],
    }
)
REWARDS = ["chosen_reward", "rejected_reward"]


def test_an_ensemble_is_several_scorers_and_a_model_is_one():
    found = scorers("ensemble", SCORES, REWARDS, 1.0)
    assert list(found) == ["ensemble (mean)", "ensemble (worst)", "ensemble (mean minus spread)"]
    assert found["ensemble (worst)"]["chosen_reward"].tolist() == [1.0, 1.0, 0.0, 5.0]
    first, second = members(SCORES, REWARDS)
    assert first["chosen_reward"].tolist() == [2.0, 1.0, 0.0, 5.0] and second["rejected_reward"].tolist() == [2.0, 2.0, 1.0, 0.0]
    assert list(scorers("standard", first, REWARDS, 1.0)) == ["standard"]
    assert scorer_name("ensemble", "worst") in found
    other = scorers("twins", SCORES, REWARDS, 1.0)
    assert len(found | other) == 6  # a second variant of several members does not take the first one's place


def test_an_ensemble_against_its_members_by_hand():
    found = ensemble_on_perturbations(scorers("ensemble", SCORES, REWARDS, 1.0), members(SCORES, REWARDS), seed=1)
    # The first member ranks both plain pairs right, the second neither: 1/2 each. The worst of chosen is 1, of rejected 0.
    assert found["none"]["member"]["value"] == 0.5 and found["none"]["n"] == 2
    assert found["none"]["ensemble (worst)"]["value"] == 0.5
    assert found["typos"]["n"] == 1  # the other pair's truth was changed
    # 0 against 1: a tie of minima after the typos (0 and 1): wrong, where one of the two members was right.
    assert found["typos"]["ensemble (worst)"]["value"] == -0.5
    ps = [row[way]["p"] for row in found.values() for way in row if way.startswith("ensemble")]
    assert [row[way]["p_holm"] for row in found.values() for way in row if way.startswith("ensemble")] == holm(ps)


def test_plain_responses_count_where_they_were_perturbed_too():
    fewer = SCORES.iloc[[0, 1, 2]]
    found = ensemble_on_perturbations(scorers("ensemble", fewer, REWARDS, 1.0), members(fewer, REWARDS), seed=1)
    assert found["none"]["n"] == found["typos"]["n"] == 1


def correlation(x, y, axis=-1):
    x, y = (column - column.mean(axis=axis, keepdims=True) for column in (x, y))
    return (x * y).sum(axis=axis) / np.sqrt((x * x).sum(axis=axis) * (y * y).sum(axis=axis))


def test_the_interval_and_the_p_of_a_change_agree_and_hold():
    """Where nothing is there a p below 0.05 comes in about 5% of samples, and exactly where the interval leaves zero out."""
    found = []
    for seed in range(300):
        x, y = np.random.default_rng(seed).normal(size=(2, 80))
        found.append(bootstrapped_change(correlation, x, y, seed=seed))
    assert 0.02 < np.mean([change["p"] < 0.05 for change in found]) < 0.1
    outside = [change["low"] > 0 or change["high"] < 0 for change in found]
    assert np.mean([(change["p"] < 0.05) == out for change, out in zip(found, outside, strict=True)]) > 0.98


def test_what_is_undefined_is_no_evidence():
    change = bootstrapped_change(correlation, np.ones(20), np.arange(20.0), seed=1)
    assert change["p"] == 1.0 and change["value"] is change["low"] is None


def test_few_pairs_that_differ_prove_little():
    """Four of a hundred pairs, all in one direction: of 16 arrangements of signs two are as extreme."""
    change = paired_mean_change([0.5] * 4 + [0.0] * 96, seed=1)
    assert change["p"] == pytest.approx(2 / 16) and change["value"] == 0.02 and change["n"] == 100
    assert paired_mean_change([0.0] * 9, seed=1)["p"] == 1.0
    exact = paired_mean_change([0.5] * 80 + [-0.5] * 20 + [0.0] * 900, seed=1)["p"]
    assert exact == pytest.approx(stats.binomtest(80, 100).pvalue, rel=1e-6)


def test_losses_of_every_variant_and_member_are_found(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for place, name in enumerate(("standard", "ensemble/member_1", "ensemble/member_2", "not_named")):
        folder = tmp_path / "plots/train_reward" / name / "plots/metrics"
        folder.mkdir(parents=True)
        (folder / "loss.tsv").write_text(f"step\tloss\n1\t0.{place}\n2\t0.5\n")
        (folder / "examples.tsv").write_text("step\texamples\n1\t8\n2\t16\n")
    found = logged(["ensemble", "standard"], "loss", "examples")
    assert list(found) == ["ensemble member_1", "ensemble member_2", "standard"]
    assert found["ensemble member_2"].to_dict("list") == {"examples": [8, 16], "value": [0.2, 0.5]}
    assert logged(["standard"], "validation_loss", "validation_examples") == {}
