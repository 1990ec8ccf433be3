"""TRL's reward trainer, made to take tokens and the losses of the variants, and the rows it trains on."""

import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from trl import RewardConfig, RewardTrainer
from trl.trainer.reward_trainer import DataCollatorForPreference

from preference_study.models.token_pairs import TokenPairs
from preference_study.models.tokens import TokenPair
from preference_study.params import RewardTraining
from preference_study.training.run import PairedByLength, arguments, lora
from preference_study.variants import RewardVariant

PairLoss = Callable[[nn.Module, torch.Tensor, torch.Tensor], torch.Tensor]


class BiasOnly(nn.Module):
    """The bias-only expert: a small network that sees of a response how many tokens it has, and nothing else.

    Shen et al. 2023 disturb a language model's input until little but length is left in it; here that is what the expert is
    given.

    Args:
        tokens: of the training responses; their logarithms are standardised by these.
    """

    def __init__(self, tokens: Sequence[int]):
        super().__init__()
        logarithms = np.log1p(tokens)
        self.centre, self.scale = float(logarithms.mean()), float(logarithms.std()) or 1.0
        self.network = nn.Sequential(nn.Linear(1, 16), nn.Tanh(), nn.Linear(16, 1))

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Tokens [responses] -> rewards [responses]."""
        return self.network(((torch.log1p(tokens) - self.centre) / self.scale)[:, None]).squeeze(-1)


class Collator(DataCollatorForPreference):
    """TRL's, which gets the prompt with each response, and beside it the responses' numbers of tokens: those of the chosen
    responses, then those of the rejected ones."""

    def torch_call(self, examples: list[dict[str, Any]]) -> dict[str, Any]:
        tokens = [example[f"{side}_tokens"] for side in ("chosen", "rejected") for example in examples]
        whole = [
            example | {f"{side}_ids": example["prompt_ids"] + example[f"{side}_ids"] for side in ("chosen", "rejected")}
            for example in examples
        ]
        return super().torch_call(whole) | {"response_tokens": torch.tensor(tokens, dtype=torch.float)}


class RewardPairTrainer(PairedByLength, RewardTrainer):
    """TRL's reward trainer on tokens, batched by length.

    Args:
        pair_loss: (model, rewards [pairs, 2] of chosen and rejected, tokens [pairs, 2] of both) -> the loss in training.
            On validation, and where it is None, the loss is TRL's, so that variants can be compared.
    """

    def __init__(self, *args: Any, pair_loss: PairLoss | None = None, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.pair_loss = pair_loss

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        tokens = inputs.pop("response_tokens")
        loss, outputs = super().compute_loss(model, inputs, True, num_items_in_batch)
        if self.pair_loss is not None and self.model.training:
            rewards = outputs.logits.squeeze(-1).view(2, -1).T
            loss = self.pair_loss(self.accelerator.unwrap_model(model), rewards, tokens.view(2, -1).T)
        return (loss, outputs) if return_outputs else loss


def reward_trainer(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    rows: Dataset,
    val: Dataset | None,
    section: RewardTraining,
    name: str,
    variant: RewardVariant,
    seed: int,
    checkpoints: Path,
) -> RewardPairTrainer:
    """The trainer of one reward model.

    Args:
        model: new, with the head that it begins with, and with its bias-only expert where the variant has one.
        rows: of the training pairs.
        val: rows of the pairs whose loss is computed in training; None computes none.
        name: of the variant, for its own parameters in the section.
        seed: of adapters and order.
        checkpoints: folder for them.
    """
    own = section.own(name)
    return RewardPairTrainer(
        model=model,
        # encode_pairs has shortened what is too long, where TRL would drop it.
        args=RewardConfig(
            **arguments(section, section.learning_rate, seed, checkpoints),
            max_length=None,
            # The bias-only expert is used after the model's own forward pass, where several processes would think it is not.
            ddp_find_unused_parameters=False,
        ),
        data_collator=Collator(tokenizer.pad_token_id),
        train_dataset=rows,
        eval_dataset=val,
        processing_class=tokenizer,
        peft_config=lora(
            model,
            section.lora_rank,
            section.lora_layers,
            task_type="SEQ_CLS",
            modules_to_save=["score", "bias_only"] if variant.bias_only else ["score"],
        ),
        pair_loss=variant.pair_loss(own) if variant.pair_loss else None,
    )


def reward_rows(pairs: Sequence[TokenPair]) -> Dataset:
    """{prompt_ids, chosen_ids, rejected_ids, chosen_tokens, rejected_tokens, length} per pair, for `RewardPairTrainer`.

    The tokens are those of the responses alone, with their EOS; the length is the longer side's, with the prompt.
    """
    columns = ["prompt_ids", "chosen_ids", "rejected_ids", "chosen_tokens", "rejected_tokens", "length"]
    return TokenPairs.of(pairs).rows.select_columns(columns)


def flipped(pairs: int, share: float, seed: int) -> np.ndarray:
    """Of so many pairs which have their rejected response as the chosen one: a random share of them, round(share * n) pairs."""
    turned = np.zeros(pairs, dtype=bool)
    turned[random.Random(seed).sample(range(pairs), round(share * pairs))] = True
    return turned
