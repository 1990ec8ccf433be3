import numpy as np
import pandas as pd
import pytest
from scipy import stats

from preference_study.analysis.reward import analyse_reward, favoured_and_other, grouping_columns


def scored(n: int = 120, by_length: float = 0.0, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    chosen_words, rejected_words = rng.integers(5, 80, n), rng.integers(5, 80, n)
    return pd.DataFrame(
        {
            "id": [str(i) for i in range(n)],
            "prompt": [f"question {i}" for i in range(n)],
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
