"""What DVC calls the stage that a command of `preference_study.launch` is, as `dvc commit` wants it.

python -m preference_study.dvc_name train_reward standard

DVC makes a matrix's names of places, such as train_judge@judge0, so the name is looked up by the stage's command.
"""

import sys
from collections.abc import Sequence

from dvc.repo import Repo

from preference_study.errors import BadInput

LAUNCH = "python -m preference_study.launch "


def launched() -> dict[str, str]:
    """DVC's names of the stages that launch starts, by its arguments, in this folder's pipeline."""
    with Repo() as repo:
        commands = {str(stage.cmd): stage.addressing for stage in repo.index.stages}
    return {command.removeprefix(LAUNCH): name for command, name in commands.items() if command.startswith(LAUNCH)}


def dvc_name(arguments: Sequence[str], names: dict[str, str]) -> str:
    """The name of the stage that launch starts with these arguments.

    Args:
        names: of `launched`.

    Raises:
        BadInput: no stage is started so; the message says which ones there are.
    """
    wanted = " ".join(arguments)
    if wanted not in names:
        raise BadInput(
            f"dvc.yaml with params.yaml as it is has no stage {wanted!r} to launch; there are: {'; '.join(sorted(names))}. Name "
            "one of these, or change params.yaml"
        )
    return names[wanted]


if __name__ == "__main__":
    print(dvc_name(sys.argv[1:], launched()))
