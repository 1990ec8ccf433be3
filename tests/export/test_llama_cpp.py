"""The GGUF file: read back by the package that llama.cpp's people write, by transformers, and served by llama.cpp."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from gguf import GGUFReader, TokenType
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from preference_study.export import llama_cpp
from preference_study.export.llama_cpp import cut, interleaved, modelfile, not_written, ollama_template, turns_written, write_gguf
from preference_study.models.checks import PROBE, SYSTEM, name_ends
from preference_study.serve_check import Server
from tests.models.architectures import ARCHITECTURES, byte_tokenizer, write_architecture

BYTES = {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True}
MERGED = {"type": "ByteLevel", "add_prefix_space": False, "use_regex": False}
LLAMA3 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
QWEN2 = LLAMA3.replace("{1,3}", "")


def split(regex: str) -> dict:
    return {"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": False}


def sequence(*steps: dict) -> dict:
    return {"type": "Sequence", "pretokenizers": list(steps)}


def write_model(name: str, folder: Path) -> None:
    """The tiny model of this name, whose tokenizer merges two pairs of bytes."""
    write_architecture(name, folder)
    path = folder / "tokenizer.json"
    raw = json.loads(path.read_text())
    first = len(raw["model"]["vocab"])
    raw["model"] |= {"merges": [["S", "a"], ["Sa", "y"]], "vocab": raw["model"]["vocab"] | {"Sa": first, "Say": first + 1}}
    path.write_text(json.dumps(raw))


@pytest.fixture(scope="module", params=["llama", "qwen2"])
def written(request, tmp_path_factory):
    """A tiny model's folder, and its GGUF file."""
    folder = tmp_path_factory.mktemp(request.param)
    write_model(request.param, folder)
    path = folder / "tiny.gguf"
    write_gguf(folder, path, "tiny policy", "mit")
    return request.param, folder, path


def test_rows_change_places_by_head():
    """Two heads of four values: what was rotated as (0, 2) and (1, 3) stands side by side."""
    rows = np.arange(8.0)[:, None] * [1.0, 10.0]
    assert interleaved(rows, 2)[:, 0].tolist() == [0, 2, 1, 3, 4, 6, 5, 7]
    assert interleaved(rows, 2)[:, 1].tolist() == [0, 20, 10, 30, 40, 60, 50, 70]
    assert interleaved(np.arange(8.0), 1).tolist() == [0, 4, 1, 5, 2, 6, 3, 7]


def test_what_the_file_holds(written):
    kind, folder, path = written
    reader = GGUFReader(path)
    fields = {name: field.contents() for name, field in reader.fields.items()}
    assert (fields["general.architecture"], fields["general.name"], fields["general.license"]) == (kind, "tiny policy", "mit")
    wanted = {
        "block_count": 2, "context_length": 512, "embedding_length": 32, "feed_forward_length": 64, "attention.head_count": 4,
        "attention.head_count_kv": 2, "attention.key_length": 8, "rope.dimension_count": 8, "rope.freq_base": 10000.0,
    }  # fmt: skip
    assert {name: fields[f"{kind}.{name}"] for name in wanted} == wanted
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokens = fields["tokenizer.ggml.tokens"]
    assert len(tokens) == len(tokenizer) + 2 and tokens[-1] == f"[PAD{len(tokens) - 1}]"
    assert all(tokens[number] == token for token, number in tokenizer.get_vocab().items())
    kinds = fields["tokenizer.ggml.token_type"]
    for token, number in tokenizer.get_vocab().items():
        assert kinds[number] == (TokenType.CONTROL if token in tokenizer.all_special_tokens else TokenType.NORMAL), token
    assert kinds[-2:] == [TokenType.UNUSED] * 2 and fields["tokenizer.ggml.merges"] == ["S a", "Sa y"]
    assert fields["tokenizer.ggml.eos_token_id"] == tokenizer.eos_token_id
    assert fields["tokenizer.ggml.pre"] == "gpt-2" and not fields["tokenizer.ggml.add_bos_token"]
    assert fields["tokenizer.chat_template"] == tokenizer.chat_template == ARCHITECTURES[kind].template
    # Each weight once, and as many numbers as the model has.
    weights = load_file(folder / "model.safetensors")
    assert sum(int(tensor.n_elements) for tensor in reader.tensors) == sum(weight.numel() for weight in weights.values())
    [value] = [tensor.data for tensor in reader.tensors if tensor.name == "blk.1.attn_v.weight"]
    assert np.array_equal(value, weights["model.layers.1.self_attn.v_proj.weight"].numpy())


def test_transformers_reads_the_same_model_back(written):
    """It turns the rows of queries and keys as llama.cpp needs them, by code of its own."""
    _, folder, path = written
    one = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    other = AutoModelForCausalLM.from_pretrained(folder, gguf_file=path.name, dtype=torch.float32)
    ids = torch.arange(5, 45)[None]
    with torch.inference_mode():
        wanted, found = one(ids).logits, other(ids).logits
    assert wanted.std() > 0.1 and torch.allclose(wanted, found, atol=1e-4)


def test_bfloat16_weights_are_the_same_numbers(tmp_path):
    write_model("llama", tmp_path / "full")
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "full", dtype=torch.bfloat16)
    model.save_pretrained(tmp_path / "half")
    AutoTokenizer.from_pretrained(tmp_path / "full").save_pretrained(tmp_path / "half")
    write_gguf(tmp_path / "half", tmp_path / "half.gguf", "half", None)
    tensors = {tensor.name: tensor for tensor in GGUFReader(tmp_path / "half.gguf").tensors}
    found = tensors["blk.0.ffn_down.weight"]
    assert found.tensor_type.name == "BF16" and tensors["blk.0.attn_norm.weight"].tensor_type.name == "F32"
    wanted = model.model.layers[0].mlp.down_proj.weight.detach()
    assert np.array_equal(np.ascontiguousarray(found.data).view(np.int16).reshape(wanted.shape), wanted.view(torch.int16).numpy())


def test_llama_cpp_answers_as_transformers_does(written):
    pytest.importorskip("xllamacpp", reason="pip install xllamacpp")
    _, folder, path = written
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    turns = [{"role": "user", "content": "What's 12345 + é?\n\nSay so!"}]
    day = {"add_generation_prompt": True, "date_string": "1 Jan"}
    ids = tokenizer.apply_chat_template(turns, return_dict=True, return_tensors="pt", **day)
    server = Server(path, 256)
    text = tokenizer.apply_chat_template(turns, tokenize=False, **day)
    found = server.asked("/tokenize", {"content": text, "add_special": False, "parse_special": True})["tokens"]
    prompt = ids["input_ids"][0].tolist()
    assert found == prompt and tokenizer.convert_tokens_to_ids("Say") in prompt
    wanted = model.generate(**ids, max_new_tokens=12, do_sample=False)[0, len(prompt) :].tolist()
    ends = model.generation_config.eos_token_id
    wanted = wanted[: next((place for place, token in enumerate(wanted) if token in ends), len(wanted))]
    answer = server.answer(prompt, 12)
    assert len(wanted) > 3 and answer[: len(wanted)] == wanted


@pytest.mark.parametrize(
    ("steps", "wanted"),
    [
        (BYTES, "gpt-2"),
        (sequence({"type": "Digits", "individual_digits": True}, BYTES), "smollm"),
        (sequence({"type": "Digits", "individual_digits": False}, BYTES), None),
        (sequence(split(LLAMA3), MERGED), "llama-bpe"),
        (sequence(split(QWEN2), MERGED), "qwen2"),
        (sequence(split(QWEN2) | {"behavior": "Removed"}, MERGED), None),
        (sequence(split(r"\d"), BYTES), None),
        (BYTES | {"add_prefix_space": True}, None),
        ({"type": "Metaspace"}, None),
        (None, None),
    ],
)
def test_how_a_tokenizer_cuts_texts_by_llama_cpps_names(steps, wanted):
    assert cut({"pre_tokenizer": steps}) == wanted


@pytest.mark.parametrize(
    ("file", "change", "wanted"),
    [
        ("config.json", {"model_type": "bloom"}, "its architecture is bloom"),
        ("config.json", {"rope_parameters": {"rope_type": "llama3"}}, "positions are of the type llama3"),
        ("config.json", {"use_sliding_window": True}, "sliding window"),
        ("tokenizer.json", {"model": {"type": "Unigram"}}, "not of byte pairs"),
        ("tokenizer.json", {"model": {"type": "BPE", "byte_fallback": True}}, "not of byte pairs"),
        ("tokenizer.json", {"model": {"type": "BPE", "merges": []}}, "merges no bytes"),
        ("tokenizer.json", {"normalizer": {"type": "Lowercase"}}, r"changes texts first \(Lowercase\)"),
        ("tokenizer.json", {"pre_tokenizer": {"type": "Metaspace"}}, "cuts texts in a way"),
    ],
)
def test_what_cannot_be_written_is_said_and_not_written(tmp_path, file, change, wanted):
    write_model("llama", tmp_path)
    assert not_written(tmp_path) is None
    (tmp_path / file).write_text(json.dumps(json.loads((tmp_path / file).read_text()) | change))
    assert re.search(wanted, not_written(tmp_path))
    with pytest.raises(ValueError, match=wanted):
        write_gguf(tmp_path, tmp_path / "x.gguf", "x", None)
    assert not (tmp_path / "x.gguf").exists()


def test_a_weight_without_a_place_is_no_silent_loss(tmp_path, monkeypatch):
    write_model("qwen2", tmp_path)
    monkeypatch.setitem(llama_cpp.KINDS, "qwen2", (llama_cpp.gguf.MODEL_ARCH.BERT, False))
    with pytest.raises(ValueError, match="has no place in a GGUF file of qwen2"):
        write_gguf(tmp_path, tmp_path / "x.gguf", "x", None)


def as_ollama_does(template: str, turns: list[dict]) -> str:
    """The little of Ollama's language that is used, by hand."""
    system = next((turn["content"] for turn in turns if turn["role"] == "system"), "")
    found = re.fullmatch(r"(.*?)\{\{ range \.Messages \}\}(.*)\{\{ end \}\}\{\{ end \}\}(.*)", template, re.DOTALL)
    start, body, answer = found.groups()
    if "{{ if .System }}" in start:
        with_it, without = re.fullmatch(r"\{\{ if \.System \}\}(.*)\{\{ else \}\}(.*)\{\{ end \}\}", start, re.DOTALL).groups()
        start = with_it.replace("{{ .System }}", system) if system else without
    user, assistant = body.removeprefix('{{ if eq .Role "user" }}').split('{{ else if eq .Role "assistant" }}')
    each = {"user": user, "assistant": assistant}
    return start + "".join(each[t["role"]].replace("{{ .Content }}", t["content"]) for t in turns if t["role"] in each) + answer


@pytest.mark.parametrize("name", [name for name in ARCHITECTURES if name not in ("llama", "phi3")])
def test_the_template_in_ollamas_language_writes_the_same(name):
    made = ARCHITECTURES[name]
    tokenizer = byte_tokenizer(made.specials, made.template)
    name_ends(tokenizer, None)
    template = ollama_template(turns_written(tokenizer))
    for turns in (PROBE[:1], PROBE[:3]):
        wanted = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
        assert as_ollama_does(template, turns) == wanted
    if made.system:
        turns = [SYSTEM, PROBE[0]]
        assert as_ollama_does(template, turns) == tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)


def test_a_template_that_ollama_cannot_have_is_said_and_none_is_made_up():
    phi3 = ARCHITECTURES["phi3"]
    tokenizer = byte_tokenizer(phi3.specials, phi3.template)  # ends a conversation otherwise than a turn
    assert turns_written(tokenizer) is None
    assert "TEMPLATE" not in modelfile("x.gguf", tokenizer, ["<|end|>"], 0.0, 1.0, None)
    assert ollama_template({"start": "{{", "user": "u\0", "assistant": "a\0", "answer": "a"}) is None


def test_a_modelfile():
    made = ARCHITECTURES["qwen2"]
    tokenizer = byte_tokenizer(made.specials, made.template)
    text = modelfile("dpo.gguf", tokenizer, ["<|im_end|>", 'a"b'], 0.5, 0.9, "mit")
    assert text.splitlines()[0] == "FROM ./dpo.gguf" and 'TEMPLATE """' in text
    assert text.splitlines()[-7:] == [
        "PARAMETER temperature 0.5", "PARAMETER top_p 0.9", "PARAMETER repeat_penalty 1", "PARAMETER top_k 0",
        'PARAMETER stop "<|im_end|>"',
        r'PARAMETER stop "a\"b"', 'LICENSE """mit"""',
    ]  # fmt: skip
