"""What DVC calls the stage that a command of `preference_study.launch` is, as `dvc commit` wants it.

python -m preference_study.dvc_name train_reward standard

DVC makes a matrix's names of places, such as train_judge@judge0, so the name is looked up by the stage's command.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from dvc.repo import Repo

from preference_study.errors import BadInput

LAUNCH = "python -m preference_study.launch "


def dvc_name(arguments: Sequence[str], folder: str | Path = ".") -> str:
    """The name of the stage that launch starts with these arguments, in the pipeline of the folder's dvc.yaml and params.yaml.

    Raises:
        BadInput: no stage is started so; the message says which ones there are.
    """
    with Repo(str(folder)) as repo:
        names = {stage.cmd: stage.addressing for stage in repo.index.stages if str(stage.cmd).startswith(LAUNCH)}
    wanted = LAUNCH + " ".join(arguments)
    if wanted not in names:
        there = "; ".join(sorted(command.removeprefix(LAUNCH) for command in names))
        raise BadInput(
            f"dvc.yaml with params.yaml as it is has no stage {' '.join(arguments)!r} to launch; there are: {there}. Name one of "
            "these, or change params.yaml"
        )
    return names[wanted]


if __name__ == "__main__":
    print(dvc_name(sys.argv[1:]))
