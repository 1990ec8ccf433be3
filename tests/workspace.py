"""A folder as a stage sees the project's root, with the tiny model and data."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import yaml

from preference_study.alternative import apply, with_alternative
from preference_study.params import Params, checked_params
from tests.conftest import ROOT
from tests.tiny import main as make_tiny


def change(folder: Path, **sections: dict) -> None:
    """Change parameters in the folder's params.yaml: change(folder, policy={"epochs": 1})."""
    path = folder / "params.yaml"
    params = yaml.safe_load(path.read_text())
    for section, values in sections.items():
        params[section] |= values
    path.write_text(yaml.safe_dump(params))


def stage(folder: Path, *arguments: str) -> str:
    """Start a stage there, in as many processes as its parameters say, and return what it printed; fails where it fails."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore"}
    command = [sys.executable, "-m", "preference_study.launch", *arguments]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def alternative_params(name: str) -> Params:
    """params.yaml with params/<name>.yaml merged into it."""
    text, _ = with_alternative(ROOT / "params.yaml", ROOT / f"params/{name}.yaml")
    return checked_params(text, name)


def tiny_params(folder: Path) -> None:
    """The parameters of the tiny study as the folder's params.yaml."""
    shutil.copy(ROOT / "params.yaml", folder / "params.yaml")
    apply(ROOT / "params/tiny.yaml", folder / "params.yaml")


def prepared(folder: Path) -> Path:
    """A folder in which the data and the model are prepared, and git is there, as DVCLive wants it."""
    tiny_params(folder)
    make_tiny(folder / "tiny")
    for command in (
        ["git", "init", "-q"],
        ["git", "-c", "user.name=t", "-c", "user.email=t@t", "commit", "-q", "--allow-empty", "-m", "t"],
    ):
        subprocess.run(command, cwd=folder, check=True)
    stage(folder, "prepare_data")
    stage(folder, "prepare_model")
    return folder
