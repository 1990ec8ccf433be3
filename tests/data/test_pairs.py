import errno
import gzip
import hashlib
import json

import pandas as pd
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from preference_study.data import files
from preference_study.data.conversations import prompt_key
from preference_study.data.files import RawFile, read_table_file
from preference_study.data.pairs import REASONS, beside_texts, extra_columns, pair_id, usable_pairs
from preference_study.errors import BadInput
from preference_study.formats import to_pairs
from preference_study.sections import Columns
from tests.conftest import asked

STUDY = {"question": ["q1", "q2"], "response_1": ["a", "c"], "response_2": ["b", "d"], "overall_response": [1, 2]}


def texts(raw: dict | pd.DataFrame) -> list[tuple]:
    """The pairs of raw data, the prompt, of one turn, as its text."""
    pairs = to_pairs(pd.DataFrame(raw), "raw").table
    return [(prompt_key(row.prompt), row.chosen, row.rejected) for row in pairs.itertuples()]


@pytest.mark.parametrize("preference", [[1, 2], ["1", "2"], [1.0, 2.0], [" 1", "2 "]])
def test_the_studys_columns(preference):
    assert texts(STUDY | {"overall_response": preference}) == [("q1", "a", "b"), ("q2", "d", "c")]


def test_rows_are_dropped_by_reason_and_counted_once():
    rows = [
        ("q0", "good", "bad", 1),
        ("q1", "", "bad", 1),  # row 2: empty
        ("q2", None, "bad", None),  # row 3: no preference, which is tried first
        ("q3", "same", " same ", 2),  # row 4: equal
        ("q0", "good", "bad", "1"),  # row 5: duplicate of row 1
        ("held out", "good", "bad", 1),  # row 6
        ("q4", "good", "bad", None),  # row 7: no preference
        ("q5", "good", "bad", 2),
    ]
    raw = pd.DataFrame(rows, columns=list(STUDY)).assign(topic="t")
    kept, dropped = usable_pairs(to_pairs(raw, "raw").table, {"held out"})
    assert dropped == {reason: [] for reason in REASONS} | {
        "bad_preference": [3, 7], "empty_text": [2], "equal_responses": [4], "duplicate": [5], "prompt_in_validation": [6],
    }  # fmt: skip
    assert list(kept["prompt"]) == [asked("q0"), asked("q5")] and list(kept["chosen"]) == ["good", "bad"]
    assert list(kept.columns) == ["id", "cluster", "prompt", "chosen", "rejected", "chosen_words", "rejected_words", "topic"]
    assert kept["id"][0] == pair_id("q0", "good", "bad")


def test_a_prompt_nearly_one_of_validations_is_dropped_where_that_is_asked_for():
    rows = [("Q0", "good", "bad", 1), ("held  OUT", "good", "bad", 1), ("held out", "good", "bad", 1), ("q1", "good", "bad", 2)]
    table = to_pairs(pd.DataFrame(rows, columns=list(STUDY)), "raw").table
    kept, dropped = usable_pairs(table, {"held out"}, {"held out", "q0"})
    assert dropped == {reason: [] for reason in REASONS} | {"prompt_near_validation": [1, 2], "prompt_in_validation": [3]}
    assert list(kept["prompt"]) == [asked("q1")]


TEXT = st.text(alphabet="ab \n", max_size=3)


@given(st.lists(st.tuples(TEXT, TEXT, TEXT, st.sampled_from([1, 2, "1", "2", None])), min_size=1, max_size=15))
def test_every_row_is_kept_or_counted(rows):
    kept, dropped = usable_pairs(to_pairs(pd.DataFrame(rows, columns=list(STUDY)), "raw").table, {"a"})
    lost = [row for numbers in dropped.values() for row in numbers]
    assert len(kept) + len(lost) == len(rows) and len(set(lost)) == len(lost)
    assert asked("a") not in list(kept["prompt"]) and kept["id"].is_unique
    assert (kept["chosen"] != kept["rejected"]).all() and kept[["chosen", "rejected"]].ne("").all(axis=None)


@pytest.mark.parametrize(
    ("name", "content", "wanted"),
    [
        ("x.parquet", None, "no such file"),
        ("x.parquet", b"", "empty"),
        ("x.parquet", b"question,response_1\n", "not a whole .parquet file"),
        ("x.jsonl", b'{"question": "q"}\n{"question": ', "row 2 is not JSON"),
        ("x.jsonl", b"[1]\n", "row 1 is a int"),
        ("x.csv", b"question,response_1\n", "holds no rows"),
        ("x.csv", b"\xff\xfe\x00PAR1", "not a whole .csv file"),
        ("x.txt", b"q", "use .parquet, .jsonl, .json or .csv"),
    ],
)
def test_unreadable_files_are_named_with_a_remedy(tmp_path, name, content, wanted):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(BadInput, match=wanted) as error:
        read_table_file(tmp_path / name)
    assert str(tmp_path / name) in str(error.value)


def test_a_truncated_parquet_file_is_found(tmp_path):
    whole, cut = tmp_path / "whole.parquet", tmp_path / "cut.parquet"
    pd.DataFrame(STUDY).to_parquet(whole)
    cut.write_bytes(whole.read_bytes()[:-20])
    with pytest.raises(BadInput, match="truncated"):
        read_table_file(cut)


@pytest.mark.parametrize("name", ["x.jsonl", "x.csv", "x.parquet.gz"])
def test_a_full_disk_is_no_fault_of_the_files(tmp_path, monkeypatch, name):
    def full(*place, **named):
        raise OSError(errno.ENOSPC, "No space left on device")

    path = tmp_path / name
    path.write_bytes(gzip.compress(b"x") if name.endswith("gz") else b'{"a": 1}\n' if name.endswith("jsonl") else b"a,b\n1,2\n")
    monkeypatch.setattr(files.tempfile, "NamedTemporaryFile", full)
    with pytest.raises(OSError, match="No space left") as error:
        RawFile(path)
    assert error.value.errno == errno.ENOSPC


@pytest.mark.parametrize("name", ["x.parquet", "x.jsonl", "x.json", "x.parquet.gz"])
def test_a_raw_file_is_read_by_column_as_often_as_wanted(tmp_path, monkeypatch, name):
    monkeypatch.setattr(files, "PIECE", 2)
    monkeypatch.setattr(files.tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    rows = [{"a": {"b": n}, "a.b": f"t{n}", "c": None if n == 1 else [n, n + 1]} for n in range(5)]
    path = tmp_path / name
    match name:
        case "x.parquet":
            pd.DataFrame(rows).to_parquet(path)
        case "x.parquet.gz":
            pd.DataFrame(rows).to_parquet(tmp_path / "plain")
            path.write_bytes(gzip.compress((tmp_path / "plain").read_bytes()))
        case "x.jsonl":
            path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        case "x.json":
            path.write_text(json.dumps(rows))
    file = RawFile(path)
    assert len(file) == 5 and file.columns == ["a", "a.b", "c"] and "a.b" in file and "b" not in file
    for column in ("c", "a", "a.b", "a"):
        assert list(file[column]) == [row[column] for row in rows]
    # Some at a time, as formats do.
    assert list(zip(file["a"], file["a.b"], strict=True)) == [(row["a"], row["a.b"]) for row in rows]
    assert len(list((tmp_path / "temporary").iterdir())) == (name != "x.parquet")
    del file
    assert not list((tmp_path / "temporary").iterdir())


@pytest.mark.parametrize(
    ("columns", "wanted"),
    [
        (["question", "response_1", "response_2"], "'overall_response' is missing"),
        (["prompt", "response_0", "better_response_id"], "'response_1' is missing"),
        (["chosen", "rejected"], "'prompt' is missing"),
        (["a", "b"], "of no known shape"),
    ],
)
def test_a_missing_column_is_named(columns, wanted):
    with pytest.raises(BadInput, match=wanted):
        to_pairs(pd.DataFrame([list("xyzw")[: len(columns)]], columns=columns), "raw")


@pytest.mark.parametrize("suffix", ["parquet", "jsonl", "csv"])
def test_all_formats_give_the_same_pairs(tmp_path, suffix):
    raw = pd.DataFrame(STUDY)
    path = tmp_path / f"raw.{suffix}"
    match suffix:
        case "parquet":
            raw.to_parquet(path)
        case "jsonl":
            path.write_text("\n".join(json.dumps(row) for row in raw.to_dict("records")))
        case "csv":
            raw.to_csv(path, index=False)
    assert texts(read_table_file(path)) == texts(raw)


def test_an_id_depends_on_every_text_and_its_place():
    texts = ("prompt", "chosen", "rejected")
    ids = [pair_id(*texts), *(pair_id(*(f"{t}!" if i == n else t for i, t in enumerate(texts))) for n in range(3))]
    ids += [pair_id("prompt", "rejected", "chosen"), pair_id("promptc", "hosen", "rejected"), pair_id("prompt")]
    assert len(set(ids)) == len(ids) and all(len(id) == 16 for id in ids)


def test_columns_travel_where_they_can():
    raw = pd.DataFrame(STUDY).assign(
        topic=["a", None], n=pd.Series([1, None], dtype=object), share=[0.5, 1], yes=pd.Series([True, None], dtype=object),
        tags=[["x"], []], big=2**80, mixed=pd.Series([1, "a"], dtype=object), nothing=None, reward=1.0, 
        broken=pd.Series(["\ud83d", "a"], dtype=object),
    )  # fmt: skip
    found = to_pairs(raw, "raw")
    assert found.left_out == ["tags", "big", "mixed", "nothing", "reward", "broken"] and found.shape == "study"
    assert dict(found.table.dtypes.astype(str).iloc[4:]) == {
        "topic": "object",
        "n": "Int64",
        "share": "float64",
        "yes": "boolean",
    }
    assert list(found.table.columns[4:]) == ["topic", "n", "share", "yes"]
    assert [None if pd.isna(cell) else cell for cell in found.table["n"]] == [1, None]


def test_names_that_later_stages_join_to_the_pairs_stay_behind():
    names = ["preference", "as_first", "as_second", "finished", "letter", "gold", "flaw", "chosen_gold", "rejected_gold"]
    found = to_pairs(pd.DataFrame(STUDY).assign(**dict.fromkeys(names, "mine"), topic="t"), "raw")
    assert found.left_out == names and list(found.table.columns[4:]) == ["topic"]


def test_what_stands_beside_the_texts():
    beside = pd.DataFrame({"images": ["x", "x", None, "[]"], "tools": [None, "f", "f", ""], "audio": [None, None, None, {}]})
    assert list(beside_texts(beside)) == ["not_text", "tool_calls", "tool_calls", None]
    assert list(beside_texts(beside[[]])) == [None] * 4
    assert list(beside_texts(pd.DataFrame({"images": [0, 2]}))) == [None, "not_text"]  # how many there are


def test_words_are_counted_of_each_side_and_texts_stripped():
    raw = pd.DataFrame([(" q ", "one two three ", "one", 1), ("p", "a b", "c d e f", 2)], columns=list(STUDY))
    kept, _ = usable_pairs(to_pairs(raw, "raw").table, set())
    assert list(kept["prompt"]) == [asked("q"), asked("p")]
    assert kept[["chosen", "rejected"]].to_numpy().tolist() == [["one two three", "one"], ["c d e f", "a b"]]
    assert kept["chosen_words"].tolist() == [3, 4] and kept["rejected_words"].tolist() == [1, 2]


@pytest.mark.parametrize("changed", ["prompt", "chosen", "rejected"])
def test_a_duplicate_is_alike_in_all_three_texts(changed):
    row = {"prompt": "q", "chosen": "a", "rejected": "b"}
    raw = pd.DataFrame([row, row | {changed: "other"}, row | {changed: row[changed] + " "}])
    kept, dropped = usable_pairs(to_pairs(raw, "raw").table, set())
    assert len(kept) == 2 and dropped["duplicate"] == [3]


def test_a_cluster_is_the_prompt_or_what_a_column_says():
    raw = pd.DataFrame(STUDY | {"author": [3, "x"]})
    kept, _ = usable_pairs(to_pairs(raw, "raw").table, set())
    assert list(kept["cluster"]) == [pair_id("q1"), pair_id("q2")]
    kept, _ = usable_pairs(to_pairs(raw, "raw", cluster="author").table, set())
    assert list(kept["cluster"]) == ["3", "x"]
    # As a category, a cluster is the same text with spaces around it and as a fraction.
    assert set(to_pairs(raw.assign(author=[" x ", "x"]), "raw", cluster="author").table["cluster"]) == {"x"}
    assert set(to_pairs(raw.assign(author=[3.0, 3]), "raw", cluster="author").table["cluster"]) == {"3"}
    with pytest.raises(BadInput, match="row 2 has nothing in column 'author'"):
        to_pairs(raw.assign(author=["x", " "]), "raw", cluster="author")
    # A column that the shape uses can name clusters too.
    assert list(to_pairs(raw, "raw", cluster="question").table["cluster"]) == ["q1", "q2"]


def test_two_rows_of_a_prompt_are_one_cluster_whatever_its_shape():
    turns = [{"role": "user", "content": "q"}]
    raw = pd.DataFrame({"prompt": ["q", turns], "chosen": ["a", "c"], "rejected": ["b", "d"]})
    assert usable_pairs(to_pairs(raw, "raw").table, set())[0]["cluster"].nunique() == 1


def test_few_strange_values_are_no_other_coding():
    rows = [(f"q{n}", "a", "b", 9 if n < 3 else 1 - 2 * (n % 2)) for n in range(30)]
    for columns in (("prompt", "response_1", "response_2", "preference_strength"), tuple(STUDY)):
        told = [(*row[:3], {-1: 2}.get(row[3], row[3])) if columns == tuple(STUDY) else row for row in rows]
        found = to_pairs(pd.DataFrame(told, columns=columns), "raw").table
        assert found["problem"].notna().sum() == 3
        with pytest.raises(BadInput, match=r" holds .*9"):
            to_pairs(pd.DataFrame([*told, (*told[0][:3], 9)], columns=columns), "raw")


SHP = ("history", "human_ref_A", "human_ref_B", "labels")
PKU = ("prompt", "response_0", "response_1", "better_response_id")
ARENA = ("conversation_a", "conversation_b", "winner")


@pytest.mark.parametrize(("words", "coding"), [(("yes", "no"), [True, False]), (("FALSE", "TRUE"), [False, True])])
def test_words_that_yaml_takes_for_truth_values_are_to_be_quoted(words, coding):
    raw = pd.DataFrame({"q": ["x", "y"], "l": ["a", "b"], "r": ["c", "d"], "won": words})
    columns = Columns(prompt="q", responses=["l", "r"], preference="won", coding=coding)
    with pytest.raises(BadInput, match="without quotes YAML takes such words for truth values") as error:
        to_pairs(raw, "raw", columns)
    shown = yaml.safe_load(str(error.value).split(":\n", 1)[1])["columns"]
    assert shown["coding"] == list(words)
    assert list(to_pairs(raw, "raw", Columns(**shown)).table["chosen"]) == ["a", "d"]


@pytest.mark.parametrize(("coding", "tie", "told"), [
    ([1, "1.0"], [], "for both responses"), ([" A", "A"], [], "for both responses"), ([1, 0], ["1.0"], "under tie too"),
    (["", "A"], [], "empty text"),
])  # fmt: skip
def test_a_coding_is_compared_as_it_is_read(coding, tie, told):
    with pytest.raises(ValidationError, match=told):
        Columns(prompt="q", responses=["l", "r"], preference="won", coding=coding, tie=tie)


def unknown(*responses: str) -> list[str]:
    return [f"<the value that means '{name}'>" for name in responses]


@pytest.mark.parametrize(("shape", "values", "coding"), [
    (SHP, [1, -1], [1, -1]),
    (PKU, [-1, 1], [-1, 1]),
    (tuple(STUDY), [-2, 2], [-2, 2]),
    (SHP, [1, 0, 0, 7], [1, 0]),
    (SHP, [*[1, 0] * 10, 2], [1, 0]),
    (SHP, [1, 0, 2], unknown(*SHP[1:3])),
    (SHP, [1, 2], [1, 2]),
    (SHP, [0, -1], [*unknown("human_ref_A"), 0]),
    (PKU, [1, 2], [1, 2]),
    (tuple(STUDY), [0, 1], [0, 1]),
    (tuple(STUDY), [0] + 60 * [1], [0, 1]),
    (tuple(STUDY), [1, "2.50", 2], [1, 2]),
    (tuple(STUDY), [1, "tie"], [1, *unknown("response_2")]),
    (tuple(STUDY), [1, "--1"], [1, *unknown("response_2")]),
    (tuple(STUDY), [True, False], unknown("response_1", "response_2")),
    (tuple(STUDY), ["yes", "no", "A"], unknown("response_1", "response_2")),
    (ARENA, ["model_a", "model_b", "tie", "neither"], ["model_a", "model_b"]),
])  # fmt: skip
def test_the_coding_that_an_error_shows_turns_no_label_round(shape, values, coding):
    rows = [[*(f"{name} {number}" for name in shape[:-1]), value] for number, value in enumerate(values)]
    with pytest.raises(BadInput) as error:
        to_pairs(pd.DataFrame(rows, columns=shape, dtype=object), "raw")
    shown = yaml.safe_load(str(error.value).split("\n", 1)[1])["columns"]
    assert shown["coding"] == coding and shown["responses"] == list(shape[-3:-1])
    assert shown.get("tie") == (["tie"] if shape == ARENA else None)


def test_of_columns_in_another_order_letters_say_nothing():
    raw = pd.DataFrame({"q": ["p", "q"], "l": "a", "r": "b", "won": ["A", "B"]})
    columns = Columns(prompt="q", responses=["r", "l"], preference="won", coding=["left", "right"])
    with pytest.raises(BadInput, match=r"coding: \[<the value that means 'r'>, <the value that means 'l'>\]"):
        to_pairs(raw, "raw", columns)


@pytest.mark.parametrize(
    ("author", "wanted"),
    [
        (None, r"raw: data.cluster names column 'author', and the file has question, .*; name one of these .* null"),
        (["x", None], r"raw: row 2 has nothing in column 'author'.*fill it in, or set data.cluster to null"),
        (["", "x"], "raw: row 1 has nothing"),
        (["x", "\ud800"], "raw: row 2, column 'author' holds half of a pair .*remove it"),
        ([["x"], ["\ud800"]], "raw: row 2, column 'author' holds half of a pair"),
    ],
)
def test_a_missing_cluster_is_named_with_a_remedy(author, wanted):
    raw = pd.DataFrame(STUDY | ({"author": author} if author else {}), dtype=object)
    with pytest.raises(BadInput, match=wanted):
        to_pairs(raw, "raw", cluster="author")


def test_an_id_is_of_the_texts_as_they_are():
    assert pair_id("ü", "愛") == hashlib.sha256('["ü", "愛"]'.encode()).hexdigest()[:16]


@pytest.mark.parametrize("shape", [
    {"prompt": "q", "chosen": "a", "rejected": "b"}, {"chosen": "a", "rejected": "b"},
    {side: [*asked("q"), {"role": "assistant", "content": side}] for side in ("chosen", "rejected")},
])  # fmt: skip
def test_an_instruction_travels_in_every_shape(shape):
    assert to_pairs(pd.DataFrame([shape | {"instruction": "kind"}]), "raw").table["instruction"].tolist() == ["kind"]


def test_a_column_of_ones_own_keeps_its_kind_where_it_has_gaps():
    cells = {"count": [1, None, 2**60 + 1], "seen": [True, None, False], "share": [0.5, None, 1], "list": [[1], None, [2]]}
    raw = pd.DataFrame(cells, dtype=object).assign(prompt="q", chosen="a", rejected="b")
    kinds = {"count": "Int64", "seen": "boolean", "share": "float64"}
    assert extra_columns(raw, {"prompt", "chosen", "rejected"}) == (kinds, ["list"])
    kept = to_pairs(raw, "raw").table
    assert dict(kept.dtypes.astype(str).iloc[4:]) == kinds and kept["count"].dropna().tolist() == [1, 2**60 + 1]


@pytest.mark.parametrize(
    ("cells", "kind"),
    [
        ([-(2**63), 2**63 - 1], "Int64"), ([2**63], None), ([-(2**63) - 1], None), ([0.5, 2**63], None), ([0.5, -(2**63)], None),
        ([0.5, 2**63 - 1025], "float64"), ([float("inf")], None), ([float("nan"), 1.5], "float64"), ([True, 1], None),
        ([1, True], None), ([True, None], "boolean"), (["a", 1], None), ([1, "a"], None), ([None], None), ([], None),
        (["a", None], "object"), (["a", "\ud83d"], None), ([b"a"], None), ([[1]], None), ([1.5, True], None),
    ],
)  # fmt: skip
def test_which_columns_travel_and_as_what(cells, kind):
    found = extra_columns(pd.DataFrame({"x": pd.Series(cells, dtype=object)}))
    assert found == (({"x": kind}, []) if kind else ({}, ["x"]))
