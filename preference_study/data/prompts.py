"""Which prompts are answered."""

import pandas as pd

from preference_study.data.conversations import Turns, Unusable, as_turns, check_prompt, is_missing, is_whole, prompt_key
from preference_study.data.pairs import pair_id
from preference_study.errors import BadInput

# Columns that hold a prompt, the first that is there; the last three may end with a response, which is left off.
COLUMNS = ("prompt", "question", "input", "context", "history", "conversations", "messages", "chosen")
SYSTEM = ("system", "system_prompt")


def choose_prompts(table: pd.DataFrame, limit: int | None, seed: int, source: str) -> pd.DataFrame:
    """The distinct prompts of a table, at most `limit` by a seeded sample: id, prompt (turns) and instruction, if there.

    Rows without a prompt that can be answered are left out.

    Raises:
        BadInput: the table has no column that can hold a prompt, or no prompt in it.
    """
    column = next((name for name in COLUMNS if name in table), None)
    if column is None:
        raise BadInput(
            f"{source}: columns {', '.join(map(str, table.columns))} hold no prompt; generate.prompts needs a file with a column "
            "'prompt' (or 'question'), of texts or conversations"
        )
    system = next((name for name in SYSTEM if name in table), None)
    found = table.assign(prompt=[_prompt(row[column], row[system] if system else None) for row in table.to_dict("records")])
    found = found[found["prompt"].notna()][["prompt", *(["instruction"] if "instruction" in table else [])]]
    keys = found["prompt"].map(prompt_key)
    found = found.assign(id=keys.map(pair_id))[~keys.duplicated()]
    if found.empty:
        raise BadInput(f"{source}: column {column!r} holds no prompt that ends with the user's turn")
    if limit is not None and limit < len(found):
        found = found.sample(limit, random_state=seed).sort_index()
    return found.reset_index(drop=True)


def _prompt(cell: object, system: object) -> Turns | None:
    try:
        turns = as_turns(cell, "user")
        if turns and turns[-1]["role"] == "assistant":
            turns = turns[:-1]
        if not is_missing(system) and str(system).strip() and turns[:1] and turns[0]["role"] != "system":
            turns = [*as_turns(system, "system"), *turns]
        check_prompt(turns)
    except Unusable:
        return None
    return turns if all(turn["content"] and is_whole(turn["content"]) for turn in turns) else None
