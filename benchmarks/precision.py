"""How much longer the base model takes in bfloat16 than in float32, here: below 1 bfloat16 is the faster one.

python -m benchmarks.precision        needs models/base: dvc repro prepare_model
"""

import argparse
import statistics
import time

import torch

from preference_study.models.language_models import compute_dtype, device, load_causal

ROWS, LENGTH, REPEATS = 2, 64, 3


def seconds(model, ids: torch.Tensor) -> float:
    """Of one forward and one backward pass over the layers."""
    start = time.perf_counter()
    model.base_model(input_ids=ids, use_cache=False).last_hidden_state.float().sum().backward()
    if device().type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    models = {dtype: load_causal("models/base", dtype=dtype) for dtype in (torch.bfloat16, torch.float32)}
    ids = torch.randint(10, 1000, (ROWS, LENGTH), device=device())
    for model in models.values():
        seconds(model, ids)  # the first warms up
    ratios = [seconds(models[torch.bfloat16], ids) / seconds(models[torch.float32], ids) for _ in range(REPEATS)]
    print(f"{device().type}: bfloat16 / float32 = {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")
    print(f"this project computes in {str(compute_dtype()).removeprefix('torch.')} here")


if __name__ == "__main__":
    main()
