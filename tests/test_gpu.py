"""The check of a GPU, on a machine that has none: what it says there, how it compares, and all of it on tiny models."""

import pytest

from benchmarks import gpu
from preference_study.artifacts import read_json
from preference_study.cost import GIB


def test_without_a_gpu_it_says_so_and_writes_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(gpu, "gpus", list)
    with pytest.raises(SystemExit, match="no NVIDIA GPU is here"):
        gpu.main(["--output", str(tmp_path / "gpu.json")])
    assert not (tmp_path / "gpu.json").exists()


def test_losses_by_hand():
    case = gpu.Case("embedded", "LoRA", "float32", "gpu", steps=3, small=True, pairs=6)
    here, there = [0.75, 0.5, 0.25], [0.75, 0.5 + 0.0005, 0.25]
    [row] = gpu.compared(case, [{"losses": {"DPO": here}}, {"losses": {"DPO": there}}])
    assert row["difference"] == pytest.approx(0.0005) and row["within"] and (row["first"], row["last"]) == (0.75, 0.25)
    [row] = gpu.compared(case, [{"losses": {"DPO": here}}, {"losses": {"DPO": [0.75, 0.5, 0.252]}}])
    assert row["difference"] == pytest.approx(0.002) and not row["within"]
    [row] = gpu.compared(case, [{"losses": {"DPO": here[:2]}}, {"losses": {"DPO": there[:2]}}])
    assert not row["within"]  # of fewer steps than there should be
    [row] = gpu.compared(case, [{"losses": {"DPO": [0.7, float("nan"), 0.7]}}, {"losses": {"DPO": [0.7, 0.7, 0.7]}}])
    assert not row["within"]


def test_the_small_check_from_end_to_end(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(gpu, "gpus", list)
    gpu.main(["--small", "--output", str(tmp_path / "gpu.json")])
    found = read_json(tmp_path / "gpu.json")
    assert found["failed"] == [] and "no GPU" in found["card"] and "tiny models" in found["card"]
    assert [(row["case"], row["stage"]) for row in found["rows"]] == [
        (f"embedded, {mode}", stage) for mode in ("full", "LoRA") for stage in gpu.STAGES
    ]
    assert all(row["seconds"] > 0 and row["memory"] + GIB > row["planned_memory"] > 0 for row in found["rows"])
    assert [(row["what"], row["steps"], row["difference"], row["within"]) for row in found["losses"]] == [
        ("reward model", 10, 0.0, True),
        ("DPO", 10, 0.0, True),
    ]
    assert all(row["first"] != row["last"] for row in found["losses"])
    printed = capsys.readouterr().out
    assert found["card"] in printed and printed.count("train_policy@dpo") == 2


def test_a_case_that_fails_or_takes_too_long_is_told(tmp_path, capsys, monkeypatch):
    def broken(case, folder):
        print("as it was")
        raise ValueError("no such model")

    monkeypatch.setattr(gpu, "gpus", list)
    monkeypatch.setattr(gpu, "make_model", broken)
    with pytest.raises(SystemExit):
        gpu.main(["--small", "--output", str(tmp_path / "gpu.json")])
    failed = read_json(tmp_path / "gpu.json")["failed"]
    assert [row["case"] for row in failed] == [
        "embedded, full on the gpu",
        "embedded, LoRA on the gpu",
        "embedded, LoRA on the gpu",
    ]
    assert all("as it was" in row["why"] and "ValueError: no such model" in row["why"] for row in failed)
    assert capsys.readouterr().out.count("FAILED") == 3
    monkeypatch.setattr(gpu, "make_model", lambda case, folder: __import__("time").sleep(60))
    case = gpu.Case("embedded", "full", None, "gpu", steps=None, small=True, pairs=8)
    assert gpu.started(case, tmp_path, 0.5) == ({}, "time was up")
