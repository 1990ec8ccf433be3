"""What stands in for vLLM: its module, in an environment that is none, and programs that speak as the one for vLLM does."""

import sys
from pathlib import Path

# Greedy answers are transformers' own, a prompt at a time; sampled ones are drawn from the seed alone. Arguments are kept.
MODULE = """
import json, random, sys
from types import SimpleNamespace

class SamplingParams:
    def __init__(self, **given):
        self.__dict__.update(given)

class LLM:
    def __init__(self, **given):
        self.given = given

    def generate(self, prompts, settings):
        asked = [prompt["prompt_token_ids"] for prompt in prompts]
        kept = {"given": self.given, "sampling": [vars(s) for s in settings], "asked": asked}
        with open(FOLDER + "/kept.jsonl", "a") as file:
            file.write(json.dumps(kept) + "\\n")
        write = self.drawn if settings[0].temperature > 0 else self.greedy
        return [self.answer(write(ids, one), one) for ids, one in zip(asked, settings)]

    def answer(self, ids, one):
        end = next((place for place, token in enumerate(ids) if token in one.stop_token_ids), None)
        ids = ids[: one.max_tokens] if end is None else ids[: end + 1]
        return SimpleNamespace(outputs=[SimpleNamespace(token_ids=tuple(ids), finish_reason="length" if end is None else "stop")])

    def drawn(self, ids, one):
        draw = random.Random(one.seed)
        return [draw.randrange(40) for _ in range(one.max_tokens)]

    def greedy(self, ids, one):
        import torch
        from transformers import AutoModelForCausalLM
        if not hasattr(self, "model"):
            self.model = AutoModelForCausalLM.from_pretrained(self.given["model"], dtype=getattr(torch, self.given["dtype"]))
        written = self.model.generate(torch.tensor([ids]), do_sample=False, max_new_tokens=one.max_tokens)
        return written[0, len(ids):].tolist()
"""


def python_with_vllm(folder: Path, module: str = MODULE) -> Path:
    """A Python that has the module `vllm` besides what this one has; what its programs were asked is added to kept.jsonl."""
    folder.mkdir(parents=True)
    (folder / "vllm.py").write_text(f"FOLDER = {str(folder)!r}\n{module}")
    python = folder / "python"
    python.write_text(f'#!/bin/sh\nPYTHONPATH="{folder}" exec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    return python
