"""What the training stages share: LoRA, the order of batches, checkpoints that a killed run goes on from, logged steps."""

import hashlib
import json
import math
import os
import re
import resource
import shutil
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from datasets import Dataset
from dvclive import Live
from peft import LoraConfig
from peft.helpers import disable_input_dtype_casting
from safetensors import SafetensorError, safe_open
from transformers import PreTrainedModel, ProgressCallback, Trainer, TrainerCallback
from transformers.pytorch_utils import Conv1D
from transformers.trainer_pt_utils import LengthGroupedSampler
from trl import RLOOTrainer
from trl.trainer.utils import hash_module

from preference_study.artifacts import write_json
from preference_study.models.language_models import compute_dtype, device
from preference_study.models.layers import frozen_layers, layer_list
from preference_study.models.token_pairs import READ, TokenPairs, numbers
from preference_study.models.tokens import TokenPair
from preference_study.params import Training

LOGGED = (
    "loss", "learning_rate", "grad_norm", "accuracy", "margin", "rewards/accuracies", "rewards/margins",
    "rewards/chosen", "rewards/rejected", "reward", "kl", "completions/mean_length", "completions/clipped_ratio",
    "clip_ratio/region_mean",
)  # fmt: skip
COMPLETE = "complete"
REMEDY = "lower the learning rate or lengthen the warm-up"


def lora(model: PreTrainedModel, rank: int, top_layers: int | None, **extra: Any) -> LoraConfig | None:
    """LoRA on every linear map of the model's top layers (Hu et al. 2021), scaled by alpha / rank = 2; None where rank is 0.

    Of a mixture of experts those that transformers keeps as one tensor of all experts are no linear maps, and stay as they are.

    Args:
        top_layers: how many of the last layers; None for all.
        extra: passed to `LoraConfig`.

    Raises:
        BadModel: the model's layers are not found.
    """
    if rank == 0:
        return None
    stack = layer_list(model)
    count = len(model.get_submodule(stack))
    linear = {name for name, module in model.named_modules() if isinstance(module, (torch.nn.Linear, Conv1D))}
    ours = {name for name in linear if name.startswith(f"{stack}.")}
    first = frozen_layers(model, rank, top_layers)
    names = "|".join(sorted({name.rsplit(".", 1)[-1] for name in ours}))

    def pattern(stack: str, chosen: range) -> str:
        return rf"(.*\.)?{stack}\.({'|'.join(map(str, chosen))})\."

    # As one pattern: PEFT keeps a list of names as a set and would write it in another order in every process.
    short = stack.rsplit(".", 1)[-1]
    if any(re.fullmatch(pattern(short, range(count)) + rf"(.*\.)?({names})", name) for name in linear - ours):
        short = re.escape(stack)
    # PEFT reads a mixture of experts' pattern as names alone, which stand in every layer.
    experts = any(weight.dim() == 3 for weight in model.get_submodule(stack).parameters())
    if experts and first:
        extra["exclude_modules"] = pattern(short, range(first)) + ".*"
    # GPT-2's linear maps hold their weights the other way round.
    turned = any(isinstance(model.get_submodule(name), Conv1D) for name in ours)
    return LoraConfig(
        r=rank,
        lora_alpha=2 * rank,
        lora_dropout=0.0,
        target_modules=pattern(short, range(first, count)) + rf"(.*\.)?({names})",
        fan_in_fan_out=turned,
        **extra,
    )


def arguments(section: Training, learning_rate: float, seed: int, checkpoints: Path) -> dict[str, Any]:
    """The part of TRL's configurations that every training has, from a training section of params.yaml."""
    processes = PartialState().num_processes
    return {
        "output_dir": str(checkpoints),
        "learning_rate": learning_rate,
        "num_train_epochs": section.epochs,
        "per_device_train_batch_size": section.batch_size // processes,
        "gradient_accumulation_steps": section.gradient_accumulation_steps,
        "lr_scheduler_type": "cosine",
        "warmup_steps": section.warmup,  # below 1 it is a share of the steps
        "gradient_checkpointing": section.gradient_checkpointing,
        "bf16": compute_dtype() == torch.bfloat16,
        "use_cpu": device().type == "cpu",
        "seed": seed,
        "data_seed": seed,
        "logging_steps": 1,
        "eval_strategy": "steps" if section.evaluations else "no",
        # Below 1 it is a share of the steps; 1 would be a single step.
        "eval_steps": min(1 / section.evaluations, 1 - 1e-6) if section.evaluations else None,
        "per_device_eval_batch_size": section.batch_size // processes,
        "prediction_loss_only": True,
        "save_strategy": "steps",
        "save_steps": section.save_steps,
        "save_total_limit": 2,  # one is complete while the other is being written
        "remove_unused_columns": False,
        "report_to": "none",
    }


class EpochSampler(LengthGroupedSampler):
    """Shuffles anew each epoch, by seed and epoch alone, so that a continued run and several processes see the same order.

    As transformers does it: rows are shuffled, and in every 50 batches' worth of them sorted by falling length, so the length of
    batches falls from the first to the fiftieth, and begins anew.
    """

    def __init__(self, batch_size: int, lengths: list[int], seed: int):
        super().__init__(batch_size, lengths=lengths, generator=torch.Generator())
        self.seed = seed
        self.set_epoch(0)

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __iter__(self):
        self.generator.manual_seed(self.seed * 1_000_003 + self.epoch)
        return super().__iter__()


class PairedByLength:
    """For a TRL trainer: takes pairs as tokens with a `length` column, and batches pairs of similar length.

    Random batches waste most of their work on padding, and TRL would write the pairs as tokens by rules of its own.
    """

    def _prepare_dataset(self, dataset: Dataset, *_: Any) -> Dataset:
        return dataset

    def _get_train_sampler(self, train_dataset: Dataset | None = None) -> EpochSampler:
        dataset = self.train_dataset if train_dataset is None else train_dataset
        # Over all processes, so that their number does not change the order.
        lengths = numbers(dataset, "length").tolist()
        return EpochSampler(self.args.train_batch_size * self.args.world_size, lengths, self.args.seed)

    def _get_eval_sampler(self, eval_dataset: Dataset) -> EpochSampler:
        lengths = numbers(eval_dataset, "length").tolist()
        return EpochSampler(self.args.eval_batch_size * self.args.world_size, lengths, self.args.seed)


class StepLog(TrainerCallback):
    """Writes each step's numbers with DVCLive, and stops a run that diverges.

    Starting from a checkpoint, the steps before it are written again: DVC has deleted what the killed run wrote.

    Args:
        folder: where to.
        rows: of the training set, to count the examples seen.
        untrained_loss: on validation, before the first step, where it is known.
    """

    def __init__(self, folder: Path, rows: int, untrained_loss: float | None):
        self.folder = folder
        self.rows = rows
        self.untrained_loss = untrained_loss
        self.live: Live | None = None

    def on_train_begin(self, args, state, control, **kwargs):
        if state.is_world_process_zero:
            self.live = Live(str(self.folder), dvcyaml=False, save_dvc_exp=False)
            if self.untrained_loss is not None:
                self._write({"step": 0, "epoch": 0.0, "eval_loss": self.untrained_loss})
            for logs in state.log_history:
                self._write(logs)

    def on_log(self, args, state, control, logs=None, **kwargs):
        loss = (logs or {}).get("loss", (logs or {}).get("eval_loss", 0.0))
        gradient = (logs or {}).get("grad_norm", 0.0)
        if not (math.isfinite(loss) and math.isfinite(gradient)):
            raise SystemExit(
                f"training diverged at step {state.global_step}: loss {loss}, gradient norm {gradient}, "
                f"learning rate {logs.get('learning_rate')}; {REMEDY}"
            )
        if self.live is not None:
            self._write({"step": state.global_step} | logs)

    def _write(self, logs: dict[str, float]) -> None:
        examples = round(logs["epoch"] * self.rows)
        if "loss" in logs:
            numbers = {key.replace("/", "_"): logs[key] for key in LOGGED if key in logs} | {"examples": examples}
        elif "eval_loss" in logs:
            numbers = {"validation_loss": logs["eval_loss"], "validation_examples": examples}
        else:  # the closing line holds only how long it took
            return
        self.live.step = logs["step"]
        for name, value in numbers.items():
            self.live.log_metric(name, float(value))
        self.live.make_summary()

    def on_train_end(self, args, state, control, **kwargs):
        if self.live is not None:
            self.live.end()


def nats_per_token(model: PreTrainedModel, pairs: Sequence[TokenPair]) -> float:
    """Mean of -log pi(token) over all tokens of the chosen responses."""
    losses = []
    for pair in pairs:
        ids = torch.tensor([pair.prompt_ids + pair.chosen_ids], device=model.device)
        with torch.no_grad():
            logits = model(input_ids=ids, use_cache=False).logits[0, len(pair.prompt_ids) - 1 : -1]
        losses.append(torch.nn.functional.cross_entropy(logits.float(), ids[0, len(pair.prompt_ids) :], reduction="none"))
    return torch.cat(losses).mean().item()


class BetterThanChance(TrainerCallback):
    """Stops, at a checkpoint or at the end, a policy to which responses are no likelier than tokens drawn at random.

    Optimisers bound their steps, and KTO's loss is bounded: with a learning rate far too high a run often ends in finite numbers
    and a model that has unlearned language. No loss of all methods shows it; this does.

    Args:
        model: before training; a model that was no better than chance to begin with must be a nat a token worse to be stopped.
        pairs: a few, whose chosen responses are looked at.
    """

    def __init__(self, model: PreTrainedModel, pairs: Sequence[TokenPair]):
        self.pairs = pairs
        self.chance = math.log(model.config.get_text_config().vocab_size)
        # Less a hundredth: a collapsed model that gives all tokens the same probability is off by its rounding.
        self.limit = max(0.99 * self.chance, nats_per_token(model, pairs) + 1)

    def on_save(self, args, state, control, model=None, **kwargs):
        found = nats_per_token(model, self.pairs)
        if not found < self.limit:
            raise SystemExit(
                f"training diverged at step {state.global_step} or in the {args.save_steps} before: to the policy, validation "
                "responses are no likelier than tokens drawn at random "
                f"({found:.1f} nats a token, random ones {self.chance:.1f}), "
                f"learning rate {args.learning_rate}; {REMEDY}"
            )

    on_train_end = on_save


class CompleteMark(TrainerCallback):
    """Marks a checkpoint once all of it is written, with the size of each of its files.

    First they are on the disk, not only on the way to it: where the power fails, a file can be left with its size and no content.
    """

    def on_save(self, args, state, control, **kwargs):
        if state.is_world_process_zero:
            folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
            written = sizes(folder)
            for name in written:
                with (folder / name).open("rb") as file:
                    os.fsync(file.fileno())
            write_json(folder / COMPLETE, written)


class Ended(Exception):
    """A run goes on from its last step: there is nothing left to train."""


class NoStepTooMany(TrainerCallback):
    """Raises `Ended`: transformers would take one step more, where the last one is not the end of an epoch."""

    def on_epoch_begin(self, args, state, control, **kwargs):
        if state.global_step >= state.max_steps:
            raise Ended


class QuietProgress(ProgressCallback):
    """The progress bar without a line per logged step."""

    def on_log(self, args, state, control, logs=None, **kwargs):
        pass


def code_of(kind: str, name: str) -> dict[str, str]:
    """What tells the code of a training from another's: a digest of it, versions of the packages that it is built on, and the
    precision that it computes in on this machine.

    Args:
        kind: "methods" or "variants".
        name: of the method or variant, which its file has.
    """
    package = Path(__file__).parents[1]
    files = [*(package / "training").glob("*.py"), *(package / "models").glob("*.py"), *(package / kind).glob("_*.py")]
    digest = hashlib.sha256()
    for file in sorted([*files, package / kind / f"{name}.py"]):
        digest.update(f"{file.relative_to(package)}\n".encode() + file.read_bytes())
    packages = {name: version(name) for name in ("torch", "transformers", "trl", "peft")}
    return {"code": digest.hexdigest(), "precision": str(compute_dtype())} | packages


def fingerprint(
    models: Sequence[PreTrainedModel], datasets: Sequence[Dataset], settings: dict, seed: int, code: dict[str, str]
) -> str:
    """A digest of everything that decides how a training run goes; checkpoints of another run must not be continued.

    The rows go into it as Arrow writes them, a thousand at a time.

    Args:
        datasets: the training rows and, where the loss on validation is computed during training, those.
        code: as from `code_of`.
    """
    digest = hashlib.sha256(json.dumps([settings, seed, code], sort_keys=True).encode())
    for model in models:
        digest.update(hash_module(model).encode())
    for dataset in datasets:
        for some in dataset.with_format("arrow").iter(READ):
            # In pieces of their own, however the file they are from was cut.
            for batch in some.combine_chunks().to_batches():
                digest.update(batch.serialize())
        digest.update(str(dataset.features).encode())
    return digest.hexdigest()


def sizes(folder: Path) -> dict[str, int]:
    """The size in bytes of every file in a folder and those in it, but for the mark."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != COMPLETE)
    return {str(path.relative_to(folder)): path.stat().st_size for path in files}


def is_whole(checkpoint: Path) -> bool:
    """Whether a checkpoint's files are as they were when it was marked: all there, of the same sizes, the weights readable."""
    try:
        if json.loads((checkpoint / COMPLETE).read_text()) != sizes(checkpoint):
            return False
        for file in checkpoint.glob("*.safetensors"):
            with safe_open(file, framework="pt"):
                pass
        json.loads((checkpoint / "trainer_state.json").read_text())
    except (OSError, ValueError, SafetensorError):
        return False
    return True


def last_complete(checkpoints: Path) -> Path | None:
    """The newest checkpoint that was written to its end and is whole; those that are damaged are passed over, with a word."""
    marked = {int(mark.parent.name.split("-")[1]): mark.parent for mark in checkpoints.glob(f"checkpoint-*/{COMPLETE}")}
    for step in sorted(marked, reverse=True):
        if is_whole(marked[step]):
            return marked[step]
        print(f"{marked[step]} is damaged and passed over")
    return None


def save_whole(trainer: Trainer, target: Path) -> None:
    """Write the weights to `target`; those that are sharded between processes are gathered."""
    if not trainer.is_fsdp_enabled:
        trainer.save_model(str(target))
        return
    weights = trainer.accelerator.get_state_dict(trainer.model)
    if trainer.is_world_process_zero():
        # Gathered one by one, two tied weights are no longer seen to be one, and both would be written.
        tied = trainer.model.all_tied_weights_keys
        trainer.model.save_pretrained(target, state_dict={name: weights[name] for name in weights if name not in tied})


def train(trainer: Trainer, checkpoints: Path, run: str, log: Path, target: Path, untrained_loss: float | None = None) -> bool:
    """Train, going on from the last complete checkpoint of the same run, and write the model to `target`.

    Args:
        trainer: ready to train.
        checkpoints: folder for them. It stays, the last step's in it: the caller removes it when all that is made of the training
            is written, so that what ends badly in between need not be trained again.
        run: the run's `fingerprint`.
        log: folder for the numbers of each step.
        target: folder for the trained weights: safetensors and configuration alone.
        untrained_loss: on validation, before the first step, where it is known.

    Returns:
        Whether it began at the beginning, and did not go on from a checkpoint.

    Raises:
        SystemExit: it diverged, or ended early; nothing is written to `target`. Or one process was to use several GPUs.
    """
    state = PartialState()
    if trainer.args.n_gpu > 1:  # a batch would be as many times as large
        raise SystemExit(
            f"one process sees {trainer.args.n_gpu} GPUs, and transformers would give each a batch of its own: start it by "
            "python -m preference_study.launch, as dvc.yaml does, and set launch.processes in params.yaml to use more than one"
        )
    mark = checkpoints / "run"
    if trainer.is_fsdp_enabled:
        run += " sharded"  # such a checkpoint cannot be gone on from without sharding, nor another one with it
    if state.is_main_process:
        if not mark.exists() or mark.read_text() != run:
            shutil.rmtree(checkpoints, ignore_errors=True)
        checkpoints.mkdir(parents=True, exist_ok=True)
        mark.write_text(run)
    state.wait_for_everyone()
    resume = last_complete(checkpoints)
    if resume and state.is_main_process:
        print(f"going on from {resume}")
    trainer.remove_callback(ProgressCallback)
    steps = StepLog(log, len(trainer.train_dataset), untrained_loss)
    for callback in (QuietProgress(), steps, CompleteMark(), NoStepTooMany()):
        trainer.add_callback(callback)
    # An adapter's input would be made float32 like its weights, for autocast to make it bfloat16 again. RLOO samples without.
    with disable_input_dtype_casting(trainer.model, active=not isinstance(trainer, RLOOTrainer)):
        try:
            trainer.train(resume_from_checkpoint=str(resume) if resume else None)
        except Ended:
            steps.on_train_end(trainer.args, trainer.state, trainer.control)
    if trainer.state.global_step < trainer.state.max_steps:
        raise SystemExit(f"training ended after {trainer.state.global_step} of {trainer.state.max_steps} steps: too little data")
    save_whole(trainer, target)
    if state.is_main_process:
        # A pickle, a tokenizer that models/base has, and a card about nobody's model.
        for name in ("training_args.bin", "README.md", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
            (target / name).unlink(missing_ok=True)
    state.wait_for_everyone()
    return resume is None


def training_counts(trainer: Trainer, encoded: dict[str, Sequence[TokenPair]]) -> dict[str, int]:
    """What was trained on how much: the numbers that every training stage reports."""
    train, val = (TokenPairs.of(encoded[split]) for split in ("train", "val"))
    return {
        "train_pairs": len(train),
        "train_pairs_truncated": int(train.column("truncated").sum()),
        "val_pairs_truncated": int(val.column("truncated").sum()),
        "train_turns_dropped": int(train.column("turns_dropped").sum()),
        "val_turns_dropped": int(val.column("turns_dropped").sum()),
        "trained_parameters": trainer.model.num_parameters(only_trainable=True),
        "steps": trainer.state.global_step,
    }


def peak_memory() -> int:
    """The most memory, in bytes, that this process has used: of the GPU where there is one, else of the machine."""
    if device().type == "cuda":
        return torch.cuda.max_memory_allocated()
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
