"""A loss for preferences of which some are wrong (Natarajan et al. 2013; Mitchell 2023)."""

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from preference_study.sections import Section
from preference_study.variants import RewardVariant

if TYPE_CHECKING:
    from preference_study.variants import PairLoss


class NoiseRobustSection(Section):
    """flip_rate: the share of labels taken to be wrong."""

    loss: Literal["conservative", "unbiased"]
    flip_rate: Annotated[float, Field(ge=0, lt=0.5)]


def pair_loss(own: NoiseRobustSection) -> "PairLoss":
    from preference_study.training.losses import conservative, unbiased

    loss = {"conservative": conservative, "unbiased": unbiased}[own.loss]
    return lambda model, rewards, tokens: loss(rewards[:, 0] - rewards[:, 1], own.flip_rate)


VARIANT = RewardVariant(NoiseRobustSection, pair_loss=pair_loss)
