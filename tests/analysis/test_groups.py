import pandas as pd
import pytest

from preference_study.analysis.groups import MOST_GROUPS, OTHERS, compare_groups


def responses(rewards: list[float], gold: list[bool] | None, category: list) -> pd.DataFrame:
    table = pd.DataFrame({"category": category, "reward": rewards, "cluster": range(len(rewards))})
    return table if gold is None else table.assign(gold=gold)


CATEGORY = ["a"] * 4 + ["b"] * 2 + [None]
BASE = responses([0, 0, 0, 0, 0, 0, 9], [True, False, False, False, True, True, True], CATEGORY)
DPO = responses([1, 1, -1, 0, -1, -1, 9], [True, True, True, False, False, True, False], CATEGORY)
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
    found = compare_groups({"base": BASE, "dpo": DPO}, PAIRS)
    assert list(found) == ["a", "b"]  # the most frequent first; a prompt without a category is in none
    a, b = found["a"], found["b"]
    assert (a["prompts"], b["prompts"], a["small"]) == (4, 2, True)
    assert a["policies"]["base"] == {"gold_rate": a["policies"]["base"]["gold_rate"]}
    rates = [found[group]["policies"][policy]["gold_rate"]["value"] for group in "ab" for policy in ("base", "dpo")]
    assert rates == [1 / 4, 3 / 4, 1, 1 / 2]
    assert (a["policies"]["dpo"]["win_rate"]["value"], b["policies"]["dpo"]["win_rate"]["value"]) == (2.5 / 4, 0)
    assert a["policies"]["dpo"]["gold_difference"]["value"] == pytest.approx(1 / 2)
    assert (a["judge"]["value"], a["judge"]["n"], b["judge"]["value"], b["judge"]["n"]) == (0, 1, 1 / 2, 2)


def test_without_a_known_truth_or_categories_of_pairs_there_is_the_win_rate():
    bare = {"base": BASE.drop(columns="gold"), "dpo": DPO.drop(columns="gold")}
    found = compare_groups(bare, None)
    assert found["a"]["judge"] is None and found["a"]["policies"]["base"] == {}
    assert list(found["a"]["policies"]["dpo"]) == ["win_rate"]


def test_rare_categories_are_taken_together():
    names = [f"c{i}" for i in range(MOST_GROUPS + 5)]
    category = names[:3] * 9 + names
    table = responses([0.0] * len(category), None, category)
    found = compare_groups({"base": table, "dpo": table}, PAIRS.assign(category=["c0", "c34", "new", "c1", None]))
    assert len(found) == MOST_GROUPS and list(found)[:3] == names[:3] and list(found)[-1] == OTHERS
    assert sum(group["prompts"] for group in found.values()) == len(category)
    assert (found[OTHERS]["prompts"], found[OTHERS]["judge"]["n"]) == (6, 2)
    exactly = responses([0.0] * MOST_GROUPS, None, names[:MOST_GROUPS])
    assert OTHERS not in compare_groups({"base": exactly, "dpo": exactly}, None)


def test_a_group_is_small_below_twenty():
    table = responses([0.0] * 39, None, ["a"] * 20 + ["b"] * 19)
    found = compare_groups({"base": table, "dpo": table}, None)
    assert [found[group]["small"] for group in "ab"] == [False, True]


def test_a_group_is_of_clusters():
    base, dpo = BASE.assign(cluster=list("ppqqrsr")), DPO.assign(cluster=list("ppqqrsr"))
    a = compare_groups({"base": base, "dpo": dpo}, PAIRS.assign(cluster=list("vvvvv")))["a"]
    estimates = [a["policies"]["dpo"][name] for name in ("gold_rate", "win_rate", "gold_difference")]
    assert [(one["n"], one["clusters"]) for one in estimates] == [(4, 2)] * 3
    assert compare_groups({"base": base, "dpo": dpo}, PAIRS.assign(cluster=list("vvvvv")))["b"]["judge"]["clusters"] == 1
