"""Where every stage starts: what goes wrong comes out as one message, and what nobody foresaw as a fault of the project's own."""

import errno
import inspect
import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NoReturn

REMEDY = "dvc repro, or the same command, goes on from the last whole checkpoint"
# Of a process that waits for another one's part: the other one's message says what happened.
LOST = (
    f"another process ended, or could not be reached any more: what it says, perhaps on another machine, is the cause. {REMEDY}"
)
LESS_MEMORY = (
    "in params.yaml lower batch_size or max_length of what was trained, scoring.max_padded or generate.batch_size, or set "
    "gradient_checkpointing; python -m preference_study.plan says beforehand what each stage takes"
)
FULL = {errno.ENOSPC, errno.EDQUOT}
CLOSED = {errno.EACCES, errno.EPERM, errno.EROFS}


def run(main: Callable[..., None], known: Iterable[str] = ()) -> None:
    """Call a stage's `main` with the command line's arguments, and end the program with one message where it fails.

    Of several processes on a machine the first one alone prints, and the message goes to the launcher, which prints one.

    Args:
        main: takes texts, such as a method's name, or nothing. Its module's docstring is what --help prints.
        known: the texts that it takes; none where it takes nothing, or any.

    Raises:
        SystemExit: wherever `main` raises: with the message of an error of the project's own, of the machine's (a full disk, a
            folder that cannot be written, too little memory) or, after its traceback, of any other.
    """
    arguments, takes, known = sys.argv[1:], len(inspect.signature(main).parameters), list(known)
    if arguments and arguments[0] in ("-h", "--help"):
        print(sys.modules[main.__module__].__doc__)
        return
    if len(arguments) != takes:
        raise SystemExit(f"{takes} argument(s) wanted, {len(arguments)} given\n\n{sys.modules[main.__module__].__doc__}")
    if known and arguments[0] not in known:
        raise SystemExit(f"{arguments[0]!r} is none of those there are: {', '.join(known)}")
    if os.environ.get("LOCAL_RANK", "0") != "0":
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for stream in (1, 2):
            os.dup2(nowhere, stream)
    try:
        main(*arguments)
    except KeyboardInterrupt:
        end("interrupted; dvc repro goes on from the last checkpoint")
    except SystemExit as error:
        if not isinstance(error.code, str):
            raise
        end(error.code)
    except Exception as error:
        if told := of_the_machine(error):
            end(told)
        fault = f"{type(error).__name__}: a fault of the project's own, not of your input; please report it with the above"
        end(fault, traceback.format_exc())


def end(told: str, trace: str = "") -> NoReturn:
    """End the program with a message: to the terminal, or, of several processes, in the file that their launcher has named.

    Args:
        trace: what stands above it.
    """
    if file := os.environ.get("TORCHELASTIC_ERROR_FILE"):
        # As torchrun reads it.
        Path(file).write_text(json.dumps({"message": trace + told, "timestamp": int(time.time())}), encoding="utf-8")
        raise SystemExit(1) from None
    print(trace, end="", file=sys.stderr)
    raise SystemExit(told) from None


def of_the_machine(error: Exception) -> str | None:
    """What to say of an error that is the machine's; None for any other."""
    if isinstance(error, OSError) and error.errno in FULL:
        return f"{error.filename or 'a file'}: the disk is full; make room, dvc gc --workspace clears DVC's cache"
    if isinstance(error, OSError) and error.errno in CLOSED:
        return f"{error.filename or 'a file'}: {error.strerror}; give this user the right to read and write it"
    if type(error).__name__ in ("DistBackendError", "DistNetworkError", "DistStoreError") or "/gloo/" in str(error):
        return LOST
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError" or "not enough memory" in str(error):
        # Python's own MemoryError often says nothing.
        told = f" ({str(error).splitlines()[0][:200]})" if str(error) else ""
        return f"too little memory{told}: {LESS_MEMORY}"
    return None


def by_signal(number: int) -> str:
    """What to say of a process that a signal of this number has ended, and could say nothing itself."""
    told = f"was killed ({signal.Signals(number).name})"
    return f"{told}. A system that runs out of memory does that: then {LESS_MEMORY}" if number == signal.SIGKILL else told
