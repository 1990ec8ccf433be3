"""Which licence the base model says it is under."""

import re
from pathlib import Path

import yaml
from gguf import GGUFReader
from transformers.utils.hub import cached_file

from preference_study.models.embedded import embedded_file

_FRONT = re.compile(r"\A---\s*\n(.*?)\n---\s*$", re.DOTALL | re.MULTILINE)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")  # as the hub writes them: apache-2.0, llama3.2


def licence_of(name: str, revision: str | None = None) -> str | None:
    """The licence as the embedded model's file, or the model card in a folder or on the hub, names it; None where nothing does.

    Args:
        name: model.name.
    """
    if name == "embedded":
        field = GGUFReader(embedded_file()).get_field("general.license")
        return None if field is None else str(field.contents())
    try:
        card = f"{name}/README.md" if Path(name).is_dir() else cached_file(name, "README.md", revision=revision)
        return licence_in(Path(card or "").read_text(encoding="utf-8"))
    except (OSError, ValueError):  # no card, no internet, or no text
        return None


def licence_in(card: str) -> str | None:
    """The licence that a model card's front matter names; None where it names none, or it is no name of a licence."""
    found = _FRONT.search(card)
    try:
        facts = yaml.safe_load(found.group(1)) if found else None
    except yaml.YAMLError:
        return None
    if not isinstance(facts, dict):
        return None
    named = facts.get("license_name") if facts.get("license") == "other" else facts.get("license")
    return named if isinstance(named, str) and _NAME.fullmatch(named) else None
