"""A folder as a stage sees the project's root, with the tiny model and data."""

import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import yaml

from preference_study.alternative import with_alternative
from preference_study.params import Params, checked_params
from tests.conftest import ROOT
from tests.tiny import main as make_tiny
from tests.warm_process import warm_start


def change(folder: Path, **sections: dict | list) -> None:
    """Change parameters in the folder's params.yaml: change(folder, policy={"epochs": 1})."""
    path = folder / "params.yaml"
    params = yaml.load(path.read_text(), yaml.CSafeLoader)
    for section, values in sections.items():
        params[section] = params[section] | values if isinstance(values, dict) else values
    path.write_text(yaml.dump(params, Dumper=yaml.CSafeDumper))


def stage(folder: Path, *arguments: str) -> str:
    """Start a stage there, in as many processes as its parameters say, and return what it printed; fails where it fails."""
    warm = warm_start()
    path = f"{warm['PYTHONPATH']}{os.pathsep}{ROOT}"
    environment = os.environ | warm | {"PYTHONPATH": path, "PYTHONWARNINGS": "ignore"}
    command = [sys.executable, "-m", "preference_study.launch", *arguments]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def alternative_params(name: str) -> Params:
    """params.yaml with params/<name>.yaml merged into it."""
    text, _ = with_alternative(ROOT / "params.yaml", ROOT / f"params/{name}.yaml")
    return checked_params(text, name)


@cache
def tiny_text() -> str:
    """params.yaml of the tiny study."""
    return with_alternative(ROOT / "params.yaml", ROOT / "params/tiny.yaml")[0]


def tiny_params(folder: Path) -> None:
    """The parameters of the tiny study as the folder's params.yaml."""
    (folder / "params.yaml").write_text(tiny_text())


def run(folder: Path, *command: str) -> str:
    """Run a command there, stages by the warm process, and return what it printed; fails where it fails."""
    environment = os.environ | {"DVC_NO_ANALYTICS": "1"} | warm_start()
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def stages_run(output: str) -> set[str]:
    """The stages that `dvc repro` says it ran."""
    return {line.split("'")[1] for line in output.splitlines() if line.startswith("Running stage")}


def tiny_repository(folder: Path) -> Path:
    """The project as a git repository of its own, with the tiny study's parameters, data and model, none of it run yet."""
    listed = run(ROOT, "git", "ls-files", "-co", "--exclude-standard").splitlines()
    for name in listed:
        own = name in ("dvc.lock", ".gitmodules") or (
            name.startswith((".dvc/cache", "metrics/")) and not name.endswith(".gitkeep")
        )
        if (ROOT / name).is_file() and not own:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes((ROOT / name).read_bytes())
    tiny_params(folder)
    make_tiny(folder / "tiny")
    run(folder, "git", "init", "-q")
    run(folder, "git", "config", "user.email", "t@t")
    run(folder, "git", "config", "user.name", "t")
    # As a user with files that git does not hold: queued experiments see them through DVC.
    ignored = (folder / ".gitignore").read_text()
    (folder / ".gitignore").write_text(ignored.replace("/tiny/\n", ""))
    run(folder, "dvc", "add", "tiny/train.parquet", "tiny/val.parquet", "tiny/model")
    run(folder, "git", "add", "-A")
    run(folder, "git", "commit", "-qm", "start")
    return folder


def prepared(folder: Path) -> Path:
    """A folder as far as `frozen_layers`, and git is there, as DVCLive wants it."""
    tiny_params(folder)
    make_tiny(folder / "tiny")
    for command in (
        ["git", "init", "-q"],
        ["git", "-c", "user.name=t", "-c", "user.email=t@t", "commit", "-q", "--allow-empty", "-m", "t"],
    ):
        subprocess.run(command, cwd=folder, check=True)
    stage(folder, "prepare_data")
    stage(folder, "prepare_model")
    stage(folder, "frozen_layers")
    return folder
