"""Which parameter draws the pairs that are used."""

import pytest

import stages.prepare_data
from preference_study.artifacts import read_table
from tests.workspace import change


@pytest.mark.parametrize(("split", "limit"), [("train", 24), ("val", 12)])
def test_pairs_are_drawn_by_the_datas_seed_and_are_the_same_for_every_seed_of_training(folder, split, limit):
    change(folder, data={"max_train": 24, "max_val": 12})

    def drawn(seed: int, of_data: int) -> list[str]:
        change(folder, seed=seed, data={"seed": of_data})
        stages.prepare_data.main()
        return list(read_table(f"data/prepared/{split}.parquet")["id"])

    first = drawn(1, 1)
    assert len(first) == limit
    assert drawn(2, 1) == first and set(drawn(1, 2)) != set(first)
