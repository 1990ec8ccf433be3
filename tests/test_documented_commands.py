"""The commands of README and docs, typed as they stand there, in a clean shell, on the tiny study."""

import csv
import io
import json
import os
import re
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.workspace import run, stages_run, tiny_repository

ACTIVATE = ROOT / ".venv/bin/activate"
pytestmark = pytest.mark.skipif(not ACTIVATE.exists(), reason="make setup has made no environment")


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
    """Type commands into a clean shell, which knows nothing of this one's environment, and return what they print."""
    script = "\n".join(["set -e", *lines])
    clean = [
        f"HOME={os.environ.get('HOME', folder)}",
        "PATH=/usr/local/bin:/usr/bin:/bin",
        "OMP_NUM_THREADS=1",
        "HF_HUB_OFFLINE=1",
    ]
    return run(folder, "env", "-i", *clean, "bash", "-c", script)


@pytest.fixture(scope="module")
def newcomer(tmp_path_factory) -> tuple[Path, str]:
    """A clone in which README was followed as far as the first commit, and the command that every new shell begins with."""
    clone, enter, *typed = commands("README.md")
    assert clone == "git clone <this repository> preference-study" and enter == "cd preference-study"
    repro, activate, add, commit = typed[:4]
    assert repro.startswith("make repro ") and activate.startswith("source .venv/bin/activate ")
    source = tiny_repository(tmp_path_factory.mktemp("source"))
    run(source, "dvc", "remote", "add", "--default", "authors", str(tmp_path_factory.mktemp("authors")))
    run(source, "git", "commit", "-qam", "Where the tiny study's data are")
    run(source, "dvc", "push", "-q")
    home = tmp_path_factory.mktemp("home")
    type_in(home, clone.replace("<this repository>", str(source)), enter)
    folder = home / "preference-study"
    # What make would install is there, and so are the data of one's own.
    (folder / ".venv").symlink_to(ROOT / ".venv")
    type_in(folder, "git config user.name t", "git config user.email t@t", "touch -d 2000-01-01 requirements.txt Makefile")
    type_in(folder, f"source {ACTIVATE}", "dvc pull -q tiny/*.dvc")
    ran = stages_run(type_in(folder, repro))
    assert {"train_reward@standard", "train_policy@dpo", "report"} <= ran and (folder / "reports/index.html").exists()
    type_in(folder, activate, add, commit)
    assert type_in(folder, "git status --porcelain") == ""
    return folder, activate


def test_comparing_parameters_as_readme_does(newcomer):
    folder, activate = newcomer
    experiment, show, metrics, plots = commands("README.md")[6:]
    ran = stages_run(type_in(folder, activate, experiment))
    assert "train_policy@dpo" in ran and "train_reward@standard" not in ran
    table = csv.DictReader(io.StringIO(type_in(folder, activate, f"{show.split('#')[0]} --csv").split("\n\n")[0]))
    shown = list(table)[-1]
    assert float(shown["policy.dpo.beta"]) == 0.2 and not any("/" in name for name in shown)
    assert "policy.dpo.beta" in type_in(folder, activate, show)
    type_in(folder, activate, metrics)
    assert "index.html" in type_in(folder, activate, plots) and (folder / "dvc_plots/index.html").exists()
    type_in(folder, activate, "git checkout -q .", "dvc checkout -q")


def test_a_grid_is_run_shown_and_ranked(newcomer):
    folder, activate = newcomer
    queue, run_all, show, rank = commands("docs/pipeline.md")[:4]
    type_in(folder, activate, "dvc exp remove -A", queue, run_all)
    table = csv.DictReader(io.StringIO(type_in(folder, activate, f"{show.split('#')[0]} --csv").split("\n\n")[0]))
    rows = [row for row in table if row["typ"] in ("branch_commit", "branch_base")]
    assert not any("/" in name or name.startswith("policy.") for name in rows[0])  # what does not differ is not shown
    assert {float(row["reward.learning_rate"]) for row in rows} == {4e-4, 8e-4} and len(rows) == 2
    everything = csv.DictReader(io.StringIO(type_in(folder, activate, "dvc exp show --csv")))
    for row in (row for row in everything if row["typ"] in ("branch_commit", "branch_base")):
        assert 0 <= float(row["accuracy_low"]) <= float(row["accuracy"]) <= float(row["accuracy_high"]) <= 1
    ranking = type_in(folder, activate, f"{rank.split('#')[0]} --pictures pictures --output ranking.json")
    assert "Best on validation: reward.learning_rate" in ranking and "Training loss alone" in ranking
    found = json.loads((folder / "ranking.json").read_text())
    assert found["parameters"] == ["reward.learning_rate"] and found["n"] == 20 and len(found["settings"]) == 2
    assert [path.name for path in (folder / "pictures").iterdir()] == ["sweep_learning_rate.png"]


def test_the_long_grids_can_be_queued_and_their_programs_say_what_they_do(newcomer):
    folder, activate = newcomer
    for file in ("docs/results/methods.md", "docs/results/reward_models.md"):
        queued, programs = [[line for line in commands(file) if word in line] for word in ("--queue", "python -m experiments")]
        assert queued and len(programs) == len(queued)
        for line in queued:
            assert "Queued experiment" in type_in(folder, activate, line, "dvc queue remove --queued")
        for line in programs:
            assert "usage:" in type_in(folder, activate, f"{line.split('#')[0].split(' --output')[0]} --help")
    for target in ("sweep", "methods", "robustness"):
        assert "dvc exp run" in type_in(folder, f"make --dry-run {target}")


def test_full_size_is_one_command_away_and_so_is_the_way_back(newcomer):
    folder, activate = newcomer
    before = (folder / "params.yaml").read_text()
    alternative, whole = commands("docs/full_size.md")
    assert whole == "dvc repro" and "Qwen" in type_in(folder, activate, alternative, "git diff params.yaml")
    type_in(folder, "mv params.before.yaml params.yaml")
    assert (folder / "params.yaml").read_text() == before


def test_what_was_pushed_is_there_elsewhere(newcomer, tmp_path):
    folder, activate = newcomer
    remote, commit, push = commands("docs/pipeline.md")[4:]
    type_in(folder, activate, remote.replace("/tmp/preference-study-storage", str(tmp_path / "storage")), commit, push)
    type_in(tmp_path, f"source {ACTIVATE}", f"git clone -q {folder} elsewhere", "cd elsewhere", "dvc pull -q")
    assert stages_run(type_in(tmp_path / "elsewhere", f"source {ACTIVATE}", "dvc repro")) == set()
