"""What a judge's settings come to: its entry in params.yaml with all that its judgements depend on besides."""

import hashlib
from pathlib import Path
from typing import Any

from preference_study.judges.pairwise import check_question
from preference_study.params import Params

BASE = "models/base"


def resolved(params: Params, name: str, template: str | None) -> dict[str, Any]:
    """The settings of a judge, and nothing that concerns other judges alone.

    Args:
        template: the text of a pairwise judge's question; None for other kinds.

    Raises:
        BadInput: the template lacks a place or a label.
    """
    entry = next(judge for judge in params.judges if judge.name == name)
    found = entry.model_dump()
    if entry.kind == "cross_fitted":
        reward = params.reward
        return found | {"variant": reward.judge, "max_length": reward.max_length, "aggregate": reward.aggregate.model_dump()}
    if template is not None:
        found |= {"question": check_question(template, entry.template), "seed": params.seed}
    if entry.kind != "endpoint":
        found |= {"date": params.model.date, "model": BASE if entry.model == "base" else entry.model}
    return found


def digest(folder: str | Path) -> str:
    """Of the names and bytes of all files in a folder."""
    found = hashlib.sha256()
    for path in sorted(path for path in Path(folder).rglob("*") if path.is_file()):
        with path.open("rb") as file:
            found.update(f"{path.relative_to(folder)} {hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    return found.hexdigest()
