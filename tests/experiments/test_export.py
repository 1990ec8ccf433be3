"""What is kept of what exporting measured."""

import pytest

from experiments.export import gathered
from preference_study.artifacts import write_json
from preference_study.params import Export


def exported(policies: list[str], reward_models: list[str]) -> Export:
    return Export(policies=policies, reward_models=reward_models, gguf=True, prompts=4)


def test_what_is_exported_by_kind_and_name_and_nothing_of_an_earlier_run(tmp_path):
    every = exported(["dpo"], ["standard"])
    with pytest.raises(SystemExit, match=r"has no policy/dpo, reward/standard, .*: run make export first"):
        gathered(tmp_path, every)
    for name in ("policy/dpo", "policy/kto", "reward/standard", "llama_cpp/dpo", "llama_cpp/kto"):
        write_json(tmp_path / f"{name}.json", {"of": name})
    assert gathered(tmp_path, every) == {name: {"of": name} for name in ("llama_cpp/dpo", "policy/dpo", "reward/standard")}
    assert list(gathered(tmp_path, exported(["kto"], []))) == ["llama_cpp/kto", "policy/kto"]
    assert list(gathered(tmp_path, exported([], ["standard"]))) == ["reward/standard"]
    with pytest.raises(SystemExit, match=r"of params\.yaml name nothing: run make export first"):
        gathered(tmp_path, exported([], []))
