"""The variants of the reward model, one file each: what each changes in the training of the standard one.

A new variant is a file here with an entry `VARIANT`, and its section under `reward` in params.yaml.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from preference_study.registry import entries
from preference_study.sections import Section

if TYPE_CHECKING:
    import torch
    from datasets import Dataset
    from torch import nn

    PairLoss = Callable[[nn.Module, torch.Tensor, torch.Tensor], torch.Tensor]

STANDARD = "standard"


class NoParameters(Section):
    """Nothing of its own."""


@dataclass(frozen=True)
class RewardVariant:
    """How a reward model is trained. Every function takes the variant's own section, reward.<name>.

    Attributes:
        section: the schema of reward.<name>.
        rows: (rows of the training pairs, section) -> the rows it trains on.
        pair_loss: section -> its loss in place of Bradley-Terry's; None where it is that.
        bias_only: whether a bias-only expert is trained with it.
        members: section -> how many models it is made of, whose rewards reward.aggregate sums up; None where it is one.
    """

    section: type[Section] = NoParameters
    rows: "Callable[[Dataset, Any], Dataset]" = lambda made, own: made
    pair_loss: "Callable[[Any], PairLoss] | None" = None
    bias_only: bool = False
    members: Callable[[Any], int] | None = None


VARIANTS: dict[str, RewardVariant] = entries(sys.modules[__name__], "VARIANT")
