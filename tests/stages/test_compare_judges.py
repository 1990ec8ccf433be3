"""Pairs beside what judges and the truth say of them, whatever columns the data have."""

import pandas as pd
import pytest

from preference_study.data.pairs import usable_pairs
from preference_study.formats import to_pairs
from preference_study.judges import own_judgement
from stages.compare_judges import pairs_with_gold

RAW = {"prompt": ["p", "q"], "chosen": ["Do you?", "b"], "rejected": ["c", "d"], "instruction": "with_you", "topic": "t"}


@pytest.mark.parametrize("name", ["preference", "as_first", "finished", "gold", "chosen_gold", "letter", "topic"])
def test_no_column_of_the_datas_own_stands_in_the_way(name):
    pairs = usable_pairs(to_pairs(pd.DataFrame(RAW | {name: "mine"}), "raw").table, set())[0]
    pairs = pairs.assign(chosen_reward=1.0, rejected_reward=0.5)
    scored = pd.DataFrame({"id": ["p", "p"], "policy": ["base", "dpo"], "reward": [0.0, 1.0]})
    said = pd.DataFrame(own_judgement("standard", scored, pairs, ["dpo"])["pairs"]).assign(as_first=1.0, as_second=1.0)
    joined = pairs_with_gold(pairs).join(said.set_index("id"))
    assert (joined["preference"] > 0.5).all() and set(joined["topic"]) == {RAW["topic"] if name != "topic" else "mine"}
    assert joined[["chosen_gold", "rejected_gold"]].dtypes.tolist() == [bool, bool]
    # Where the truth is not known no column may pass for it.
    assert not {"gold", "chosen_gold", "rejected_gold"} & set(pairs_with_gold(pairs.drop(columns="instruction")))
