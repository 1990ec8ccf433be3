"""What preference_study/plan.py predicts against what stages take, on the embedded model: some twenty minutes on two cores.

    python -m benchmarks.plan
    python -m benchmarks.plan --measured experiments/results/plan.json     # predicts again what was measured

Each stage runs as dvc repro runs it, on a few pairs of the default data, in a process of its own that has its libraries
already. Its time (by the clock, and of the processor alone, which other programs disturb less) and most memory, less what it
began with, are held against the plan made from the machine's rate right before and after it. A ratio is predicted over measured.
"""

import argparse
import importlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import psutil
import yaml

from preference_study.artifacts import read_json, write_json
from preference_study.cost import GIB, Assumptions, Device, Shape, total
from preference_study.launch import ALLOCATOR
from preference_study.models.language_models import compute_dtype, device
from preference_study.models.rate import matrix_rate, read_rate
from preference_study.models.shapes import config_of, shape_of
from preference_study.params import Params, load_params
from preference_study.plan import ON_CPU, above, lengths_of, parser
from preference_study.stage_costs import changed, stages

ROOT = Path(__file__).resolve().parent.parent
TARGET = Path("experiments/results/plan.json")
LOADING = 1.5  # seconds that a stage whose libraries are there takes to load its model, of the start that the plan assumes
STAGES = {
    "frozen_layers": ["frozen_layers"],
    "train_reward@standard": ["train_reward", "standard"],
    "score_pairs": ["score_pairs"],
    "reference_logps": ["reference_logps"],
    "train_policy@dpo": ["train_policy", "dpo"],
    "generate_base": ["generate", "base"],
    "generate@dpo": ["generate", "dpo"],
    "measure_kl@dpo": ["measure_kl", "dpo"],
    "score_responses": ["score_responses"],
}


def of_size(params: Params, pairs: int) -> Params:
    """The default study with so many training pairs, half as many prompts, and a quarter as many validation pairs."""
    return changed(
        params,
        {"data.max_train": pairs, "data.max_val": pairs // 4, "policy.max_train": pairs, "generate.max_prompts": pairs // 2,
         "generate.kl_prompts": pairs // 2},
    )  # fmt: skip


def measured(module: str, arguments: list[str], folder: Path) -> dict[str, float]:
    """What a stage's `main` in a folder takes, in a process of its own.

    Returns:
        Seconds by the clock and of the processor; bytes of memory at most (peak), and more than at the start (memory).
    """
    sys.stdout.flush()
    start, log = time.perf_counter(), folder / "log.txt"
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.chdir(folder)
            with log.open("a") as file, redirect_stdout(file), redirect_stderr(file):
                importlib.import_module(f"stages.{module}").main(*arguments)
            status = 0
        except BaseException:
            with log.open("a") as file:
                traceback.print_exc(file=file)
        finally:
            os._exit(status)
    began = psutil.Process(child).memory_info().rss
    _, status, used = os.wait4(child, 0)
    if status:
        raise SystemExit(f"stage {module} failed:\n{log.read_text()[-2000:]}")
    peak = used.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    seconds = {"clock": time.perf_counter() - start, "processor": used.ru_utime + used.ru_stime}
    return seconds | {"memory": peak - began, "peak": peak}


def rates(shape: Shape, folder: Path) -> dict[str, float]:
    """This machine's rates, measured by a child: what memory that takes must not be there for the next one to use again."""
    file = folder / "rates.json"
    child = os.fork()
    if child == 0:
        try:
            write_json(file, measured_rates(shape))
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    return read_json(file)


def measured_rates(shape: Shape) -> dict[str, float]:
    where = device()
    found = matrix_rate(shape.hidden, shape.intermediate, compute_dtype(), where)
    reading = read_rate(where)
    return {
        "clock": found.by_clock,
        "processor": found.by_processor,
        "reading_clock": reading.by_clock,
        "reading_processor": reading.by_processor,
    }


def lay_out(folder: Path, params: Params) -> None:
    """A folder as dvc repro has it before its first stage: the default data, parameters, and a commit."""
    (folder / "data").mkdir(parents=True)
    shutil.copytree(ROOT / "data/sandbox", folder / "data/sandbox")
    shutil.copy(ROOT / "dvc.yaml", folder)
    (folder / "params.yaml").write_text(yaml.safe_dump(params.model_dump(mode="json")), encoding="utf-8")
    # DVCLive wants a commit.
    for command in (["init", "-q"], ["-c", "user.name=b", "-c", "user.email=b@b", "commit", "-q", "--allow-empty", "-m", "b"]):
        subprocess.run(["git", *command], cwd=folder, check=True)


def prepare(folder: Path, params: Params, base: Path | None) -> None:
    """A folder as dvc repro has it before the stages that are timed."""
    lay_out(folder, params)
    measured("prepare_data", [], folder)
    if base is None:
        measured("prepare_model", [], folder)
    else:
        shutil.copytree(base / "models/base", folder / "models/base")


def measure(sizes: list[int], wanted: list[str], params: Params, shape: Shape, scratch: Path) -> Iterator[dict[str, Any]]:
    """A row a stage and size: what it took, and the machine's rates before and after; of the first size all stages."""
    base = None
    for size in sizes:
        folder = scratch / str(size)
        prepare(folder, of_size(params, size), base)
        base = base or folder
        for name, (module, *arguments) in STAGES.items():
            if size != sizes[0] and name not in wanted:
                continue
            before = rates(shape, folder)
            took = measured(module, arguments, folder)
            yield {"stage": name, "pairs": size, "took": took, "before": before, "after": rates(shape, folder)}
            print(f"{size} pairs, {name}: {took['clock']:.0f} s, {took['processor']:.0f} of the processor", flush=True)


def predicted(rows: list[dict[str, Any]], params: Params, shape: Shape, assumed: Assumptions) -> list[dict[str, Any]]:
    """The rows with the ratios of predicted to measured: by the clock, of the processor, of memory, and start included."""
    given, found = parser().parse_args([]), []
    lengths = {}
    for row in rows:
        planned = of_size(params, row["pairs"])
        if row["pairs"] not in lengths:
            lengths[row["pairs"]], _ = lengths_of(planned, given)
        ratios: dict[str, float] = {}
        for name in ("clock", "processor"):
            rate, reading = ((row["before"][of] + row["after"][of]) / 2 for of in (name, f"reading_{name}"))
            here = Device("here", 1, 2.0**40, rate, reading, compute_dtype().itemsize, 2.0**40, None, shared=True)
            found_stages = stages(planned, shape, lengths[row["pairs"]], here, replace(assumed, start_seconds=0.0))
            stage = next(found for found in found_stages if found.name == row["stage"])
            ratios[name] = (stage.seconds + LOADING) / row["took"][name]
        ratios["memory"] = total(stage.memory) / row["took"]["memory"]
        found.append(row | {"predicted_memory": total(stage.memory), "ratios": ratios})
    return found


def main() -> None:
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument(
        "--sizes", type=above(int), nargs="+", default=[20, 40, 80], help="training pairs of each run (%(default)s)"
    )
    made.add_argument(
        "--stages", nargs="+", choices=STAGES, default=list(STAGES), help="those that sizes after the first run (all)"
    )
    made.add_argument("--measured", type=Path, help="a file that this program has written: predict again, measure nothing")
    made.add_argument("--output", type=Path, default=TARGET)
    given = made.parse_args()
    if not given.measured and "GLIBC_TUNABLES" not in os.environ:
        # Memory is taken as the launcher has it taken, which is settled when a process begins.
        os.execve(sys.executable, [sys.executable, "-m", "benchmarks.plan", *sys.argv[1:]], os.environ | ALLOCATOR)
    params, shape = load_params(ROOT / "params.yaml"), shape_of(config_of("embedded")[0])
    rows: list[dict[str, Any]] = read_json(given.measured)["rows"] if given.measured else []
    if not given.measured:
        for module, *_ in STAGES.values():
            importlib.import_module(f"stages.{module}")
        with tempfile.TemporaryDirectory() as scratch:
            rows = list(measure(given.sizes, given.stages, params, shape, Path(scratch)))
    found = predicted(rows, params, shape, ON_CPU)
    write_json(given.output, {"assumed": asdict(ON_CPU), "rows": found})
    print(f"{'stage':24}{'pairs':>6}{'seconds':>9}{'clock':>8}{'processor':>11}{'GiB':>7}{'memory':>8}")
    for row in found:
        took, ratios = row["took"], row["ratios"]
        print(
            f"{row['stage']:24}{row['pairs']:6}{took['processor']:9.0f}{ratios['clock']:8.2f}{ratios['processor']:11.2f}"
            f"{took['memory'] / GIB:7.2f}{ratios['memory']:8.2f}"
        )


if __name__ == "__main__":
    main()
