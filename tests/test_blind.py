"""What people are shown: which cases, in which order, on which sides, and that the page does not tell whose a response is."""

import json
from collections import Counter

import numpy as np
import pandas as pd
import pytest

from preference_study.blind import candidates, checked_judgement, contested, draw, opinions, other_judges, up_to_date
from preference_study.errors import BadInput
from preference_study.judges import digest_of_texts
from tests.conftest import asked

NAN = float("nan")


def responses(policy: str, n: int = 30, **columns) -> pd.DataFrame:
    rows = pd.DataFrame({"id": [f"p{i}" for i in range(n)], "policy": policy}).set_index("id")
    rows["prompt"] = [asked(f"Prompt {i}") for i in range(n)]
    rows["response"] = [f"{policy} says {i}" for i in range(n)]
    return rows.assign(**columns)


BASE, DPO = responses("base"), responses("dpo")
IDS = list(BASE.index)


def shown(drawn) -> list[tuple]:
    """What the page and the key say of each case: (id, whose is first, whose is second, case it repeats)."""
    found = []
    for case, entry in zip(drawn.page["cases"], drawn.key["cases"], strict=True):
        assert case["case"] == entry["case"] and case["prompt"] == BASE.loc[entry["id"], "prompt"]
        first, second = (text.split(" says ") for text in case["responses"])
        assert first[1] == second[1] == entry["id"][1:]
        assert entry["first"] == first[0]
        found.append((entry["id"], first[0], second[0], entry["again"]))
    return found


def test_a_page_holds_each_drawn_prompt_once_and_some_twice_the_other_way_round():
    drawn = draw(BASE, DPO, IDS[4:], cases=21, repeats=5, seed=3)
    found = shown(drawn)
    assert len(found) == 26 and all({first, second} == {"base", "dpo"} for _, first, second, _ in found)
    once = [row for row in found if row[3] is None]
    assert len({row[0] for row in once}) == len(once) == 21 and {row[0] for row in once} <= set(IDS[4:])
    places = {case["case"]: place for place, case in enumerate(drawn.page["cases"])}
    assert len(places) == 26
    again = [(place, row) for place, row in enumerate(found) if row[3] is not None]
    assert len(again) == 5
    for place, (name, first, _, case) in again:
        earlier = found[places[case]]
        assert earlier[0] == name and earlier[1] != first  # the other way round
        assert places[case] < 7 and place >= 14  # of 21 and 5: the first third, and after the second
    # What comes twice does not stand in a block of its own.
    assert [row[3] is None for row in found[14:]] != sorted(row[3] is None for row in found[14:])


def test_sides_are_even_and_differ_from_seed_to_seed():
    firsts = Counter(row[1] for seed in range(40) for row in shown(draw(BASE, DPO, IDS, 30, 0, seed)))
    assert sum(firsts.values()) == 1200 and 530 < firsts["dpo"] < 670
    assert draw(BASE, DPO, IDS, 30, 3, 1) == draw(BASE, DPO, IDS, 30, 3, 1)
    one, other = (shown(draw(BASE, DPO, IDS, 12, 3, seed)) for seed in (1, 2))
    assert one != other and [row[0] for row in one] != [row[0] for row in other]


def test_what_is_drawn_is_a_sample_of_all_prompts():
    drawn = Counter(row[0] for seed in range(60) for row in shown(draw(BASE, DPO, IDS, 10, 0, seed)))
    assert set(drawn) == set(IDS) and max(drawn.values()) < 40  # of 60 pages, 20 expected
    first = Counter(shown(draw(BASE, DPO, IDS, 10, 0, seed))[0][0] for seed in range(60))
    assert len(first) > 15


def test_fewer_prompts_than_cases_are_all_shown():
    found = shown(draw(BASE, DPO, IDS[:7], cases=21, repeats=7, seed=3))
    assert {row[0] for row in found} == set(IDS[:7]) and sum(row[3] is not None for row in found) == 2


def test_the_page_does_not_tell():
    drawn = draw(BASE.assign(reward=1.5), DPO.assign(reward=2.5), IDS, 20, 4, seed=1)
    assert set(drawn.page) == {"study", "seed", "cases"}
    assert all(set(case) == {"case", "prompt", "responses"} for case in drawn.page["cases"])
    # Who has the texts, the seed and this code, but not whose they are, does not get the same sides.
    mixed = (
        [(DPO, BASE)[i % 2].iloc[i]["response"] for i in range(30)],
        [(BASE, DPO)[i % 2].iloc[i]["response"] for i in range(30)],
    )
    guessed = draw(BASE.assign(response=mixed[0]), DPO.assign(response=mixed[1]), IDS, 20, 4, seed=1)
    assert [entry["id"] for entry in guessed.key["cases"]] != [entry["id"] for entry in drawn.key["cases"]]


@pytest.mark.parametrize("change", ["response", "prompt", "seed", "sides"])
def test_the_studys_identity_hangs_on_all_that_is_shown(change):
    before = draw(BASE, DPO, IDS, 30, 4, seed=1)
    other, policy = BASE.copy(), DPO.copy()
    if change == "response":
        policy.loc["p3", "response"] += "."
    if change == "prompt":
        other["prompt"] = [asked("Prompt 3!") if name == "p3" else prompt for name, prompt in other["prompt"].items()]
    if change == "sides":
        other, policy = policy.assign(policy="base"), other.assign(policy="dpo")
    after = draw(other, policy, IDS, 30, 4, seed=2 if change == "seed" else 1)
    assert before.study != after.study and len(before.study) == 16
    assert before.study == before.page["study"] == before.key["study"]


def test_opinions_of_judges_and_the_truth():
    base = responses("base", 4, reward=[1.0, 2.0, 3.0, 4.0], gold=[True, False, False, True])
    dpo = responses("dpo", 4, reward=[2.0, 2.0, 1.0, 5.0], gold=[True, True, False, False])
    rows = [{"id": "p0", "policy": "dpo", "preference": 0.2}, {"id": "p1", "policy": "dpo", "preference": 0.5}]
    rows += [{"id": "p3", "policy": "dpo", "preference": 0.9}, {"id": "p2", "policy": "ipo", "preference": 0.9}]
    votes, truth = opinions("standard", base, dpo, [{"name": "other", "responses": rows}])
    assert votes["standard"].tolist() == [1.0, 0.5, 0.0, 1.0]
    assert votes["other"].tolist()[:2] == [0.0, 0.5] and np.isnan(votes["other"]["p2"]) and votes["other"]["p3"] == 1.0
    assert truth.dropna().to_dict() == {"p1": 1.0, "p3": 0.0}
    assert contested(votes, truth).tolist() == [True, False, False, True]  # the other judge; -; -; the truth
    assert contested(votes[["standard"]], truth).tolist() == [False, False, False, True]
    assert candidates(votes, truth, "disagreement") == ["p0", "p3"] and candidates(votes, truth, "random") == list(base.index)
    votes, truth = opinions("standard", base.drop(columns="gold"), dpo.drop(columns="gold"), [])
    assert list(votes) == ["standard"] and truth.isna().all()
    with pytest.raises(BadInput, match=r"no prompt on which.*judges: standard; the truth is not known.*random in params\.yaml"):
        candidates(votes, truth, "disagreement")


GOOD = {"name": "j", "kind": "k", "responses": [{"id": "a", "policy": "dpo", "preference": 0.25}], "pairs": []}


@pytest.mark.parametrize(
    ("found", "wanted"),
    [
        ([], "holds no judgements"),
        ({"name": "j"}, "KeyError: 'responses'"),
        (GOOD | {"responses": [{"id": "a", "policy": "dpo"}]}, "KeyError: 'preference'"),
        (GOOD | {"responses": GOOD["responses"] * 2 + [{"id": "b", "policy": "dpo", "preference": 1.5}]}, "responses, row 3"),
        (GOOD | {"responses": [{"id": "b", "policy": "dpo", "preference": NAN}]}, "responses, row 1"),
        (GOOD | {"texts": ["dpo"]}, "AttributeError"),
    ],
)
def test_a_file_that_holds_no_judgements_is_refused(found, wanted):
    with pytest.raises(BadInput, match=rf"data/judgements/j\.json.*{wanted}|data/judgements/j\.json, {wanted}"):
        checked_judgement(found, "data/judgements/j.json")
    assert checked_judgement(json.loads(json.dumps(GOOD)), "f") == {"name": "j", "responses": GOOD["responses"], "texts": {}}


@pytest.mark.parametrize(
    ("names", "whose"),
    [({"b": "standard"}, r"the study's own reward model \(reward.judge\)"), ({"a": "j", "b": "j"}, "data/judgements/a.json")],
)
def test_no_judge_stands_for_another_of_its_name(names, whose):
    files = {f"data/judgements/{file}.json": GOOD | {"name": name} for file, name in names.items()}
    with pytest.raises(BadInput, match=rf"^data/judgements/b\.json: name is '{names['b']}', and so is that of {whose}; write"):
        other_judges(files, "standard")
    other = files | {"data/judgements/b.json": GOOD | {"name": "of its own"}}
    assert [judge["name"] for judge in other_judges(other, "standard")] == [*list(names.values())[:-1], "of its own"]


@pytest.mark.parametrize("changed", [{"policy": "DPO"}, {"id": "p9"}])
def test_a_judge_that_says_nothing_of_these_responses_is_left_out(changed, capsys):
    base, dpo = responses("base", 3), responses("dpo", 3)
    row = {"id": "p1", "policy": "dpo", "preference": 0.7}
    silent, other = ({"name": "ada", "responses": rows, "texts": {}} for rows in ([row | changed], [row | changed, row]))
    assert up_to_date([silent, other], base, dpo) == [other]
    told = capsys.readouterr().out
    assert told.startswith("judge ada says nothing of dpo's responses to these prompts and is left out: a row's policy must be")
    assert told.count("\n") == 1


def test_a_judge_of_other_responses_is_left_out(capsys):
    base, dpo = responses("base", 3), responses("dpo", 3)
    rows = [{"id": id, "policy": policy, "preference": 0.7} for policy in ("dpo", "ipo") for id in ("p1", "p0")]
    saw = digest_of_texts((id, dpo.at[id, "response"], base.at[id, "response"]) for id in ("p0", "p1"))
    judge = {"name": "ada", "responses": rows, "texts": {"dpo": saw, "ipo": "another"}}
    assert up_to_date([judge], base, dpo) == [judge] and not capsys.readouterr().out
    for changed in (base, dpo):
        other = changed.copy()
        other.loc["p1", "response"] += "!"
        tables = (other, dpo) if changed is base else (base, other)
        unsigned = judge | {"texts": {"ipo": "another"}}  # as of a file that somebody else wrote
        assert up_to_date([judge, unsigned], *tables) == [unsigned]
        assert "ada saw other responses of dpo and is left out: name it in judges" in capsys.readouterr().out
    assert up_to_date([judge], base.drop("p1"), dpo.drop("p1")) == []
    dpo.loc["p2", "response"] += "!"  # which it was not asked about
    assert up_to_date([judge], base, dpo) == [judge]
