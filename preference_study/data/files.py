"""Reading a raw file as a table, whatever it is written in."""

import ast
import csv
import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as arrow
from pyarrow import parquet

from preference_study.data.conversations import looks_like_messages
from preference_study.errors import BadInput

COMPRESSED = {".gz": "gzip", ".zst": "zstd"}
BOM = b"\xef\xbb\xbf"


def read_table_file(path: str | Path) -> pd.DataFrame:
    """Read a raw file by the ending of its name: .parquet, .jsonl or .json (one object a line, or an array of them), .csv; each
    may be compressed, with .gz or .zst after that.

    Returns:
        The rows, every cell as the Python value that the file holds; of CSV, text, but for lists and objects, which are parsed.

    Raises:
        BadInput: the file is missing, empty, truncated, not what its name says, or holds no rows; a row cannot be read.
    """
    path = Path(path)
    if path.is_dir():
        raise BadInput(f"{path}: a folder; name a file in it")
    if not path.is_file():
        raise BadInput(f"{path}: there is no such file; name one that is there, or a hub data set under data.hub")
    if path.stat().st_size == 0:
        raise BadInput(f"{path}: the file is empty; fetch it again")
    compression = COMPRESSED.get(path.suffix.lower())
    kind = (path.with_suffix("") if compression else path).suffix.lower()
    readers = {".parquet": _read_parquet, ".jsonl": _read_json, ".json": _read_json, ".csv": _read_csv}
    if kind not in readers:
        raise BadInput(
            f"{path}: cannot read {kind or 'a name without ending'}; use .parquet, .jsonl, .json or .csv, also with .gz or .zst "
            "after it"
        )
    try:
        with arrow.input_stream(str(path), compression=compression) as stream:
            content = stream.read()
        table = readers[kind](path, content)
    except (arrow.ArrowException, OSError, ValueError, RecursionError) as error:
        raise BadInput(
            f"{path}: not a whole {kind} file ({str(error).splitlines()[0][:200]}); "
            "it may be truncated or of another format: fetch it again or rename it"
        ) from error
    if table.empty:
        raise BadInput(f"{path}: the file holds no rows; fetch it again")
    return table


def _table(columns: dict[str, list[Any]]) -> pd.DataFrame:
    """A table of Python's own values: pandas would make whole numbers with a gap among them fractions."""
    return pd.DataFrame({name: pd.Series(cells, dtype=object) for name, cells in columns.items()})


def _read_parquet(path: Path, content: bytes) -> pd.DataFrame:
    table = parquet.read_table(arrow.BufferReader(content))
    _check_names(path, table.column_names)
    return _table({name: _cells(table.column(name)) for name in table.column_names})


def _cells(column: arrow.ChunkedArray) -> list[Any]:
    """A column's cells as Python values; where Python has none, as of a day in the year 20000, as they are."""
    try:
        return column.to_pylist()
    except (ValueError, OverflowError, arrow.ArrowException):
        return list(column)


def _check_names(path: Path, names: list[str]) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise BadInput(f"{path}: the column {twice[0]!r} is there twice; rename or remove one")


def _decoded(path: Path, line: bytes, number: int) -> str:
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError as error:
        hint = "the file seems to be UTF-16" if line[:2] in (b"\xff\xfe", b"\xfe\xff") else f"byte {error.start + 1} of the row"
        raise BadInput(f"{path}: row {number} is not UTF-8 ({hint}); save the file as UTF-8") from None


def _read_json(path: Path, content: bytes) -> pd.DataFrame:
    content = content.removeprefix(BOM)
    array = content.lstrip()[:1] == b"["
    rows = list(_array(path, content) if array else _lines(path, content))
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, dict):
            raise BadInput(f"{path}: row {number} is a {type(row).__name__}; every row must be one object")
    names = dict.fromkeys(name for row in rows for name in row)
    # A name with half a pair of surrogates could not be written anywhere.
    return _table({name.encode(errors="replace").decode(): [row.get(name) for row in rows] for name in names})


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the name {next(name for name in names if names.count(name) > 1)!r} twice in one object")
    return found


def _array(path: Path, content: bytes) -> list:
    try:
        return json.loads(_decoded(path, content, 1), object_pairs_hook=_object)
    except ValueError as error:
        # Of a file that was cut off or is broken, the line it happens in says more than the row.
        raise BadInput(f"{path}: not a whole JSON array ({error}); fetch it again, or write one object a line") from error


def _lines(path: Path, content: bytes) -> Iterator[Any]:
    # A line ends at \n alone: a text may hold other characters that Python takes for ends of lines.
    for number, line in enumerate(content.split(b"\n"), start=1):
        if line.strip():
            try:
                yield json.loads(_decoded(path, line, number), object_pairs_hook=_object)
            except ValueError as error:
                told = error.msg if isinstance(error, json.JSONDecodeError) else str(error)
                raise BadInput(
                    f"{path}: row {number} is not JSON ({told}); every line must be one object, or the file one array of objects"
                ) from error


def _read_csv(path: Path, content: bytes) -> pd.DataFrame:
    text = _csv_text(path, content.removeprefix(BOM))
    csv.field_size_limit(sys.maxsize)
    rows = _fields(path, csv.reader(io.StringIO(text, newline=""), strict=True, skipinitialspace=True))
    _, header = next(rows, (0, []))
    header = [name.strip() for name in header]
    _check_names(path, header)
    columns: dict[str, list[Any]] = {name: [] for name in header}
    for number, (line, row) in enumerate(rows, start=1):
        if len(row) != len(header):
            raise BadInput(
                f"{path}: row {number} (it ends in line {line}) has {len(row)} fields, and the header {len(header)}; "
                "a text with commas, quotes or line breaks must stand in quotes, with quotes in it doubled"
            )
        for name, cell in zip(header, row, strict=True):
            columns[name].append(_value(path, number, name, cell))
    return _table(columns)


def _fields(path: Path, rows: Any) -> Iterator[tuple[int, list[str]]]:
    """The line that each row ends in, and its fields; empty lines are no rows. The first is the header, row 0."""
    number = 0
    try:
        for row in rows:
            if row:
                yield rows.line_num, row
                number += 1
    except csv.Error as error:
        raise BadInput(
            f"{path}: row {number} (line {rows.line_num}) is not CSV ({error}); a text with quotes must stand in quotes, with "
            "quotes in it doubled"
        ) from None


def _csv_text(path: Path, content: bytes) -> str:
    if b"\x00" in content:
        raise ValueError("it holds zero bytes; it may be UTF-16, which must be saved as UTF-8")
    header = content.lstrip().partition(b"\n")[0]
    if sign := next((sign for sign in (b";", b"\t", b"|") if header.count(sign) > header.count(b",")), None):
        raise BadInput(f"{path}: {sign.decode()!r} stands between its columns, {header[:60]!r}; save the file with commas")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise BadInput(f"{path}: line {line} is not UTF-8; save the file as UTF-8") from None


def _value(path: Path, number: int, name: str, cell: str) -> Any:
    """A cell that is a list or an object, in JSON or as Python prints it, as that; others as text."""
    text = cell.strip()
    if text[:1] + text[-1:] in ("[]", "{}"):
        for parse in (json.loads, ast.literal_eval):
            try:
                return parse(text)
            except (ValueError, SyntaxError, RecursionError, MemoryError):
                continue
    if looks_like_messages(cell):
        raise BadInput(
            f"{path}: row {number}, column {name!r} looks like a list of messages, and is neither JSON nor Python's: "
            f"{cell[:60]!r}; save the data as JSON lines or parquet"
        )
    return cell
