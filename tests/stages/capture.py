"""A training stage without its training: what it hands over to it is looked at."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml


def change_top(folder: Path, **values) -> None:
    """Change parameters that are in no section: change_top(folder, seed=5)."""
    path = folder / "params.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | values))


def without_training(monkeypatch: pytest.MonkeyPatch, stage, whole: bool = True) -> list[SimpleNamespace]:
    """Have a stage write its models untrained.

    Args:
        stage: the stage's module.
        whole: what `train` returns: whether it began at the beginning.

    Returns:
        A list that each training is added to, with what `fingerprint` and `train` were given.
    """
    runs = []

    def fingerprint(models, datasets, settings, seed, code):
        runs.append(SimpleNamespace(models=list(models), datasets=list(datasets), settings=settings, seed=seed, code=code))
        return f"run {len(runs)}"

    def train(trainer, checkpoints, run, log, target, untrained_loss=None):
        assert run == f"run {len(runs)}"
        vars(runs[-1]).update(trainer=trainer, checkpoints=checkpoints, log=log, target=target, untrained_loss=untrained_loss)
        trainer.save_model(str(target))
        return whole

    monkeypatch.setattr(stage, "fingerprint", fingerprint)
    monkeypatch.setattr(stage, "train", train)
    return runs
