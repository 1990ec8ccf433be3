"""What people's answers come to, worked out by hand."""

import numpy as np
import pandas as pd
import pytest

from preference_study.analysis.people import analyse_people, answers_of, corrected_rate, describe, self_agreement
from preference_study.analysis.statistics import win_rate
from preference_study.analysis.verdicts import against_reward, by_people
from preference_study.annotations import COLUMNS

NAN = float("nan")
KEY = {
    "study": "s", "seed": 1, "which": "random", "method": "dpo",
    "cases": [
        {"case": "c1", "id": "p1", "first": "dpo", "again": None},
        {"case": "c2", "id": "p2", "first": "dpo", "again": None},
        {"case": "c3", "id": "p3", "first": "dpo", "again": None},
        {"case": "c4", "id": "p4", "first": "base", "again": None},
        {"case": "c5", "id": "p1", "first": "base", "again": "c1"},
        {"case": "c6", "id": "p2", "first": "base", "again": "c2"},
    ],
}  # fmt: skip
CLUSTERS = pd.Series({"p1": "k1", "p2": "k1", "p3": "k2", "p4": "k3", "p5": "k4"})
PROMPTS = ["p4", "p2", "p1", "p3", "p5"]  # as the case browser has them


def annotations(*rows: tuple, study: str = "s") -> pd.DataFrame:
    made = []
    for annotator, case, answer, *more in rows:
        flag, comment = [*more, *(False, "")[len(more) :]]
        made.append((annotator, 1, study, case, answer, flag, comment, pd.Timestamp(0)))
    return pd.DataFrame(made, columns=COLUMNS)


ROWS = annotations(
    ("Ann", "c1", "1"),  # the policy's
    ("Ann", "c2", "2"),  # base's
    ("Ann", "c3", "tie"),
    ("Ann", "c4", "2", True, "odd <b>"),  # the policy's
    ("Ann", "c5", "2"),  # the policy's, as before
    ("Bob", "c1", "2"),  # base's
    ("Bob", "c2", "skip", False, "what?"),
    ("Bob", "c3", "1"),  # the policy's
    ("Bob", "c5", "2", True),  # the policy's, unlike before
    ("Bob", "c6", "1"),  # of which the first showing was skipped
)
VOTES = pd.DataFrame({"standard": [0.0, 1.0, 1.0, 0.5, 1.0], "other": [NAN, NAN, 0.0, 1.0, 0.0], "nobody's": [NAN] * 5}, PROMPTS)
TRUTH = pd.Series([0.0, NAN, 0.0, 1.0, 1.0], PROMPTS)


@pytest.fixture
def rows() -> pd.DataFrame:
    others = annotations(("Ann", "c1", "2"), ("Eve", "c1", "2"), study="another")
    return answers_of(pd.concat([others, ROWS]), KEY, "dpo", CLUSTERS)


def test_answers_are_turned_to_the_policys_side(rows):
    assert rows["annotator"].tolist() == ["Ann"] * 5 + ["Bob"] * 5
    np.testing.assert_array_equal(rows["point"], [1, 0, 0.5, 1, 1, 0, NAN, 1, 1, 0])
    np.testing.assert_array_equal(rows["side"], [1, 0, 0.5, 0, 0, 0, NAN, 1, 0, 1])
    assert rows["cluster"].tolist() == ["k1", "k1", "k2", "k3", "k1", "k1", "k1", "k2", "k1", "k1"]
    assert [again for again in rows["again"] if again is not None] == ["c1", "c1", "c2"]


@pytest.mark.usefixtures("few_resamples")
def test_each_number_is_of_its_rows(rows):
    found = describe(rows, KEY, VOTES, TRUTH, seed=1)
    assert (found["cases"], found["repeats"], found["people"], found["prompts"]) == (4, 2, 2, 4)
    assert (found["wins"], found["losses"], found["ties"]) == (3, 2, 1)
    points, clusters = [1, 0, 0.5, 1, 0, 1], ["k1", "k1", "k2", "k3", "k1", "k2"]
    assert found["win_rate"] == win_rate(points, clusters) and found["win_rate"]["value"] == 3.5 / 6
    assert (found["win_rate"]["n"], found["win_rate"]["clusters"]) == (6, 3)
    assert found["first_side"] == win_rate([1, 0, 0.5, 0, 0, 1], clusters) and found["first_side"]["value"] == 2.5 / 6
    # p1 was given 1 and 0, p3 one half and 1. Observed: (2 * 1 + 2 * 0.25) / 4. Of all twelve ordered pairs of 1, 0, 0.5, 1,
    # six differ by one half three times and by 1 twice, each both ways: 2 * (3 * 0.25 + 2 * 1) / 12.
    assert found["agreement"]["value"] == pytest.approx(1 - 0.625 / (5.5 / 12))
    assert (found["agreement"]["n"], found["agreement"]["clusters"]) == (2, 2)
    assert found["self_agreement"]["value"] == 0.5 and found["self_agreement"]["n"] == 2
    own = found["judges"]["standard"]
    # Decided: Ann's p1, p2, p4 and Bob's p1, p3, which the judge gave 1, 1, 0, 1 and one half.
    assert own["share"]["value"] == pytest.approx((1 + 0 + 0 + 0 + 0.5) / 5)
    # Six pairs of answer and vote: (1, 1), (0, 1), (0.5, 0.5), (1, 0), (0, 1), (1, 0.5); six 1, three 0, three 0.5 in all.
    expected = 2 * (6 * 3 * 1 + 6 * 3 * 0.25 + 3 * 3 * 0.25) / (12 * 11)
    assert own["alpha"]["value"] == pytest.approx(1 - (2 * 3.25 / 12) / expected) and own["alpha"]["n"] == 6
    # Judge and truth are on two sides at p1 alone: Ann is with the judge, Bob with the truth.
    assert own["where_truth_differs"]["value"] == 0.5 and own["where_truth_differs"]["n"] == 2
    other = found["judges"]["other"]
    # It knows p1 and p3: decided are Ann's p1, which it has otherwise, Bob's p1 and Bob's p3.
    assert other["share"]["value"] == pytest.approx(2 / 3) and other["alpha"]["n"] == 4 and other["where_truth_differs"] is None
    assert found["judges"]["nobody's"] == {"share": None, "alpha": None, "where_truth_differs": None}
    # Decided, and the truth known: p1 and p4 of Ann's, wrong; p1 and p3 of Bob's, right.
    assert found["truth"]["share"]["value"] == 0.5 and found["truth"]["share"]["n"] == 4 and found["truth"]["alpha"]["n"] == 5


@pytest.mark.usefixtures("few_resamples")
def test_who_answered_and_what_they_wrote(rows):
    found = describe(rows, KEY, VOTES, TRUTH, seed=1)
    heads = ("annotator", "answered", "ties", "skipped", "flagged", "twice", "same")
    assert [tuple(row[head] for head in heads) for row in found["annotators"]] == [
        ("Ann", 4, 1, 0, 1, 1, 1), ("Bob", 2, 0, 1, 0, 1, 0),
    ]  # fmt: skip
    assert [(row["annotator"], row["id"], row["flag"], row["comment"]) for row in found["comments"]] == [
        ("Ann", "p4", True, "odd <b>"), ("Bob", "p2", False, "what?"), ("Bob", "p1", True, ""),
    ]  # fmt: skip


def test_self_agreement_is_within_a_person(rows):
    found = self_agreement(rows)
    assert found.to_dict("list") == {"annotator": ["Ann", "Bob"], "cluster": ["k1", "k1"], "same": [True, False]}


def test_a_judges_rate_corrected_by_answers_by_hand(rows):
    """People say one half of p1, 0 of p2, three quarters of p3 and 1 of p4: means of first showings; of p5 they say nothing."""
    found = {name: corrected_rate(rows, VOTES[name], CLUSTERS) for name in VOTES}
    own, other = found["standard"], found["other"]
    assert (own["labels"], own["uncorrected"]["value"], own["uncorrected"]["clusters"]) == (4, pytest.approx(0.7), 4)
    # 1 on p5; and label minus judge is 1, -1, -0.5 and 0.25 on p4, p2, p1 and p3.
    assert own["prediction_powered"]["value"] == pytest.approx(1 - 0.25 / 4)
    assert (other["labels"], other["uncorrected"]["value"]) == (2, pytest.approx(1 / 3))
    assert other["prediction_powered"]["value"] == pytest.approx(0 + (0.5 - 0.25) / 2)
    assert found["nobody's"] is None and corrected_rate(rows, VOTES["standard"].drop("p5"), CLUSTERS) is None
    assert corrected_rate(rows[rows["id"] == "p1"], VOTES["standard"], CLUSTERS) is None


@pytest.mark.usefixtures("few_resamples")
def test_only_a_sample_corrects_a_judge(rows):
    judges = {}
    for which in ("random", "disagreement"):
        found = analyse_people({"dpo": rows}, "dpo", KEY | {"which": which}, VOTES, TRUTH, CLUSTERS, "better", 0.1, 1)
        judges[which] = {name: judge["corrected"] for name, judge in found["judges"].items()}
    assert judges["random"] == {name: corrected_rate(rows, VOTES[name], CLUSTERS) for name in VOTES}
    assert judges["disagreement"] == {name: None for name in VOTES}


@pytest.mark.usefixtures("few_resamples")
def test_without_truth_and_answers():
    none = answers_of(annotations(), KEY, "dpo", CLUSTERS)
    found = analyse_people({"dpo": none}, "dpo", KEY, VOTES, TRUTH, CLUSTERS, "better", 0.1, 1)
    assert found == {
        "study": "s", "which": "random", "cases": 4, "repeats": 2, "annotators": [], "comments": [], "win_rate": None,
    }  # fmt: skip
    skipped = answers_of(annotations(("Ann", "c1", "skip")), KEY, "dpo", CLUSTERS)
    found = analyse_people({"dpo": skipped}, "dpo", KEY, VOTES, TRUTH, CLUSTERS, "better", 0.1, 1)
    assert found["win_rate"] is None and "verdict" not in found and found["annotators"][0]["skipped"] == 1
    one = answers_of(annotations(("Ann", "c1", "1")), KEY, "dpo", CLUSTERS)
    found = analyse_people({"dpo": one}, "dpo", KEY, VOTES, TRUTH * NAN, CLUSTERS, "better", 0.1, 1)
    assert found["truth"] is None and found["agreement"] is None and found["self_agreement"] is None
    assert found["verdict"]["people"] == "inconclusive" and found["verdict"]["against_reward"] == "leaves open"
    assert "1 answers of 1 person to 1 prompts" in found["verdict"]["sentence"]


def of_wins(wins: int, losses: int, method: str = "dpo") -> pd.DataFrame:
    n = wins + losses
    table = pd.DataFrame({"annotator": "Ann", "answer": "1", "flag": False, "comment": "", "case": [f"c{i}" for i in range(n)]})
    table["id"] = table["cluster"] = [f"p{i}" for i in range(n)]
    return table.assign(again=None, point=[1.0] * wins + [0.0] * losses, side=1.0)


def verdict_of(tables: dict, reward: str | None = "better", which: str = "random") -> dict:
    ids = [f"p{i}" for i in range(500)]
    votes, truth = pd.DataFrame({"standard": NAN}, ids), pd.Series(NAN, ids)
    return analyse_people(tables, "dpo", KEY | {"which": which}, votes, truth, pd.Series(ids, ids), reward, 0.1, 1)


@pytest.mark.usefixtures("few_resamples")
@pytest.mark.parametrize(
    ("wins", "losses", "reward", "people", "beside", "told"),
    [
        (40, 10, "better", "better", "confirms", "People prefer DPO's responses to base's (win rate 0.80 [0.67, 0.89], n = 50"),
        (10, 40, "better", "worse", "contradicts", "It contradicts the verdict by reward, which is: better."),
        (10, 40, "worse", "worse", "confirms", "People prefer base's responses to DPO's (win rate 0.20"),
        (40, 10, "as good", "better", "contradicts", "It contradicts the verdict by reward, which is: as good."),
        (250, 250, "better", "as good", "contradicts", "To people DPO is as good as base, to within 0.10 (win rate 0.50"),
        (28, 22, "better", "inconclusive", "leaves open", "too few answers to tell"),
        (40, 10, "inconclusive", "better", "leaves open", "It neither confirms nor contradicts the verdict by reward"),
        (40, 10, "withheld", "better", None, "There is no verdict by reward to hold it against."),
        (40, 10, None, "better", None, "There is no verdict by reward to hold it against."),
    ],
)  # fmt: skip
def test_peoples_verdict_beside_the_one_by_reward(wins, losses, reward, people, beside, told):
    verdict = verdict_of({"dpo": of_wins(wins, losses)}, reward)["verdict"]
    assert (verdict["people"], verdict["against_reward"], verdict["people_would_be"]) == (people, beside, None)
    assert told in verdict["sentence"], verdict["sentence"]


@pytest.mark.usefixtures("few_resamples")
def test_there_is_no_verdict_by_cases_that_were_picked():
    verdict = verdict_of({"dpo": of_wins(40, 10)}, which="disagreement")["verdict"]
    assert (verdict["people"], verdict["people_would_be"], verdict["against_reward"]) == ("withheld", "better", None)
    assert "no sample of the prompts. What it would have said: people prefer DPO's responses" in verdict["sentence"]


@pytest.mark.usefixtures("few_resamples")
def test_the_tests_of_all_policies_are_a_family():
    alone = verdict_of({"dpo": of_wins(35, 19)})
    assert alone["test"]["p"] == alone["test"]["p_holm"] < 0.05 and alone["verdict"]["people"] == "better"
    both = verdict_of({"ipo": of_wins(36, 18), "dpo": of_wins(35, 19)})
    assert both["test"]["p"] == alone["test"]["p"] and both["test"]["p_holm"] == both["test"]["p"]  # the larger of two
    three = verdict_of({"ipo": of_wins(30, 24), "dpo": of_wins(35, 19), "kto": of_wins(0, 0)})
    assert three["test"]["p_holm"] == pytest.approx(2 * alone["test"]["p"]) and three["verdict"]["people"] == "inconclusive"
    assert three["evidence"]["p_equivalent_holm"] >= three["evidence"]["p_equivalent"]


def test_rules_beside_the_verdict_by_reward():
    found = ("better", "worse", "as good")
    for people in found:
        assert [against_reward(people, reward) for reward in found] == [
            "confirms" if people == reward else "contradicts" for reward in found
        ]
        assert against_reward(people, "inconclusive") == against_reward("inconclusive", people) == "leaves open"
    assert against_reward("withheld", "better") is None and against_reward("better", "withheld") is None


def test_prompts_and_clusters_are_told_apart():
    evidence = {"smallest": 0.1, "p_equivalent_holm": 1.0, "error": 0.05, "rows": 60, "most": 0.5, "n": 60, "clusters": 10}
    found = {"wins": 40, "losses": 20, "people": 3, "prompts": 20, "test": {"p_holm": 0.01}, "evidence": evidence}
    rate = {"value": 2 / 3, "low": 0.5, "high": 0.8, "n": 60, "clusters": 10}
    told = by_people("dpo", found | {"win_rate": rate}, 1, True, "better")["sentence"]
    assert "n = 60 answers of 3 people to 20 prompts in 10 clusters, corrected p = 0.010" in told
    unsure = by_people("dpo", found | {"win_rate": rate, "test": {"p_holm": 0.2}}, 1, True, "better")
    clusters, answers = unsure["seen"]["clusters"], unsure["seen"]["answers"]
    assert answers == 6 * clusters and f"takes {answers} answers in {clusters} clusters" in unsure["sentence"]
