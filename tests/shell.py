"""README and docs as a newcomer follows them: the commands that stand there, typed into a clean shell."""

import os
import re
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import ROOT
from tests.warm_process import warm_start
from tests.workspace import run, tiny_repository

ACTIVATE = ROOT / ".venv/bin/activate"


@dataclass(frozen=True)
class Finished:
    """A repository in which the tiny study ran from nothing and was committed.

    Attributes:
        folder: its root.
        printed: what the run printed.
        activate: the command that README begins every new shell with.
    """

    folder: Path
    printed: str
    activate: str


def commands(file: str) -> list[str]:
    """The commands in the blocks of shell of README or docs, as they stand there; those over several lines joined."""
    found, fence = [], None
    for line in (ROOT / file).read_text().replace("\\\n", " ").splitlines():
        if line.startswith("```"):
            fence = line if fence is None else None
        elif fence in ("```", "```bash") and re.match(r"(git|cd|make|source|dvc|python) ", line):
            found.append(line)
    return found


def type_in(folder: Path, *lines: str) -> str:
    """Type commands into a clean shell, which knows nothing of this one's environment, and return what they print.

    It knows of the warm process alone, which runs the stages.
    """
    script = "\n".join(["set -e", *lines])
    clean = [
        f"HOME={os.environ.get('HOME', folder)}",
        "PATH=/usr/local/bin:/usr/bin:/bin",
        "OMP_NUM_THREADS=1",
        "HF_HUB_OFFLINE=1",
        *(f"{name}={value}" for name, value in warm_start().items()),
    ]
    return run(folder, "env", "-i", *clean, "bash", "-c", script)


def followed(folder: Path) -> Finished:
    """README followed in an empty folder from `git clone` to the first commit, on the tiny study.

    Where `make setup` has made no environment, which a clean shell would need, the study is run and committed from here.
    """
    for name in ("source", "authors", "home"):
        (folder / name).mkdir()
    source = tiny_repository(folder / "source")
    clone, enter, *typed = commands("README.md")
    assert clone == "git clone <this repository> preference-study" and enter == "cd preference-study"
    repro, activate, add, commit = typed[:4]
    assert repro.startswith("make repro ") and activate.startswith("source .venv/bin/activate ")
    if not ACTIVATE.exists():
        printed = run(source, "dvc", "repro")
        run(source, "git", "add", "-A")
        run(source, "git", "commit", "-qm", "done")
        return Finished(source, printed, activate)
    run(source, "dvc", "remote", "add", "--default", "authors", str(folder / "authors"))
    run(source, "git", "commit", "-qam", "Where the tiny study's data are")
    run(source, "dvc", "push", "-q")
    type_in(folder / "home", clone.replace("<this repository>", str(source)), enter)
    root = folder / "home/preference-study"
    # What make would install is there, and so are the data of one's own.
    (root / ".venv").symlink_to(ROOT / ".venv")
    type_in(root, "git config user.name t", "git config user.email t@t", "touch -d 2000-01-01 requirements.txt Makefile")
    type_in(root, f"source {ACTIVATE}", "dvc pull -q tiny/*.dvc")
    printed = type_in(root, repro)
    type_in(root, activate, add, commit)
    return Finished(root, printed, activate)
