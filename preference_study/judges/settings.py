"""What a judge's settings come to: its entry in params.yaml with all that its judgements depend on besides."""

import hashlib
from pathlib import Path
from typing import Any

from preference_study.errors import BadInput
from preference_study.judges.pairwise import check_question
from preference_study.params import AnyJudge

BASE = "models/base"


def question_of(entry: AnyJudge) -> str | None:
    """The template of a pairwise judge's question; None for other kinds.

    Raises:
        BadInput: there is no such file, it is not UTF-8, or lacks a place or a label.
    """
    if not hasattr(entry, "template"):
        return None
    path = Path(entry.template)
    if not path.is_file():
        raise BadInput(f"judge {entry.name}: there is no file {path} to ask with; judges/pairwise.txt is one")
    try:
        return check_question(path.read_text(encoding="utf-8"), entry.template)
    except UnicodeDecodeError:
        raise BadInput(f"judge {entry.name}: {path} is not UTF-8; save the file as UTF-8") from None


def resolved(entry: AnyJudge, template: str | None, seed: int, day: str, own: dict[str, Any]) -> dict[str, Any]:
    """The settings of a judge, and nothing that concerns other judges alone.

    Args:
        entry: of judges in params.yaml.
        template: from `question_of`.
        seed: that draws which cases a pairwise judge is asked about.
        day: what a chat template that writes the date takes for today.
        own: of the study's own reward model, for a cross-fitted one: variant, max_length, aggregate.

    Raises:
        BadInput: the template lacks a place or a label.
    """
    found = entry.model_dump()
    if entry.kind == "cross_fitted":
        return found | own
    if template is not None:
        found |= {"question": check_question(template, entry.template), "seed": seed}
    if entry.kind != "endpoint":
        found |= {"date": day, "model": BASE if entry.model == "base" else entry.model}
    return found


def digest(folder: str | Path) -> str:
    """Of the names and bytes of all files in a folder."""
    found = hashlib.sha256()
    for path in sorted(path for path in Path(folder).rglob("*") if path.is_file()):
        with path.open("rb") as file:
            found.update(f"{path.relative_to(folder)} {hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    return found.hexdigest()
