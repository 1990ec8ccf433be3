"""What stages take of memory and time with the number of pairs, on a model so small that the data are nearly all of it.

    python -m benchmarks.memory --pairs 10000 100000
    python -m benchmarks.memory --keep --pairs 1000000 --stages prepare_data train_reward score_pairs

Preferences are made from the default data's texts, so many pairs of some 600 characters. Each stage's `main` runs as dvc repro
runs it, in a process of its own that has its libraries already; printed are its seconds by the clock and of the processor, which
other programs disturb less, and the most memory that it held, mapped files included. Of training the data's side counts:
everything before the first step, one step, and what is written after it. The policies' responses, log-probabilities and KL
divergences are made up, in the form that the stages leave them. The slope is of log seconds of the processor over log pairs, from
the smallest number to the largest: 1 is linear, and what a run takes at any size draws it below.
"""

import argparse
import importlib
import math
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as arrow
import torch
import yaml
from pyarrow import parquet
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from benchmarks.plan import ROOT, measured
from preference_study.artifacts import read_json, table_in_pieces, write_array, write_json
from preference_study.cost import GIB
from preference_study.launch import ALLOCATOR
from preference_study.models.embedded import embedded_file
from preference_study.params import Params, load_params
from preference_study.plan import above
from preference_study.stage_costs import changed

TARGET = Path("experiments/results/memory.json")
HIDDEN = 16
PIECE = 10_000  # pairs made at a time
FEW = 300  # pairs of the other split
STAGES = {
    "prepare_data": [],
    "train_reward": ["standard"],
    "score_pairs": [],
    "compare_policies": [],
    "report": [],
}


def small_model(folder: Path) -> None:
    """Write an untrained one-layer Llama with the embedded model's tokenizer, so that tokens are as many as in use."""
    file = embedded_file()
    tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=HIDDEN, intermediate_size=HIDDEN, num_hidden_layers=1, num_attention_heads=2,
        max_position_embeddings=2048, pad_token_id=tokenizer.pad_token_id, eos_token_id=tokenizer.eos_token_id,
        bos_token_id=None, tie_word_embeddings=True,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)


def made_pairs(texts: pd.DataFrame, pairs: int, seed: int) -> Iterator[pd.DataFrame]:
    """Raw pairs by the piece: the texts in turn, with words of others and a number in each, so that no two are the same."""
    words = sorted({word for text in texts["response_1"] for word in text.split()})
    rng = random.Random(seed)

    def varied(text: str, number: int) -> str:
        own = text.split()
        for _ in range(3):
            own.insert(rng.randrange(len(own) + 1), rng.choice(words))
        return " ".join([*own, f"({seed}.{number})"])

    rows = texts.to_dict("records")
    for start in range(0, pairs, PIECE):
        numbers = range(start, min(start + PIECE, pairs))
        some = [rows[number % len(rows)] for number in numbers]
        changed_texts = {
            name: [varied(row[name], number) for row, number in zip(some, numbers, strict=True)]
            for name in ("question", "response_1", "response_2")
        }
        yield pd.DataFrame(some).assign(**changed_texts)


def write_pieces(path: Path, pieces: Iterator[pd.DataFrame]) -> None:
    """Write tables one after the other as one parquet file."""
    writer = None
    for piece in pieces:
        table = arrow.Table.from_pandas(piece, preserve_index=False)
        writer = writer or parquet.ParquetWriter(path, table.schema)
        writer.write_table(table)
    writer.close()


def settings(params: Params, pairs: int) -> Params:
    """The default study of so many pairs, all used, with training of a single step."""
    batch = params.reward.batch_size
    return changed(
        params,
        {"data.train": "raw/train.parquet", "data.val": "raw/val.parquet", "data.max_train": None, "data.max_val": None,
         "reward.epochs": batch / pairs, "reward.lora_layers": 1, "frozen.max_gib": 0.0},
    )  # fmt: skip


def prepare(folder: Path, pairs: int, validation: int) -> None:
    """A folder as `dvc repro` finds it: raw data, parameters, git, and the model."""
    for name in ("raw", "data", "models"):
        (folder / name).mkdir(parents=True)
    shutil.copy(ROOT / "dvc.yaml", folder)
    params = settings(load_params(ROOT / "params.yaml"), pairs)
    (folder / "params.yaml").write_text(yaml.safe_dump(params.model_dump(mode="json")), encoding="utf-8")
    for command in (["init", "-q"], ["-c", "user.name=b", "-c", "user.email=b@b", "commit", "-q", "--allow-empty", "-m", "b"]):
        subprocess.run(["git", *command], cwd=folder, check=True)
    for split, count, seed in (("train", pairs, 1), ("val", validation, 2)):
        texts = pd.read_parquet(ROOT / f"data/sandbox/{split}.parquet")
        write_pieces(folder / f"raw/{split}.parquet", made_pairs(texts, count, seed))
    small_model(folder / "models/base")


def features(folder: Path, splits: Sequence[str]) -> None:
    """Base's features of these splits as `frozen_layers` leaves them, drawn at random, and no hidden states."""
    rng = np.random.default_rng(0)
    for split in splits:
        count = parquet.read_metadata(folder / f"data/prepared/{split}.parquet").num_rows
        write_array(folder / f"data/features/{split}.npy", rng.standard_normal((count, 2, HIDDEN), dtype=np.float32))
    write_json(folder / "data/frozen/reward/about.json", {"left_out": "frozen.max_gib is 0"})


def after_training(folder: Path) -> None:
    """What stands between a reward model and the policies: its rewards of the few validation pairs, and how often it is right."""
    for stage in ("score_pairs", "analyse_reward", "compare_variants"):
        measured(stage, [], folder)


def made_responses(folder: Path, pairs: int) -> None:
    """What two policies answered to so many prompts, and what else the stages that compare them read, made up."""
    rng = np.random.default_rng(3)
    texts = pd.read_parquet(ROOT / "data/sandbox/train.parquet")
    asked: list[dict[str, Any]] = []
    with table_in_pieces(folder / "data/responses/scored.parquet") as write:
        for policy, side in (("base", "response_1"), ("dpo", "response_2")):
            number = 0
            for piece in made_pairs(texts, pairs, 4):
                rows = []
                for row, reward in zip(piece.to_dict("records"), rng.standard_normal(len(piece)), strict=True):
                    rows.append(
                        {
                            "id": f"{number:016x}", "cluster": f"{number:016x}",
                            "prompt": [{"role": "user", "content": row["question"]}], "instruction": row["instruction"],
                            "policy": policy, "response": row[side], "tokens": len(row[side]) // 4, "finished": True,
                            "prompt_truncated": False, "truncated": False, "reward": float(reward),
                        }
                    )  # fmt: skip
                    number += 1
                write(arrow.Table.from_pylist(rows))
                asked = asked or rows[:100]
    ids = pd.read_parquet(folder / "data/prepared/val.parquet", columns=["id"])["id"]
    for policy in ("base", "dpo"):
        rows = [
            {"id": id, "chosen_logp": -a, "rejected_logp": -b, "chosen_tokens": 50, "rejected_tokens": 50}
            for id, a, b in zip(ids, *rng.uniform(50, 150, (2, len(ids))).tolist(), strict=True)
        ]
        write_json(folder / f"data/logps/{policy}/val.json", rows)
    kl = [
        {"id": row["id"], "cluster": row["cluster"], "policy_logps": [-1.0 + shift] * 50, "base_logps": [-1.1] * 50}
        for row, shift in zip(asked, rng.uniform(0, 0.1, len(asked)).tolist(), strict=True)
    ]
    write_json(folder / "data/kl/dpo.json", kl)
    facts = {
        "train_pairs": pairs, "train_pairs_truncated": 0, "val_pairs_truncated": 0, "train_turns_dropped": 0,
        "val_turns_dropped": 0, "trained_parameters": 1, "steps": 1, "examples": pairs, "tokens": 300 * pairs,
        "needs_reference": True, "needs_reward_model": False, "needs_pairs": True, "implicit_beta": 0.1,
    }  # fmt: skip
    write_json(folder / "metrics/train_policy/dpo.json", facts)


def scored_alone(folder: Path, pairs: int) -> None:
    """A folder with so many validation pairs, and a reward model that was trained on few."""
    small = folder / "few"
    for place, validation in ((small, FEW), (folder, pairs)):
        in_a_child(lambda place=place, validation=validation: prepare(place, FEW, validation))
        measured("prepare_data", [], place)
    in_a_child(lambda: features(small, ("train", "val")))
    measured("train_reward", STAGES["train_reward"], small)
    shutil.copytree(small / "models/reward", folder / "models/reward")
    features(folder, ())


BEFORE: dict[str, Callable[[Path, int], None]] = {
    "train_reward": lambda folder, pairs: features(folder, ("train", "val")),
    "compare_policies": lambda folder, pairs: made_responses(folder, pairs),
}


def in_a_child(work: Callable[[], None]) -> None:
    """Do it in a process of its own: memory that it takes must not be there for the next one to inherit."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            work()
            status = 0
        finally:
            os._exit(status)
    if os.waitpid(child, 0)[1]:
        raise SystemExit("what stands before a stage was not made")


def measure(pairs: int, wanted: list[str], folder: Path) -> Iterator[dict[str, Any]]:
    """A row a stage."""
    if set(wanted) - {"score_pairs"}:
        in_a_child(lambda: prepare(folder / "trained", pairs, FEW))
    needed = {"prepare_data": True, "train_reward": wanted != ["prepare_data"], "compare_policies": "report" in wanted}
    for stage in STAGES:
        place = folder / ("scored" if stage == "score_pairs" else "trained")
        if stage not in wanted and not (place.exists() and needed.get(stage)):
            continue
        if stage == "compare_policies":
            after_training(place)
        if stage == "score_pairs":
            scored_alone(place, pairs)
        if stage in BEFORE:
            in_a_child(lambda stage=stage, place=place: BEFORE[stage](place, pairs))
        took = measured(stage, STAGES[stage], place)
        print(
            f"{pairs:>9,} pairs  {stage:18}{took['clock']:9.1f} s{took['processor']:9.1f} s{took['peak'] / GIB:8.2f} GiB",
            flush=True,
        )
        if stage in wanted:
            seconds = {"clock": took["clock"], "seconds": took["processor"]}
            yield {"stage": stage, "pairs": pairs} | seconds | {"peak_bytes": took["peak"]}


def slope(rows: list[dict[str, Any]]) -> float | None:
    """Of log seconds of the processor over log pairs, from the fewest pairs to the most; None of a single number of pairs."""
    first, last = (of(rows, key=lambda row: row["pairs"]) for of in (min, max))
    if first["pairs"] == last["pairs"]:
        return None
    return math.log(last["seconds"] / first["seconds"]) / math.log(last["pairs"] / first["pairs"])


def main() -> None:
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument(
        "--pairs", type=above(int), nargs="+", default=[10_000, 100_000], help="how many, of each run (%(default)s)"
    )
    made.add_argument("--stages", nargs="+", choices=STAGES, default=list(STAGES), help="those that are measured (all)")
    made.add_argument("--output", type=Path, help=f"({TARGET}; of part of the stages, without --keep, none: it is printed)")
    made.add_argument("--keep", action="store_true", help="add to what the output holds, of other numbers of pairs or stages")
    given = made.parse_args()
    if "GLIBC_TUNABLES" not in os.environ:
        # Memory is taken as the launcher has it taken, which is settled when a process begins.
        os.execve(sys.executable, [sys.executable, "-m", "benchmarks.memory", *sys.argv[1:]], os.environ | ALLOCATOR)
    wanted = given.stages
    output = given.output or (TARGET if given.keep or set(wanted) == set(STAGES) else None)
    for stage in [*STAGES, "analyse_reward", "compare_variants"]:
        importlib.import_module(f"stages.{stage}")
    rows: list[dict[str, Any]] = read_json(output)["rows"] if given.keep and output.exists() else []
    for pairs in given.pairs:
        with tempfile.TemporaryDirectory() as scratch:
            for row in measure(pairs, wanted, Path(scratch)):
                rows = [old for old in rows if (old["stage"], old["pairs"]) != (row["stage"], row["pairs"])] + [row]
    if output:
        write_json(output, {"rows": sorted(rows, key=lambda row: (list(STAGES).index(row["stage"]), row["pairs"]))})
    for stage in wanted:
        found = slope([row for row in rows if row["stage"] == stage])
        print(f"{stage:18} slope {'–' if found is None else f'{found:.2f}'}")


if __name__ == "__main__":
    main()
