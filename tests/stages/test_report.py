"""The stage's wiring: which parameter decides what of the page."""

from pathlib import Path

import stages.report
from preference_study.report import page
from tests.workspace import change, tiny_params


def test_parameters_reach_what_they_decide(tmp_path, monkeypatch):
    tiny_params(tmp_path)
    benchmarks = [
        {"name": "hard", "file": "hard.parquet", "shape": None},
        {"name": "easy", "file": "easy.parquet", "shape": None},
    ]
    change(tmp_path, seed=7, benchmarks=benchmarks, report={"max_cases": 11})
    change(tmp_path, policy={"methods": ["kto", "dpo"]}, people={"methods": ["kto"]})
    change(tmp_path, data={"train": "a.csv", "val": "b.csv"}, generate={"prompts": "c.csv"})
    monkeypatch.chdir(tmp_path)
    told = {}
    monkeypatch.setattr(stages.report, "gather", lambda *given: told.update(gather=given) or {"study": 1})
    monkeypatch.setattr(page, "check_one_run", lambda *given: told.update(check=given))
    monkeypatch.setattr(stages.report, "origin", lambda *given: told.update(origin=given[:3]) or "origin")
    monkeypatch.setattr(stages.report, "machine", lambda: "machine")
    monkeypatch.setattr(page, "render", lambda *given: told.update(render=given) or "<p>é</p>")
    stages.report.main()
    judge = stages.report.load_params().reward.judge
    assert told["gather"] == (Path(), ["kto", "dpo"], judge, ["hard", "easy"], ["kto"], 11, 7)
    assert told["check"] == ({"study": 1},)
    files = {"training pairs": "a.csv", "validation pairs": "b.csv", "prompts": "c.csv"}
    assert told["origin"] == (Path(), files, 7)
    study, params, *rest = told["render"]
    assert (study, params["report"]["max_cases"], rest) == ({"study": 1}, 11, ["machine", "origin"])
    assert Path("reports/index.html").read_text(encoding="utf-8") == "<p>é</p>"
