import pandas as pd
import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file

from preference_study.errors import BadModel
from preference_study.models import language_models
from preference_study.models.language_models import (
    kept_by_merging,
    load_causal,
    load_reward,
    new_reward_model,
    pair_logps,
    pair_rewards,
    rewards,
    token_logps,
)
from preference_study.models.tokens import encode_pairs
from tests.conftest import asked

LIMITS = {"max_batch": 3, "max_padded": 200, "description": "t"}
PAIRS = pd.DataFrame(
    {
        "prompt": [asked("Hi"), asked("A longer question, is it not?"), asked("x")],
        "chosen": ["yes", "a long response that goes on and on", "z"],
        "rejected": ["no no no", "short", "a long response that goes on and on"],
    }
)


def test_batched_rewards_are_those_of_one_at_a_time(model_folder, tokenizer):
    model = new_reward_model(model_folder, seed=1, dtype=torch.float32).eval()
    pairs = encode_pairs(tokenizer, PAIRS, 100)
    batched = pair_rewards(model, pairs, **LIMITS)
    for (chosen, rejected), pair in zip(batched, pairs, strict=True):
        for score, ids in ((chosen, pair.chosen_ids), (rejected, pair.rejected_ids)):
            tokens = torch.tensor([pair.prompt_ids + ids])
            # The reward is the head's reading of the last token, the end of the turn.
            hidden = model.model(input_ids=tokens).last_hidden_state[0, -1]
            assert score == pytest.approx((model.score.weight @ hidden).item(), abs=1e-5)


def test_batched_log_probabilities_are_those_of_one_at_a_time(model_folder, tokenizer):
    model = load_causal(model_folder, dtype=torch.float32)
    pairs = encode_pairs(tokenizer, PAIRS, 100)
    for row, pair in zip(pair_logps(model, pairs, **LIMITS), pairs, strict=True):
        for logp, ids in ((row["chosen_logp"], pair.chosen_ids), (row["rejected_logp"], pair.rejected_ids)):
            logits = model(input_ids=torch.tensor([pair.prompt_ids + ids])).logits[0].log_softmax(-1)
            start = len(pair.prompt_ids)
            by_hand = sum(logits[start - 1 + i, token].item() for i, token in enumerate(ids))
            assert logp == pytest.approx(by_hand, abs=1e-3)
        assert (row["chosen_tokens"], row["rejected_tokens"]) == (len(pair.chosen_ids), len(pair.rejected_ids))


def test_each_tokens_log_probability_is_its_own(model_folder):
    model = load_causal(model_folder, dtype=torch.float32)
    prompts, responses = [[2, 9, 3], [2, 3], [2, 8, 7, 9, 9, 3], [2, 3]], [[20, 1], [21, 22, 23, 1], [24], [25, 1]]
    found = token_logps(model, prompts, responses, **LIMITS)
    for logps, prompt, response in zip(found, prompts, responses, strict=True):
        logits = model(input_ids=torch.tensor([prompt + response])).logits[0].log_softmax(-1)
        by_hand = [logits[len(prompt) - 1 + i, token].item() for i, token in enumerate(response)]
        assert logps.tolist() == pytest.approx(by_hand, abs=1e-4)


def test_rewards_in_bfloat16_do_not_tie(model_folder):
    model = new_reward_model(model_folder, seed=1).eval()
    scores = rewards(model, [[i % 200, 5, 7] for i in range(200)], **LIMITS)
    assert len(set(scores)) > 190


def test_a_reward_model_survives_its_file(model_folder, tokenizer, tmp_path):
    model = new_reward_model(model_folder, seed=1).eval()
    model.save_pretrained(tmp_path)
    pairs = encode_pairs(tokenizer, PAIRS, 100)
    # In float32 the last digit depends on where in memory the weights lie.
    wanted = [pytest.approx(rewards, rel=1e-6) for rewards in pair_rewards(model, pairs, **LIMITS)]
    assert pair_rewards(load_reward(model_folder, tmp_path), pairs, **LIMITS) == wanted


def test_a_reward_model_without_its_head_is_refused(model_folder, tmp_path):
    new_reward_model(model_folder, seed=1).save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    del weights["score.weight"]
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(BadModel, match="no reward head"):
        load_reward(model_folder, tmp_path)
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(BadModel, match="no safetensors"):
        load_reward(model_folder, tmp_path)


def test_pickled_weights_are_refused(model_folder, tmp_path):
    model = load_causal(model_folder)
    model.config.save_pretrained(tmp_path)
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(BadModel, match=r"no safetensors weights, only pytorch_model\.bin"):
        load_causal(tmp_path)


def test_the_head_is_drawn_from_the_seed(model_folder):
    one, same, other = (new_reward_model(model_folder, seed=s).score.weight for s in (1, 1, 2))
    assert torch.equal(one, same) and not torch.equal(one, other)


@pytest.mark.parametrize(
    ("kind", "able", "wanted"),
    [
        ("cpu", {"avx2": True, "avx512_f": True, "avx512_bf16": False, "amx_bf16": False}, torch.float32),
        ("cpu", {"avx512_bf16": True, "amx_bf16": False}, torch.bfloat16),
        ("cpu", {"avx512_bf16": False, "amx_bf16": True}, torch.bfloat16),
        ("cpu", {"neon": True, "bf16": True}, torch.bfloat16),
        ("cpu", {"neon": True, "bf16": False}, torch.float32),
        ("mps", {}, torch.bfloat16),
        ("cuda", {"native": True, "emulated": True}, torch.bfloat16),
        ("cuda", {"native": False, "emulated": True}, torch.float32),
    ],
)
def test_models_compute_in_bfloat16_where_the_machine_does_so_at_speed(monkeypatch, kind, able, wanted):
    monkeypatch.setattr(language_models, "device", lambda: torch.device(kind))
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: able)
    supported = lambda including_emulation=True: able["emulated" if including_emulation else "native"]  # noqa: E731
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", supported)
    assert language_models.compute_dtype() == wanted


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_models_are_loaded_in_what_the_machine_computes_in_or_as_asked(model_folder, tmp_path, monkeypatch, dtype):
    monkeypatch.setattr(language_models, "compute_dtype", lambda: dtype)
    new_reward_model(model_folder, seed=1).save_pretrained(tmp_path)
    base, new, trained = load_causal(model_folder), new_reward_model(model_folder, 1), load_reward(model_folder, tmp_path)
    assert {model.get_input_embeddings().weight.dtype for model in (base, new, trained)} == {dtype}
    assert {model.score.weight.dtype for model in (new, trained)} == {torch.float32}
    assert load_causal(model_folder, dtype=torch.float64).dtype == torch.float64


def adapter(model, folder, size: float, **kind) -> None:
    """A LoRA adapter of random weights, whose update is so many times as large as PEFT draws it."""
    torch.manual_seed(0)
    made = get_peft_model(model, LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False, **kind))
    with torch.no_grad():
        for name, weight in made.named_parameters():
            if "lora_B" in name:
                weight.mul_(size)
    made.save_pretrained(folder)


def moved(model, model_folder) -> float:
    """The share of its weights that are not base's."""
    own, base = (
        torch.cat([weight.flatten().float() for name, weight in one.named_parameters() if "proj" in name])
        for one in (model, load_causal(model_folder))
    )
    return (own != base).float().mean().item()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_where_merging_rounds_away_what_an_adapter_learned_that_is_said(model_folder, tmp_path, monkeypatch, capsys, dtype):
    """A reward model is in float32 then; a policy in the precision of the base that it is held against."""
    monkeypatch.setattr(language_models, "compute_dtype", lambda: dtype)
    for size in (1.0, 1e-5):
        adapter(load_causal(model_folder), tmp_path / "policy", size, task_type="CAUSAL_LM")
        adapter(new_reward_model(model_folder, 1), tmp_path / "reward", size, task_type="SEQ_CLS", modules_to_save=["score"])
        lost = size < 1 and dtype == torch.bfloat16
        policy, said = load_causal(model_folder, tmp_path / "policy"), capsys.readouterr().out
        assert said.startswith(f"{tmp_path / 'policy'}: merged into bfloat16 weights, ") == lost == ("train it longer" in said)
        assert policy.dtype == dtype and (moved(policy, model_folder) < 0.1) == lost and bool(said) == lost
        reward, said = load_reward(model_folder, tmp_path / "reward"), capsys.readouterr().out
        assert said.startswith(f"{tmp_path / 'reward'}: merged into bfloat16 weights, ") == lost == ("in float32" in said)
        assert reward.model.dtype == (torch.float32 if lost else dtype) and moved(reward, model_folder) > 0.9
        assert not isinstance(policy, PeftModel) and not isinstance(reward, PeftModel)


def test_what_merging_keeps_of_an_adapter():
    class Model(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Linear(2, 1, bias=False)
            self.layer.weight.data = torch.ones(1, 2)

    def kept(dtype: torch.dtype, update: tuple[float, float]) -> float:
        model = get_peft_model(Model().to(dtype), LoraConfig(r=1, lora_alpha=2, target_modules=["layer"]))
        layer = model.base_model.model.layer
        layer.lora_A["default"].weight.data = torch.tensor([update]) / 2
        layer.lora_B["default"].weight.data = torch.ones(1, 1)
        return kept_by_merging(model)

    # Above 1, a number in bfloat16 goes on in steps of 1/128: 1.003 is 1, and 1.006 is 1 + 1/128.
    assert kept(torch.bfloat16, (0.003, 0.003)) == 0
    assert kept(torch.bfloat16, (0.003, 0.006)) == pytest.approx(0.006 / 128 / (0.003**2 + 0.006**2), rel=1e-5)
    assert kept(torch.float32, (0.003, 0.006)) == pytest.approx(1, abs=1e-4)
    assert kept(torch.bfloat16, (0.0, 0.0)) == 1
