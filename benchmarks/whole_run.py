"""What each stage of a whole run takes, of time and memory: dvc repro from nothing, some 10 to 25 minutes for the default study.

python -m benchmarks.whole_run        after dvc repro prepare_model, which the sandbox's own stage asks for

Every stage runs again, though nothing has changed, and DVC writes its lock files anew: run it in a clone of its own, with nothing
else running. A stage counts from its start to the next one's, with what DVC does for it.
Seconds of the processor and memory are sampled ten times a second, over all processes; memory is that of the largest process,
mapped files included.
"""

import argparse
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import IO, Any

import psutil
import torch

from preference_study.artifacts import write_json
from preference_study.models.language_models import compute_dtype, device
from preference_study.models.rate import matrix_rate
from preference_study.models.shapes import config_of, shape_of

TARGET = Path("experiments/results/whole_run.json")
STARTS, EVERY = "Running stage '", 0.1
BEFORE = "dvc repro itself"  # until the first stage starts


class Usage:
    """What processes have used, stage by stage, in the order in which the stages ran."""

    def __init__(self) -> None:
        self.stages = [{"stage": BEFORE, "start": time.perf_counter(), "processor": 0.0, "peak": 0}]
        self.seen: dict[tuple[int, float], float] = {}

    def read(self, lines: IO[str]) -> None:
        """Pass on what a run of DVC prints, and note where it says that a stage starts."""
        for line in lines:
            print(line, end="", flush=True)
            if line.startswith(STARTS):
                name = line.rstrip().removeprefix(STARTS).removesuffix("':")
                self.stages.append({"stage": name, "start": time.perf_counter(), "processor": 0.0, "peak": 0})

    def sample(self, program: psutil.Process) -> None:
        """Add what the program and those it has started took since the last sample to the stage that runs."""
        now = self.stages[-1]
        for process in (program, *program.children(recursive=True)):
            try:
                times, memory, key = process.cpu_times(), process.memory_info().rss, (process.pid, process.create_time())
            except psutil.Error:  # it has ended
                continue
            used = times.user + times.system
            now["processor"] += used - self.seen.get(key, 0.0)
            now["peak"] = max(now["peak"], memory)
            self.seen[key] = used

    def rows(self) -> list[dict[str, Any]]:
        """{stage, clock, processor, peak_bytes} per stage, seconds; the last one's until now."""
        ends = [stage["start"] for stage in self.stages[1:]] + [time.perf_counter()]
        return [
            {
                "stage": stage["stage"],
                "clock": end - stage["start"],
                "processor": stage["processor"],
                "peak_bytes": stage["peak"],
            }
            for stage, end in zip(self.stages, ends, strict=True)
        ]


def watched(command: list[str]) -> list[dict[str, Any]]:
    """Run a command that prints which stage starts, as dvc repro does; the rows of `Usage`, or `SystemExit` where it fails."""
    usage = Usage()
    program = psutil.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONUNBUFFERED": "1"})
    reader = threading.Thread(target=usage.read, args=[program.stdout])
    reader.start()
    while program.poll() is None:
        try:
            usage.sample(program)
        except psutil.NoSuchProcess:
            break
        time.sleep(EVERY)
    status = program.wait()
    reader.join()
    if status:
        raise SystemExit(f"{' '.join(command)}: failed with status {status}")
    return usage.rows()


def main() -> None:
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--output", type=Path, default=TARGET)
    given = made.parse_args()
    rows = watched([sys.executable, "-m", "dvc", "repro", "--force"])
    shape, dtype = shape_of(config_of("models/base")[0]), compute_dtype()
    matrix = matrix_rate(shape.hidden, shape.intermediate, dtype, device()).by_clock / 1e9
    about = {"device": device().type, "threads": torch.get_num_threads(), "dtype": str(dtype).removeprefix("torch.")}
    write_json(given.output, about | {"gflops": matrix, "rows": rows})
    print(f"{'stage':34}{'seconds':>8}{'of the processor':>18}{'GiB at most':>13}")
    for row in sorted(rows, key=lambda row: -row["clock"]):
        print(f"{row['stage']:34}{row['clock']:8.1f}{row['processor']:18.1f}{row['peak_bytes'] / 2**30:13.2f}")
    clock, processor = (sum(row[of] for row in rows) for of in ("clock", "processor"))
    print(f"{'all':34}{clock:8.1f}{processor:18.1f}")


if __name__ == "__main__":
    main()
