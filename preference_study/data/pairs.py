"""Preference pairs: keeping the rows that can be used, and saying which cannot and why."""

import hashlib
import json
from typing import Any

import pandas as pd
import pandera.pandas as pa

from preference_study.texts.words import words

TEXTS = ("prompt", "chosen", "rejected")


def _is_text(values: pd.Series) -> pd.Series:
    return values.map(lambda value: isinstance(value, str) and bool(value.strip()))


def _checks(validation_prompts: set[str]) -> dict[str, pa.Check]:
    """One check per reason to drop a row, in the order in which they are tried."""
    return {
        "bad_preference": pa.Check(lambda t: ~t["bad_preference"].astype(bool), ignore_na=False),
        "empty_text": pa.Check(
            lambda t: _is_text(t["prompt"]) & _is_text(t["chosen"]) & _is_text(t["rejected"]), ignore_na=False
        ),
        "equal_responses": pa.Check(lambda t: t["chosen"].map(_stripped) != t["rejected"].map(_stripped), ignore_na=False),
        "duplicate": pa.Check(lambda t: ~t[list(TEXTS)].map(_stripped).duplicated(), ignore_na=False),
        "prompt_in_validation": pa.Check(lambda t: ~t["prompt"].map(_stripped).isin(validation_prompts), ignore_na=False),
    }


def _stripped(value: Any) -> Any:
    return value.strip() if isinstance(value, str) else value


def usable_pairs(pairs: pd.DataFrame, validation_prompts: set[str]) -> tuple[pd.DataFrame, dict[str, list[int]]]:
    """Keep the rows that can be used, and say which were dropped and why.

    Args:
        pairs: as from `to_pairs`.
        validation_prompts: prompts that a row must not have; empty for the validation split itself.

    Returns:
        The kept rows as id, prompt, chosen, rejected, chosen_words, rejected_words and extra columns, in their order, and
        per reason the row numbers (from 1) dropped for it. A row is counted under the first reason that applies.
    """
    kept = pairs.reset_index(drop=True)
    dropped: dict[str, list[int]] = {}
    for reason, check in _checks(validation_prompts).items():
        try:
            pa.DataFrameSchema(checks=check).validate(kept, lazy=True)
            bad = []
        except pa.errors.SchemaErrors as errors:
            bad = sorted(set(errors.failure_cases["index"].dropna().astype(int)))
        dropped[reason] = [row + 1 for row in bad]
        kept = kept.drop(index=bad)
    kept = kept.drop(columns="bad_preference").reset_index(drop=True)
    for column in TEXTS:
        kept[column] = kept[column].map(_stripped)
    kept.insert(0, "id", [pair_id(*texts) for texts in kept[list(TEXTS)].itertuples(index=False)])
    for side in ("chosen", "rejected"):
        kept[f"{side}_words"] = kept[side].map(lambda text: len(words(text)))
    order = ["id", *TEXTS, "chosen_words", "rejected_words"]
    return kept[order + [c for c in kept.columns if c not in order]], dropped


def pair_id(*texts: str) -> str:
    """16 hexadecimal digits that depend on the texts alone."""
    return hashlib.sha256(json.dumps(texts, ensure_ascii=False).encode()).hexdigest()[:16]
