"""A method, a variant and a benchmark more, in the finished study: the last to run there, for it changes the study's files."""

import json
import sys

import dvc.api

from tests.conftest import ROOT
from tests.corpus.files import lines
from tests.workspace import change, run, stages_run

HINGE = """
from preference_study.methods import Method, Recipe
from preference_study.sections import MethodSection


def recipe():
    from trl import DPOConfig

    from preference_study.training.trainers import DPO, pair_rows

    return Recipe(DPO, DPOConfig, pair_rows)


def configure(policy, own, processes):
    return {"max_length": None, "loss_type": ["hinge"], "beta": own.beta, "precompute_ref_log_probs": True}


METHOD = Method("Hinge", MethodSection, recipe, configure, needs_reference=True, given_reference=True)
"""
TWINS = """
from preference_study.variants import RewardVariant

VARIANT = RewardVariant(members=lambda own: 2)
"""


def test_a_method_and_a_variant_more_are_a_file_and_a_section_each(finished):
    """Those of docs/extending.md; and RLOO, because it needs the reward model besides: every stage has to bring its part."""
    repository = finished.folder
    (repository / "preference_study/methods/hinge.py").write_text(HINGE)
    (repository / "preference_study/variants/twins.py").write_text(TWINS)
    change(repository, policy={"methods": ["dpo", "rloo", "hinge"], "hinge": {"learning_rate": 1e-4, "beta": 0.1}})
    measured = ["standard", "twins"]
    change(repository, reward={"variants": measured, "twins": {}}, stress={"variants": measured})
    # Of a benchmark, in which one row's prompt is too long, and one row's label means neither.
    rows = [
        {
            "input": f"Say {n}!" + " And again!" * 30 * (n == 0),
            "output_1": "yes " * n + "!",
            "output_2": "no.",
            "label": 1 + n % 2,
        }
        for n in range(12)
    ]
    (repository / "tiny/bench.jsonl").write_bytes(lines(*rows, rows[1] | {"label": 3}))
    change(repository, benchmarks=[{"name": "bar", "file": "tiny/bench.jsonl"}])
    change(repository, export={"policies": ["rloo"], "reward_models": ["standard"]})
    others = [{"name": "second", "kind": "cross_fitted"}, {"name": "asked", "kind": "language_model", "model": "base"}]
    change(repository, judges=others)
    ran = stages_run(run(repository, "dvc", "repro"))
    alone = {
        f"{stage}@{method}" for stage in ("judge_for", "train_policy", "measure_kl", "generate") for method in ("rloo", "hinge")
    }
    alone |= {"check", "train_reward@twins", "stress_reward@twins", "compare_stress", "compare_variants", "score_responses"}
    alone |= {"prepare_benchmark@benchmark0", "compare_benchmarks@benchmark0"}
    alone |= {f"score_benchmarks@{variant}-benchmark0" for variant in measured}
    alone |= {"export_policy@rloo", "export_reward@standard", "compare_judges"}
    alone |= {
        f"{stage}@judge{n}" for stage in ("prepare_judge", "train_judge", "ask_endpoint", "ask_judge") for n in range(len(others))
    }
    assert ran == alone | {
        "compare_policies",
        "compare_methods",
        "compare_groups",
        "report",
    }  # and no model that was there is trained again
    table = json.loads((repository / "metrics/methods.json").read_text())
    assert list(table["methods"]) == ["dpo", "rloo", "hinge"] and len(table["pairs"]) == 6
    assert table["methods"]["rloo"]["needs_reward_model"] and not table["methods"]["dpo"]["needs_reward_model"]
    assert set(json.loads((repository / "metrics/variants.json").read_text())) == {
        "standard", "twins (mean)", "twins (worst)", "twins (mean minus spread)",
    }  # fmt: skip
    bar = json.loads((repository / "metrics/benchmarks/bar.json").read_text())
    assert (bar["shape"], bar["rows_in"], bar["n"], bar["dropped"]) == ("llmbar", 13, 12, {"bad_preference": 1})
    assert list(bar["judges"]) == [
        "standard", "twins (mean)", "twins (worst)", "twins (mean minus spread)", "the longer wins",
    ]  # fmt: skip
    scored = json.loads((repository / "data/scores/benchmarks/bar/standard.json").read_text())
    assert bar["shortened"] == 1 and [row["shortened"] for row in scored] == [True] * 2 + [False] * 22
    right = [
        a > b for a, b in zip(*([row["reward"] for row in scored if row["response"] == side] for side in (0, 1)), strict=True)
    ]
    accuracy = sum(first == (n % 2 == 0) for n, first in enumerate(right)) / 12
    assert bar["judges"]["standard"]["accuracy"]["overall"]["value"] == accuracy
    # The first response has n words, the second one; they are as long where n is 1, and the second is longer where n is 0.
    longer = sum(0.5 if n == 1 else (n > 1) == (n % 2 == 0) for n in range(12)) / 12
    assert bar["judges"]["the longer wins"]["accuracy"]["overall"]["value"] == longer
    judges = json.loads((repository / "metrics/judges.json").read_text())
    assert {name: judge["kind"] for name, judge in judges["judges"].items()} == {
        "standard": "own", "second": "cross_fitted", "asked": "language_model",
    }  # fmt: skip
    policies = json.loads((repository / "metrics/policies.json").read_text())
    for method in ("dpo", "rloo", "hinge"):
        own, told = judges["judges"]["standard"]["policies"][method], policies[method]["against_base"]
        assert [own[key] for key in ("wins", "losses", "ties", "win_rate")] == [
            told[key] for key in ("wins", "losses", "ties", "win_rate")
        ]
        assert judges["judges"]["asked"]["policies"][method]["win_rate"]["n"] == 12
    of_pairs = json.loads((repository / "metrics/reward.json").read_text())["accuracy"]
    assert judges["judges"]["standard"]["pairs"]["accuracy"] == of_pairs and judges["judges"]["asked"]["pairs"]["position"]
    second = json.loads((repository / "data/judgements/second.json").read_text())
    assert 0 < second["train_pairs"] <= 16 and (len(second["pairs"]), len(second["responses"])) == (20, 36)
    page = (repository / "reports/index.html").read_text()
    section = page.split('<section id="judges"')[1].split("</section>")[0]
    assert all(f'<th scope="row">{name}</th>' in section for name in ("standard", "second", "asked"))
    assert 'id="benchmarks"' in page and "twins (worst)" in page.split('id="benchmarks"')[1].split("</section>")[0]
    assert "Hinge" in page and "twins (worst)" in page
    listed = run(repository, sys.executable, "-m", "preference_study.methods")
    assert listed.strip() == "[dpo,hinge,ipo,kto,orpo,rloo,simpo]"


def test_an_export_is_there_for_others_by_name_and_by_path(finished, tmp_path):
    """The commands of docs/export.md, but that the remote is a folder here."""
    repository = finished.folder
    run(repository, "git", "add", "-A")
    run(repository, "git", "commit", "-qm", "Exported")
    pushed, register, tags = [line.split("#")[0].strip() for line in block("dvc push")]
    assert (pushed, tags) == ("dvc push", "git push --tags")
    run(repository, *register.replace("-dpo", "-rloo").split())
    own = {path.name: path.read_bytes() for path in (repository / "models/export/policy/rloo").iterdir()}
    run(tmp_path, "git", "init", "-q")
    run(tmp_path, "dvc", "init", "-q")
    by_version, by_path, imported = [
        line.split("#")[0].strip().replace("<repository>", str(repository)).replace("dpo", "rloo").split()
        for line in block("dvc artifacts get")
    ]
    for number, command in enumerate((by_version, by_path, imported)):
        run(tmp_path, *command, "-o", f"got_{number}")
        assert {path.name: path.read_bytes() for path in (tmp_path / f"got_{number}").iterdir()} == own, command
    assert (tmp_path / "got_2.dvc").exists()
    shown = dvc.api.artifacts_show("policy-rloo", repo=str(repository))
    assert shown["path"] == "models/export/policy/rloo" and run(repository, "git", "rev-parse", "HEAD").strip() == shown["rev"]
    run(repository, "git", "tag", "-d", "policy-rloo@v0.0.1")


def block(begins: str) -> list[str]:
    """The lines of the block of docs/export.md that begins so."""
    [found] = [text for text in (ROOT / "docs/export.md").read_text().split("```") if text.strip().startswith(begins)]
    return found.strip().splitlines()
