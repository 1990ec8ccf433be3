"""What the stage hands to training, and which number it writes where; nothing is trained here."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import stages.frozen_layers
import stages.score_pairs
import stages.train_reward
from preference_study.artifacts import read_array, read_json, read_table
from preference_study.models.language_models import compute_dtype, load_tokenizer, new_reward_model, pair_rewards
from preference_study.models.token_pairs import TokenPairs
from preference_study.models.tokens import TokenPair, encode_pairs
from preference_study.params import load_params
from preference_study.training.probe import linear_probe
from preference_study.training.reward_trainer import BiasOnly, flipped, reward_rows
from preference_study.training.run import code_of
from preference_study.variants import VARIANTS
from stages.train_reward import bias_only_rows
from tests.stages.capture import change_top, without_training
from tests.workspace import change

LIMITS = {"max_batch": 64, "max_padded": 2048, "description": "t"}


def encoded(split: str, max_length: int = 96) -> list[TokenPair]:
    return encode_pairs(load_tokenizer("models/base"), read_table(f"data/prepared/{split}.parquet"), max_length)


def swapped(pairs: list[TokenPair], share: float, seed: int) -> list[TokenPair]:
    """The pairs, some of them with their responses swapped."""
    return [
        replace(pair, chosen_ids=pair.rejected_ids, rejected_ids=pair.chosen_ids) if turned else pair
        for pair, turned in zip(pairs, flipped(len(pairs), share, seed), strict=True)
    ]


def test_training_takes_the_flipped_pairs_and_validation_those_as_they_are(folder, monkeypatch):
    change_top(folder, seed=5)
    change(folder, reward={"flipped": 0.25, "max_length": 50, "learning_rate": 0.125})
    runs = without_training(monkeypatch, stages.train_reward)
    stages.frozen_layers.main()
    stages.train_reward.main("standard")
    [run] = runs
    train, val = encoded("train", 50), encoded("val", 50)
    rows = list(reward_rows(swapped(train, 0.25, 5)))
    assert rows != list(reward_rows(train))
    assert list(run.trainer.train_dataset) == rows and list(run.trainer.eval_dataset) == list(reward_rows(val))
    assert [list(each) for each in run.datasets] == [rows, list(reward_rows(val))]
    args = run.trainer.args
    assert (args.seed, args.data_seed, run.seed, args.learning_rate) == (5, 5, 5, 0.125)
    assert args.max_length is None and not args.ddp_find_unused_parameters and not args.bf16_full_eval
    assert run.settings == load_params().reward.model_dump() and run.trainer.pair_loss is None
    places = (run.checkpoints, run.log, run.target, Path(args.output_dir))
    assert [str(place) for place in places] == [
        "checkpoints/train_reward/standard", "plots/train_reward/standard", "models/reward/standard",
        "checkpoints/train_reward/standard",
    ]  # fmt: skip

    untrained = new_reward_model("models/base", 5, dtype="float32")
    assert run.models[0].dtype == torch.float32
    told = read_json("data/scores/training/standard.json")
    assert told.keys() == {"untrained"}
    found = np.array([[row["chosen_reward"], row["rejected_reward"]] for row in told["untrained"]])
    assert run.untrained_loss == pytest.approx(np.logaddexp(0, found[:, 1] - found[:, 0]).mean(), abs=1e-6)
    truncated = [sum(pair.truncated for pair in pairs) for pairs in (train, val)]
    assert truncated[0] != truncated[1] and 0 not in truncated
    assert read_json("metrics/train_reward/standard.json") == {
        "train_pairs": 40,
        "train_pairs_truncated": truncated[0],
        "val_pairs_truncated": truncated[1],
        "train_turns_dropped": 0,
        "val_turns_dropped": 0,
        "trained_parameters": untrained.num_parameters(),
        "steps": 0,
        "train_pairs_flipped": 10,
        "probe_strength": probe(0.25, 5)[1],
    }


def probe(share: float = 0.0, seed: int = 1) -> tuple[np.ndarray, float]:
    """The linear probe of the training pairs, of which a share is turned round."""
    features, table = read_array("data/features/train.npy"), read_table("data/prepared/train.parquet")
    turned = flipped(len(table), share, seed)
    features[turned] = features[turned][:, ::-1]
    return linear_probe(features, list(table["cluster"]))


LORA = {"lora_rank": 6, "lora_layers": 1}


@pytest.mark.parametrize("settings", [{}, LORA])
@pytest.mark.parametrize("name", VARIANTS)
def test_every_model_begins_with_the_probe(folder, monkeypatch, name, settings):
    """At step 0 the trainer's model gives the probe's margins, up to bfloat16's rounding; with LoRA, from kept states."""
    change(folder, reward={"variants": ["standard", *{name} - {"standard"}], "judge": name, "flipped": 0.25, **settings})
    stages.frozen_layers.main()
    runs = without_training(monkeypatch, stages.train_reward)
    stages.train_reward.main(name)
    weights, _ = probe(0.25)
    features = read_array("data/features/val.npy")
    wanted = (features[:, 0] - features[:, 1]) @ weights
    assert len(runs) == (2 if name == "ensemble" else 1) and np.abs(wanted).max() > 0.1
    for run in runs:
        model = run.trainer.model
        layer = (model.get_base_model() if settings else model).model.layers[0]
        assert ("forward" in vars(layer)) == bool(settings)
        found = np.array(pair_rewards(model.eval(), encoded("val"), **LIMITS))
        assert found[:, 0] - found[:, 1] == pytest.approx(wanted, abs=0.1 * np.abs(wanted).max())
    rows = read_json(f"data/scores/training/{name}.json")
    for one in rows["members"].values() if name == "ensemble" else [rows]:
        before = np.array([[row["chosen_reward"], row["rejected_reward"]] for row in one["untrained"]])
        assert before == pytest.approx(features @ weights, abs=1e-5)


def test_a_head_at_random_is_that_of_the_seed(folder, monkeypatch):
    change_top(folder, seed=5)
    change(folder, reward={"head": "random"})
    runs = without_training(monkeypatch, stages.train_reward)
    stages.train_reward.main("standard")
    head = new_reward_model("models/base", 5, dtype="float32").score.weight
    assert torch.equal(runs[0].models[0].score.weight, head)
    rows = read_json("data/scores/training/standard.json")["untrained"]
    wanted = read_array("data/features/val.npy") @ head.detach().numpy()[0]
    assert np.array([[row["chosen_reward"], row["rejected_reward"]] for row in rows]) == pytest.approx(wanted, abs=1e-6)
    assert read_json("metrics/train_reward/standard.json")["probe_strength"] is None


def test_two_runs_are_identical(folder):
    """From the pass over the base model to the trained weights, from kept states."""
    change(folder, reward=LORA)
    made = []
    for _ in range(2):
        stages.frozen_layers.main()
        stages.train_reward.main("standard")
        stages.score_pairs.main()
        names = ("data/frozen/reward", "data/features", "models/reward", "data/scores")
        made.append({path: path.read_bytes() for name in names for path in sorted(Path(name).rglob("*")) if path.is_file()})
    assert made[0] == made[1] and len(made[0]) == 3 + 2 + 2 + 3


def test_without_evaluations_or_flips(folder, monkeypatch):
    change(folder, reward={"evaluations": 0})
    runs = without_training(monkeypatch, stages.train_reward)
    stages.train_reward.main("standard")
    assert runs[0].trainer.eval_dataset is None
    assert [list(each) for each in runs[0].datasets] == [list(reward_rows(encoded("train")))]
    assert read_json("metrics/train_reward/standard.json")["train_pairs_flipped"] == 0


@pytest.mark.parametrize(("name", "saved"), [("noise_robust", ["score"]), ("product_of_experts", ["score", "bias_only"])])
def test_a_variant_with_lora(folder, monkeypatch, name, saved):
    change(folder, reward=LORA | {"variants": ["standard", name]})
    runs = without_training(monkeypatch, stages.train_reward)
    stages.train_reward.main(name)
    [run] = runs
    adapter = run.trainer.model.peft_config["default"]
    assert (adapter.r, adapter.lora_alpha, adapter.task_type) == (6, 12, "SEQ_CLS")
    assert set(adapter.modules_to_save) - {"classifier"} == set(saved)  # PEFT's own addition
    assert all(".layers.1." in module for module in run.trainer.model.base_model.targeted_module_names)
    assert run.code == code_of("variants", name) != code_of("variants", "standard")
    assert run.trainer.pair_loss is not None and run.models[0].model.embed_tokens.weight.dtype == compute_dtype()
    train = encoded("train")
    if name == "product_of_experts":
        fitted = BiasOnly([len(ids) for pair in train for ids in (pair.chosen_ids, pair.rejected_ids)])
        expert = run.trainer.model.bias_only.modules_to_save["default"]
        assert (expert.centre, expert.scale) == pytest.approx((fitted.centre, fitted.scale))


def test_the_length_margin_is_that_of_training_alone(folder, monkeypatch):
    change(folder, reward={"variants": ["standard", "length_margin"]})
    runs = without_training(monkeypatch, stages.train_reward)
    stages.train_reward.main("length_margin")
    rows = VARIANTS["length_margin"].rows(reward_rows(encoded("train")), load_params().reward.length_margin)
    assert list(runs[0].trainer.train_dataset) == list(rows) and "margin" in rows[0]
    assert "margin" not in runs[0].trainer.eval_dataset.column_names


def test_what_the_bias_only_expert_sees_and_gives(monkeypatch):
    monkeypatch.setattr(stages.train_reward, "device", lambda: torch.device("cpu"))
    pairs = [TokenPair([1, 2], [3] * 4, [5], False), TokenPair([1], [3] * 2, [5] * 7, False)]
    assert bias_only_rows(lambda tokens: 10 * tokens, TokenPairs.of(pairs)) == [
        {"chosen_tokens": 4, "rejected_tokens": 1, "chosen_reward": 40.0, "rejected_reward": 10.0},
        {"chosen_tokens": 2, "rejected_tokens": 7, "chosen_reward": 20.0, "rejected_reward": 70.0},
    ]


def test_members_differ_by_seed_and_are_centred_on_training_pairs(folder, monkeypatch):
    change_top(folder, seed=5)
    change(folder, reward={"variants": ["standard", "ensemble"], "ensemble": {"members": 3}, "flipped": 0.25})
    trained, asked = [], []

    def train_one(params, variant, name, seed, tokenizer, pairs, start, places):
        trained.append((name, seed))
        assert start.head == pytest.approx(probe(0.25, params.seed)[0])
        number = len(trained)
        return (
            {"train_pairs": 40, "trained_parameters": 100 * number, "steps": 10**number},
            {"untrained": [{"chosen_reward": float(number)}]},
        )

    def scores(model, pairs, **limits):
        asked.append((model, list(pairs)))
        return [(len(asked) + 1.0, len(asked) + 2.0), (len(asked) + 6.0, len(asked) + 11.0)]

    monkeypatch.setattr(stages.train_reward, "train_one", train_one)
    monkeypatch.setattr(stages.train_reward, "load_reward", lambda base, where: (base, str(where)))
    monkeypatch.setattr(stages.train_reward, "use_kept", lambda model, kept: None)
    monkeypatch.setattr(stages.train_reward, "pack_rows", lambda model: None)
    monkeypatch.setattr(stages.train_reward, "pair_rewards", scores)
    monkeypatch.setattr(stages.train_reward, "CENTRING", 7)
    stages.train_reward.main("ensemble")
    names = ["member_1", "member_2", "member_3"]
    assert trained == [(f"ensemble/{name}", 6000 + number) for number, name in enumerate(names)]
    some = swapped(encoded("train"), 0.25, 5)[:7]
    assert asked == [(("models/base", f"models/reward/ensemble/{name}"), some) for name in names]
    assert read_json("models/reward/ensemble/members.json") == [
        {"folder": name, "mean_reward": 6.0 + number} for number, name in enumerate(names)
    ]
    told = read_json("metrics/train_reward/ensemble.json")
    assert (told["train_pairs"], told["trained_parameters"], told["steps"], told["train_pairs_flipped"]) == (40, 600, 1110, 10)
    assert [told["members"][name]["steps"] for name in names] == [10, 100, 1000]
    rows = read_json("data/scores/training/ensemble.json")["members"]
    assert [rows[name]["untrained"][0]["chosen_reward"] for name in names] == [1.0, 2.0, 3.0]
    monkeypatch.setattr(stages.train_reward, "pair_rewards", lambda *given, **limits: [(0.0, 0.0)])
    change_top(folder, seed=4_300_000)  # a thousand times as much is above what a seed can be
    stages.train_reward.main("ensemble")
    assert [seed for _, seed in trained[3:]] == [4_300_001_000 + number - 2**32 for number in range(3)]


def test_a_member_takes_its_variants_parameters_and_its_own_folder(folder, monkeypatch):
    change(folder, reward={"variants": ["standard", "ensemble"], "ensemble": {"members": 2}})
    runs = without_training(monkeypatch, stages.train_reward)
    stages.train_reward.main("ensemble")
    assert [run.trainer.args.seed for run in runs] == [run.seed for run in runs] == [2000, 2001]
    for number, run in enumerate(runs):
        places = [str(place) for place in (run.checkpoints, run.log, run.target)]
        assert places == [f"{top}/ensemble/member_{number + 1}" for top in (
            "checkpoints/train_reward", "plots/train_reward", "models/reward"
        )]  # fmt: skip
