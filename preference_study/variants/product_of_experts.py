"""A second expert, trained along, that sees the length alone; what it explains the main one need not (Shen et al. 2023)."""

from typing import TYPE_CHECKING, Literal

from preference_study.sections import Positive, Section
from preference_study.variants import RewardVariant

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

    from preference_study.variants import PairLoss


class ProductOfExpertsSection(Section):
    """bias_weight: on the bias-only expert's rewards; the larger, the faster it learns."""

    loss: Literal["difference", "likelihood"]
    bias_weight: Positive


def pair_loss(own: ProductOfExpertsSection) -> "PairLoss":
    from torch.nn.functional import logsigmoid

    from preference_study.training.losses import product_difference, product_likelihood

    loss = {"difference": product_difference, "likelihood": product_likelihood}[own.loss]

    def product(model: "PreTrainedModel", rewards: "torch.Tensor", tokens: "torch.Tensor") -> "torch.Tensor":
        bias = own.bias_weight * model.bias_only(tokens.reshape(-1)).view(tokens.shape).float()
        # The bias-only expert learns by a loss of its own, and the product's does not reach it (Karimi Mahabadi et al. 2020,
        # "End-to-End Bias Mitigation by Modelling Biases in Corpora"): trained through the product alone, it may learn to take
        # back what the main expert makes too much of length, and it is the main expert that goes by length then.
        return loss(rewards.float(), bias.detach()) - logsigmoid(bias[:, 0] - bias[:, 1]).mean()

    return product


VARIANT = RewardVariant(ProductOfExpertsSection, pair_loss=pair_loss, bias_only=True)
