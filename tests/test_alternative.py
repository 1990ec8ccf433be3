"""Alternatives of params.yaml: what they change, what they leave, and that a wrong one changes nothing."""

import shutil

import pytest
import yaml

import preference_study.alternative
from preference_study.alternative import apply
from preference_study.errors import BadParams
from tests.conftest import ROOT


@pytest.fixture
def params(tmp_path):
    return shutil.copy(ROOT / "params.yaml", tmp_path / "params.yaml")


def alternative(folder, text: str):
    path = folder / "mine.yaml"
    path.write_text(text)
    return path


def test_what_it_names_changes_and_the_rest_stays(params, tmp_path):
    before = params.read_text()
    made = alternative(tmp_path, "seed: 7\npolicy:\n  methods: [ipo, kto]\n  dpo: {beta: 0.3}\ndata: {max_val: null}\n")
    changed = apply(made, params)
    assert changed == [
        ("seed", 1, 7), ("policy.methods", ["dpo"], ["ipo", "kto"]), ("policy.dpo.beta", 0.1, 0.3), ("data.max_val", 300, None),
    ]  # fmt: skip
    assert (tmp_path / "params.before.yaml").read_text() == before
    old, new = yaml.safe_load(before), yaml.safe_load(params.read_text())
    assert new["policy"]["dpo"] == old["policy"]["dpo"] | {"beta": 0.3}
    old["seed"], old["data"]["max_val"] = 7, None
    old["policy"] |= {"methods": ["ipo", "kto"], "dpo": new["policy"]["dpo"]}
    assert new == old
    # Lines of what did not change are as they were, comments and all.
    after = params.read_text().splitlines()
    gone = [line.strip() for line in before.splitlines() if line not in after]
    assert [line.split(":")[0] for line in gone] == ["seed", "max_val", "methods", "beta"]
    assert "# how dear it is to leave the reference" in params.read_text()


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("policy: {dpo: {betta: 0.3}}", "policy.dpo.betta"),
        ("policy: {dpo: {beta: -1}}", "policy.dpo.beta: .*greater than 0"),
        ("- 1", "no parameters in it"),
        ("seed: [", r"mine\.yaml is not valid YAML"),
        ("seed: 2\nseed: 3", r"mine\.yaml is not valid YAML.*\n*.*the key 'seed' is there twice"),
    ],
)
def test_a_wrong_one_changes_nothing(params, tmp_path, text, wanted):
    before = params.read_text()
    with pytest.raises(SystemExit, match=wanted):
        apply(alternative(tmp_path, text), params)
    assert params.read_text() == before and sorted(path.name for path in tmp_path.iterdir()) == ["mine.yaml", "params.yaml"]


def test_what_is_wrong_in_the_parameters_themselves_is_said(params, tmp_path):
    params.write_text(params.read_text() + "\nseed: 3\n")
    with pytest.raises(BadParams, match=r"params\.yaml is not valid YAML; nothing was run: the key 'seed' is there twice"):
        apply(alternative(tmp_path, "data: {seed: 4}"), params)


def test_one_that_is_not_there_is_named(params, tmp_path):
    with pytest.raises(SystemExit, match=r"nowhere\.yaml: there is no such file; params/"):
        apply(tmp_path / "nowhere.yaml", params)


def test_a_second_one_is_no_mixture_of_both(params, tmp_path):
    before, kept = params.read_text(), tmp_path / "params.before.yaml"
    apply(alternative(tmp_path, "seed: 7\n"), params)
    first = params.read_text()
    with pytest.raises(SystemExit, match=r"an alternative in it already.*\n.*mv .*params\.before\.yaml .*params\.yaml"):
        apply(alternative(tmp_path, "data: {max_val: 5}\n"), params)
    assert params.read_text() == first and kept.read_text() == before
    # As git brings it back: the old copy is of the same file then.
    params.write_text(before)
    apply(alternative(tmp_path, "data: {max_val: 5}\n"), params)
    assert yaml.safe_load(params.read_text())["seed"] == 1 and kept.read_text() == before


def test_it_says_what_it_changed(params, tmp_path, monkeypatch, capsys):
    made = alternative(tmp_path, "seed: 7\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["alternative", str(made)])
    preference_study.alternative.main()
    assert (
        capsys.readouterr().out
        == "seed: 1 -> 7\nparams.yaml: 1 parameters changed; mv params.before.yaml params.yaml undoes it\n"
    )
    preference_study.alternative.main()
    assert "nothing to change" in capsys.readouterr().out
