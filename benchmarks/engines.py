"""The same greedy responses by transformers and by vLLM: how many are the same, where the others part, and what either takes.

    python -m benchmarks.engines                    # generate.vllm of params.yaml says where vLLM is, and with which options
    python -m benchmarks.engines --policy dpo       # of a trained policy, not of base

It needs models/base (dvc repro prepare_model) and takes some minutes. What it found of base goes to
experiments/results/engines.json, and python -m experiments.documents writes it into docs/full_size.md. Answers are compared in
float32 and in bfloat16. Where two part, the gap is by how much transformers' token is likelier than vLLM's, by the model in
float32. Both load the same weights: a policy that LoRA trained is merged once, as the study merges it.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from transformers import PreTrainedTokenizerBase

from preference_study.analysis.parity import partings, same_before
from preference_study.analysis.statistics import share
from preference_study.artifacts import write_json
from preference_study.data.prompts import prompts_of_file
from preference_study.engines import by_vllm, check_vllm
from preference_study.export.partings import parting_gaps
from preference_study.methods import METHODS
from preference_study.models.generation import Response, ends_of, respond
from preference_study.models.language_models import for_generating, load_causal, load_tokenizer
from preference_study.params import load_params
from preference_study.plan import above

TARGET = Path("experiments/results/engines.json")
BASE = "models/base"
DTYPES = ["float32", "bfloat16"]


def compared(one: list[list[int]], other: list[list[int]], gaps: list[float], clusters: list[str]) -> dict:
    """Two engines' answers to the same prompts.

    Args:
        one, other: each answer's tokens, with the one that ended it.
        gaps: of each answer that parts, how much likelier the token of `one` is there, in nats.

    Returns:
        {same, first_difference, gap_median, gap_max, going_on}: the share that is the same; of the others the median number of
        tokens before they part, and their gaps without signs; how many are the other's beginning. None where there are none.
    """
    apart = [same_before(a, b) for a, b in zip(one, other, strict=True) if a != b]
    sizes = np.abs(gaps)
    return {
        "same": share([a == b for a, b in zip(one, other, strict=True)], clusters),
        "first_difference": float(np.median(apart)) if apart else None,
        "gap_median": float(np.median(sizes)) if gaps else None,
        "gap_max": float(sizes.max()) if gaps else None,
        "going_on": len(apart) - len(partings(one, other)),
    }


def measured(folder: Path, dtype: str, prompts: list, clusters: list[str], tokenizer: PreTrainedTokenizerBase) -> dict:
    """Both engines' answers in one precision, from the same weights.

    Args:
        folder: with all of the model's weights.
        dtype: of DTYPES.

    Returns:
        What `compared` does, with n, tokens and seconds of either engine.
    """
    params, precision = load_params(), getattr(torch, dtype)
    settings, limits = params.generate, params.scoring.model_dump() | {"description": "where answers part"}
    began = time.perf_counter()
    model = for_generating(load_causal(folder, dtype=precision))
    loaded = time.perf_counter()
    responses = respond(
        model, tokenizer, prompts, max_new_tokens=settings.max_new_tokens, batch_size=settings.batch_size, description=dtype
    )
    took = {"start": loaded - began, "writing": time.perf_counter() - loaded}
    ends = ends_of(model.generation_config, tokenizer)
    del model
    own: list[Response] = [response for [response] in responses]
    asked = [response.prompt_ids for response in own]
    sampling = {"temperature": 0.0, "top_p": 1.0, "top_k": 0, "max_tokens": settings.max_new_tokens}
    answers = by_vllm.written(
        folder, asked, ends, settings.vllm,
        sampling=sampling, seed=params.seed, batch_size=settings.batch_size, dtype=precision,
    )  # fmt: skip
    sides = [[response.ids for response in own], answers.ids]
    gaps = parting_gaps(load_causal(folder, dtype=torch.float32), asked, *sides, **limits)
    return compared(*sides, gaps, clusters) | {
        "n": len(own),
        "tokens": {name: sum(map(len, ids)) for name, ids in zip(("transformers", "vllm"), sides, strict=True)},
        "seconds": {"transformers": took, "vllm": {"start": answers.start, "writing": answers.writing}},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--policy", choices=METHODS, help="a policy of models/policy; none: base")
    parser.add_argument("--prompts", type=above(int), default=64, help="how many of the generation prompts (%(default)s)")
    parser.add_argument("--dtypes", nargs="+", choices=DTYPES, default=DTYPES, help="(both)")
    parser.add_argument("--output", type=Path, help=f"({TARGET}; with --policy or one of --dtypes none: it is printed)")
    given = parser.parse_args()
    params = load_params()
    settings = params.generate
    check_vllm(settings.vllm.python)
    asked = prompts_of_file(
        settings.prompts, given.prompts, params.seed, params.data.cluster, settings.category, params.data.columns
    )
    found = {}
    with by_vllm.whole_model(BASE, f"models/policy/{given.policy}" if given.policy else None) as folder:
        for dtype in given.dtypes:
            row = measured(folder, dtype, list(asked["prompt"]), list(asked["cluster"]), load_tokenizer(BASE))
            found[dtype] = row | {"model": given.policy or "base", "options": settings.vllm.options}
            print(dtype, found[dtype], flush=True)
    whole = not given.policy and set(given.dtypes) == set(DTYPES)
    if output := given.output or (TARGET if whole else None):
        write_json(output, found)


if __name__ == "__main__":
    main()
