import json

import numpy as np
import pandas as pd
import pytest

from preference_study.errors import BadInput
from preference_study.judges import by_rewards, cases, judgement, own_judgement, some_cases
from preference_study.judges.pairwise import answered_label, both_orders, check_question, question, questions
from tests.conftest import ROOT, asked

BASE = [
    {"id": "p1", "prompt": asked("Rain?"), "response": "base one"},
    {"id": "p2", "prompt": asked("Maps?"), "response": "base two"},
]
DPO = [
    {"id": "p2", "prompt": asked("Maps?"), "response": "dpo two"},
    {"id": "p1", "prompt": asked("Rain?"), "response": "base one"},
]
PAIRS = pd.DataFrame([{"id": "v1", "prompt": asked("Hens?"), "chosen": "good", "rejected": "bad"}])


def test_cases_are_of_the_same_prompt():
    table = cases({"base": BASE, "dpo": DPO}, PAIRS)
    rows = table[["set", "id", "policy", "response", "other"]].astype(object).where(lambda t: t.notna(), None)
    assert rows.to_numpy().tolist() == [
        ["responses", "p2", "dpo", "dpo two", "base two"],
        ["responses", "p1", "dpo", "base one", "base one"],
        ["pairs", "v1", None, "good", "bad"],
    ]
    assert [prompt[0]["content"] for prompt in table["prompt"]] == ["Maps?", "Rain?", "Hens?"]


def test_a_sample_is_of_the_same_prompts_for_every_policy():
    names = ("base", "a", "b")
    many = {name: [{"id": f"p{n}", "prompt": asked("?"), "response": f"{name} {n}"} for n in range(40)] for name in names}
    pairs = pd.DataFrame({"id": [f"v{n}" for n in range(30)], "prompt": [asked("?")] * 30, "chosen": "c", "rejected": "r"})
    table = some_cases(cases(many, pairs), 7, 5, seed=3)
    ids = table[table["set"] == "responses"].groupby("policy")["id"].apply(set)
    assert len(ids["a"]) == 7 and ids["a"] == ids["b"] and (table["set"] == "pairs").sum() == 5
    assert ids["a"] != set(some_cases(cases(many, pairs), 7, 5, seed=4)["id"])
    assert len(some_cases(cases(many, pairs), None, 100, seed=3)) == 110


def test_a_question_holds_every_text_once_and_takes_none_for_a_place():
    template = "{prompt}\n--A {first}\n--B {second}\n{other} {"
    made = question(template, asked("Say {second}!"), "{prompt}", "\\1 {first}")
    assert made == "Say {second}!\n--A {prompt}\n--B \\1 {first}\n{other} {"
    turns = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yes?"}, {"role": "user", "content": "Why?"}]
    assert question("{prompt}", turns, "", "") == "User: Hi\n\nAssistant: Yes?\n\nUser: Why?"


def test_the_question_of_the_project_is_whole():
    template = (ROOT / "judges/pairwise.txt").read_text()
    assert check_question(template, "t") == template
    for left_out in ("{prompt}", "{first}", "{second}"):
        with pytest.raises(BadInput, match=rf"mine.txt: \{left_out[:-1]}\}} is not in it"):
            check_question(template.replace(left_out, ""), "mine.txt")
    with pytest.raises(BadInput, match="does not say B"):
        check_question("{prompt} {first} {second}: A?", "mine.txt")


def test_both_orders_by_hand():
    """As first .9 and as second .7 -> .8; a judge that always takes the first -> .5; equal texts are not asked about."""
    table = cases({"base": BASE, "dpo": DPO}, pd.concat([PAIRS, PAIRS.assign(id="v2", chosen="c", rejected="r")]))
    made = questions("{first}|{second}", table)
    assert made["question"].tolist() == ["dpo two|base two", "base two|dpo two", "good|bad", "bad|good", "c|r", "r|c"]
    judged = both_orders(table, made, [0.9, 0.3, 0.95, 0.95, 0.6, np.nan])
    assert judged["preference"].tolist() == pytest.approx([0.8, 0.5, 0.5, np.nan], nan_ok=True)
    assert judged["as_first"].tolist() == pytest.approx([0.9, np.nan, 0.95, 0.6], nan_ok=True)
    assert judged["as_second"].tolist() == pytest.approx([0.7, np.nan, 0.05, np.nan], nan_ok=True)
    kept = judgement("ada", "language_model", judged, too_long=1)
    assert list(kept) == ["name", "kind", "too_long", "unanswered", "responses", "pairs"]
    assert kept["unanswered"] == {"responses": {"dpo": 0}, "pairs": 1}
    assert kept["responses"] == [
        {"id": "p2", "policy": "dpo", "preference": pytest.approx(0.8), "as_first": 0.9, "as_second": pytest.approx(0.7)},
        {"id": "p1", "policy": "dpo", "preference": 0.5, "as_first": None, "as_second": None},
    ]
    assert [row["id"] for row in kept["pairs"]] == ["v1"]  # what was not seen is left out
    json.dumps(kept, allow_nan=False)
    less = judgement("ada", "endpoint", judged.assign(preference=[np.nan, 0.5, np.nan, np.nan]))
    assert less["unanswered"] == {"responses": {"dpo": 1}, "pairs": 2} and less["pairs"] == []


def test_the_studys_own_judge_in_the_same_form():
    scored = pd.DataFrame(
        [
            ("p1", "base", 1.0),
            ("p2", "base", 4.0),
            ("p2", "dpo", 4.0),
            ("p1", "dpo", 3.0),
            ("p1", "ipo", 0.0),
            ("p2", "ipo", 5.0),
        ],
        columns=["id", "policy", "reward"],
    )
    pairs = pd.DataFrame({"id": ["v1", "v2"], "chosen_reward": [1.0, -2.0], "rejected_reward": [0.0, 1.0]})
    found = own_judgement("standard", scored, pairs, ["dpo", "ipo"])
    sigmoid = lambda x: 1 / (1 + np.exp(-x))  # noqa: E731
    assert found["responses"] == [
        {"id": "p2", "policy": "dpo", "preference": 0.5},
        {"id": "p1", "policy": "dpo", "preference": pytest.approx(sigmoid(2))},
        {"id": "p1", "policy": "ipo", "preference": pytest.approx(sigmoid(-1))},
        {"id": "p2", "policy": "ipo", "preference": pytest.approx(sigmoid(1))},
    ]
    assert found["pairs"] == [
        {"id": "v1", "preference": pytest.approx(sigmoid(1))},
        {"id": "v2", "preference": pytest.approx(sigmoid(-3))},
    ]
    assert by_rewards([700], [-700]) == 1 and by_rewards([2.5], [2.5]) == 0.5


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("A", "A"), (" B.\n", "B"), ("**B**", "B"), ("(A)", "A"), ("Answer: B", "B"), ("The better answer is A.", "A"),
        ("[[B]]", "B"), ("A is shorter, but [[B]]", "B"), ("B\n\nIt does as asked, A does not.", "B"), ("Both are fine.\nA", "A"),
        ("<think>A? No: B.</think>\nA", "A"), ("<think>First\nA", None), ("<think>[[A]] is", None),
        ("", None), ("A better one is hard to find", None), ("C", None), ("A\nB", None),
        ("[[A]] or [[B]]", None), ("a", None), ("Neither A nor B", None), ("AB", None), ("answer", None),
    ],
)  # fmt: skip
def test_what_an_answer_says(text, label):
    assert answered_label(text) == label
