"""Samples of pairs: seeded, and of length they say what all say."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from preference_study.data.sampling import sample_pairs, seen_by_policies


@given(st.lists(st.tuples(st.integers(1, 4), st.integers(1, 4)), min_size=1, max_size=60), st.integers(1, 60), st.integers(0, 99))
def test_a_sample_keeps_how_often_the_longer_response_wins(lengths, limit, seed):
    pairs = pd.DataFrame(lengths, columns=["chosen_words", "rejected_words"])
    found = sample_pairs(pairs, limit, seed)
    assert len(found) == min(limit, len(pairs)) and found.index.is_monotonic_increasing and found.index.is_unique
    for sign in (-1, 0, 1):
        share = (np.sign(pairs["chosen_words"] - pairs["rejected_words"]) == sign).mean()
        kept = (np.sign(found["chosen_words"] - found["rejected_words"]) == sign).sum()
        assert abs(kept - share * len(found)) <= 2
    assert sample_pairs(pairs, None, seed) is pairs


@pytest.mark.parametrize(("limit", "longer", "shorter"), [(2, 1, 1), (3, 2, 1), (30, 20, 10), (89, 59, 30)])
def test_a_sample_of_two_kinds_of_pairs_by_hand(limit, longer, shorter):
    """Sixty pairs whose longer response won, and thirty whose shorter one did, all of as many words in all."""
    pairs = pd.DataFrame({"chosen_words": [7] * 60 + [3] * 30, "rejected_words": [3] * 60 + [7] * 30})
    found = sample_pairs(pairs, limit, seed=5)
    assert ((found["chosen_words"] == 7).sum(), (found["chosen_words"] == 3).sum()) == (longer, shorter)


def test_policies_see_a_sample_of_all_parts_of_a_file():
    """A file of three data sets, one after the other; the first pairs would be of one of them."""
    pairs = pd.DataFrame({"chosen_words": [5] * 300, "rejected_words": [3, 7] * 150, "part": np.repeat([0, 1, 2], 100)})
    turned = pairs.set_axis(range(299, -1, -1))
    seen = seen_by_policies(pairs, 60, 1)
    assert seen.sum() == 60 and all(10 <= (pairs["part"][seen] == part).sum() <= 30 for part in range(3))
    assert seen_by_policies(turned, 60, 1).tolist() == seen.tolist() != seen_by_policies(pairs, 60, 2).tolist()
    assert seen.tolist() == pairs.index.isin(sample_pairs(pairs, 60, 1).index).tolist()
    assert seen_by_policies(pairs, None, 1).all() and seen_by_policies(pairs, 999, 1).all()
