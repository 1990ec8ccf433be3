"""Made-up responses in which the truth is known, and the verdict that must come out."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from preference_study.analysis.judge import agreement_with_gold, telling_gold
from preference_study.analysis.policies import UNPAIRED, compare_policies, describe_policy, evidence, policy_against_base
from preference_study.analysis.statistics import (
    effect_size,
    holm,
    mcnemar,
    mean,
    median,
    paired_standard_deviation,
    paired_tests,
    share,
    sign_test,
    standard_deviation,
    unpaired_t,
    win_rate,
)
from preference_study.analysis.style import (
    even_at_equal_length_p,
    length_controlled_win_rate,
    style_controlled,
)
from preference_study.analysis.verdicts import VERDICT_TESTS
from preference_study.numbers import decimal

pytestmark = pytest.mark.usefixtures("few_resamples")

N = 200
SMALLEST = {"win_rate": 0.1, "gold_rate": 0.15}
RIGHT = {"holds": True, "reasons": []}


def responses(reward, words, gold=None, **columns) -> pd.DataFrame:
    table = pd.DataFrame(
        {
            "cluster": range(len(reward)),
            "reward": reward,
            "words": words,
            "headings": 0,
            "list_items": 0,
            "bold": 0,
            "reading_grade": np.linspace(3, 9, len(reward)),
            "repetition": 0.0,
            "finished": True,
            "refuses": False,
        }
        | columns
    )
    return table if gold is None else table.assign(gold=gold, letter=True)


def logps(seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    table = {"cluster": range(80), "chosen_logp": rng.normal(-50, 5, 80), "rejected_logp": rng.normal(-50, 5, 80)}
    return pd.DataFrame(table)


def compared(base: pd.DataFrame, policy: pd.DataFrame) -> dict:
    tables = {"base": logps(0), "dpo": logps(1)}
    return compare_policies({"base": base, "dpo": policy}, tables, {"dpo": 0.1}, seed=0, smallest=SMALLEST, right_to_judge=RIGHT)


def made_up(
    better: float, by_length: float, longer: float, seed: int = 0, gold: tuple[float, float] | None = None, n: int = N
) -> dict:
    """Rewards that differ by `better`, plus `by_length` a word, where the policy is `longer` words longer on average."""
    rng = np.random.default_rng(seed)
    quality, base_words = rng.normal(0, 1, n), rng.integers(20, 60, n)
    words = base_words + rng.normal(longer, 12, n).round().astype(int)
    base_reward = quality + by_length * base_words + rng.normal(0, 0.3, n)
    reward = quality + better + by_length * words + rng.normal(0, 0.3, n)
    truth = [rng.random(n) < share for share in gold] if gold else [None, None]
    return compared(responses(base_reward, base_words, truth[0]), responses(reward, words, truth[1]))


@pytest.mark.parametrize(
    ("case", "reward", "length"),
    [
        ({"better": 0.3, "by_length": 0.0, "longer": 0}, "better", "gained at equal length"),
        ({"better": 0.3, "by_length": 0.0, "longer": 8}, "better", "gained at equal length"),
        ({"better": 0.0, "by_length": 0.1, "longer": 8}, "better", "only longer"),
        ({"better": -0.3, "by_length": 0.0, "longer": 0}, "worse", "lost at equal length"),
        ({"better": -1.0, "by_length": 0.2, "longer": 5}, "as good", None),
        ({"better": 0.0, "by_length": 0.1, "longer": -8}, "worse", "not shown at equal length"),
        ({"better": 0.0, "by_length": 0.0, "longer": 0}, "as good", None),
        ({"better": 0.0, "by_length": 0.0, "longer": 0, "n": 40}, "inconclusive", None),
        ({"better": 0.02, "by_length": 0.0, "longer": 0, "n": 60}, "inconclusive", None),
    ],
)
def test_each_verdict_is_reached_where_it_is_true(case, reward, length):
    comparison = made_up(**case)["dpo"]["against_base"]
    verdict = comparison["verdict"]
    assert (verdict["reward"], verdict["length"], verdict["gold"]) == (reward, length, None)
    assert decimal(comparison["win_rate"]["value"]) in verdict["sentence"] and f"n = {case.get('n', N)}" in verdict["sentence"]


@pytest.mark.parametrize(
    ("gold", "expected"),
    [((0.4, 0.7), "better"), ((0.7, 0.4), "worse"), ((0.5, 0.5), "as good")],
)
def test_the_truth_may_contradict_the_reward_model(gold, expected):
    verdict = made_up(better=0.5, by_length=0, longer=0, gold=gold)["dpo"]["against_base"]["verdict"]
    assert verdict["reward"] == "better" and verdict["gold"] == expected
    said = {"better": "better: more of", "worse": "worse: fewer of", "as good": "In truth DPO is as good as base"}
    assert said[expected] in verdict["sentence"]


def test_no_verdict_without_correction():
    """Of several verdicts on nothing, a raw p just below 0.05 must not become one."""
    base, policy = responses(np.zeros(N), np.full(N, 30)), responses(np.repeat([1.0, -1.0], [115, 85]), np.full(N, 30))
    comparison = compared(base, policy)["dpo"]["against_base"]
    sign = next(row for row in comparison["tests"] if (row["outcome"], row["test"]) == ("reward", "sign"))
    assert sign["n"] == N
    assert 0.03 < sign["p"] < 0.05 < sign["p_holm"]
    assert comparison["verdict"]["reward"] == "inconclusive"


def test_the_family_is_corrected_once_over_all_policies():
    base = made_up(0, 0, 0)
    rng = np.random.default_rng(3)
    tables = {p: responses(rng.normal(size=N), rng.integers(20, 40, N)) for p in ("base", "dpo", "ipo")}
    likely, betas = {"base": logps(0), "dpo": logps(1), "ipo": logps(2)}, {"dpo": 0.1, "ipo": 0.1}
    metrics = compare_policies(tables, likely, betas, 0, SMALLEST, RIGHT)
    rows = [row for m in ("dpo", "ipo") for row in metrics[m]["against_base"]["tests"] if row["p_holm"] is not None]
    of_verdicts = [row for row in rows if (row["outcome"], row["test"]) in VERDICT_TESTS]
    described = [row for row in rows if row not in of_verdicts]
    assert [row["outcome"] for row in of_verdicts] == ["reward", "reward at equal length"] * 2
    for family in (of_verdicts, described):
        expected = multipletests([row["p"] for row in family], method="holm")[1]
        assert [row["p_holm"] for row in family] == pytest.approx(list(expected))
    # What is tested among the prices is not tested here a second time.
    outcomes = {row["outcome"] for row in metrics["dpo"]["against_base"]["tests"]}
    assert outcomes >= {"reward", "implicit accuracy", "likelihood accuracy"} and not outcomes & {"words", "finished", "refusals"}
    same = [metrics[m]["against_base"]["evidence"]["reward"] for m in ("dpo", "ipo")]
    assert [row["p_equivalent_holm"] for row in same] == pytest.approx(holm([row["p_equivalent"] for row in same]))
    assert [metrics[m]["against_base"]["tests_of_verdicts"] for m in ("dpo", "ipo")] == [4, 4]
    assert "against_base" not in base["base"]


def test_the_studys_test_is_reported_and_decides_nothing():
    metrics = made_up(0.3, 0, 0)
    row = metrics["dpo"]["against_base"]["tests"][-1]
    assert (row["test"], row["p_holm"], row["note"]) == ("unpaired t", None, UNPAIRED)
    paired = next(r for r in metrics["dpo"]["against_base"]["tests"] if r["test"] == "paired t" and r["outcome"] == "reward")
    assert paired["p"] < row["p"]  # pairing takes out what the prompts share


def test_numbers_of_a_policy_by_hand():
    base = responses([0.0, 0.0, 0.0, 0.0], [10, 10, 10, 10], reading_grade=[5.0, np.nan, 7.0, 8.0])
    policy = responses([1.0, 2.0, -1.0, 0.0], [12, 14, 10, 10], reading_grade=[6.0, 7.0, np.nan, 8.0])
    metrics = compared(base, policy)
    against = metrics["dpo"]["against_base"]
    assert (against["wins"], against["losses"], against["ties"]) == (2, 1, 1)
    assert against["win_rate"]["value"] == 2.5 / 4
    assert against["tests"][0]["test"] == "sign" and against["tests"][0]["n"] == 3  # the tie is no part of it
    assert against["words_difference"]["value"] == 1.5
    # Only prompts on which both responses have a reading grade are compared: the first and the last.
    assert (against["reading_grade_difference"]["value"], against["reading_grade_difference"]["n"]) == (0.5, 2)
    assert metrics["dpo"]["reading_grade_mean"] == pytest.approx({"value": 7.0, "n": 3, "clusters": 3} | interval([6, 7, 8]))
    of_base = metrics["base"]["implicit_accuracy"]
    assert (of_base["value"], of_base["low"], of_base["high"]) == (0.5, None, None)  # by definition
    chosen, rejected = (logps(1) - logps(0))[["chosen_logp", "rejected_logp"]].to_numpy().T
    assert metrics["dpo"]["implicit_accuracy"]["value"] == (chosen > rejected).mean()
    assert metrics["dpo"]["implicit_reward_mean"]["value"] == pytest.approx(0.1 * (chosen.mean() + rejected.mean()) / 2)


def interval(values):
    low, high = stats.t.interval(0.95, len(values) - 1, loc=np.mean(values), scale=stats.sem(values))
    return {"low": low, "high": high}


def test_equal_policies_are_no_error():
    table = responses(np.ones(5), np.full(5, 10), np.ones(5, bool), reading_grade=np.nan)
    metrics = compared(table, table)
    against = metrics["dpo"]["against_base"]
    assert against["verdict"]["reward"] == against["verdict"]["gold"] == "inconclusive" and against["ties"] == 5
    assert metrics["dpo"]["reading_grade_mean"] is None and against["reading_grade_difference"] is None
    assert not any(isinstance(row["p"], float) and math.isnan(row["p"]) for row in against["tests"])


# Every column differs from every other, in both tables; one prompt is a tie of rewards, and one grade is missing in each.
BASE = responses(
    [1.0, 2.0, 0.5, -1.0, 0.0, 3.0],
    [10, 22, 35, 14, 28, 19],
    [True, False, False, True, False, False],
    reading_grade=[5.0, 6.5, np.nan, 7.0, 4.0, 8.0],
    repetition=[0.1, 0.0, 0.3, 0.2, 0.0, 0.4],
    finished=[True, True, False, False, True, False],
    refuses=[False, False, False, True, False, False],
    cluster=list("uvwuvw"),
).assign(letter=[True, True, False, True, False, False])
OTHER = responses(
    [2.5, 2.0, 1.5, -0.5, -2.0, 4.0],
    [13, 20, 41, 15, 36, 25],
    [True, True, True, False, True, False],
    reading_grade=[5.5, 6.0, 7.0, np.nan, 6.0, 9.0],
    repetition=[0.0, 0.1, 0.5, 0.2, 0.6, 0.1],
    finished=[True, False, True, True, True, True],
    refuses=[True, False, True, True, True, False],
    cluster=list("uvwuvw"),
    headings=[0, 0, 1, 0, 2, 0],
    bold=[3, 0, 0, 1, 0, 1],
).assign(letter=[True, True, True, True, True, True])
CLUSTERS, OF_PAIRS = list("uvwuvw"), list("ghig")
BASE_LOGPS = pd.DataFrame(
    {"cluster": list("ghig"), "chosen_logp": [-10.0, -20.0, -15.0, -12.0], "rejected_logp": [-11.0, -18.0, -15.5, -13.0]}
)
LOGPS = pd.DataFrame(
    {"cluster": list("ghig"), "chosen_logp": [-12.0, -17.0, -16.0, -11.0], "rejected_logp": [-14.0, -19.0, -14.0, -13.0]}
)
SEED = 7


def test_every_number_of_a_policy_comes_from_its_own_column():
    chosen, rejected = 0.5 * np.array([-2.0, 3.0, -1.0, 1.0]), 0.5 * np.array([-3.0, -1.0, 1.5, 0.0])
    assert describe_policy(OTHER, LOGPS, BASE_LOGPS, 0.5, SEED) == {
        "reward_mean": mean(OTHER["reward"], CLUSTERS),
        "reward_median": median(OTHER["reward"], CLUSTERS),
        "reward_std": standard_deviation(OTHER["reward"], SEED, CLUSTERS),
        "words_mean": mean(OTHER["words"], CLUSTERS),
        "words_median": median(OTHER["words"], CLUSTERS),
        "reading_grade_mean": mean([5.5, 6.0, 7.0, 6.0, 9.0], list("uvwvw")),
        "reading_grade_median": median([5.5, 6.0, 7.0, 6.0, 9.0], list("uvwvw")),
        "repetition_mean": mean(OTHER["repetition"], CLUSTERS),
        "finished": share([1, 0, 1, 1, 1, 1], CLUSTERS),
        "refusals": share([1, 0, 1, 1, 1, 0], CLUSTERS),
        "implicit_accuracy": share([1, 1, 0, 1], OF_PAIRS),
        "implicit_reward_mean": mean((chosen + rejected) / 2, OF_PAIRS),
        "implicit_reward_std": paired_standard_deviation((chosen, rejected), SEED, OF_PAIRS),
        "likelihood_accuracy": share([1, 1, 0, 1], OF_PAIRS),
        "gold_rate": share([1, 1, 1, 0, 1, 0], CLUSTERS),
        "letter_rate": share([1, 1, 1, 1, 1, 1], CLUSTERS),
        "reward_tells_gold": telling_gold(OTHER, SEED),
    }
    assert describe_policy(BASE, BASE_LOGPS, BASE_LOGPS, 1.0, SEED)["likelihood_accuracy"] == share([1, 0, 1, 1], OF_PAIRS)


def test_both_responses_of_a_pair_are_one_observation_of_the_implicit_reward():
    found = compared(BASE, OTHER)["dpo"]
    assert (found["implicit_reward_mean"]["n"], found["implicit_reward_std"]["n"]) == (80, 80)


def test_a_method_without_reference_has_no_implicit_reward_but_an_accuracy():
    found = describe_policy(OTHER, LOGPS, BASE_LOGPS, None, SEED)
    assert found["implicit_reward_mean"] is found["implicit_reward_std"] is None
    assert found["implicit_accuracy"] == share([1, 1, 0, 1], OF_PAIRS)


def test_every_number_against_base_comes_from_its_own_column():
    reward = np.array([1.5, 0.0, 1.0, 0.5, -2.0, 1.0])
    words = np.array([3, -2, 6, 1, 8, 6])
    grades = np.array([0.5, -0.5, 2.0, 1.0])
    repetition = OTHER["repetition"].to_numpy() - BASE["repetition"].to_numpy()
    implicit = np.array([1.0, 4.0, -2.5, 1.0])
    found = policy_against_base(BASE, OTHER, BASE_LOGPS, LOGPS, SEED)
    tests = found.pop("tests")
    likelihood = mcnemar([True, False, True, True], [True, True, False, True], OF_PAIRS)
    equal_length = even_at_equal_length_p([1, 0.5, 1, 1, 0, 1], words, CLUSTERS)
    gold, letter = (mcnemar(BASE[truth], OTHER[truth], CLUSTERS) for truth in ("gold", "letter"))
    gold_rates = [float(np.mean(table["gold"])) for table in (BASE, OTHER)]
    style = style_controlled([1, 0.5, 1, 1, 0, 1], BASE, OTHER, SEED)
    assert list(style["coefficients"]) == ["words", "headings", "bold"]
    assert found == {
        "wins": 4,
        "losses": 1,
        "ties": 1,
        "win_rate": win_rate([1, 0.5, 1, 1, 0, 1], CLUSTERS),
        "win_rate_length_controlled": length_controlled_win_rate([1, 0.5, 1, 1, 0, 1], words, SEED, CLUSTERS),
        "win_rate_style_controlled": style["win_rate"],
        "style_coefficients": style["coefficients"],
        "style_left_out": ["list_items"],
        "reward_difference": mean(reward, CLUSTERS),
        "reward_difference_median": median(reward, CLUSTERS),
        "effect_size": effect_size(reward, SEED, CLUSTERS),
        "words_difference": mean(words, CLUSTERS),
        "words_difference_median": median(words, CLUSTERS),
        "reading_grade_difference": mean(grades, list("uvvw")),
        "reading_grade_difference_median": median(grades, list("uvvw")),
        "repetition_difference": mean(repetition, CLUSTERS),
        "likelihood": likelihood,
        "gold": gold | {"before": gold_rates[0], "after": gold_rates[1]},
        "letter": letter | {"before": 0.5, "after": 1.0},
    }
    assert (gold["gained"], gold["lost"]) == (3, 1) and (letter["gained"], letter["lost"]) == (3, 0)
    wanted = {
        ("reward", "sign"): (sign_test(reward, CLUSTERS), 5, 3),
        ("reward at equal length", "score"): ({"p": equal_length}, 6, 3),
        ("reward", "paired t"): (paired_tests(reward, CLUSTERS)["paired_t"], 6, 3),
        ("reward", "Wilcoxon"): (paired_tests(reward, CLUSTERS)["wilcoxon"], 6, 3),
        ("reading grade", "Wilcoxon"): (paired_tests(grades, list("uvvw"))["wilcoxon"], 4, 3),
        ("repetition", "Wilcoxon"): (paired_tests(repetition, CLUSTERS)["wilcoxon"], 6, 3),
        ("gold", "McNemar"): (gold, 6, 3),
        ("letter", "McNemar"): (letter, 6, 3),
        ("implicit accuracy", "sign"): (sign_test(implicit, OF_PAIRS), 4, 3),
        ("likelihood accuracy", "McNemar"): (likelihood, 4, 3),
    }
    assert tests == [
        {
            "outcome": outcome,
            "test": test,
            "statistic": result.get("statistic"),
            "p": result["p"],
            "n": n,
            "clusters": clusters,
        }
        for (outcome, test), (result, n, clusters) in wanted.items()
    ]


def test_the_family_has_ten_tests_a_policy_and_the_unpaired_one_is_none_of_them():
    tables = {"base": BASE, "dpo": OTHER, "simpo": OTHER.assign(reward=OTHER["reward"] + 1)}
    ahead = LOGPS.assign(rejected_logp=[-14.0, -19.0, -17.0, -13.0])
    likely, betas = dict.fromkeys(tables, ahead) | {"base": BASE_LOGPS}, {"dpo": 0.5, "simpo": None}
    found = compare_policies(tables, likely, betas, SEED, SMALLEST, RIGHT)
    tests = [test for method in ("dpo", "simpo") for test in found[method]["against_base"]["tests"]]
    assert len(tests) == 2 * 11
    against = found["dpo"]["against_base"]
    assert against["evidence"] == {
        outcome: row | {"p_equivalent_holm": against["evidence"][outcome]["p_equivalent_holm"]}
        for outcome, row in evidence(BASE, OTHER, SMALLEST).items()
    }
    assert [row["smallest"] for row in against["evidence"].values()] == [0.1, 0.15]
    assert against["judge_agrees_with_gold"] == agreement_with_gold(BASE, OTHER)
    # The policy ranks all pairs as people did, base three of the four.
    assert against["likelihood"] == mcnemar([True, False, True, True], [True] * 4, OF_PAIRS)
    for method, shift in (("dpo", 0), ("simpo", 1)):
        last = found[method]["against_base"]["tests"][-1]
        unpaired = unpaired_t(OTHER["reward"] + shift, BASE["reward"])
        assert last == {
            "outcome": "reward",
            "test": "unpaired t",
            **unpaired,
            "n": 6,
            "clusters": 3,
            "p_holm": None,
            "note": UNPAIRED,
        }
    of_base = describe_policy(BASE, BASE_LOGPS, BASE_LOGPS, 1.0, SEED)
    of_base["implicit_accuracy"] |= {"low": None, "high": None}
    assert found["base"] == of_base
    assert found["simpo"]["implicit_reward_mean"] is None and "DPO" in found["dpo"]["against_base"]["verdict"]["sentence"]


def test_without_a_known_truth_the_family_is_two_smaller():
    base, other = (table.drop(columns=["gold", "letter"]) for table in (BASE, OTHER))
    found = policy_against_base(base, other, BASE_LOGPS, LOGPS, SEED)
    assert not {"gold", "letter"} & set(found) and len(found["tests"]) == 8
    assert not {"gold_rate", "letter_rate"} & set(describe_policy(other, LOGPS, BASE_LOGPS, 0.5, SEED))
