"""Reading a raw file as a table, whatever it is written in, some rows at a time."""

import ast
import csv
import errno
import json
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as arrow
from pyarrow import parquet

from preference_study.data.conversations import looks_like_messages
from preference_study.errors import BadInput

COMPRESSED = {".gz": "gzip", ".zst": "zstd"}
BOM = b"\xef\xbb\xbf"
PIECE = 10_000  # rows that are in memory together
BUFFER = 2**20  # bytes of a column that are read from parquet together


class RawFile:
    """A raw file as a table whose columns are read from disk each time they are asked for, `PIECE` rows at a time.

    As of a pandas table, `columns` are its names, len() is its rows, `name in file` asks for a column, and file[name] gives its
    cells in order: every cell as the Python value that the file holds; of CSV, text, but for lists and objects, which are parsed.
    What is no parquet stands as a table of texts in the folder for temporary files (TMPDIR) as long as this object lives, except
    that a JSON array is first read whole.
    """

    def __init__(self, path: str | Path):
        """Open a file by the ending of its name: .parquet, .jsonl or .json (one object a line, or an array of them), .csv; each
        may be compressed, with .gz or .zst after that.

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
        written: dict[str, Written] = {".parquet": _parquet, ".jsonl": _json, ".json": _json, ".csv": _csv}
        if kind not in written:
            raise BadInput(
                f"{path}: cannot read {kind or 'a name without ending'}; use .parquet, .jsonl, .json or .csv, also with .gz or "
                ".zst after it"
            )
        self._path, self._kind = path, kind
        with self._whole():
            unpacked = _unpacked(path, compression) if compression else None
            texts, self._value = written[kind](path, Path(unpacked.name) if unpacked else path)
            self._held = texts or unpacked
            self._table = Path(self._held.name) if self._held else path
            metadata = parquet.read_metadata(self._table)
            self.columns, self._rows = metadata.schema.to_arrow_schema().names, metadata.num_rows
        _check_names(path, self.columns)
        if not self.columns or not self._rows:
            raise BadInput(f"{path}: the file holds no rows; fetch it again")

    def __len__(self) -> int:
        return self._rows

    def __contains__(self, name: object) -> bool:
        return name in self.columns

    def __getitem__(self, name: str) -> Iterator[Any]:
        with self._whole(), parquet.ParquetFile(self._table, buffer_size=BUFFER, pre_buffer=False) as file:
            # A name selects what is below it too, and so a column that is called "name.more".
            for batch in file.iter_batches(PIECE, columns=[name]):
                yield from map(self._value, _cells(batch.column(name)))

    @contextmanager
    def _whole(self) -> Iterator[None]:
        try:
            yield
        except (arrow.ArrowException, OSError, ValueError, RecursionError) as error:
            if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise  # of the folder for temporary files: no fault of the file's
            raise BadInput(
                f"{self._path}: not a whole {self._kind} file ({str(error).splitlines()[0][:200]}); "
                "it may be truncated or of another format: fetch it again or rename it"
            ) from error


# Writes what a file holds as parquet where it is none, and gives that, or None, and what makes a cell's value of what is there.
Written = Callable[[Path, Path], tuple[Any, Callable[[Any], Any]]]


def read_table_file(path: str | Path) -> pd.DataFrame:
    """All of a raw file, as `RawFile` reads it.

    Raises:
        BadInput: as there.
    """
    file = RawFile(path)
    return _table({name: list(file[name]) for name in file.columns})


def _table(columns: dict[str, list[Any]]) -> pd.DataFrame:
    """A table of Python's own values: pandas would make whole numbers with a gap among them fractions."""
    return pd.DataFrame({name: pd.Series(cells, dtype=object) for name, cells in columns.items()})


def in_pieces(rows: Iterable[Any]) -> Iterator[list[Any]]:
    """Lists of `PIECE` rows, the last one of what is left."""
    rows = iter(rows)
    while piece := list(islice(rows, PIECE)):
        yield piece


def _unpacked(path: Path, compression: str) -> Any:
    """A temporary file, which goes with the object, of what a compressed one holds."""
    with arrow.input_stream(str(path), compression=compression) as stream:
        found = tempfile.NamedTemporaryFile()  # noqa: SIM115
        shutil.copyfileobj(stream, found)
    found.flush()
    return found


def _texts(names: list[str], rows: Iterable[list[str]]) -> Any:
    """A temporary parquet file, which goes with the object, of rows of texts."""
    found = tempfile.NamedTemporaryFile()  # noqa: SIM115
    schema = arrow.schema([(name, arrow.string()) for name in names])
    with parquet.ParquetWriter(found.name, schema) as writer:
        for piece in in_pieces(rows):
            writer.write_table(arrow.table(list(map(list, zip(*piece, strict=True))), schema=schema))
    return found


def _parquet(path: Path, plain: Path) -> tuple[None, Callable]:
    return None, lambda cell: cell


def _cells(column: arrow.Array) -> list[Any]:
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


def _json(path: Path, plain: Path) -> tuple[Any, Callable]:
    with plain.open("rb") as file:
        first = next((line for line in file if line.removeprefix(BOM).strip()), b"")
    array = _array(path, plain.read_bytes()) if first.removeprefix(BOM).lstrip().startswith(b"[") else None

    def rows() -> Iterator[dict[str, Any]]:
        for number, row in enumerate(_lines(path, plain) if array is None else array, start=1):
            if not isinstance(row, dict):
                raise BadInput(f"{path}: row {number} is a {type(row).__name__}; every row must be one object")
            yield row

    # A name with half a pair of surrogates could not be written anywhere.
    names = {name.encode(errors="replace").decode(): name for name in dict.fromkeys(name for row in rows() for name in row)}
    if not names:
        raise BadInput(f"{path}: the file holds no rows; fetch it again")
    return _texts(list(names), ([json.dumps(row.get(name)) for name in names.values()] for row in rows())), json.loads


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the name {next(name for name in names if names.count(name) > 1)!r} twice in one object")
    return found


def _array(path: Path, content: bytes) -> list:
    try:
        return json.loads(_decoded(path, content.removeprefix(BOM), 1), object_pairs_hook=_object)
    except ValueError as error:
        # Of a file that was cut off or is broken, the line it happens in says more than the row.
        raise BadInput(f"{path}: not a whole JSON array ({error}); fetch it again, or write one object a line") from error


def _lines(path: Path, plain: Path) -> Iterator[Any]:
    with plain.open("rb") as file:
        # A line ends at \n alone: a text may hold other characters that Python takes for ends of lines.
        for number, line in enumerate(file, start=1):
            line = line.removeprefix(BOM) if number == 1 else line
            if line.strip():
                try:
                    yield json.loads(_decoded(path, line.removesuffix(b"\n"), number), object_pairs_hook=_object)
                except ValueError as error:
                    told = error.msg if isinstance(error, json.JSONDecodeError) else str(error)
                    raise BadInput(
                        f"{path}: row {number} is not JSON ({told}); every line must be one object, or the file one array of "
                        "objects"
                    ) from error


def _csv(path: Path, plain: Path) -> tuple[Any, Callable]:
    _check_csv(path, plain)
    csv.field_size_limit(sys.maxsize)
    with plain.open(encoding="utf-8-sig", newline="") as file:
        rows = _fields(path, csv.reader(file, strict=True, skipinitialspace=True))
        _, header = next(rows, (0, []))
        header = [name.strip() for name in header]
        _check_names(path, header)
        return _texts(header, _checked(path, header, rows)), _value


def _checked(path: Path, header: list[str], rows: Iterable[tuple[int, list[str]]]) -> Iterator[list[str]]:
    for number, (line, row) in enumerate(rows, start=1):
        if len(row) != len(header):
            raise BadInput(
                f"{path}: row {number} (it ends in line {line}) has {len(row)} fields, and the header {len(header)}; "
                "a text with commas, quotes or line breaks must stand in quotes, with quotes in it doubled"
            )
        for name, cell in zip(header, row, strict=True):
            if looks_like_messages(cell) and _value(cell) is cell:
                raise BadInput(
                    f"{path}: row {number}, column {name!r} looks like a list of messages, and is neither JSON nor Python's: "
                    f"{cell[:60]!r}; save the data as JSON lines or parquet"
                )
        yield row


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


def _check_csv(path: Path, plain: Path) -> None:
    """That a file is UTF-8, with commas between the columns of its first line that is not empty."""
    header = b""
    with plain.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if b"\x00" in line:
                raise ValueError("it holds zero bytes; it may be UTF-16, which must be saved as UTF-8")
            try:
                line.decode("utf-8")
            except UnicodeDecodeError:
                raise BadInput(f"{path}: line {number} is not UTF-8; save the file as UTF-8") from None
            if not header:
                header = line.removeprefix(BOM).lstrip()
                if sign := next((sign for sign in (b";", b"\t", b"|") if header.count(sign) > header.count(b",")), None):
                    raise BadInput(
                        f"{path}: {sign.decode()!r} stands between its columns, {header[:60]!r}; save the file with commas"
                    )


def _value(cell: str) -> Any:
    """A cell that is a list or an object, in JSON or as Python prints it, as that; others as text."""
    text = cell.strip()
    if text[:1] + text[-1:] in ("[]", "{}"):
        for parse in (json.loads, ast.literal_eval):
            try:
                found = parse(text)
            except (ValueError, SyntaxError, RecursionError, MemoryError):
                continue
            # Python takes {1, 2} for a set and [1], [2] for a tuple: they are answers as they stand.
            return found if isinstance(found, (list, dict)) else cell
    return cell
