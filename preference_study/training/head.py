"""The language model's head in TRL's trainers, on a CPU: log-probabilities of the labels, and their gradients, at half the cost.

TRL takes the vocabulary in pieces, made for a GPU's kernels. Without those each piece is a dozen passes through memory, the
product is computed again for the gradient, and prompts and padding are scored too: two fifths of a DPO step on a CPU.
"""

from typing import Any

import torch
from trl.trainer import utils

TOKENS = 256  # scored together, which bounds the memory: 50 MB for each of a few arrays with a vocabulary of 50,000

_chunked = utils._ChunkedLogProbFunction


class LogProbs(torch.autograd.Function):
    """Log-probabilities of the targets under softmax(hidden · weight.T), for a weight that is not trained.

    The gradient of log p(target) by a token's hidden state is (one-hot(target) - p) · weight, times whatever comes from above. It
    is computed along with the log-probability, while p is there.
    """

    @staticmethod
    def forward(ctx: Any, hidden: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """
        Args:
            hidden: [tokens, hidden size].
            weight: [vocabulary, hidden size].
            targets: [tokens].

        Returns:
            Log-probabilities of the targets, entropies in nats, means of the logits, and whether the target is the likeliest:
            [tokens] each, float32 but for the last. Only the first has a gradient.
        """
        ctx.set_materialize_grads(False)
        found, gradients = [], []
        for states, wanted in zip(hidden.split(TOKENS), targets.split(TOKENS), strict=True):
            logits = (states.to(weight.dtype) @ weight.T).float()
            log_p = logits.log_softmax(dim=-1)
            p = log_p.exp()
            at_target = log_p.gather(-1, wanted[:, None]).squeeze(-1)
            found.append((at_target, -torch.linalg.vecdot(p, log_p), logits.mean(dim=-1), logits.argmax(dim=-1) == wanted))
            if ctx.needs_input_grad[0]:
                # Before it is rounded: of a confident token nothing but the rounding would be left.
                p[torch.arange(len(wanted)), wanted] -= 1
                gradients.append(-(p.to(weight.dtype) @ weight).float())
        outputs = [torch.cat(parts) for parts in zip(*found, strict=True)]
        ctx.mark_non_differentiable(*outputs[1:])
        if gradients:
            ctx.save_for_backward(torch.cat(gradients))
            ctx.dtype = hidden.dtype
        return tuple(outputs)

    @staticmethod
    def backward(ctx: Any, above: torch.Tensor | None, *_: Any) -> tuple[torch.Tensor | None, None, None]:
        (gradients,) = ctx.saved_tensors
        return None if above is None else (above[:, None] * gradients).to(ctx.dtype), None, None


class Head:
    """What stands in for TRL's function: `LogProbs` where it can, and TRL's own elsewhere."""

    @staticmethod
    def apply(
        hidden: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        targets: torch.Tensor,
        temperature: float,
        chunk_size: int,
        softcap: float | None,
        logit_scale: float,
        outputs: tuple[str, ...],
    ) -> tuple[torch.Tensor | None, ...]:
        """As TRL's: log-probabilities, entropy, log of the sum of squared probabilities, mean logit, and whether likeliest."""
        plain = bias is None and temperature == 1 and not softcap and logit_scale == 1 and "log_sum_sq_probs" not in outputs
        if hidden.device.type != "cpu" or weight.requires_grad or not plain:
            return _chunked.apply(hidden, weight, bias, targets, temperature, chunk_size, softcap, logit_scale, outputs)
        with torch.autocast("cpu", enabled=False):
            states = hidden if torch.is_grad_enabled() else hidden.detach()
            log_probs, entropy, mean_logits, is_top1 = LogProbs.apply(states, weight, targets)
        return log_probs, entropy, None, mean_logits, is_top1


def cheaper_head() -> None:
    """Have TRL's trainers use it, on the labelled tokens alone.

    Without Triton, TRL's head works through the vocabulary at every position, prompt and padding too, so that a compiler sees one
    shape. Nothing is compiled here, and most positions are no response's.
    """
    utils._ChunkedLogProbFunction = Head
    utils._use_triton = lambda device: True
