"""Which prompts are answered."""

import pandas as pd

from preference_study.data.pairs import pair_id
from preference_study.errors import BadInput


def choose_prompts(table: pd.DataFrame, limit: int | None, seed: int, source: str) -> pd.DataFrame:
    """The distinct prompts of a table, at most `limit` by a seeded sample: id, prompt and, where there is one, instruction.

    Raises:
        BadInput: the table has neither a prompt nor a question column, or no prompt in it.
    """
    table = table.rename(columns={"question": "prompt"})
    if "prompt" not in table:
        raise BadInput(f"{source}: column 'prompt' (or 'question') is missing; generate.prompts needs a file that has one")
    table = table[[column for column in ("prompt", "instruction") if column in table]]
    is_text = table["prompt"].map(lambda text: isinstance(text, str) and bool(text.strip()))
    table = table[is_text].drop_duplicates("prompt")
    if table.empty:
        raise BadInput(f"{source}: column 'prompt' holds no text")
    if limit is not None and limit < len(table):
        table = table.sample(limit, random_state=seed).sort_index()
    return table.reset_index(drop=True).assign(id=lambda t: t["prompt"].map(pair_id))
