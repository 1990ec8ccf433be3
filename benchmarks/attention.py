"""How much faster plain attention is than PyTorch's fused one, here, at some lengths and in
generation: ratios above 1 are in its favour.

python -m benchmarks.attention        needs models/base: dvc repro prepare_model
"""

import time

import torch

from preference_study.models.language_models import device, load_causal

TOKENS, PASSES = 2048, 3
BATCH, PROMPT, NEW = 64, 48, 16


def seconds(model, length: int) -> float:
    """Of one forward and backward pass over 2,048 tokens in sequences of that length: the best of three."""
    ids = torch.randint(10, 1000, (TOKENS // length, length), device=model.device)
    best = float("inf")
    for _ in range(PASSES + 1):  # the first warms up
        start = time.perf_counter()
        model.base_model(input_ids=ids, use_cache=False).last_hidden_state.float().sum().backward()
        best = min(best, time.perf_counter() - start)
    return best


def generation_seconds(model) -> float:
    """Of 16 new tokens for each of 64 prompts of 48 tokens: the best of three."""
    ids = torch.randint(10, 1000, (BATCH, PROMPT), device=model.device)
    best = float("inf")
    for _ in range(PASSES + 1):
        start = time.perf_counter()
        model.generate(
            input_ids=ids, attention_mask=torch.ones_like(ids), do_sample=False, min_new_tokens=NEW, max_new_tokens=NEW
        )
        best = min(best, time.perf_counter() - start)
    return best


def main() -> None:
    model = load_causal("models/base")
    for length in (64, 128, 256, 512):
        found = {}
        for attention in ("sdpa", "eager"):
            model.set_attn_implementation(attention)
            found[attention] = seconds(model, length)
        print(f"{device().type}, {length} tokens: fused / plain = {found['sdpa'] / found['eager']:.2f}")
    found = {}
    for attention in ("sdpa", "eager"):
        model.set_attn_implementation(attention)
        found[attention] = generation_seconds(model)
    print(f"{device().type}, generating {NEW} tokens after {PROMPT}: fused / plain = {found['sdpa'] / found['eager']:.2f}")


if __name__ == "__main__":
    main()
