"""Every file of the corpus goes in whole, or is refused with one message; nothing that was there before is touched then."""

import json
from pathlib import Path

import pytest
import yaml

import stages.prepare_data
from preference_study.artifacts import read_json, read_table
from preference_study.data import files
from preference_study.data.pairs import REASONS
from preference_study.errors import BadInput
from tests.corpus.files import CASES, CODINGS, VALIDATION, Case, lines
from tests.workspace import change, tiny_params

OUTPUTS = ("data/prepared/train.parquet", "data/prepared/val.parquet", "metrics/data.json")


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """A study with its outputs of before."""
    tiny_params(tmp_path)
    for output in OUTPUTS:
        (tmp_path / output).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / output).write_text("of before")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_there_are_enough_of_them():
    assert len(CASES) >= 120 and len({case.name for case in CASES}) == len(CASES)


@pytest.mark.parametrize("piece", [files.PIECE, 1])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_file_goes_in_whole_or_is_refused(folder, monkeypatch, case: Case, piece: int):
    """However many rows are read at a time."""
    monkeypatch.setattr(files, "PIECE", piece)
    (folder / case.name).write_bytes(case.content)
    (folder / "val.jsonl").write_bytes(case.validation or VALIDATION)
    change(folder, data={"train": case.name, "val": "val.jsonl", "max_train": None, "max_val": None} | case.data)
    if case.pairs is None:
        with pytest.raises(SystemExit) as error:
            stages.prepare_data.main()
        told = str(error.value)
        # The parameters are of no file of the data's.
        assert isinstance(error.value, BadInput) == (case.name in told) and all(name in told for name in case.names), told
        assert {(folder / output).read_text() for output in OUTPUTS} == {"of before"}
        assert not list(folder.rglob("*.part"))
        return
    stages.prepare_data.main()
    train, summary = read_table("data/prepared/train.parquet"), read_json("metrics/data.json")["train"]
    assert list(train[["prompt", "chosen", "rejected"]].itertuples(index=False, name=None)) == case.pairs
    assert summary["dropped"] == dict.fromkeys(REASONS, 0) | case.dropped
    assert summary["columns_left_out"] == list(case.left_out)
    assert len(read_table("data/prepared/val.parquet")) == 4


SHOWN = [
    case for case in CODINGS
    if b"overall_response" in case.content and any("coding" in name and "<" not in name for name in case.names)
]  # fmt: skip


@pytest.mark.parametrize("case", SHOWN, ids=lambda case: case.name)
def test_what_the_error_shows_can_be_copied(folder, case: Case):
    """Written under data in params.yaml it is taken, and its first value means the first response."""
    rows = [json.loads(line) for line in case.content.splitlines()]
    (folder / "train.jsonl").write_bytes(case.content)
    (folder / "val.jsonl").write_bytes(lines(*(row | {"question": f"v{n}"} for n, row in enumerate(rows))))
    change(folder, data={"train": "train.jsonl", "val": "val.jsonl", "max_train": None, "max_val": None})
    with pytest.raises(BadInput) as error:
        stages.prepare_data.main()
    shown = yaml.safe_load(str(error.value).split("\n", 1)[1])
    change(folder, data=shown)
    stages.prepare_data.main()
    first = str(shown["columns"]["coding"][0])
    wanted = [row["response_1"] if str(row["overall_response"]) == first else row["response_2"] for row in rows]
    train = read_table("data/prepared/train.parquet")
    kept = [n for n, row in enumerate(rows) if str(row["overall_response"]) in map(str, shown["columns"]["coding"])]
    assert len(kept) >= 2 and list(train["chosen"]) == [wanted[n] for n in kept]
