"""Every method and every kind of reward model in two processes against one, on the tests' tiny study: a quarter of an hour.

    python -m benchmarks.processes

Two processes run by torchrun, and by accelerate launch with sharded weights (FSDP2). accelerate shards on accelerators alone;
here it is told that a CPU is one, and all else is as it is on GPUs, but that gloo carries the numbers and not NCCL. A number is
the largest difference to one process over all steps, weights or pairs.

In float32, where differences are an order of sums; in bfloat16 they are that format's rounding. RLOO's responses are made up from
the prompt here: every process draws them by a stream of its own, so that another number of processes draws others.
"""

import argparse
import importlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
import yaml
from accelerate import PartialState
from accelerate.utils import DistributedType
from safetensors.torch import load_file

from preference_study.artifacts import read_json, write_json
from preference_study.boundary import run
from preference_study.launch import command
from preference_study.methods import METHODS
from preference_study.params import Launch
from preference_study.training.run import StepLog
from preference_study.variants import VARIANTS
from tests.workspace import change, prepared

ROOT = Path(__file__).resolve().parent.parent
TARGET = Path("experiments/results/processes.json")
LORA = {"lora_rank": 4, "lora_layers": 1}
HOW = {"one": 1, "torchrun": 2, "FSDP2": 2}


@dataclass(frozen=True)
class Case:
    """One training.

    Attributes:
        kind: "reward" or "policy".
        name: of the variant or the method.
        full: whether all weights are trained, or LoRA's.
        dtype: that models compute in.
        stopped: the step at which all processes are interrupted, to go on from the last checkpoint; 0 for none.
        killed: the step at which the second process is killed, and all end; 0 for none.
        folder: the name of its folder; its own where it is empty.
    """

    kind: str
    name: str
    full: bool = False
    dtype: str = "float32"
    stopped: int = 0
    killed: int = 0
    folder: str = ""

    @property
    def place(self) -> str:
        return self.folder or "_".join((self.kind, self.name, "full" if self.full else "lora", self.dtype))


def all_cases(dtype: str) -> list[Case]:
    """Every variant and every method, with LoRA and in full."""
    named = [("reward", name) for name in VARIANTS] + [("policy", name) for name in METHODS]
    return [Case(kind, name, full, dtype) for kind, name in named for full in (False, True)]


def complete(folder: Path) -> None:
    """What trainings need besides `prepared`, in float32: hidden states, the reference's numbers and a reward model."""
    change(folder, reward=LORA)
    with here(folder, "float32"):
        for stage, *names in (["frozen_layers"], ["reference_logps"], ["train_reward", "standard"]):
            importlib.import_module(f"stages.{stage}").main(*names)


def copy_for(case: Case, study: Path, into: Path, how: str) -> None:
    """A copy of the study's folder with the case's parameters; of one that is there already, the parameters alone."""
    folder = into / case.place
    if not folder.exists():
        shutil.copytree(study, folder)
    adapters = {"lora_rank": 0} if case.full else LORA
    dpo = {"learning_rate": 1e-4, "beta": 0.1, "sft_weight": 0.5}
    reward, policy = adapters | {"save_steps": 2}, adapters | {"save_steps": 2, "dpo": dpo}
    change(folder, launch={"processes": HOW[how]}, reward=reward, policy=policy)
    if case.full:
        for kind in ("reward", "policy"):
            shutil.rmtree(folder / "data/frozen" / kind)
            write_json(folder / "data/frozen" / kind / "about.json", {"left_out": "every layer is trained"})


@contextmanager
def here(folder: Path, dtype: str) -> Iterator[None]:
    """In a folder, on a CPU that computes in this dtype at speed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": dtype == "bfloat16"})
        yield


def made_up(self: Any, prompts: list[list[int]], *_: Any) -> list[list[int]]:
    """Responses in place of RLOO's sampled ones, by the prompt, how often it has come before and the step alone."""
    seen, responses = Counter(), []
    for prompt in map(tuple, prompts):
        draw = random.Random(f"{prompt} {seen[prompt]} {self.state.global_step}")
        responses.append([draw.randrange(20, 200) for _ in range(draw.randint(2, 7))] + [1])
        seen[prompt] += 1
    return responses


def breaking(step: int, rank: int, how: str) -> Any:
    """A log of steps that is interrupted, or kills the second process, once this step is reached."""
    log = StepLog.on_log

    def broken(self: StepLog, args: Any, state: Any, control: Any, **named: Any) -> None:
        if state.global_step == step and how == "killed" and rank == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        if state.global_step == step and how == "stopped":
            raise KeyboardInterrupt
        log(self, args, state, control, **named)

    return broken


def train(case: Case, rank: int) -> None:
    """The case's stage, in its folder."""
    module = importlib.import_module(f"stages.train_{case.kind}")
    with pytest.MonkeyPatch.context() as patch:
        if case.name == "rloo":
            patch.setattr(importlib.import_module("preference_study.training.trainers").RLOO, "_generate_single_turn", made_up)
        for how in ("stopped", "killed"):
            if step := getattr(case, how):
                with pytest.MonkeyPatch.context() as broken:
                    broken.setattr(StepLog, "on_log", breaking(step, rank, how))
                    try:
                        module.main(case.name)
                    except KeyboardInterrupt:
                        print(f"{case.place}: interrupted", flush=True)
        module.main(case.name)


def work(study: str, into: str, how: str, file: str) -> None:
    """Train the cases in a file one after the other, in this process and those beside it."""
    rank = int(os.environ.get("RANK", 0))
    if how != "one":
        torch.distributed.init_process_group("gloo")
    if how == "FSDP2":
        # As with accelerators, where a process group is there already.
        os.environ["ACCELERATE_TORCH_DEVICE"] = "cpu"
        PartialState._prepare_backend = lambda *_, **__: ("gloo", DistributedType.MULTI_GPU)
    for case in (Case(**row) for row in read_json(file)):
        folder, start = Path(into) / case.place, time.perf_counter()
        if rank == 0:
            copy_for(case, Path(study), Path(into), how)
            if case.kind == "policy":
                with here(folder, case.dtype):
                    importlib.import_module("stages.judge_for").main(case.name)
        if how != "one":
            torch.distributed.barrier()
        with here(folder, case.dtype):
            train(case, rank)
        if rank == 0:
            print(f"{how}, {case.place}: {time.perf_counter() - start:.1f} s", flush=True)


def sharding(into: Path, dtype: str) -> Path:
    """params/fsdp.yaml, but that it computes in this dtype."""
    settings = yaml.safe_load((ROOT / "params/fsdp.yaml").read_text(encoding="utf-8"))
    file = into / f"fsdp_{dtype}.yaml"
    file.write_text(yaml.safe_dump(settings | {"mixed_precision": "bf16" if dtype == "bfloat16" else "no"}), encoding="utf-8")
    return file


def start(study: Path, into: Path, how: str, cases: Sequence[Case], machines: int = 1, **environment: str) -> subprocess.Popen:
    """Start `work` in as many processes as `how` says, by the project's own launch command; its output goes to the pipe."""
    into.mkdir(parents=True, exist_ok=True)
    file = into / f"cases_{how}_{environment.get('NODE_RANK', 0)}.json"
    file.write_text(json.dumps([asdict(case) for case in cases]), encoding="utf-8")
    config = str(sharding(into, cases[0].dtype)) if how == "FSDP2" else None
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore", "OMP_NUM_THREADS": "1"} | environment
    launch = Launch(processes=HOW[how], machines=machines, accelerate_config=config)
    words = command(launch, "processes", ["--work", str(study), str(into), how, str(file)], environment)
    words = [word.replace("stages.processes", "benchmarks.processes") for word in words]
    return subprocess.Popen(words, env=environment, cwd=into, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def largest(one: Path, other: Path, case: Case) -> dict[str, float]:
    """The largest differences between a case's files in two folders.

    Returns:
        loss (of all steps), validation_loss, grad_norm; weights; logps (nats, of a policy's validation responses). Infinity where
        the files are not of the same steps, weights or pairs.
    """
    found = {}
    for name in ("loss", "validation_loss", "grad_norm"):
        found[name] = apart(*(logged(top / f"plots/train_{case.kind}/{case.name}", name) for top in (one, other)))
    ours, theirs = (weights(top / f"models/{case.kind}/{case.name}") for top in (one, other))
    alike = ours.keys() == theirs.keys() and all(ours[name].shape == theirs[name].shape for name in ours)
    gaps = [(ours[name].float() - theirs[name].float()).abs().max().item() for name in ours] if alike else []
    found["weights"] = max(gaps, default=float("inf"))
    if case.kind == "policy":
        logps = [pd.DataFrame(read_json(top / f"data/logps/{case.name}/val.json")) for top in (one, other)]
        found["logps"] = max(apart(logps[0][side], logps[1][side]) for side in ("chosen_logp", "rejected_logp"))
    return found


def logged(folder: Path, name: str) -> pd.Series:
    """The logged numbers of a training's steps; of an ensemble, of its members one after the other."""
    columns = [pd.read_csv(file, sep="\t")[name] for file in sorted(folder.rglob(f"{name}.tsv"))]
    return pd.concat(columns, ignore_index=True) if columns else pd.Series([], dtype=float)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    """A model's weights; of an ensemble, its members'."""
    files = sorted(folder.rglob("*.safetensors"))
    return {f"{file.parent.name} {name}": weight for file in files for name, weight in load_file(file).items()}


def apart(one: pd.Series, other: pd.Series) -> float:
    if len(one) != len(other):
        return float("inf")
    return float((one - other).abs().max()) if len(one) else 0.0


def finished(process: subprocess.Popen) -> str:
    """What it printed; the program ends where it failed."""
    printed, _ = process.communicate()
    if process.returncode:
        raise SystemExit(printed[-4000:])
    print("\n".join(line for line in printed.splitlines() if line.endswith(" s")), flush=True)
    return printed


def main() -> None:
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [*VARIANTS, *METHODS]
    made.add_argument("--only", nargs="+", choices=names, default=names, help="methods and variants (all)")
    made.add_argument("--output", type=Path, help=f"({TARGET}; with --only none: it is printed)")
    made.add_argument("--work", nargs=4, help=argparse.SUPPRESS)  # study, into, how, cases: what this program starts itself with
    given = made.parse_args()
    if given.work:
        sys.argv[1:] = given.work
        run(work)  # as a stage
        return
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        base = Path(scratch) / "study"
        base.mkdir()
        complete(prepared(base))
        for dtype in ("float32", "bfloat16"):
            cases = [case for case in all_cases(dtype) if case.name in given.only]
            for how in HOW:
                finished(start(base, Path(scratch) / how / dtype, how, cases))
            for case in cases:
                one, *others = (Path(scratch) / how / dtype / case.place for how in HOW)
                measured = {how: largest(one, other, case) for how, other in zip(list(HOW)[1:], others, strict=True)}
                rows.append(asdict(case) | {"differences": measured})
                for how, told in measured.items():
                    numbers = ", ".join(f"{name} {value:.1e}" for name, value in told.items())
                    print(f"{case.place:45}{how:9}{numbers}", flush=True)
    if output := given.output or (TARGET if set(given.only) == set(names) else None):
        write_json(output, {"rows": rows})


if __name__ == "__main__":
    main()
