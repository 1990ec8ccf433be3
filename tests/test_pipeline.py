"""The whole pipeline through dvc repro, on the tiny model, in a repository of its own."""

import json
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.plots_page import opened
from tests.workspace import change, run, stages_run


@pytest.fixture(scope="module")
def repository(finished) -> Path:
    return finished.folder


def test_the_whole_pipeline(finished, repository):
    definition = yaml.safe_load((repository / "dvc.yaml").read_text())["stages"]
    ran = stages_run(finished.printed)
    assert {name.split("@")[0] for name in ran} == set(definition) - {
        "fetch_data", "prepare_benchmark", "score_benchmarks", "compare_benchmarks", "draw_blind", "analyse_people",
        "export_policy", "export_reward", "prepare_judge", "train_judge", "ask_endpoint", "ask_judge",
    }  # fmt: skip

    lock = yaml.safe_load((repository / "dvc.lock").read_text())["stages"]
    outs = [out["path"] for stage in lock.values() for out in stage["outs"]]
    assert len(outs) > 15
    for out in outs:
        path = repository / out
        assert path.exists() and (path.is_dir() or path.stat().st_size > 0), out
    estimates_are_whole(json.loads((repository / "metrics/reward.json").read_text()))
    estimates_are_whole(json.loads((repository / "metrics/policies.json").read_text()))
    estimates_are_whole(json.loads((repository / "metrics/reward_analysis.json").read_text()))
    methods = json.loads((repository / "metrics/methods.json").read_text())
    estimates_are_whole(methods["methods"])
    estimates_are_whole(methods["pairs"])
    stress = json.loads((repository / "metrics/stress.json").read_text())["scorers"]["standard"]
    estimates_are_whole(stress["perturbations"])
    assert stress["n"] == stress["always_right"]["n"] == 20 and len(stress["perturbations"]) == 8
    # The plain responses are scored anew, beside longer ones: the same but for rounding.
    assert stress["accuracy"]["value"] == pytest.approx(
        json.loads((repository / "metrics/reward.json").read_text())["accuracy"]["value"], abs=0.1
    )
    estimates_are_whole(json.loads((repository / "metrics/variants.json").read_text()))
    best = json.loads((repository / "metrics/best_of_n.json").read_text())["standard"]
    estimates_are_whole(best["curve"])
    assert [row["n"] for row in best["curve"]] == [1, 2, 4] and best["curve"][0]["gold"]["n"] == 6
    policies = json.loads((repository / "metrics/policies.json").read_text())
    assert policies["base"]["implicit_accuracy"]["value"] == 0.5 and policies["dpo"]["implicit_accuracy"]["n"] == 20
    assert policies["dpo"]["gold_rate"]["n"] == policies["dpo"]["against_base"]["win_rate"]["n"] == 12

    assert stages_run(run(repository, "dvc", "repro")) == set()
    assert run(repository, "git", "status", "--porcelain") == ""
    assert "dpo" in run(repository, "dvc", "metrics", "show")
    assert "Data and pipelines are up to date" in run(repository, "dvc", "status")


def estimates_are_whole(value: object) -> None:
    if isinstance(value, dict):
        if "value" in value:
            assert set(value) == {"value", "low", "high", "n", "clusters"} and value["clusters"] <= value["n"]
            if value["low"] is not None:
                assert value["low"] - 1e-9 <= value["value"] <= value["high"] + 1e-9
        else:
            for inner in value.values():
                estimates_are_whole(inner)


def test_every_plot_is_drawn(repository):
    """Of one run, where some were not measured, and of two, one of which has them."""
    entries = yaml.safe_load((repository / "plots/dvc.yaml").read_text())["plots"]
    titles = [next(iter(entry)) for entry in entries if isinstance(entry, dict)]
    images = [entry for entry in entries if isinstance(entry, str)]
    rewards = repository / "plots/methods/training_reward.csv"
    before = rewards.read_text()
    assert before == "group,examples,reward,colour\nnot measured,,,\n"

    told = run(repository, "dvc", "plots", "show")
    page = opened(repository / "dvc_plots/index.html")
    assert "fail" not in told and page.complaints == []
    assert [chart["title"] for chart in page.charts] == titles and page.images == [True] * len(images)
    assert [chart["title"] for chart in page.charts if chart["marks"] == 0 or chart["axes"] < 2] == []
    unmeasured = [chart["title"] for chart in page.charts if "not measured" in chart["texts"]]
    assert [title for title in unmeasured if not title.endswith("(KDE)")] == [t for t in titles if t.startswith("Online")]

    rewards.write_text("group,examples,reward,colour\nrloo,8,0.5,#0072B2\nrloo,16,0.75,#0072B2\n")
    told = run(repository, "dvc", "plots", "diff", "HEAD", "workspace")
    rewards.write_text(before)
    page = opened(repository / "dvc_plots/index.html")
    assert "fail" not in told and page.complaints == []
    assert [chart["title"] for chart in page.charts] == titles and page.images == [True] * 2 * len(images)
    assert [c["title"] for c in page.charts if c["marks"] == 0 or not {"HEAD", "workspace"} <= set(c["texts"])] == []
    assert {"rloo", "not measured"} <= set(page.charts[titles.index("Online methods, reward in training")]["texts"])


def test_bad_parameters_stop_before_any_work(repository):
    before = (repository / "params.yaml").read_text()
    try:
        change(repository, policy={"dpo": {"learning_rate": 1e-4, "beta": -1}})
        done = subprocess.run(["dvc", "repro"], cwd=repository, capture_output=True, text=True, check=False)
        assert done.returncode != 0 and "policy.dpo.beta" in done.stderr and "failed to reproduce 'check'" in done.stderr
    finally:
        (repository / "params.yaml").write_text(before)
    assert (repository / "models/policy/dpo").is_dir()
    assert stages_run(run(repository, "dvc", "repro")) <= {"check"}
