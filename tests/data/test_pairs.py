import hashlib
import json

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from preference_study.formats._two_responses import meant

from preference_study.analysis.statistics import mean, proportion
from preference_study.data.files import read_table_file
from preference_study.data.pairs import pair_id, usable_pairs
from preference_study.errors import BadInput
from preference_study.formats import FORMATS, to_pairs
from stages.prepare_data import prepare, split_summary

STUDY = {"question": ["q1", "q2"], "response_1": ["a", "c"], "response_2": ["b", "d"], "overall_response": [1, 2]}


def texts(raw: dict | pd.DataFrame) -> list[tuple]:
    pairs = to_pairs(pd.DataFrame(raw), "raw")
    return list(pairs[["prompt", "chosen", "rejected"]].itertuples(index=False, name=None))


@pytest.mark.parametrize("preference", [[1, 2], ["1", "2"], [1.0, 2.0], [" 1", "2 "]])
def test_the_studys_columns(preference):
    assert texts(STUDY | {"overall_response": preference}) == [("q1", "a", "b"), ("q2", "d", "c")]


def test_other_shapes_give_the_same_pairs():
    wanted = [("q1", "a", "b")]
    user, good, bad = ({"role": r, "content": c} for r, c in (("user", "q1"), ("assistant", "a"), ("assistant", "b")))
    assert texts({"prompt": ["q1"], "chosen": ["a"], "rejected": ["b"]}) == wanted
    assert texts({"prompt": [[user]], "chosen": [[good]], "rejected": [[bad]]}) == wanted
    assert texts({"chosen": [[user, good]], "rejected": [[user, bad]]}) == wanted
    assert texts({"prompt": ["q1"], "response_0": ["b"], "response_1": ["a"], "better_response_id": [1]}) == wanted
    assert texts({"chosen": ["\n\nHuman: q1\n\nAssistant: a"], "rejected": ["\n\nHuman: q1\n\nAssistant: b"]}) == wanted


def test_a_conversation_becomes_a_transcript():
    start = "\n\nHuman: hi\n\nAssistant: hello\n\nHuman: q"
    wanted = [("Human: hi\n\nAssistant: hello\n\nHuman: q", "a", "b")]
    assert texts({"chosen": [start + "\n\nAssistant: a"], "rejected": [start + "\n\nAssistant: b"]}) == wanted
    turns = [{"role": r, "content": c} for r, c in (("user", "hi"), ("assistant", "hello"), ("user", "q"))]
    responses = {
        "chosen": [[*turns, {"role": "assistant", "content": "a"}]],
        "rejected": [[*turns, {"role": "assistant", "content": "b"}]],
    }
    assert texts(responses) == wanted


def test_rows_are_dropped_by_reason_and_counted_once():
    rows = [
        ("q0", "good", "bad", 1),
        ("q1", "", "bad", 1),  # row 2: empty
        ("q2", None, "bad", 3),  # row 3: no preference, which is tried first
        ("q3", "same", " same ", 2),  # row 4: equal
        ("q0", "good", "bad", "1"),  # row 5: duplicate of row 1
        ("held out", "good", "bad", 1),  # row 6
        ("q4", "good", "bad", None),  # row 7: no preference
        ("q5", "good", "bad", 2),
    ]
    raw = pd.DataFrame(rows, columns=list(STUDY)).assign(topic="t")
    kept, dropped = usable_pairs(to_pairs(raw, "raw"), {"held out"})
    assert dropped == {
        "bad_preference": [3, 7], "empty_text": [2], "equal_responses": [4], "duplicate": [5], "prompt_in_validation": [6],
    }  # fmt: skip
    assert list(kept["prompt"]) == ["q0", "q5"] and list(kept["chosen"]) == ["good", "bad"]
    assert list(kept.columns) == ["id", "prompt", "chosen", "rejected", "chosen_words", "rejected_words", "topic"]
    assert kept["id"][0] == pair_id("q0", "good", "bad")


TEXT = st.text(alphabet="ab \n", max_size=3)


@given(st.lists(st.tuples(TEXT, TEXT, TEXT, st.sampled_from([1, 2, "1", "2", 0, None])), min_size=1, max_size=15))
def test_every_row_is_kept_or_counted(rows):
    kept, dropped = usable_pairs(to_pairs(pd.DataFrame(rows, columns=list(STUDY)), "raw"), {"a"})
    lost = [row for numbers in dropped.values() for row in numbers]
    assert len(kept) + len(lost) == len(rows) and len(set(lost)) == len(lost)
    assert "a" not in set(kept["prompt"]) and kept["id"].is_unique
    assert (kept["chosen"] != kept["rejected"]).all() and kept[["prompt", "chosen", "rejected"]].ne("").all(axis=None)


@pytest.mark.parametrize(
    ("name", "content", "wanted"),
    [
        ("x.parquet", None, "no such file"),
        ("x.parquet", b"", "empty"),
        ("x.parquet", b"question,response_1\n", "not a whole .parquet file"),
        ("x.jsonl", b'{"question": "q"}\n{"question": ', "row 2 is not JSON"),
        ("x.jsonl", b"[1]\n", "row 1 is a list"),
        ("x.csv", b"question,response_1\n", "holds no rows"),
        ("x.csv", b"\xff\xfe\x00PAR1", "not a whole .csv file"),
        ("x.txt", b"q", "use .parquet, .jsonl or .csv"),
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
        to_pairs(pd.DataFrame([["x"] * len(columns)], columns=columns), "raw")


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


def test_a_limit_samples_by_seed_and_keeps_the_order(tmp_path):
    path = tmp_path / "raw.csv"
    n = 50
    pd.DataFrame({"prompt": [f"q{i:02}" for i in range(n)], "chosen": "good one", "rejected": "bad"}).to_csv(path, index=False)
    pairs, summary = prepare(str(path), 20, 3, set())
    again, _ = prepare(str(path), 20, 3, set())
    other, _ = prepare(str(path), 20, 4, set())
    assert len(pairs) == 20 and pairs["prompt"].is_monotonic_increasing
    assert pairs.equals(again) and not pairs.equals(other)
    assert (summary["rows_in"], summary["not_sampled"], summary["rows_out"]) == (50, 30, 20)
    assert summary["longer_wins"]["value"] == 1.0 and summary["chosen_words"]["value"] == 2.0


def test_nothing_left_is_an_error(tmp_path):
    path = tmp_path / "raw.csv"
    pd.DataFrame({"prompt": ["q"], "chosen": ["same"], "rejected": ["same"]}).to_csv(path, index=False)
    with pytest.raises(BadInput, match="no row can be used"):
        prepare(str(path), None, 0, set())


def test_an_id_depends_on_every_text_and_its_place():
    texts = ("prompt", "chosen", "rejected")
    ids = [pair_id(*texts), *(pair_id(*(f"{t}!" if i == n else t for i, t in enumerate(texts))) for n in range(3))]
    ids += [pair_id("prompt", "rejected", "chosen"), pair_id("promptc", "hosen", "rejected"), pair_id("prompt")]
    assert len(set(ids)) == len(ids) and all(len(id) == 16 for id in ids)


def test_transcripts_that_differ_before_the_last_turn_have_no_prompt():
    start, other = "\n\nHuman: hi\n\nAssistant: hello\n\nHuman: q", "\n\nHuman: hi\n\nAssistant: hm\n\nHuman: q"
    raw = {
        "chosen": [f"{s}\n\nAssistant: a" for s in (start, start)],
        "rejected": [f"{s}\n\nAssistant: b" for s in (start, other)],
    }
    pairs = to_pairs(pd.DataFrame(raw), "raw")
    assert pairs["prompt"].notna().tolist() == [True, False] and pairs["chosen"].tolist() == ["a", "a"]
    kept, dropped = usable_pairs(pairs, set())
    assert len(kept) == 1 and dropped["empty_text"] == [2]
    turns = [[{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]]
    others = [[{"role": "user", "content": "other"}, {"role": "assistant", "content": "b"}]]
    assert to_pairs(pd.DataFrame({"chosen": turns * 2, "rejected": others + turns}), "raw")["prompt"].isna().tolist() == [
        True,
        False,
    ]


@pytest.mark.parametrize(("name", "found"), FORMATS.items())
def test_each_format_by_its_own_columns(name, found):
    """The preferred response is the chosen one, the other the rejected one, whichever stands first; other columns stay."""
    rows = {
        "study": [("q", "first", "second", 2, "t"), ("q", "first", "second", 1, "t"), ("q", "first", "second", 0, "t")],
        "safe_rlhf": [("q", "first", "second", 1, "t"), ("q", "first", "second", 0, "t"), ("q", "first", "second", 2, "t")],
        "explicit_prompt": [("q", "second", "first", "t"), ("q", "first", "second", "t")],
        "implicit_prompt": [(*(f"\n\nHuman: q\n\nAssistant: {a}" for a in two), "t") for two in (("second", "first"),)],
    }[name]
    pairs = to_pairs(pd.DataFrame(rows, columns=[*found.columns, "topic"]), "raw")
    wanted = [("q", "second", "first"), ("q", "first", "second"), ("q", "second", "first")][: len(rows)]
    assert list(pairs[["prompt", "chosen", "rejected"]].itertuples(index=False, name=None)) == wanted
    assert pairs["bad_preference"].tolist() == [False, False, True][: len(rows)]
    assert set(pairs.columns) == {"prompt", "chosen", "rejected", "bad_preference", "topic"} and set(pairs["topic"]) == {"t"}


def test_words_are_counted_of_each_side_and_texts_stripped():
    raw = pd.DataFrame([(" q ", "one two three ", "one", 1), ("p", "a b", "c d e f", 2)], columns=list(STUDY))
    kept, _ = usable_pairs(to_pairs(raw, "raw"), set())
    assert kept[["prompt", "chosen", "rejected"]].to_numpy().tolist() == [["q", "one two three", "one"], ["p", "c d e f", "a b"]]
    assert kept["chosen_words"].tolist() == [3, 4] and kept["rejected_words"].tolist() == [1, 2]


@pytest.mark.parametrize("changed", ["prompt", "chosen", "rejected"])
def test_a_duplicate_is_alike_in_all_three_texts(changed):
    row = {"prompt": "q", "chosen": "a", "rejected": "b"}
    raw = pd.DataFrame([row, row | {changed: "other"}, row | {changed: row[changed] + " "}])
    kept, dropped = usable_pairs(to_pairs(raw, "raw"), set())
    assert len(kept) == 2 and dropped["duplicate"] == [3]


def test_what_became_of_a_split_is_counted_in_its_own_place():
    pairs = pd.DataFrame({"chosen_words": [3, 5, 9, 4], "rejected_words": [2, 5, 4, 8]})
    found = split_summary(pairs, {"duplicate": [1, 2], "empty_text": []}, rows_in=9, usable=7)
    assert found == {
        "rows_in": 9, "dropped": {"duplicate": 2, "empty_text": 0}, "not_sampled": 3, "rows_out": 4,
        "chosen_words": mean([3, 5, 9, 4]), "rejected_words": mean([2, 5, 4, 8]), "longer_wins": proportion(2.5, 4),
    }  # fmt: skip


def test_an_id_is_of_the_texts_as_they_are():
    assert pair_id("ü", "愛") == hashlib.sha256('["ü", "愛"]'.encode()).hexdigest()[:16]


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({"p", "a", "b"}, True),  # both responses, no preference
        ({"a", "b"}, True),
        ({"a", "c"}, True),
        ({"p", "a"}, True),  # the prompt and one of them
        ({"p", "c"}, True),
        ({"a"}, False),
        ({"p"}, False),
        ({"p", "a", "chosen"}, False),  # of another format then
        ({"p", "a", "rejected"}, False),
        ({"a", "b", "chosen"}, True),
        (set(), False),
    ],
)
def test_a_table_that_lacks_a_column_was_meant_to_have_it(columns, expected):
    assert meant(columns, ("p", "a", "b", "c")) is expected
