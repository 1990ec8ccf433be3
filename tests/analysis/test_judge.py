import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score

from preference_study.analysis.judge import agreement_with_gold, right_to_judge, telling_gold
from preference_study.analysis.statistics import holm, mean, share, win_rate

pytestmark = pytest.mark.usefixtures("few_resamples")


def scored(right: np.ndarray, longer: np.ndarray, rows: int = 1) -> pd.DataFrame:
    n = len(right)
    return pd.DataFrame(
        {
            "cluster": np.arange(n) // rows,
            "chosen_reward": np.where(right, 1.0, -1.0),
            "rejected_reward": 0.0,
            "chosen_words": np.where(longer, 20, 10),
            "rejected_words": 15,
        }
    )


def drawn(rate: float, other: float, n: int = 400, seed: int = 0, rows: int = 1) -> dict:
    """A judge right at a rate, TF-IDF at another, length at one half, all by chance."""
    rng = np.random.default_rng(seed)
    table = scored(rng.random(n) < rate, rng.random(n) < 0.5, rows)
    return right_to_judge(table, {"tfidf": np.where(rng.random(n) < other, 1.0, -1.0)})


def test_a_judge_that_beats_every_baseline_may_judge():
    found = drawn(0.85, 0.6)
    assert found["holds"] and found["reasons"] == [] and found["shorter_chosen"]["low"] > 0.5
    assert all(row["p_holm"] < 0.01 and row["difference"]["low"] > 0 for row in found["against"].values())


def test_a_judge_that_does_not_beat_each_may_not():
    found = drawn(0.7, 0.7)
    assert not found["holds"] and len(found["reasons"]) == 1
    assert found["reasons"][0].startswith("it is not shown to be right more often than TF-IDF (")
    [less] = [reason for reason in drawn(0.3, 0.9)["reasons"] if "TF-IDF" in reason]
    assert less.startswith("it is right less often than TF-IDF (-0.") and less.endswith(", corrected p < 0.001)")
    assert not drawn(0.4, 0.2)["holds"]  # better than one, and worse than length
    worse = drawn(0.3, 0.9)
    assert (
        worse["against"]["tfidf"]["p_holm"] < 0.01 and "TF-IDF (-0." in worse["reasons"][-2 if len(worse["reasons"]) > 2 else 1]
    )


def test_a_length_meter_may_not_judge():
    """It is right where the longer response was chosen, which was mostly so, and beats TF-IDF by it."""
    rng = np.random.default_rng(1)
    longer = rng.random(600) < 0.8
    table = scored(np.where(longer, rng.random(600) < 0.95, rng.random(600) < 0.15), longer)
    found = right_to_judge(table, {"tfidf": np.where(rng.random(600) < 0.6, 1.0, -1.0)})
    assert not found["holds"] and found["against"]["tfidf"]["p_holm"] < 0.01
    assert "“the longer response wins”" in found["reasons"][0]
    assert "of the pairs whose chosen response is the shorter one (n = " in found["reasons"][1]


def test_less_than_half_of_the_shorter_alone_is_reason_enough():
    longer = np.repeat([True, False], [300, 100])
    table = scored(np.repeat([True, False, True], [300, 51, 49]), longer)
    found = right_to_judge(table, {"tfidf": np.full(400, -1.0)})
    assert found["against"]["longer"]["p_holm"] < 0.01 and not found["holds"] and len(found["reasons"]) == 1
    half = right_to_judge(scored(np.repeat([True, False, True], [300, 50, 50]), longer), {"tfidf": np.full(400, -1.0)})
    assert half["holds"]


def test_without_shorter_ones_there_is_no_such_accuracy():
    found = right_to_judge(scored(np.ones(50, bool), np.ones(50, bool)), {})
    assert found["shorter_chosen"] is None and not found["holds"]  # as right as the longer ones, which always win here


def test_numbers_by_hand():
    table = scored(np.array([1, 1, 0, 1, 1, 1], bool), np.array([1, 0, 0, 0, 1, 0], bool), rows=2)
    found = right_to_judge(table, {"probe": np.array([1.0, -1.0, -1.0, 0.0, 1.0, -1.0])})
    longer, probe = [0, 1, 0, 1, 0, 1], [0, 1, 0, 0.5, 0, 1]
    clusters = [0, 0, 1, 1, 2, 2]
    assert found["against"]["longer"]["difference"] == mean(longer, clusters)
    assert found["against"]["probe"]["difference"] == mean(probe, clusters)
    ps = [row["p"] for row in found["against"].values()]
    assert ps == [2 / 8, 2 / 8] and [row["p_holm"] for row in found["against"].values()] == holm(ps)
    assert found["shorter_chosen"] == share([1, 0, 1, 1], [0, 1, 1, 2])
    table.loc[1, "chosen_reward"] = table.loc[1, "rejected_reward"]
    tied = right_to_judge(table, {})["shorter_chosen"]
    assert tied == win_rate([0.5, 0, 1, 1], [0, 1, 1, 2]) != share([0.5, 0, 1, 1], [0, 1, 1, 2])


def test_pairs_of_one_prompt_are_no_evidence_of_their_own():
    once = drawn(0.66, 0.58, n=100, seed=3)["against"]["tfidf"]["p"]
    table = scored(np.ones(100, bool), np.zeros(100, bool))
    rng = np.random.default_rng(3)
    right, other = rng.random(100) < 0.66, rng.random(100) < 0.58
    times = [np.repeat(x, 5) for x in (right, other)]
    table = scored(times[0], np.repeat(rng.random(100) < 0.5, 5), rows=5)
    assert right_to_judge(table, {"tfidf": np.where(times[1], 1.0, -1.0)})["against"]["tfidf"]["p"] > 0.05
    assert once > 0.01


RESPONSES = pd.DataFrame(
    {"cluster": list("aabbcc"), "reward": [1.0, 2.0, 3.0, 4.0, 5.0, 6.0], "gold": [False, True, False, True, True, False]}
)
OTHER = RESPONSES.assign(reward=[2.0, 1.0, 3.0, 9.0, 4.0, 6.0], gold=[True, False, True, True, False, False])


def test_agreement_is_of_prompts_whose_gold_differs():
    # Gained with more reward; lost with less; gained with as much; lost with less.
    assert agreement_with_gold(RESPONSES, OTHER) == win_rate([1, 1, 0.5, 1], list("aabc"))
    assert agreement_with_gold(OTHER, RESPONSES)["value"] == agreement_with_gold(RESPONSES, OTHER)["value"]
    assert agreement_with_gold(RESPONSES, RESPONSES) is None


def test_the_area_under_the_curve_is_scikit_learns():
    rng = np.random.default_rng(2)
    table = pd.DataFrame({"cluster": np.arange(90) // 3, "gold": rng.random(90) < 0.4})
    table["reward"] = (table["gold"] + rng.normal(0, 1, 90)).round(1)
    found = telling_gold(table, seed=1)
    assert found["value"] == pytest.approx(roc_auc_score(table["gold"], table["reward"]))
    whole = stats.mannwhitneyu(table["reward"][table["gold"]], table["reward"][~table["gold"]])
    assert found["value"] == pytest.approx(whole.statistic / (table["gold"].sum() * (~table["gold"]).sum()))
    assert found["low"] < found["value"] < found["high"] and (found["n"], found["clusters"]) == (90, 30)
    assert telling_gold(table.assign(gold=True), seed=1) is None
