import numpy as np
import pandas as pd
import pytest

from preference_study.analysis.correction import corrected
from preference_study.analysis.judge import right_to_judge
from preference_study.analysis.judges import (
    agreement,
    compare_judges,
    disagree,
    disagreements,
    labelled,
    on_pairs,
    on_responses,
    points,
    position,
)
from preference_study.analysis.statistics import half_ties, share, win_rate
from preference_study.analysis.style import length_controlled_win_rate
from tests.conftest import asked

pytestmark = pytest.mark.usefixtures("few_resamples")
NAN = float("nan")


def pairs() -> pd.DataFrame:
    """Ten pairs: six of longer chosen responses, three of shorter ones; gold says otherwise in one, and nothing in another."""
    return pd.DataFrame(
        {
            "cluster": list("aabbccddef"),
            "chosen_words": [9, 9, 9, 9, 9, 9, 2, 2, 2, 5],
            "rejected_words": [4, 3, 2, 1, 5, 6, 7, 8, 9, 5],
            "chosen_gold": [1, 1, 1, 1, 1, 1, 1, 1, 0, 0],
            "rejected_gold": [0, 0, 0, 0, 0, 0, 0, 0, 1, 0],
        },
        index=[f"v{n}" for n in range(10)],
    )


PREFERENCE = [0.9, 0.8, 0.7, 0.6, 0.3, 0.5, 0.8, 0.1, 0.2, 0.9]
BASELINES = {"tfidf": np.array([1, -1, 1, -1, 1, -1, 1, -1, 1, -1.0])}


def test_every_number_on_pairs_by_hand():
    found = on_pairs(pairs().assign(preference=PREFERENCE), BASELINES, seed=1)
    assert found["accuracy"]["value"] == (4 + 0.5 + 1 + 1) / 10 and (found["accuracy"]["n"], found["accuracy"]["clusters"]) == (
        10,
        6,
    )
    assert found["accuracy_longer_chosen"]["value"] == 4.5 / 6 and found["accuracy_longer_chosen"]["n"] == 6
    assert found["accuracy_shorter_chosen"]["value"] == 1 / 3
    # By the interval that knows of ties, in each of them.
    points, clusters = half_ties(np.array(PREFERENCE) - 0.5), pairs()["cluster"]
    longer = (pairs()["chosen_words"] > pairs()["rejected_words"]).to_numpy()
    assert found["accuracy"] == win_rate(points, clusters) != share(points, clusters)
    assert found["accuracy_longer_chosen"] == win_rate(points[longer], clusters[longer])
    assert found["accuracy_longer_chosen"] != share(points[longer], clusters[longer])
    assert found["prefers_longer"]["value"] == (4.5 + 2) / 9
    assert found["accuracy_gold"]["value"] == (4.5 + 1 + 0 + 1) / 9 and found["accuracy_gold"]["n"] == 9
    difference = pairs()["chosen_words"].add(1).div(pairs()["rejected_words"] + 1)
    rank = pd.Series(PREFERENCE, difference.index).corr(difference, method="spearman")
    assert found["length_correlation"]["value"] == pytest.approx(rank)
    scored = pairs().assign(chosen_reward=PREFERENCE, rejected_reward=[1 - p for p in PREFERENCE])
    assert found["right_to_judge"] == right_to_judge(scored, BASELINES) and found["position"] is None
    assert not found["right_to_judge"]["holds"] and len(found["right_to_judge"]["reasons"]) == 3


def test_position_by_hand():
    """Six were asked about: always the first; the same one twice, either way; a tie and the first; a tie and the second; ties."""
    orders = {"as_first": [0.9, 0.8, 0.1, 0.5, 0.5, 0.5, NAN], "as_second": [0.2, 0.7, 0.4, 0.1, 0.9, 0.5, NAN]}
    table = pd.DataFrame(orders, index=list("tuvwxyz"))
    found = position(table, np.arange(7))
    # How often the first: 1, 1/2, 1/2, (1/2 + 1) / 2, (1/2 + 0) / 2, 1/2.
    assert found["first"]["value"] == pytest.approx((1 + 0.5 + 0.5 + 0.75 + 0.25 + 0.5) / 6) and found["first"]["n"] == 6
    assert found["consistent"]["value"] == 2 / 6  # two ties are no response
    assert position(table[-1:], np.arange(1)) is None


def responses(n: int = 40) -> dict[str, pd.DataFrame]:
    """By policy: of every fourth prompt the policy's is gold and base's is not, of every tenth the other way about."""
    ids = [f"p{k}" for k in range(n)]
    common = {"cluster": [f"c{k // 2}" for k in range(n)], "prompt": [asked(f"Prompt {k}?") for k in range(n)]}
    base = pd.DataFrame(common | {"words": 10, "gold": [k % 10 == 1 for k in range(n)], "response": "base's"}, index=ids)
    dpo = base.assign(words=[12 + k % 3 for k in range(n)], gold=[k % 4 == 0 for k in range(n)], response="dpo's")
    ipo = base.assign(words=8, gold=True, response="ipo's")
    return {"base": base, "dpo": dpo, "ipo": ipo}


def judgement(name: str, for_dpo, for_ipo, of_pairs, **other) -> dict:
    rows = [
        {"id": f"p{k}", "policy": policy, "preference": value}
        for policy, values in (("dpo", for_dpo), ("ipo", for_ipo))
        for k, value in enumerate(values)
    ]
    return {
        "name": name,
        "kind": "own",
        "responses": rows,
        "pairs": [{"id": f"v{k}", "preference": p} for k, p in enumerate(of_pairs)],
    } | other


WINS = [0.9] * 30 + [0.2] * 8 + [0.5] * 2


def test_a_policy_before_one_judge():
    table = responses()
    judged = pd.DataFrame({"preference": WINS}, index=table["base"].index).sample(frac=1, random_state=0)
    found = on_responses(judged, table, "dpo", 0.1, seed=2)
    assert (found["wins"], found["losses"], found["ties"]) == (30, 8, 2)
    win = np.array([1.0] * 30 + [0.0] * 8 + [0.5] * 2)
    clusters = table["base"]["cluster"].to_numpy()
    assert found["win_rate"] == win_rate(win, clusters) and found["win_rate"]["clusters"] == 20
    words = (table["dpo"]["words"] - 10).to_numpy()
    assert found["win_rate_length_controlled"] == length_controlled_win_rate(win, words, 2, clusters)
    assert found["words_difference"]["value"] == words.mean()
    gold = np.array([(k % 4 == 0) * 1 - (k % 10 == 1) for k in range(40)])
    agrees = np.where(gold > 0, win, 1 - win)[gold != 0]
    assert found["agrees_with_gold"]["value"] == agrees.mean() and found["agrees_with_gold"]["n"] == (gold != 0).sum()
    truth = (np.sign(gold) + 1) / 2
    labels = np.where(labelled(clusters, 2), truth, NAN)
    assert found["corrected"]["truth"] == win_rate(truth, clusters) and found["corrected"]["labels"] == 20
    assert found["corrected"]["prediction_powered"] == corrected(win, labels, clusters)["prediction_powered"]
    # A judge of some prompts alone is compared on those.
    some = on_responses(judged.loc[["p31", "p3", "p5"]], table, "dpo", 0.1, seed=2)
    assert (some["wins"], some["losses"], some["win_rate"]["n"]) == (2, 1, 3)


def compare(judgements, table=None):
    return compare_judges(judgements, pairs(), table or responses(), BASELINES, 0.1, seed=2)


def test_judges_side_by_side():
    """Each number from its own judge and policy; verdicts go by one family of tests; a judge without the right gives none."""
    good = judgement("good", WINS, [0.6] * 40, [0.9] * 10)
    poor = judgement("poor", [0.2] * 35 + [0.9] * 5, [0.7] * 21 + [0.3] * 19, [0.1] * 10, shortened=3)
    some = judgement("some", WINS[:20], [0.1] * 20, [0.9] * 5, kind="endpoint", no_label=2)
    found = compare([good, poor, some])
    assert list(found["judges"]) == ["good", "poor", "some"] and found["known_gold"]
    assert [judge["pairs"]["accuracy"]["value"] for judge in found["judges"].values()] == [1.0, 0.0, 1.0]
    assert [judge["pairs"]["accuracy"]["n"] for judge in found["judges"].values()] == [10, 10, 5]
    assert found["judges"]["poor"]["counts"] == {"shortened": 3} and found["judges"]["some"]["kind"] == "endpoint"
    rates = [judge["policies"][policy]["win_rate"]["value"] for judge in found["judges"].values() for policy in ("dpo", "ipo")]
    assert rates == [31 / 40, 1.0, 5 / 40, 21 / 40, 1.0, 0.0]
    tests = [row for judge in found["judges"].values() for policy in judge["policies"].values() for row in policy["tests"]]
    assert found["tests_of_verdicts"] == len(tests) == 12
    smallest = min(tests, key=lambda row: row["p"])
    assert smallest["p_holm"] == pytest.approx(12 * smallest["p"])
    verdicts = {name: judge["policies"]["dpo"]["verdict"]["reward"] for name, judge in found["judges"].items()}
    assert verdicts["poor"] == "withheld" and found["judges"]["poor"]["policies"]["dpo"]["verdict"]["reward_would_be"] == "worse"
    assert found["disagreements"] == {"cases": 33 + 39, "of": 80}  # of dpo and of ipo


def test_of_a_policy_that_was_trained_against_the_studys_own_judge_the_others_give_a_verdict():
    tables = {"rloo" if name == "ipo" else name: table for name, table in responses().items()}
    judged = [judgement(name, WINS, [0.9] * 40, [0.9] * 10, kind=kind) for name, kind in (("own", "own"), ("other", "endpoint"))]
    for one in judged:
        one["responses"] = [row | {"policy": {"ipo": "rloo"}.get(row["policy"], row["policy"])} for row in one["responses"]]
    of_pairs = pairs().assign(chosen_words=1, rejected_words=1, cluster=range(10))
    baselines = {name: -np.ones(10) for name in BASELINES}
    found = compare_judges(judged, of_pairs, tables, baselines, 0.1, seed=2)["judges"]
    assert all(judge["pairs"]["right_to_judge"]["holds"] for judge in found.values())
    verdicts = {
        (name, policy): of["verdict"]["reward"] for name, judge in found.items() for policy, of in judge["policies"].items()
    }
    assert verdicts.pop(("own", "rloo")) == "withheld" and "withheld" not in verdicts.values()
    assert found["own"]["policies"]["rloo"]["verdict"]["reward_would_be"] == verdicts["other", "rloo"] == "better"


def test_where_a_judge_leaves_too_many_unanswered_there_is_no_verdict():
    """More than one in ten of a policy's responses: none on that policy; of the validation pairs: no right to judge."""
    of_pairs = pairs().assign(chosen_words=1, rejected_words=1, cluster=range(10))
    baselines = {name: -np.ones(10) for name in BASELINES}

    def judge(dpo: int, of_pairs_left: int) -> dict:
        left = {"unanswered": {"responses": {"dpo": dpo, "ipo": 0}, "pairs": of_pairs_left}}
        one = judgement("one", [0.9] * 40, [0.9] * 40, [0.9] * 10, kind="endpoint", questions=200) | left
        return compare_judges([one], of_pairs, responses(), baselines, 0.1, seed=2)["judges"]["one"]

    few, many, pairs_left = judge(4, 1), judge(5, 1), judge(4, 2)  # 4 of 44 and 1 of 11 are fewer than one in ten
    assert few["pairs"]["right_to_judge"]["holds"] and few["counts"] == {"questions": 200}
    assert few["pairs"]["unanswered"] == {"cases": 1, "of": 11, "too_many": False}
    assert few["policies"]["dpo"]["unanswered"] == {"cases": 4, "of": 44, "too_many": False}
    assert {policy: of["verdict"]["reward"] for policy, of in few["policies"].items()} == {"dpo": "better", "ipo": "better"}
    assert many["policies"]["dpo"]["unanswered"] == {"cases": 5, "of": 45, "too_many": True}
    said = many["policies"]["dpo"]["verdict"]
    assert (said["reward"], said["reward_would_be"], said["length"]) == ("withheld", "better", None)
    assert many["policies"]["ipo"]["verdict"]["reward"] == "better" and many["pairs"]["right_to_judge"]["holds"]
    assert not pairs_left["pairs"]["right_to_judge"]["holds"] and pairs_left["pairs"]["right_to_judge"]["reasons"] == [
        "it left 2 of 12 validation pairs unanswered, more than 10%, and not at random"
    ]
    assert {of["verdict"]["reward"] for of in pairs_left["policies"].values()} == {"withheld"}


def test_points_and_disagreements_by_hand():
    one = judgement("one", [0.9, 0.5, 0.2, 0.9], [0.4] * 4, [0.9] * 2)
    two = judgement("two", [0.6, 0.1, 0.3], [0.7, 0.4, 0.4, 0.95], [0.2, 0.5])
    table = points([one, two], "responses")
    assert table.loc[("p1", "dpo")].tolist() == [0.5, 0.0] and table.loc[("p3", "ipo")].tolist() == [0.0, 1.0]
    assert np.isnan(table.loc[("p3", "dpo"), "two"]) and points([one, two], "pairs")["two"].tolist() == [0.0, 0.5]
    assert [key for key, apart in disagree(table).items() if apart] == [("p0", "ipo"), ("p3", "ipo")]
    rows = disagreements([one, two], responses())
    assert rows[["id", "policy", "judge one", "judge two"]].to_numpy().tolist() == [
        ["p3", "ipo", 0.4, 0.95],
        ["p0", "ipo", 0.4, 0.7],
    ]
    assert rows.iloc[0][["prompt", "base", "response", "gold_base", "gold_response"]].tolist() == [
        "Prompt 3?", "base's", "ipo's", False, True,
    ]  # fmt: skip
    assert list(disagreements([one], responses()).columns) == ["id", "policy", "prompt", "base", "response", "judge one"]


def test_agreement_goes_by_clusters_and_leaves_out_what_is_missing():
    rng = np.random.default_rng(0)
    ids = [f"v{n}" for n in range(60)]
    first = rng.integers(0, 2, 60).astype(float)
    table = pd.DataFrame(
        {"a": first, "b": np.where(np.arange(60) % 5 == 0, 1 - first, first), "c": np.where(np.arange(60) < 30, first, NAN)}
    )
    table.index = pd.Index(ids, name="id")
    found = agreement(table, pd.Series([f"c{n // 3}" for n in range(60)], ids), seed=1)
    assert found["all"]["clusters"] == 20 and found["all"]["low"] < found["all"]["value"] < found["all"]["high"]
    assert [(two["a"], two["b"], two["same"]["value"], two["same"]["n"]) for two in found["two"]] == [
        ("a", "b", 0.8, 60), ("a", "c", 1.0, 30), ("b", "c", 0.8, 30),
    ]  # fmt: skip
    assert found["two"][1]["alpha"]["value"] == 1.0 and found["two"][0]["alpha"]["n"] == 60
