"""The head that TRL's trainers use on a CPU gives what TRL's own does, and its gradients."""

import pytest
import torch
from trl.trainer import utils

import preference_study.training.trainers  # noqa: F401  has TRL use it
from preference_study.training import head
from preference_study.training.head import Head, LogProbs, _chunked

OUTPUTS = ("log_probs", "entropy", "mean_logits", "is_top1")


def case(tokens: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Hidden states of a few of which a gradient is wanted, a vocabulary of 50, and targets, the likeliest token among them."""
    draw = torch.Generator().manual_seed(seed)
    hidden = torch.randn(tokens, 8, generator=draw, requires_grad=True)
    weight = torch.randn(50, 8, generator=draw)
    targets = torch.randint(50, (tokens,), generator=draw)
    targets[::3] = (hidden @ weight.T).argmax(dim=-1)[::3]
    return hidden, weight, targets


def asked(function, hidden, weight, targets, **changes):
    options = {"bias": None, "temperature": 1.0, "chunk_size": 16, "softcap": None, "logit_scale": 1.0, "outputs": OUTPUTS}
    named = options | changes
    return function.apply(
        hidden, weight, named["bias"], targets, named["temperature"], named["chunk_size"], named["softcap"],
        named["logit_scale"], named["outputs"],
    )  # fmt: skip


@pytest.mark.parametrize("tokens", [0, 1, 7, 20])
def test_the_same_numbers_and_gradients(tokens, monkeypatch):
    monkeypatch.setattr(head, "TOKENS", 6)  # several rounds, the last not full
    hidden, weight, targets = case(tokens)
    found, wanted = asked(Head, hidden, weight, targets), asked(_chunked, hidden, weight, targets)
    for mine, theirs in zip(found, wanted, strict=True):
        assert (mine is None) == (theirs is None)
        if mine is not None:
            torch.testing.assert_close(mine, theirs, atol=1e-5, rtol=1e-5)
    above = torch.linspace(-1, 2, tokens)
    (mine,), (theirs,) = (torch.autograd.grad((of[0] * above).sum(), hidden) for of in (found, wanted))
    torch.testing.assert_close(mine, theirs, atol=1e-5, rtol=1e-5)
    assert not found[1].requires_grad and not found[3].requires_grad


def test_without_gradients_none_are_computed(monkeypatch):
    hidden, weight, targets = case(5)
    apply, wanted = LogProbs.apply, []
    monkeypatch.setattr(LogProbs, "apply", lambda states, *rest: (wanted.append(states.requires_grad), apply(states, *rest))[1])
    with torch.no_grad():
        found = asked(Head, hidden, weight, targets)
    assert wanted == [False] and found[0].grad_fn is None
    torch.testing.assert_close(found[0], asked(_chunked, hidden, weight, targets)[0].detach())


def test_in_bfloat16_it_is_as_close_as_trls():
    hidden, weight, targets = case(20)
    small = hidden.detach().bfloat16().requires_grad_(), weight.bfloat16(), targets
    exact = asked(_chunked, small[0].detach().float().requires_grad_(), small[1].float(), targets)[0]
    errors = [(asked(function, *small)[0] - exact).abs().max() for function in (Head, _chunked)]
    assert errors[0] <= 1.5 * errors[1] + 1e-3 and asked(Head, *small)[0].dtype == torch.float32


@pytest.mark.parametrize("sharp", [0.3, 1.0, 3.0])
def test_in_bfloat16_its_gradient_is_as_close_as_trls(sharp):
    """Of confident tokens too: what is left of a one-hot less p, both rounded, is the rounding."""
    hidden, weight, _ = case(200)
    small, weight = (sharp * hidden.detach()).bfloat16(), weight.bfloat16()
    targets = (small.float() @ weight.float().T).argmax(dim=-1)

    def gradients(function, states, of) -> torch.Tensor:
        states = states.requires_grad_()
        (found,) = torch.autograd.grad(asked(function, states, of, targets)[0].sum(), states)
        assert found.dtype == states.dtype
        return found.float()

    exact = gradients(Head, small.float(), weight.float())
    errors = [
        (gradients(function, small.clone(), weight) - exact).norm(dim=1) / exact.norm(dim=1) for function in (Head, _chunked)
    ]
    assert errors[0].mean() <= 1.2 * errors[1].mean() < 0.1


@pytest.mark.parametrize(
    "changes",
    [
        {"temperature": 0.7},
        {"softcap": 3.0},
        {"logit_scale": 0.5},
        {"bias": torch.linspace(-2, 2, 50)},
        {"outputs": (*OUTPUTS, "log_sum_sq_probs")},
        {},
    ],
)
def test_what_it_cannot_do_is_left_to_trl(changes):
    """Heads of another kind; and one that is trained (the last): its gradient is there."""
    hidden, weight, targets = case(9)
    weight.requires_grad_(not changes)
    found, wanted = asked(Head, hidden, weight, targets, **changes), asked(_chunked, hidden, weight, targets, **changes)
    for mine, theirs in zip(found, wanted, strict=True):
        assert (mine is None) == (theirs is None)
        if mine is not None:
            torch.testing.assert_close(mine, theirs)
    if not changes:
        assert torch.autograd.grad(found[0].sum(), weight)[0].abs().sum() > 0


def test_trls_trainers_use_it():
    assert utils._ChunkedLogProbFunction is Head and utils._use_triton(torch.device("cpu"))
