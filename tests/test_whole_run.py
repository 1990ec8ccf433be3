"""The profile of a whole run: what each stage took, of a program that prints as dvc repro does."""

import sys

import pytest

from benchmarks import whole_run
from benchmarks.whole_run import BEFORE, watched
from experiments import documents
from preference_study.artifacts import read_json, write_json

PROGRAM = """
# The busy one waits at its end, so that a last sample sees all of its second.
import subprocess, sys, time
print("Running stage 'busy@dpo':")
child = "import time; held = b'1' * 300_000_000\\nwhile time.process_time() < 1: pass\\ntime.sleep(0.5)"
subprocess.run([sys.executable, "-c", child])
print("Running stage 'idle':")
time.sleep(0.8)
sys.exit(int(sys.argv[1]))
"""


def test_time_and_memory_are_those_of_the_stage_that_runs(capsys):
    before, busy, idle = watched([sys.executable, "-c", PROGRAM, "0"])
    assert [row["stage"] for row in (before, busy, idle)] == [BEFORE, "busy@dpo", "idle"]
    assert busy["clock"] >= 1 and idle["clock"] >= 0.8
    assert 0.7 <= busy["processor"] <= busy["clock"] * 1.2 and idle["processor"] <= 0.4
    assert busy["peak_bytes"] > 300_000_000 > idle["peak_bytes"] > 1_000_000
    assert "Running stage 'idle':" in capsys.readouterr().out


def test_a_run_that_fails_is_no_measurement():
    with pytest.raises(SystemExit, match="failed with status 3"):
        watched([sys.executable, "-c", PROGRAM, "3"])


def test_the_document_names_the_longest_and_sums_up_the_rest(tmp_path, monkeypatch):
    rows = [
        {"stage": name, "clock": clock, "processor": 2 * clock, "peak_bytes": peak * 2**30}
        for name, clock, peak in ((BEFORE, 1.0, 0.25), ("short", 0.5, 0.5), ("train@dpo", 58.5, 3.0), ("long", 40.0, 1.5))
    ]
    write_json(tmp_path / "whole_run.json", {"device": "cpu", "threads": 2, "dtype": "bfloat16", "gflops": 385.4, "rows": rows})
    monkeypatch.setattr(documents, "RESULTS", tmp_path)
    told, _, _, _, *lines = documents.whole_run("whole_run.json").splitlines()
    assert told == "2 cores of a CPU, plain matrix products 385 GFLOP/s in bfloat16"
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert cells == [
        ["`train@dpo`", "58", "117", "3.00"],
        ["`long`", "40", "80", "1.50"],
        ["2 others", "2", "3", "0.50"],
        ["all", "100", "200", "3.00"],
    ]


def test_the_program_asks_dvc_for_every_stage(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(whole_run, "watched", lambda command: asked.append(command[1:]) or [])
    monkeypatch.setattr(whole_run, "config_of", lambda folder: ({}, None))
    monkeypatch.setattr(whole_run, "shape_of", lambda config: type("Shape", (), {"hidden": 8, "intermediate": 8}))
    monkeypatch.setattr(sys, "argv", ["whole_run", "--output", str(tmp_path / "found.json")])
    whole_run.main()
    assert asked == [["-m", "dvc", "repro", "--force"]] and read_json(tmp_path / "found.json")["rows"] == []
