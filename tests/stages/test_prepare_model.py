"""The base model's folder: the former one stays until the new one is whole, and nothing of it is left then."""

import shutil

import huggingface_hub.constants
import pytest
import torch
from safetensors.torch import load_file
from transformers import PreTrainedTokenizerBase

import stages.prepare_model
from preference_study.models import language_models
from tests.workspace import change, tiny_params


@pytest.fixture
def study(tmp_path, monkeypatch, model_folder):
    """A study with a base model of before."""
    tiny_params(tmp_path)
    shutil.copytree(model_folder, tmp_path / "models/base")
    (tmp_path / "models/base/former").write_text("of before")
    change(tmp_path, model={"name": str(model_folder), "watched": str(model_folder)})
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_new_model_takes_the_place_of_all_of_the_former_one(study):
    stages.prepare_model.main()
    assert [path.name for path in (study / "models").iterdir()] == ["base"]
    names = {path.name for path in (study / "models/base").iterdir()}
    assert "former" not in names and {"model.safetensors", "tokenizer.json", "chat_template.jinja"} <= names


def test_what_cannot_be_written_to_its_end_leaves_the_former_one(study, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(PreTrainedTokenizerBase, "save_pretrained", full)
    before = {path: path.read_bytes() for path in (study / "models/base").iterdir()}
    with pytest.raises(OSError, match="No space left"):
        stages.prepare_model.main()
    assert {path: path.read_bytes() for path in (study / "models/base").iterdir()} == before
    assert [path.name for path in (study / "models").iterdir()] == ["base"]


def test_the_same_model_is_the_same_bytes(study, monkeypatch):
    """With the internet, here only said to be there, and without."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    stages.prepare_model.main()
    first = {path.name: path.read_bytes() for path in (study / "models/base").iterdir()}
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    stages.prepare_model.main()
    assert {path.name: path.read_bytes() for path in (study / "models/base").iterdir()} == first


@pytest.mark.parametrize(("dtype", "told"), [(torch.float32, "params/small.yaml"), (torch.bfloat16, "computes in bfloat16")])
def test_the_model_is_the_same_whatever_the_machine_computes_in(study, monkeypatch, capsys, dtype, told):
    for module in (language_models, stages.prepare_model):
        monkeypatch.setattr(module, "compute_dtype", lambda: dtype)
    stages.prepare_model.main()
    weights = load_file(study / "models/base/model.safetensors")
    assert {tensor.dtype for tensor in weights.values()} == {torch.bfloat16}
    assert told in capsys.readouterr().out
