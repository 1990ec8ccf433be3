"""Losses of the reward model's variants, on the rewards of pairs. Bradley-Terry's own is TRL's."""

import torch
from torch.nn.functional import log_softmax, logsigmoid


def conservative(margins: torch.Tensor, flip_rate: float) -> torch.Tensor:
    """Cross-entropy with the labels that a share `flip_rate` of wrong ones leaves (label smoothing; Mitchell 2023, cDPO).

    -(1 - e) log sigmoid(m) - e log sigmoid(-m); its minimum is where sigmoid(m) is 1 - e, so that no pair asks for certainty.

    Args:
        margins: [pairs], reward of chosen minus rejected.
        flip_rate: e, the share of labels taken to be wrong, below one half.
    """
    return -(1 - flip_rate) * logsigmoid(margins).mean() - flip_rate * logsigmoid(-margins).mean()


def unbiased(margins: torch.Tensor, flip_rate: float) -> torch.Tensor:
    """The loss whose mean over randomly flipped labels is Bradley-Terry's on the true ones (Natarajan et al. 2013, lemma 1;
    Chowdhury et al. 2024, robust DPO).

    (-(1 - e) log sigmoid(m) + e log sigmoid(-m)) / (1 - 2 e); for a single pair it can be negative and has no lower bound.

    Args:
        margins, flip_rate: as for `conservative`.
    """
    weighted = -(1 - flip_rate) * logsigmoid(margins) + flip_rate * logsigmoid(-margins)
    return (weighted / (1 - 2 * flip_rate)).mean()


def combined(main: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """A product of two experts: softmax(log r_main + log r_bias), r being each expert's softmax over the pair (Shen et al. 2023).

    Args:
        main, bias: [pairs, 2], each expert's rewards of chosen and rejected.

    Returns:
        [pairs, 2], shares that add up to 1.
    """
    return (log_softmax(main, dim=-1) + log_softmax(bias, dim=-1)).softmax(dim=-1)


def product_difference(main: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """The paper's loss of a product of experts: -log sigmoid(r(chosen) - r(rejected)), r from `combined` (Shen et al. 2023).

    As r lies between 0 and 1 it lies between 0.31 and 1.31: pairs that the product has very wrong hardly count.
    """
    shares = combined(main, bias)
    return -logsigmoid(shares[:, 0] - shares[:, 1]).mean()


def product_likelihood(main: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """The usual loss of a product of experts: -log r(chosen), r from `combined` (Hinton 2002; Clark et al. 2019).

    It is Bradley-Terry's loss on the sum of both margins.
    """
    return -logsigmoid((main[:, 0] - main[:, 1]) + (bias[:, 0] - bias[:, 1])).mean()
