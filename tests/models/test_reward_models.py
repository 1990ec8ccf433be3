"""Reward models for use: how an ensemble's rewards come together, and what is refused."""

from types import SimpleNamespace

import pandas as pd
import pytest
import torch

from preference_study.artifacts import write_json
from preference_study.errors import BadModel
from preference_study.models.language_models import load_reward, new_reward_model, pair_rewards
from preference_study.models.reward_models import Ensemble, encode_responses, load_judge
from preference_study.models.tokens import encode_pairs
from tests.conftest import asked

LIMITS = {"max_batch": 4, "max_padded": 99, "description": "t"}
# Of three responses; centred by 10, 20 and 30 they are (1, 4, -2), (3, 0, 1) and (5, 5, -5).
RAW = {"one": [11.0, 14.0, 8.0], "two": [23.0, 20.0, 21.0], "three": [35.0, 35.0, 25.0]}
MEANS = {"one": 10.0, "two": 20.0, "three": 30.0}


class Fixed(torch.nn.Module):
    """Gives the same rewards whatever it is asked, and remembers what it was asked."""

    def __init__(self, rewards: list[float]):
        super().__init__()
        self.rewards, self.config, self.device, self.asked = torch.tensor(rewards)[:, None], object(), torch.device("cpu"), []

    def forward(self, **inputs):
        self.asked.append(inputs)
        return SimpleNamespace(logits=self.rewards)


@pytest.mark.parametrize(
    ("summed_up", "wanted"),
    [
        (None, [[1, 3, 5], [4, 0, 5], [-2, 1, -5]]),
        ({"by": "mean", "spread_weight": 9.0}, [[3], [3], [-2]]),
        ({"by": "worst", "spread_weight": 9.0}, [[1], [0], [-5]]),
        ({"by": "mean_minus_spread", "spread_weight": 0.5}, [[3 - 0.5 * 2], [3 - 0.5 * 7**0.5], [-2 - 0.5 * 3]]),
    ],
)
def test_an_ensembles_rewards_by_hand(summed_up, wanted):
    models = {name: Fixed(rewards) for name, rewards in RAW.items()}
    turned = dict(reversed(MEANS.items()))  # a mean is its member's by name, whatever the order
    judge = Ensemble(models, turned, summed_up)
    found = judge(input_ids="ids", attention_mask="mask").logits
    assert torch.allclose(found, torch.tensor(wanted, dtype=torch.float), atol=1e-5)
    assert all(model.asked == [{"input_ids": "ids", "attention_mask": "mask"}] for model in models.values())
    # What its rewards depend on besides weights, which a run's fingerprint takes in; and what a model is asked for.
    assert judge.settings == {"means": MEANS, "summed_up": summed_up}
    assert judge.config is models["one"].config and judge.device == torch.device("cpu")


@pytest.fixture(scope="module")
def trained(model_folder, tmp_path_factory):
    """An ensemble's folder, of two full models that are centred by 2 and 3."""
    folder = tmp_path_factory.mktemp("ensemble")
    for seed, name in ((4, "member_1"), (5, "member_2")):
        new_reward_model(model_folder, seed).save_pretrained(folder / name)
    means = [("member_1", 2.0), ("member_2", 3.0)]
    write_json(folder / "members.json", [{"folder": name, "mean_reward": mean} for name, mean in means])
    return folder


@pytest.fixture
def pairs(tokenizer):
    return encode_pairs(tokenizer, pd.DataFrame({"prompt": [asked("Hi")], "chosen": ["yes"], "rejected": ["no no"]}), 64)


def test_how_members_are_summed_up_is_what_is_asked_for_else_what_the_folder_says(trained, model_folder, pairs):
    alone = [pair_rewards(load_reward(model_folder, trained / f"member_{n}"), pairs, **LIMITS)[0] for n in (1, 2)]
    centred = [[score - mean for score in own] for own, mean in zip(alone, (2.0, 3.0), strict=True)]
    worst, mean = ([way(a, b) for a, b in zip(*centred, strict=True)] for way in (min, lambda a, b: (a + b) / 2))

    def scores(summed_up=None) -> list:
        return list(pair_rewards(load_judge(model_folder, trained, summed_up), pairs, **LIMITS)[0])

    assert torch.allclose(torch.tensor(scores()), torch.tensor(centred).T, atol=1e-5)  # the folder says nothing
    assert scores({"by": "mean", "spread_weight": 1.0}) == pytest.approx(mean, abs=1e-5)
    write_json(trained / "aggregate.json", {"by": "worst", "spread_weight": 1.0})
    try:
        assert scores() == pytest.approx(worst, abs=1e-5)
        assert scores({"by": "mean", "spread_weight": 1.0}) == pytest.approx(mean, abs=1e-5)
    finally:
        (trained / "aggregate.json").unlink()


def test_a_single_model_is_no_ensemble(trained, model_folder, pairs):
    single = load_judge(model_folder, trained / "member_2", {"by": "worst", "spread_weight": 1.0})
    assert not isinstance(single, Ensemble) and not hasattr(single, "settings")
    assert pair_rewards(single, pairs, **LIMITS) == pair_rewards(load_reward(model_folder, trained / "member_2"), pairs, **LIMITS)


def test_missing_weights_are_named(trained, model_folder, tmp_path):
    write_json(tmp_path / "members.json", [{"folder": "member_7", "mean_reward": 0.0}])
    with pytest.raises(BadModel, match="no safetensors weights of member_7; train the ensemble again"):
        load_judge(model_folder, tmp_path)
    with pytest.raises(BadModel, match="no safetensors weights; train the reward model again"):
        load_judge(model_folder, tmp_path / "nothing")
    new_reward_model(model_folder, 1).save_pretrained(tmp_path / "member_7", safe_serialization=True)
    assert list(load_judge(model_folder, tmp_path).models) == ["member_7"]


def test_responses_are_written_as_in_training(tokenizer):
    responses = pd.DataFrame(
        {"prompt": [asked("Hi"), asked("x" * 50)], "response": ["yes", "no no no no no"], "chosen": "c", "rejected": "r"}
    )
    found, shortened = encode_responses(tokenizer, responses, 40)
    assert shortened == [False, True]
    assert tokenizer.decode(found[0]) == "<|user|>Hi<|end|><|assistant|>yes<|end|>"
    assert len(found[1]) == 40 and tokenizer.decode(found[1]).endswith("xx<|end|><|assistant|>no no no no no<|end|>")
