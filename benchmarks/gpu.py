"""Whether this project does on a GPU what it does on a CPU, how fast, and in how much memory: ten minutes at most, no network.

    python -m benchmarks.gpu             # on a machine with an NVIDIA GPU, in an environment with a PyTorch for it
    python -m benchmarks.gpu --small     # tiny models on any machine, in some minutes: only to see that this program works

Two models, a random one of Qwen2.5-0.5B's shape and the embedded one, each trained in full and by LoRA, with the parameters of
params/align_anything.yaml, on a few pairs of the default data: every stage's time and most memory beside the plan's
(preference_study/plan.py). Then the losses of ten steps of the reward model and of DPO beside those of the CPU, in float32 and in
bfloat16. Each case runs in a process of its own. At the end experiments/results/gpu.json is written, and a table is printed. The
program ends with status 1 where a case fails, a loss is beyond its bound, or ten minutes were not enough.
"""

import argparse
import gc
import importlib
import multiprocessing
import os
import tempfile
import time
import traceback
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from benchmarks.plan import LOADING, ROOT, STAGES, lay_out
from preference_study.alternative import with_alternative
from preference_study.artifacts import read_json, write_json
from preference_study.cost import GIB, Device, total
from preference_study.models import language_models
from preference_study.models.embedded import load_embedded
from preference_study.models.language_models import compute_dtype, device
from preference_study.models.rate import matrix_rate, read_rate
from preference_study.models.shapes import KNOWN, config_of, shape_of
from preference_study.params import Params, checked_params
from preference_study.plan import ON_CPU, ON_GPU, above, lengths_of, parser
from preference_study.report.machine import gpus, machine
from preference_study.stage_costs import changed, stages
from preference_study.training.run import peak_memory

TARGET = Path("experiments/results/gpu.json")
SECONDS = 600.0
QWEN = "Qwen/Qwen2.5-0.5B"
MODES: dict[str, dict[str, Any]] = {
    "full": {},
    "LoRA": {
        "reward.lora_rank": 16, "policy.lora_rank": 16, "reward.learning_rate": 2e-4, "policy.dpo.learning_rate": 1e-4,
    },
}  # fmt: skip
STEPS = 10
FASTER = 2e-5  # than the study's, for DPO in full: in ten steps its loss would hardly move
# Of a step's loss, in nats. In float32 both devices hold the same numbers and only add up in another order, which ten steps
# hardly magnify; in bfloat16 a number has three digits, and a response's log-probability is a sum over a hundred tokens.
BOUNDS = {"float32": 1e-3, "bfloat16": 0.1}
LOSSES = {"reward model": "plots/train_reward/standard", "DPO": "plots/train_policy/dpo"}
BEFORE = {"prepare_data": ["prepare_data"], "prepare_model": ["prepare_model"]}


@dataclass(frozen=True)
class Case:
    """A study on a few pairs.

    Attributes:
        model: embedded, or a key of KNOWN, whose shape a random model gets.
        mode: of MODES.
        dtype: that models compute in; None: what the machine does at speed.
        device: gpu, or cpu although there is a GPU.
        steps: only so many steps of training, for their losses; None: all stages, for what they cost.
        small: tiny models, little data.
        pairs: of training.
    """

    model: str
    mode: str
    dtype: str | None
    device: str
    steps: int | None
    small: bool
    pairs: int

    @property
    def called(self) -> str:
        return f"{self.model}, {self.mode}"


def params_of(case: Case, folder: str) -> Params:
    """params/align_anything.yaml on the default data, and little of it."""
    text, _ = with_alternative(ROOT / "params.yaml", ROOT / "params/align_anything.yaml")
    sandbox, pairs, new = "data/sandbox", case.pairs, 8 if case.small else 128
    changes: dict[str, Any] = {
        "data.train": f"{sandbox}/train.parquet", "data.val": f"{sandbox}/val.parquet", "data.max_train": pairs,
        "data.max_val": max(2, pairs // 4), "policy.max_train": pairs, "generate.prompts": f"{sandbox}/prompts.parquet",
        "generate.max_prompts": max(2, pairs // 4), "generate.kl_prompts": max(2, pairs // 8), "generate.max_new_tokens": new,
        "model.name": folder, "model.watched": folder, "reward.evaluations": 0, "policy.evaluations": 0,
    }  # fmt: skip
    if case.small:
        changes |= {"reward.max_length": 96, "policy.max_length": 96}
    for name in ("reward", "policy"):
        if case.steps:
            changes |= {f"{name}.batch_size": 2, f"{name}.gradient_accumulation_steps": 1, "policy.dpo.learning_rate": FASTER}
        changes[f"{name}.save_steps"] = 10_000
    return changed(checked_params(text, "params/align_anything.yaml"), changes | MODES[case.mode])


def make_model(case: Case, folder: Path) -> None:
    """The case's model as a folder: random weights, but for the embedded one at full size, and the embedded tokenizer."""
    if case.small:
        from tests.tiny import tiny_model  # of a checkout, not of the package: its tokenizer is made in no time

        tiny_model(folder)
        return
    embedded, tokenizer = load_embedded()
    if case.model == "embedded":
        model = embedded
    else:
        special = {name: getattr(embedded.generation_config, name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model(**KNOWN[case.model], **special), dtype=torch.bfloat16)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def here() -> Device:
    """This process's device, with its rates measured."""
    where, dtype = device(), compute_dtype()
    shared = where.type != "cuda"
    memory = 2.0**40 if shared else float(torch.cuda.get_device_properties(where).total_memory)
    shape = shape_of(config_of("models/base")[0])
    rate = matrix_rate(shape.hidden, shape.intermediate, dtype, where).by_clock
    return Device("here", 1, memory, rate, read_rate(where).by_clock, dtype.itemsize, 2.0**40, None, shared=shared)


def ran(module: str, arguments: list[str]) -> dict[str, float]:
    """Seconds, and bytes of memory at most, of a stage in this process: of the GPU, or, without one, of the process until now."""
    on_gpu = device().type == "cuda"
    if on_gpu:
        gc.collect()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    began = time.perf_counter()
    importlib.import_module(f"stages.{module}").main(*arguments)
    if on_gpu:
        torch.cuda.synchronize()
    return {"seconds": time.perf_counter() - began, "memory": peak_memory()}


def work(case: Case, folder: Path, output: Path) -> None:
    """Run a case in this process; rows go to `output` as they come."""
    model = folder / "model"
    make_model(case, model)
    params = params_of(case, str(model))
    lay_out(folder, params)
    if case.dtype:
        for module in (language_models, *map(importlib.import_module, ("preference_study.training.run", "stages.train_policy"))):
            module.compute_dtype = partial(getattr, torch, case.dtype)
    os.chdir(folder)
    for name, (module, *arguments) in (BEFORE | STAGES).items():
        if name in BEFORE:
            ran(module, arguments)
    if case.steps:
        for name in ("frozen_layers", "train_reward@standard", "reference_logps", "train_policy@dpo"):
            module, *arguments = STAGES[name]
            ran(module, arguments)
        read = {what: list(pd.read_csv(f"{log}/plots/metrics/loss.tsv", sep="\t")["loss"]) for what, log in LOSSES.items()}
        write_json(output, {"device": device().type, "losses": read})
        return
    where, rows = here(), []
    lengths, _ = lengths_of(params, parser().parse_args([]))
    assumed = replace(ON_CPU if where.shared else ON_GPU, start_seconds=LOADING)
    planned = {stage.name: stage for stage in stages(params, shape_of(config_of("models/base")[0]), lengths, where, assumed)}
    for name, (module, *arguments) in STAGES.items():
        took, stage = ran(module, arguments), planned[name]
        rows.append(
            {"case": case.called, "stage": name, **took, "planned_seconds": stage.seconds, "planned_memory": total(stage.memory)}
            | {"tokens_a_second": stage.tokens / took["seconds"]}
        )
        write_json(output, {"device": device().type, "dtype": str(compute_dtype()).removeprefix("torch."), "rows": rows})


def alone(case: Case, folder: Path, output: Path, log: Path) -> None:
    """`work` in a process of its own, whose output goes to a file."""
    with log.open("w") as file, redirect_stdout(file), redirect_stderr(file):
        os.dup2(file.fileno(), 1)  # of what is not Python
        os.dup2(file.fileno(), 2)
        try:
            work(case, folder, output)
        except BaseException:
            traceback.print_exc()
            raise SystemExit(1) from None


def started(case: Case, scratch: Path, seconds: float) -> tuple[dict[str, Any], str | None]:
    """What a case wrote, run in a process of its own, and why it did not end well; None where it did."""
    folder = Path(tempfile.mkdtemp(dir=scratch))
    output, log = folder / "found.json", folder / "log.txt"
    # CUDA does not survive a fork; without a GPU one spares the child importing all libraries.
    context = multiprocessing.get_context("spawn" if gpus() else "fork")
    child = context.Process(target=alone, args=(case, folder / "study", output, log))
    before = os.environ.get("CUDA_VISIBLE_DEVICES")
    if case.device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""  # before anything in the child looks for GPUs
    try:
        child.start()
    finally:
        os.environ.pop("CUDA_VISIBLE_DEVICES", None)
        if before is not None:
            os.environ["CUDA_VISIBLE_DEVICES"] = before
    child.join(seconds)
    why = None
    if child.is_alive():
        child.kill()
        child.join()
        why = "time was up"
    elif child.exitcode or not output.is_file():
        why = log.read_text(errors="replace").strip()[-1500:]
    return read_json(output) if output.is_file() else {}, why


def compared(case: Case, sides: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Two devices' losses of the same steps, a row a model: the largest difference of a step, and whether it is within bounds.

    Args:
        sides: per device {losses: {model: [loss of each step]}}.
    """
    rows = []
    for what, here in sides[0]["losses"].items():
        there = sides[1]["losses"][what]
        differences = [abs(a - b) for a, b in zip(here, there, strict=True)]
        within = len(differences) == case.steps and all(difference <= BOUNDS[case.dtype] for difference in differences)
        rows.append(
            {
                "case": case.called,
                "dtype": case.dtype,
                "what": what,
                "steps": len(differences),
                "first": here[0],
                "last": here[-1],
            }
            | {"difference": max(differences), "bound": BOUNDS[case.dtype], "within": within}
        )
    return rows


def told(found: dict[str, Any]) -> str:
    """All of it as a table."""
    lines = [found["card"], f"{'case':30}{'stage':24}{'s':>7}{'planned':>9}{'tokens/s':>10}{'GiB':>8}{'planned':>9}"]
    lines += [
        f"{row['case']:30}{row['stage']:24}{row['seconds']:7.1f}{row['planned_seconds']:9.1f}{row['tokens_a_second']:10,.0f}"
        f"{row['memory'] / GIB:8.2f}{row['planned_memory'] / GIB:9.2f}"
        for row in found["rows"]
    ]
    lines += [
        f"{row['case']}, {row['dtype']}, {row['what']}: {row['steps']} losses ({row['first']:.3f} to {row['last']:.3f}) are off "
        f"the CPU's by {row['difference']:.2g} at most; {row['bound']:g} is allowed{'' if row['within'] else ': NOT EQUAL'}"
        for row in found["losses"]
    ]
    lines += [f"{row['case']}: FAILED: {row['why']}" for row in found["failed"]]
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--small", action="store_true", help="tiny models, on any machine")
    made.add_argument("--pairs", type=above(int), help="training pairs (256; with --small 8)")
    made.add_argument("--seconds", type=above(float), default=SECONDS, help="all of it at most (%(default)s)")
    made.add_argument("--output", type=Path, help=f"({TARGET}; with --small build/gpu.json)")
    given = made.parse_args(arguments)
    cards = gpus()
    if not cards and not given.small:
        raise SystemExit("no NVIDIA GPU is here, so there is nothing to check; --small runs tiny models on the CPU")
    until, pairs = time.monotonic() + given.seconds, given.pairs or (8 if given.small else 256)
    output = given.output or (Path("build/gpu.json") if given.small else TARGET)
    card = machine()
    found: dict[str, Any] = {
        "card": f"{', '.join(cards) or 'no GPU'}; {card['processor']}; PyTorch {card['torch']}{'; tiny models' * given.small}",
        "rows": [], "losses": [], "failed": [],
    }  # fmt: skip
    models = ["embedded"] if given.small else [QWEN, "embedded"]
    shared = {"small": given.small, "device": "gpu"}
    cases = [Case(model, mode, None, steps=None, pairs=pairs, **shared) for model in models for mode in MODES]
    # Of its losses the small check compares those of one mode: the CPU's with the CPU's.
    of_losses = [("LoRA", "float32")] if given.small else [(mode, dtype) for mode in MODES for dtype in BOUNDS]
    cases += [Case("embedded", mode, dtype, steps=STEPS, pairs=2 * STEPS, **shared) for mode, dtype in of_losses]
    with tempfile.TemporaryDirectory() as scratch:
        for case in cases:
            sides = [case] if case.steps is None else [case, replace(case, device="cpu")]
            got = []
            for side in sides:
                one, why = started(side, Path(scratch), max(1.0, until - time.monotonic()))
                got.append(one)
                if why:
                    found["failed"].append({"case": f"{case.called} on the {side.device}", "why": why})
                    break
            found["rows"] += got[0].get("rows", [])
            if case.steps and len(got) == 2 and all("losses" in one for one in got):
                found["losses"] += compared(case, got)
    write_json(output, found)
    print(told(found))
    if found["failed"] or not all(row["within"] for row in found["losses"]):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
