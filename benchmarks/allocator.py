"""How much faster a training step is where freed memory is kept, and the code of few matrix products, as preference_study.launch
asks of glibc, PyTorch and oneDNN: a ratio, above 1 in its favour.

python -m benchmarks.allocator        needs models/base: dvc repro prepare_model
"""

import os
import subprocess
import sys
import time

from preference_study.launch import ALLOCATOR

LENGTH, SEQUENCES, PASSES = 128, 8, 6


def seconds() -> float:
    """Of one forward and backward pass over eight sequences of 128 tokens, logits and all: the mean of six after the first."""
    import torch

    from preference_study.models.language_models import load_causal

    model = load_causal("models/base")
    ids = torch.randint(10, 1000, (SEQUENCES, LENGTH), device=model.device)
    for number in range(PASSES + 1):
        if number == 1:
            start = time.perf_counter()
        model(input_ids=ids, labels=ids, use_cache=False).loss.backward()
        model.zero_grad()
    return (time.perf_counter() - start) / PASSES


def main() -> None:
    if sys.argv[1:] == ["--once"]:
        print(seconds())
        return
    plain = {name: value for name, value in os.environ.items() if name not in ALLOCATOR}
    found = [
        float(subprocess.run([sys.executable, "-m", "benchmarks.allocator", "--once"], env=env, text=True, check=True,
                             stdout=subprocess.PIPE).stdout)
        for env in (plain, plain | ALLOCATOR)
    ]  # fmt: skip
    print(f"{LENGTH} tokens, {SEQUENCES} sequences: given back / kept = {found[0] / found[1]:.2f}")


if __name__ == "__main__":
    main()
