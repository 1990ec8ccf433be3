"""The variants of the reward model: what each changes in the training of the standard one."""

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from torch import nn
from torch.nn.functional import logsigmoid
from transformers import PreTrainedModel
from trl import RewardTrainer
from trl.trainer.reward_trainer import DataCollatorForPreference

from preference_study.models.language_models import TokenPair
from preference_study.params import Reward
from preference_study.training.losses import conservative, product_difference, product_likelihood, unbiased
from preference_study.training.run import PairedByLength

PairLoss = Callable[[nn.Module, torch.Tensor, torch.Tensor], torch.Tensor]


class BiasOnly(nn.Module):
    """The bias-only expert: a small network that sees of an answer how many tokens it has, and nothing else.

    Shen et al. 2023 disturb a language model's input until little but length is left in it; here that is what the expert is
    given.

    Args:
        tokens: of the training answers; their logarithms are standardised by these.
    """

    def __init__(self, tokens: Sequence[int]):
        super().__init__()
        logarithms = np.log1p(tokens)
        self.centre, self.scale = float(logarithms.mean()), float(logarithms.std()) or 1.0
        self.network = nn.Sequential(nn.Linear(1, 16), nn.Tanh(), nn.Linear(16, 1))

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Tokens [answers] -> rewards [answers]."""
        return self.network(((torch.log1p(tokens) - self.centre) / self.scale)[:, None]).squeeze(-1)


class Collator(DataCollatorForPreference):
    """TRL's, with the answers' numbers of tokens: those of the chosen answers, then those of the rejected ones."""

    def torch_call(self, examples: list[dict[str, Any]]) -> dict[str, Any]:
        tokens = [example[f"{side}_tokens"] for side in ("chosen", "rejected") for example in examples]
        return super().torch_call(examples) | {"answer_tokens": torch.tensor(tokens, dtype=torch.float)}


class RewardPairTrainer(PairedByLength, RewardTrainer):
    """TRL's reward trainer on tokens, batched by length.

    Args:
        pair_loss: (model, rewards [pairs, 2] of chosen and rejected, tokens [pairs, 2] of both answers) -> the loss in training.
            On validation, and where it is None, the loss is TRL's, so that variants can be compared.
    """

    def __init__(self, *args: Any, pair_loss: PairLoss | None = None, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.pair_loss = pair_loss

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        tokens = inputs.pop("answer_tokens")
        loss, outputs = super().compute_loss(model, inputs, True, num_items_in_batch)
        if self.pair_loss is not None and self.model.training:
            rewards = outputs.logits.squeeze(-1).view(2, -1).T
            loss = self.pair_loss(self.accelerator.unwrap_model(model), rewards, tokens.view(2, -1).T)
        return (loss, outputs) if return_outputs else loss


def reward_rows(pairs: Sequence[TokenPair]) -> list[dict]:
    """{chosen_ids, rejected_ids, chosen_tokens, rejected_tokens, length} per pair, for `RewardPairTrainer`.

    The tokens are those of the answers alone, with their end of turn; the length is the longer side's, with the prompt.
    """
    return [
        {
            "chosen_ids": p.prompt_ids + p.chosen_ids,
            "rejected_ids": p.prompt_ids + p.rejected_ids,
            "chosen_tokens": len(p.chosen_ids),
            "rejected_tokens": len(p.rejected_ids),
            "length": len(p.prompt_ids) + max(len(p.chosen_ids), len(p.rejected_ids)),
        }
        for p in pairs
    ]


def flipped(pairs: Sequence[TokenPair], share: float, seed: int) -> list[TokenPair]:
    """The pairs in order, in a random share of them (of round(share * n) pairs) the rejected answer as the chosen one."""
    turned = set(random.Random(seed).sample(range(len(pairs)), round(share * len(pairs))))
    return [
        replace(p, chosen_ids=p.rejected_ids, rejected_ids=p.chosen_ids) if number in turned else p
        for number, p in enumerate(pairs)
    ]


def length_coefficient(differences: Sequence[float]) -> float:
    """How the log-odds of being chosen grow with the difference in length: logistic regression through the origin.

    Args:
        differences: log tokens of the chosen answer minus log tokens of the rejected one.

    Returns:
        The coefficient; 0 where all differences are 0.
    """
    column = np.asarray(differences, dtype=float)[:, None]
    if not column.any():
        return 0.0
    labels = np.repeat([1, 0], len(column))
    # Each pair both ways round. C is large: one coefficient of hundreds of pairs needs no prior.
    return float(LogisticRegression(fit_intercept=False, C=1e6).fit(np.vstack([column, -column]), labels).coef_[0, 0])


def with_length_margin(made: list[dict], weight: float) -> list[dict]:
    """Rows with TRL's margin, which it takes off chosen minus rejected: minus the fitted length term.

    -log sigmoid(r(chosen) - r(rejected) + weight b (log tokens of chosen - log tokens of rejected)): a product of experts whose
    bias-only expert is b log tokens, fitted beforehand by `length_coefficient`. What length explains, the rewards need not.
    """
    differences = [math.log1p(row["chosen_tokens"]) - math.log1p(row["rejected_tokens"]) for row in made]
    b = length_coefficient(differences)
    return [row | {"margin": -weight * b * difference} for row, difference in zip(made, differences, strict=True)]


@dataclass(frozen=True)
class RewardVariant:
    """How a reward model is trained.

    Attributes:
        rows: (rows of the training pairs, reward section) -> the rows it trains on.
        pair_loss: the reward section -> its loss in place of Bradley-Terry's; None where it is that.
        bias_only: whether a bias-only expert is trained with it.
        members: the reward section -> how many models it is made of; None where it is one.
    """

    reward_rows: Callable[[list[dict], Reward], list[dict]] = lambda made, _: made
    pair_loss: Callable[[Reward], PairLoss] | None = None
    bias_only: bool = False
    members: Callable[[Reward], int] | None = None


def _product(section: Reward) -> PairLoss:
    loss = {"difference": product_difference, "likelihood": product_likelihood}[section.product_of_experts.loss]

    def pair_loss(model: PreTrainedModel, rewards: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        bias = section.product_of_experts.bias_weight * model.bias_only(tokens.reshape(-1)).view(tokens.shape).float()
        # The bias-only expert learns by a loss of its own, and the product's does not reach it (Karimi Mahabadi et al. 2020,
        # "End-to-End Bias Mitigation by Modelling Biases in Corpora"): trained through the product alone, it may learn to take
        # back what the main expert makes too much of length, and it is the main expert that goes by length then.
        return loss(rewards.float(), bias.detach()) - logsigmoid(bias[:, 0] - bias[:, 1]).mean()

    return pair_loss


def _noise_robust(section: Reward) -> PairLoss:
    own = section.noise_robust
    loss = {"conservative": conservative, "unbiased": unbiased}[own.loss]
    return lambda model, rewards, tokens: loss(rewards[:, 0] - rewards[:, 1], own.flip_rate)


VARIANTS = {
    "standard": RewardVariant(),
    # Shen et al. 2023
    "product_of_experts": RewardVariant(pair_loss=_product, bias_only=True),
    "length_margin": RewardVariant(rows=lambda made, section: with_length_margin(made, section.length_margin.weight)),
    # Coste et al. 2023
    "ensemble": RewardVariant(members=lambda section: section.ensemble.members),
    # Natarajan et al. 2013; Mitchell 2023
    "noise_robust": RewardVariant(pair_loss=_noise_robust),
}
