"""How many times as long a DPO step takes here with TRL's own head as with this project's: the middle of three runs of each.

python -m benchmarks.head        after dvc repro reference_logps
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from transformers import PrinterCallback, TrainerCallback
from trl.kernels import ChunkedLogProbFunction
from trl.kernels.chunked_logprob import _use_triton
from trl.trainer import utils

from preference_study.artifacts import read_table
from preference_study.data.sampling import seen_by_policies
from preference_study.launch import ALLOCATOR
from preference_study.methods import METHODS
from preference_study.models.frozen import kept_in, use_kept
from preference_study.models.language_models import load_causal, load_tokenizer
from preference_study.models.packed import pack_rows
from preference_study.models.tokens import encode_pairs
from preference_study.params import load_params
from preference_study.training.head import Head
from preference_study.training.run import arguments, lora
from stages.train_policy import training_rows

STEPS, WARM_UP, REPEATS = 25, 5, 3
TIMED = {"evaluations": 0, "epochs": 1, "gradient_accumulation_steps": 1}  # once over the pairs, a batch a step
# Its function, and whether it leaves out what is no label; TRL does where there is Triton.
HEADS = {"trl": (ChunkedLogProbFunction, _use_triton), "own": (Head, lambda device: True)}


@contextmanager
def with_head(name: str) -> Iterator[None]:
    """TRL's trainers with one of HEADS: once this project's trainers are imported, TRL's own have this project's head too."""
    before = utils._ChunkedLogProbFunction, utils._use_triton
    utils._ChunkedLogProbFunction, utils._use_triton = HEADS[name]
    try:
        yield
    finally:
        utils._ChunkedLogProbFunction, utils._use_triton = before


class Times(TrainerCallback):
    """Seconds of each step."""

    def __init__(self):
        self.seconds = []

    def on_step_begin(self, *_, **__):
        self.start = time.perf_counter()

    def on_step_end(self, *_, **__):
        self.seconds.append(time.perf_counter() - self.start)


def seconds(folder: str) -> float:
    """The median of a step's, on the first of the training pairs that policies see: the others have no reference."""
    params, method = load_params(), METHODS["dpo"]
    section, own, recipe = params.policy.model_copy(update=TIMED), params.policy.own("dpo"), method.recipe()
    pairs = read_table("data/prepared/train.parquet")
    pairs = pairs[seen_by_policies(pairs, section.max_train, params.data.seed)][: STEPS * section.batch_size]
    tokenizer, model = load_tokenizer("models/base"), load_causal("models/base")
    use_kept(model, kept_in("data/frozen/policy"))
    pack_rows(model)
    encoded = encode_pairs(tokenizer, pairs, section.max_length)
    configuration = arguments(section, own.learning_rate, params.seed, Path(folder)) | method.configure(section, own, 1)
    trainer = recipe.trainer(
        model=model,
        args=recipe.config(**configuration | {"save_strategy": "no", "disable_tqdm": True}),
        train_dataset=training_rows(method, recipe, section, params.seed, encoded, list(pairs["id"]), "train"),
        processing_class=tokenizer,
        peft_config=lora(model, section.lora_rank, section.lora_layers, task_type="CAUSAL_LM"),
    )
    times = Times()
    trainer.add_callback(times)
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    return statistics.median(times.seconds[WARM_UP:])


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    if not ALLOCATOR.keys() <= os.environ.keys():  # as the stage is started
        raise SystemExit(
            subprocess.run([sys.executable, "-m", "benchmarks.head"], env=os.environ | ALLOCATOR, check=False).returncode
        )
    found = {name: [] for name in HEADS}
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(REPEATS):
            for name in HEADS:
                with with_head(name):
                    found[name].append(seconds(folder))
    middle = {name: statistics.median(times) for name, times in found.items()}
    for name, times in found.items():
        print(f"{name}: {', '.join(f'{t:.3f}' for t in times)} s a step")
    print(f"TRL's / this project's = {middle['trl'] / middle['own']:.2f}")


if __name__ == "__main__":
    main()
