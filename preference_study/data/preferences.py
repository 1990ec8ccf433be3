"""Human preferences: reading them from a file, recognising their shape, and keeping the rows that can be used."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pandas as pd
import pandera.pandas as pa
import pyarrow as arrow
from pyarrow import parquet

from preference_study.texts.words import words

STUDY = ("question", "response_1", "response_2", "overall_response")
SAFE_RLHF = ("prompt", "response_0", "response_1", "better_response_id")
SHAPES = f"{', '.join(STUDY)}; or prompt, chosen, rejected; or {', '.join(SAFE_RLHF)}; or chosen, rejected transcripts"
HUMAN, ASSISTANT = "\n\nHuman:", "\n\nAssistant:"
TEXTS = ("prompt", "chosen", "rejected")


class BadInput(Exception):
    """Input that cannot be used; the message names the file, the row or column, and the remedy."""


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


def _flatten(messages: Any) -> Any:
    """The text of a conversation: of one message its content, of several a transcript; anything else as it is."""
    if isinstance(messages, (list, tuple)) or hasattr(messages, "tolist"):
        turns = list(messages)
        if not turns or not all(isinstance(turn, dict) and isinstance(turn.get("content"), str) for turn in turns):
            return None
        if len(turns) == 1:
            return turns[0]["content"]
        names = {"user": "Human", "assistant": "Assistant"}
        return "\n\n".join(f"{names.get(t.get('role'), str(t.get('role')).title())}: {t['content']}" for t in turns)
    return messages


def _split_last(conversation: Any) -> tuple[Any, Any]:
    """A conversation as (all before the last answer, the last answer); (None, None) where there is no such split."""
    if isinstance(conversation, str):
        head, mark, answer = conversation.rpartition(ASSISTANT)
        if not mark:
            return None, None
        # A single question stands bare; of a longer exchange the speakers' names are needed to read it.
        single = head.count(HUMAN) == 1 and ASSISTANT not in head and head.startswith(HUMAN)
        return (head[len(HUMAN) :] if single else head).strip(), answer.strip()
    turns = list(conversation) if hasattr(conversation, "__iter__") else []
    return (_flatten(turns[:-1]), _flatten(turns[-1:])) if len(turns) > 1 else (None, None)


def to_pairs(raw: pd.DataFrame, source: str) -> pd.DataFrame:
    """Bring any recognised shape to prompt, chosen, rejected, keeping extra columns as they are.

    A row whose preference is neither of the two allowed values gets `bad_preference` True and empty texts.

    Args:
        raw: a table as `read_table_file` gives it.
        source: what to call the table in an error.

    Raises:
        BadInput: the columns are of no recognised shape, or chosen and rejected are no transcripts and there is no prompt.
    """
    columns = set(raw.columns)
    for (prompt, first, second, preference), values in ((STUDY, ("1", "2")), (SAFE_RLHF, ("0", "1"))):
        if columns >= {prompt, first, second, preference}:
            chosen_is = raw[preference].map(_integer_text)
            valid = chosen_is.isin(values)
            is_first = chosen_is == values[0]
            pairs = pd.DataFrame(
                {
                    "prompt": raw[prompt],
                    "chosen": raw[first].where(is_first, raw[second]),
                    "rejected": raw[second].where(is_first, raw[first]),
                    "bad_preference": ~valid,
                }
            )
            return pairs.join(raw.drop(columns=[prompt, first, second, preference]))
        present = columns & {first, second, preference}
        if len(present) == 2 or (present and prompt in columns and not columns & {"chosen", "rejected"}):
            missing = sorted({prompt, first, second, preference} - columns)
            raise BadInput(
                f"{source}: column {missing[0]!r} is missing; expected {', '.join((prompt, first, second, preference))}"
            )
    if columns >= {"chosen", "rejected"}:
        pairs = raw.copy()
        if "prompt" in columns:
            for column in TEXTS:
                pairs[column] = raw[column].map(_flatten)
        else:
            chosen, rejected = raw["chosen"].map(_split_last), raw["rejected"].map(_split_last)
            if not any(prompt for prompt, _ in chosen):
                raise BadInput(
                    f"{source}: column 'prompt' is missing, and the texts under 'chosen' are no transcripts with "
                    "'Human:' and 'Assistant:' turns; add the prompt"
                )
            same = chosen.str[0] == rejected.str[0]
            pairs["prompt"] = chosen.str[0].where(same, None)
            pairs["chosen"], pairs["rejected"] = chosen.str[1], rejected.str[1]
        return pairs.assign(bad_preference=False)
    raise BadInput(f"{source}: columns {', '.join(map(str, raw.columns))} are of no known shape; expected {SHAPES}")


def _integer_text(value: Any) -> str:
    """A preference as the text of an integer: 1, 1.0, '1' and ' 1 ' are all '1'; a missing one is ''."""
    text = str(value).strip()
    return text[:-2] if text.endswith(".0") else text


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
