"""What can be exported, what `make export` exports, and that all of it is listed as artifacts."""

import runpy
import sys

import pytest
import yaml

from preference_study.export import not_exported
from preference_study.methods import METHODS, display_name
from preference_study.params import checked_params
from preference_study.variants import VARIANTS
from tests.conftest import ROOT
from tests.workspace import change, tiny_params

EXPORTED = [name for name in VARIANTS if name != "ensemble"]


def test_all_but_several_models():
    assert [name for name in VARIANTS if not not_exported(name)] == EXPORTED
    assert "ensemble is several models" in not_exported("ensemble")


@pytest.mark.parametrize(("judge", "models"), [("length_margin", ["length_margin"]), ("ensemble", [])])
def test_what_make_export_gives_dvc(tmp_path, monkeypatch, capsys, judge, models):
    tiny_params(tmp_path)
    monkeypatch.chdir(tmp_path)
    change(tmp_path, policy={"methods": ["dpo", "kto"]}, reward={"variants": ["standard", judge], "judge": judge})
    monkeypatch.setattr(sys, "argv", ["export"])
    runpy.run_module("preference_study.export", run_name="__main__")
    printed = capsys.readouterr()
    words = printed.out.split()
    assert words[::2] == ["-S", "-S"]
    given = {name: yaml.safe_load(value) for name, value in (word.split("=") for word in words[1::2])}
    assert given == {"export.policies": ["dpo", "kto"], "export.reward_models": models}
    assert ("the judge is left out: ensemble is several models" in printed.err) == (judge == "ensemble")
    change(tmp_path, export={name.split(".")[1]: value for name, value in given.items()})
    checked_params((tmp_path / "params.yaml").read_text(), "t")


def test_nothing_is_exported_unless_asked_for():
    export = checked_params((ROOT / "params.yaml").read_text(), "t").export
    assert export.policies == export.reward_models == []


def test_every_export_is_an_artifact():
    """With the path that its stage writes; the names are GTO's, which knows no underscores."""
    definition = yaml.safe_load((ROOT / "dvc.yaml").read_text())
    outs = {name: definition["stages"][f"export_{name}"]["outs"][0] for name in ("policy", "reward")}
    wanted = {f"policy-{name}": outs["policy"].replace("${item.method}", name) for name in METHODS}
    wanted |= {f"reward-{name.replace('_', '-')}": outs["reward"].replace("${item.variant}", name) for name in EXPORTED}
    artifacts = definition["artifacts"]
    assert {name: row["path"] for name, row in artifacts.items()} == wanted
    for name, row in artifacts.items():
        kind, which = row["path"].split("/")[-2:]
        assert row["type"] == "model" and which in row["labels"], name
        assert row["desc"].startswith(f"{display_name(which)} policy" if kind == "policy" else f"Reward model, {which}:"), name
