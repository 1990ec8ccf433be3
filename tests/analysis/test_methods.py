import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests

import stages.compare_methods
from preference_study.analysis.methods import (
    bears_on_judge,
    bears_on_policy,
    compare_pairs,
    flat,
    mean_win_rate,
    pair_matrix,
    ranking,
    spread_over_seeds,
    training_costs,
)
from preference_study.artifacts import read_json, write_json
from tests.report.example import write_example
from tests.workspace import tiny_params

pytestmark = pytest.mark.usefixtures("few_resamples")

# Ten prompts. By reward dpo beats base 8 : 1 with a tie, and ipo 8 : 2; base beats ipo 7 : 3.
REWARDS = {
    "dpo": [2, 2, 2, 2, 2, 2, 2, 2, 1, 0],
    "ipo": [0, 0, 0, 0, 0, 0, 0, 1.5, 1.5, 4],
    "base": [1, 1, 1, 1, 1, 1, 1, 1, 1, 3],
}
GOLD = {
    "dpo": [1, 1, 1, 1, 1, 1, 1, 1, 0, 0],
    "ipo": [1, 1, 0, 0, 0, 0, 0, 0, 0, 1],
    "base": [1, 0, 0, 0, 0, 0, 0, 0, 1, 0],
}


def responses(gold: bool = True) -> dict[str, pd.DataFrame]:
    tables = {
        policy: pd.DataFrame({"cluster": range(10), "reward": np.array(rewards, float)}) for policy, rewards in REWARDS.items()
    }
    return {p: t.assign(gold=np.array(GOLD[p], bool)) for p, t in tables.items()} if gold else tables


def test_every_pair_is_compared_once_by_hand():
    pairs = {(pair["a"], pair["b"]): pair for pair in compare_pairs(responses())}
    assert list(pairs) == [("dpo", "ipo"), ("dpo", "base"), ("ipo", "base")]
    counts = {key: (p["wins"], p["losses"], p["ties"], p["gold_gained"], p["gold_lost"], p["n"]) for key, p in pairs.items()}
    assert counts == {
        ("dpo", "ipo"): (8, 2, 0, 6, 1, 10),
        ("dpo", "base"): (8, 1, 1, 7, 1, 10),
        ("ipo", "base"): (3, 7, 0, 2, 1, 10),
    }
    assert pairs["dpo", "base"]["win_rate"]["value"] == 0.85  # the tie is half a win
    assert pairs["dpo", "base"]["gold_difference"]["value"] == pytest.approx(0.8 - 0.2)
    for (a, b), pair in pairs.items():
        table = pd.crosstab(np.array(GOLD[a]), np.array(GOLD[b])).to_numpy()
        assert pair["gold_p"] == pytest.approx(mcnemar(table, exact=True).pvalue)
        assert pair["reward_p"] == pytest.approx(stats.binomtest(pair["wins"], pair["wins"] + pair["losses"]).pvalue)


def test_both_outcomes_of_all_pairs_are_one_family():
    pairs = compare_pairs(responses())
    raw = [pair[name] for pair in pairs for name in ("reward_p", "gold_p")]
    corrected = [pair[name] for pair in pairs for name in ("reward_p_holm", "gold_p_holm")]
    assert corrected == pytest.approx(list(multipletests(raw, method="holm")[1]))
    # By hand: the smallest of six, of 8 : 1 by the binomial distribution, is multiplied by six.
    assert min(corrected) == pytest.approx(6 * 2 * (1 + 9) / 2**9)


def test_what_cannot_be_tested_is_no_part_of_the_family():
    tables = responses(gold=False)
    tables["ipo"] = tables["dpo"]
    pairs = compare_pairs(tables)
    assert (pairs[0]["reward_p"], pairs[0]["reward_p_holm"], pairs[0]["ties"]) == (None, None, 10)
    assert [pair["reward_p_holm"] for pair in pairs[1:]] == pytest.approx([2 * pairs[1]["reward_p"]] * 2)
    assert not any("gold" in name for pair in pairs for name in pair)


def won(a: str, b: str, p: float, gold_p: float = 1.0) -> dict:
    """A pair of which a won by reward, with that corrected p."""
    return {
        "a": a, "b": b, "wins": 9, "losses": 1, "reward_p_holm": p, "gold_gained": 1, "gold_lost": 9, "gold_p_holm": gold_p,
        "win_rate": {"value": 0.9, "low": 0.6, "high": 0.95, "n": 10},
        "gold_difference": {"value": -0.8, "low": -0.9, "high": -0.3, "n": 10},
    }  # fmt: skip


def ranked(pairs: list[dict], values: dict[str, float], outcome: str = "reward") -> dict[str, tuple[int, list[str]]]:
    rows = ranking({policy: {"value": value} for policy, value in values.items()}, pairs, outcome)
    assert [row["value"]["value"] for row in rows] == sorted(values.values(), reverse=True)
    return {row["policy"]: (row["rank"], row["not_told_from"]) for row in rows}


def test_what_cannot_be_told_apart_shares_a_rank():
    values = {"x": 0.7, "y": 0.6, "z": 0.2}
    pairs = [won("x", "y", 0.3), won("x", "z", 0.01), won("y", "z", 0.049)]
    assert ranked(pairs, values) == {"x": (1, ["y"]), "y": (1, ["x"]), "z": (3, [])}
    nothing = [won(a, b, p) for a, b, p in (("x", "y", 0.05), ("x", "z", None), ("y", "z", 1.0))]
    assert ranked(nothing, values) == {"x": (1, ["y", "z"]), "y": (1, ["x", "z"]), "z": (1, ["x", "y"])}


def test_a_middle_that_cannot_be_told_from_either_end():
    pairs = [won("x", "y", 0.2), won("y", "z", 0.2), won("x", "z", 0.01)]
    assert ranked(pairs, {"x": 0.7, "y": 0.5, "z": 0.3}) == {"x": (1, ["y"]), "y": (1, ["x", "z"]), "z": (2, ["y"])}


def test_policies_that_beat_each_other_in_a_circle_share_a_rank():
    pairs = [won("x", "y", 0.01), won("y", "z", 0.01), won("z", "x", 0.01)]
    assert ranked(pairs, {"x": 0.5, "y": 0.5, "z": 0.5}) == {"x": (2, []), "y": (2, []), "z": (2, [])}


def test_the_truth_ranks_by_its_own_tests():
    pairs = [won("x", "y", 0.01, gold_p=0.02)]  # by the truth x lost
    assert ranked(pairs, {"x": 0.1, "y": 0.9}, "gold") == {"y": (1, []), "x": (2, [])}
    assert ranked(pairs, {"x": 0.9, "y": 0.1}) == {"x": (1, []), "y": (2, [])}


def test_a_square_is_the_same_seen_from_both_sides():
    square = pair_matrix([won("x", "y", 0.01, gold_p=0.2)], ["y", "x"], "reward")
    assert [row["policy"] for row in square] == ["y", "x"] and square[0]["cells"][0] is square[1]["cells"][1] is None
    y_over_x, x_over_y = square[0]["cells"][1], square[1]["cells"][0]
    assert (x_over_y["better"], y_over_x["better"]) == (True, False)
    assert y_over_x["estimate"] == pytest.approx({"value": 0.1, "low": 0.05, "high": 0.4, "n": 10})
    gold = pair_matrix([won("x", "y", 0.01, gold_p=0.2)], ["y", "x"], "gold")
    assert gold[0]["cells"][1] == {"estimate": {"value": 0.8, "low": 0.3, "high": 0.9, "n": 10}, "better": None}


def test_the_mean_win_rate_by_hand():
    assert mean_win_rate(responses(), "dpo")["value"] == pytest.approx((0.8 + 0.85) / 2)
    assert mean_win_rate(responses(), "base") == pytest.approx(
        mean_win_rate(responses(), "dpo") | dict(zip(("value", "low", "high"), wilson((0.15 + 0.7) / 2), strict=True))
    )


def wilson(share: float, n: int = 10) -> tuple[float, float, float]:
    z = stats.norm.ppf(0.975)
    centre, half = (share + z**2 / 2 / n), z * np.sqrt(share * (1 - share) / n + z**2 / 4 / n**2)
    return share, (centre - half) / (1 + z**2 / n), (centre + half) / (1 + z**2 / n)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(*[st.integers(0, 2)] * 3), min_size=1, max_size=12))
def test_any_rewards_give_ranks_that_agree_with_the_pairs(rows):
    tables = {
        policy: pd.DataFrame({"cluster": range(len(rows)), "reward": column})
        for policy, column in zip("xyz", zip(*rows, strict=True), strict=True)
    }
    pairs = compare_pairs(tables)
    assert np.mean([mean_win_rate(tables, policy)["value"] for policy in tables]) == pytest.approx(0.5)
    found = ranking({policy: mean_win_rate(tables, policy) for policy in tables}, pairs, "reward")
    apart = [pair for pair in pairs if pair["reward_p_holm"] is not None and pair["reward_p_holm"] < 0.05]
    assert sum(row["rank"] - 1 for row in found) == len(apart)
    assert sum(len(row["not_told_from"]) for row in found) == 2 * (len(pairs) - len(apart))


PARAMS = {
    "seed": 1,
    "data": {"train": "t", "hub": []},
    "reward": {"learning_rate": 1e-3, "save_steps": 5},
    "policy": {"methods": ["dpo"], "beta": 0.1, "save_steps": 5, "dpo": {"loss": "a"}, "simpo": {"gamma": 0.5}},
    "launch": {"processes": 1},
    "scoring": {"max_batch": 64},
    "stress": {"variants": []},
}
STABILITY = {"params": flat(PARAMS) | {"seed": 3}, "seeds": [1, 2], "methods": {"dpo": {"gold_rate": [0.5, 0.7]}}}


def test_the_spread_over_seeds_by_hand():
    expected = {"mean": 0.6, "std": np.sqrt(0.02), "min": 0.5, "max": 0.7}
    found = spread_over_seeds(STABILITY, PARAMS, "dpo")["gold_rate"]
    assert found.pop("seeds") == [1, 2] and found == pytest.approx(expected)
    holes = STABILITY | {"methods": {"dpo": {"gold_rate": [0.5, 0.7], "win_rate": [None, 0.5], "words_mean": []}}}
    assert spread_over_seeds(holes, PARAMS, "dpo").keys() == {"gold_rate"}
    one = STABILITY | {"seeds": [3], "methods": {"dpo": {"gold_rate": [0.5]}}}
    assert spread_over_seeds(one, PARAMS, "dpo") is None  # one seed has no spread


def test_what_does_not_touch_a_reward_model_is_no_setting():
    of_standard = {
        "reward.learning_rate": True, "data.max_train": True, "model.name": True, "reward.flipped": True, "reward.judge": True,
        "policy.dpo.learning_rate": False, "generate.temperature": False, "launch.processes": False, "scoring.max_batch": False,
        "reward.save_steps": False, "reward.variants": False, "reward.ensemble.members": False, "reward.aggregate.by": False,
        "stress.max_pairs": False, "best_of_n.samples": False, "model.watched": False, "seed": False,
    }  # fmt: skip
    assert {name: bears_on_judge(name, "standard") for name in of_standard} == of_standard
    assert bears_on_judge("reward.aggregate.by", "ensemble") and bears_on_judge("reward.ensemble.members", "ensemble")


def test_what_does_not_touch_a_policy_is_no_setting():
    of_dpo = {
        "policy.dpo.learning_rate": True, "policy.simpo.gamma": False, "policy.max_train": True, "policy.methods": False,
        "policy.save_steps": False, "generate.temperature": True, "generate.dpo.anything": True, "reward.learning_rate": True,
        "reward.ensemble.members": False, "reward.variants": False, "data.max_train": True, "stress.max_pairs": False,
        "seed": False, "generate.category": False,
    }  # fmt: skip
    assert {name: bears_on_policy(name, "dpo", "standard") for name in of_dpo} == of_dpo
    assert bears_on_policy("policy.simpo.gamma", "simpo", "standard")
    assert bears_on_policy("reward.ensemble.members", "dpo", "ensemble")


@pytest.mark.parametrize(
    ("section", "values", "shown"),
    [
        ("policy", {"methods": ["dpo", "simpo"]}, True),
        ("policy", {"save_steps": 9}, True),
        ("reward", {"save_steps": 9}, True),
        ("launch", {"processes": 2}, True),
        ("scoring", {"max_batch": 8}, True),
        ("stress", {"variants": ["standard"]}, True),
        ("policy", {"simpo": {"gamma": 0.9, "more": 1}}, True),
        ("policy", {"dpo": {"loss": "b"}}, False),
        ("policy", {"dpo": {"loss": "a", "more": 1}}, False),
        ("policy", {"unknown": {"gamma": 1}}, False),
        ("policy", {"beta": 0.2}, False),
        ("reward", {"learning_rate": 2e-3}, False),
        ("data", {"hub": [{"name": "x"}]}, False),
    ],
)
def test_the_spread_is_of_these_parameters_alone(section, values, shown):
    changed = PARAMS | {section: PARAMS[section] | values}
    assert (spread_over_seeds(STABILITY, changed, "dpo") is not None) == shown


def test_no_spread_where_none_was_measured():
    assert spread_over_seeds(STABILITY, PARAMS, "simpo") is None
    assert spread_over_seeds({"params": {}, "seeds": [], "methods": {}}, PARAMS, "dpo") is None
    without = {name: section for name, section in PARAMS.items() if name != "reward"}
    assert spread_over_seeds(STABILITY, without, "dpo") is None
    fewer = STABILITY | {"params": {name: v for name, v in STABILITY["params"].items() if name != "policy.beta"}}
    assert spread_over_seeds(fewer, PARAMS, "dpo") is None  # a parameter that came later may matter


def test_costs_by_hand():
    measured = {
        "dpo": {"seconds": 100.0, "peak_memory_bytes": 2**31, "device": "cpu", "dtype": "bfloat16"},
        "kto": {"seconds": 50.0, "peak_memory_bytes": 2**30, "device": "cpu", "dtype": "bfloat16"},
    }
    found = training_costs(measured, {"dpo": 50_000, "kto": 10_000})
    assert found["kto"] == {
        "seconds": 50.0, "seconds_relative_to_dpo": 0.5, "seconds_per_1000_tokens": 5.0, "peak_memory_gib": 1.0, "device": "cpu",
        "dtype": "bfloat16",
    }  # fmt: skip
    assert (found["dpo"]["seconds_relative_to_dpo"], found["dpo"]["seconds_per_1000_tokens"]) == (1.0, 2.0)
    assert training_costs({"kto": measured["kto"]}, {"kto": 10_000})["kto"]["seconds_relative_to_dpo"] is None
    measured["dpo"]["seconds"] = None  # it was interrupted
    found = training_costs(measured, {"dpo": 50_000, "kto": 10_000})
    assert [found["dpo"][name] for name in ("seconds", "seconds_relative_to_dpo", "seconds_per_1000_tokens")] == [None] * 3
    assert (found["kto"]["seconds_relative_to_dpo"], found["kto"]["seconds_per_1000_tokens"]) == (None, 5.0)


@pytest.mark.parametrize("sandbox", [True, False])
def test_the_stage_with_one_method(tmp_path, monkeypatch, sandbox):
    write_example(tmp_path, ["dpo"], sandbox=sandbox, whole=False)
    tiny_params(tmp_path)
    monkeypatch.chdir(tmp_path)
    write_json("metrics/best_of_n.json", {})
    stages.compare_methods.main()
    first = (tmp_path / "metrics/methods.json").read_text()
    table, policies = json.loads(first), read_json("metrics/policies.json")
    row, against, (pair,) = table["methods"]["dpo"], policies["dpo"]["against_base"], table["pairs"]
    corrected = {(test["outcome"], test["test"]): test["p_holm"] for test in against["tests"]}
    assert (pair["a"], pair["b"], pair["win_rate"]) == ("dpo", "base", against["win_rate"])
    assert (row["win_rate"], row["reward_p"]) == (against["win_rate"], corrected["reward", "sign"])
    assert row["spread"] is None and row["examples"] == 1234 and row["needs_reference"] is True
    assert {p["policy"]: p["value"] for p in table["ranking"]["reward"]}["dpo"] == against["win_rate"]
    if sandbox:
        assert (row["letter_rate"], row["gold_difference"]) == (policies["dpo"]["letter_rate"], against["gold"]["difference"])
        assert (row["gold_rate"], row["gold_p"]) == (policies["dpo"]["gold_rate"], corrected["gold", "McNemar"])
        assert (pair["gold_difference"], pair["gold_p"]) == (against["gold"]["difference"], against["gold"]["p"])
        assert {p["policy"]: p["value"] for p in table["ranking"]["gold"]}["base"] == policies["base"]["gold_rate"]
    else:
        assert not any("gold" in name or "letter" in name for name in (*row, *pair, *table["ranking"]))
    rows = pd.read_csv("plots/methods/methods.csv")
    assert list(rows.columns) == ["policy", "measure", "label", "value", "low", "high", "n", "clusters", "colour"]
    assert len(rows) == (6 if sandbox else 2)
    assert all((tmp_path / f"plots/methods/{name}.png").stat().st_size > 5000 for name in ("methods", "pairwise"))

    # Another time and another machine: only the file for them changes.
    write_json("metrics/train_cost/dpo.json", {"seconds": 7.0, "peak_memory_bytes": 2**30, "device": "other", "dtype": "float32"})
    stages.compare_methods.main()
    assert (tmp_path / "metrics/methods.json").read_text() == first
    assert read_json("metrics/methods_cost.json")["dpo"]["dtype"] == "float32"
