"""Whose log-probabilities stand where, and that the pass keeps what comes out of the layers under the trained ones."""

import pytest
import torch

import stages.frozen_layers
import stages.reference_logps
from preference_study.artifacts import read_json, read_table, write_json
from preference_study.data.sampling import seen_by_policies
from preference_study.models.frozen import kept_in
from preference_study.models.language_models import load_causal, load_tokenizer, pair_logps
from preference_study.models.token_pairs import BothSides
from preference_study.models.tokens import encode_pairs
from tests.workspace import change


@pytest.fixture
def skipped(monkeypatch) -> list[int | None]:
    """Layers whose hidden states the pass takes from stage frozen_layers; None where it runs them all."""
    found = []
    own = stages.reference_logps.use_kept
    look = lambda model, kept: (found.append(kept and kept.depth), own(model, kept))  # noqa: E731
    monkeypatch.setattr(stages.reference_logps, "use_kept", look)
    return found


@pytest.mark.parametrize(("max_length", "of_reward"), [(60, 1), (60, 2), (512, 1)])
def test_each_split_has_its_own_numbers_and_states(folder, skipped, max_length, of_reward):
    """Whether it begins with the states of the reward models, as deep as its own or deeper, or with texts unknown to them."""
    change(folder, policy={"max_train": 11, "max_length": max_length, "lora_rank": 4, "lora_layers": 1}, data={"seed": 5})
    change(folder, reward={"lora_rank": 4, "lora_layers": 1, "max_length": 60})
    stages.frozen_layers.main()
    if of_reward == 2:  # as if LoRA trained no layer but one above these
        write_json("data/frozen/reward/about.json", read_json("data/frozen/reward/about.json") | {"depth": 2})
    stages.reference_logps.main()
    assert skipped == [1 if of_reward == 1 else None]
    model, kept, known = load_causal("models/base"), kept_in("data/frozen/policy"), set()
    for split, n in (("train", 11), ("val", 20)):
        table = read_table(f"data/prepared/{split}.parquet")
        table = table[seen_by_policies(table, n, 5)] if split == "train" else table
        pairs = encode_pairs(load_tokenizer("models/base"), table, max_length)
        rows = read_json(f"data/logps/base/{split}.json")
        wanted = pair_logps(model, pairs, max_batch=64, max_padded=2048, description="t")
        assert [row["id"] for row in rows] == list(table["id"]) and len(rows) == n
        for side in ("chosen", "rejected"):
            assert [row[f"{side}_logp"] for row in rows] == pytest.approx([row[f"{side}_logp"] for row in wanted], abs=0.05)
        for ids in BothSides(pairs):
            known.add(tuple(ids))
            with torch.no_grad():
                inside = model(input_ids=torch.tensor([ids]), output_hidden_states=True).hidden_states[1]
            torch.testing.assert_close(kept.of(torch.tensor([ids]), None), inside, atol=0.02, rtol=0.02)
    assert len(kept.rows) == len(known) and kept.depth == 1


def test_a_policy_trained_in_full_keeps_none(folder, capsys):
    change(folder, policy={"lora_rank": 0})
    stages.reference_logps.main()
    assert "not kept: every layer is trained" in capsys.readouterr().out and kept_in("data/frozen/policy") is None
