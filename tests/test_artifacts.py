"""Files that hold tables: whole or not there, read in pieces, and as JSON where they are not too long for it."""

import numpy as np
import pandas as pd
import pyarrow as arrow
import pyarrow.parquet as parquet
import pytest

from preference_study import artifacts
from preference_study.artifacts import (
    read_dicts,
    read_json,
    read_pieces,
    read_rows,
    rows_as_json,
    table_in_pieces,
    write_json,
    write_rows,
)
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


def test_rows_come_back_as_a_list_as_they_were_given(tmp_path):
    for rows in (ROWS, []):
        write_rows(tmp_path / "rows.parquet", rows)
        assert read_dicts(tmp_path / "rows.parquet") == rows


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


def test_a_table_aside_is_read_as_often_as_wanted_and_leaves_no_file(tmp_path):
    def values(table: pd.DataFrame) -> list[list]:
        return [
            [None if cell is None or cell is pd.NA or cell != cell else cell for cell in row] for row in table.to_numpy().tolist()
        ]

    topic = pd.Series([None, None, None, "a", None, "b", None], dtype=object)
    rows = pd.DataFrame(ROWS).assign(topic=topic, count=pd.Series([1, None, 1, None, 1, None, 4], dtype="Int64"))
    aside = artifacts.TableAside(tmp_path / "new")
    # A piece without rows says nothing of the columns, and one without a text in a column not that it holds none.
    for start, end in ((0, 0), (0, 2), (2, 5), (5, 5), (5, 6), (6, 7)):
        aside.write(rows[start:end])
    for _ in range(2):
        batches = [arrow.Table.from_batches([batch]).to_pandas() for batch in aside.batches()]
        assert values(pd.concat(batches)[["id", "topic", "count"]]) == values(rows[["id", "topic", "count"]])
    for places in ([0, 1, 2, 3, 4, 5, 6], [1, 2, 6], [4]):
        aside.write_some(tmp_path / "some.parquet", np.array(places))
        assert values(artifacts.read_table(tmp_path / "some.parquet")) == values(rows.iloc[places])
    assert not list((tmp_path / "new").iterdir())


def test_one_piece_aside_comes_out_as_a_table_that_is_written_at_once_to_the_byte(tmp_path):
    """So pairs that are few stay what they were for every stage after."""
    aside, rows = artifacts.TableAside(tmp_path), pd.DataFrame(ROWS)
    aside.write(rows)
    aside.write_some(tmp_path / "some.parquet", np.arange(7))
    artifacts.write_table(tmp_path / "whole.parquet", rows)
    assert (tmp_path / "some.parquet").read_bytes() == (tmp_path / "whole.parquet").read_bytes()
