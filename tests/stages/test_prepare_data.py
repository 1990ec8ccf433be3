"""Raw files become pairs, the same however many rows are read at a time; which parameter draws those that are used."""

import json
import random
import re

import pandas as pd
import pytest

import stages.prepare_data
from preference_study.analysis.statistics import mean, median, share, win_rate
from preference_study.artifacts import read_json, read_table
from preference_study.data import files
from preference_study.data.conversations import prompt_key
from preference_study.data.pairs import REASONS
from preference_study.errors import BadInput
from stages.prepare_data import Split, split_summary
from tests.workspace import change, tiny_params

TRAIN = "data/prepared/train.parquet"


@pytest.fixture
def study(tmp_path, monkeypatch):
    tiny_params(tmp_path)
    monkeypatch.chdir(tmp_path)
    pd.DataFrame({"prompt": ["v"], "chosen": ["a b"], "rejected": ["c"]}).to_parquet("val.parquet")
    change(tmp_path, data={"val": "val.parquet", "max_train": None, "max_val": None})
    return tmp_path


def prepared(folder, train: str, **data) -> tuple[pd.DataFrame, dict]:
    change(folder, data={"train": train} | data)
    stages.prepare_data.main()
    return read_table(TRAIN), read_json("metrics/data.json")["train"]


@pytest.mark.parametrize(
    ("reason", "told"),
    [
        ("prompt_in_validation", "prompt_in_validation: a prompt that validation has too; split the data by prompt"),
        ("not_a_conversation", "not_a_conversation: neither text nor messages; a cell must be a text \\(bytes are none\\)"),
        ("tie", "tie: a tie; docs/data.md"),
    ],
)
def test_where_nothing_is_left_the_commonest_reason_has_a_remedy(reason, told):
    assert re.search(told, stages.prepare_data.what_to_do({"empty_text": [1, 2], reason: [3, 4, 5], "duplicate": []}))


@pytest.mark.parametrize(("split", "limit"), [("train", 24), ("val", 12)])
def test_pairs_are_drawn_by_the_datas_seed_and_are_the_same_for_every_seed_of_training(folder, split, limit):
    change(folder, data={"max_train": 24, "max_val": 12})

    def drawn(seed: int, of_data: int) -> list[str]:
        change(folder, seed=seed, data={"seed": of_data})
        stages.prepare_data.main()
        return list(read_table(f"data/prepared/{split}.parquet")["id"])

    first = drawn(1, 1)
    assert len(first) == limit
    assert drawn(2, 1) == first and set(drawn(1, 2)) != set(first)


def test_a_limit_samples_by_seed_and_keeps_the_order(study):
    raw = {"prompt": [f"q{i:02}" for i in range(50)], "chosen": "good one", "rejected": "bad"}
    pd.DataFrame(raw).to_csv("raw.csv", index=False)
    pairs, summary = prepared(study, "raw.csv", max_train=20, seed=3)
    again, _ = prepared(study, "raw.csv", max_train=20, seed=3)
    other, _ = prepared(study, "raw.csv", max_train=20, seed=4)
    assert len(pairs) == 20 and pairs["prompt"].map(prompt_key).is_monotonic_increasing
    assert pairs.equals(again) and not pairs.equals(other)
    assert (summary["rows_in"], summary["not_sampled"], summary["rows_out"]) == (50, 30, 20)
    assert summary["longer_wins"]["value"] == 1.0 and summary["chosen_words"]["value"] == 2.0


def test_nothing_left_is_an_error(study):
    pd.DataFrame({"prompt": ["q"], "chosen": ["same"], "rejected": ["same"]}).to_csv("raw.csv", index=False)
    with pytest.raises(BadInput, match=r"no row can be used; dropped 1 of 1 rows: equal_responses \(rows 1\)"):
        prepared(study, "raw.csv")
    assert not list(study.glob("data/prepared/*"))


def test_validation_of_a_single_cluster_is_refused(study):
    rows = pd.DataFrame({"prompt": list("vwx"), "chosen": "a b", "rejected": "c", "author": ["Ada", "Ada", "Bob"]})
    rows.assign(prompt=["1", "2", "3"]).to_parquet("train.parquet")
    rows.to_parquet("val.parquet")
    prepared(study, "train.parquet", cluster="author")
    rows.assign(author="Ada").to_parquet("val.parquet")
    with pytest.raises(
        BadInput, match=r"val\.parquet: all 3 usable rows have 'Ada' in column 'author'.*as data\.cluster, or null"
    ):
        prepared(study, "train.parquet")
    prepared(study, "train.parquet", cluster=None)


def test_what_became_of_a_split_is_counted_in_its_own_place():
    first = pd.DataFrame({"first": [1.0, 0.0, 1.0, 1.0, 1.0], "cluster": list("ppqqr")})
    usable = pd.DataFrame({"cluster": list("aaabccc"), "chosen_words": 1, "rejected_words": 2})
    pairs = pd.DataFrame({"cluster": list("aaab"), "chosen_words": [3, 5, 9, 4], "rejected_words": [2, 5, 4, 8]})
    split = Split("study", ["tags"], 9, {"duplicate": [1, 2], "empty_text": []}, usable, first)
    assert split_summary(split, pairs) == {
        "shape": "study", "columns_left_out": ["tags"], "rows_in": 9,
        "dropped": {"duplicate": 2, "empty_text": 0}, "not_sampled": 3, "rows_out": 4, "clusters": 2,
        "chosen_words": mean([3, 5, 9, 4], list("aaab")), "rejected_words": mean([2, 5, 4, 8], list("aaab")),
        "chosen_words_median": median([3, 5, 9, 4], list("aaab")), "rejected_words_median": median([2, 5, 4, 8], list("aaab")),
        "longer_wins": win_rate([1, 0.5, 1, 0], list("aaab")), "first_wins": share([1, 0, 1, 1, 1], list("ppqqr")),
    }  # fmt: skip
    assert split_summary(split._replace(first=first[:0]), pairs)["first_wins"] is None


@pytest.mark.parametrize("cluster", [None, "author"])
def test_how_often_the_first_response_wins_is_of_all_rows_with_a_preference(study, cluster):
    rows = [
        ("p", "a", "b", 1, "u"),
        ("p", "a", "b", 1, "v"),
        ("q", "a", "b", 2, "u"),
        ("q", "c", "d", None, "u"),
        ("r", "e", "e", 1, "v"),
    ]
    rows += [(f"s{n}", "a", "b", 1, "w") for n in range(9)]
    raw = pd.DataFrame(rows, columns=["question", "response_1", "response_2", "overall_response", "author"])
    raw.to_json("raw.jsonl", orient="records", lines=True)
    raw[-3:].assign(question="v").to_parquet("val.parquet")
    _, summary = prepared(study, "raw.jsonl", cluster=cluster)
    kept = raw[raw["overall_response"].notna()]
    assert summary["first_wins"] == share(kept["overall_response"] == 1, list(kept[cluster or "question"]))
    assert summary["dropped"]["duplicate"] == 1 and summary["dropped"]["equal_responses"] == 1


def messy() -> list[dict]:
    """Rows of the study's columns of which whatever a piece may decide wrongly is true of the whole alone."""
    rng = random.Random(0)
    rows = [
        {"question": f"q{n}", "response_1": f"one {n}", "response_2": f"two of {n}", "overall_response": 1 + n % 2}
        for n in range(60)
    ]
    # The first four rows cannot be used, and are more of their piece than a coding allows to stray.
    for row in rows[:4]:
        row["overall_response"] = 7
    for place, text in ((9, ""), (10, "one 10")):
        rows[place]["response_2"] = text
    rows[30] = dict(rows[5])
    rows[50] = dict(rows[5])
    rows[40]["question"] = "v"
    for n, row in enumerate(rows):
        row["topic"] = None if n < 20 else rng.choice("ab")
        row["count"] = n if n < 55 else None
        row["share"] = n if n < 33 else n / 7
        row["mixed"] = n if n < 58 else "text"
        row["listed"] = "text" if n < 58 else ["a"]
        # Not a system turn, which the last row alone tells.
        row["system"] = None if n < 59 else 3
    return rows


@pytest.mark.parametrize("name", ["raw.parquet", "raw.jsonl", "raw.json", "raw.csv", "raw.jsonl.gz", "raw.parquet.zst"])
@pytest.mark.parametrize("limit", [None, 25])
def test_the_pairs_are_the_same_however_many_rows_are_read_at_a_time(study, monkeypatch, capsys, name, limit):
    rows = messy()
    if "parquet" in name or "csv" in name:  # whose columns hold one kind of values
        rows = [{key: cell for key, cell in row.items() if key not in ("mixed", "listed")} for row in rows]
    table = pd.DataFrame({key: pd.Series([row[key] for row in rows], dtype=object) for key in rows[0]})
    match name.split(".")[1]:
        case "parquet":
            table.to_parquet("plain")
        case "jsonl":
            (study / "plain").write_text("".join(json.dumps(row) + "\n" for row in rows))
        case "json":
            (study / "plain").write_text(json.dumps(rows))
        case "csv":
            table.to_csv("plain", index=False)
    packed = {"gz": "gzip", "zst": "zstd"}.get(name.split(".")[-1])
    with files.arrow.output_stream(name, compression=packed) as out:
        out.write((study / "plain").read_bytes())

    def found(piece: int) -> tuple:
        monkeypatch.setattr(files, "PIECE", piece)
        change(study, data={"max_train": limit})
        pairs, summary = prepared(study, name)
        return pairs, summary, read_json("metrics/data.json"), capsys.readouterr().out

    whole, summary, metrics, told = found(1000)
    assert "dropped 4 of 60 rows: bad_preference (rows 1, 2, 3, 4)" in told and "duplicate (rows 31, 51)" in told
    assert summary["dropped"] == dict.fromkeys(REASONS, 0) | {
        "bad_preference": 4, "empty_text": 1, "equal_responses": 1, "duplicate": 2, "prompt_in_validation": 1,
    }  # fmt: skip
    assert summary["rows_out"] == (limit or 51) and metrics["shared_prompts"] == 0
    extra = {"topic": "str", "count": "Int64", "share": "float64", "system": "Int64"}
    if "csv" not in name:  # a CSV file holds texts
        assert dict(whole.dtypes.astype(str).iloc[7:]) == extra
    if "json" in name:
        assert summary["columns_left_out"] == ["mixed", "listed"]
    for piece in (1, 4, 7, 60):
        pairs, _, *again = found(piece)
        pd.testing.assert_frame_equal(pairs, whole)
        assert again == [metrics, told]


def test_a_coding_is_refused_for_all_of_the_file_however_few_rows_of_a_piece_are_seen(study, monkeypatch):
    rows = messy()
    for row in rows[40:]:
        row["overall_response"] = 7
    rows[20]["overall_response"] = None  # which is no value
    (study / "raw.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    monkeypatch.setattr(files, "PIECE", 10)
    with pytest.raises(BadInput, match=r"'overall_response' holds 7 \(24 rows\), 2 \(19 rows\), 1 \(16 rows\), where 1 is"):
        prepared(study, "raw.jsonl")


def test_near_duplicates_of_validation_are_dropped_by_the_piece(study, monkeypatch):
    long = "a question of some length about nothing at all"
    pd.DataFrame({"prompt": [long], "chosen": ["a b"], "rejected": ["c"]}).to_parquet("val.parquet")
    asked = [f"another {n}" for n in range(5)] + [f"{long}!", long]
    pd.DataFrame({"prompt": asked, "chosen": "a b", "rejected": "c"}).to_parquet("raw.parquet")
    monkeypatch.setattr(files, "PIECE", 2)
    pairs, summary = prepared(study, "raw.parquet", drop_near_duplicates=True)
    assert len(pairs) == 5
    assert {reason: count for reason, count in summary["dropped"].items() if count} == {
        "prompt_in_validation": 1,
        "prompt_near_validation": 1,
    }
    assert len(prepared(study, "raw.parquet", drop_near_duplicates=False)[0]) == 6


def test_all_of_the_validation_file_guards_training_however_little_of_it_is_used(study, monkeypatch):
    pd.DataFrame({"prompt": [f"v{n}" for n in range(6)], "chosen": "a b", "rejected": "c"}).to_parquet("val.parquet")
    pd.DataFrame({"prompt": ["q", *(f"v{n}" for n in range(6))], "chosen": "d", "rejected": "e"}).to_parquet("raw.parquet")
    for piece in (2, 100):
        monkeypatch.setattr(files, "PIECE", piece)
        pairs, summary = prepared(study, "raw.parquet", max_val=1)
        assert len(pairs) == 1 and summary["dropped"]["prompt_in_validation"] == 6
        assert len(read_table("data/prepared/val.parquet")) == 1


def test_a_prompt_that_both_splits_have_after_all_would_be_counted(study, monkeypatch):
    pd.DataFrame({"prompt": ["v", "q"], "chosen": "d", "rejected": "e"}).to_parquet("raw.parquet")
    usable = stages.prepare_data.usable
    monkeypatch.setattr(stages.prepare_data, "usable", lambda path, data, aside, *guards: usable(path, data, aside))
    prepared(study, "raw.parquet")
    assert read_json("metrics/data.json")["shared_prompts"] == 1
