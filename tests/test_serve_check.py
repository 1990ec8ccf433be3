"""A served policy against the folder's, by hand."""

import pytest

from preference_study.serve_check import compared, main


@pytest.mark.parametrize("prompts", ["0", "-5"])
def test_so_many_prompts_cannot_be(prompts, capsys):
    with pytest.raises(SystemExit):
        main(["dpo", f"--prompts={prompts}"])
    assert "--prompts" in capsys.readouterr().err


def test_the_numbers_by_hand():
    answers = [[5, 6], [5], [5, 7], [8], [1]]
    exact = [[5, 4], [5], [5, 9], [3], [1]]
    served = [[5, 6], [5], [5, 9], [2], [1, 1]]
    found = compared(
        [[1], [2], [3], [4], [5]], [[1], [2], [3], [9], [5]], answers, exact, served, [0.25, -0.5, 0.125], list("abcde")
    )
    names = ("same_prompts", "same_answers", "same_answers_exact", "folder_exact")
    assert [found[name]["value"] for name in names] == [0.8, 0.4, 0.4, 0.4]
    assert found["same_tokens_before"] == 2 / 3  # one, none and one
    # In float32 the first, the fourth and the last part, but the last has one that only goes on.
    assert (found["parting_gap"], found["going_on"]) == (0.5, 1)
    # And each of the three shares by itself: the folder, float32 and the server, two of them the same.
    one, other = [[5]], [[6]]
    for given, wanted in (
        ((one, one, other), [0, 0, 1]),
        ((one, other, one), [1, 0, 0]),
        ((other, one, one), [0, 1, 0]),
    ):
        found = compared([[1]], [[1]], *given, [], ["a"])
        assert [found[name]["value"] for name in names[1:]] == wanted
    same = compared([[1]], [[1]], one, one, one, [], ["a"])
    assert same["same_tokens_before"] is same["parting_gap"] is None and same["going_on"] == 0
