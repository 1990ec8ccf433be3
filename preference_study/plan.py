"""What a run will cost, stage by stage, and the first thing that will not fit, before any of it is run. No weights are loaded.

    python -m preference_study.plan
    python -m preference_study.plan --params params/align_anything.yaml --gpus RTX4090 --pairs 30000 --val-pairs 1000
    python -m preference_study.plan --params params/align_anything.yaml --gpus 8xH100 --shape meta-llama/Llama-3.1-8B \
        --set launch.accelerate_config=params/fsdp.yaml --pairs 300000

Tokens are measured on a sample of the data's files with the model's tokenizer where both are there. Where the tokenizer is not,
characters are counted; where the files are not, lengths are assumed: --pairs, --val-pairs, --prompt-tokens, --response-tokens.
Times rest on assumed utilisations, which the options change; docs/full_size.md says against what they were held.
"""

import argparse
import dataclasses
import json
import math
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psutil
import torch
import yaml
from pydantic import ValidationError
from scipy.stats import lognorm
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from preference_study.alternative import PARAMS, with_alternative
from preference_study.beforehand import check_sizes
from preference_study.cost import GIB, Assumptions, Device, Shape, Stage, total
from preference_study.data.files import read_table_file
from preference_study.data.pairs import usable_pairs
from preference_study.data.prompts import is_prepared, prompts_of_file
from preference_study.data.sampling import sample_pairs
from preference_study.errors import BadInput, BadParams
from preference_study.formats import to_pairs
from preference_study.models.checks import chosen_template, fixed_template, with_system_prompt
from preference_study.models.embedded import embedded_file
from preference_study.models.language_models import compute_dtype, device
from preference_study.models.rate import matrix_rate, read_rate
from preference_study.models.shapes import config_of, shape_of
from preference_study.models.tokens import encode_pairs, encode_prompts
from preference_study.params import Model, Params, checked_params, what_is_wrong
from preference_study.stage_costs import Lengths, Misfit, changed, first_misfit, pairs_used, stages, training_activations

# Memory, dense operations a second in bfloat16 with sums in float32, and bandwidth, as the vendor's data sheets have them: H200,
# H100 SXM, A100 SXM, L40S, L4, A10; the architecture papers GA102 (RTX 3090) and Ada (RTX 4090). T4 has no bfloat16, so models
# compute in float32 there.
GPUS = {
    "H200": (141, 989e12, 4.8e12, 2),
    "H100": (80, 989e12, 3.35e12, 2),
    "A100": (80, 312e12, 2.039e12, 2),
    "A100-40": (40, 312e12, 1.555e12, 2),
    "L40S": (48, 362e12, 0.864e12, 2),
    "RTX4090": (24, 165.2e12, 1.008e12, 2),
    "RTX3090": (24, 71e12, 0.936e12, 2),
    "A10": (24, 125e12, 0.6e12, 2),
    "L4": (24, 121e12, 0.3e12, 2),
    "T4": (16, 8.1e12, 0.32e12, 4),
}
MEASURED = "measured"
# Of GPUs: Llama 3 was trained at 0.38 to 0.43 of the data sheet's rate (Grattafiori et al. 2024, table 4), PaLM at 0.46
# (Chowdhery et al. 2022, table 3), both by programs made for it; eager PyTorch reaches less. None of it was checked on a GPU.
ON_GPU = Assumptions(
    forward=0.35, training=0.3, decoding=0.3, reading=0.6, layer_seconds=5e-4, start_seconds=30.0, usable=0.92
)  # fmt: skip
# Of a CPU, of the rate that is measured at the start: benchmarks/plan.py. In the whole default study a stage held up to 1.3
# times what is counted (measure_kl).
ON_CPU = Assumptions(
    forward=0.7, training=0.45, decoding=0.4, reading=0.4, layer_seconds=3e-4, start_seconds=15.0, usable=0.6
)  # fmt: skip
PAIRS, VAL_PAIRS, PROMPT, RESPONSE, CHARACTERS = 1000, 300, 150, 300, 4.0
SPREAD = 0.6  # of assumed lengths: the standard deviation of their logarithm
SAMPLE = 4000
UNSHORTENED = 10**9


def sampled(table: pd.DataFrame, limit: int, seed: int) -> pd.DataFrame:
    """A seeded sample of rows; the table where it has no more."""
    return table if len(table) <= limit else table.sample(limit, random_state=seed)


def token_lengths(table: pd.DataFrame, tokenizer: PreTrainedTokenizerBase | None, characters: float) -> dict[str, np.ndarray]:
    """Tokens of the prompts and of both responses of each pair: the tokenizer's, or from characters at so many a token."""
    if tokenizer is not None:
        pairs = encode_pairs(tokenizer, table, UNSHORTENED)
        return {
            "prompts": np.array([len(pair.prompt_ids) for pair in pairs]),
            "chosen": np.array([len(pair.chosen_ids) for pair in pairs]),
            "rejected": np.array([len(pair.rejected_ids) for pair in pairs]),
        }
    prompts = table["prompt"].map(lambda turns: sum(len(turn["content"]) for turn in turns))
    texts = {"prompts": prompts, "chosen": table["chosen"].str.len(), "rejected": table["rejected"].str.len()}
    return {name: np.ceil(counts.to_numpy() / characters).astype(int) + 1 for name, counts in texts.items()}


def assumed_lengths(prompt: float, response: float, count: int = 1000) -> dict[str, np.ndarray]:
    """Lengths of pairs with these means, log-normal as texts' lengths about are, the same ones each time."""
    order = np.random.default_rng(0)
    shares = (np.arange(count) + 0.5) / count

    def drawn(mean: float) -> np.ndarray:
        values = lognorm.ppf(shares, SPREAD, scale=mean / np.exp(SPREAD**2 / 2))
        return order.permutation(np.maximum(1, np.rint(values)).astype(int))

    return {"prompts": drawn(prompt), "chosen": drawn(response), "rejected": drawn(response)}


def tokenizer_of(settings: Model) -> PreTrainedTokenizerBase | None:
    """The model's tokenizer with the template that the study writes; None where it is not on this machine."""
    name = settings.name
    try:
        if name == "embedded":
            file = embedded_file()
            tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
        else:
            tokenizer = AutoTokenizer.from_pretrained(name, revision=settings.revision, trust_remote_code=False)
    except Exception:  # files that others wrote, read by a library that raises what it likes: the plan does without
        return None
    template = fixed_template(
        chosen_template(tokenizer, settings.chat_template), date.fromisoformat(settings.date), settings.template_arguments
    )
    tokenizer.chat_template = template if settings.system_prompt is None else with_system_prompt(template, settings.system_prompt)
    return tokenizer


def lengths_of(params: Params, given: argparse.Namespace) -> tuple[Lengths, str]:
    """The data's lengths, and in words where they are from.

    Raises:
        BadInput: a file that is there cannot be read; or the study answers prompts that cannot be counted.
    """
    data, generate = params.data, params.generate
    measured = given.prompt_tokens is None and given.response_tokens is None and Path(data.train).is_file()
    tokenizer = tokenizer_of(params.model) if measured and given.shape is None else None
    if measured:
        read = to_pairs(read_table_file(data.train), data.train, data.columns, data.ranks, data.cluster)
        usable, _ = usable_pairs(read.table, set())
        if usable.empty:
            raise BadInput(f"{data.train}: no row can be used; python -m stages.prepare_data says why")
        used = sample_pairs(usable, data.max_train, data.seed)
        some = sampled(used, given.sample, params.seed)
        found, whole = token_lengths(some, tokenizer, given.characters_per_token), len(some) == len(used)
        pairs = given.pairs or len(usable)
        how = "with the model's tokenizer" if tokenizer else f"at {given.characters_per_token:g} characters a token"
        told = f"{len(some):,} pairs of {data.train}, {how}"
        whole = whole and pairs <= len(usable) and tokenizer is not None
    else:
        prompt, response = given.prompt_tokens or PROMPT, given.response_tokens or RESPONSE
        found, whole, pairs = assumed_lengths(prompt, response), False, given.pairs or PAIRS
        told = f"assumed, means of {prompt:g} tokens a prompt and {response:g} a response, the longest as long as max_length"
        if given.pairs is None:
            told += f"; {PAIRS:,} training pairs assumed too, as {data.train} is not there: --pairs says how many"
    val = given.val_pairs or VAL_PAIRS
    if given.val_pairs is None and Path(data.val).is_file():
        val = len(read_table_file(data.val))
    asked, answered = found["prompts"], min(val, params.data.max_val or val)
    if Path(generate.prompts).is_file() and not is_prepared(generate.prompts):
        prompts = prompts_of_file(generate.prompts, None, data.seed, data.cluster, columns=data.columns)
        answered, some = len(prompts), sampled(prompts, given.sample, params.seed)
        if tokenizer is not None:
            asked = np.array([len(ids) for ids, _ in encode_prompts(tokenizer, list(some["prompt"]), None)])
    answers = np.minimum(np.concatenate([found["chosen"], found["rejected"]]), generate.max_new_tokens)
    written = min(given.generated_tokens or answers.mean(), generate.max_new_tokens)
    return Lengths(
        **found, pairs={"train": pairs, "val": val}, whole=whole, asked=asked, answered=answered, written=written
    ), told


def gpus(text: str) -> tuple[int, str]:
    """8xH100 -> 8, H100; H100 alone is one."""
    count, _, name = text.rpartition("x") if text[:1].isdigit() else ("1", "", text)
    known = {key.lower(): key for key in GPUS}
    if not count.isdigit() or int(count) < 1 or name.lower() not in known:
        raise argparse.ArgumentTypeError(f"{text!r} is not [count x]name, such as 8xH100; known are {', '.join(GPUS)}")
    return int(count), known[name.lower()]


def device_of(given: argparse.Namespace, shape: Shape) -> Device:
    """The cards that were named; or this machine, measured in about a second."""
    disk = given.disk * 1e9 if given.disk else None
    host = given.host_memory * GIB if given.host_memory else None
    if given.gpus:
        count, name = given.gpus
        memory, rate, bandwidth, item = GPUS[name]
        return Device(f"{count} x {name}", count, memory * GIB, rate, bandwidth, item, host, disk)
    where, dtype = device(), compute_dtype()
    rate, bandwidth = matrix_rate(shape.hidden, shape.intermediate, dtype, where).by_clock, read_rate(where).by_clock
    memory = psutil.virtual_memory()
    on_cpu = where.type != "cuda"
    here = (host or memory.total) if on_cpu else torch.cuda.get_device_properties(where).total_memory
    return Device(
        f"this machine's {'CPU' if on_cpu else torch.cuda.get_device_name(where)}", 1, here, rate, bandwidth, dtype.itemsize,
        host or memory.total, disk or shutil.disk_usage(".").free, shared=on_cpu,
    )  # fmt: skip


def params_of(given: argparse.Namespace) -> Params:
    """params.yaml with an alternative merged into it, and what --set changes.

    Raises:
        BadParams: a parameter is missing, unknown or out of range.
    """
    if given.params:
        text, _ = with_alternative(PARAMS, given.params)
        params = checked_params(text, f"{PARAMS} with {given.params}")
    else:
        params = checked_params(PARAMS.read_text(encoding="utf-8"), str(PARAMS))
    changes: dict[str, Any] = {}
    if given.gpus:
        changes["launch.processes"] = given.gpus[0]
    for setting in given.set:
        name, equals, value = setting.partition("=")
        if not equals:
            raise BadParams(f"--set {setting}: it must be name=value, such as --set policy.batch_size=4")
        try:
            changes[name] = yaml.safe_load(value)
        except yaml.YAMLError:
            raise BadParams(f"--set {setting}: what follows = is not YAML; a list is written as '[dpo, ipo]'") from None
    try:
        return changed(params, changes)
    except (KeyError, TypeError):
        raise BadParams(f"--set {' '.join(given.set)}: there is no such parameter; params.yaml has them all") from None
    except ValidationError as error:
        raise BadParams(f"the parameters with {changes} are not right:\n{what_is_wrong(error)}") from None


def table(found: Sequence[Stage]) -> list[list[str]]:
    """A row a stage: what it costs; memory and disk in GiB and GB."""
    heads = ["stage", "tokens", "PFLOP", "hours", "memory", "weights", "gradients", "optimiser", "activations", "logits", "cache"]
    rows = [[*heads, "store", "machine", "disk"]]
    for stage in found:
        memory = stage.memory
        parts = [memory.get(name, 0.0) for name in ("weights", "gradients", "optimiser", "activations", "logits", "cache")]
        parts[0] += memory.get("other models", 0.0)
        rows.append(
            [
                stage.name,
                f"{stage.tokens:,.0f}",
                f"{stage.flops / 1e15:,.2f}",
                f"{stage.seconds / 3600:.2f}",
                *(f"{part / GIB:.1f}" for part in (total(memory), *parts)),
                f"{stage.host.get('store', 0.0) / GIB:.1f}",
                f"{total(stage.host) / GIB:.1f}",
                f"{total(stage.disk) / 1e9:.1f}",
            ]
        )
    sums = [f"{sum(s.tokens for s in found):,.0f}", f"{sum(s.flops for s in found) / 1e15:,.2f}"]
    sums.append(f"{sum(s.seconds for s in found) / 3600:.2f}")
    kept = sum(bytes_ for s in found for name, bytes_ in s.disk.items() if name != "checkpoints") / 1e9
    rows.append(["all", *sums, f"{max(total(s.memory) for s in found) / GIB:.1f}", *[""] * 8, f"{kept:.1f}"])
    return rows


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Rows as lines, the first column to the left and the others to the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))] for row in rows
    ]
    return "\n".join("  ".join(line).rstrip() for line in lines)


def what_does_not_fit(misfit: Misfit | None, params: Params) -> str:
    """The first thing that will not fit and what to change, in a sentence."""
    if misfit is None:
        return "Everything fits."
    told = (
        f"{misfit.stage} does not fit: it needs {misfit.needed / GIB:.1f} GiB of {misfit.what}, and {misfit.there / GIB:.1f} are "
        f"there; most of it is for {misfit.largest}. "
    )
    if not misfit.remedies:
        return told + "No parameter tried here makes it fit: take a larger device, or a smaller model (model.name)."
    values = params.model_dump()

    def now(name: str) -> Any:
        place = values
        for key in name.split("."):
            place = place[key]
        return place

    changes = ", ".join(f"{name}: {_written(now(name))} -> {_written(value)}" for name, value in misfit.remedies.items())
    return f"{told}Change {changes}."


def _written(value: Any) -> str:
    return json.dumps(value) if not isinstance(value, str) else value


def other_way(params: Params, shape: Shape, lengths: Lengths, where: Device, assumed: Assumptions) -> list[str]:
    """A line a trained section: what its activations take with and without gradient checkpointing."""
    lines = []
    for name in ("reward", "policy"):
        sizes = []
        for checkpointing in (False, True):
            other = changed(params, {f"{name}.gradient_checkpointing": checkpointing})
            sizes.append(training_activations(other, shape, lengths, where, assumed, name) / GIB)
        lines.append(f"train_{name}: activations {sizes[0]:.1f} GiB without gradient_checkpointing, {sizes[1]:.1f} with")
    return lines


def above(kind: type, most: float = math.inf) -> Callable[[str], float]:
    """A kind of number for the command line: above 0, and `most` at most."""

    def number(text: str) -> float:
        value = kind(text)
        if not (0 < value <= most and math.isfinite(value)):
            raise argparse.ArgumentTypeError(f"{text} is not above 0" + (f" and at most {most:g}" if most < math.inf else ""))
        return value

    return number


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--params", type=Path, help="what differs from params.yaml, such as params/align_anything.yaml")
    made.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="one parameter more; may be repeated")
    where = made.add_mutually_exclusive_group()
    where.add_argument("--gpus", type=gpus, help=f"such as 8xH100, with a process each; known are {', '.join(GPUS)}")
    where.add_argument("--device", choices=[MEASURED], default=MEASURED, help="this machine, measured (the default)")
    made.add_argument("--shape", help="plan with this model's shape in place of model.name's, which need not be here")
    made.add_argument("--pairs", type=above(int), help=f"training pairs (the file's rows, or {PAIRS:,})")
    made.add_argument("--val-pairs", type=above(int), help=f"validation pairs (the file's rows, or {VAL_PAIRS:,})")
    made.add_argument("--prompt-tokens", type=above(float), help=f"mean of a prompt, where it is not measured ({PROMPT})")
    made.add_argument("--response-tokens", type=above(float), help=f"mean of a response, where it is not measured ({RESPONSE})")
    made.add_argument("--generated-tokens", type=above(int), help="mean of an answer that is written (as the data's responses)")
    made.add_argument(
        "--characters-per-token", type=above(float), default=CHARACTERS, help="where there is no tokenizer (%(default)s)"
    )
    made.add_argument("--sample", type=above(int), default=SAMPLE, help="pairs whose tokens are measured (%(default)s)")
    made.add_argument(
        "--host-memory", type=above(float), help="GiB of the machine's memory (this machine's; unknown with --gpus)"
    )
    made.add_argument("--disk", type=above(float), help="GB of free disk (this machine's; unknown with --gpus)")
    for field, told in (
        ("forward", "share of the rate that a forward pass reaches"),
        ("training", "the same in training"),
        ("decoding", "the same where tokens are written one by one"),
        ("reading", "share of the bandwidth that writing tokens reaches"),
        ("layer_seconds", "seconds that a layer takes however little it does"),
        ("start_seconds", "seconds until a stage has loaded its model"),
        ("usable", "share of memory that tensors can have"),
    ):
        kind = above(float, math.inf if field.endswith("seconds") else 1)
        told = f"{told} ({getattr(ON_GPU, field):g} on GPUs, {getattr(ON_CPU, field):g} on a CPU)"
        made.add_argument(f"--{field.replace('_', '-')}", type=kind, help=told)
    made.add_argument("--json", action="store_true", help="all of it as JSON")
    return made


def assumptions(given: argparse.Namespace, where: Device) -> Assumptions:
    """What is assumed of such a device, and what the options say otherwise."""
    base = ON_CPU if where.shared else ON_GPU
    own = {field.name: getattr(given, field.name) for field in dataclasses.fields(Assumptions)}
    return dataclasses.replace(base, **{name: value for name, value in own.items() if value is not None})


@dataclass(frozen=True)
class Plan:
    """All that a plan is made from, and what it comes to; `told` says where the model's shape and the lengths are from."""

    params: Params
    model: str
    shape: Shape
    lengths: Lengths
    told: dict[str, str]
    device: Device
    assumed: Assumptions
    stages: list[Stage]
    misfit: Misfit | None


def planned(arguments: Sequence[str] | None = None) -> Plan:
    """The plan that a command line asks for.

    Raises:
        BadParams, BadInput, BadModel: parameters are not right, a data file cannot be read, a model is not known, or is too small
            for them.
    """
    given = parser().parse_args(arguments)
    params = params_of(given)
    model = given.shape or params.model.name
    config, of_model = config_of(model, None if given.shape else params.model.revision)
    check_sizes(params, config.to_dict())
    shape = shape_of(config)
    lengths, of_lengths = lengths_of(params, given)
    where = device_of(given, shape)
    made = (params, shape, lengths, where, assumptions(given, where))
    told = {"shape": of_model, "lengths": of_lengths}
    return Plan(params, model, shape, lengths, told, where, made[-1], stages(*made), first_misfit(*made))


def as_json(plan: Plan) -> str:
    parts = {name: dataclasses.asdict(getattr(plan, name)) for name in ("shape", "device", "assumed")}
    of_stages = [dataclasses.asdict(stage) | {"flops": stage.flops, "tokens": stage.tokens} for stage in plan.stages]
    misfit = dataclasses.asdict(plan.misfit) if plan.misfit else None
    pairs = pairs_used(plan.params, plan.lengths)
    return json.dumps(
        parts | {"model": plan.model, "told": plan.told, "pairs": pairs, "stages": of_stages, "misfit": misfit}, indent=2
    )


def as_text(plan: Plan) -> str:
    used, where = pairs_used(plan.params, plan.lengths), plan.device
    reached = ", ".join(f"{name} {value:g}" for name, value in dataclasses.asdict(plan.assumed).items())
    lines = [
        f"model: {plan.model}, {plan.shape.parameters:,} parameters by {plan.told['shape']}",
        f"pairs: {used['reward']:,} for reward models, {used['policy']:,} for policies, {used['val']:,} of validation",
        f"lengths: {plan.told['lengths']}; an answer {plan.lengths.written:.0f} tokens",
        f"device: {where.name}, {where.memory / GIB:.0f} GiB, {where.rate / 1e12:.3g} TFLOP/s in {8 * where.item} bits, "
        f"{where.bandwidth / 1e9:,.0f} GB/s; processes: {plan.params.launch.processes}",
        f"assumed: {reached}",
        "",
        aligned(table(plan.stages)),
        "",
        "memory: of one device, GiB; store: hidden states under LoRA, and machine: all of the machine's memory, GiB; disk: GB",
        "",
        *other_way(plan.params, plan.shape, plan.lengths, where, plan.assumed),
        what_does_not_fit(plan.misfit, plan.params),
    ]
    passed_over = {
        "score_benchmarks": plan.params.benchmarks,
        "train_judge and ask_judge": plan.params.judges,
    }
    if any(passed_over.values()):
        lines.append(f"Not counted: {', '.join(name for name, asked in passed_over.items() if asked)}.")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    plan = planned(arguments)
    print(as_json(plan) if "--json" in (sys.argv[1:] if arguments is None else arguments) else as_text(plan))


if __name__ == "__main__":
    main()
