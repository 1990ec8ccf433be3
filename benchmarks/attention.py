"""How much faster plain attention is than PyTorch's fused one, here, at some lengths and in generation: ratios above 1 are in its
favour. The two take turns, and the middle of the rounds counts.

python -m benchmarks.attention        needs models/base: dvc repro prepare_model
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from transformers import PreTrainedModel

from preference_study.models.language_models import device, load_causal

TOKENS, ROUNDS = 2048, 3
BATCH, PROMPT, NEW = 64, 48, 16


def pass_over(model: PreTrainedModel, length: int) -> None:
    """One forward and backward pass over 2,048 tokens in sequences of that length."""
    ids = torch.randint(10, model.config.vocab_size, (TOKENS // length, length), device=model.device)
    model.base_model(input_ids=ids, use_cache=False).last_hidden_state.float().sum().backward()


def generate(model: PreTrainedModel) -> None:
    """16 new tokens for each of 64 prompts of 48 tokens."""
    ids = torch.randint(10, model.config.vocab_size, (BATCH, PROMPT), device=model.device)
    model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), do_sample=False, min_new_tokens=NEW, max_new_tokens=NEW)


def ratio(model: PreTrainedModel, work: Callable[[], None]) -> float:
    """Seconds of some work with fused attention over those with plain attention: in turn, of each the middle of three after one
    that warms up."""
    found: dict[str, list[float]] = {"sdpa": [], "eager": []}
    for _ in range(ROUNDS + 1):
        for attention, times in found.items():
            model.set_attn_implementation(attention)
            start = time.perf_counter()
            work()
            if device().type == "cuda":
                torch.cuda.synchronize()
            times.append(time.perf_counter() - start)
    fused, plain = (statistics.median(times[1:]) for times in found.values())
    return fused / plain


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    model = load_causal("models/base")
    for length in (64, 128, 256, 512):
        found = ratio(model, lambda length=length: pass_over(model, length))
        print(f"{device().type}, {length} tokens: fused / plain = {found:.2f}")
    found = ratio(model, lambda: generate(model))
    print(f"{device().type}, generating {NEW} tokens after {PROMPT}: fused / plain = {found:.2f}")


if __name__ == "__main__":
    main()
