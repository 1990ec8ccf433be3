"""Parity by hand: which number is which, and what is beyond a bound."""

import numpy as np
import pytest

from preference_study.analysis import parity
from preference_study.analysis.parity import beyond, partings, policy_parity, reward_parity, same_before

CLUSTERS = ["a", "b", "c", "d", "e"]


def test_a_policys_numbers_by_hand():
    found = policy_parity(
        own_prompts=[[1], [2], [3], [4], [5]],
        prompts=[[1], [2], [3], [9, 4], [5]],
        own_answers=[[7, 8, 1], [7, 8, 9, 1], [6, 1], [5], [4, 4]],
        answers=[[7, 8, 1], [7, 8, 2, 1], [6, 1], [5], [4]],
        own_logps=[np.array([-1.0, -2.0]), np.array([-3.0]), np.array([-0.5]), np.array([-0.5]), np.array([-0.25])],
        logps=[np.array([-1.0, -2.5]), np.array([-2.0]), np.array([-0.5]), np.array([-0.5]), np.array([-0.25])],
        gaps=[0.03, -0.0625],
        clusters=CLUSTERS,
    )
    assert (found["n"], found["same_prompts"]["value"], found["same_answers"]["value"]) == (5, 0.8, 0.6)
    assert found["same_answers"]["clusters"] == 5
    # The second answers part after two tokens, the last after the one that the shorter has.
    assert found["same_tokens_before"] == 1.5 and (found["parting_gap"], found["going_on"]) == (0.0625, 1)
    assert found["logp_difference"] == 1.0 and found["logp_mean_difference"] == pytest.approx(1.5 / 6)
    assert [problem.split(" is ")[0] for problem in beyond(found)] == ["logp_difference", "going_on", "same_prompts"]


def test_policies_that_are_the_same():
    same = [[1, 2], [3]]
    logps = [np.array([-1.0]), np.array([-2.0])]
    found = policy_parity(same, same, same, same, logps, logps, [], ["a", "b"])
    assert found["same_tokens_before"] is found["parting_gap"] is None and found["logp_difference"] == 0 and beyond(found) == []


@pytest.mark.parametrize(("a", "b", "wanted"), [([1, 2, 3], [1, 2, 4], 2), ([1], [2], 0), ([1, 2], [1, 2, 3], 2), ([], [1], 0)])
def test_tokens_before_two_answers_part(a, b, wanted):
    assert same_before(a, b) == wanted


def test_a_reward_models_numbers_by_hand():
    exact = np.array([1.0, 3.0, 5.0, 3.0, 3.0])  # a standard deviation of the square root of 2
    found = reward_parity(
        own=exact + np.array([0, 0, 0, 0.125, 0]),
        exact=exact,
        exported=exact + np.array([0, 0, 0, -0.25, 0]),
        of_texts=exact + np.array([0.5, 0, 0, 0, -1.0]),
        same_tokens=[False, True, True, True, False],
        clusters=CLUSTERS,
    )
    assert (found["n"], found["same_tokens"]["value"]) == (5, 0.6)
    assert found["reward_std"] == pytest.approx(2**0.5)
    assert (found["rounding"], found["reward_difference"], found["text_difference"]) == (0.125, 0.25, pytest.approx(0.3))
    # Of ten pairs own ties one, the second and the last; of the others text ties the second and the fourth.
    assert found["same_order"] == pytest.approx(8 / 9)
    assert found["bounds"]["reward_difference"] == pytest.approx(parity.REWARD_BOUND * 2**0.5, abs=2e-5)
    assert [problem.split(" is ")[0] for problem in beyond(found)] == ["reward_difference", "text_difference"]


def test_rewards_that_are_the_same_also_where_they_never_vary():
    found = reward_parity([2.0, 2.0], [2.0, 2.0], [2.0, 2.0], [2.0, 2.0], [True, True], ["a", "b"])
    assert found["same_order"] is None and found["reward_std"] == 0 and beyond(found) == []


def test_no_number_is_beyond_any_bound():
    found = reward_parity([1.0, 2.0], [1.0, 2.0], [1.0, float("nan")], [1.0, 2.0], [True, True], ["a", "b"])
    assert [problem.split(" is ")[0] for problem in beyond(found)] == ["reward_difference"]


@pytest.mark.parametrize(("gap", "wrong"), [(1.0, False), (1.01, True)])
def test_all_answers_may_part_but_only_between_tokens_that_are_nearly_as_likely(gap, wrong):
    prompts, logps = [[1], [2]], [np.array([-1.0])] * 2
    found = policy_parity(prompts, prompts, [[5], [6]], [[7], [8]], logps, logps, [0.0, gap], ["a", "b"])
    assert found["same_answers"]["value"] == 0 and found["parting_gap"] == gap and bool(beyond(found)) == wrong


def test_where_answers_part():
    one, other = [[1, 2], [1, 2, 3], [4], [5, 6], [7, 8]], [[1, 2], [1, 9, 3], [6], [5], [7, 8, 9]]
    assert partings(one, other) == [(1, 1), (2, 0)]
