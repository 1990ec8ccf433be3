"""Asking which of two responses is better: the question in a file, both orders, and what comes of the two answers."""

import re
from collections.abc import Sequence

import numpy as np
import pandas as pd

from preference_study.errors import BadInput

LABELS = ("A", "B")  # of the first and the second response, as the template calls them
PLACES = ("prompt", "first", "second")
_PLACE = re.compile(r"\{(prompt|first|second)\}")
_AROUND = re.compile(r"^(the )?(better )?answer( is)?\W+|\W+", flags=re.IGNORECASE)
_MARKED = re.compile(r"\[\[([AB])\]\]")


def check_question(template: str, source: str) -> str:
    """The template as it is.

    Raises:
        BadInput: a place for the prompt or a response is missing, or a label is.
    """
    for place in PLACES:
        if f"{{{place}}}" not in template:
            raise BadInput(
                f"{source}: {{{place}}} is not in it, so that the judge would not see that; judges/pairwise.txt has it"
            )
    for label in LABELS:
        if not re.search(rf"\b{label}\b", template):
            raise BadInput(f"{source}: it does not say {label}, which is what the judge is to answer; judges/pairwise.txt does")
    return template


def question(template: str, prompt: Sequence[dict[str, str]], first: str, second: str) -> str:
    """The template with the texts in their places. What a text holds is never taken for a place.

    A prompt of one turn stands as it is; of several, each begins with its role.
    """
    turns = [turn["content"] for turn in prompt]
    if len(prompt) > 1:
        turns = [f"{turn['role'].capitalize()}: {turn['content']}" for turn in prompt]
    texts = {"prompt": "\n\n".join(turns), "first": first, "second": second}
    return _PLACE.sub(lambda found: texts[found.group(1)], template)


def questions(template: str, table: pd.DataFrame) -> pd.DataFrame:
    """Both orders of each case whose responses differ.

    Args:
        table: of cases.

    Returns:
        case (its row in the table), order ("as_first", "as_second": where the response stands), question; a case's two rows
        follow one another.
    """
    rows = []
    for number, row in enumerate(table.itertuples()):
        if row.response != row.other:
            rows.append((number, "as_first", question(template, row.prompt, row.response, row.other)))
            rows.append((number, "as_second", question(template, row.prompt, row.other, row.response)))
    return pd.DataFrame(rows, columns=["case", "order", "question"])


def both_orders(table: pd.DataFrame, asked: pd.DataFrame, for_first: Sequence[float]) -> pd.DataFrame:
    """The cases with preference, as_first and as_second.

    Args:
        table: of cases.
        asked: of `questions`.
        for_first: per question the probability of the first label; NaN where the judge did not see the question, or named no
            label.

    Returns:
        The preference is the mean of both orders, so that a leaning to a place takes nothing from either response; one half where
        both responses are the same text; NaN where an order has none: of one order alone a leaning to a place would be all.
    """
    values = np.asarray(for_first, dtype=float)
    own = pd.DataFrame({"case": asked["case"], "order": asked["order"], "value": values})
    own.loc[own["order"] == "as_second", "value"] = 1 - own["value"]
    orders = own.pivot(index="case", columns="order", values="value")
    orders = orders.reindex(index=range(len(table)), columns=["as_first", "as_second"]).set_axis(table.index)
    preference = (orders["as_first"] + orders["as_second"]) / 2
    preference = preference.where((table["response"] != table["other"]).to_numpy(), 0.5)
    return table.assign(preference=preference, **orders)


def answered_label(text: str) -> str | None:
    """The label that an answer gives; None where it gives none, or both.

    An answer is a label by itself, has it alone on its first or its last line, or marks it [[A]]. Of a text that goes on, nothing
    is guessed: "A" is an English word. A thought, be it cut off, is no answer.
    """
    text = re.sub(r"<think>.*?(</think>|\Z)", "", text, flags=re.DOTALL).strip()
    if marked := set(_MARKED.findall(text)):
        return marked.pop() if len(marked) == 1 else None
    lines = text.splitlines() or [""]
    found = {_AROUND.sub("", line.strip()) for line in (lines[0], lines[-1])} & set(LABELS)
    return found.pop() if len(found) == 1 else None
