"""The benchmark of TRL's head beside this project's, on the tiny study."""

import importlib

from benchmarks import head
from preference_study.artifacts import read_json, read_table
from preference_study.params import load_params


def test_it_trains_on_pairs_that_have_a_reference(folder, tmp_path, monkeypatch):
    importlib.import_module("stages.reference_logps").main()
    first = read_table("data/prepared/train.parquet")["id"][: 2 * load_params().policy.batch_size]
    assert not set(first) <= {row["id"] for row in read_json("data/logps/base/train.json")}  # policies see a sample
    monkeypatch.setattr(head, "STEPS", 2)
    monkeypatch.setattr(head, "WARM_UP", 1)
    assert head.seconds(str(tmp_path / "out")) > 0
