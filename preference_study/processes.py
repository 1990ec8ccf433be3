"""How many processes a stage runs in."""

import os

import torch
from accelerate import PartialState
from accelerate.utils import DistributedType

from preference_study.errors import BadInput


def check_processes(wanted: int) -> PartialState:
    """This process's place among the others.

    Raises:
        SystemExit: there are fewer or more processes than `wanted`: some launchers quietly start one.
        BadInput: weights are to be sharded on CPUs.
    """
    # Without being told that this is a CPU, accelerate overlooks the other processes there.
    state = PartialState(cpu=not torch.accelerator.is_available())
    if state.num_processes != wanted:
        raise SystemExit(
            f"launch.processes is {wanted}, but {state.num_processes} run: start the stage with python -m preference_study.launch"
        )
    # accelerate (AcceleratorState) shards on accelerators alone, and says nothing where it does not.
    if state.distributed_type == DistributedType.MULTI_CPU and os.environ.get("ACCELERATE_USE_FSDP") == "true":
        raise BadInput(
            "launch.accelerate_config shards weights (FSDP), which accelerate does on accelerators alone, and here is none: "
            "every process would hold all of them. Set launch.accelerate_config to null in params.yaml"
        )
    return state
