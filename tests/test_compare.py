"""Two revisions of a small study in a real git and DVC repository: read by name, compared, written."""

import json
from pathlib import Path

import pytest
import yaml

from preference_study.compare import choose_policy, compare, main, notes, smallest_differences
from preference_study.errors import BadInput
from preference_study.revisions import RESPONSES, Study, judge_of, read_study
from tests.report.example import HOSTILE, responses
from tests.workspace import run, tiny_text

pytestmark = pytest.mark.usefixtures("few_resamples")

WRITE = """
import json, pathlib, yaml
params = yaml.safe_load(open("params.yaml"))
name = "other" if params["policy"]["dpo"]["beta"] == 0.2 else "first"
target = pathlib.Path("{target}")
target.parent.mkdir(parents=True, exist_ok=True)
target.write_text(pathlib.Path(f"answers/{{name}}.json").read_text())
"""
STAGE = {
    "cmd": "python write.py",
    "deps": ["models/base", "models/reward/standard", "answers"],
    "params": ["reward.judge", "reward.aggregate", "reward.max_length", "policy.dpo.beta"],
    "outs": [RESPONSES],
}
RIGHT = {"right_to_judge": {"holds": True, "reasons": []}}


def answers(seed: int) -> list[dict]:
    """Responses of base, DPO and IPO; the prompts do not hang on the seed."""
    prompts = responses(["base"], 30, True)
    rows = responses(["base", "dpo", "ipo"], 30, True, seed)
    if seed == 4:  # two texts that DPO wrote before, whose rewards differ in a last digit
        before = [row for row in responses(["base", "dpo", "ipo"], 30, True, 3) if row["policy"] == "dpo"]
        own = [row for row in rows if row["policy"] == "dpo"]
        for row, same, rounding in zip(own, before, (1e-7, -1e-7), strict=False):
            row |= {"response": same["response"], "reward": same["reward"] + rounding}
    return [row | {key: prompts[i % 30][key] for key in ("prompt", "instruction")} for i, row in enumerate(rows)]


def set_beta(folder: Path, beta: float) -> None:
    params = yaml.safe_load((folder / "params.yaml").read_text())
    params["policy"]["dpo"]["beta"] = beta
    (folder / "params.yaml").write_text(yaml.safe_dump(params))


@pytest.fixture(scope="module")
def repository(tmp_path_factory) -> Path:
    """Commits: before the run; the study, tagged v1; another reward model, tagged v2. An experiment, other, from v1."""
    folder = tmp_path_factory.mktemp("repository")
    for name, text in {
        "params.yaml": tiny_text(), "write.py": WRITE.format(target=RESPONSES), "metrics/reward.json": json.dumps(RIGHT),
        "models/base": "base", "models/reward/standard": "judge",
        "dvc.yaml": yaml.safe_dump({"stages": {"score_responses": STAGE}}),
        "answers/first.json": json.dumps(answers(3)), "answers/other.json": json.dumps(answers(4)),
    }.items():  # fmt: skip
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    (folder / ".gitignore").write_text(f"/{RESPONSES}\n")
    set_beta(folder, 0.1)
    run(folder, "git", "init", "-q", "-b", "trunk")
    run(folder, "git", "config", "user.email", "t@t")
    run(folder, "git", "config", "user.name", "t")
    run(folder, "dvc", "init", "-q")

    def commit(tag: str) -> None:
        run(folder, "git", "add", "-A")
        run(folder, "git", "commit", "-qm", tag)
        run(folder, "git", "tag", tag)

    commit("v0")
    run(folder, "dvc", "repro", "-q")
    commit("v1")
    run(folder, "dvc", "exp", "run", "-q", "--name", "other", "-S", "policy.dpo.beta=0.2")
    run(folder, "git", "checkout", "-q", ".")
    (folder / "models/reward/standard").write_text("another judge")
    run(folder, "dvc", "repro", "-q")
    commit("v2")
    return folder


@pytest.fixture
def there(repository, monkeypatch) -> Path:
    monkeypatch.chdir(repository)
    return repository


def test_a_study_is_read_as_it_stood_at_each_revision(there):
    first, other, branch = (read_study(name) for name in ("v1", "other", "trunk"))
    assert first.responses == branch.responses == answers(3) and other.responses == answers(4)
    assert [study.params["policy"]["dpo"]["beta"] for study in (first, other)] == [0.1, 0.2]
    assert first.judge == other.judge and first.judge["stands"] and first.judge["name"] == "standard"
    assert first.judge["reward_model"] != branch.judge["reward_model"] and first.judge["base_model"] == branch.judge["base_model"]
    assert first.judge["max_length"] == first.params["reward"]["max_length"]
    assert first.identity["names"] == ["v1"] and other.identity["names"] == ["other"]
    assert sorted(branch.identity["names"]) == ["trunk", "v2"]
    assert first.identity["commit"] == run(there, "git", "rev-parse", "v1").strip() and not first.identity["changed"]
    assert read_study(first.identity["commit"][:9]).identity == first.identity == read_study("HEAD~1").identity
    assert first.policies() == ["base", "dpo", "ipo"] and {row["policy"] for row in first.of("ipo")} == {"ipo"}
    assert first.right_to_judge == RIGHT["right_to_judge"]


def test_the_working_tree_is_read_as_it_lies_there(there):
    whole = (there / RESPONSES).read_bytes()
    try:
        (there / RESPONSES).unlink()
        (there / RESPONSES).write_text(json.dumps(answers(4)))
        set_beta(there, 0.3)
        found = read_study("workspace")
    finally:
        (there / RESPONSES).write_bytes(whole)
        run(there, "git", "checkout", "-q", "params.yaml")
    assert found.responses == answers(4) and found.params["policy"]["dpo"]["beta"] == 0.3
    assert found.identity["changed"] and found.identity["commit"] == read_study("v2").identity["commit"]
    assert not found.judge["stands"]  # dvc.lock tells of others
    clean = read_study("workspace")
    assert clean.judge["stands"] and not clean.identity["changed"]


def test_what_cannot_be_read_is_told_with_what_to_do(there, tmp_path, monkeypatch):
    with pytest.raises(BadInput, match=r"nowhere: .*nowhere.*dvc exp list --all"):
        read_study("nowhere")
    with pytest.raises(BadInput, match=r"v0: data/responses/.*json is not there, for the study was not run .*git checkout v0"):
        read_study("v0")
    elsewhere = tmp_path / "elsewhere"
    run(tmp_path, "git", "clone", "-q", str(there), str(elsewhere))
    monkeypatch.chdir(elsewhere)
    with pytest.raises(BadInput, match=r"v1: data/responses/.*json is neither in DVC's cache here nor on a remote: dvc pull"):
        read_study("v1")
    (elsewhere / "data/responses").mkdir(parents=True)
    (elsewhere / RESPONSES).write_text("[{")
    with pytest.raises(BadInput, match=r"workspace: data/responses/.*json cannot be read .*run dvc repro there"):
        read_study("workspace")
    (elsewhere / RESPONSES).write_text('[{"id": "1"}]')
    with pytest.raises(BadInput, match=r"lacks prompt, policy, response, finished, reward in some rows"):
        read_study("workspace")
    (elsewhere / RESPONSES).write_text(json.dumps({"left_out": "200000 rows, more than 100000"}))
    with pytest.raises(BadInput, match=r"leaves its rows out \(200000 rows, more than 100000\).*generate.max_prompts"):
        read_study("workspace")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BadInput, match="workspace: "):
        read_study("workspace")


def test_a_lock_that_tells_of_no_judge():
    found = judge_of({}, {"reward": {"judge": "standard"}}, "x")
    assert (found["name"], found["reward_model"], found["stands"]) == ("standard", None, False)


def test_an_experiment_beside_a_commit_from_the_command_line(there, tmp_path, capsys):
    main(["v1", "other", "--method", "dpo", "--output", str(tmp_path / "two.html")])
    printed = capsys.readouterr().out
    found = json.loads((tmp_path / "two.json").read_text())
    assert (found["a"]["called"], found["b"]["called"]) == ("DPO of v1", "DPO of other")
    assert found["parameters"] == [{"name": "policy.dpo.beta", "a": 0.1, "b": 0.2}]
    assert found["judge"] == {
        "name": "standard",
        "differs": [],
        "right_to_judge": RIGHT["right_to_judge"] | {"trained_against": []},
    }
    a, b = ({row["id"]: row for row in answers(seed) if row["policy"] == "dpo"} for seed in (3, 4))
    same = [name for name in a if a[name]["response"] == b[name]["response"]]
    assert sum(0 < abs(b[name]["reward"] - a[name]["reward"]) < 1e-6 for name in same) == 2
    assert found["b_against_a"]["wins"] == sum(b[name]["reward"] > a[name]["reward"] for name in a if name not in same)
    assert found["b_against_a"]["ties"] == found["prompts"]["same_response"] == len(same) < 15
    assert found["prompts"]["paired"] == 30 and found["seed"] == 1
    assert found["b_against_a"]["verdict"]["sentence"] in printed and str(tmp_path / "two.html") in printed
    page = (tmp_path / "two.html").read_text()
    assert "policy.dpo.beta" in page and found["b"]["commit"] in page and "DPO of other" in page
    assert all(text not in page for text in HOSTILE if "<" in text)


def test_another_judge_and_another_method(there, tmp_path, capsys):
    main(
        [
            "v1",
            "v2",
            "--method",
            "dpo",
            "--other-method",
            "ipo",
            "--output",
            str(tmp_path / "p.html"),
            "--json",
            str(tmp_path / "n"),
        ]
    )
    assert "Rewards are not compared, for the reward model is not the same." in capsys.readouterr().out
    found = json.loads((tmp_path / "n").read_text())
    assert (found["a"]["method"], found["b"]["method"]) == ("dpo", "ipo") and "win_rate" not in found["b_against_a"]
    assert found["judge"]["differs"] and found["judge"]["right_to_judge"] is None and "gold" in found["b_against_a"]
    assert "<b>Rewards are not compared</b>" in (tmp_path / "p.html").read_text()


def study(revision: str = "HEAD", policies=("base", "dpo"), **params) -> Study:
    rows = [row for row in answers(3) if row["policy"] in policies]
    judge = {"name": "standard", "reward_model": "1", "base_model": "2", "max_length": 9, "aggregate": {}, "stands": True}
    identity = {"commit": "c", "date": "2026-01-01", "names": [], "changed": False}
    return Study(revision, identity, rows, {"seed": 1} | params, judge, None)


def test_the_policy_meant_is_the_only_one_or_named():
    assert choose_policy(study(), None, "--method") == "dpo" and choose_policy(study(), "base", "--method") == "base"
    with pytest.raises(BadInput, match="HEAD: simpo did not answer there; base, dpo did: --other-method says which"):
        choose_policy(study(), "simpo", "--other-method")
    with pytest.raises(BadInput, match="HEAD: base, dpo, ipo answered there: --method says which is meant"):
        choose_policy(study(policies=("base", "dpo", "ipo")), None, "--method")
    with pytest.raises(BadInput, match="both sides are DPO of HEAD: name another revision or --other-method"):
        compare(study(), study())


def test_the_smaller_of_both_smallest_differences_counts(there):
    def verdict(win_rate, gold_rate):
        return {"verdict": {"smallest_difference": {"win_rate": win_rate, "gold_rate": gold_rate}}}

    assert smallest_differences(verdict(0.1, 0.3), verdict(0.2, 0.05)) == {"win_rate": 0.1, "gold_rate": 0.05}
    assert smallest_differences(verdict(0.11, 0.3), {}) == {"win_rate": 0.11, "gold_rate": 0.3}
    own = yaml.safe_load((there / "params.yaml").read_text())["verdict"]["smallest_difference"]
    assert smallest_differences({}, {}) == own


def test_what_must_be_known_beside_the_verdict():
    counts = {"only_in_a": 1, "only_in_b": 2, "changed": 3, "clusters_differ": True}
    rows = [{"name": "generate.max_new_tokens", "a": 56, "b": 96}, {"name": "policy.dpo.beta", "a": 1, "b": 2}]
    answered, left, clusters = notes(rows, counts)
    assert answered.startswith("generate.max_new_tokens is 56 in A and 96 in B") and left.startswith("6 prompts")
    assert clusters.startswith("the two drew prompts together in other ways")
    assert notes([], dict.fromkeys(counts, 0)) == []
    none = dict.fromkeys(counts, 0)
    others = ["generate.engine", "model.template_arguments.enable_thinking", "model.chat_template", "model.date"]
    told = notes([{"name": name, "a": "one", "b": "another"} for name in ("seed", *others, "generate.batch_size")], none)
    assert [line.split()[0] for line in told] == others


def test_the_help_has_examples(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    assert "preference_study.compare HEAD other-beta" in capsys.readouterr().out
