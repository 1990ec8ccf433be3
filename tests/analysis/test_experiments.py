"""Two experiments: which prompts are paired, when rewards may be compared, and each number from its own column."""

import numpy as np
import pandas as pd
import pytest

from preference_study.analysis.experiments import (
    compare_experiments,
    differing_parameters,
    pair_prompts,
    shared_right,
    style_changes,
    why_judges_differ,
)
from preference_study.analysis.judge import agreement_with_gold
from preference_study.analysis.policies import describe_responses, evidence, responses_against
from preference_study.analysis.price import form_changes
from preference_study.analysis.statistics import holm, mcnemar, mean, paired_tests
from preference_study.errors import BadInput
from preference_study.texts.measures import measured
from tests.analysis.test_policies import BASE, CLUSTERS, OTHER
from tests.conftest import asked

pytestmark = pytest.mark.usefixtures("few_resamples")

RIGHT = {"holds": True, "reasons": []}
SMALLEST = {"win_rate": 0.1, "gold_rate": 0.15}
JUDGE = {
    "name": "standard", "reward_model": "1", "base_model": "2", "max_length": 512,
    "aggregate": {"by": "worst", "spread_weight": 1.0}, "stands": True,
}  # fmt: skip


def row(id: str, prompt: str | None = None, response: str = "r", **more) -> dict:
    return {"id": id, "prompt": asked(prompt or f"prompt {id}"), "response": response, "cluster": id} | more


def test_prompts_are_paired_by_id_and_turns_whatever_their_order():
    a = [row("3", response="a3"), row("1", response="same"), row("2", response="a2"), row("only a")]
    b = [row("1", response="same"), row("only b"), row("2", response="b2"), row("also b"), row("3", "reads otherwise")]
    first, second, counts = pair_prompts(a, b)
    assert list(first.index) == list(second.index) == ["1", "2"]
    assert first["response"].tolist() == ["same", "a2"] and second["response"].tolist() == ["same", "b2"]
    assert counts == {
        "paired": 2, "only_in_a": 1, "only_in_b": 2, "changed": 1, "repeated_in_a": 0, "repeated_in_b": 0, "same_response": 1,
        "clusters_differ": False,
    }  # fmt: skip


def test_an_earlier_turn_that_differs_makes_another_prompt():
    earlier = [{"role": "system", "content": "Be brief."}]
    a = [row("1") | {"prompt": earlier + asked("p")}, row("2")]
    _, _, counts = pair_prompts(a, [row("1") | {"prompt": asked("p")}, row("2")])
    assert (counts["paired"], counts["changed"]) == (1, 1)


def test_of_a_repeated_prompt_the_first_is_taken():
    first, second, counts = pair_prompts([row("1", response="x"), row("1", response="y")], [row("1", response="z")] * 3)
    assert (first["response"].tolist(), second["response"].tolist()) == (["x"], ["z"])
    assert (counts["repeated_in_a"], counts["repeated_in_b"], counts["only_in_a"]) == (1, 2, 0)


def test_no_prompt_in_common_is_an_error_with_what_to_do():
    with pytest.raises(BadInput, match=r"A answered 2 prompts and B 1, and no prompt is in both: .*generate\.prompts"):
        pair_prompts([row("1"), row("2")], [row("1", "another")])


def test_clusters_are_those_of_the_side_that_has_fewer():
    a, b = [row(i, cluster=i) for i in "123"], [row(i, cluster="12".find(i) < 0) for i in "123"]
    first, second, counts = pair_prompts(a, b)
    assert counts["clusters_differ"] and first["cluster"].tolist() == second["cluster"].tolist() == [False, False, True]
    renamed = pair_prompts(a, [one | {"cluster": f"c{one['id']}"} for one in a])
    assert not renamed[2]["clusters_differ"]
    without = [{key: value for key, value in one.items() if key != "cluster"} for one in a]
    assert pair_prompts(without, without)[0]["cluster"].tolist() == ["1", "2", "3"]


def test_an_instruction_is_kept_where_both_sides_name_the_same():
    a = [row("1", instruction="with_you")]
    for other, kept in (({"instruction": "with_you"}, True), ({"instruction": "with_digits"}, False), ({}, False)):
        tables = pair_prompts(a, [row("1", **other)])[:2]
        assert ["instruction" in table for table in tables] == [kept] * 2


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({}, []),
        ({"name": "product_of_experts"}, []),  # the same files under another name
        ({"reward_model": "9"}, ["the reward model is not the same"]),
        ({"base_model": "9"}, ["the base model under it is not the same"]),
        ({"max_length": 256}, ["reward.max_length is 512 in A and 256 in B"]),
        ({"aggregate": {"by": "mean", "spread_weight": 1.0}}, []),  # one model has nothing to sum up
        (
            {"name": "ensemble", "aggregate": {"by": "mean", "spread_weight": 1.0}},
            ["reward.aggregate is by worst, spread_weight 1.0 in A and by mean, spread_weight 1.0 in B"],
        ),
        ({"stands": False}, ["the responses of B are not those that its dvc.lock tells the judge of"]),
    ],
)
def test_rewards_are_comparable_where_the_judge_is_the_same(change, said):
    assert why_judges_differ(JUDGE, JUDGE | change) == said


def test_a_judge_that_neither_side_names_is_not_the_same():
    unknown = JUDGE | {"reward_model": None}
    assert why_judges_differ(unknown, unknown) == ["the reward model is not the same"]


def test_the_right_to_judge_must_hold_on_both_sides():
    holds, fails = {"holds": True, "reasons": []}, {"holds": False, "reasons": ["it is a coin"]}
    assert shared_right(holds, holds) == RIGHT
    assert shared_right(fails, fails) == fails
    assert shared_right(holds, fails) == {"holds": False, "reasons": ["it is a coin (of B)"]}
    assert shared_right(None, holds)["reasons"] == ["whether it has the right to judge was not measured (of A)"]


def test_parameters_that_differ_or_are_on_one_side():
    a = {"seed": 1, "policy": {"dpo": {"beta": 0.1}, "methods": ["dpo"]}, "gone": {"x": None}}
    b = {"seed": 1, "policy": {"dpo": {"beta": 0.2}, "methods": ["dpo"]}, "new": True}
    assert differing_parameters(a, b) == [
        {"name": "policy.dpo.beta", "a": 0.1, "b": 0.2},
        {"name": "gone.x", "a": None, "b": "not there"},
        {"name": "new", "a": "not there", "b": True},
    ]


# Every column differs from every other, in both tables.
FORM_A = {"loops": [1, 0, 0, 0, 0, 0], "echoes": [0, 0, 1, 1, 0, 0]}
FORM_B = {"loops": [1, 1, 1, 0, 1, 0], "echoes": [0, 1, 0, 1, 1, 1]}
A = BASE.assign(**{name: np.array(values, bool) for name, values in FORM_A.items()})
B = OTHER.assign(**{name: np.array(values, bool) for name, values in FORM_B.items()})


def test_each_number_is_of_its_own_column_and_side():
    found = compare_experiments(A, B, [], RIGHT, SMALLEST, seed=7)
    assert found["a"] == describe_responses(A, 7) and found["b"] == describe_responses(B, 7) and found["a"] != found["b"]
    against, wanted = found["b_against_a"], responses_against(A, B, 7)
    tests = against.pop("tests")
    assert {name: against[name] for name in wanted if name != "tests"} == {k: v for k, v in wanted.items() if k != "tests"}
    assert [(row["outcome"], row["p"]) for row in tests] == [(row["outcome"], row["p"]) for row in wanted["tests"]]
    assert (against["wins"], against["losses"], against["gold"]) == (4, 1, wanted["gold"])
    rates = {"before": A["gold"].mean(), "after": B["gold"].mean()}
    assert against["gold"] == mcnemar(A["gold"], B["gold"], CLUSTERS) | rates
    assert against["judge_agrees_with_gold"] == agreement_with_gold(A, B)
    assert [row["smallest"] for row in against["evidence"].values()] == [0.1, 0.15]
    known = {name: {key: row[key] for key in row if key != "p_equivalent_holm"} for name, row in against["evidence"].items()}
    assert known == evidence(A, B, SMALLEST)
    of_verdict = [row for row in tests if (row["outcome"], row["test"]) in {("reward", "sign"), ("gold", "McNemar")}]
    of_verdict.append(next(row for row in tests if row["outcome"] == "reward at equal length"))
    assert against["tests_of_verdicts"] == 3
    assert [row["p_holm"] for row in of_verdict] == holm([row["p"] for row in of_verdict])
    for row, wanted in zip(found["form"], form_changes(A, B), strict=True):
        assert (row["a"], row["b"], row["change"], row["p"]) == tuple(wanted[key] for key in ("base", "policy", "change", "p"))
        assert "base" not in row and row["worse"] is False  # of six prompts nothing is shown


def test_style_is_of_its_own_mark():
    a, b = A.assign(headings=[0, 0, 0, 1, 0, 0], list_items=1, bold=[2, 0, 0, 0, 1, 1]), B
    headings, items, bold = style_changes(a, b)
    change = (b["headings"] - a["headings"]).to_numpy()
    assert headings["a"] == mean(a["headings"], CLUSTERS) and headings["b"] == mean(b["headings"], CLUSTERS)
    assert headings["change"] == mean(change, CLUSTERS) and headings["p"] == paired_tests(change, CLUSTERS)["wilcoxon"]["p"]
    assert (items["outcome"], items["a"]["value"], items["change"]["value"]) == ("list_items", 1.0, items["b"]["value"] - 1)
    assert bold["b"] == mean(b["bold"], CLUSTERS) and bold["p_holm"] is not None


def many(rng: np.random.Generator, gold: float, reward: float, n: int = 200) -> pd.DataFrame:
    columns = {name: rng.random(n) < 0.1 for name in ("loops", "echoes", "refuses")}
    columns |= {"reward": rng.normal(reward, 1, n), "gold": rng.random(n) < gold, "words": rng.integers(5, 40, n)}
    columns |= {"letter": columns["gold"], "finished": np.ones(n, bool), "reading_grade": 5.0, "repetition": rng.random(n)}
    return pd.DataFrame(columns | {"headings": 0, "list_items": rng.integers(0, 2, n), "bold": 0, "cluster": np.arange(n)})


def test_b_is_judged_against_a_by_name():
    rng = np.random.default_rng(1)
    a, b = many(rng, 0.3, 0), many(rng, 0.6, 1).assign(loops=True)
    verdict = compare_experiments(a, b, [], RIGHT, SMALLEST, seed=1)["b_against_a"]["verdict"]
    assert (verdict["reward"], verdict["gold"]) == ("better", "better") and "base" not in verdict["sentence"]
    for said in (
        "The reward model prefers B's responses to A's (win rate",
        "In truth it is better: more of B's responses are gold than of A's",
        "B is better, at a price: more of its responses loop (+0.9",
    ):
        assert said in verdict["sentence"]
    turned = compare_experiments(b, a, [], RIGHT, SMALLEST, seed=1)["b_against_a"]["verdict"]
    assert (turned["reward"], turned["gold"], turned["price"]) == ("worse", "worse", [])
    assert "The reward model prefers A's responses to B's" in turned["sentence"]


def test_without_the_right_to_judge_reward_is_withheld():
    rng = np.random.default_rng(1)
    why = {"holds": False, "reasons": ["it is a coin (of A)"]}
    verdict = compare_experiments(many(rng, 0.3, 0), many(rng, 0.6, 1), [], why, SMALLEST, seed=1)["b_against_a"]["verdict"]
    assert (verdict["reward"], verdict["reward_would_be"]) == ("withheld", "better")
    assert "has not earned it: it is a coin (of A)." in verdict["sentence"]


def test_under_two_judges_no_reward_is_compared_and_the_rest_is():
    rng = np.random.default_rng(1)
    a, b = many(rng, 0.3, 0), many(rng, 0.6, 9)
    found = compare_experiments(a, b, ["the reward model is not the same", "another reason"], RIGHT, SMALLEST, seed=1)
    against = found["b_against_a"]
    assert not [name for name in (*against, *found["a"], *found["b"]) if "reward" in name or "win" in name]
    assert not any("reward" in row["outcome"] for row in against["tests"]) and against["tests_of_verdicts"] == 1
    verdict = against["verdict"]
    assert (verdict["reward"], verdict["length"], verdict["gold"]) == (None, None, "better") and list(verdict["seen"]) == ["gold"]
    assert verdict["sentence"].startswith(
        "Rewards are not compared, for the reward model is not the same and another reason. In truth it is better: more of B's"
    )
    assert found["form"] == compare_experiments(a, b, [], RIGHT, SMALLEST, seed=1)["form"]
    nothing = [table.drop(columns=["gold", "letter"]) for table in (a, b)]
    sentence = compare_experiments(*nothing, ["it differs"], RIGHT, SMALLEST, seed=1)["b_against_a"]["verdict"]["sentence"]
    assert "for it differs. No truth is known of these prompts either, so it is not said which is better." in sentence


@pytest.mark.parametrize(("name", "more"), [("a sentence", [9]), ("longer", range(8, 13)), ("any length", range(1, 120))])
def test_a_judge_of_length_alone_finds_nothing_but_length(name, more):
    """B's responses are A's with words added, and a response's reward is its number of words."""
    rng, n = np.random.default_rng(3), 100
    words = rng.integers(20, 60, n)
    texts = [[f"word{number}" for number in range(count)] for count in words]
    added = [[f"more{number}" for number in range(rng.choice(more))] for _ in range(n)]
    tables = []
    for of_each in (texts, [text + extra for text, extra in zip(texts, added, strict=True)]):
        rows = [row(str(i), response=" ".join(text), finished=True) for i, text in enumerate(of_each)]
        table = measured(pd.DataFrame(rows).set_index("id"))[0]
        tables.append(table.assign(reward=table["words"].astype(float)))
    found = compare_experiments(*tables, [], RIGHT, SMALLEST, 1)["b_against_a"]["verdict"]
    assert (found["reward"], found["length"]) == ("better", "only longer")
    assert "at equal length no difference is shown" in found["sentence"] and "better, at a price" not in found["sentence"]
    [price] = found["price"]
    assert price.startswith("its responses have more words (+")
