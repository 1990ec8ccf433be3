"""What benchmarks write: whole, when all is measured, and nothing where they were asked for a part of it."""

import sys
from pathlib import Path

import pytest

from benchmarks import engines, gpu, memory, mutation, plan, processes, stock
from preference_study.artifacts import read_json, write_json

FORMER = {"rows": ["as they were"]}


def run(monkeypatch, program, *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", [program.__name__, *arguments])
    program.main()


@pytest.fixture
def former(tmp_path, monkeypatch):
    """A folder in which each program finds a file of an earlier run."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GLIBC_TUNABLES", "set")
    monkeypatch.setattr(gpu, "gpus", lambda: ["a card"])
    for program in (engines, gpu, memory, plan, processes, stock):
        write_json(program.TARGET, FORMER)


def breaks_off(*_, **__):
    """Two rows, and then no more."""
    took = {"clock": 1.0, "processor": 1.0, "memory": 1, "peak": 1}
    yield {"stage": "prepare_data", "pairs": 20, "took": took, "seconds": 1.0, "clock": 1.0, "peak_bytes": 1}
    yield {"stage": "train_reward", "pairs": 20, "took": took, "seconds": 1.0, "clock": 1.0, "peak_bytes": 1}
    raise KeyboardInterrupt


@pytest.mark.parametrize("program", [memory, plan, gpu, processes])
def test_a_run_that_breaks_off_leaves_the_file_as_it_was(former, monkeypatch, program):
    rows = breaks_off()
    if program is gpu:
        monkeypatch.setattr(gpu, "started", lambda *_: ({"rows": [next(rows)]}, None))
    elif program is processes:
        without_training(monkeypatch)
        monkeypatch.setattr(processes, "largest", lambda *_: {"loss": next(rows)["clock"]})
    else:
        monkeypatch.setattr(program, "measure", lambda *_: rows)
    with pytest.raises(KeyboardInterrupt):
        program.main([]) if program is gpu else run(monkeypatch, program)
    assert next(rows, "all were taken") == "all were taken" and read_json(program.TARGET) == FORMER


def without_training(monkeypatch) -> None:
    for name in ("prepared", "complete", "start", "finished"):
        monkeypatch.setattr(processes, name, lambda *_: None)
    monkeypatch.setattr(processes, "largest", lambda *_: {"loss": 0.5})


def test_some_methods_are_printed_and_all_are_written(former, monkeypatch, capsys):
    without_training(monkeypatch)
    run(monkeypatch, processes, "--only", "dpo", "standard")
    assert "policy_dpo_full_bfloat16" in capsys.readouterr().out and read_json(processes.TARGET) == FORMER
    run(monkeypatch, processes, "--only", "dpo", "--output", "own.json")
    assert {row["name"] for row in read_json("own.json")["rows"]} == {"dpo"}
    run(monkeypatch, processes)
    assert {row["name"] for row in read_json(processes.TARGET)["rows"]} == {*processes.VARIANTS, *processes.METHODS}


def test_some_tasks_are_printed_and_all_are_written(former, monkeypatch, capsys):
    for name in ("data/prepared/train.parquet", "models/base/config.json"):
        Path(name).parent.mkdir(parents=True)
        Path(name).touch()
    monkeypatch.setattr(stock, "run_one", lambda *_: {"done": 8, "seconds": 1.0})
    monkeypatch.setattr(stock, "config_of", lambda folder: ({}, None))
    monkeypatch.setattr(stock, "shape_of", lambda config: type("Shape", (), {"hidden": 8, "intermediate": 8}))
    run(monkeypatch, stock, "--tasks", "scoring", "--rounds", "1")
    assert "8.00 tokens/s" in capsys.readouterr().out and read_json(stock.TARGET) == FORMER
    run(monkeypatch, stock, "--rounds", "1")
    assert {row["task"] for row in read_json(stock.TARGET)["rows"]} == set(stock.TASKS)


def test_some_stages_are_printed_or_kept_beside_the_others_and_all_are_written(former, monkeypatch, capsys):
    def measure(pairs, wanted, folder):
        for stage in wanted:
            yield {"stage": stage, "pairs": pairs, "seconds": float(pairs), "clock": 1.0, "peak_bytes": 1}

    monkeypatch.setattr(memory, "measure", measure)
    run(monkeypatch, memory, "--pairs", "10", "100", "--stages", "report")
    assert "slope 1.00" in capsys.readouterr().out and read_json(memory.TARGET) == FORMER
    run(monkeypatch, memory, "--pairs", "10")
    run(monkeypatch, memory, "--pairs", "100", "--stages", "report", "--keep")
    found = [(row["stage"], row["pairs"]) for row in read_json(memory.TARGET)["rows"]]
    assert found == [*((stage, 10) for stage in memory.STAGES), ("report", 100)]


def test_what_mutants_told_of_a_module_stands_beside_the_others_or_nothing_changes(tmp_path, monkeypatch):
    monkeypatch.setattr(mutation, "KEPT", tmp_path / "mutation.json")
    mutation.keep(Path("a.py"), {"tried": 1})
    mutation.keep(Path("b.py"), {"tried": 2})
    assert read_json(mutation.KEPT) == {"a.py": {"tried": 1}, "b.py": {"tried": 2}}
    before, write = mutation.KEPT.read_text(), Path.write_text

    def half(self, text, **named):
        write(self, text[:9], **named)
        raise OSError("no space left")

    monkeypatch.setattr(Path, "write_text", half)
    with pytest.raises(OSError, match="no space left"):
        mutation.keep(Path("c.py"), {"tried": 3})
    assert mutation.KEPT.read_text() == before
