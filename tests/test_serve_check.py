"""A served policy against the folder's, by hand."""

from preference_study.serve_check import compared


def test_the_numbers_by_hand():
    found = compared(
        [[1], [2], [3], [4]], [[1], [2], [3], [9]], [[5, 6], [5], [5, 7], [8]], [[5, 6], [5], [5, 9], [2]], list("abcd")
    )
    assert (found["n"], found["same_prompts"]["value"], found["same_answers"]["value"]) == (4, 0.75, 0.5)
    assert found["same_tokens_before"] == 0.5  # one and none
    same = compared([[1]], [[1]], [[2]], [[2]], ["a"])
    assert same["same_tokens_before"] is None
