"""The cross-fitted judge is trained on the pairs that policies do not see, whatever they are."""

import pytest

import stages.train_judge
from preference_study.artifacts import read_table
from preference_study.data.sampling import seen_by_policies
from preference_study.models.language_models import load_tokenizer
from preference_study.models.tokens import encode_pairs
from preference_study.params import load_params
from stages import prepare_judge
from tests.workspace import change


@pytest.mark.parametrize("unseen", ["pairs", "prompts"])
def test_the_others_of_a_sample_by_the_datas_seed(folder, monkeypatch, unseen):
    change(
        folder, judges=[{"name": "second", "kind": "cross_fitted", "unseen": unseen}], policy={"max_train": 8}, data={"seed": 5}
    )
    prepare_judge.main("second")
    trained = []
    monkeypatch.setattr(stages.train_judge, "train_one", lambda *given: trained.append(given) or ({}, {}))
    stages.train_judge.main("second")
    [(_, _, _, seed, tokenizer, encoded, _, _)] = trained
    table, length = read_table("data/prepared/train.parquet"), load_params().reward.max_length
    seen = seen_by_policies(table, 8, 5)
    kept = ~table["cluster"].isin(table["cluster"][seen]) if unseen == "prompts" else ~seen
    assert seed == load_params().seed and tokenizer.get_vocab() == load_tokenizer("models/base").get_vocab()
    assert list(encoded["train"]) == encode_pairs(tokenizer, table[kept], length)
    assert list(encoded["val"]) == encode_pairs(tokenizer, read_table("data/prepared/val.parquet"), length)
