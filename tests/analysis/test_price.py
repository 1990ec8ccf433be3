import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from preference_study.analysis.price import (
    add_to_verdict,
    correct_prices,
    form_changes,
    kl_from_base,
    logps_change,
    per_token,
    policy_price,
    prices_in_words,
)
from preference_study.analysis.statistics import holm

pytestmark = pytest.mark.usefixtures("few_resamples")

BASE_LOGPS = pd.DataFrame(
    {
        "cluster": range(6),
        "chosen_logp": [-10.0, -20.0, -15.0, -12.0, -30.0, -9.0],
        "rejected_logp": [-11.0, -18.0, -15.5, -13.0, -29.0, -8.0],
        "chosen_tokens": [5, 10, 6, 4, 20, 5],
        "rejected_tokens": [7, 9, 8, 6, 19, 3],
    }
)
# Chosen: -2, -3, -1, +4, -7, -6; rejected: -5, -1, -8, +2, -3, 0.
LOGPS = BASE_LOGPS.assign(
    chosen_logp=BASE_LOGPS["chosen_logp"] + [-2, -3, -1, 4, -7, -6],
    rejected_logp=BASE_LOGPS["rejected_logp"] + [-5, -1, -8, 2, -3, 0],
)


def test_chosen_and_rejected_apart_by_hand():
    found = logps_change(BASE_LOGPS, LOGPS, seed=1)
    assert [found[side]["nats_per_response"]["value"] for side in ("chosen", "rejected")] == [-15 / 6, -15 / 6]
    assert [found[side]["nats_per_response_median"]["value"] for side in ("chosen", "rejected")] == [-2.5, -2]
    assert found["chosen"]["nats_per_token"]["value"] == pytest.approx(-15 / 50)
    assert found["rejected"]["nats_per_token"]["value"] == pytest.approx(-15 / 52)
    assert [found[side]["fell"]["value"] for side in ("chosen", "rejected")] == [5 / 6, 4 / 6]
    assert all(found[side][name]["n"] == 6 for side in found for name in ("nats_per_response", "nats_per_token", "fell"))
    # Of 64 signs of six numbers 2 * (1 + 6) are as extreme as one above; of five, 2 * (1 + 5) of 32.
    assert found["chosen"]["fell_p"] == pytest.approx(14 / 64) and found["rejected"]["fell_p"] == pytest.approx(12 / 32)
    assert found["chosen"]["p"] == pytest.approx(stats.wilcoxon([-2, -3, -1, 4, -7, -6]).pvalue)
    assert found["rejected"]["p"] == pytest.approx(stats.wilcoxon([-5, -1, -8, 2, -3, 0]).pvalue)


def test_what_did_not_change_has_no_test():
    found = logps_change(BASE_LOGPS, BASE_LOGPS, seed=1)["chosen"]
    assert (found["p"], found["fell_p"], found["fell"]["value"], found["nats_per_response"]["value"]) == (None, None, 0, 0)


def test_nats_a_token_are_all_nats_over_all_tokens():
    rng = np.random.default_rng(1)
    tokens = rng.integers(5, 50, 400)
    nats = tokens * rng.normal(0.3, 0.1, 400)
    found = per_token(nats, tokens, seed=1)
    assert found["value"] == pytest.approx(nats.sum() / tokens.sum())
    # The interval is about that of a ratio's linearisation (Cochran 1977, eq. 2.39).
    half = 1.96 * (nats - found["value"] * tokens).std(ddof=1) / math.sqrt(400) / tokens.mean()
    assert found["high"] - found["low"] == pytest.approx(2 * half, rel=0.1)


def test_one_response_that_went_far_moves_the_mean_and_not_the_median():
    rows = [{"cluster": i, "policy_logps": [-1.0], "base_logps": [-1.0 - far]} for i, far in enumerate([1, 2, 3, 4, 900])]
    found = kl_from_base(rows, seed=1)
    for name, far in (("k3", found), ("k1", found["k1"])):
        assert far["nats_per_response"]["value"] > 180 and 2 <= far["nats_per_response_median"]["value"] <= 3, name


def test_the_kl_divergence_by_hand():
    """log pi - log base: 0.5 and -0.25 in one response, 1 in the other."""
    rows = [
        {"cluster": "a", "policy_logps": [-1.0, -2.0], "base_logps": [-1.5, -1.75]},
        {"cluster": "b", "policy_logps": [-0.5], "base_logps": [-1.5]},
    ]
    k3 = [math.exp(-0.5) - 1 + 0.5 + math.exp(0.25) - 1 - 0.25, math.exp(-1) - 1 + 1]
    found = kl_from_base(rows, seed=1)
    assert found["nats_per_response"]["value"] == pytest.approx(sum(k3) / 2)
    assert found["nats_per_token"]["value"] == pytest.approx(sum(k3) / 3)
    assert found["k1"]["nats_per_response"]["value"] == pytest.approx((0.25 + 1) / 2)
    assert found["k1"]["nats_per_token"]["value"] == pytest.approx(1.25 / 3)
    assert found["nats_per_response"]["n"] == found["k1"]["nats_per_token"]["n"] == 2
    assert kl_from_base([], seed=1) is None


@given(
    st.lists(st.lists(st.tuples(st.floats(-30, -1e-3), st.floats(-30, -1e-3)), min_size=1, max_size=5), min_size=1, max_size=5)
)
def test_k3_is_never_below_zero(responses):
    rows = [{"cluster": 0, "policy_logps": [p for p, _ in pairs], "base_logps": [b for _, b in pairs]} for pairs in responses]
    assert kl_from_base(rows, seed=1)["nats_per_response"]["value"] >= -1e-9


def test_both_estimators_find_the_divergence_of_two_distributions():
    """Sequences of two draws: KL is the sum over them, weighted by where the first led."""
    rng = np.random.default_rng(3)
    policy, base = np.array([0.7, 0.2, 0.1]), np.array([0.4, 0.4, 0.2])
    draws = rng.choice(3, size=(4000, 2), p=policy)
    logs = [{"policy_logps": np.log(policy[d]).tolist(), "base_logps": np.log(base[d]).tolist()} for d in draws]
    rows = [row | {"cluster": place} for place, row in enumerate(logs)]
    truth = 2 * (policy * np.log(policy / base)).sum()
    found = kl_from_base(rows, seed=1)
    for estimate in (found["nats_per_response"], found["k1"]["nats_per_response"]):
        assert estimate["low"] < truth < estimate["high"] and estimate["high"] - estimate["low"] < 0.06
    assert found["nats_per_token"]["value"] == pytest.approx(found["nats_per_response"]["value"] / 2)


def responses(n: int = 40, **changed) -> pd.DataFrame:
    """Responses whose columns all differ: of n, so many are so."""
    counts = {"loops": 3, "echoes": 5, "finished": 30, "refuses": 2} | changed
    table = pd.DataFrame({name: np.arange(n) < count for name, count in counts.items() if name != "words"})
    return table.assign(cluster=range(n), words=np.arange(n) + changed.get("words", 0) * (np.arange(n) % 4))


def test_each_change_of_form_is_of_its_own_column():
    found = {
        row["outcome"]: row for row in form_changes(responses(), responses(loops=20, echoes=4, finished=21, refuses=3, words=7))
    }
    assert list(found) == ["loops", "echoes", "cut off", "refusals", "words"]
    rates = {name: (row["base"]["value"] * 40, row["policy"]["value"] * 40) for name, row in found.items()}
    assert {name: tuple(map(round, pair)) for name, pair in rates.items() if name != "words"} == {
        "loops": (3, 20), "echoes": (5, 4), "cut off": (10, 19), "refusals": (2, 3),
    }  # fmt: skip
    assert (found["words"]["base"]["value"], found["words"]["policy"]["value"]) == (19.5, 30.0)
    changes = {name: row["change"]["value"] for name, row in found.items()}
    assert changes == pytest.approx({"loops": 17 / 40, "echoes": -1 / 40, "cut off": 9 / 40, "refusals": 1 / 40, "words": 10.5})
    assert found["loops"]["p"] == pytest.approx(2 * 0.5**17) and found["cut off"]["p"] == pytest.approx(2 * 0.5**9)
    assert [row["test"] for row in found.values()] == ["McNemar"] * 4 + ["Wilcoxon"]
    assert form_changes(responses(), responses())[-1]["p"] is None  # as many words each


def test_all_of_it_is_by_clusters():
    clusters = np.arange(40) // 4
    found = form_changes(responses().assign(cluster=clusters), responses(loops=20, words=7).assign(cluster=clusters))
    assert {(row[key]["n"], row[key]["clusters"]) for row in found for key in ("base", "policy", "change")} == {(40, 10)}
    assert found[0]["p"] == pytest.approx(2 * 0.5**5)  # loops came in five clusters, and went in none
    found = logps_change(BASE_LOGPS.assign(cluster=list("aabbcc")), LOGPS, seed=1)["chosen"]
    assert {found[key]["clusters"] for key in ("nats_per_response", "nats_per_token", "fell")} == {3}
    assert found["fell_p"] == 2 * 0.5**2  # by cluster two fell, none and two
    rows = [{"cluster": i // 2, "policy_logps": [-1.0], "base_logps": [-2.0 - i]} for i in range(8)]
    assert kl_from_base(rows, seed=1)["nats_per_token"]["clusters"] == 4


def price(logps=LOGPS, **changed) -> dict:
    rows = [{"cluster": "a", "policy_logps": [-1.0], "base_logps": [-2.0]}]
    return policy_price(responses(), responses(**changed), BASE_LOGPS, logps, rows, seed=1)


def test_the_correction_is_over_all_prices_of_all_policies():
    prices = {"dpo": price(loops=20), "ipo": price(echoes=30, words=3)}
    raw = [p["logps"][side][key] for p in prices.values() for side in ("chosen", "rejected") for key in ("p", "fell_p")]
    raw += [row["p"] for p in prices.values() for row in p["form"]]
    correct_prices(prices)
    corrected = [
        p["logps"][side][f"{k}_holm"] for p in prices.values() for side in ("chosen", "rejected") for k in ("p", "fell_p")
    ]
    corrected += [row["p_holm"] for p in prices.values() for row in p["form"]]
    tested = [place for place, p in enumerate(raw) if p is not None]
    assert [corrected[place] for place in tested] == pytest.approx(holm([raw[place] for place in tested]))
    assert [corrected[place] for place in range(len(raw)) if place not in tested] == [None]
    assert prices["dpo"]["form"][-1]["p"] is None  # as many words each
    worse = {m: [row["outcome"] for row in p["form"] if row["worse"]] for m, p in prices.items()}
    assert worse == {"dpo": ["loops"], "ipo": ["echoes", "words"]}
    assert not prices["dpo"]["logps"]["chosen"]["worse"]  # six pairs are too few


def test_a_change_for_the_better_is_no_price():
    likelier = pd.concat([BASE_LOGPS] * 9, ignore_index=True).assign(cluster=range(54))
    rows = [{"cluster": "a", "policy_logps": [-1.0], "base_logps": [-2.0]}]
    better = policy_price(responses(finished=5, words=20), responses(), likelier, likelier.assign(chosen_logp=-5.0), rows, seed=1)
    worse = policy_price(
        responses(), responses(finished=5, words=20), likelier, likelier.assign(chosen_logp=-50 - likelier.index), rows, seed=1
    )
    correct_prices({"dpo": better, "ipo": worse})
    assert prices_in_words(better) == []
    assert better["form"][2]["p_holm"] < 0.001 and better["logps"]["chosen"]["p_holm"] < 0.001
    change, words = worse["logps"]["chosen"]["nats_per_response"], worse["form"][-1]["change"]
    assert prices_in_words(worse) == [
        "the chosen responses of the validation pairs became less likely "
        f"({change['value']:.1f} [{change['low']:.1f}, {change['high']:.1f}] nats each)",
        "more of its responses are cut off (+0.63 [0.47, 0.76])",
        f"its responses have more words (+30.0 [{words['low']:.1f}, {words['high']:.1f}])",
    ]


def test_a_rank_test_alone_makes_no_price():
    """Most responses are a little shorter, a few much longer: the ranks say shorter, the mean says longer."""
    base = pd.concat([responses()] * 8, ignore_index=True).assign(cluster=range(320))
    few = np.arange(320) % 13 == 0
    changed = base.assign(words=base["words"] + np.where(few, 40, -1 - np.arange(320) % 4))
    pairs = pd.concat([BASE_LOGPS] * 54, ignore_index=True).assign(cluster=range(324))
    far = np.arange(324) % 13 == 0
    logps = pairs.assign(chosen_logp=pairs["chosen_logp"] + np.where(far, -35.0, np.arange(324) % 4 + 1.0))
    rows = [{"cluster": "a", "policy_logps": [-1.0], "base_logps": [-2.0]}]
    found = policy_price(base, changed, pairs, logps, rows, seed=1)
    correct_prices({"dpo": found})
    words, chosen = found["form"][-1], found["logps"]["chosen"]
    assert words["p_holm"] < 1e-6 and words["change"]["value"] > 0 and words["change"]["low"] < 0
    assert chosen["p_holm"] < 1e-6 and chosen["nats_per_response"]["value"] < 0 < chosen["nats_per_response"]["high"]
    assert not words["worse"] and not chosen["worse"] and prices_in_words(found) == []


@pytest.mark.parametrize(
    ("reward", "length", "gold", "told"),
    [
        ("better", "gained at equal length", "better", "DPO is better, at a price"),
        ("better", "gained at equal length", "worse", "What got worse"),  # the truth goes before the judge
        ("worse", "lost at equal length", "better", "DPO is better, at a price"),
        ("better", "only longer", "better", "DPO is better, at a price"),
        ("better", "gained at equal length", None, "DPO is better, at a price"),
        ("better", "only longer", None, "What got worse"),
        ("better", "not shown at equal length", None, "What got worse"),
        ("better", "lost at equal length", None, "What got worse"),
        ("worse", "gained at equal length", None, "What got worse"),
        ("inconclusive", None, "inconclusive", "What got worse"),
    ],
)
def test_better_is_said_to_be_at_a_price(reward, length, gold, told):
    prices = {"dpo": price(loops=20, echoes=30)}
    correct_prices(prices)
    verdict = {"reward": reward, "length": length, "gold": gold, "sentence": "It is so."}
    add_to_verdict(verdict, prices["dpo"], "DPO")
    one, other = verdict["price"] = prices_in_words(prices["dpo"])
    assert one.startswith("more of its responses loop (") and other.startswith("more of its responses say the prompt back (")
    assert verdict["sentence"] == f"It is so. {told}: {one}; {other}."


def test_where_nothing_got_worse_the_verdict_stands():
    prices = {"dpo": price()}
    correct_prices(prices)
    verdict = {"reward": "better", "length": "only longer", "gold": None, "sentence": "It is so."}
    add_to_verdict(verdict, prices["dpo"], "DPO")
    assert verdict == {"reward": "better", "length": "only longer", "gold": None, "sentence": "It is so.", "price": []}


def test_responses_alone_have_prices_of_form_alone():
    prices = {"b": {"form": form_changes(responses(), responses(loops=20, echoes=30))}}
    raw = [row["p"] for row in prices["b"]["form"] if row["p"] is not None]
    correct_prices(prices)
    assert [row["p_holm"] for row in prices["b"]["form"] if row["p"] is not None] == pytest.approx(holm(raw))
    one, other = prices_in_words(prices["b"])
    assert one.startswith("more of its responses loop (") and other.startswith("more of its responses say the prompt back (")
