"""People's exports: what is read, and what is refused with its file, row and remedy."""

import json

import pytest

from preference_study.annotations import COLUMNS, read_annotations
from preference_study.errors import BadInput

KEYS = {
    "dpo": {"study": "aaaa", "seed": 3, "cases": [{"case": "c1"}, {"case": "c2"}]},
    "ipo": {"study": "bbbb", "seed": 3, "cases": [{"case": "c1"}]},
}
ROW = {
    "annotator": "Ann", "seed": 3, "study": "aaaa", "case": "c1", "answer": "2", "flag": True, "comment": "so so",
    "time": "2026-02-03T04:05:06.789Z",
}  # fmt: skip
FILE = "data/annotations/ann.jsonl"


def lines(*rows: dict) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def test_every_line_is_a_row():
    first = lines(ROW, ROW | {"case": "c2", "answer": "tie", "flag": False, "comment": ""}, ROW | {"study": "bbbb"})
    other = "\ufeff" + lines(ROW | {"annotator": " Bob ", "answer": "skip"}).replace("\n", "\r\n") + "\n"
    found = read_annotations({FILE: first, "data/annotations/bob.jsonl": other}, KEYS)
    assert list(found) == COLUMNS and len(found) == 4
    assert list(zip(found["annotator"], found["study"], found["case"], found["answer"], strict=True)) == [
        ("Ann", "aaaa", "c1", "2"), ("Ann", "aaaa", "c2", "tie"), ("Ann", "bbbb", "c1", "2"), ("Bob", "aaaa", "c1", "skip"),
    ]  # fmt: skip
    assert found["flag"].tolist() == [True, False, True, True] and found["comment"][1] == ""
    assert found["time"][0].isoformat() == "2026-02-03T04:05:06.789000+00:00"


def test_a_comment_may_hold_what_some_take_for_the_end_of_a_line():
    row = ROW | {"comment": "one\u2028two\x85three\x0bfour\nfive"}
    assert read_annotations({FILE: lines(row)}, KEYS)["comment"].tolist() == [row["comment"]]


def test_no_file_no_rows():
    assert list(read_annotations({}, KEYS)) == COLUMNS and read_annotations({FILE: "\n\n"}, KEYS).empty


@pytest.mark.parametrize(
    ("row", "wanted"),
    [
        (ROW | {"study": "cccc"}, r"column study is 'cccc'.*aaaa \(dpo\), bbbb \(ipo\).*other responses.*Move the file"),
        (ROW | {"seed": 4}, "column seed is 4, and that study's is 3"),
        (ROW | {"case": "c9"}, "column case is 'c9', which study aaaa does not have"),
        (ROW | {"study": "bbbb", "case": "c2"}, "column case is 'c2', which study bbbb does not have"),
        (ROW, rf"'Ann' answered case c1 in {FILE}, row 1 already.*newest export"),
        (ROW | {"annotator": "Ann "}, rf"'Ann' answered case c1 in {FILE}, row 1 already"),
        (ROW | {"answer": "3"}, "column answer is not as the page exports it"),
        (ROW | {"annotator": "  "}, "column annotator is not"),
        (ROW | {"flag": "yes"}, "column flag is not"),
        (ROW | {"seed": "3"}, "column seed is not"),
        (ROW | {"time": "yesterday"}, "column time is not"),
        (ROW | {"policy": "dpo"}, "column policy is not"),
        ({name: value for name, value in ROW.items() if name != "comment"}, "column comment is not.*Field required"),
        ([ROW], "the line is not"),
    ],
)
def test_what_is_refused(row, wanted):
    with pytest.raises(BadInput, match=rf"^{FILE}, row 3: .*{wanted}") as raised:
        read_annotations({FILE: lines(ROW) + "\n" + lines(row)}, KEYS)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("line", ['{"annotator": "Ann", "se', "Ann,3,aaaa,c1,2", "\x00"])
def test_a_line_that_is_no_json_is_refused(line):
    with pytest.raises(BadInput, match=f"^{FILE}, row 2: the line is not as the page exports it"):
        read_annotations({FILE: lines(ROW) + line}, KEYS)


def test_the_same_case_in_two_files_is_refused():
    with pytest.raises(BadInput, match=rf"^data/annotations/later.jsonl, row 1: 'Ann' answered case c1 in {FILE}, row 1"):
        read_annotations({FILE: lines(ROW), "data/annotations/later.jsonl": lines(ROW | {"answer": "1"})}, KEYS)
