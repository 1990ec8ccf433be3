"""Where two greedy answers to one prompt part: whether both tokens were nearly as likely there."""

from typing import Any

from transformers import PreTrainedModel

from preference_study.analysis.parity import partings
from preference_study.models.language_models import token_logps

Tokens = list[list[int]]


def parting_gaps(model: PreTrainedModel, prompts: Tokens, one: Tokens, other: Tokens, **limits: Any) -> list[float]:
    """Of each row whose answers part: log p(the token of `one`) - log p(the token of `other`) at that place, in nats.

    Args:
        model: by whose probabilities; it wrote `one`, or has the same weights as what did.
        limits: as `token_logps` takes them.
    """
    places = partings(one, other)
    asked = [prompts[row] for row, _ in places]
    sides = (
        token_logps(model, asked, [answers[row][: place + 1] for row, place in places], **limits) for answers in (one, other)
    )
    return [float(a[-1] - b[-1]) for a, b in zip(*sides, strict=True)]
