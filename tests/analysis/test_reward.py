import numpy as np
import pandas as pd
import pytest
from scipy import stats

from preference_study.analysis.reward import (
    NOTE,
    analyse_reward,
    favoured_and_other,
    grouping_columns,
    reward_metrics,
    reward_row,
)
from preference_study.analysis.statistics import (
    brier_score,
    calibration_error,
    effect_size,
    explained_share,
    half_ties,
    mean,
    median,
    paired_rank_correlation,
    paired_standard_deviation,
    paired_tests,
    pairwise_accuracy,
    rank_correlation,
    reliability,
    share,
    unpaired_t,
    win_rate,
)
from tests.conftest import asked

pytestmark = pytest.mark.usefixtures("few_resamples")


def scored(n: int = 120, by_length: float = 0.0, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    chosen_words, rejected_words = rng.integers(5, 80, n), rng.integers(5, 80, n)
    return pd.DataFrame(
        {
            "id": [str(i) for i in range(n)],
            "cluster": [str(i) for i in range(n)],
            "prompt": [asked(f"question {i}") for i in range(n)],
            "chosen": [f"chosen {i}" for i in range(n)],
            "rejected": [f"rejected {i}" for i in range(n)],
            "chosen_words": chosen_words,
            "rejected_words": rejected_words,
            "chosen_reward": rng.normal(0.7, 1, n) + by_length * np.log1p(chosen_words),
            "rejected_reward": rng.normal(0, 1, n) + by_length * np.log1p(rejected_words),
            "topic": rng.choice(["cats", "tea"], n),
        }
    )


def analysed(table: pd.DataFrame) -> dict:
    sides = favoured_and_other(table)
    sides = sides.assign(favoured_grade=np.linspace(2, 8, len(sides)), other_grade=np.linspace(3, 8, len(sides)))
    return analyse_reward(table, sides, {"empty": 0}, seed=0)


def test_favoured_goes_by_the_reward_model_and_ties_are_left_out():
    table = scored(4).assign(chosen_reward=[1.0, 0.0, 2.0, 3.0], rejected_reward=[0.0, 1.0, 2.0, 1.0])
    sides = favoured_and_other(table)
    assert sides["favoured"].tolist() == ["chosen 0", "rejected 1", "chosen 3"]
    assert sides["other"].tolist() == ["rejected 0", "chosen 1", "rejected 3"]
    assert sides["favoured_words"].tolist() == [
        table["chosen_words"][0], table["rejected_words"][1], table["chosen_words"][3],
    ]  # fmt: skip


def test_the_studys_comparison_and_the_paired_one():
    table = scored()
    found = analysed(table)
    chosen, rejected = table["chosen_reward"], table["rejected_reward"]
    winning, right = np.maximum(chosen, rejected), chosen > rejected
    assert found["correct_against_wrong"]["correct"]["n"] + found["correct_against_wrong"]["wrong"]["n"] == len(table)
    assert found["correct_against_wrong"]["unpaired_t"]["p"] == pytest.approx(
        stats.ttest_ind(winning[right], winning[~right]).pvalue
    )
    assert "different" in found["correct_against_wrong"]["note"]
    assert found["margin"]["paired_t"]["p"] == pytest.approx(stats.ttest_rel(chosen, rejected).pvalue)
    assert found["margin"]["wilcoxon"]["p"] == pytest.approx(stats.wilcoxon(chosen, rejected).pvalue)
    assert found["margin"]["mean"]["value"] == pytest.approx((chosen - rejected).mean())


def test_length_is_found_where_it_rules_and_not_where_it_does_not():
    ruled, free = analysed(scored(by_length=3.0))["length"], analysed(scored())["length"]
    assert ruled["correlation_within_pairs"]["low"] > 0.6 and ruled["margin_explained"]["low"] > 0.5
    assert ruled["difference"]["low"] > 0 and ruled["correlation"]["low"] > 0.6
    assert abs(free["correlation_within_pairs"]["value"]) < 0.3 and free["correlation_within_pairs"]["low"] < 0.1
    assert free["margin_explained"]["value"] < 0.1


def test_accuracy_by_the_datas_own_groups():
    table = scored().assign(source="one", comment=[f"all different {i}" for i in range(120)], score=1.5)
    assert grouping_columns(table) == ["topic"]
    found = analysed(table)["by_group"]["topic"]
    assert set(found) == {"cats", "tea"} and sum(estimate["n"] for estimate in found.values()) == 120


def test_a_model_that_is_always_right_or_always_ties():
    right = analysed(scored().assign(chosen_reward=1.0, rejected_reward=0.0))
    assert right["correct_against_wrong"]["wrong"] is None and right["correct_against_wrong"]["unpaired_t"] is None


SEED = 11
# Every column differs from every other, one pair is a tie of rewards, one of words, and a grade is missing on each side. Pairs of
# one prompt are not side by side.
BY_HAND = pd.DataFrame(
    {
        "chosen": list("abcdefgh"),
        "rejected": list("ijklmnop"),
        "chosen_reward": [2.0, 0.5, 1.0, -1.0, 3.0, 0.25, 4.0, 1.5],
        "rejected_reward": [1.0, 1.5, 1.0, -3.0, 2.5, 0.75, 0.0, 2.0],
        "chosen_words": [10, 25, 31, 8, 12, 40, 17, 22],
        "rejected_words": [14, 20, 31, 5, 19, 33, 9, 28],
        "topic": ["x", "y"] * 4,
        "cluster": list("pqrspqpt"),
    }
)
CLUSTERS = BY_HAND["cluster"].to_numpy()
SIDES = favoured_and_other(BY_HAND).assign(
    favoured_grade=[3.0, 5.0, np.nan, 7.5, 4.0, 6.0, 2.0], other_grade=[2.5, np.nan, 8.0, 6.0, 4.5, 3.0, 1.0]
)
BASELINES = {
    "tfidf": np.array([1.0, -2.0, 0.5, 0.0, 3.0, -1.0, -4.0, 0.25]),
    "probe": np.array([1.0, 2.0, 0.5, 0.1, -3.0, -1.0, 4.0, 0.25]),
}


def test_every_number_of_the_reward_model_comes_from_its_own_column():
    chosen, rejected = BY_HAND["chosen_reward"], BY_HAND["rejected_reward"]
    words, other = BY_HAND["chosen_words"], BY_HAND["rejected_words"]
    longer, shorter = words > other, words < other
    assert reward_metrics(BY_HAND, BASELINES, SEED) == {
        "accuracy": win_rate([1, 0, 0.5, 1, 1, 0, 1, 0], CLUSTERS),
        "accuracy_longer_chosen": pairwise_accuracy(chosen[longer], rejected[longer], CLUSTERS[longer]),
        "accuracy_shorter_chosen": pairwise_accuracy(chosen[shorter], rejected[shorter], CLUSTERS[shorter]),
        "reward_mean": mean((chosen + rejected) / 2, CLUSTERS),
        "reward_median": median([*chosen, *rejected], [*CLUSTERS, *CLUSTERS]) | {"n": 8},
        "reward_std": paired_standard_deviation((chosen, rejected), SEED, CLUSTERS),
        "length_correlation": paired_rank_correlation((chosen, rejected), (words, other), SEED, CLUSTERS),
        "baselines": {
            "longer": win_rate([0, 1, 0.5, 1, 0, 1, 1, 0], CLUSTERS),
            "tfidf": win_rate([1, 0, 1, 0.5, 1, 0, 0, 1], CLUSTERS),
            "probe": win_rate(half_ties(BASELINES["probe"]), CLUSTERS),
        },
    }
    assert (longer.sum(), shorter.sum()) == (4, 3)


def test_both_responses_of_a_pair_are_one_observation():
    found = reward_metrics(scored(50), {}, SEED)
    assert [found[name]["n"] for name in ("reward_mean", "reward_median", "reward_std", "accuracy")] == [50] * 4


@pytest.mark.parametrize(("baseline", "value"), [("longer", 6 / 8), ("tfidf", 2.5 / 8), ("probe", 5 / 8)])
def test_a_baseline_is_right_where_it_is(baseline, value):
    table = BY_HAND.assign(chosen_words=[15, 25, 31, 8, 20, 40, 17, 22], rejected_words=[14, 20, 30, 9, 19, 33, 9, 28])
    margins = np.array([1.0, -2.0, -0.5, 0.0, 3.0, -1.0, -4.0, -0.25])
    baselines = {"tfidf": margins, "probe": np.array([1.0, 2.0, 0.5, 0.1, 3.0, -1.0, -4.0, -0.25])}
    assert reward_metrics(table, baselines, SEED)["baselines"][baseline]["value"] == value


def test_a_subset_without_pairs_is_null():
    found = reward_metrics(BY_HAND.assign(rejected_words=0), BASELINES, SEED)
    assert found["accuracy_shorter_chosen"] is None and found["accuracy_longer_chosen"] == found["accuracy"]
    row = reward_row(found | {"right_to_judge": {"holds": True}})
    assert row.keys() == {"accuracy", "accuracy_low", "accuracy_high", "right_to_judge"}


def test_the_few_numbers_of_a_row_are_those():
    metrics = {
        "accuracy": {"value": 0.5, "low": 0.4, "high": 0.6},
        "accuracy_shorter_chosen": {"value": 0.3, "low": 0, "high": 1},
        "right_to_judge": {"holds": False},
    }
    wanted = {"accuracy": 0.5, "accuracy_low": 0.4, "accuracy_high": 0.6, "accuracy_shorter_chosen": 0.3}
    assert reward_row(metrics) == wanted | {"right_to_judge": "does not hold"}
    assert reward_row(metrics | {"right_to_judge": {"holds": True}})["right_to_judge"] == "holds"


def test_every_number_of_the_analysis_comes_from_its_own_column():
    margins = (BY_HAND["chosen_reward"] - BY_HAND["rejected_reward"]).to_numpy()
    words, other = BY_HAND["chosen_words"], BY_HAND["rejected_words"]
    difference = np.log1p(words) - np.log1p(other)
    right, wrong = margins > 0, margins < 0
    winning = BY_HAND[["chosen_reward", "rejected_reward"]].max(axis=1)
    more_words = SIDES["favoured_words"] - SIDES["other_words"]
    grades = np.array([0.5, 1.5, -0.5, 3.0, 1.0])  # where both sides have one
    assert analyse_reward(BY_HAND, SIDES, {"code": 2}, SEED) == {
        "n": 8,
        "clusters": 5,
        "correct_against_wrong": {
            "correct": mean(winning[right], CLUSTERS[right]),
            "correct_median": median(winning[right], CLUSTERS[right]),
            "wrong": mean(winning[wrong], CLUSTERS[wrong]),
            "wrong_median": median(winning[wrong], CLUSTERS[wrong]),
            "tied": 1,
            "unpaired_t": unpaired_t(winning[right], winning[wrong]) | {"n": 7},
            "note": NOTE,
        },
        "margin": {
            "mean": mean(margins, CLUSTERS),
            "median": median(margins, CLUSTERS),
            "effect_size": effect_size(margins, SEED, CLUSTERS),
        }
        | paired_tests(margins, CLUSTERS),
        "calibration": {
            "brier": brier_score(margins, CLUSTERS),
            "ece": calibration_error(margins, SEED, CLUSTERS),
            "bins": reliability(margins, CLUSTERS),
        },
        "by_group": {"topic": {"x": win_rate([1, 0.5, 1, 1], list("prpp")), "y": share([0, 1, 0, 0], list("qsqt"))}},
        "length": {
            "favoured_words": mean(SIDES["favoured_words"], list("pqspqpt")),
            "favoured_words_median": median(SIDES["favoured_words"], list("pqspqpt")),
            "other_words": mean(SIDES["other_words"], list("pqspqpt")),
            "other_words_median": median(SIDES["other_words"], list("pqspqpt")),
            "difference": mean(more_words, list("pqspqpt")),
            "difference_median": median(more_words, list("pqspqpt")),
            "tests": paired_tests(more_words, list("pqspqpt")),
            "correlation": paired_rank_correlation(
                (BY_HAND["chosen_reward"], BY_HAND["rejected_reward"]), (words, other), SEED, CLUSTERS
            ),
            "correlation_within_pairs": rank_correlation(margins, difference, SEED, CLUSTERS),
            "margin_explained": explained_share(margins, difference, SEED, CLUSTERS),
        },
        "readability": {
            "favoured": mean([3.0, 5.0, 7.5, 4.0, 6.0, 2.0], list("pqpqpt")),
            "favoured_median": median([3.0, 5.0, 7.5, 4.0, 6.0, 2.0], list("pqpqpt")),
            "other": mean([2.5, 8.0, 6.0, 4.5, 3.0, 1.0], list("pspqpt")),
            "other_median": median([2.5, 8.0, 6.0, 4.5, 3.0, 1.0], list("pspqpt")),
            "difference": mean(grades, list("ppqpt")),
            "difference_median": median(grades, list("ppqpt")),
            "left_out": {"code": 2},
        }
        | paired_tests(grades, list("ppqpt")),
    }


def test_thirty_groups_are_told_apart_and_thirty_one_are_not():
    for groups, told in ((2, True), (30, True), (31, False), (1, False)):
        table = pd.DataFrame({"topic": [str(i % groups) for i in range(62)]})
        assert (grouping_columns(table) == ["topic"]) == told
    assert grouping_columns(pd.DataFrame({"topic": ["a", None, "b"], "id": ["x", "y", "y"]})) == []
