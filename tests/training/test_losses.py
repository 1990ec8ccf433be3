"""The variants' losses against values worked out by hand."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from preference_study.training.losses import combined, conservative, product_difference, product_likelihood, unbiased

finite = st.floats(-20, 20)


def log_sigmoid(x: float) -> float:
    return -math.log(1 + math.exp(-x))


def test_the_conservative_loss_by_hand():
    # sigmoid(log 3) = 3/4: 0.8 * log(4/3) + 0.2 * log 4
    by_hand = 0.8 * math.log(4 / 3) + 0.2 * math.log(4)
    assert conservative(torch.tensor([math.log(3)]), 0.2).item() == pytest.approx(by_hand, abs=1e-6)
    margins = torch.tensor([math.log(3), 0.0])
    assert conservative(margins, 0.2).item() == pytest.approx((by_hand + math.log(2)) / 2, abs=1e-6)


def test_the_conservative_loss_is_lowest_where_belief_is_one_minus_the_flip_rate():
    margin = torch.tensor([math.log(0.8 / 0.2)], requires_grad=True)
    conservative(margin, 0.2).backward()
    assert margin.grad.item() == pytest.approx(0, abs=1e-6)


def test_the_unbiased_loss_by_hand():
    # (0.8 * log(4/3) - 0.2 * log 4) / 0.6
    by_hand = (0.8 * math.log(4 / 3) - 0.2 * math.log(4)) / 0.6
    assert unbiased(torch.tensor([math.log(3)]), 0.2).item() == pytest.approx(by_hand, abs=1e-6)


@given(margin=finite, rate=st.floats(0, 0.4))
def test_the_unbiased_loss_is_bradley_terrys_in_expectation(margin, rate):
    m = torch.tensor([margin], dtype=torch.float64)
    expected = (1 - rate) * unbiased(m, rate) + rate * unbiased(-m, rate)
    assert expected.item() == pytest.approx(-log_sigmoid(margin), abs=1e-9)


@given(margin=finite)
def test_without_noise_both_are_bradley_terrys(margin):
    m = torch.tensor([margin], dtype=torch.float64)
    for loss in (conservative, unbiased):
        assert loss(m, 0.0).item() == pytest.approx(-log_sigmoid(margin), abs=1e-9)


def test_the_product_of_experts_by_hand():
    # Shares over the pair: main (3/4, 1/4), bias (1/3, 2/3); their product (3/12, 2/12), normalised (3/5, 2/5).
    main, bias = torch.tensor([[math.log(3), 0.0]]), torch.tensor([[0.0, math.log(2)]])
    assert combined(main, bias)[0].tolist() == pytest.approx([0.6, 0.4], abs=1e-6)
    assert product_likelihood(main, bias).item() == pytest.approx(-math.log(0.6), abs=1e-6)
    assert product_difference(main, bias).item() == pytest.approx(-log_sigmoid(0.2), abs=1e-6)


@given(main=st.tuples(finite, finite), bias=st.tuples(finite, finite), shift=finite)
def test_a_rewards_origin_is_arbitrary(main, bias, shift):
    a, b = torch.tensor([main], dtype=torch.float64), torch.tensor([bias], dtype=torch.float64)
    for loss in (product_likelihood, product_difference):
        assert loss(a + shift, b).item() == pytest.approx(loss(a, b).item(), abs=1e-9)
        assert loss(a, b + shift).item() == pytest.approx(loss(a, b).item(), abs=1e-9)


def test_what_the_bias_explains_the_main_expert_need_not():
    """A pair that the bias-only expert ranks right pulls the main expert less than one that it ranks wrong."""
    pulls = []
    for bias in (2.0, -2.0):
        main = torch.zeros(1, 2, requires_grad=True)
        product_likelihood(main, torch.tensor([[bias, 0.0]])).backward()
        pulls.append(-main.grad[0, 0].item())
    assert pulls == pytest.approx([1 / (1 + math.exp(2)), 1 / (1 + math.exp(-2))], abs=1e-6)
