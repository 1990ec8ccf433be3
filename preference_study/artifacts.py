"""Reading and writing the files that stages pass to one another; what is written appears whole or not at all."""

import json
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as arrow
import yaml
from pyarrow import parquet

from preference_study.errors import BadInput

PIECE = 50_000  # rows of a table that are looked at together
MOST_JSON = 100_000  # rows of a table that stand in JSON too
JSON_PIECE = 1000  # of them, those written together


@contextmanager
def whole_file(path: str | Path) -> Iterator[Path]:
    """A temporary path beside `path` that is renamed to it when the block ends well, and removed when it does not."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.part")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def whole_folder(path: str | Path) -> Iterator[Path]:
    """A path beside `path` for a folder made in the block, which takes its place when that ends well, and is removed else."""
    path = Path(path)
    temporary = path.with_name(f".{path.name}.part")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        yield temporary
        shutil.rmtree(path, ignore_errors=True)
        temporary.rename(path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def write_json(path: str | Path, value: Any) -> None:
    """Write a value as indented JSON. NaN and infinity are refused with ValueError: JSON has none."""
    with whole_file(path) as temporary:
        temporary.write_text(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")


def read_json(path: str | Path) -> Any:
    """Read a JSON file.

    Raises:
        BadInput: it is not there or not whole.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise _spoilt(path, error) from None


def _spoilt(path: str | Path, error: Exception) -> BadInput:
    what = "is not there" if isinstance(error, FileNotFoundError) else f"cannot be read ({str(error).splitlines()[0][:120]})"
    return BadInput(f"{path} {what}; {made_by(str(path))}")


def made_by(path: str, definition: str | Path = "dvc.yaml") -> str:
    """What to do about a file of the study's own that is not whole: the stage that writes it is to run again."""
    stages = yaml.safe_load(Path(definition).read_text())["stages"] if Path(definition).is_file() else {}
    for name, stage in stages.items():
        outs = [next(iter(out)) if isinstance(out, dict) else out for out in [*stage.get("outs", []), *stage.get("metrics", [])]]
        for out in (out for out in outs if not out.startswith("$")):
            pattern = "[^/]+".join(map(re.escape, re.split(r"\$\{[^}]*\}", out)))
            if re.fullmatch(rf"{pattern}(/.*)?", path):
                return f"stage {name} writes it: delete it and run dvc repro"
    return "no stage writes it: fetch it again"


def write_table(path: str | Path, table: pd.DataFrame) -> None:
    """Write a table as parquet, in row groups of at most `PIECE`, so that it can be read by pieces."""
    with whole_file(path) as temporary:
        table.to_parquet(temporary, index=False, row_group_size=PIECE)


def read_table(path: str | Path) -> pd.DataFrame:
    """Read a table written by `write_table`; a prompt's turns come as a list of {role, content}, as they were."""
    try:
        table = pd.read_parquet(path)
    except (OSError, ValueError, arrow.ArrowException) as error:
        raise _spoilt(path, error) from None
    if "prompt" in table:
        table["prompt"] = [[dict(turn) for turn in prompt] for prompt in table["prompt"]]
    return table


@contextmanager
def table_in_pieces(path: str | Path) -> Iterator[Callable[[arrow.Table], None]]:
    """A function that writes one piece of a table after the other, all of one schema; the file is there when the block ends well.

    No row group of it is larger than `PIECE`, so that the file can be read by pieces.
    """
    with whole_file(path) as temporary, ExitStack() as stack:
        writers: list[parquet.ParquetWriter] = []

        def write(piece: arrow.Table) -> None:
            if not writers:
                writers.append(stack.enter_context(parquet.ParquetWriter(temporary, piece.schema)))
            writers[0].write_table(piece, row_group_size=PIECE)

        yield write


class TableAside:
    """A table that is written by the piece and read by the piece, as often as is wanted; its file goes with the object."""

    def __init__(self, folder: str | Path):
        """Have it in this folder, which is made."""
        Path(folder).mkdir(parents=True, exist_ok=True)
        self._file = TemporaryFile(dir=folder)  # noqa: SIM115
        self._writer: arrow.RecordBatchStreamWriter | None = None

    def write(self, piece: pd.DataFrame) -> None:
        """Add rows, of the same columns each time; one in which no cell is known is taken for one of texts."""
        if piece.empty:
            return
        table = arrow.Table.from_pandas(piece, preserve_index=False)
        known = [field.with_type(arrow.string()) if arrow.types.is_null(field.type) else field for field in table.schema]
        table = table.cast(arrow.schema(known, table.schema.metadata))
        if self._writer is None:
            options = arrow.ipc.IpcWriteOptions(compression="lz4")
            self._writer = arrow.ipc.new_stream(self._file, table.schema, options=options)
        self._writer.write_table(table)

    def batches(self) -> Iterator[arrow.RecordBatch]:
        """All rows, after the last was written; some must have been."""
        self._writer.close()
        self._file.seek(0)
        yield from arrow.ipc.open_stream(self._file)

    def write_some(self, path: str | Path, places: np.ndarray) -> None:
        """Write the rows at these places, in order, as `write_table` would."""
        with table_in_pieces(path) as write:
            before = 0
            for batch in self.batches():
                here = places[(places >= before) & (places < before + len(batch))] - before
                if len(here):
                    write(arrow.Table.from_batches([batch.take(arrow.array(here))]))
                before += len(batch)


def write_rows(path: str | Path, rows: list[dict]) -> None:
    """Write rows of equal names as parquet, for `read_rows`."""
    with table_in_pieces(path) as write:
        write(arrow.Table.from_pylist(rows))


def read_pieces(path: str | Path, columns: list[str] | None = None) -> Iterator[pd.DataFrame]:
    """A table's rows, some `PIECE` at a time, every cell as the Python value that JSON would have it.

    Args:
        columns: those that are wanted; None for all.

    Raises:
        BadInput: it is not there or not whole.
    """
    for batch in open_table(path).iter_batches(PIECE, columns=columns):
        yield pd.DataFrame(batch.to_pydict())


def read_rows(path: str | Path, columns: list[str] | None = None) -> pd.DataFrame:
    """All of `read_pieces` as one table."""
    return pd.DataFrame(open_table(path).read(columns).to_pydict())


def read_dicts(path: str | Path) -> list[dict]:
    """The same as a list, as `write_rows` was given it."""
    return open_table(path).read().to_pylist()


def rows_as_json(path: str | Path, table: str | Path) -> None:
    """Write a table of parquet as JSON as well, an object a row, as `write_json` would; where they are more than `MOST_JSON`, say
    in place of them where they are."""
    file = open_table(table)
    count = file.metadata.num_rows
    if count > MOST_JSON:
        write_json(path, {"left_out": f"{count} rows, more than {MOST_JSON}", "rows_in": str(table)})
        return
    with whole_file(path) as temporary, temporary.open("w", encoding="utf-8") as out:
        before = "["
        # As Python's values, rows take some ten times as much memory as in the table.
        for batch in file.iter_batches(JSON_PIECE):
            # Of a list the brackets: the pieces make one.
            out.write(before + json.dumps(batch.to_pylist(), indent=2, ensure_ascii=False, allow_nan=False)[1:-2])
            before = ","
        out.write("[]\n" if before == "[" else "\n]\n")


def open_table(path: str | Path) -> parquet.ParquetFile:
    """A file of `write_table`, to be read piece by piece.

    Raises:
        BadInput: it is not there or not whole.
    """
    try:
        return parquet.ParquetFile(path)
    except (OSError, ValueError, arrow.ArrowException) as error:
        raise _spoilt(path, error) from None


def write_array(path: str | Path, array: np.ndarray) -> None:
    """Write an array as .npy."""
    with whole_file(path) as temporary, temporary.open("wb") as file:
        np.save(file, array, allow_pickle=False)


def read_array(path: str | Path) -> np.ndarray:
    """Read an array written by `write_array`.

    Raises:
        BadInput: it is not there or not whole.
    """
    try:
        return np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise _spoilt(path, error) from None


def write_csv(path: str | Path, table: pd.DataFrame) -> None:
    """Write a table as CSV."""
    with whole_file(path) as temporary:
        table.to_csv(temporary, index=False)


def write_png(path: str | Path, figure: Any) -> None:
    """Write a matplotlib figure as PNG, without the version that would make two equal figures differ."""
    with whole_file(path) as temporary:
        figure.savefig(temporary, dpi="figure", format="png", metadata={"Software": None})
