from hypothesis import given
from hypothesis import strategies as st

from preference_study.models.batching import batches_by_length, map_batches

LENGTHS = st.lists(st.integers(1, 300), max_size=60)


@given(LENGTHS, st.integers(1, 9), st.none() | st.integers(1, 600))
def test_batches_hold_every_item_once_within_the_limits(lengths, max_batch, max_padded):
    batches = batches_by_length(lengths, max_batch, max_padded)
    assert sorted(i for batch in batches for i in batch) == list(range(len(lengths)))
    for batch in batches:
        assert 1 <= len(batch) <= max_batch
        padded = max(lengths[i] for i in batch) * len(batch)
        assert max_padded is None or padded <= max_padded or len(batch) == 1


def test_longest_come_first_and_neighbours_are_alike():
    assert batches_by_length([5, 9, 1, 8], 2) == [[1, 3], [0, 2]]


@given(LENGTHS)
def test_results_come_back_in_the_order_of_the_items(lengths):
    batches = batches_by_length(lengths, 4)
    assert map_batches(lambda _, batch: [lengths[i] for i in batch], batches, description="t") == lengths
