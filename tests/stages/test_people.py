"""What the stages that ask people read and write: cases on which opinions differ, and judges beside people."""

import json
import re
from collections import Counter

import pandas as pd
import pytest

from preference_study.artifacts import read_json, read_rows, write_json
from preference_study.errors import BadInput
from preference_study.texts.gold import with_truth
from stages import analyse_people, draw_blind
from tests.report.example import write_example
from tests.workspace import change, tiny_params

RESPONSES = "data/responses/scored.parquet"


@pytest.fixture
def study(tmp_path, monkeypatch):
    """A folder with responses, and a judge who prefers the policy's response on every third prompt and base's elsewhere."""
    write_example(tmp_path, ["dpo"])
    tiny_params(tmp_path)
    change(tmp_path, people={"methods": ["dpo"], "cases": 12, "repeats": 4, "which": "disagreement"})
    monkeypatch.chdir(tmp_path)
    rows = [row for row in read_rows(RESPONSES).to_dict("records") if row["policy"] == "base"]
    (tmp_path / "data/annotations").mkdir(parents=True)
    said = [{"id": row["id"], "policy": "dpo", "preference": 0.9 if i % 3 == 0 else 0.1} for i, row in enumerate(rows)]
    write_json("data/judgements/third.json", {"name": "third", "kind": "made up", "responses": said, "pairs": []})
    # Against the third judge on every prompt; but it saw other responses.
    other = [row | {"preference": 1 - row["preference"]} for row in said]
    old = {"name": "old", "kind": "made up", "responses": other, "pairs": [], "texts": {"dpo": "of others"}}
    write_json("data/judgements/old.json", old)
    return tmp_path


@pytest.mark.usefixtures("few_resamples")
def test_cases_on_which_opinions_differ_and_what_people_say_of_them(study):
    table = with_truth(read_rows(RESPONSES))
    base, dpo = (table[table["policy"] == policy].set_index("id") for policy in ("base", "dpo"))
    third = pd.Series([1 if i % 3 == 0 else -1 for i in range(len(base))], base.index)
    signs = {"own": dpo["reward"] - base["reward"], "gold": dpo["gold"].astype(int) - base["gold"].astype(int), "third": third}
    contested = {name for name in base.index if {s[name] > 0 for s in signs.values() if s[name] != 0} == {True, False}}
    assert 12 < len(contested) < len(base)

    draw_blind.main("dpo")
    key = read_json("data/blind/dpo.json")
    ids = [case["id"] for case in key["cases"]]
    assert (key["method"], key["which"], len(ids), len(set(ids))) == ("dpo", "disagreement", 16, 12) and set(ids) <= contested
    assert key["study"] in (study / "reports/blind/dpo.html").read_text(encoding="utf-8")

    # Somebody who is always with the third judge.
    line = {
        "annotator": "Kim",
        "seed": key["seed"],
        "study": key["study"],
        "flag": False,
        "comment": "",
        "time": "2026-01-02T03:04:05Z",
    }
    answers = ["1" if (case["first"] == "dpo") == (third[case["id"]] > 0) else "2" for case in key["cases"]]
    lines = [json.dumps(line | {"case": c["case"], "answer": a}) for c, a in zip(key["cases"], answers, strict=True)]
    (study / "data/annotations/kim.jsonl").write_text("\n".join(lines) + "\n")
    analyse_people.main("dpo")
    found = read_json("metrics/people/dpo.json")
    once = [case["id"] for case in key["cases"] if not case["again"]]
    assert found["wins"] == sum(third[name] > 0 for name in once) and found["wins"] + found["losses"] == 12
    assert set(found["judges"]) == {"standard", "third"} and found["judges"]["third"]["share"]["value"] == 1
    assert found["judges"]["third"]["alpha"]["value"] == 1 and found["self_agreement"]["value"] == 1
    own = [signs["own"][name] * third[name] for name in once]
    assert found["judges"]["standard"]["share"]["value"] == pytest.approx(sum((o > 0) + 0.5 * (o == 0) for o in own) / 12)
    true = Counter(signs["gold"][name] * third[name] > 0 for name in once if signs["gold"][name])
    assert found["truth"]["share"]["value"] == pytest.approx(true[True] / true.total())
    assert found["verdict"]["people"] == "withheld" and found["win_rate"]["clusters"] == base.loc[once, "cluster"].nunique()


@pytest.mark.usefixtures("few_resamples")
def test_a_sample_is_held_against_the_verdict_by_reward(study):
    change(study, people={"which": "random", "cases": 30})
    policies = read_json("metrics/policies.json")
    policies["dpo"]["against_base"]["verdict"] |= {"reward": "worse", "gold": "better"}
    write_json("metrics/policies.json", policies)
    draw_blind.main("dpo")
    key = read_json("data/blind/dpo.json")
    line = {
        "annotator": "Kim",
        "seed": key["seed"],
        "study": key["study"],
        "flag": False,
        "comment": "",
        "time": "2026-01-02T03:04:05Z",
    }
    lines = [json.dumps(line | {"case": c["case"], "answer": "1" if c["first"] == "dpo" else "2"}) for c in key["cases"]]
    (study / "data/annotations/kim.jsonl").write_text("\n".join(lines))
    analyse_people.main("dpo")
    verdict = read_json("metrics/people/dpo.json")["verdict"]
    assert (verdict["people"], verdict["against_reward"]) == ("better", "contradicts")
    assert "the verdict by reward, which is: worse" in verdict["sentence"]


def test_what_cannot_be_read_is_refused(study):
    draw_blind.main("dpo")
    (study / "data/annotations/kim.jsonl").write_bytes(b'{"annotator": "Zo\xeb"}')
    with pytest.raises(BadInput, match=r"data/annotations/kim\.jsonl: byte 18 is not UTF-8"):
        analyse_people.main("dpo")
    (study / "data/annotations/kim.jsonl").unlink()
    third = read_json("data/judgements/third.json")
    for held, told in (({"name": "bad"}, "it holds no judgements"), (third | {"name": "standard"}, "name is 'standard'")):
        write_json("data/judgements/bad.json", held)
        for stage in (draw_blind, analyse_people):
            with pytest.raises(BadInput, match=rf"data/judgements/bad\.json: {told}"):
                stage.main("dpo")


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("kim.jsonl.txt", "rename it to end in .jsonl"), ("kim.JSONL", "rename it to end in .jsonl"),
        ("kim", "rename it to end in .jsonl"), ("round 1/kim.jsonl", "move its files into data/annotations"),
        ("round 1.jsonl/kim.jsonl", "move its files into data/annotations"),
    ],
)  # fmt: skip
def test_answers_that_would_not_count_are_named(study, name, told):
    draw_blind.main("dpo")
    file = study / "data/annotations" / name
    file.parent.mkdir(exist_ok=True)
    file.write_text("")
    with pytest.raises(BadInput, match=re.escape(f"data/annotations/{name.split('/')[0]}: a")) as error:
        analyse_people.main("dpo")
    assert told in str(error.value)


def test_nobody_has_answered(study, capsys):
    (study / "data/annotations/.gitkeep").touch()
    draw_blind.main("dpo")
    analyse_people.main("dpo")
    assert read_json("metrics/people/dpo.json")["annotators"] == []
    told = capsys.readouterr().out
    assert "dpo: 12 of" in told and "4 of them shown twice" in told and "nobody has answered" in told
    assert [file.name for file in (study / "data/annotations").iterdir()] == [".gitkeep"]
