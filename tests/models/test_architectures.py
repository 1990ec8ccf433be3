"""Tiny random models of many architectures go the whole way: prepared, trained with LoRA, merged, loaded, scored, sampled."""

import pandas as pd
import pytest
import torch
from datasets import Dataset
from transformers import (
    AutoModelForCausalLM,
    BloomConfig,
    FalconConfig,
    Gemma2Config,
    GPT2Config,
    GPTNeoXConfig,
    LlamaConfig,
    MistralConfig,
    OPTConfig,
    Phi3Config,
    PretrainedConfig,
    Qwen2Config,
)
from trl import DPOConfig, RewardConfig

import stages.prepare_model
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
from preference_study.training.trainers import DPO, pair_rows
from tests.conftest import asked
from tests.corpus.files import THREE
from tests.tiny import SPECIAL, TEMPLATE, tiny_model
from tests.workspace import change, tiny_params

WIDE = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
LIKE_LLAMA = WIDE | {"intermediate_size": 64, "num_key_value_heads": 2, "max_position_embeddings": 128}
CONFIGS = {
    "llama": (LlamaConfig, LIKE_LLAMA),
    "mistral": (MistralConfig, LIKE_LLAMA),
    "qwen2": (Qwen2Config, LIKE_LLAMA),
    "gemma2": (Gemma2Config, LIKE_LLAMA | {"head_dim": 8}),
    "phi3": (Phi3Config, LIKE_LLAMA),
    "gpt2": (GPT2Config, {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 128}),
    "bloom": (BloomConfig, {"hidden_size": 32, "n_layer": 2, "n_head": 4}),
    "falcon": (FalconConfig, WIDE | {"max_position_embeddings": 128}),
    "opt": (OPTConfig, WIDE | {"ffn_dim": 64, "max_position_embeddings": 128, "word_embed_proj_dim": 32}),
    "gpt_neox": (GPTNeoXConfig, WIDE | {"intermediate_size": 64, "max_position_embeddings": 128}),
}
# Templates end a turn with a token of their own in Gemma and Phi 3, whose EOS ends a document.
ENDS = {"gemma2": SPECIAL[2], "phi3": SPECIAL[3]}
PAIRS = pd.DataFrame(
    {
        "prompt": [asked("Hi"), THREE, asked("A longer one")],
        "chosen": ["yes", "a pear", "so"],
        "rejected": ["no no", "x", "and so on"],
    }
)
LIMITS = {"max_batch": 4, "max_padded": 512, "description": "t"}


def settings(kind: type[PretrainedConfig], sizes: dict, vocabulary: int) -> PretrainedConfig:
    return kind(vocab_size=vocabulary, pad_token_id=0, eos_token_id=1, bos_token_id=1, **sizes)


@pytest.fixture(params=CONFIGS)
def architecture(request, tmp_path, monkeypatch) -> str:
    """A study in whose model folder a model of that architecture lies."""
    tiny_params(tmp_path)
    monkeypatch.chdir(tmp_path)
    tiny_model(tmp_path / "made")
    tokenizer = load_tokenizer("made")
    if request.param in ENDS:
        (tmp_path / "made/chat_template.jinja").write_text(TEMPLATE.replace("<|end|>", ENDS[request.param]))
    torch.manual_seed(1)
    model = AutoModelForCausalLM.from_config(settings(*CONFIGS[request.param], len(tokenizer) + 12), dtype=torch.float32)
    (tmp_path / "made/model.safetensors").unlink()
    model.save_pretrained("made")
    change(tmp_path, model={"name": "made", "watched": "made"})
    return request.param


def test_an_architecture_goes_the_whole_way(architecture):
    stages.prepare_model.main()
    tokenizer, section = load_tokenizer("models/base"), load_params().reward
    end = ENDS.get(architecture, "<|end|>")
    assert tokenizer.eos_token == end and prompt_text(tokenizer, asked("Hi")) == f"<|user|>Hi{end}<|assistant|>"
    encoded = encode_pairs(tokenizer, PAIRS, 96)
    assert all(ids[-1] == tokenizer.eos_token_id for pair in encoded for ids in (pair.chosen_ids, pair.rejected_ids))
    common = arguments(section, 1e-2, 1, "checkpoints") | {"max_steps": 2, "save_strategy": "no", "eval_strategy": "no"}

    base = new_reward_model("models/base", 1)
    untrained = pair_rewards(base.eval(), encoded, **LIMITS)
    trainer = RewardPairTrainer(
        model=base, args=RewardConfig(**common, max_length=None), data_collator=Collator(tokenizer.pad_token_id),
        train_dataset=Dataset.from_list(reward_rows(encoded)), processing_class=tokenizer,
        peft_config=lora(base, 4, 1, task_type="SEQ_CLS", modules_to_save=["score"]),
    )  # fmt: skip
    adapted = {name for name, _ in trainer.model.named_parameters() if "lora_A" in name}
    assert adapted and not any(".0." in name.split("lora_A")[0].split("base_model")[1] for name in adapted)  # the top layer alone
    assert not any(part in name for name in adapted for part in ("score", "lm_head", "embed", "wte"))
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
        peft_config=lora(model, 4, 1, task_type="CAUSAL_LM"),
    )  # fmt: skip
    trainer.train()
    trainer.model.save_pretrained("models/policy")
    policy = load_causal("models/base", "models/policy")
    assert pair_logps(policy, encoded, **LIMITS) != reference
    [[one], [other], _] = respond(policy, tokenizer, list(PAIRS["prompt"]), max_new_tokens=5, batch_size=3)
    assert one.tokens <= 5 and other.tokens <= 5
