"""What the stage leaves of which pairs, and that scoring from it changes nothing but rounding."""

from pathlib import Path

import numpy as np
import pytest
import torch

import stages.frozen_layers
import stages.score_pairs
import stages.train_reward
from preference_study.artifacts import read_array, read_json, read_table
from preference_study.models.frozen import kept_in
from preference_study.models.language_models import load_causal, load_tokenizer
from preference_study.models.tokens import TokenPair, encode_pairs
from tests.workspace import change

LORA = {"lora_rank": 4, "lora_layers": 1, "learning_rate": 3e-2}


def encoded(split: str, max_length: int) -> list[TokenPair]:
    return encode_pairs(load_tokenizer("models/base"), read_table(f"data/prepared/{split}.parquet"), max_length)


def test_features_and_states_are_those_of_every_pair(folder):
    change(folder, reward=LORA | {"max_length": 60})
    stages.frozen_layers.main()
    model, kept = load_causal("models/base"), kept_in("data/frozen/reward")
    sequences = set()
    for split in ("train", "val"):
        pairs, features = encoded(split, 60), read_array(f"data/features/{split}.npy")
        assert features.shape == (len(pairs), 2, 32) and len(pairs) == {"train": 40, "val": 20}[split]
        for pair, both in zip(pairs, features, strict=True):
            for ids, found in zip((pair.chosen_ids, pair.rejected_ids), both, strict=True):
                whole = pair.prompt_ids + ids
                sequences.add(tuple(whole))
                with torch.no_grad():
                    inside = model(input_ids=torch.tensor([whole]), output_hidden_states=True).hidden_states
                assert found == pytest.approx(inside[-1][0, -1].float().numpy(), abs=0.05)
                torch.testing.assert_close(kept.of(torch.tensor([whole]), None), inside[1], atol=0.02, rtol=0.02)
    assert len(kept.rows) == len(sequences) and kept.depth == 1
    assert kept.states.shape == (sum(map(len, sequences)), 32)


def test_nothing_is_kept_where_it_is_not_to_be(folder, capsys):
    for section, values, why in (("reward", {"lora_rank": 0}, "every layer"), ("frozen", {"max_gib": 0}, "max_gib is 0")):
        change(folder, reward=LORA)
        change(folder, **{section: values})
        stages.frozen_layers.main()
        assert why in capsys.readouterr().out and why in read_json("data/frozen/reward/about.json")["left_out"]
        assert kept_in("data/frozen/reward") is None and len(read_array("data/features/val.npy")) == 20
        change(folder, frozen={"max_gib": 8})


@pytest.mark.parametrize("judge", ["standard", "ensemble"])
def test_pairs_are_scored_the_same_without_it(folder, monkeypatch, judge):
    change(folder, reward=LORA | {"judge": judge, "variants": ["standard", *{judge} - {"standard"}]})
    stages.frozen_layers.main()
    stages.train_reward.main(judge)
    spoilt = []
    use_kept = stages.score_pairs.use_kept

    def watched(model, kept):
        use_kept(model, kept)
        for weight in model.model.layers[0].parameters():  # which is not run any more
            weight.data.fill_(torch.nan)
        spoilt.append(model)

    monkeypatch.setattr(stages.score_pairs, "use_kept", watched)
    found = scores()
    monkeypatch.setattr(stages.score_pairs, "use_kept", lambda model, kept: None)
    assert len(spoilt) == 1 and np.ptp(found) > 0.1
    assert found == pytest.approx(scores(), abs=0.05 * np.ptp(found))


def scores() -> np.ndarray:
    Path("data/scores/Rm_model_mark_on_val_1k.json").unlink(missing_ok=True)
    stages.score_pairs.main()
    rows = read_json("data/scores/Rm_model_mark_on_val_1k.json")
    return np.array([[row["chosen_reward"], row["rejected_reward"]] for row in rows])
