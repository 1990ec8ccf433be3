import math
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from datasets import Dataset
from safetensors.torch import load_file
from trl import RewardConfig

import stages.judge_for
import stages.train_reward
from preference_study.artifacts import read_json, read_table
from preference_study.errors import BadModel
from preference_study.models.language_models import load_reward, load_tokenizer, new_reward_model, pair_rewards
from preference_study.models.reward_models import load_judge
from preference_study.models.tokens import TokenPair, encode_pairs
from preference_study.params import Reward
from preference_study.training.reward_trainer import BiasOnly, Collator, RewardPairTrainer, flipped, reward_rows, reward_trainer
from preference_study.variants import VARIANTS
from preference_study.variants.ensemble import EnsembleSection
from preference_study.variants.length_margin import LengthMarginSection, length_coefficient, with_length_margin
from preference_study.variants.noise_robust import NoiseRobustSection
from preference_study.variants.product_of_experts import ProductOfExpertsSection
from tests.workspace import alternative_params, change

PAIRS = [
    TokenPair([2, 10, 11, 1, 3], [20, 21, 1], [30, 1], False),
    TokenPair([2, 12, 1, 3], [22, 1], [31, 32, 33, 1], False),
]
LIMITS = {"max_batch": 2, "max_padded": 99, "description": "t"}


@pytest.mark.parametrize(("share", "turned"), [(0.0, 0), (0.09, 1), (0.24, 2), (0.26, 3), (0.49, 5)])
def test_a_share_of_the_labels_is_flipped(share, turned):
    some = flipped(10, share, seed=4)
    assert some.shape == (10,) and some.sum() == turned and (some == flipped(10, share, seed=4)).all()
    assert (flipped(50, 0.2, seed=1) != flipped(50, 0.2, seed=2)).any()


def test_pairs_as_rows_of_the_reward_trainer():
    [row] = reward_rows([TokenPair([1, 2, 3], [4, 5], [6, 7, 8, 9], truncated=True)])
    assert row == {
        "prompt_ids": [1, 2, 3],
        "chosen_ids": [4, 5],
        "rejected_ids": [6, 7, 8, 9],
        "chosen_tokens": 2,
        "rejected_tokens": 4,
        "length": 7,
    }
    assert reward_rows([TokenPair([1], [2, 3, 4], [5], truncated=True)])[0]["length"] == 4


def test_the_bias_only_expert_sees_lengths_standardised_by_those_of_training():
    tokens = [3, 7, 15, 31]  # log1p: 2, 3, 4 and 5 times log 2
    expert = BiasOnly(tokens)
    assert expert.centre == pytest.approx(3.5 * math.log(2))
    assert expert.scale == pytest.approx(math.sqrt(1.25) * math.log(2))
    asked = torch.tensor([63.0, 1.0, 0.0])
    by_hand = torch.tensor([[(power - 3.5) / math.sqrt(1.25)] for power in (6, 1, 0)])
    assert torch.allclose(expert(asked), expert.network(by_hand)[:, 0], atol=1e-5)
    assert expert(asked).shape == (3,)
    alike = BiasOnly([9, 9])
    assert (alike.centre, alike.scale) == (pytest.approx(math.log(10)), 1.0)


def test_chosen_and_rejected_and_their_lengths_are_not_mixed_up(model_folder, tokenizer, tmp_path):
    model = new_reward_model(model_folder, seed=1, dtype=torch.float32)
    pairs = [*PAIRS, TokenPair([2, 13, 3], [40, 41, 42, 43, 1], [44, 45, 46, 47, 48, 1], False)]
    wanted = pair_rewards(model.eval(), pairs, **LIMITS)
    trainer = trainer_of("standard", alternative_params("tiny").reward, model, tmp_path, tokenizer)
    batch = trainer.data_collator(list(reward_rows(pairs)))
    assert batch["response_tokens"].tolist() == [3, 2, 5, 2, 4, 6] and batch["response_tokens"].dtype == torch.float
    seen = []

    def pair_loss(model, rewards, tokens):
        seen.append((model, rewards.tolist(), tokens.tolist()))
        return rewards.sum() * 0 + 0.625

    trainer.pair_loss = pair_loss
    model.train()
    loss, outputs = trainer.compute_loss(model, dict(batch), return_outputs=True)
    assert loss.item() == 0.625 and outputs.logits.numel() == 6
    [(given, rewards, tokens)] = seen
    assert given is model and tokens == [[3, 2], [2, 4], [5, 6]]
    assert np.allclose(rewards, wanted, atol=1e-5) and np.ptp(np.array(wanted)) > 1e-3


@pytest.mark.parametrize("rate", [0.1, 0.35])
def test_the_flip_rate_is_the_parameters(rate):
    rewards = torch.tensor([[1.5, 0.25], [-1.0, 0.5]])
    right, wrong = (np.logaddexp(0, -sign * np.array([1.25, -1.5])) for sign in (1, -1))
    ways = {"conservative": (1 - rate) * right + rate * wrong, "unbiased": ((1 - rate) * right - rate * wrong) / (1 - 2 * rate)}
    for name, by_hand in ways.items():
        loss = VARIANTS["noise_robust"].pair_loss(NoiseRobustSection(loss=name, flip_rate=rate))
        assert loss(None, rewards, torch.full((2, 2), 9.0)).item() == pytest.approx(by_hand.mean(), abs=1e-5)


@pytest.mark.parametrize("weight", [0.5, 2.0])
def test_the_bias_weight_is_the_parameters(weight):
    rewards, tokens = torch.tensor([[1.5, 0.25], [-1.0, 0.5]]), torch.tensor([[4.0, 2.0], [1.0, 2.0]])
    expert = SimpleNamespace(bias_only=lambda tokens: tokens / 4)
    margin, bias = np.array([1.25, -1.5]), weight * np.array([0.5, -0.25])
    loss = VARIANTS["product_of_experts"].pair_loss(ProductOfExpertsSection(loss="likelihood", bias_weight=weight))
    by_hand = np.logaddexp(0, -margin - bias).mean() + np.logaddexp(0, -bias).mean()
    assert loss(expert, rewards, tokens).item() == pytest.approx(by_hand, abs=1e-5)


def test_what_each_variant_changes():
    reward = alternative_params("tiny").reward
    rows = reward_rows(PAIRS)
    changes = {
        name: (list(variant.rows(rows, reward.own(name))) != list(rows), variant.pair_loss is not None, variant.bias_only)
        for name, variant in VARIANTS.items()
    }
    assert changes == {
        "standard": (False, False, False),
        "ensemble": (False, False, False),
        "length_margin": (True, False, False),
        "noise_robust": (False, True, False),
        "product_of_experts": (False, True, True),
    }
    members = {name for name, variant in VARIANTS.items() if variant.members}
    assert members == {"ensemble"} and VARIANTS["ensemble"].members(EnsembleSection(members=4)) == 4


@pytest.mark.parametrize("weight", [0.5, 3.0])
def test_the_margin_is_as_heavy_as_its_weight(weight):
    rows = [{"chosen_tokens": 1, "rejected_tokens": 3}] * 3 + [{"chosen_tokens": 7, "rejected_tokens": 3}]
    made = with_length_margin(Dataset.from_list(rows), LengthMarginSection(weight=weight))
    # The shorter one of a pair is chosen three times of four: its odds are 3 for a difference of log 2, so b = -log 3 / log 2.
    assert [row["margin"] for row in made] == pytest.approx([weight * -math.log(3)] * 3 + [weight * math.log(3)], abs=1e-3)
    assert [{key: row[key] for key in rows[0]} for row in made] == rows


def test_the_length_term_is_fitted():
    rng = np.random.default_rng(1)
    difference = rng.normal(size=4000)
    # Chosen with odds exp(1.5 difference): where the other one was, the difference has the other sign.
    signed = np.where(rng.random(4000) < 1 / (1 + np.exp(-1.5 * difference)), difference, -difference)
    assert length_coefficient(signed) == pytest.approx(1.5, abs=0.12)
    assert length_coefficient([0.0, 0.0]) == 0.0


def test_the_margin_is_the_length_term_taken_off():
    made = with_length_margin(reward_rows(PAIRS * 3 + PAIRS[:1] * 3), LengthMarginSection(weight=2.0))
    b = length_coefficient([math.log1p(row["chosen_tokens"]) - math.log1p(row["rejected_tokens"]) for row in made])
    assert b > 0  # the longer is chosen in six of nine
    assert made[0]["margin"] == pytest.approx(-2 * b * (math.log(4) - math.log(3)))
    assert made[1]["margin"] > 0  # the shorter was chosen: it must win by more, to make up for its length


def trainer_of(variant: str, section: Reward, model, folder: Path, tokenizer) -> RewardPairTrainer:
    loss = VARIANTS[variant].pair_loss
    settings = {"output_dir": str(folder), "use_cpu": True, "bf16": False, "report_to": "none", "remove_unused_columns": False}
    return RewardPairTrainer(
        model=model,
        args=RewardConfig(**settings, max_length=None),
        data_collator=Collator(tokenizer.pad_token_id),
        train_dataset=VARIANTS[variant].rows(reward_rows(PAIRS), section.own(variant)),
        processing_class=tokenizer,
        pair_loss=loss(section.own(variant)) if loss else None,
    )


@pytest.mark.parametrize(
    ("variant", "loss"),
    [
        ("standard", None),
        ("length_margin", None),
        ("noise_robust", "conservative"),
        ("noise_robust", "unbiased"),
        ("product_of_experts", "likelihood"),
        ("product_of_experts", "difference"),
    ],
)
def test_a_variants_loss_in_training_and_in_validation(variant, loss, model_folder, tokenizer, tmp_path):
    model = new_reward_model(model_folder, seed=1, dtype=torch.float32)
    with torch.no_grad():
        model.score.weight.mul_(30)  # margins far from zero
    margins = np.array([c - r for c, r in pair_rewards(model.eval(), PAIRS, **LIMITS)])
    section = alternative_params("tiny").reward
    if loss:
        section = section.model_copy(update={variant: getattr(section, variant).model_copy(update={"loss": loss})})
    made = VARIANTS[variant].rows(reward_rows(PAIRS), section.own(variant))
    if variant == "product_of_experts":
        model.bias_only = BiasOnly([3, 2, 2, 4])
        with torch.no_grad():
            chosen, rejected = (model.bias_only(torch.tensor(side)) for side in ([3.0, 2.0], [2.0, 4.0]))
        bias = section.product_of_experts.bias_weight * (chosen - rejected).numpy()
        shifted, alone = margins + bias, np.logaddexp(0, -bias).mean()
    else:
        shifted, alone = margins - np.array([row.get("margin", 0.0) for row in made]), 0.0
    plain = np.logaddexp(0, -margins).mean()
    by_hand = np.logaddexp(0, -shifted).mean() + alone
    if loss == "difference":  # of the shares s and 1 - s, s being the sigmoid of both margins' sum
        by_hand = np.logaddexp(0, 1 - 2 / (1 + np.exp(-shifted))).mean() + alone
    if variant == "noise_robust":
        right, wrong = np.logaddexp(0, -margins), np.logaddexp(0, margins)
        by_hand = {"conservative": 0.8 * right + 0.2 * wrong, "unbiased": (0.8 * right - 0.2 * wrong) / 0.6}[loss].mean()
    trainer = trainer_of(variant, section, model, tmp_path, tokenizer)
    model.train()
    assert trainer.compute_loss(model, trainer.data_collator(list(made))).item() == pytest.approx(by_hand, abs=1e-4)
    assert (abs(by_hand - plain) > 1e-3) == (variant != "standard")
    model.eval()
    assert trainer.compute_loss(model, trainer.data_collator(list(reward_rows(PAIRS)))).item() == pytest.approx(plain, abs=1e-4)


@pytest.mark.parametrize("variant", ["standard", "product_of_experts"])
def test_what_is_trained_are_the_top_layers_the_head_and_the_expert(variant, model_folder, tokenizer, tmp_path):
    section = alternative_params("tiny").reward.model_copy(update={"lora_rank": 4, "lora_layers": 1, "evaluations": 0})
    model = new_reward_model(model_folder, seed=1, dtype=torch.float32)
    if variant == "product_of_experts":
        model.bias_only = BiasOnly([3, 2, 2, 4])
    rows = reward_rows(PAIRS)
    trainer = reward_trainer(model, tokenizer, rows, None, section, variant, VARIANTS[variant], 1, tmp_path)
    trained = [name for name, weight in trainer.model.named_parameters() if weight.requires_grad]
    assert {("lora" in name and ".layers.1." in name) or ".score." in name or ".bias_only." in name for name in trained} == {True}
    assert any(".layers.1." in name for name in trained) and any(".score." in name for name in trained)
    assert any(".bias_only." in name for name in trained) == (variant == "product_of_experts")
    # What is too long was shortened before, and the expert works beside the model's forward pass.
    assert trainer.args.max_length is None and trainer.args.ddp_find_unused_parameters is False


def test_the_bias_only_expert_is_not_moved_by_the_product(model_folder):
    """Whatever the main expert says, the bias-only one learns which length wins."""
    model = new_reward_model(model_folder, seed=1, dtype=torch.float32)
    model.bias_only = BiasOnly([3, 2, 2, 4])
    pair_loss = VARIANTS["product_of_experts"].pair_loss(alternative_params("tiny").reward.product_of_experts)
    gradients = []
    for margin in (-9.0, 9.0):
        rewards = torch.tensor([[margin, 0.0]], requires_grad=True)
        model.bias_only.zero_grad()
        pair_loss(model, rewards, torch.tensor([[4.0, 2.0]])).backward()
        gradients.append(model.bias_only.network[2].weight.grad.clone())
        assert rewards.grad.abs().sum() > 0
    assert torch.equal(*gradients) and gradients[0].abs().sum() > 0


@pytest.mark.parametrize("rank", [0, 4])
def test_both_experts_learn_and_only_the_main_one_scores(folder, rank, monkeypatch):
    change(folder, reward={"lora_rank": rank, "variants": ["standard", "product_of_experts"]})
    weights = []

    class Seen(BiasOnly):
        def __init__(self, tokens):
            super().__init__(tokens)
            weights.append(self.network[0].weight.detach().clone())

    numbers = stages.train_reward.bias_only_rows
    monkeypatch.setattr(stages.train_reward, "BiasOnly", Seen)
    monkeypatch.setattr(
        stages.train_reward,
        "bias_only_rows",
        lambda expert, *more: weights.append(expert.network[0].weight.detach().clone()) or numbers(expert, *more),
    )
    stages.train_reward.main("product_of_experts")
    before, after = weights
    assert (before != after).any()
    trained = folder / "models/reward/product_of_experts"
    names = [name for file in trained.glob("*.safetensors") for name in load_file(file)]
    assert any("score" in name for name in names) and not any("bias_only" in name for name in names)
    rows = read_json("data/scores/training/product_of_experts.json")["bias_only"]
    pairs = encode_pairs(load_tokenizer("models/base"), read_table("data/prepared/val.parquet"), 96)
    assert [(row["chosen_tokens"], row["rejected_tokens"]) for row in rows] == [
        (len(pair.chosen_ids), len(pair.rejected_ids)) for pair in pairs
    ]
    assert np.ptp(pair_rewards(load_judge("models/base", trained), pairs, **LIMITS)) > 0


def test_the_bias_only_expert_learns_which_length_wins():
    torch.manual_seed(1)
    expert = BiasOnly([3, 4, 20, 30])
    optimizer = torch.optim.AdamW(expert.parameters(), lr=1e-2)
    chosen, rejected = torch.tensor([30.0, 20.0, 25.0]), torch.tensor([3.0, 4.0, 5.0])
    for _ in range(50):
        loss = -torch.nn.functional.logsigmoid(expert(chosen) - expert(rejected)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert (expert(chosen) > expert(rejected)).all() and loss.item() < 0.4


@pytest.mark.parametrize("rank", [0, 4])
def test_an_ensemble_is_its_members_centred_and_summed_up(folder, rank):
    change(folder, reward={"lora_rank": rank, "variants": ["standard", "ensemble"], "judge": "ensemble"})
    stages.train_reward.main("ensemble")
    trained = folder / "models/reward/ensemble"
    pairs = encode_pairs(load_tokenizer("models/base"), read_table("data/prepared/val.parquet"), 96)[:2]
    kind = {"dtype": torch.float32}
    means = {member["folder"]: member["mean_reward"] for member in read_json(trained / "members.json")}
    assert list(means) == ["member_1", "member_2"]
    alone = [np.array(pair_rewards(load_reward("models/base", trained / m, **kind), pairs, **LIMITS)) - means[m] for m in means]
    assert np.abs(alone[0] - alone[1]).max() > 1e-3  # they differ
    ways = {"mean": np.mean(alone, axis=0), "worst": np.min(alone, axis=0)}
    for way, by_hand in ways.items():
        judge = load_judge("models/base", trained, {"by": way, "spread_weight": 1.0}, **kind)
        assert np.allclose(pair_rewards(judge, pairs, **LIMITS), by_hand, atol=1e-3)
    apart = np.array(pair_rewards(load_judge("models/base", trained, **kind), pairs, **LIMITS))
    assert np.allclose(apart, np.stack(alone, axis=-1), atol=1e-3)

    # As what RLOO trains against, it says itself how it is summed up.
    stages.judge_for.main("rloo")
    copied = load_judge("models/base", folder / "models/judge_for/rloo", **kind)
    assert np.allclose(pair_rewards(copied, pairs, **LIMITS), ways["worst"], atol=1e-3)

    for file in (trained / "member_2").glob("*.safetensors"):
        file.unlink()
    with pytest.raises(BadModel, match="member_2"):
        load_judge("models/base", trained)
