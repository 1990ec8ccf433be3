"""The files of docs/clusters: what they start, on programs that stand in for a cluster's."""

import os
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.conftest import ROOT

CLUSTERS = ROOT / "docs/clusters"
# Each writes down how it was called; srun starts its command as the second machine's.
PROGRAMS = {
    "scontrol": 'printf "first\\nsecond\\n"',
    "srun": 'shift; SLURM_NODEID=1 exec "$@"',
    "python": 'echo "python $NODE_RANK $MASTER_ADDR $MASTER_PORT $*" >> called',
    "dvc": 'echo "dvc $*" >> called',
    "make": 'echo "make $*" >> called',
}


@pytest.fixture
def cluster(tmp_path) -> dict[str, str]:
    """The environment of a job in a folder that has an environment of its own."""
    (tmp_path / ".venv/bin").mkdir(parents=True)
    (tmp_path / ".venv/bin/activate").write_text("")
    for name, text in PROGRAMS.items():
        (tmp_path / name).write_text(f"#!/bin/bash\n{text}\n")
        (tmp_path / name).chmod(0o755)
    return {"PATH": f"{tmp_path}:{os.environ['PATH']}", "SLURM_JOB_NODELIST": "n[1-2]", "SLURM_JOB_ID": "123456"}


def called(folder: Path, environment: dict[str, str], *command: str) -> list[str]:
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return (folder / "called").read_text().splitlines()


@pytest.mark.parametrize(
    ("arguments", "name"), [(("train_reward", "standard"), "train_reward@standard"), (("score_pairs",), "score_pairs")]
)
def test_slurm_starts_a_launcher_a_machine_and_tells_dvc(tmp_path, cluster, arguments, name):
    asked = f"-m preference_study.launch {' '.join(arguments)}"
    found = called(tmp_path, cluster, "bash", str(CLUSTERS / "stage.sbatch"), *arguments)
    assert found == [f"python 1 first 23456 {asked}", f"dvc commit --force {name}"]
    assert called(tmp_path, cluster, "bash", str(CLUSTERS / "study.sbatch"))[-1] == "dvc repro"


@pytest.mark.parametrize("rank", ["0", "1"])
def test_skypilot_starts_a_launcher_a_machine_and_tells_dvc(tmp_path, cluster, rank):
    task = yaml.safe_load((CLUSTERS / "stage.sky.yaml").read_text())
    assert task["num_nodes"] == 2
    where = {"SKYPILOT_NODE_IPS": "10.0.0.1\n10.0.0.2", "SKYPILOT_NODE_RANK": rank, "MASTER_PORT": "29500"}
    found = called(tmp_path, cluster | task["envs"] | where | {"FOLDER": str(tmp_path)}, "bash", "-c", task["run"])
    assert found[0] == f"python {rank} 10.0.0.1 29500 -m preference_study.launch train_reward standard"
    assert found[1:] == (["dvc commit --force train_reward@standard"] if rank == "0" else [])


def test_skypilot_runs_the_study(tmp_path, cluster):
    task = yaml.safe_load((CLUSTERS / "study.sky.yaml").read_text())
    assert called(tmp_path, cluster, "bash", "-c", task["setup"] + task["run"]) == ["make setup", "dvc repro", "dvc push"]
