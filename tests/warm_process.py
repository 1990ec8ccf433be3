"""The warm process: has the libraries in memory, and forks for each stage that `warm/sitecustomize.py` hands to it.

python -m tests.warm_process SOCKET     ends with the process that started it

Started once for all tests of a worker. It imports no module of the project: each stage reads those anew, in the folder it was
started in.
"""

import atexit
import gc
import importlib
import json
import os
import runpy
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from functools import cache
from pathlib import Path

LIBRARIES = (
    "datasets",
    "dvclive",
    "jinja2",
    "matplotlib.pyplot",
    "pandas",
    "peft",
    "pydantic",
    "scipy.stats",
    "sklearn.feature_extraction.text",
    "sklearn.linear_model",
    "statsmodels.stats.multitest",
    "textstat.backend.utils",
    "torch",
    "transformers.generation.utils",
    "transformers.modeling_utils",
    "transformers.models.auto.modeling_auto",
    "transformers.models.llama.modeling_llama",
    "transformers.trainer",
    "trl.trainer.dpo_trainer",
    "trl.trainer.reward_trainer",
)
ROOT = Path(__file__).resolve().parent.parent
LOOK = 5.0  # seconds between two looks whether the process that started this one is still there


@cache
def warm_start() -> dict[str, str]:
    """Start the process, once, and return the environment variables by which stages find it."""
    folder = tempfile.mkdtemp()
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    address = Path(folder) / "warm"
    process = subprocess.Popen([sys.executable, "-m", "tests.warm_process", str(address)], cwd=ROOT)
    while not address.is_socket():
        assert process.poll() is None, "the warm process did not start"
        time.sleep(0.1)
    return {"PYTHONPATH": str(ROOT / "tests/warm"), "WARM_START": str(address)}


def begin(asked: dict, streams: list[int]) -> None:
    """Make this process what a stage's would be at its start, but that libraries are imported."""
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.chdir(asked["folder"])
    os.environ.clear()
    os.environ.update(asked["environment"])
    sys.path[:1] = [asked["folder"], *asked["environment"]["PYTHONPATH"].split(os.pathsep)]
    sys.argv = list(asked["arguments"])
    importlib.invalidate_caches()


def keep(connection: socket.socket) -> dict | None:
    """In a process of its own: fork, answer with the exit code of the fork, and exit; in the fork return what was asked."""
    message, streams, _, _ = socket.recv_fds(connection, 1 << 16, 3)
    while more := connection.recv(1 << 16):
        message += more
    asked = json.loads(message)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    if process := os.fork():
        code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
        connection.sendall(b"killed" if code < 0 else str(code).encode())
        os._exit(0)
    connection.close()
    begin(asked, streams)
    return asked


def run_to_end(module: str) -> None:
    """Run a module as `python -m` does, to its end: with what it registered for its exit, as if it had been started alone.

    A good end leaves out what Python does last, to take all libraries apart object by object: more than half a second.
    """
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as end:
        if end.code:
            raise
    threading._shutdown()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def main(address: str) -> None:
    for name in LIBRARIES:
        importlib.import_module(name)
    sys.modules["textstat.backend.utils"].get_cmudict("en_US")  # a second's reading, which textstat keeps
    gc.freeze()  # a collection in a fork would go through all of them, and write to the pages that it shares with this process
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # those that keep connections are waited for by nobody
    started_by = os.getppid()
    with socket.socket(socket.AF_UNIX) as warm:
        warm.bind(address)
        warm.listen()
        warm.settimeout(LOOK)
        while os.getppid() == started_by:
            try:
                connection, _ = warm.accept()
            except TimeoutError:
                continue
            if os.fork() == 0:
                warm.close()
                connection.settimeout(None)
                run_to_end(keep(connection)["arguments"][0])
            connection.close()


if __name__ == "__main__":
    main(sys.argv[1])
