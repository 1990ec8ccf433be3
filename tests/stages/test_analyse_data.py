"""The wiring of the look at the data: each number from its own split, and the rows behind it."""

import numpy as np
import pandas as pd
import pytest

import stages.analyse_data
import stages.prepare_data
from preference_study.artifacts import read_json, write_table
from tests.conftest import asked
from tests.workspace import change, tiny_params

LONG = "Tell me how long a piece of string is, and how one would go about measuring it at home"


def table(rows: list[tuple], first: str) -> pd.DataFrame:
    pairs = pd.DataFrame(rows, columns=["prompt", "chosen", "rejected"])
    ids = [f"{first}{number}" for number in range(len(rows))]
    return pairs.assign(prompt=pairs["prompt"].map(asked), cluster=pairs["prompt"], id=ids)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    tiny_params(tmp_path)
    change(tmp_path, data={"near_duplicate": 0.9}, seed=3)
    train = [("p", "one", "two"), ("p", "two", "one"), (LONG, "one", "two"), (f"{LONG}?", "good", "two"), ("r", "x", "y")]
    val = [("s", "one", "two"), ("s", "two", "three"), ("s", "three", "one"), (f"{LONG}!", "four", "good")]
    write_table(tmp_path / "data/prepared/train.parquet", table(train, "t"))
    write_table(tmp_path / "data/prepared/val.parquet", table(val, "v"))
    monkeypatch.chdir(tmp_path)

    # What the models say: of training t2's label is wrong, of validation v1's and v0's.
    def of_others(pairs, seed):
        assert seed == 3 and pairs["id"][0] == "t0"
        return np.array([2.0, 2, -4, 2, 2])

    def of_training(train, val, seed):
        assert seed == 3 and (train["id"][0], val["id"][0]) == ("t0", "v0")
        return np.array([-3.0, -5, 1, 1])

    monkeypatch.setattr(stages.analyse_data, "cross_fitted_margins", of_others)
    monkeypatch.setattr(stages.analyse_data, "tfidf_margins", of_training)
    return tmp_path


def test_each_number_is_of_its_own_split(folder, capsys):
    stages.analyse_data.main()
    found = read_json("metrics/data_analysis.json")
    for split, (pairs, opposite, cycle, right, doubted, clusters) in {
        "train": (5, 2, 0, 4 / 5, 1 / 5, 4),
        "val": (4, 0, 3, 2 / 4, 2 / 4, 2),
    }.items():
        own = found[split]
        assert (own["pairs"], own["opposite_labels"], own["in_cycles"]) == (pairs, opposite, cycle)
        assert (own["words_accuracy"]["value"], own["doubted"]["value"]) == (right, doubted)
        assert own["words_accuracy"]["clusters"] == own["doubted"]["clusters"] == clusters
    assert found["prompts"] == {
        "similarity": 0.9, "train": {"prompts": 4, "near_duplicates": 2}, "val": {"prompts": 2, "near_duplicates": 0},
        "across": {"prompts": 2, "near_duplicates": 1},
    }  # fmt: skip
    assert found["responses"] == {"responses": 5, "shared": 3}
    said = capsys.readouterr().out
    assert "1 of 2 validation prompts are near-duplicates" in said and "2 of 5 training pairs contradict others" in said


def test_a_pair_that_contradicts_others_in_two_ways_is_counted_once(folder, capsys):
    """x, y, z, x is a circle; of its pairs the first and the last stand the other way about too."""
    rows = [("p", "x", "y"), ("p", "y", "z"), ("p", "z", "x"), ("p", "y", "x"), ("p", "x", "z")]
    write_table(folder / "data/prepared/train.parquet", table(rows, "t"))
    stages.analyse_data.main()
    own = read_json("metrics/data_analysis.json")["train"]
    assert (own["opposite_labels"], own["in_cycles"]) == (4, 3)
    assert "5 of 5 training pairs contradict others" in capsys.readouterr().out


def test_the_rows_behind_the_numbers(folder):
    stages.analyse_data.main()
    rows = pd.read_csv("data/findings.csv")
    told = [(row.split, row.id, row.finding) for row in rows.itertuples()]
    assert told == [
        ("train", "t0", "opposite label"), ("train", "t1", "opposite label"), ("train", "t2", "doubted label"),
        ("val", "v0", "cycle"), ("val", "v1", "cycle"), ("val", "v2", "cycle"),
        ("val", "v1", "doubted label"), ("val", "v0", "doubted label"),
        ("val", "v3", "near-duplicate prompt in training"),
    ]  # fmt: skip
    assert list(rows["value"][rows["finding"] == "doubted label"]) == [-4, -5, -3]
    assert rows["other_id"].iloc[-1] in ("t2", "t3") and rows["other_id"].iloc[:-1].isna().all() and rows["value"].iloc[-1] > 0.9


def test_a_training_split_of_one_prompt_has_no_model_to_doubt_it(folder, monkeypatch):
    monkeypatch.setattr(stages.analyse_data, "cross_fitted_margins", lambda pairs, seed: None)
    stages.analyse_data.main()
    found = read_json("metrics/data_analysis.json")
    assert "doubted" not in found["train"] and "doubted" in found["val"]


@pytest.mark.parametrize(("drop", "kept"), [(False, 2), (True, 1)])
def test_near_duplicates_of_validation_are_dropped_where_that_is_asked_for(tmp_path, monkeypatch, drop, kept):
    tiny_params(tmp_path)
    change(tmp_path, data={"train": "t.jsonl", "val": "v.jsonl", "drop_near_duplicates": drop, "near_duplicate": 0.9})
    monkeypatch.chdir(tmp_path)
    pairs = {"t": [f"{LONG}?", "Something else"], "v": [f"{LONG}!"]}
    for split, prompts in pairs.items():
        pd.DataFrame([{"prompt": p, "chosen": "yes", "rejected": "no"} for p in prompts]).to_json(
            f"{split}.jsonl", orient="records", lines=True
        )
    stages.prepare_data.main()
    found = read_json("metrics/data.json")["train"]
    assert (found["rows_out"], found["dropped"]["prompt_near_validation"]) == (kept, 2 - kept)
    change(tmp_path, data={"near_duplicate": 1.0})
    stages.prepare_data.main()
    assert read_json("metrics/data.json")["train"]["rows_out"] == 2
