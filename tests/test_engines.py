"""The benchmark of both engines, with transformers in vLLM's place, on the tiny study."""

import sys

import pytest
import torch
from peft import LoraConfig, get_peft_model

from benchmarks import engines
from preference_study.artifacts import read_json, write_json
from preference_study.models import language_models
from preference_study.models.language_models import load_causal
from tests.engines.fake import python_with_vllm
from tests.workspace import change


@pytest.fixture
def study(folder, monkeypatch):
    """A study that computes in bfloat16, with a policy that LoRA trained and a Python that has a vLLM."""
    monkeypatch.setattr(language_models, "compute_dtype", lambda: torch.bfloat16)
    torch.manual_seed(0)
    adapters = LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False, task_type="CAUSAL_LM")
    get_peft_model(load_causal("models/base"), adapters).save_pretrained("models/policy/dpo")
    vllm = {"python": str(python_with_vllm(folder.parent / "vllm")), "tensor_parallel": 1, "data_parallel": 1, "options": {}}
    change(folder, generate={"temperature": 0.0, "max_new_tokens": 24, "vllm": vllm})
    return folder


def run(monkeypatch, *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", ["engines", *arguments])
    engines.main()


def test_both_engines_have_the_weights_that_the_study_merges(study, monkeypatch, tmp_path):
    """In float32 too, where an adapter that is merged anew is another model."""
    output = tmp_path / "engines.json"
    run(monkeypatch, "--policy", "dpo", "--dtypes", "float32", "--output", str(output))
    found = read_json(output)["float32"]
    assert (found["model"], found["n"], found["same"]["value"], found["gap_max"]) == ("dpo", 20, 1.0, None)
    assert found["tokens"]["transformers"] == found["tokens"]["vllm"] > 20


def test_a_part_is_printed_and_the_whole_of_base_replaces_what_was_there(study, monkeypatch, capsys):
    monkeypatch.setattr(engines, "measured", lambda folder, dtype, *_: {"n": 3, "of": str(folder)})
    former = {"float32": {"n": 64, "model": "base"}, "float16": {"n": 2}}
    write_json(engines.TARGET, former)
    for part in (["--dtypes", "float32"], ["--policy", "dpo"]):
        run(monkeypatch, *part)
        assert "float32 {'n': 3" in capsys.readouterr().out and read_json(engines.TARGET) == former
    run(monkeypatch)
    found = read_json(engines.TARGET)
    assert list(found) == ["float32", "bfloat16"] and found["bfloat16"] == {
        "n": 3,
        "of": "models/base",
        "model": "base",
        "options": {},
    }
