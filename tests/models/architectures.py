"""Tiny untrained models of many architectures, each with a chat template in the style of its kind."""

from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoConfig, AutoModelForCausalLM, GenerationConfig, PreTrainedTokenizerFast

CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>' + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
# Answers the question whether to think first, as Qwen3's.
THINKING = CHATML.replace(
    "assistant\n' }}{% endif",
    "assistant\n' }}{% if enable_thinking is defined and enable_thinking is false %}{{ '<think>\n\n</think>\n\n' }}{% endif %}"
    "{% endif",
)
# Writes today's date, where nobody gives one, into a system turn of its own.
LLAMA3 = (
    "{{- bos_token }}{% if not date_string is defined %}{% if strftime_now is defined %}"
    "{% set date_string = strftime_now('%d %b %Y') %}{% else %}{% set date_string = '26 Jul 2024' %}{% endif %}{% endif %}"
    "{% if messages[0]['role'] == 'system' %}{% set system_message = messages[0]['content'] | trim %}"
    "{% set messages = messages[1:] %}{% else %}{% set system_message = '' %}{% endif %}"
    "{{ '<|start|>system<|stop|>\n\nToday Date: ' + date_string + '\n\n' + system_message + '<|eot_id|>' }}"
    "{% for m in messages %}{{ '<|start|>' + m['role'] + '<|stop|>\n\n' + m['content'] | trim + '<|eot_id|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start|>assistant<|stop|>\n\n' }}{% endif %}"
)
GEMMA = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for m in messages %}{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}"
    "{% if m['role'] == 'assistant' %}{% set role = 'model' %}{% else %}{% set role = m['role'] %}{% endif %}"
    "{{ '<start_of_turn>' + role + '\n' + m['content'] | trim + '<end_of_turn>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)
# Ends a conversation that nobody goes on with by its EOS, which is not what ends a turn.
PHI3 = (
    "{% for m in messages %}{{ '<|' + m['role'] + '|>\n' + m['content'] + '<|end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% else %}{{ eos_token }}{% endif %}"
)
MISTRAL = (
    "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'user' %}{{ '[INST] ' + m['content'] + ' [/INST]' }}"
    "{% elif m['role'] == 'assistant' %}{{ ' ' + m['content'] | trim + eos_token }}"
    "{% else %}{{ raise_exception('Only user and assistant roles are supported!') }}{% endif %}{% endfor %}"
)
# Plain words, and nothing that ends a turn but the EOS.
PLAIN = (
    "{% for m in messages %}{{ '### ' + m['role'] | capitalize + ':\n' + m['content'] + '\n\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '### Assistant:\n' }}{% endif %}"
)
# No system turn, and no word about it.
SILENT = (
    "{% for m in messages %}{% if m['role'] == 'user' %}{{ 'User: ' + m['content'] + '\n' }}"
    "{% elif m['role'] == 'assistant' %}{{ 'Falcon: ' + m['content'] + eos_token + '\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'Falcon:' }}{% endif %}"
)
ZEPHYR = (
    "{% for m in messages %}{{ '<|' + m['role'] + '|>\n' + m['content'] + eos_token + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}"
)


@dataclass(frozen=True)
class Architecture:
    """How a tiny model is made, and what must be found in it.

    Attributes:
        kind: transformers' `model_type`.
        sizes: what its configuration needs to be tiny.
        template: its chat template.
        specials: of its tokenizer: bos, eos, pad and unk by name, and more as a list.
        ends: the tokens at which a response ends, first the one that the template writes.
        linear: how many linear maps a layer has.
        named: tokens that end a response by its generation_config.json; none where that is silent.
        system: whether the template takes a system turn.
    """

    kind: str
    sizes: dict
    template: str
    specials: dict
    ends: tuple[str, ...]
    linear: int
    named: tuple[str, ...] = ()
    system: bool = True


USUAL = {
    "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
    "max_position_embeddings": 512,
}  # fmt: skip
HEADS = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
IM = ["<|im_start|>", "<|im_end|>"]

ARCHITECTURES = {
    "llama": Architecture(
        "llama", USUAL, LLAMA3,
        {"bos": "<|begin|>", "eos": "<|eot_id|>", "more": ["<|start|>", "<|stop|>", "<|end_of_text|>", "<|reserved_0|>"]},
        ("<|eot_id|>", "<|end_of_text|>"), 7, named=("<|end_of_text|>", "<|eot_id|>"),
    ),
    "mistral": Architecture(
        "mistral", USUAL, MISTRAL, {"bos": "<s>", "eos": "</s>", "unk": "<unk>"}, ("</s>",), 7, system=False
    ),
    "qwen2": Architecture(
        "qwen2", USUAL, CHATML, {"eos": "<|im_end|>", "pad": "<|endoftext|>", "more": IM[:1]},
        ("<|im_end|>", "<|endoftext|>"), 7, named=("<|im_end|>", "<|endoftext|>"),
    ),
    "qwen3": Architecture(
        "qwen3", USUAL | {"head_dim": 8}, THINKING, {"eos": "<|im_end|>", "pad": "<|endoftext|>", "more": IM[:1]},
        ("<|im_end|>",), 7,
    ),
    "gemma2": Architecture(
        "gemma2", USUAL | {"head_dim": 8, "query_pre_attn_scalar": 8, "sliding_window": 64}, GEMMA,
        {"bos": "<bos>", "eos": "<eos>", "pad": "<pad>", "unk": "<unk>", "more": ["<start_of_turn>", "<end_of_turn>"]},
        ("<end_of_turn>", "<eos>"), 7, named=("<eos>",), system=False,
    ),
    "gemma3": Architecture(
        "gemma3_text", USUAL | {"head_dim": 8, "query_pre_attn_scalar": 8, "sliding_window": 64}, GEMMA,
        {"bos": "<bos>", "eos": "<eos>", "pad": "<pad>", "unk": "<unk>", "more": ["<start_of_turn>", "<end_of_turn>"]},
        ("<end_of_turn>", "<eos>"), 7, named=("<eos>", "<end_of_turn>"), system=False,
    ),
    "phi3": Architecture(
        "phi3", USUAL | {"pad_token_id": None}, PHI3,
        {"bos": "<s>", "eos": "<|endoftext|>", "pad": "<|endoftext|>", "unk": "<unk>",
         "more": ["<|user|>", "<|assistant|>", "<|end|>"]},
        ("<|end|>", "<|endoftext|>"), 4, named=("<|endoftext|>",),
    ),
    "gpt2": Architecture(
        "gpt2", {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 512}, PLAIN,
        {"bos": "<|endoftext|>", "eos": "<|endoftext|>", "unk": "<|endoftext|>"}, ("<|endoftext|>",), 4,
    ),
    "bloom": Architecture(
        "bloom", {"hidden_size": 32, "n_layer": 2, "n_head": 4}, CHATML,
        {"bos": "<s>", "eos": "</s>", "pad": "<pad>", "unk": "<unk>", "more": IM}, ("<|im_end|>", "</s>"), 4,
    ),
    "falcon": Architecture(
        "falcon", HEADS, SILENT, {"bos": "<|endoftext|>", "eos": "<|endoftext|>", "more": [">>TITLE<<"]}, ("<|endoftext|>",), 4,
        system=False,
    ),
    "opt": Architecture(
        "opt", HEADS | {"ffn_dim": 64, "max_position_embeddings": 512, "word_embed_proj_dim": 16},
        ZEPHYR, {"bos": "</s>", "eos": "</s>", "unk": "</s>", "pad": "<pad>"}, ("</s>",), 6,
    ),
    "gpt_neox": Architecture(
        "gpt_neox", HEADS | {"intermediate_size": 64, "max_position_embeddings": 512}, ZEPHYR,
        {"bos": "<|endoftext|>", "eos": "<|endoftext|>", "unk": "<|endoftext|>", "pad": "<|padding|>"}, ("<|endoftext|>",), 4,
    ),
}  # fmt: skip


def byte_tokenizer(specials: dict, template: str | None) -> PreTrainedTokenizerFast:
    """A tokenizer over bytes with these special tokens first: bos, eos, pad and unk by name, and more as a list."""
    named = {f"{name}_token": token for name, token in specials.items() if name != "more"}
    tokens = dict.fromkeys([*named.values(), *specials.get("more", [])])
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    made = Tokenizer(models.BPE({token: id for id, token in enumerate([*tokens, *alphabet])}, []))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=made, additional_special_tokens=specials.get("more", []), **named)
    tokenizer.chat_template = template
    return tokenizer


def write_architecture(name: str, folder: Path) -> None:
    """Write the tiny untrained model of this name, with its tokenizer."""
    made = ARCHITECTURES[name]
    tokenizer = byte_tokenizer(made.specials, made.template)
    special = {f"{which}_token_id": getattr(tokenizer, f"{which}_token_id") for which in ("bos", "eos", "pad")}
    config = AutoConfig.for_model(made.kind, **{"vocab_size": len(tokenizer) + 4} | special | made.sizes)
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config)
    # Weights as they are drawn differ too little for a test to see that something reached them.
    with torch.no_grad():
        for weight in model.parameters():
            if weight.dim() == 2:
                weight.normal_(std=0.2)
    named = tokenizer.convert_tokens_to_ids(list(made.named))
    model.generation_config = GenerationConfig(bos_token_id=tokenizer.bos_token_id, eos_token_id=named or None)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
