"""How many processes a stage runs in."""

import torch
from accelerate import PartialState


def check_processes(wanted: int) -> PartialState:
    """This process's place among the others.

    Raises:
        SystemExit: there are fewer or more processes than `wanted`: some launchers quietly start one.
    """
    # Without being told that this is a CPU, accelerate overlooks the other processes there.
    state = PartialState(cpu=not torch.accelerator.is_available())
    if state.num_processes != wanted:
        raise SystemExit(
            f"launch.processes is {wanted}, but {state.num_processes} run: start the stage with python -m preference_study.launch"
        )
    return state
