"""A model and data so small that the whole pipeline runs in seconds; params/tiny.yaml uses them.

python -m tests.tiny tiny
"""

import random
import sys
from pathlib import Path

import pandas as pd
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from preference_study.texts.instructions import INSTRUCTIONS

TEMPLATE = (
    "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
SPECIAL = ["<|pad|>", "<|end|>", "<|user|>", "<|assistant|>"]


def tiny_model(folder: Path, seed: int = 0) -> None:
    """Write an untrained two-layer Llama over bytes, with tokenizer and chat template."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({c: i for i, c in enumerate(SPECIAL + alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token=SPECIAL[0], eos_token=SPECIAL[1], additional_special_tokens=SPECIAL[2:]
    )
    fast.chat_template = TEMPLATE
    fast.save_pretrained(folder)
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(fast), hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=512, pad_token_id=0, eos_token_id=1, bos_token_id=None,
        tie_word_embeddings=True,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)


def tiny_pairs(n: int, seed: int) -> pd.DataFrame:
    """Raw pairs in the original study's columns plus `instruction`; the response with an exclamation mark is preferred."""
    rng = random.Random(seed)
    rows = []
    for number in range(n):
        kind = rng.choice(list(INSTRUCTIONS))
        good, bad = ("yes " * rng.randint(1, 6) + "!", "no " * rng.randint(1, 6) + ".")
        preferred = rng.choice((1, 2))
        first, second = (good, bad) if preferred == 1 else (bad, good)
        rows.append((f"{seed}-{number}: {INSTRUCTIONS[kind].text}", first, second, str(preferred), kind))
    return pd.DataFrame(rows, columns=["question", "response_1", "response_2", "overall_response", "instruction"])


def main(folder: Path) -> None:
    tiny_model(folder / "model")
    tiny_pairs(48, seed=1).to_parquet(folder / "train.parquet")
    tiny_pairs(24, seed=2).to_parquet(folder / "val.parquet")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
