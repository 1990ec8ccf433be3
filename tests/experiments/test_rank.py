"""Reading an experiment to rank it."""

import json

import dvc.api
import pytest
import yaml

from experiments import rank
from tests.workspace import tiny_params


def test_an_experiment_whose_rows_are_left_out_is_named_with_the_remedy(tmp_path, monkeypatch):
    tiny_params(tmp_path)
    params = yaml.safe_load((tmp_path / "params.yaml").read_text())
    monkeypatch.setattr(dvc.api, "params_show", lambda *_, **__: params)
    monkeypatch.setattr(
        dvc.api, "read", lambda path, rev: json.dumps({"left_out": "200000 rows", "rows_in": "data/scores.parquet"})
    )
    with pytest.raises(SystemExit, match=r"big-run: .* leaves its rows out \(200000 rows\).*data\.max_val"):
        rank.load("big-run")
