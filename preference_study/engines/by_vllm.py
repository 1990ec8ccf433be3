"""Responses by vLLM, as a program in an environment of its own: what is asked and what it answers lie in a folder as parquet.

vLLM pins other versions of what this project needs too, so it cannot be in the same environment. `vllm_program.py` is what runs
there. The prompts' tokens, the tokens that end a response, the limits and the settings for sampling are those that
`preference_study.models.generation.respond` has; each response draws from a stream of its own, made from the seed and its number.
"""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from transformers import AutoConfig, GenerationConfig, PreTrainedTokenizerBase

from preference_study.artifacts import read_json, read_table, whole_folder, write_json, write_table
from preference_study.engines import check_vllm, environment
from preference_study.errors import BadInput, StudyError
from preference_study.models.generation import SEED_STEP, Response, check_samples, ends_of, response_of
from preference_study.models.language_models import ADAPTER, compute_dtype, load_causal, positions_of
from preference_study.models.tokens import Turns, encode_prompts
from preference_study.sections import Vllm

PROGRAM = Path(__file__).with_name("vllm_program.py")
SCRATCH = Path("build/vllm")
PAUSE = 0.1  # seconds between two looks at what runs


@dataclass(frozen=True)
class Answers:
    """What vLLM wrote.

    Attributes:
        ids: of each row its tokens, with the one that ended it.
        start, writing: the most seconds that a program took to load the model, and to write.
    """

    ids: list[list[int]]
    start: float
    writing: float


def respond(
    base: str | Path,
    adapter: str | Path | None,
    tokenizer: PreTrainedTokenizerBase,
    prompts: list[Turns],
    vllm: Vllm,
    *,
    max_new_tokens: int,
    batch_size: int,
    temperature: float = 0.0,
    top_p: float = 1.0,
    samples: int = 1,
    seed: int = 0,
) -> list[list[Response]]:
    """Respond to each prompt, as `preference_study.models.generation.respond` does.

    Args:
        base, adapter: the model's folder, and a trained policy's, as `load_causal` takes them.
        batch_size: most sequences at a time.

    Returns:
        Per prompt, in the order given, its responses.

    Raises:
        BadInput: there is no such environment, or too few GPUs; or a prompt cannot be shortened enough.
        StudyError: vLLM ended with an error, or did not answer what it was asked.
    """
    check_samples(samples, temperature)
    check_vllm(vllm.python)
    with whole_model(base, adapter) as folder:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
        positions = positions_of(config)
        encoded = encode_prompts(tokenizer, prompts, None if positions is None else positions - max_new_tokens)
        ends = ends_of(generation_settings(folder, config), tokenizer)
        asked = [pair for pair in encoded for _ in range(samples)]
        sampling = {"temperature": temperature, "top_p": top_p, "top_k": 0, "max_tokens": max_new_tokens}
        answers = written(
            folder, [ids for ids, _ in asked], ends, vllm,
            sampling=sampling, seed=seed, batch_size=batch_size, dtype=compute_dtype(),
        )  # fmt: skip
    print(f"vllm: {len(asked)} responses in {answers.writing:.0f} s, after {answers.start:.0f} s until it had started")
    responses = [
        response_of(tokenizer, prompt, short, ids, ends) for ids, (prompt, short) in zip(answers.ids, asked, strict=True)
    ]
    return [responses[i : i + samples] for i in range(0, len(responses), samples)]


@contextmanager
def whole_model(base: str | Path, adapter: str | Path | None) -> Iterator[Path]:
    """A folder with all of a model's weights: its own, or, where LoRA trained it, one in which the adapter is merged.

    That one holds the numbers that the study computes with, and is removed afterwards.
    """
    if adapter is None or not (Path(adapter) / ADAPTER).exists():
        yield Path(adapter or base)
        return
    merged = SCRATCH / "merged"
    try:
        with whole_folder(merged) as made:
            load_causal(base, adapter).save_pretrained(made)
        if torch.accelerator.is_available():
            torch.accelerator.empty_cache()  # for vLLM
        yield merged
    finally:
        shutil.rmtree(merged, ignore_errors=True)


def generation_settings(folder: str | Path, config: Any) -> GenerationConfig:
    """A model folder's settings for generation, as a model that is loaded has them."""
    if (Path(folder) / "generation_config.json").is_file():
        return GenerationConfig.from_pretrained(folder)
    return GenerationConfig.from_model_config(config)


def cards(parallel: int, of_each: int, environment: dict[str, str], count: int) -> list[dict[str, str]]:
    """The environment variables that give each of `parallel` programs its own GPUs; none where one has them all or none is there.

    Args:
        of_each: GPUs that one program takes.
        count: GPUs that this process sees.

    Raises:
        BadInput: there are too few.
    """
    if count and count < parallel * of_each:
        raise BadInput(
            f"generate.vllm: data_parallel {parallel} times tensor_parallel {of_each} GPUs are asked for, and {count} are there: "
            "lower one of them in params.yaml"
        )
    if parallel == 1 or not count:
        return [{}] * parallel
    there = environment.get("CUDA_VISIBLE_DEVICES", ",".join(map(str, range(count)))).split(",")
    return [{"CUDA_VISIBLE_DEVICES": ",".join(there[at * of_each : (at + 1) * of_each])} for at in range(parallel)]


def written(
    model: Path,
    prompts: list[list[int]],
    ends: list[int],
    vllm: Vllm,
    *,
    sampling: dict[str, Any],
    seed: int,
    batch_size: int,
    dtype: torch.dtype,
) -> Answers:
    """What vLLM writes after each row of tokens, by `vllm.data_parallel` programs that share the rows out.

    Args:
        model: a folder with all weights in it.
        sampling: arguments of vLLM's SamplingParams but for the seed and what ends a row.
        seed: row r draws from a stream made from the seed and r, whatever shares its batch.

    Raises:
        BadInput: there are too few GPUs.
        StudyError: a program ended with an error, or did not answer each row.
    """
    own = dict(os.environ)
    parts = min(vllm.data_parallel, len(prompts))
    of_parts = cards(parts, vllm.tensor_parallel, own, torch.cuda.device_count())
    settings = {
        "model": str(model.resolve()),
        "dtype": str(dtype).removeprefix("torch."),
        "max_num_seqs": batch_size,
        "options": {"tensor_parallel_size": vllm.tensor_parallel} | vllm.options,
        # The study's own ends, and no others.
        "sampling": sampling | {"stop_token_ids": ends, "ignore_eos": True},
    }
    rows = [{"row": row, "prompt_ids": ids, "seed": seed * SEED_STEP + row} for row, ids in enumerate(prompts)]
    shutil.rmtree(SCRATCH / "parts", ignore_errors=True)
    folders = [SCRATCH / "parts" / str(number) for number in range(parts)]
    try:
        with ExitStack() as running:
            running.enter_context(_ended_too())
            programs = []
            for number, folder in enumerate(folders):
                write_json(folder / "settings.json", settings)
                write_table(folder / "asked.parquet", pd.DataFrame(rows[number::parts]))
                command = [vllm.python, str(PROGRAM), str(folder)]
                programs.append(subprocess.Popen(command, env=environment(own) | of_parts[number]))
                running.callback(_ended, programs[-1])
            # All at once: one that fails is not to wait for those before it, which may write for hours.
            while (states := [program.poll() for program in programs]).count(0) < parts:
                if status := next(filter(None, states), None):
                    raise StudyError(
                        f"vLLM ended with status {status}, and said above why; generate.engine: transformers does without it, "
                        "generate.vllm.options hands it further arguments (docs/full_size.md)"
                    )
                time.sleep(PAUSE)
        found = [_answered(folder, rows[number::parts], ends, sampling["max_tokens"]) for number, folder in enumerate(folders)]
        seconds = [read_json(folder / "seconds.json") for folder in folders]
    finally:
        shutil.rmtree(SCRATCH / "parts", ignore_errors=True)
    ids = {row: tokens for part in found for row, tokens in part.items()}
    return Answers(
        [ids[row] for row in range(len(prompts))], max(s["start"] for s in seconds), max(s["writing"] for s in seconds)
    )


@contextmanager
def _ended_too() -> Iterator[None]:
    """Where this process is told to end, it ends as by an error, so that what it has started ends with it and frees its GPUs."""

    def end(number: int, _: Any) -> None:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _ended(program: subprocess.Popen) -> None:
    if program.poll() is None:
        program.terminate()
        program.wait()


def _answered(folder: Path, asked: list[dict], ends: list[int], limit: int) -> dict[int, list[int]]:
    """The tokens of each row that a program was asked, by the row's number.

    Raises:
        StudyError: a row is missing, or its tokens are not what its finish reason says.
    """
    path = folder / "answered.parquet"
    table = read_table(path) if path.is_file() else pd.DataFrame({"row": [], "ids": [], "finish_reason": []})
    if table["row"].tolist() != [row["row"] for row in asked]:
        raise StudyError(
            f"vLLM was asked {len(asked)} rows and answered {len(table)}, or others: run the stage again, or set "
            "generate.engine: transformers"
        )
    found = {}
    for row, tokens, reason in zip(table["row"], table["ids"], table["finish_reason"], strict=True):
        ids = [int(token) for token in tokens]
        ended = bool(ids) and ids[-1] in ends
        whole = len(ids) <= limit and not any(token in ends for token in ids[:-1]) and (ended or len(ids) == limit)
        if not whole or reason != ("stop" if ended else "length"):
            raise StudyError(
                f"vLLM's answer to row {row} has {len(ids)} tokens of at most {limit} and ended by {reason!r}, which does not "
                "agree with its last token: this version of vLLM does otherwise than the one in params/vllm-requirements.txt"
            )
        found[row] = ids
    return found
