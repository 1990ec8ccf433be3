"""Python reads this first where it is on PYTHONPATH: a stage that is started is handed to `tests.warm_process`.

A stage that runs a model takes most of its time on the tiny study to import torch and transformers. The warm process has them in
memory and forks, so the stage begins at once: its own code is read anew, in its own folder, and all else is as it would be here.
"""

import os
import sys

LAUNCH = "preference_study.launch"  # which starts stages, and itself imports pandas and the parameters' schema


def hand_over(address: str, arguments: list[str]) -> None:
    import json
    import signal
    import socket
    from pathlib import Path

    with socket.socket(socket.AF_UNIX) as warm:
        warm.connect(address)
        asked = {"arguments": arguments, "folder": str(Path.cwd()), "environment": dict(os.environ)}
        socket.send_fds(warm, [json.dumps(asked).encode()], [0, 1, 2])
        warm.shutdown(socket.SHUT_WR)
        code = warm.makefile().read()
    if code == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    os._exit(int(code))


asked = [word for word in sys.orig_argv[1:] if word != "-u"]  # with which torchrun starts
if "WARM_START" in os.environ and asked[:1] == ["-m"] and asked[1].startswith(("stages.", "benchmarks.processes", LAUNCH)):
    hand_over(os.environ["WARM_START"], asked[1:])
