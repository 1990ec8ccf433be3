"""Which run a page is of: its commit, experiment, time and data."""

import hashlib
import os
import subprocess
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

NAMED = 3  # changed files
# What a run of the study itself writes into the tree; a change there says nothing about what was run.
WRITTEN = (":(exclude)dvc.lock", ":(exclude)metrics")


def origin(folder: Path, data: Mapping[str, str], seed: int, now: datetime, environment: Mapping[str, str] = os.environ) -> dict:
    """Which run this is.

    Args:
        folder: the project's root.
        data: the data files, by what they are; relative to the folder.
        now: with its zone.
        environment: DVC names the experiment there that it runs.

    Returns:
        {code, experiment, made, seed, data}: the first three and the seed as texts, experiment None where this is none; data the
        rows {what, file, md5}, md5 None where the file is not there.
    """
    return {
        "code": code(folder),
        "experiment": environment.get("DVC_EXP_NAME") or None,
        "made": now.isoformat(sep=" ", timespec="seconds"),
        "seed": str(seed),
        "data": [{"what": what, "file": file, "md5": md5(folder / file)} for what, file in data.items()],
    }


def code(folder: Path) -> str:
    """The commit that is checked out in a folder and what was changed since, in words; also where there is none.

    What the study writes itself is no change.
    """
    try:
        # Of a copy that lies in somebody else's repository, the commit there says nothing.
        _git(folder, "rev-parse", "--verify", "--quiet", "HEAD:./dvc.yaml")
        commit = _git(folder, "rev-parse", "--short=12", "HEAD").strip()
        status = _git(folder, "status", "--porcelain", "-z", "--no-renames", "--", ".", *WRITTEN)
    except FileNotFoundError:
        return "code of an unknown commit: git is not installed here"
    except subprocess.CalledProcessError:
        return "code of an unknown commit: this folder is not a git repository's"
    changed = [line[3:] for line in status.split("\0") if line]
    if not changed:
        return f"commit {commit}, without uncommitted changes"
    named = ", ".join(changed[:NAMED]) + (f" and {len(changed) - NAMED} more" if len(changed) > NAMED else "")
    return f"commit {commit} with uncommitted changes: {named}"


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, encoding="utf-8", errors="replace").stdout


def md5(path: Path) -> str | None:
    """The MD5 digest of a file, as DVC writes it to dvc.lock; None where it is not there."""
    if not path.is_file():
        return None
    with path.open("rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()
