"""Tiny random models of many architectures go the whole way: prepared, trained with LoRA, merged, loaded, scored, sampled."""

from pathlib import Path

import pandas as pd
import pytest
import torch
from datasets import Dataset
from peft import PeftModel, get_peft_model
from peft.tuners.lora import LoraLayer
from transformers import AutoModelForCausalLM, Gemma3Config, MixtralConfig
from trl import DPOConfig, RewardConfig

import stages.prepare_model
from preference_study.errors import BadModel
from preference_study.models.generation import respond
from preference_study.models.language_models import (
    load_causal,
    load_reward,
    load_tokenizer,
    new_reward_model,
    pair_logps,
    pair_rewards,
)
from preference_study.models.tokens import encode_pairs, prompt_text
from preference_study.params import load_params
from preference_study.training.reward_trainer import Collator, RewardPairTrainer, reward_rows
from preference_study.training.run import arguments, lora
from preference_study.training.trainers import DPO, eos_token_ids, pair_rows
from tests.conftest import asked
from tests.corpus.files import THREE
from tests.models.architectures import ARCHITECTURES, Architecture, write_architecture
from tests.workspace import change, tiny_params

PAIRS = pd.DataFrame(
    {
        "prompt": [asked("Hi"), THREE, asked("A longer one")],
        "chosen": ["yes", "a pear", "so"],
        "rejected": ["no no", "x", "and so on"],
    }
)
LIMITS = {"max_batch": 4, "max_padded": 512, "description": "t"}


@pytest.fixture(params=ARCHITECTURES)
def architecture(request, tmp_path, monkeypatch) -> Architecture:
    """A study whose model is prepared from a folder of that architecture."""
    tiny_params(tmp_path)
    monkeypatch.chdir(tmp_path)
    write_architecture(request.param, tmp_path / "made")
    change(tmp_path, model={"name": "made", "watched": "made"})
    stages.prepare_model.main()
    return ARCHITECTURES[request.param]


def adapted(model: PeftModel) -> list[str]:
    """The linear maps that LoRA changes, by their names in the model."""
    return [name.removeprefix("base_model.model.") for name, module in model.named_modules() if isinstance(module, LoraLayer)]


def test_an_architecture_goes_the_whole_way(architecture):
    tokenizer, section = load_tokenizer("models/base"), load_params().reward
    assert tokenizer.eos_token == architecture.ends[0]
    # Padding is another token, where there is one.
    assert (tokenizer.pad_token == tokenizer.eos_token) == (len(tokenizer.added_tokens_decoder) == 1)
    encoded = encode_pairs(tokenizer, PAIRS, 200)
    for pair in encoded:  # each response ends its turn once, with the end of the template's own
        assert all(ids.count(tokenizer.eos_token_id) == 1 for ids in (pair.chosen_ids, pair.rejected_ids))
        assert pair.chosen_ids[-1] == pair.rejected_ids[-1] == tokenizer.eos_token_id
    common = arguments(section, 1e-2, 1, "checkpoints") | {"max_steps": 2, "save_strategy": "no", "eval_strategy": "no"}

    base = new_reward_model("models/base", 1)
    untrained = pair_rewards(base.eval(), encoded, **LIMITS)
    trainer = RewardPairTrainer(
        model=base, args=RewardConfig(**common, max_length=None), data_collator=Collator(tokenizer.pad_token_id),
        train_dataset=reward_rows(encoded), processing_class=tokenizer,
        peft_config=lora(base, 4, 1, task_type="SEQ_CLS", modules_to_save=["score"]),
    )  # fmt: skip
    names = adapted(trainer.model)
    assert len(names) == architecture.linear and all(".1." in name for name in names)  # every map of the top layer, and no other
    trainer.train()
    trainer.model.save_pretrained("models/reward")
    trained = pair_rewards(trainer.model.eval(), encoded, **LIMITS)
    loaded = pair_rewards(load_reward("models/base", "models/reward"), encoded, **LIMITS)
    assert [r for row in loaded for r in row] == pytest.approx([r for row in trained for r in row], abs=0.1)
    assert trained != untrained

    model = load_causal("models/base")
    reference = pair_logps(model, encoded, **LIMITS)
    rows = [
        row | {f"ref_{side}_logps": logps[f"{side}_logp"] for side in ("chosen", "rejected")}
        for row, logps in zip(pair_rows(encoded, load_params().policy, 1), reference, strict=True)
    ]
    trainer = DPO(
        model=model, args=DPOConfig(**common, max_length=None, precompute_ref_log_probs=True),
        train_dataset=Dataset.from_list(rows), processing_class=tokenizer,
        peft_config=lora(model, 4, None, task_type="CAUSAL_LM"),
    )  # fmt: skip
    assert len(adapted(trainer.model)) == 2 * architecture.linear
    trainer.train()
    trainer.model.save_pretrained("models/policy")
    policy = load_causal("models/base", "models/policy")
    assert pair_logps(policy, encoded, **LIMITS) != reference
    for [response] in respond(policy, tokenizer, list(PAIRS["prompt"]), max_new_tokens=5, batch_size=3):
        assert response.tokens <= 5


def test_a_merged_adapter_is_the_adapter(architecture):
    """In float32, with LoRA's second matrix drawn at random, so that a map merged the wrong way round would be seen."""
    model = load_causal("models/base", dtype=torch.float32)
    ids = torch.tensor([encode_pairs(load_tokenizer("models/base"), PAIRS[:1], 200)[0].prompt_ids])
    before = model(input_ids=ids).logits
    apart = get_peft_model(model, lora(model, 4, None, task_type="CAUSAL_LM"))
    torch.manual_seed(1)
    with torch.no_grad():
        for name, weight in apart.named_parameters():
            if "lora_B" in name:
                weight.normal_(std=0.1)
    apart.save_pretrained("models/policy")
    merged = load_causal("models/base", "models/policy", dtype=torch.float32)
    wanted, found = (made(input_ids=ids).logits for made in (apart.eval(), merged))
    assert torch.allclose(found, wanted, atol=1e-3) and not torch.allclose(found, before, atol=1e-1)


@pytest.mark.parametrize("number", [0, 1])
def test_each_token_that_ends_a_response_ends_it(architecture, number):
    if number == len(architecture.ends):
        pytest.skip("it has one")
    model, tokenizer = load_causal("models/base"), load_tokenizer("models/base")
    named = model.generation_config.eos_token_id
    named = named if isinstance(named, list) else [named]
    assert tuple(tokenizer.convert_ids_to_tokens(named)) == architecture.ends
    assert tuple(tokenizer.convert_ids_to_tokens(eos_token_ids(model, tokenizer.eos_token_id))) == architecture.ends
    head = model.get_output_embeddings()
    head.register_forward_hook(lambda head, inputs, logits: logits.index_fill(-1, torch.tensor(named[number]), 99.0))
    [[response]] = respond(model, tokenizer, [asked("Hi")], max_new_tokens=5, batch_size=1)
    assert response.finished and response.tokens == 0 and response.text == ""


def test_system_turns_are_taken_by_the_templates_that_have_them(architecture, tmp_path):
    change(tmp_path, model={"system_prompt": "Be brief."})
    if architecture.system:
        stages.prepare_model.main()
        assert prompt_text(load_tokenizer("models/base"), asked("Hi")).count("Be brief.") == 1
    else:
        with pytest.raises(BadModel, match=r"takes no system turn .*set model\.system_prompt to null"):
            stages.prepare_model.main()


def prepared_text(folder: Path, name: str, **settings) -> str:
    """The prompt "Hi", as a model of this architecture has it with these settings."""
    tiny_params(folder)
    write_architecture(name, folder / "made")
    change(folder, model={"name": "made", "watched": "made"} | settings)
    stages.prepare_model.main()
    return prompt_text(load_tokenizer("models/base"), asked("Hi"))


def test_a_template_that_writes_the_date_writes_the_parameters(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = prepared_text(tmp_path, "llama", date="2025-03-09")
    assert "Today Date: 09 Mar 2025\n" in text


@pytest.mark.parametrize(
    ("arguments", "thinks"), [({}, True), ({"enable_thinking": True}, True), ({"enable_thinking": False}, False)]
)
def test_a_thinking_switch_is_the_parameters(tmp_path, monkeypatch, arguments, thinks):
    monkeypatch.chdir(tmp_path)
    text = prepared_text(tmp_path, "qwen3", template_arguments=arguments)
    assert text.endswith("<|im_start|>assistant\n" if thinks else "<|im_start|>assistant\n<think>\n\n</think>\n\n")


def test_lora_leaves_the_layers_that_see_pictures(tmp_path):
    """Gemma 3 has a tower for pictures, of as many layers as the decoder and with maps of the same names."""
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    text = sizes | {"vocab_size": 99, "num_key_value_heads": 2, "head_dim": 8, "pad_token_id": 0}
    config = Gemma3Config(text_config=text, vision_config=sizes | {"image_size": 32, "patch_size": 16}, mm_tokens_per_image=1)
    model = AutoModelForCausalLM.from_config(config)
    names = adapted(get_peft_model(model, lora(model, 4, 1, task_type="CAUSAL_LM")))
    assert len(names) == 7 and all(".language_model.layers.1." in name for name in names)


def test_lora_of_a_mixture_of_experts_keeps_to_the_top_layers():
    config = MixtralConfig(
        vocab_size=99, hidden_size=32, intermediate_size=64, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2,
        num_local_experts=2,
    )  # fmt: skip
    model = AutoModelForCausalLM.from_config(config)
    names = adapted(get_peft_model(model, lora(model, 4, 2, task_type="CAUSAL_LM")))
    assert names and {name.split(".layers.")[1].split(".")[0] for name in names} == {"1", "2"}
