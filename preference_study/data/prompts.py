"""Which prompts are answered."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd

from preference_study.data.conversations import Turns, Unusable, as_turns, prompt_key, prompt_of
from preference_study.data.files import read_table_file
from preference_study.data.pairs import REASONS, beside_texts, cluster_labels, labels, pair_id, system_column
from preference_study.errors import BadInput
from preference_study.formats import Format, Source, mapped, named_columns, recognised
from preference_study.formats._rows import about_column, joined
from preference_study.sections import Columns

PREPARED = Path("data/prepared")
# Of a file that holds no preferences, the columns that can hold a prompt or a conversation; the first that is there is taken.
COLUMNS = ("prompt", "question", "messages", "conversations")
# Of a file that prepare_data wrote, what a prompt has beside its category.
OF_PREPARED = ("prompt", "cluster", "instruction")


def is_prepared(file: str) -> bool:
    """Whether a file is one of those that stage prepare_data writes."""
    return Path(file).absolute().is_relative_to(PREPARED.absolute())


def prompts_of_file(
    file: str,
    limit: int | None,
    seed: int,
    cluster: str | None = None,
    category: str | None = None,
    columns: Columns | None = None,
) -> pd.DataFrame:
    """What `choose_prompts` makes of a file. One that prepare_data wrote has whole prompts, and clusters, in columns of its own,
    whatever those of the raw data are called.

    Raises:
        BadInput: as `read_table_file` and `choose_prompts`.
    """
    table = read_table_file(file)
    if is_prepared(file):
        # Columns that travelled, such as `system`, are no part of any pair's prompt, and no shape may be recognised by them.
        own = table[[name for name in OF_PREPARED if name in table]]
        table = own.assign(category=table[category]) if category in table else own
        cluster, category, columns = "cluster", "category", None
    return choose_prompts(table, limit, seed, file, cluster, category, columns)


def choose_prompts(
    table: pd.DataFrame,
    limit: int | None,
    seed: int,
    source: str,
    cluster: str | None = None,
    category: str | None = None,
    columns: Columns | None = None,
) -> pd.DataFrame:
    """The distinct prompts of a table, at most `limit` by a seeded sample: id, cluster, prompt (turns) and instruction, if there.

    Where the table has the column that `category` names, what it holds comes out as texts in a column of that name; an
    instruction is a text as well.

    A file of preferences has the prompts that its pairs have: of the shape that `columns` describes where it has all of these
    columns, else of one that is recognised. Rows without a prompt that can be answered are left out. A prompt's cluster is what
    the first of its rows names in the column `cluster`; where that is not there the prompt is its own.

    Raises:
        BadInput: the table has no column that can hold a prompt, or no prompt in it; a cluster is missing; a label can be written
            nowhere; or as the file's format.
    """
    own: dict[str, list] = {"instruction": list(labels(table, "instruction", source))} if "instruction" in table else {}
    own["prompt"], why = _prompts(table, source, columns)
    if category in table:
        own["category"] = list(labels(table, category, source))
    found = pd.DataFrame({name: pd.Series(cells, table.index, dtype=object) for name, cells in own.items()}, table.index)
    clusters = list(cluster_labels(table, cluster, source)) if cluster in table else None
    there = found["prompt"].notna()
    found = found[there]
    keys = found["prompt"].map(prompt_key)
    found = found.assign(id=keys.map(pair_id))
    found = found.assign(cluster=found["id"] if clusters is None else pd.Series(clusters, table.index)[there])[~keys.duplicated()]
    if found.empty:
        raise BadInput(f"{source}: it holds no prompt that ends with the user's turn ({_left_out(why) or 'no row'})")
    if why:
        print(f"{source}: {len(found)} distinct prompts of {len(table)} rows; left out: {_left_out(why)}")
    if limit is not None and limit < len(found):
        found = found.sample(limit, random_state=seed).sort_index()
    return found.reset_index(drop=True)


def _is_json(cell: object) -> bool:
    """Whether a text is a list or an object as JSON writes it."""
    try:
        return isinstance(cell, str) and isinstance(json.loads(cell), (list, dict))
    except ValueError:
        return False


def _shape(table: pd.DataFrame, source: str, columns: Columns | None) -> tuple[Format | None, str | None]:
    """The shape of a table's preferences, None where it has none, and the column of its system turns."""
    if columns and set(named_columns(columns)) <= set(table.columns):
        return mapped(columns, table, source), columns.system
    system = columns.system if columns and columns.system in table else system_column(table)
    _, shape = recognised(table) or (None, None)
    return shape, system


def _left_out(why: dict[int, str]) -> str:
    """How many rows have no prompt that can be answered, by the reason, and the first of them."""
    rows: dict[str, list[int]] = {}
    for row, reason in why.items():
        rows.setdefault(reason, []).append(row)
    return "; ".join(f"{len(of)} {REASONS[reason]} (row {of[0]})" for reason, of in rows.items())


def _prompts(table: pd.DataFrame, source: str, columns: Columns | None) -> tuple[list[Turns | None], dict[int, str]]:
    """Each row's prompt, None where it has none that can be answered; and why, by the number of the row from 1."""
    data, (shape, system) = Source(source, table), _shape(table, source, columns)
    known = [columns.prompt, *COLUMNS] if columns else COLUMNS
    column = next((name for name in known if name in table), None)
    if shape:
        cells: Iterable[tuple[Any, Any, str | None]] = ((row.prompt, row.chosen, row.problem) for row in shape.rows(data))
    elif column:
        if len(table) and table[column].map(_is_json).all():
            raise BadInput(
                f"{source}: column {column!r} holds lists written as text, such as {table[column].iloc[0][:60]!r}: a JSON "
                "lines or parquet file can hold them as lists of turns, {role, content} each"
            )
        about = columns.about if columns else about_column(table, [column])
        about = about if about in table else None
        cells = ((joined(cell, more), None, None) for cell, more in zip(table[column], data.cells(about), strict=True))
    else:
        raise BadInput(
            f"{source}: columns {', '.join(map(str, table.columns))} hold no prompt; generate.prompts needs a file with a column "
            "'prompt' (or 'question'), of texts or conversations, or one of preferences"
        )
    found: list[Turns | None] = []
    why = {}
    for number, ((prompt, chosen, problem), told, beside) in enumerate(
        zip(cells, data.cells(system), beside_texts(table), strict=True), start=1
    ):
        try:
            turns = as_turns(prompt, "user")
            # A conversation by itself may end with a response.
            prompt = turns[:-1] if not shape and turns and turns[-1]["role"] == "assistant" else prompt
            if beside:
                raise Unusable(beside)
            if problem and prompt is None is chosen:
                raise Unusable(problem)  # its format made nothing of the row, and says why
            found.append(prompt_of(prompt, as_turns(chosen, "assistant")[:-1], told))
        except Unusable as error:
            found.append(None)
            why[number] = str(error)
    return found, why
