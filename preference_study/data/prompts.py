"""Which prompts are answered."""

import json
from collections.abc import Iterable
from typing import Any

import pandas as pd

from preference_study.data.conversations import Turns, Unusable, as_turns, is_missing, prompt_key, prompt_of
from preference_study.data.pairs import beside_texts, cluster_labels, pair_id, system_column
from preference_study.errors import BadInput
from preference_study.formats import FORMATS, Source, recognised

# Of a file that holds no preferences, the columns that can hold a prompt or a conversation; the first that is there is taken.
COLUMNS = ("prompt", "question", "messages", "conversations")


def choose_prompts(
    table: pd.DataFrame,
    limit: int | None,
    seed: int,
    source: str,
    cluster: str | None = None,
    category: str | None = None,
) -> pd.DataFrame:
    """The distinct prompts of a table, at most `limit` by a seeded sample: id, cluster, prompt (turns) and instruction, if there.

    Where the table has the column that `category` names, what it holds comes out as texts in a column of that name.

    A file of preferences has the prompts that its pairs have. Rows without a prompt that can be answered are left out. A prompt's
    cluster is what the first of its rows names in the column `cluster`, or else in one called so, as prepared pairs have; where
    there is neither, the prompt is its own.

    Raises:
        BadInput: the table has no column that can hold a prompt, or no prompt in it; or as the file's format.
    """
    prompts = _prompts(table, source)
    found = table[["instruction"] if "instruction" in table else []].assign(prompt=pd.Series(prompts, table.index, dtype=object))
    if category in table:
        cells = [None if is_missing(cell) or not str(cell).strip() else str(cell).strip() for cell in table[category]]
        found = found.assign(category=pd.Series(cells, table.index, dtype=object))
    found = found[found["prompt"].notna()]
    keys = found["prompt"].map(prompt_key)
    found = found.assign(id=keys.map(pair_id))
    column = next((name for name in (cluster, "cluster") if name in table), None)
    labels = found["id"] if column is None else pd.Series(list(cluster_labels(table, column, source)), table.index)
    found = found.assign(cluster=labels)[~keys.duplicated()]
    if found.empty:
        raise BadInput(f"{source}: it holds no prompt that ends with the user's turn")
    if limit is not None and limit < len(found):
        found = found.sample(limit, random_state=seed).sort_index()
    return found.reset_index(drop=True)


def _is_json(cell: object) -> bool:
    """Whether a text is a list or an object as JSON writes it."""
    try:
        return isinstance(cell, str) and isinstance(json.loads(cell), (list, dict))
    except ValueError:
        return False


def _prompts(table: pd.DataFrame, source: str) -> list[Turns | None]:
    """Each row's prompt; None where it has none that can be answered."""
    data, shape = Source(source, table), recognised(table)
    column = next((name for name in COLUMNS if name in table), None)
    if shape:
        cells: Iterable[tuple[Any, Any]] = ((row.prompt, row.chosen) for row in FORMATS[shape].rows(data))
    elif column:
        if len(table) and table[column].map(_is_json).all():
            raise BadInput(
                f"{source}: column {column!r} holds lists written as text, such as {table[column].iloc[0][:60]!r}: a JSON "
                "lines or parquet file can hold them as lists of turns, {role, content} each"
            )
        cells = ((cell, None) for cell in table[column])
    else:
        raise BadInput(
            f"{source}: columns {', '.join(map(str, table.columns))} hold no prompt; generate.prompts needs a file with a column "
            "'prompt' (or 'question'), of texts or conversations, or one of preferences"
        )
    found = []
    for (prompt, chosen), system, beside in zip(cells, data.cells(system_column(table)), beside_texts(table), strict=True):
        try:
            turns = as_turns(prompt, "user")
            # A conversation by itself may end with a response.
            prompt = turns[:-1] if not shape and turns and turns[-1]["role"] == "assistant" else prompt
            found.append(None if beside else prompt_of(prompt, as_turns(chosen, "assistant")[:-1], system))
        except Unusable:
            found.append(None)
    return found
