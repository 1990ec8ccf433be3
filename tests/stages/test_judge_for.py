"""Which reward model a method is given."""

import pytest
import yaml

import stages.judge_for
from preference_study.artifacts import read_json, write_json
from preference_study.methods import METHODS
from tests.workspace import change, tiny_params

ONLINE = [name for name, method in METHODS.items() if method.needs_reward_model]


@pytest.fixture
def study(tmp_path, monkeypatch):
    """With a single reward model and an ensemble, as far as their files' names go."""
    monkeypatch.chdir(tmp_path)
    tiny_params(tmp_path)
    for variant, files in (("standard", ("weights",)), ("ensemble", ("member_1/weights", "members.json"))):
        for file in files:
            write_json(f"models/reward/{variant}/{file}", f"{variant} {file}")
    change(tmp_path, reward={"variants": ["standard", "ensemble"]})
    return tmp_path


def files(folder) -> dict:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("name", ONLINE)
@pytest.mark.parametrize("judge", ["standard", "ensemble"])
def test_an_online_method_gets_the_judge_and_how_it_is_summed_up(study, name, judge):
    aggregate = {"by": "mean_minus_spread", "spread_weight": 0.375}
    change(study, reward={"judge": judge, "aggregate": aggregate})
    target = study / "models/judge_for" / name
    write_json(target / "of_another_run", 1)
    stages.judge_for.main(name)
    found = files(target)
    if judge == "ensemble":
        assert read_json(target / "aggregate.json") == aggregate
        found.pop("aggregate.json")
    assert found == files(study / f"models/reward/{judge}")


@pytest.mark.parametrize("name", sorted(set(METHODS) - set(ONLINE)))
def test_a_change_of_the_judge_is_no_change_to_other_methods(study, name):
    written = []
    for judge in ("standard", "ensemble"):
        change(study, reward={"judge": judge})
        stages.judge_for.main(name)
        written.append(files(study / "models/judge_for" / name))
    assert written[0] == written[1] == {"none.txt": f"{name} trains on preferences alone.\n"}


def test_files_are_copied_where_a_second_name_is_not_to_be_had(study, monkeypatch):
    def refused(*_):
        raise OSError

    monkeypatch.setattr(stages.judge_for.os, "link", refused)
    stages.judge_for.main(ONLINE[0])
    judge = yaml.safe_load((study / "params.yaml").read_text())["reward"]["judge"]
    assert files(study / "models/judge_for" / ONLINE[0]) == files(study / "models/reward" / judge)
