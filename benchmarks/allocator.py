"""What a training step gains where freed memory is kept, and the code of few matrix products, as preference_study.launch asks of
glibc, PyTorch and oneDNN: how many times as long it takes without, and how much memory batches of many lengths come to hold.

python -m benchmarks.allocator        needs models/base: dvc repro prepare_model
"""

import json
import os
import resource
import subprocess
import sys
import time

from preference_study.launch import ALLOCATOR

LENGTH, SEQUENCES, PASSES = 128, 8, 6
LENGTHS = range(300, 140, -4)  # in the second part, each once


def measured() -> dict[str, float]:
    """A pass is forward and backward over eight sequences, logits and all.

    Returns:
        seconds: of one over sequences of 128 tokens, the mean of six after the first.
        gib: that this process holds at most, after passes over 40 other lengths.
    """
    import torch

    from preference_study.models.language_models import load_causal

    model = load_causal("models/base")

    def run(length: int) -> None:
        ids = torch.randint(10, 1000, (SEQUENCES, length), device=model.device)
        model(input_ids=ids, labels=ids, use_cache=False).loss.backward()
        model.zero_grad()

    run(LENGTH)
    start = time.perf_counter()
    for _ in range(PASSES):
        run(LENGTH)
    seconds = (time.perf_counter() - start) / PASSES
    for length in LENGTHS:
        run(length)
    return {"seconds": seconds, "gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20}


def main() -> None:
    if sys.argv[1:] == ["--once"]:
        print(json.dumps(measured()))
        return
    plain = {name: value for name, value in os.environ.items() if name not in ALLOCATOR}
    before, kept = (
        json.loads(subprocess.run([sys.executable, "-m", "benchmarks.allocator", "--once"], env=env, text=True, check=True,
                                  stdout=subprocess.PIPE).stdout)
        for env in (plain, plain | ALLOCATOR)
    )  # fmt: skip
    print(f"{LENGTH} tokens, {SEQUENCES} sequences: seconds without / with = {before['seconds'] / kept['seconds']:.2f}")
    print(f"after {len(LENGTHS)} other lengths: {before['gib']:.2f} GiB without, {kept['gib']:.2f} with")


if __name__ == "__main__":
    main()
