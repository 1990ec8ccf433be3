"""What anybody gets from an exported folder: transformers' own classes, used as its documents do; no code of this project."""

from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

Turns = list[dict[str, str]]
SAFE = {"trust_remote_code": False, "use_safetensors": True}


def _device() -> str:
    accelerator = torch.accelerator.current_accelerator()
    return "cpu" if accelerator is None else str(accelerator)


class PlainPolicy:
    """An exported policy.

    Args:
        folder: of the export.
        dtype: that it computes in; None is its weights' own.
    """

    def __init__(self, folder: str | Path, dtype: torch.dtype | None = None):
        self.tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
        self.model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype or "auto", **SAFE).to(_device()).eval()

    def end_ids(self) -> list[int]:
        """The tokens that end a response."""
        stop = self.model.generation_config.eos_token_id
        return stop if isinstance(stop, list) else [stop]

    def ends(self) -> list[str]:
        """The same as texts."""
        return self.tokenizer.convert_ids_to_tokens(self.end_ids())

    def prompt_ids(self, prompts: list[Turns]) -> list[list[int]]:
        """Each prompt's tokens, up to where the response begins."""
        return self.tokenizer.apply_chat_template(prompts, add_generation_prompt=True, return_dict=True)["input_ids"]

    @torch.inference_mode()
    def answers(self, prompts: list[Turns], max_new_tokens: int, batch_size: int) -> list[list[int]]:
        """The tokens of the greedy response to each prompt, with the one that ended it."""
        found, ends = [], set(self.end_ids())
        for start in range(0, len(prompts), batch_size):
            inputs = self.tokenizer.apply_chat_template(
                prompts[start : start + batch_size],
                add_generation_prompt=True,
                return_dict=True,
                return_tensors="pt",
                padding=True,
            ).to(self.model.device)
            written = self.model.generate(**inputs, max_new_tokens=max_new_tokens, do_sample=False)
            for row in written[:, inputs["input_ids"].shape[1] :].tolist():
                place = next((place for place, token in enumerate(row) if token in ends), len(row))
                found.append(row[: place + 1])
        return found


class PlainReward:
    """An exported reward model.

    Args:
        folder: of the export.
    """

    def __init__(self, folder: str | Path):
        self.tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
        self.model = AutoModelForSequenceClassification.from_pretrained(folder, **SAFE).to(_device()).eval()

    def ids(self, conversations: list[Turns]) -> list[list[int]]:
        """Each conversation's tokens; its last turn is the response."""
        return self.tokenizer.apply_chat_template(conversations, return_dict=True)["input_ids"]

    @torch.inference_mode()
    def rewards(self, sequences: list[list[int]], batch_size: int) -> list[float]:
        """The reward of each sequence of tokens."""
        found: list[float] = []
        for start in range(0, len(sequences), batch_size):
            inputs: Any = self.tokenizer.pad({"input_ids": sequences[start : start + batch_size]}, return_tensors="pt")
            found += self.model(**inputs.to(self.model.device)).logits.squeeze(-1).float().tolist()
        return found
