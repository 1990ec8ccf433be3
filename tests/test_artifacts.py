"""Files that hold tables: whole or not there, read in pieces, and as JSON where they are not too long for it."""

import pyarrow as arrow
import pyarrow.parquet as parquet
import pytest

from preference_study import artifacts
from preference_study.artifacts import read_json, read_pieces, read_rows, rows_as_json, table_in_pieces, write_json, write_rows
from preference_study.errors import BadInput

ROWS = [{"id": str(n), "prompt": [{"role": "user", "content": f"q{n}"}], "reward": n / 4 if n % 3 else None} for n in range(7)]


def test_rows_come_back_as_they_were_in_pieces_and_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(artifacts, "PIECE", 3)
    write_rows(tmp_path / "rows.parquet", ROWS)
    pieces = list(read_pieces(tmp_path / "rows.parquet"))
    assert [len(piece) for piece in pieces] == [3, 3, 1]
    assert parquet.ParquetFile(tmp_path / "rows.parquet").metadata.num_row_groups == 3
    back = [row for piece in pieces for row in piece.to_dict("records")]
    assert [row["prompt"] for row in back] == [row["prompt"] for row in ROWS]
    assert [row["id"] for row in back] == list(read_rows(tmp_path / "rows.parquet")["id"]) == [row["id"] for row in ROWS]
    assert read_rows(tmp_path / "rows.parquet", ["reward"])["reward"].tolist()[1:3] == [0.25, 0.5]


def test_json_beside_a_table_holds_its_rows_up_to_a_limit(tmp_path, monkeypatch):
    write_rows(tmp_path / "rows.parquet", ROWS)
    monkeypatch.setattr(artifacts, "MOST_JSON", 7)
    rows_as_json(tmp_path / "rows.json", tmp_path / "rows.parquet")
    assert read_json(tmp_path / "rows.json") == ROWS
    monkeypatch.setattr(artifacts, "MOST_JSON", 6)
    rows_as_json(tmp_path / "rows.json", tmp_path / "rows.parquet")
    assert read_json(tmp_path / "rows.json") == {"left_out": "7 rows, more than 6", "rows_in": str(tmp_path / "rows.parquet")}


@pytest.mark.parametrize("count", [0, 1, 3, 7])
@pytest.mark.parametrize("piece", [1, 3, 7, 1000])
def test_that_json_is_the_same_in_pieces(tmp_path, monkeypatch, count, piece):
    monkeypatch.setattr(artifacts, "JSON_PIECE", piece)
    table = arrow.Table.from_pylist(ROWS)[:count]
    parquet.write_table(table, tmp_path / "rows.parquet")
    rows_as_json(tmp_path / "rows.json", tmp_path / "rows.parquet")
    write_json(tmp_path / "whole.json", ROWS[:count])
    assert (tmp_path / "rows.json").read_bytes() == (tmp_path / "whole.json").read_bytes()
    assert [file.name for file in sorted(tmp_path.iterdir())] == ["rows.json", "rows.parquet", "whole.json"]


def test_a_table_that_ends_early_is_not_there(tmp_path):
    with pytest.raises(KeyError), table_in_pieces(tmp_path / "rows.parquet") as write:
        write(arrow.Table.from_pylist(ROWS))
        raise KeyError
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(BadInput, match=r"rows\.parquet is not there"):
        read_rows(tmp_path / "rows.parquet")
