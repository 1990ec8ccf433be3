"""Made-up answers in which the truth is known, and the verdict that must come out."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from preference_study.analysis.policies import UNPAIRED, compare_policies
from preference_study.analysis.statistics import holm
from preference_study.numbers import decimal

N = 200


def answers(reward, words, obeyed=None, **columns) -> pd.DataFrame:
    table = pd.DataFrame(
        {
            "reward": reward,
            "words": words,
            "reading_grade": np.linspace(3, 9, len(reward)),
            "repetition": 0.0,
            "finished": True,
            "refuses": False,
        }
        | columns
    )
    return table if obeyed is None else table.assign(obeyed=obeyed)


def logps(seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    return pd.DataFrame({"chosen_logp": rng.normal(-50, 5, 80), "rejected_logp": rng.normal(-50, 5, 80)})


def compared(base: pd.DataFrame, policy: pd.DataFrame) -> dict:
    return compare_policies({"base": base, "dpo": policy}, {"base": logps(0), "dpo": logps(1)}, {"dpo": 0.1}, seed=0)


def made_up(better: float, by_length: float, longer: float, seed: int = 0, gold: tuple[float, float] | None = None) -> dict:
    """Rewards that differ by `better`, plus `by_length` a word, where the policy is `longer` words longer on average."""
    rng = np.random.default_rng(seed)
    quality, base_words = rng.normal(0, 1, N), rng.integers(20, 60, N)
    words = base_words + rng.normal(longer, 12, N).round().astype(int)
    base_reward = quality + by_length * base_words + rng.normal(0, 0.3, N)
    reward = quality + better + by_length * words + rng.normal(0, 0.3, N)
    obeyed = [rng.random(N) < share for share in gold] if gold else [None, None]
    return compared(answers(base_reward, base_words, obeyed[0]), answers(reward, words, obeyed[1]))


@pytest.mark.parametrize(
    ("case", "reward", "length"),
    [
        ({"better": 0.3, "by_length": 0.0, "longer": 0}, "better", "gained at equal length"),
        ({"better": 0.3, "by_length": 0.0, "longer": 8}, "better", "gained at equal length"),
        ({"better": 0.0, "by_length": 0.1, "longer": 8}, "better", "only longer"),
        ({"better": -0.3, "by_length": 0.0, "longer": 0}, "worse", "lost at equal length"),
        ({"better": -1.0, "by_length": 0.2, "longer": 5}, "no evidence of a difference", "lost at equal length"),
        ({"better": 0.0, "by_length": 0.1, "longer": -8}, "worse", "no evidence at equal length"),
        ({"better": 0.0, "by_length": 0.0, "longer": 0}, "no evidence of a difference", "no evidence at equal length"),
    ],
)
def test_each_verdict_is_reached_where_it_is_true(case, reward, length):
    comparison = made_up(**case)["dpo"]["against_base"]
    verdict = comparison["verdict"]
    assert (verdict["reward"], verdict["length"], verdict["gold"]) == (reward, length, None)
    assert decimal(comparison["win_rate"]["value"]) in verdict["sentence"] and f"n = {N}" in verdict["sentence"]


@pytest.mark.parametrize(
    ("gold", "expected"),
    [((0.4, 0.7), "better"), ((0.7, 0.4), "worse"), ((0.5, 0.5), "no evidence of a difference")],
)
def test_the_truth_may_contradict_the_reward_model(gold, expected):
    verdict = made_up(better=0.5, by_length=0, longer=0, gold=gold)["dpo"]["against_base"]["verdict"]
    assert verdict["reward"] == "better" and verdict["gold"] == expected
    assert {"better": "obeys more", "worse": "obeys fewer"}.get(expected, "no evidence that") in verdict["sentence"]


def test_no_verdict_without_correction():
    """Among many tests of nothing, a raw p just below 0.05 must not become a verdict."""
    base, policy = answers(np.zeros(N), np.full(N, 30)), answers(np.repeat([1.0, -1.0], [115, 85]), np.full(N, 30))
    comparison = compared(base, policy)["dpo"]["against_base"]
    sign = next(row for row in comparison["tests"] if (row["outcome"], row["test"]) == ("reward", "sign"))
    assert sign["n"] == N
    assert 0.03 < sign["p"] < 0.05 < sign["p_holm"]
    assert comparison["verdict"]["reward"] == "no evidence of a difference"


def test_the_family_is_corrected_once_over_all_policies():
    base = made_up(0, 0, 0)
    rng = np.random.default_rng(3)
    tables = {p: answers(rng.normal(size=N), rng.integers(20, 40, N)) for p in ("base", "dpo", "ipo")}
    metrics = compare_policies(tables, {"base": logps(0), "dpo": logps(1), "ipo": logps(2)}, {"dpo": 0.1, "ipo": 0.1}, 0)
    rows = [row for m in ("dpo", "ipo") for row in metrics[m]["against_base"]["tests"] if row["p_holm"] is not None]
    expected = multipletests([row["p"] for row in rows], method="holm")[1]
    assert [row["p_holm"] for row in rows] == pytest.approx(list(expected))
    assert {row["outcome"] for row in rows} >= {"reward", "words", "implicit accuracy", "likelihood accuracy", "finished"}
    assert holm([row["p"] for row in rows]) == pytest.approx(list(expected))
    assert "against_base" not in base["base"]


def test_the_studys_test_is_reported_and_decides_nothing():
    metrics = made_up(0.3, 0, 0)
    row = metrics["dpo"]["against_base"]["tests"][-1]
    assert (row["test"], row["p_holm"], row["note"]) == ("unpaired t", None, UNPAIRED)
    paired = next(r for r in metrics["dpo"]["against_base"]["tests"] if r["test"] == "paired t" and r["outcome"] == "reward")
    assert paired["p"] < row["p"]  # pairing takes out what the prompts share


def test_numbers_of_a_policy_by_hand():
    base = answers([0.0, 0.0, 0.0, 0.0], [10, 10, 10, 10], reading_grade=[5.0, np.nan, 7.0, 8.0])
    policy = answers([1.0, 2.0, -1.0, 0.0], [12, 14, 10, 10], reading_grade=[6.0, 7.0, np.nan, 8.0])
    metrics = compared(base, policy)
    against = metrics["dpo"]["against_base"]
    assert (against["wins"], against["losses"], against["ties"]) == (2, 1, 1)
    assert against["win_rate"]["value"] == 2.5 / 4
    assert against["tests"][0]["test"] == "sign" and against["tests"][0]["n"] == 3  # the tie is no part of it
    assert against["words_difference"]["value"] == 1.5
    # Only prompts on which both answers have a reading grade are compared: the first and the last.
    assert (against["reading_grade_difference"]["value"], against["reading_grade_difference"]["n"]) == (0.5, 2)
    assert metrics["dpo"]["reading_grade_mean"] == pytest.approx({"value": 7.0, "n": 3} | interval([6, 7, 8]))
    assert metrics["base"]["implicit_accuracy"]["value"] == 0.5
    chosen, rejected = (logps(1) - logps(0)).to_numpy().T
    assert metrics["dpo"]["implicit_accuracy"]["value"] == (chosen > rejected).mean()
    assert metrics["dpo"]["implicit_reward_mean"]["value"] == pytest.approx(0.1 * (chosen.mean() + rejected.mean()) / 2)


def interval(values):
    low, high = stats.t.interval(0.95, len(values) - 1, loc=np.mean(values), scale=stats.sem(values))
    return {"low": low, "high": high}


def test_equal_policies_are_no_error():
    table = answers(np.ones(5), np.full(5, 10), np.ones(5, bool), reading_grade=np.nan)
    metrics = compared(table, table)
    against = metrics["dpo"]["against_base"]
    assert against["verdict"]["reward"] == "no evidence of a difference" and against["ties"] == 5
    assert metrics["dpo"]["reading_grade_mean"] is None and against["reading_grade_difference"] is None
    assert not any(isinstance(row["p"], float) and math.isnan(row["p"]) for row in against["tests"])
