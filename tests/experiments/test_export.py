"""What is kept of what exporting measured."""

import pytest

from experiments.export import gathered
from preference_study.artifacts import write_json


def test_by_kind_and_name(tmp_path):
    with pytest.raises(SystemExit, match="run make export first"):
        gathered(tmp_path)
    for name in ("policy/dpo", "reward/standard", "llama_cpp/dpo"):
        write_json(tmp_path / f"{name}.json", {"of": name})
    assert gathered(tmp_path) == {name: {"of": name} for name in ("llama_cpp/dpo", "policy/dpo", "reward/standard")}
