"""Preference pairs: keeping the rows that can be used, and saying which cannot and why."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence, Set
from itertools import repeat
from typing import Any, Protocol

import numpy as np
import pandas as pd

from preference_study.data.conversations import is_missing, is_whole, prompt_key, spoken
from preference_study.errors import BadInput
from preference_study.texts.words import words

TEXTS = ("prompt", "chosen", "rejected")
OWN = ("id", "cluster", *TEXTS, "chosen_words", "rejected_words")
# Names that later stages give to columns of their own.
TAKEN = {
    *OWN, "problem", "chosen_reward", "rejected_reward", "correct", "perturbation", "policy", "response", "reward",
    "preference", "as_first", "as_second", "finished", "letter", "gold", "flaw", "chosen_gold", "rejected_gold",
}  # fmt: skip
# Columns that make a row unusable where they hold anything, by the reason.
BESIDE = {
    "not_text": ("image", "images", "audio", "audios", "video", "videos"),
    "tool_calls": ("tools",),
    "earlier_turns": ("history",),  # in a list, which Stanford's prompts in a column of that name are not
}
NOTHING = {"", "[]", "{}", "null", "None", "False", "0"}  # what such a column holds where there is none, written as a text
# Why a row is dropped, with what a reader is told.
REASONS = {
    "bad_preference": "no clear preference",
    "tie": "a tie",
    "not_a_conversation": "neither text nor messages",
    "unknown_role": "a turn of an unknown role",
    "not_text": "pictures or other parts that are not text",
    "tool_calls": "tool calls",
    "earlier_turns": "earlier turns in a column of their own, which belong in the prompt",
    "thoughts": "thoughts beside the text, which belong in it where they were judged",
    "not_the_assistants": "a last turn that is not the assistant’s",
    "conversations_differ": "conversations that differ before the last turn",
    "prompt_contradicts": "a prompt that is not in the conversations, or has another system turn than its column",
    "no_user_turn": "no turn of the user’s",
    "not_the_users_turn": "a prompt that does not end with the user’s turn",
    "empty_text": "an empty text",
    "turns_in_text": "turns written into one text, by a chat template or otherwise",
    "broken_text": "characters that are no text",
    "equal_responses": "two equal responses",
    "duplicate": "a repeated row",
    "prompt_in_validation": "a prompt that validation has too",
    "prompt_near_validation": "a prompt that is nearly one of validation’s",
}


class Table(Protocol):
    """Raw data by columns: a pandas table, or a `RawFile`, which reads the cells of one from disk each time it is asked for."""

    columns: Sequence[str]

    def __len__(self) -> int: ...

    def __contains__(self, name: object) -> bool: ...

    def __getitem__(self, name: str) -> Iterable[Any]: ...


def usable_pairs(
    pairs: pd.DataFrame, validation_prompts: Set[str], near_validation: Set[str] = frozenset(), seen: set[bytes] | None = None
) -> tuple[pd.DataFrame, dict[str, list[int]]]:
    """Keep the rows that can be used, and say which were dropped and why.

    Args:
        pairs: as from `to_pairs`, all of a file's or a piece of them, whose index counts the file's rows from 0; their cluster
            is the prompt's id where they have none.
        validation_prompts: prompts, as `prompt_key` writes them, that a row must not have; empty for the validation split itself.
        near_validation: what is said in others that it must not have, as `spoken` gives it.
        seen: digests of the rows of earlier pieces, which are not to come again; those of this one are added to it.

    Returns:
        The kept rows as id, cluster, prompt, chosen, rejected, chosen_words, rejected_words and extra columns, in their order,
        and per reason the row numbers (from 1) dropped for it. A row is counted under the first reason that applies.
    """
    seen = set() if seen is None else seen
    dropped = {reason: (pairs.index[pairs["problem"] == reason] + 1).tolist() for reason in REASONS}
    kept = pairs[pairs["problem"].isna()].drop(columns="problem")
    for reason, bad in (
        ("equal_responses", lambda table: table["chosen"] == table["rejected"]),
        ("duplicate", lambda table: [_repeats(digest, seen) for digest in map(_digest, *_keys(table))]),
        ("prompt_in_validation", lambda table: table["prompt"].map(prompt_key).isin(validation_prompts)),
        ("prompt_near_validation", lambda table: table["prompt"].map(spoken).isin(near_validation)),
    ):
        found = np.array(bad(kept), dtype=bool)
        dropped[reason] = (kept.index[found] + 1).tolist()
        kept = kept[~found]
    kept = kept.assign(
        id=list(map(pair_id, *_keys(kept))),
        cluster=kept["cluster"] if "cluster" in kept else kept["prompt"].map(prompt_key).map(pair_id),
        chosen_words=kept["chosen"].map(lambda text: len(words(text))).astype(int),
        rejected_words=kept["rejected"].map(lambda text: len(words(text))).astype(int),
    ).reset_index(drop=True)
    return kept[[*OWN, *(name for name in kept.columns if name not in OWN)]], dropped


def _keys(pairs: pd.DataFrame) -> list[list[str]]:
    """The three texts of all pairs, the prompt as a text."""
    return [[prompt_key(prompt) for prompt in pairs["prompt"]], list(pairs["chosen"]), list(pairs["rejected"])]


def _repeats(digest: bytes, seen: set[bytes]) -> bool:
    """Whether it was seen before; after this it was."""
    before = len(seen)
    seen.add(digest)
    return len(seen) == before


def _digest(*texts: str) -> bytes:
    return hashlib.sha256(json.dumps(texts, ensure_ascii=False).encode()).digest()


def pair_id(*texts: str) -> str:
    """16 hexadecimal digits that depend on the texts alone."""
    return _digest(*texts).hex()[:16]


def label(cell: Any) -> str | None:
    """The group that a cell names, as a text without white space around it; None where it names none.

    A whole number has no decimals: beside a missing one pandas makes it a fraction.
    """
    if is_missing(cell):
        return None
    whole = isinstance(cell, float) and cell.is_integer()
    return str(int(cell) if whole else cell).strip() or None


def labels(table: Table, column: str, source: str) -> Iterator[str | None]:
    """The `label` of each cell of a column of raw data.

    Raises, when they are asked for:
        BadInput: a cell can be written nowhere.
    """
    for number, cell in enumerate(table[column], start=1):
        found = label(cell)
        yield None if found is None else _writable(found, number, column, source)


def _writable(text: str, number: int, column: str, source: str) -> str:
    if not is_whole(text):
        raise BadInput(
            f"{source}: row {number}, column {column!r} holds half of a pair of UTF-16 surrogates, which is no character: "
            f"{text[:60]!r}; remove it, or write the whole character"
        )
    return text


def cluster_labels(table: Table, column: str, source: str) -> Iterator[str]:
    """The clusters that a column of raw data names, as texts.

    Raises, when they are asked for:
        BadInput: the column is not there, a row names none, or one that can be written nowhere.
    """
    if column not in table:
        raise BadInput(
            f"{source}: data.cluster names column {column!r}, and the file has {', '.join(map(str, table.columns))}; name one of "
            "these in params.yaml, or set data.cluster to null, which takes the prompt"
        )
    for number, cell in enumerate(table[column], start=1):
        named = is_missing(cell) or isinstance(cell, str | int | float)
        text = label(cell) if named else json.dumps(cell, default=str, ensure_ascii=False)
        if text is None:
            raise BadInput(
                f"{source}: row {number} has nothing in column {column!r}, which says what its cluster is; fill it in, or set "
                "data.cluster to null, which takes the prompt"
            )
        yield _writable(text, number, column, source)


def system_column(raw: Table) -> str | None:
    """The column of a table that holds system turns: one named so, of texts or messages; numbers there are something else."""
    texts = (str, dict, list)
    named = [name for name in ("system", "system_prompt") if name in raw]
    return next((name for name in named if all(is_missing(cell) or isinstance(cell, texts) for cell in raw[name])), None)


def beside_texts(raw: Table) -> Iterator[str | None]:
    """Per row the reason to drop it for what stands beside its texts: pictures or sounds, of which they speak, or tools."""
    there = [(reason, name) for reason, names in BESIDE.items() for name in names if name in raw]
    reasons = [reason for reason, _ in there]
    for cells in zip(*(raw[name] for _, name in there), strict=True) if there else repeat((), len(raw)):
        filled = [
            not is_missing(cell) and str(cell).strip() not in NOTHING and (reason != "earlier_turns" or not isinstance(cell, str))
            for cell, reason in zip(cells, reasons, strict=True)
        ]
        yield next((reason for reason, here in zip(reversed(reasons), reversed(filled), strict=True) if here), None)


def extra_columns(raw: Table, used: Set[str | None] = frozenset()) -> tuple[dict[str, str], list[str]]:
    """The columns of a table that can travel with its pairs: texts, numbers or truth values, one kind a column, with gaps.

    Args:
        used: columns that are something else.

    Returns:
        Their pandas types by name, and the names of the others: lists, dates, mixed kinds, whole numbers beyond 64 bits, and
        names that later stages give to columns of their own.
    """
    names = [name for name in raw.columns if name not in used]
    kinds = {name: None if name in TAKEN else _dtype(raw[name]) for name in names}
    return {name: kind for name, kind in kinds.items() if kind}, [str(name) for name, kind in kinds.items() if not kind]


def _dtype(cells: Iterable[Any]) -> str | None:
    """The pandas type of a column's cells; None where they do not travel, which some cells may be enough to tell."""
    kinds: set[type] = set()
    least, most = 0.0, 0.0
    for cell in cells:
        if is_missing(cell):
            continue
        kinds.add(type(cell))
        if kinds == {str}:
            if not is_whole(cell):
                return None
        elif kinds <= {int, float}:
            least, most = min(least, cell), max(most, cell)
        elif kinds != {bool}:
            return None
    if kinds == {int}:
        return "Int64" if least >= -(2**63) and most < 2**63 else None
    if kinds and kinds <= {int, float}:
        return "float64" if max(-least, most) < 2**63 else None
    return {str: "object", bool: "boolean"}[kinds.pop()] if kinds else None
