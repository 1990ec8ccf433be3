"""Run torchrun or accelerate launch, and end with one message where a process of theirs fails.

    python -m preference_study.together torch.distributed.run --standalone --nproc_per_node 2 -m stages.train_reward standard

Both end all processes when one has failed, and print a page about it. A process's own message comes here in the file that
torchrun names to it (TORCHELASTIC_ERROR_FILE), as `preference_study.boundary` writes it.
"""

import logging
import runpy
import signal
import sys
from itertools import pairwise

from torch.distributed import DistError
from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure

from preference_study.boundary import LOST, REMEDY, by_signal


def what_failed(failures: dict[int, ProcessFailure], stage: str, processes: str) -> str:
    """One message about the processes that failed: the first of them that did so by itself, not because another one had ended.

    Args:
        failures: by the process's number.
        stage: as it was asked for.
        processes: how many there were, as a text.
    """

    def order(number: int) -> tuple[bool, int, int]:
        failure = failures[number]
        ended = failure.exitcode == -signal.SIGTERM or failure.message == LOST
        return ended, failure.timestamp, number

    number = min(failures, key=order)
    failure = failures[number]
    who = f"stage {stage}, process {number} of {processes}, counted from 0"
    if failure.exitcode < 0:
        return f"{who}, {by_signal(-failure.exitcode)}. The others were ended. {REMEDY}"
    if failure.error_file == "<N/A>":
        return f"{who}, ended with status {failure.exitcode} and no message; the others were ended. {REMEDY}"
    return f"{failure.message}\n({who}; the others were ended)"


def main() -> None:
    module, *arguments = sys.argv[1:]
    stage = " ".join(arguments[arguments.index("-m") + 1 :]).removeprefix("stages.")
    options = dict(pairwise(arguments))
    count = int(options.get("--nproc_per_node", 0)) * int(options.get("--nnodes", 1)) or options.get("--num_processes")
    sys.argv = [module, *arguments]
    logging.disable(logging.ERROR)  # of the launchers alone: what they tell of processes that failed is told below
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except ChildFailedError as error:
        raise SystemExit(what_failed(error.failures, stage, str(count))) from None
    except (DistError, ConnectionError) as error:
        raise SystemExit(
            f"stage {stage}: the processes do not find one another ({str(error).splitlines()[0]}): set MASTER_ADDR to the first "
            "machine's address, and MASTER_PORT to a port that is free there, both the same on all machines"
        ) from None
    except (KeyboardInterrupt, SignalException):
        raise SystemExit(f"interrupted; {REMEDY}") from None


if __name__ == "__main__":
    main()
