"""A policy as a GGUF file and a Modelfile: what llama.cpp and Ollama load. The format is the package gguf's, llama.cpp's own."""

import json
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from safetensors import safe_open

from preference_study.models.checks import PROBE, SYSTEM, rendered

# Of a model's kind: llama.cpp's architecture, and whether it rotates neighbouring values of a head, where transformers rotates
# halves: then the rows of queries' and keys' weights change places, as in llama.cpp's converter.
KINDS = {"llama": (gguf.MODEL_ARCH.LLAMA, True), "qwen2": (gguf.MODEL_ARCH.QWEN2, False)}
_CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
_REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
# llama.cpp's names of the ways in which a text is cut before byte pairs are merged, by tokenizer.json's steps.
CUTS = {
    ("bytes",): "gpt-2",
    ("digits", "bytes"): "smollm",
    (f"{_CONTRACTIONS}\\p{{N}}{{1,3}}{_REST}",): "llama-bpe",
    (f"{_CONTRACTIONS}\\p{{N}}{_REST}",): "qwen2",
}


def cut(tokenizer: dict[str, Any]) -> str | None:
    """llama.cpp's name of how a tokenizer.json cuts texts; None where it has none that is known here."""
    step = tokenizer.get("pre_tokenizer") or {}
    steps = []
    for part in step.get("pretokenizers", [step]):
        match part.get("type"):
            case "ByteLevel" if not part.get("add_prefix_space"):
                steps += ["bytes"] if part.get("use_regex", True) else []
            case "Digits" if part.get("individual_digits"):
                steps.append("digits")
            case "Split" if part.get("behavior") == "Isolated" and not part.get("invert"):
                steps.append(part.get("pattern", {}).get("Regex"))
            case other:
                steps.append(f"unknown: {other}")
    return CUTS.get(tuple(steps))


def not_written(folder: str | Path) -> str | None:
    """Why no GGUF file can be written of a model folder here; None where one can."""
    folder = Path(folder)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    tokenizer = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    kind = config["model_type"]
    if kind not in KINDS:
        return f"its architecture is {kind}, and {' and '.join(KINDS)} are those that are written here"
    rope = config.get("rope_parameters") or {}
    if rope.get("rope_type", "default") != "default":
        return f"its positions are of the type {rope['rope_type']}"
    if config.get("use_sliding_window"):
        return "its attention has a sliding window"
    if tokenizer["model"]["type"] != "BPE" or tokenizer["model"].get("byte_fallback"):
        return "its tokenizer is not of byte pairs over bytes"
    if not tokenizer["model"].get("merges"):
        return "its tokenizer merges no bytes, and llama.cpp loads no such one"
    if (normalizer := tokenizer.get("normalizer")) and normalizer.get("type") != "NFC":
        return f"its tokenizer changes texts first ({normalizer.get('type')})"
    if cut(tokenizer) is None:
        return "its tokenizer cuts texts in a way that has no name known here"
    return None


def interleaved(weight: np.ndarray, heads: int) -> np.ndarray:
    """Rows of queries' or keys' weights, halves of a head one after the other, as llama.cpp's neighbouring pairs."""
    return weight.reshape(heads, 2, weight.shape[0] // heads // 2, *weight.shape[1:]).swapaxes(1, 2).reshape(weight.shape)


def write_gguf(folder: str | Path, path: str | Path, name: str, licence: str | None) -> None:
    """Write a model folder as a GGUF file, in the precision of its weights; vectors in float32.

    Args:
        name: what programs call it.
        licence: of the base model.

    Raises:
        ValueError: `not_written` has a reason, or a weight has no place in the file.
    """
    if reason := not_written(folder):
        raise ValueError(reason)
    folder = Path(folder)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    architecture, rotates_neighbours = KINDS[config["model_type"]]
    writer = gguf.GGUFWriter(path, gguf.MODEL_ARCH_NAMES[architecture])
    heads, key_heads = config["num_attention_heads"], config["num_key_value_heads"]
    head = config.get("head_dim") or config["hidden_size"] // heads
    half = str(config["dtype"]) == "bfloat16"
    writer.add_type("model")
    writer.add_name(name)
    if licence:
        writer.add_license(licence)
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(heads)
    writer.add_head_count_kv(key_heads)
    writer.add_key_length(head)
    writer.add_value_length(head)
    writer.add_rope_dimension_count(head)
    writer.add_rope_freq_base(config["rope_parameters"]["rope_theta"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_vocab_size(config["vocab_size"])
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_BF16 if half else gguf.LlamaFileType.ALL_F32)
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    _add_tokenizer(writer, folder, config)
    names = gguf.get_tensor_name_map(architecture, config["num_hidden_layers"])
    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(file, framework="pt") as weights:
            for key in weights.keys():  # noqa: SIM118  it is no mapping
                place = names.get_name(key, try_suffixes=(".weight", ".bias"))
                if place is None:
                    raise ValueError(f"{key} has no place in a GGUF file of {config['model_type']}")
                values = weights.get_tensor(key).to(torch.float32).numpy()
                if rotates_neighbours and ".q_proj." in key:
                    values = interleaved(values, heads)
                elif rotates_neighbours and ".k_proj." in key:
                    values = interleaved(values, key_heads)
                kind = gguf.GGMLQuantizationType.BF16 if half and values.ndim > 1 else gguf.GGMLQuantizationType.F32
                writer.add_tensor(place, gguf.quants.quantize(np.ascontiguousarray(values), kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _add_tokenizer(writer: gguf.GGUFWriter, folder: Path, config: dict[str, Any]) -> None:
    from transformers import AutoTokenizer

    raw = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    tokens = [f"[PAD{number}]" for number in range(config["vocab_size"])]
    kinds = [gguf.TokenType.UNUSED] * len(tokens)  # embeddings that no token has
    for token, number in raw["model"]["vocab"].items():
        tokens[number], kinds[number] = token, gguf.TokenType.NORMAL
    for added in raw["added_tokens"]:
        tokens[added["id"]] = added["content"]
        kinds[added["id"]] = gguf.TokenType.CONTROL if added["special"] else gguf.TokenType.USER_DEFINED
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(cut(raw))
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    writer.add_token_merges([merge if isinstance(merge, str) else " ".join(merge) for merge in raw["model"]["merges"]])
    for number, add in (
        (tokenizer.bos_token_id, writer.add_bos_token_id),
        (tokenizer.eos_token_id, writer.add_eos_token_id),
        (tokenizer.unk_token_id, writer.add_unk_token_id),
        (tokenizer.pad_token_id, writer.add_pad_token_id),
    ):
        if number is not None:
            add(number)
    # What a prompt begins with is the chat template's to write, as in the study.
    writer.add_add_bos_token(False)
    writer.add_add_space_prefix(False)
    writer.add_chat_template(tokenizer.chat_template)


def turns_written(tokenizer: Any) -> dict[str, str] | None:
    """What a chat template writes around the turns, where it is the same around each turn of a role.

    Returns:
        {start, user, assistant, system}: what stands before everything where there is no system turn; per role what stands before
        its text and, after a \\0, what follows it; `system` only where the template takes one. And `answer`, what stands before
        the response that is asked for. None where the template is not so regular.
    """
    mark = [turn["content"] for turn in PROBE]
    text = rendered(tokenizer, PROBE[:3], add_generation_prompt=True)
    first = rendered(tokenizer, PROBE[:1], add_generation_prompt=True)
    whole = rendered(tokenizer, PROBE)
    pieces = _between(text, mark[:3])
    single, ended = _between(first, mark[:1]), _between(whole, mark)
    if None in (pieces, single, ended):
        return None
    head, to_assistant, to_user, answer = pieces
    # user: before · after; assistant: before · after. `to_assistant` is the user's after and the assistant's before.
    if single != [head, answer] or ended[:4] != [head, to_assistant, to_user, to_assistant]:
        return None
    tail = ended[4]  # after the last answer
    if not to_user.startswith(tail) or not head.endswith(to_user[len(tail) :]):
        return None
    before_user = to_user[len(tail) :]
    found = {"start": head[: len(head) - len(before_user)], "user": f"{before_user}\0", "assistant": f"{to_assistant}\0{tail}"}
    found["answer"] = answer
    try:
        with_system = _between(rendered(tokenizer, [SYSTEM, PROBE[0]], add_generation_prompt=True), [SYSTEM["content"], mark[0]])
    except SystemExit:  # it refuses system turns
        with_system = None
    if with_system is not None:
        opening, between, last = with_system
        if last != answer or not between.endswith(before_user):
            return None
        found["system"] = f"{opening}\0{between[: len(between) - len(before_user)]}"
    return found


def _between(text: str, marks: list[str]) -> list[str] | None:
    """What stands before, between and after the marks; None where they are not there once each, in order."""
    parts = []
    for mark in marks:
        before, found, text = text.partition(mark)
        if not found or mark in text:
            return None
        parts.append(before)
    return [*parts, text]


def ollama_template(written: dict[str, str]) -> str | None:
    """The chat template in the language of Ollama's Modelfile; None where a text of it cannot stand there.

    Args:
        written: as `turns_written` gives it.
    """
    if any('"""' in text or "{{" in text or "}}" in text for text in written.values()):
        return None

    def around(role: str, content: str) -> str:
        before, after = written[role].split("\0")
        return f"{before}{content}{after}"

    system = around("system", "{{ .System }}") if "system" in written else ""
    start = f"{{{{ if .System }}}}{system}{{{{ else }}}}{written['start']}{{{{ end }}}}" if system else written["start"]
    return (
        f"{start}{{{{ range .Messages }}}}"
        f'{{{{ if eq .Role "user" }}}}{around("user", "{{ .Content }}")}'
        f'{{{{ else if eq .Role "assistant" }}}}{around("assistant", "{{ .Content }}")}{{{{ end }}}}'
        f"{{{{ end }}}}{written['answer']}"
    )


def modelfile(file: str, tokenizer: Any, ends: list[str], temperature: float, top_p: float, licence: str | None) -> str:
    """Ollama's Modelfile of a GGUF file beside it.

    Args:
        ends: the tokens that end a response.
        temperature, top_p: as the study sampled; 0 is greedy.
    """
    written = turns_written(tokenizer)
    template = ollama_template(written) if written else None
    lines = [f"FROM ./{file}"]
    if template is None:
        lines.append("# The chat template cannot be written in Ollama's language here: Ollama guesses one by the file's own.")
    else:
        lines.append(f'TEMPLATE """{template}"""')
    # Ollama's own defaults of the last two are 1.1 and 40, and the study has neither.
    lines += [f"PARAMETER temperature {temperature:g}", f"PARAMETER top_p {top_p:g}"]
    lines += ["PARAMETER repeat_penalty 1", "PARAMETER top_k 0"]
    lines += [f"PARAMETER stop {json.dumps(end, ensure_ascii=False)}" for end in ends]
    if licence:
        lines.append(f'LICENSE """{licence}"""')
    return "\n".join(lines) + "\n"
