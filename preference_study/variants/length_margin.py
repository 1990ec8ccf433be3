"""A length term, fitted beforehand, as a margin of the loss: the cheap relative of a product of experts."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from preference_study.sections import Positive, Section
from preference_study.variants import RewardVariant

if TYPE_CHECKING:
    from datasets import Dataset


class LengthMarginSection(Section):
    """weight: on the length term."""

    weight: Positive


def length_coefficient(differences: Sequence[float]) -> float:
    """How the log-odds of being chosen grow with the difference in length: logistic regression through the origin.

    Args:
        differences: log tokens of the chosen response minus log tokens of the rejected one.

    Returns:
        The coefficient; 0 where all differences are 0.
    """
    from sklearn.linear_model import LogisticRegression

    column = np.asarray(differences, dtype=float)[:, None]
    if not column.any():
        return 0.0
    labels = np.repeat([1, 0], len(column))
    # Each pair both ways round. C is large: one coefficient of hundreds of pairs needs no prior.
    return float(LogisticRegression(fit_intercept=False, C=1e6).fit(np.vstack([column, -column]), labels).coef_[0, 0])


def with_length_margin(made: "Dataset", own: LengthMarginSection) -> "Dataset":
    """Rows with TRL's margin, which it takes off chosen minus rejected: minus the fitted length term.

    -log sigmoid(r(chosen) - r(rejected) + weight b (log tokens of chosen - log tokens of rejected)): a product of experts whose
    bias-only expert is b log tokens, fitted beforehand by `length_coefficient`. What length explains, the rewards need not.
    """
    from preference_study.models.token_pairs import numbers

    tokens = [numbers(made, f"{side}_tokens").tolist() for side in ("chosen", "rejected")]
    differences = [math.log1p(chosen) - math.log1p(rejected) for chosen, rejected in zip(*tokens, strict=True)]
    b = length_coefficient(differences)
    return made.add_column("margin", [-own.weight * b * difference for difference in differences])


VARIANT = RewardVariant(LengthMarginSection, rows=with_length_margin)
