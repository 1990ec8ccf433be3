"""Reading a raw file as a table, whatever it is written in."""

import json
from pathlib import Path

import pandas as pd
import pyarrow as arrow
from pyarrow import parquet

from preference_study.errors import BadInput


def read_table_file(path: str | Path) -> pd.DataFrame:
    """Read a raw file by the ending of its name: .parquet, .jsonl or .json (one object a line), .csv.

    Raises:
        BadInput: the file is missing, empty, truncated, not what its name says, or holds no rows.
    """
    path = Path(path)
    if not path.is_file():
        raise BadInput(f"{path}: there is no such file; name one that is there, or a hub data set under data.hub")
    if path.stat().st_size == 0:
        raise BadInput(f"{path}: the file is empty; fetch it again")
    try:
        match path.suffix.lower():
            case ".parquet":
                table = parquet.read_table(path).to_pandas()
            case ".jsonl" | ".json":
                table = _read_json_lines(path)
            case ".csv":
                table = pd.read_csv(path, keep_default_na=False)
            case other:
                raise BadInput(f"{path}: cannot read {other or 'a name without ending'}; use .parquet, .jsonl or .csv")
    except (arrow.ArrowException, OSError, ValueError, pd.errors.ParserError) as error:
        raise BadInput(
            f"{path}: not a whole {path.suffix} file ({str(error).splitlines()[0][:200]}); "
            "it may be truncated or of another format: fetch it again or rename it"
        ) from error
    if table.empty:
        raise BadInput(f"{path}: the file holds no rows; fetch it again")
    return table


def _read_json_lines(path: Path) -> pd.DataFrame:
    rows = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if line.strip():
            try:
                row = json.loads(line)
            except json.JSONDecodeError as error:
                raise BadInput(f"{path}: row {number} is not JSON ({error.msg}); every line must be one object") from error
            if not isinstance(row, dict):
                raise BadInput(f"{path}: row {number} is a {type(row).__name__}; every line must be one object")
            rows.append(row)
    return pd.DataFrame(rows)
