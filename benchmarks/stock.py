"""How many times as fast this project trains, scores and answers here as what one would write otherwise: ratios of one run.

    make benchmark       dvc repro prepare_data prepare_model, and python -m benchmarks.stock
    python -m benchmarks.stock --tasks reward dpo --rounds 1

Four tasks on the study's own data, model and parameters: training a reward model, training a policy by DPO, rewards of responses,
greedy responses. Each is done by this project, and with TRL or transformers as they come: with the same trained weights and as
their settings are, or in plain batches and one text at a time. A way runs in a process of its own; the ways of a task take turns,
so that a busy minute hits all of them, and the middle of the rounds counts. A rate is of what was done, in pairs or tokens a
second; a way that would take too long does less. Of a training every pair is timed once, after steps that warm up.

This project trains from hidden states that a pass over the base model has left, one for all trainings: its rate is given without
that pass and with all of it. Beside scoring and responses stands the share of the matrix limit: the operations that the tokens
need, over those that this machine does in plain products of the model's sizes at that precision.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from datasets import Dataset
from peft import LoraConfig
from peft.helpers import disable_input_dtype_casting
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    PreTrainedModel,
    PrinterCallback,
    ProgressCallback,
    Trainer,
)
from trl import DPOConfig, DPOTrainer, RewardConfig, RewardTrainer

from benchmarks.head import TIMED, Times, with_head
from preference_study.artifacts import read_json, read_table, write_json
from preference_study.cost import decoding, decoding_load, forward, load
from preference_study.data.prompts import prompts_of_file
from preference_study.launch import ALLOCATOR
from preference_study.methods import METHODS
from preference_study.models.frozen import HiddenStates, keep_hidden_states, kept_in, last_features, use_kept
from preference_study.models.generation import ends_of, respond
from preference_study.models.language_models import (
    compute_dtype,
    device,
    for_generating,
    load_causal,
    load_tokenizer,
    new_reward_model,
    padded,
    pair_logps,
    rewards,
)
from preference_study.models.layers import frozen_layers
from preference_study.models.packed import pack_rows
from preference_study.models.rate import matrix_rate
from preference_study.models.shapes import config_of, shape_of
from preference_study.models.token_pairs import BothSides
from preference_study.models.tokens import TokenPair, encode_pairs, encode_prompts
from preference_study.params import PolicyTraining, RewardTraining, load_params
from preference_study.plan import above
from preference_study.training.reward_trainer import reward_rows, reward_trainer
from preference_study.training.run import arguments, lora
from preference_study.variants import VARIANTS

TARGET = Path("experiments/results/stock.json")
BASE = "models/base"
STEPS, WARM_UP = 10, 2
BATCH = 16  # of plain batches
TEXTS, TEXTS_ALONE = 160, 16
PROMPTS, PROMPTS_ALONE = 100, 2
OWN, ROWS = "this project", "this project, padded rows"


def of_steps(trainer: Trainer, batch: int) -> dict[str, float]:
    """The pairs and seconds of a training that goes over all of its pairs once, after one of a few steps that warms up.

    All pairs are timed because the order is a way's own: this project's puts the longest batches first and TRL's is random, so
    that without its first steps a training of this project would be one on shorter pairs.
    """
    for callback in (PrinterCallback, ProgressCallback):
        trainer.remove_callback(callback)
    whole, trainer.args.max_steps = trainer.args.max_steps, WARM_UP
    trainer.train()
    trainer.args.max_steps = whole
    times = Times()
    trainer.add_callback(times)
    trainer.train()
    if len(times.seconds) != STEPS:
        raise RuntimeError(f"a training of {len(times.seconds)} steps, where {STEPS} are timed")
    return {"done": batch * STEPS, "seconds": sum(times.seconds)}


def pairs_of(batch: int) -> pd.DataFrame:
    """The study's first training pairs, as many as the steps take."""
    return read_table("data/prepared/train.parquet")[: STEPS * batch]


def trained_in(section: RewardTraining | PolicyTraining) -> torch.dtype:
    """What the study loads a model in to train it: weights that are all trained are kept in float32."""
    return torch.float32 if section.lora_rank == 0 else compute_dtype()


def passed_over(
    pairs: list[TokenPair],
    section: RewardTraining | PolicyTraining,
    folder: Path,
    run: Callable[[PreTrainedModel, dict], Any],
    trees: bool,
) -> tuple[HiddenStates | None, Any, float]:
    """The hidden states that a pass over the base model leaves, of trees of tokens or of rows, what else comes of it, and its
    seconds."""
    params, model = load_params(), load_causal(BASE)
    if trees:
        pack_rows(model)
    depth = frozen_layers(model, section.lora_rank, section.lora_layers)
    start = time.perf_counter()
    with keep_hidden_states(model, BothSides(pairs), depth, folder, max_gib=params.frozen.max_gib, spread=False):
        found = run(model, params.scoring.model_dump() | {"description": "base"})
    return kept_in(folder), found, time.perf_counter() - start


def reward_own(folder: Path, trees: bool = True) -> dict[str, float]:
    params, tokenizer = load_params(), load_tokenizer(BASE)
    section = params.reward.model_copy(update=TIMED)
    pairs = encode_pairs(tokenizer, pairs_of(section.batch_size), section.max_length)
    kept, _, before = passed_over(
        pairs, section, folder / "kept", lambda model, limits: last_features(model, BothSides(pairs), **limits), trees
    )
    model = new_reward_model(BASE, params.seed, trained_in(section)).to(device())
    use_kept(model, kept)
    if trees:
        pack_rows(model)
    rows, variant = reward_rows(pairs), VARIANTS["standard"]
    trainer = reward_trainer(model, tokenizer, rows, None, section, "standard", variant, params.seed, folder)
    trainer.args.save_strategy = "no"
    with disable_input_dtype_casting(trainer.model):  # as `preference_study.training.run.train` has it
        return of_steps(trainer, section.batch_size) | {"before": before}


def dpo_own(folder: Path, trees: bool = True) -> dict[str, float]:
    params, tokenizer, method = load_params(), load_tokenizer(BASE), METHODS["dpo"]
    section, own, recipe = params.policy.model_copy(update=TIMED), params.policy.own("dpo"), method.recipe()
    pairs = encode_pairs(tokenizer, pairs_of(section.batch_size), section.max_length)
    kept, logps, before = passed_over(
        pairs, section, folder / "kept", lambda model, limits: pair_logps(model, pairs, **limits), trees
    )
    rows = recipe.rows(pairs, section, params.seed)
    for side in ("chosen", "rejected"):
        rows = rows.add_column(f"ref_{side}_logps", np.array([row[f"{side}_logp"] for row in logps]))
    model = load_causal(BASE, dtype=trained_in(section))
    use_kept(model, kept)
    if trees:
        pack_rows(model)
    configuration = arguments(section, own.learning_rate, params.seed, folder) | method.configure(section, own, 1)
    trainer = recipe.trainer(
        model=model,
        args=recipe.config(**configuration | {"save_strategy": "no"}),
        train_dataset=rows,
        processing_class=tokenizer,
        peft_config=lora(model, section.lora_rank, section.lora_layers, task_type="CAUSAL_LM"),
    )
    with disable_input_dtype_casting(trainer.model):  # as `preference_study.training.run.train` has it
        return of_steps(trainer, section.batch_size) | {"before": before}


def conversations(pairs: pd.DataFrame) -> Dataset:
    """Pairs as TRL documents them."""
    rows = [
        {"prompt": prompt} | {side: [{"role": "assistant", "content": text}] for side, text in (("chosen", c), ("rejected", r))}
        for prompt, c, r in zip(pairs["prompt"], pairs["chosen"], pairs["rejected"], strict=True)
    ]
    return Dataset.from_list(rows)


def by_trl(kind: str, same_weights: bool, folder: Path) -> dict[str, float]:
    """TRL's own trainer and head: with LoRA on the layers that the study trains, or, as TRL sets it, on all linear maps."""
    params = load_params()
    section = params.reward if kind == "reward" else params.policy
    rate = section.learning_rate if kind == "reward" else section.own("dpo").learning_rate
    trainer, configuration, task = {
        "reward": (RewardTrainer, RewardConfig, "SEQ_CLS"),
        "dpo": (DPOTrainer, DPOConfig, "CAUSAL_LM"),
    }[kind]
    adapter = {"task_type": task} | ({"modules_to_save": ["score"]} if kind == "reward" else {})
    if same_weights:
        made = lora(load_causal(BASE), section.lora_rank, section.lora_layers, **adapter)
    else:
        made = LoraConfig(r=section.lora_rank or 16, target_modules="all-linear", **adapter)
    plain = {"gradient_checkpointing": False, "model_init_kwargs": {"dtype": trained_in(section)}} if same_weights else {}
    own = trainer(
        model=BASE,
        args=configuration(
            output_dir=str(folder), per_device_train_batch_size=section.batch_size, max_steps=STEPS, learning_rate=rate,
            max_length=section.max_length, bf16=compute_dtype() == torch.bfloat16, use_cpu=device().type == "cpu",
            seed=params.seed, logging_steps=1, save_strategy="no", report_to="none", **plain,
        ),
        train_dataset=conversations(pairs_of(section.batch_size)),
        processing_class=load_tokenizer(BASE),
        peft_config=made,
    )  # fmt: skip
    with with_head("trl"):
        return of_steps(own, section.batch_size)


def sequences(count: int) -> list[list[int]]:
    """The tokens of prompts and responses of the validation pairs, evenly spread over them."""
    params = load_params()
    pairs = read_table("data/prepared/val.parquet")
    encoded = encode_pairs(load_tokenizer(BASE), pairs, params.reward.max_length)
    both = [pair.prompt_ids + ids for pair in encoded for ids in (pair.chosen_ids, pair.rejected_ids)]
    return [both[place] for place in np.linspace(0, len(both) - 1, min(count, len(both))).astype(int)]


def with_limit(done: int, seconds: float, operations: float, dtype: torch.dtype) -> dict[str, float]:
    """Beside tokens and seconds the share of the matrix limit."""
    shape = shape_of(config_of(BASE)[0])
    rate = matrix_rate(shape.hidden, shape.intermediate, dtype, device()).by_clock
    return {"done": done, "seconds": seconds, "of_limit": operations / seconds / rate}


def of_scoring(model: PreTrainedModel, texts: list[list[int]], score: Callable[[list[list[int]]], Any]) -> dict[str, float]:
    """What scoring took, after a first few texts that warm up."""
    score(texts[:2])
    start = time.perf_counter()
    score(texts)
    seconds, tokens = time.perf_counter() - start, np.array(list(map(len, texts)))
    work = load(tokens, np.ones(len(tokens)), [[place] for place in range(len(tokens))])
    return with_limit(int(tokens.sum()), seconds, forward(shape_of(model.config), work), next(model.parameters()).dtype)


def plainly_loaded(kind: type, dtype: torch.dtype, **options: Any) -> PreTrainedModel:
    """The base model by one of transformers' classes, with the attention that transformers takes by itself."""
    return kind.from_pretrained(BASE, dtype=dtype, **options).to(device()).eval()


def score_own(_: Path) -> dict[str, float]:
    params = load_params()
    model = new_reward_model(BASE, params.seed).to(device()).eval()
    return of_scoring(model, sequences(TEXTS), lambda texts: rewards(model, texts, **params.scoring.model_dump()))


def score_plainly(batch: int, dtype: torch.dtype, count: int) -> dict[str, float]:
    """Batches in the order of the file, by the model's own forward pass."""
    model = plainly_loaded(AutoModelForSequenceClassification, dtype, num_labels=1)

    @torch.inference_mode()
    def score(texts: list[list[int]]) -> None:
        for start in range(0, len(texts), batch):
            ids, mask = padded(texts[start : start + batch], model.config.pad_token_id, model.device)
            model(input_ids=ids, attention_mask=mask)

    return of_scoring(model, sequences(count), score)


def prompts_of(count: int) -> list:
    params = load_params()
    settings = params.generate
    data = params.data
    found = prompts_of_file(settings.prompts, count, params.seed, data.cluster, settings.category, data.columns)
    return list(found["prompt"])


def of_responses(model: PreTrainedModel, prompts: Sequence[int], new: Sequence[int], seconds: float) -> dict[str, float]:
    """What responses took.

    Args:
        prompts, new: tokens of each prompt and response.
    """
    # What each row needs by itself, without padding or rows that have ended.
    work = decoding_load(np.array(prompts), 1, float(np.mean(new)), max(new))
    return with_limit(sum(new), seconds, decoding(shape_of(model.config), work), next(model.parameters()).dtype)


def generate_own(_: Path) -> dict[str, float]:
    settings, tokenizer = load_params().generate, load_tokenizer(BASE)
    model, prompts = for_generating(load_causal(BASE)), prompts_of(PROMPTS)
    respond(model, tokenizer, prompts[:1], max_new_tokens=2, batch_size=1)  # warms up
    start = time.perf_counter()
    found = respond(model, tokenizer, prompts, max_new_tokens=settings.max_new_tokens, batch_size=settings.batch_size)
    seconds = time.perf_counter() - start
    asked, new = zip(*((len(response.prompt_ids), len(response.ids)) for [response] in found), strict=True)
    return of_responses(model, asked, new, seconds)


def generate_plainly(batch: int, dtype: torch.dtype, count: int) -> dict[str, float]:
    """Batches in the order of the file, by the model's own `generate`."""
    settings, tokenizer = load_params().generate, load_tokenizer(BASE)
    tokenizer.padding_side = "left"
    model = plainly_loaded(AutoModelForCausalLM, dtype)
    encoded = [ids for ids, _ in encode_prompts(tokenizer, prompts_of(count), None)]
    model.generate(torch.tensor(encoded[:1], device=model.device), max_new_tokens=2, do_sample=False)  # warms up
    ends, new, start = ends_of(model.generation_config, tokenizer), [], time.perf_counter()
    for place in range(0, len(encoded), batch):
        asked = tokenizer.pad({"input_ids": encoded[place : place + batch]}, return_tensors="pt").to(model.device)
        written = model.generate(**asked, max_new_tokens=settings.max_new_tokens, do_sample=False)
        for row in written[:, asked["input_ids"].shape[1] :].tolist():
            new.append(next((at + 1 for at, token in enumerate(row) if token in ends), len(row)))
    return of_responses(model, list(map(len, encoded)), new, time.perf_counter() - start)


# Per task the ways, this project's first, and what a rate counts.
TASKS: dict[str, tuple[str, dict[str, Callable[[Path], dict[str, float]]]]] = {
    "reward": (
        "pairs",
        {
            OWN: reward_own,
            ROWS: lambda folder: reward_own(folder, trees=False),
            "TRL, the same weights": lambda folder: by_trl("reward", True, folder),
            "TRL's own settings, LoRA on all linear maps": lambda folder: by_trl("reward", False, folder),
        },
    ),
    "dpo": (
        "pairs",
        {
            OWN: dpo_own,
            ROWS: lambda folder: dpo_own(folder, trees=False),
            "TRL, the same weights": lambda folder: by_trl("dpo", True, folder),
            "TRL's own settings, LoRA on all linear maps": lambda folder: by_trl("dpo", False, folder),
        },
    ),
    "scoring": (
        "tokens",
        {
            OWN: score_own,
            "plain batches of 16": lambda _: score_plainly(BATCH, compute_dtype(), TEXTS),
            "one at a time, float32": lambda _: score_plainly(1, torch.float32, TEXTS_ALONE),
        },
    ),
    "responses": (
        "tokens",
        {
            OWN: generate_own,
            "plain batches of 16": lambda _: generate_plainly(BATCH, compute_dtype(), BATCH),
            "one at a time, float32": lambda _: generate_plainly(1, torch.float32, PROMPTS_ALONE),
        },
    ),
}


def run_one(task: str, way: str) -> dict[str, float]:
    """What a way of a task takes, in a process of its own: this project's as its launcher starts it."""
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "found.json"
        command = [sys.executable, "-m", "benchmarks.stock", "--one", task, way, "--output", str(target)]
        environment = os.environ | (ALLOCATOR if way in (OWN, ROWS) else {})
        ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if ended.returncode:
            raise SystemExit(f"{task}, {way}: failed\n{ended.stdout[-2000:]}{ended.stderr[-4000:]}")
        return read_json(target)


def summary(task: str, found: dict[str, list[dict[str, float]]]) -> list[dict[str, Any]]:
    """A row a way: its rate, in the middle of the rounds, and how many times as fast this project is.

    Args:
        found: per way, this project's first, {done, seconds} of each round, with `before`, the seconds of the pass over base, and
            `of_limit` where they were measured.

    Returns:
        {task, way, unit, rates, rate, ratio, rate_with_pass, ratio_with_pass, of_limit}; a ratio is this project's rate over the
        way's, the second one with the pass, the way's too where it has one; None where there is none.
    """
    unit, _ = TASKS[task]
    own = None
    rows = []
    for way, rounds in found.items():
        rates = [took["done"] / took["seconds"] for took in rounds]
        with_pass = [took["done"] / (took["seconds"] + took["before"]) for took in rounds if "before" in took]
        limits = [took["of_limit"] for took in rounds if "of_limit" in took]
        rate, passed = statistics.median(rates), statistics.median(with_pass) if with_pass else None
        own = own or (rate, passed)
        row = {"task": task, "way": way, "unit": unit, "rates": rates, "rate": rate, "ratio": own[0] / rate}
        row |= {"rate_with_pass": passed, "ratio_with_pass": own[1] / (passed or rate) if own[1] else None}
        rows.append(row | {"of_limit": statistics.median(limits) if limits else None})
    return rows


def main() -> None:
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS), help="(all)")
    made.add_argument("--rounds", type=above(int), default=3, help="of every way, in turn (%(default)s)")
    made.add_argument("--output", type=Path, help=f"({TARGET}; of part of the tasks none: it is printed)")
    made.add_argument("--one", nargs=2, metavar=("TASK", "WAY"), help=argparse.SUPPRESS)
    given = made.parse_args()
    for path in ("data/prepared/train.parquet", f"{BASE}/config.json"):
        if not Path(path).is_file():
            raise SystemExit(f"there is no {path}: dvc repro prepare_data prepare_model")
    if given.one:
        task, way = given.one
        with tempfile.TemporaryDirectory() as folder:
            write_json(given.output, TASKS[task][1][way](Path(folder)))
        return
    rows: list[dict[str, Any]] = []
    for task in given.tasks:
        found: dict[str, list[dict[str, float]]] = {way: [] for way in TASKS[task][1]}
        for number in range(given.rounds):
            for way, rounds in found.items():
                rounds.append(run_one(task, way))
                rate = rounds[-1]["done"] / rounds[-1]["seconds"]
                print(f"{task}, round {number + 1}, {way}: {rate:.2f} {TASKS[task][0]}/s", flush=True)
        rows += summary(task, found)
    shape = shape_of(config_of(BASE)[0])
    limit = {
        str(dtype).removeprefix("torch."): matrix_rate(shape.hidden, shape.intermediate, dtype, device()).by_clock / 1e9
        for dtype in (torch.bfloat16, torch.float32)
    }
    about = {"rounds": given.rounds, "threads": torch.get_num_threads(), "device": device().type, "gflops": limit}
    if output := given.output or (TARGET if set(given.tasks) == set(TASKS) else None):
        write_json(output, about | {"rows": rows})
    for row in rows:
        passed = f", {row['ratio_with_pass']:.2f} with the pass" if row["ratio_with_pass"] and row["way"] != OWN else ""
        share = f", {row['of_limit']:.0%} of the matrix limit" if row["of_limit"] else ""
        print(f"{row['task']:10}{row['way']:45}{row['rate']:9.2f} {row['unit']}/s{row['ratio']:8.2f}x{passed}{share}")


if __name__ == "__main__":
    main()
