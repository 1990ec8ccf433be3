"""The files of docs/clusters: what they start, on programs that stand in for a cluster's."""

import os
import subprocess
from pathlib import Path

import pytest
import yaml
from dvc.repo import Repo

from preference_study.dvc_name import dvc_name, launched
from preference_study.errors import BadInput
from tests.conftest import ROOT
from tests.workspace import change, tiny_params

CLUSTERS = ROOT / "docs/clusters"
# Each writes down how it was called; srun starts its command as the second machine's.
PROGRAMS = {
    "scontrol": 'printf "first\\nsecond\\n"',
    "srun": 'shift; SLURM_NODEID=1 exec "$@"',
    "python": """if [ "$2" = preference_study.dvc_name ]; then shift 2; [ "$1" != unknown ] && echo "name of $*"; exit; fi
        echo "python $NODE_RANK $MASTER_ADDR $MASTER_PORT $*" >> called""",
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


@pytest.mark.parametrize("arguments", [("train_reward", "standard"), ("score_pairs",)])
def test_slurm_starts_a_launcher_a_machine_and_tells_dvc(tmp_path, cluster, arguments):
    asked = f"-m preference_study.launch {' '.join(arguments)}"
    found = called(tmp_path, cluster, "bash", str(CLUSTERS / "stage.sbatch"), *arguments)
    assert found == [f"python 1 first 23456 {asked}", f"dvc commit --force name of {' '.join(arguments)}"]
    assert called(tmp_path, cluster, "bash", str(CLUSTERS / "study.sbatch"))[-1] == "dvc repro"


@pytest.mark.parametrize("rank", ["0", "1"])
def test_skypilot_starts_a_launcher_a_machine_and_tells_dvc(tmp_path, cluster, rank):
    task = yaml.safe_load((CLUSTERS / "stage.sky.yaml").read_text())
    assert task["num_nodes"] == 2
    where = {"SKYPILOT_NODE_IPS": "10.0.0.1\n10.0.0.2", "SKYPILOT_NODE_RANK": rank, "MASTER_PORT": "29500"}
    found = called(tmp_path, cluster | task["envs"] | where | {"FOLDER": str(tmp_path)}, "bash", "-c", task["run"])
    assert found[0] == f"python {rank} 10.0.0.1 29500 -m preference_study.launch train_reward standard"
    assert found[1:] == (["dvc commit --force name of train_reward standard"] if rank == "0" else [])


def test_a_stage_that_does_not_exist_costs_no_time(tmp_path, cluster):
    task = yaml.safe_load((CLUSTERS / "stage.sky.yaml").read_text())
    sky = {"SKYPILOT_NODE_IPS": "a", "SKYPILOT_NODE_RANK": "0", "FOLDER": str(tmp_path), "STAGE": "unknown"}
    for command in (("bash", str(CLUSTERS / "stage.sbatch"), "unknown"), ("bash", "-c", task["run"])):
        done = subprocess.run(command, cwd=tmp_path, env=cluster | sky, check=False)
        assert done.returncode != 0 and not (tmp_path / "called").exists()


def test_a_stage_is_found_by_its_command(tmp_path, monkeypatch):
    """As DVC lists them, on the whole pipeline with lists of judges and benchmarks."""
    tiny_params(tmp_path)
    judged = {"judges": [{"name": "small"}, {"name": "large"}], "benchmarks": [{"name": "rb", "file": "f", "shape": "pairs"}]}
    change(tmp_path, **judged)
    (tmp_path / "dvc.yaml").write_text((ROOT / "dvc.yaml").read_text())
    Repo.init(str(tmp_path), no_scm=True).close()
    monkeypatch.chdir(tmp_path)
    names = launched()
    for arguments, name in (
        ("train_reward standard", "train_reward@standard"), ("score_pairs", "score_pairs"), ("generate base", "generate_base"),
        ("generate dpo", "generate@dpo"), ("ask_judge large", "ask_judge@judge1"), ("train_judge small", "train_judge@judge0"),
        ("score_benchmarks standard rb", "score_benchmarks@standard-benchmark0"),
    ):  # fmt: skip
        assert dvc_name(arguments.split(), names) == name
    for unknown in (["train_reward", "stndard"], ["report"], []):
        with pytest.raises(BadInput, match=r"has no stage .* there are: .*train_reward standard"):
            dvc_name(unknown, names)


def test_skypilot_runs_the_study(tmp_path, cluster):
    task = yaml.safe_load((CLUSTERS / "study.sky.yaml").read_text())
    assert called(tmp_path, cluster, "bash", "-c", task["setup"] + task["run"]) == ["make setup", "dvc repro", "dvc push"]
