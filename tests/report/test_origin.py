import hashlib
import subprocess
from datetime import datetime, timedelta, timezone

import pytest

from preference_study.report.origin import code, origin

NOW = datetime(2026, 2, 3, 4, 5, 6, tzinfo=timezone(timedelta(hours=5, minutes=30), "IST"))


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """A repository with one commit of a dvc.yaml and a source, whose git reads no settings of this machine."""
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    monkeypatch.setenv("GIT_CONFIG_SYSTEM", "/dev/null")
    folder = tmp_path / "study"
    folder.mkdir()
    for name in ("dvc.yaml", "dvc.lock", "source.py"):
        (folder / name).write_text("a: 1\n")
    git(folder, "init", "--quiet")
    git(folder, "add", ".")
    git(folder, "-c", "user.name=a", "-c", "user.email=a@b", "commit", "--quiet", "-m", "first")
    return folder


def git(folder, *arguments) -> str:
    return subprocess.run(["git", "-C", folder, *arguments], check=True, capture_output=True, text=True).stdout.strip()


def test_the_commit_and_what_was_changed_since(repository):
    commit = f"commit {git(repository, 'rev-parse', 'HEAD')[:12]}"
    assert code(repository) == f"{commit}, without uncommitted changes"
    (repository / "dvc.lock").write_text("what a run writes\n")
    (repository / "metrics").mkdir()
    (repository / "metrics/data.json").write_text("{}")
    assert code(repository) == f"{commit}, without uncommitted changes"
    (repository / "source.py").write_text("b = 2\n")
    assert code(repository) == f"{commit} with uncommitted changes: source.py"
    for name in ("z 1.py", "z 2.py", "z 3.py"):
        (repository / name).write_text("")
    assert code(repository) == f"{commit} with uncommitted changes: source.py, z 1.py, z 2.py and 1 more"


def test_without_a_commit_it_says_so(tmp_path, repository, monkeypatch):
    unknown = "code of an unknown commit: this folder is not a git repository's"
    assert code(tmp_path) == unknown
    copy = repository / "somebody's copy"  # in a repository that does not hold it
    copy.mkdir()
    (copy / "dvc.yaml").write_text("a: 1\n")
    assert code(copy) == unknown
    monkeypatch.setenv("PATH", "")
    assert code(repository) == "code of an unknown commit: git is not installed here"


def test_experiment_time_seed_and_data(tmp_path):
    (tmp_path / "train.csv").write_bytes(b"abc")
    files = {"training pairs": "train.csv", "prompts": "gone.csv"}
    found = origin(tmp_path, files, 17, NOW, {"DVC_EXP_NAME": "sharp-bast"})
    assert (found["experiment"], found["made"], found["seed"]) == ("sharp-bast", "2026-02-03 04:05:06+05:30", "17")
    assert found["data"] == [
        {"what": "training pairs", "file": "train.csv", "md5": hashlib.md5(b"abc").hexdigest()},
        {"what": "prompts", "file": "gone.csv", "md5": None},
    ]
    assert origin(tmp_path, files, 17, NOW, {})["experiment"] is None
