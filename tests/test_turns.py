"""The small benchmarks of two ways: they take turns, and the ratio is that of the middles."""

import sys
from subprocess import CompletedProcess
from types import SimpleNamespace

import pytest

from benchmarks import allocator, attention


def test_attention_takes_turns_and_the_first_of_each_warms_up(monkeypatch):
    asked, now = [], [0.0]
    seconds = iter([50.0, 50.0, 3.0, 1.0, 6.0, 4.0, 9.0, 2.0])  # fused and plain, four rounds
    monkeypatch.setattr(attention.time, "perf_counter", lambda: now[0])

    def work():
        now[0] += next(seconds)

    assert attention.ratio(SimpleNamespace(set_attn_implementation=asked.append), work) == 6.0 / 2.0
    assert asked == ["sdpa", "eager"] * 4


def test_attention_of_a_model_by_both(folder, monkeypatch, capsys):
    monkeypatch.setattr(attention, "TOKENS", 512)
    monkeypatch.setattr(attention, "BATCH", 2)
    monkeypatch.setattr(sys, "argv", ["attention"])
    attention.main()
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 5 and all(float(line.split("= ")[1]) > 0 for line in lines)


def test_the_allocator_takes_turns_in_processes_of_their_own(monkeypatch, capsys):
    asked, seconds = [], iter([6.0, 1.0, 3.0, 2.0, 9.0, 5.0])

    def ran(command, env, **_):
        asked.append(allocator.ALLOCATOR.keys() <= env.keys())
        return CompletedProcess(command, 0, f"{next(seconds)}\n")

    monkeypatch.setattr(allocator.subprocess, "run", ran)
    monkeypatch.setattr(sys, "argv", ["allocator"])
    allocator.main()
    assert asked == [False, True] * 3 and capsys.readouterr().out.endswith("given back / kept = 3.00\n")
    monkeypatch.setattr(allocator.subprocess, "run", lambda *_, **__: CompletedProcess([], 3, ""))
    with pytest.raises(SystemExit, match="3"):
        allocator.main()
