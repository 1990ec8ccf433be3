"""The commands of README and docs, typed as they stand there, in a clean shell, on the tiny study."""

import csv
import io
import json
import re

import pytest

from tests.shell import ACTIVATE, commands, type_in
from tests.workspace import stages_run

pytestmark = pytest.mark.skipif(not ACTIVATE.exists(), reason="make setup has made no environment")


def test_comparing_parameters_as_readme_does(finished):
    folder, activate = finished.folder, finished.activate
    experiment, show, metrics, plots = commands("README.md")[6:]
    ran = stages_run(type_in(folder, activate, experiment))
    # What comes after `generate` runs again only where the responses changed.
    trained = {"train_policy@dpo", "measure_kl@dpo", "generate@dpo"}
    after = {"score_responses", "compare_policies", "compare_methods", "compare_groups", "report"}
    assert trained <= ran <= trained | after | {"check"}
    table = csv.DictReader(io.StringIO(type_in(folder, activate, f"{show.split('#')[0]} --csv").split("\n\n")[0]))
    shown = list(table)[-1]
    assert float(shown["policy.dpo.beta"]) == 0.2 and not any("/" in name for name in shown)
    assert "policy.dpo.beta" in type_in(folder, activate, show)
    type_in(folder, activate, metrics)
    assert "index.html" in type_in(folder, activate, plots) and (folder / "dvc_plots/index.html").exists()
    # Going back is looked up, not computed, but for stages of seconds: the same inputs gave these outputs before.
    ran = stages_run(type_in(folder, activate, "git checkout -q params.yaml", "dvc repro"))
    assert ran <= {"compare_policies", "compare_methods", "compare_groups"}
    assert type_in(folder, "git status --porcelain") == ""


def test_two_experiments_side_by_side(finished):
    folder, activate = finished.folder, finished.activate
    experiment, compared = commands("docs/pipeline.md")[7:]
    type_in(folder, activate, experiment, "git checkout -q .", "dvc checkout -q")
    printed = type_in(folder, activate, compared)
    found = json.loads((folder / "reports/compare.json").read_text())
    assert found["parameters"] == [{"name": "policy.dpo.beta", "a": found["parameters"][0]["a"], "b": 0.2}]
    assert (found["a"]["called"], found["b"]["called"]) == ("DPO of HEAD", "DPO of other-beta") and not found["judge"]["differs"]
    assert found["b_against_a"]["verdict"]["sentence"] in printed and (folder / "reports/compare.html").exists()
    # Against base, it is what the pipeline says.
    type_in(folder, activate, "python -m preference_study.compare HEAD HEAD --method base --other-method dpo")
    again, policies = (json.loads((folder / name).read_text()) for name in ("reports/compare.json", "metrics/policies.json"))
    of_pipeline = policies["dpo"]["against_base"]
    for measure in ("wins", "win_rate", "win_rate_length_controlled", "words_difference", "gold", "letter"):
        assert again["b_against_a"][measure] == of_pipeline[measure], measure
    type_in(folder, activate, "rm reports/compare.html reports/compare.json", "dvc exp remove other-beta")
    assert type_in(folder, "git status --porcelain") == ""


def test_a_grid_is_run_shown_and_ranked(finished):
    folder, activate = finished.folder, finished.activate
    queue, run_all, show, rank = commands("docs/pipeline.md")[:4]
    type_in(folder, activate, "dvc exp remove -A", queue, run_all)
    table = csv.DictReader(io.StringIO(type_in(folder, activate, f"{show.split('#')[0]} --csv").split("\n\n")[0]))
    rows = [row for row in table if row["typ"] in ("branch_commit", "branch_base")]
    assert not any("/" in name or name.startswith("policy.") for name in rows[0])  # what does not differ is not shown
    assert {float(row["reward.learning_rate"]) for row in rows} == {8e-4, 3.2e-3} and len(rows) == 2
    everything = csv.DictReader(io.StringIO(type_in(folder, activate, "dvc exp show --csv")))
    for row in (row for row in everything if row["typ"] in ("branch_commit", "branch_base")):
        assert 0 <= float(row["accuracy_low"]) <= float(row["accuracy"]) <= float(row["accuracy_high"]) <= 1
    ranking = type_in(folder, activate, f"{rank.split('#')[0]} --pictures pictures --output ranking.json")
    assert "Best on validation: reward.learning_rate" in ranking and "Training loss alone" in ranking
    found = json.loads((folder / "ranking.json").read_text())
    assert found["parameters"] == ["reward.learning_rate"] and found["n"] == 20 and len(found["settings"]) == 2
    assert [path.name for path in (folder / "pictures").iterdir()] == ["sweep_learning_rate.png"]
    type_in(folder, "rm -r pictures ranking.json")


def test_the_long_grids_can_be_queued_and_their_programs_say_what_they_do(finished):
    folder, activate = finished.folder, finished.activate
    for file in ("docs/results/methods.md", "docs/results/reward_models.md"):
        queued, programs = [[line for line in commands(file) if word in line] for word in ("--queue", "python -m experiments")]
        assert queued and len(programs) == len(queued)
        for line in queued:
            line = re.sub(
                r"(=[^,\s'\"\[]+)(,[^,\s'\"]+)+", r"\1", line
            )  # of each list of values the first: an entry takes seconds
            assert "Queued experiment" in type_in(folder, activate, line, "dvc queue remove --queued")
        for line in programs:
            assert "usage:" in type_in(folder, activate, f"{line.split('#')[0].split(' --output')[0]} --help")
    for target in ("sweep", "methods", "robustness", "export"):
        assert "dvc exp run" in type_in(folder, f"make --dry-run {target}")


def test_full_size_is_one_command_away_and_so_is_the_way_back(finished):
    folder, activate = finished.folder, finished.activate
    before = (folder / "params.yaml").read_text()
    alternative, whole = commands("docs/full_size.md")[:2]
    assert whole == "dvc repro" and "Qwen" in type_in(folder, activate, alternative, "git diff params.yaml")
    type_in(folder, "mv params.before.yaml params.yaml")
    assert (folder / "params.yaml").read_text() == before


def test_what_was_pushed_is_there_elsewhere(finished, tmp_path):
    folder, activate = finished.folder, finished.activate
    remote, commit, push = commands("docs/pipeline.md")[4:7]
    type_in(folder, activate, remote.replace("/tmp/preference-study-storage", str(tmp_path / "storage")), commit, push)
    type_in(tmp_path, f"source {ACTIVATE}", f"git clone -q {folder} elsewhere", "cd elsewhere", "dvc pull -q")
    assert stages_run(type_in(tmp_path / "elsewhere", f"source {ACTIVATE}", "dvc repro")) == set()
