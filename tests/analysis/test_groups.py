import pandas as pd
import pytest

from preference_study.analysis.groups import MOST_GROUPS, OTHERS, compare_groups, compare_transfer
from preference_study.analysis.statistics import unpaired_difference


def responses(rewards: list[float], gold: list[bool] | None, category: list) -> pd.DataFrame:
    table = pd.DataFrame({"category": category, "reward": rewards, "cluster": range(len(rewards))})
    return table if gold is None else table.assign(gold=gold, letter=[True] * len(gold))


CATEGORY = ["a"] * 4 + ["b"] * 2 + [None]
BASE = responses([0, 0, 0, 0, 0, 0, 9], [True, False, False, False, True, True, True], CATEGORY)
DPO = responses([1, 1, -1, 0, -1, -1, 9], [True, True, True, False, False, True, False], CATEGORY)
TRAINING = pd.DataFrame({"category": ["a", "a", None, "c", "a"]}, dtype=object)
PAIRS = pd.DataFrame(
    {
        "category": ["b", "a", "c", "b", None],
        "cluster": list("vwxyz"),
        "chosen_reward": [1, 1, 1, 0, 0],
        "rejected_reward": [0, 2, 0, 1, 1],
    },
    dtype=object,
)


def test_each_category_has_its_own_prompts_and_pairs():
    found = compare_groups({"base": BASE, "dpo": DPO}, PAIRS, TRAINING)
    assert list(found) == ["a", "b"]  # the most frequent first; a prompt without a category is in none
    a, b = found["a"], found["b"]
    assert (a["prompts"], b["prompts"], a["small"]) == (4, 2, True)
    assert (a["training_pairs"], b["training_pairs"]) == (3, 0)
    assert list(a["policies"]["base"]) == ["gold_rate", "letter_rate"] and a["policies"]["base"]["letter_rate"]["value"] == 1
    rates = [found[group]["policies"][policy]["gold_rate"]["value"] for group in "ab" for policy in ("base", "dpo")]
    assert rates == [1 / 4, 3 / 4, 1, 1 / 2]
    assert (a["policies"]["dpo"]["win_rate"]["value"], b["policies"]["dpo"]["win_rate"]["value"]) == (2.5 / 4, 0)
    assert a["policies"]["dpo"]["gold_difference"]["value"] == pytest.approx(1 / 2)
    assert (a["judge"]["value"], a["judge"]["n"], b["judge"]["value"], b["judge"]["n"]) == (0, 1, 1 / 2, 2)


def test_without_a_known_truth_or_categories_of_pairs_there_is_the_win_rate():
    bare = {name: table.drop(columns=["gold", "letter"]) for name, table in (("base", BASE), ("dpo", DPO))}
    found = compare_groups(bare, None, None)
    assert found["a"]["judge"] is None and found["a"]["policies"]["base"] == {} and found["a"]["training_pairs"] is None
    assert list(found["a"]["policies"]["dpo"]) == ["win_rate"]


def test_rare_categories_are_taken_together():
    names = [f"c{i}" for i in range(MOST_GROUPS + 5)]
    category = names[:3] * 9 + names
    table = responses([0.0] * len(category), None, category)
    pairs, training = PAIRS.assign(category=["c0", "c34", "new", "c1", None]), ["c33", "c34", None, "new", "c0", "new", "c33"]
    found = compare_groups({"base": table, "dpo": table}, pairs, pd.DataFrame({"category": training}, dtype=object))
    assert len(found) == MOST_GROUPS and list(found)[:3] == names[:3] and list(found)[-1] == OTHERS
    assert sum(group["prompts"] for group in found.values()) == len(category)
    # A category that no prompt has is none of the others.
    assert (found[OTHERS]["prompts"], found[OTHERS]["judge"]["n"], found[OTHERS]["training_pairs"]) == (6, 1, 3)
    assert (found["c0"]["training_pairs"], found["c1"]["training_pairs"]) == (1, 0)
    exactly = responses([0.0] * MOST_GROUPS, None, names[:MOST_GROUPS])
    assert OTHERS not in compare_groups({"base": exactly, "dpo": exactly}, None, None)


def test_a_group_is_small_below_twenty():
    table = responses([0.0] * 39, None, ["a"] * 20 + ["b"] * 19)
    found = compare_groups({"base": table, "dpo": table}, None, None)
    assert [found[group]["small"] for group in "ab"] == [False, True]
    transfer = compare_transfer({"base": table, "dpo": table}, None, {"a"})
    assert [transfer[part]["small"] for part in ("in_training", "not_in_training")] == [False, True]


def test_a_group_is_of_clusters():
    base, dpo = BASE.assign(cluster=list("ppqqrsr")), DPO.assign(cluster=list("ppqqrsr"))
    a = compare_groups({"base": base, "dpo": dpo}, PAIRS.assign(cluster=list("vvvvv")), None)["a"]
    estimates = [a["policies"]["dpo"][name] for name in ("gold_rate", "win_rate", "gold_difference")]
    assert [(one["n"], one["clusters"]) for one in estimates] == [(4, 2)] * 3
    assert compare_groups({"base": base, "dpo": dpo}, PAIRS.assign(cluster=list("vvvvv")), None)["b"]["judge"]["clusters"] == 1


LETTERS = [True, False, True, True, False, True, True]


def test_what_was_learnt_is_told_apart_from_what_was_not_by_the_categories_of_training_pairs():
    base, dpo = BASE.assign(letter=LETTERS), DPO.assign(letter=[not letter for letter in LETTERS])
    found = compare_transfer({"base": base, "dpo": dpo}, PAIRS, {"a", "d"})
    known, new = found["in_training"], found["not_in_training"]
    assert (known["categories"], known["prompts"], new["categories"], new["prompts"]) == (["a"], 4, ["b"], 2)
    # The judge is of the pairs of the categories named: one of a category that no prompt has is in neither.
    assert (known["judge"]["value"], known["judge"]["n"], new["judge"]["value"], new["judge"]["n"]) == (0, 1, 1 / 2, 2)
    of_dpo = [part["policies"]["dpo"] for part in (known, new, found["difference"])]
    values = {
        name: tuple(dpo[name]["value"] for dpo in of_dpo if name in dpo)
        for name in ("gold_rate", "letter_rate", "gold_difference", "letter_difference", "win_rate")
    }
    assert values == {
        "gold_rate": (3 / 4, 1 / 2),
        "letter_rate": (1 / 4, 1 / 2),
        "gold_difference": (1 / 2, -1 / 2, 1),
        "letter_difference": (-1 / 2, 0, -1 / 2),
        "win_rate": (2.5 / 4, 0, 2.5 / 4),
    }
    assert found["difference"]["judge"] == unpaired_difference(known["judge"], new["judge"])
    assert list(found["difference"]["policies"]) == ["dpo"]


def test_where_all_categories_are_in_training_or_none_is_nothing_can_be_told_apart():
    policies = {"base": BASE, "dpo": DPO}
    assert compare_transfer(policies, PAIRS, {"a", "b", "c"}) == compare_transfer(policies, PAIRS, {"c"}) == {}
    alone = compare_transfer({name: table.drop(columns=["gold", "letter"]) for name, table in policies.items()}, None, {"b"})
    assert alone["difference"]["judge"] is None is alone["in_training"]["judge"]
    assert list(alone["difference"]["policies"]["dpo"]) == ["win_rate"]
