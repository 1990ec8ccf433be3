"""The benchmark of memory and time by the number of pairs, on few."""

import subprocess
import sys

import pandas as pd
import pytest

from benchmarks.memory import STAGES, made_responses, slope
from preference_study.artifacts import open_table, read_json, read_rows, write_json
from tests.conftest import ROOT


def test_every_stage_is_measured_and_what_was_measured_before_is_kept(tmp_path):
    output = tmp_path / "memory.json"
    before = {"stage": "prepare_data", "clock": 3.0, "seconds": 2.0, "peak_bytes": 10**9}
    write_json(output, {"rows": [before | {"pairs": pairs} for pairs in (30, 60)]})
    command = [sys.executable, "-m", "benchmarks.memory", "--pairs", "60", "--keep", "--output", output]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = read_json(output)["rows"]
    assert [(row["stage"], row["pairs"]) for row in rows] == [("prepare_data", 30), *((stage, 60) for stage in STAGES)]
    assert rows[0] == before | {"pairs": 30} and rows[1]["seconds"] != 2.0
    assert all(row["clock"] > 0 and row["seconds"] > 0 and row["peak_bytes"] > 1e8 for row in rows)


def test_two_policies_answer_every_prompt(tmp_path):
    (tmp_path / "data/prepared").mkdir(parents=True)
    pd.DataFrame({"id": ["a", "b"]}).to_parquet(tmp_path / "data/prepared/val.parquet")
    made_responses(tmp_path, 10_001)  # more than a piece
    found = read_rows(tmp_path / "data/responses/scored.parquet")
    base, dpo = (found[found["policy"] == policy].set_index("id") for policy in ("base", "dpo"))
    assert len(base) == len(dpo) == 10_001 and base.index.is_unique and list(base.index) == list(dpo.index)
    assert base["prompt"].equals(dpo["prompt"]) and (base["response"] != dpo["response"]).mean() > 0.9
    assert open_table(tmp_path / "data/responses/scored.parquet").metadata.num_row_groups == 4
    assert [row["id"] for row in read_json(tmp_path / "data/kl/dpo.json")] == list(base.index[:100])


def test_the_slope_is_that_of_the_logarithms():
    rows = [{"pairs": 10, "seconds": 3.0}, {"pairs": 100, "seconds": 7.0}, {"pairs": 1000, "seconds": 300.0}]
    assert slope(rows) == pytest.approx(1.0) and slope(rows[:1]) is None
