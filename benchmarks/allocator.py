"""How much faster a training step is where freed memory is kept, and the code of few matrix products, as preference_study.launch
asks of glibc, PyTorch and oneDNN: a ratio, above 1 in its favour. The two take turns, each time in a process of its own, and the
middle of the rounds counts.

python -m benchmarks.allocator        needs models/base: dvc repro prepare_model
"""

import argparse
import os
import statistics
import subprocess
import sys
import time

from preference_study.launch import ALLOCATOR

LENGTH, SEQUENCES, PASSES, ROUNDS = 128, 8, 6, 3


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


def in_a_process(environment: dict[str, str]) -> float:
    """`seconds` in a process of its own: how memory is taken is settled when one begins."""
    command = [sys.executable, "-m", "benchmarks.allocator", "--once"]
    ended = subprocess.run(command, env=environment, text=True, stdout=subprocess.PIPE, check=False)
    if ended.returncode:  # it has said why
        raise SystemExit(ended.returncode)
    return float(ended.stdout)


def main() -> None:
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--once", action="store_true", help=argparse.SUPPRESS)
    if made.parse_args().once:
        print(seconds())
        return
    plain = {name: value for name, value in os.environ.items() if name not in ALLOCATOR}
    found: dict[str, list[float]] = {"given back": [], "kept": []}
    for _ in range(ROUNDS):
        for (name, times), environment in zip(found.items(), (plain, plain | ALLOCATOR), strict=True):
            times.append(in_a_process(environment))
            print(f"{name}: {times[-1]:.3f} s", flush=True)
    ratio = statistics.median(found["given back"]) / statistics.median(found["kept"])
    print(f"{LENGTH} tokens, {SEQUENCES} sequences: given back / kept = {ratio:.2f}")


if __name__ == "__main__":
    main()
