"""What each judge's settings come to, and which pairs a cross-fitted one is trained on."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from preference_study.artifacts import read_json
from preference_study.errors import BadInput, BadParams
from preference_study.judges.settings import digest, resolved
from preference_study.params import CrossFittedJudge, EndpointJudge, LanguageModelJudge, RewardModelJudge, load_params
from stages import prepare_judge, train_judge
from stages.train_judge import not_seen
from tests.conftest import ROOT
from tests.workspace import change, tiny_params

OWN = {"variant": "margin", "max_length": 77, "aggregate": {"by": "mean", "spread_weight": 0.25}}
QUESTION = "{prompt} A: {first} B: {second}"
ENDPOINT = {"name": "far", "kind": "endpoint", "base_url": "http://here:1/v1", "model": "big", "key": "A_KEY", "max_requests": 9}


def test_settings_of_each_kind():
    """Each with all that it depends on, and nothing that only others do."""
    reward = resolved(RewardModelJudge(name="sky", kind="reward_model", model="org/sky"), None, 5, "2026-02-03", OWN)
    assert reward == {
        "name": "sky", "kind": "reward_model", "model": "org/sky", "revision": None, "template_arguments": {},
        "max_length": 4096, "until": "template", "date": "2026-02-03",
    }  # fmt: skip
    assert resolved(CrossFittedJudge(name="second", kind="cross_fitted"), None, 5, "2026-02-03", OWN) == {
        "name": "second", "kind": "cross_fitted", "unseen": "pairs", **OWN,
    }  # fmt: skip
    entry = LanguageModelJudge(name="base", kind="language_model", model="base", template="judges/mine.txt", max_pairs=3)
    assert resolved(entry, QUESTION, 5, "2026-02-03", OWN) == {
        "name": "base", "kind": "language_model", "model": "models/base", "revision": None, "template_arguments": {},
        "max_length": 4096, "template": "judges/mine.txt", "question": QUESTION, "max_prompts": None, "max_pairs": 3, "seed": 5,
        "date": "2026-02-03",
    }  # fmt: skip
    assert resolved(EndpointJudge(**ENDPOINT), QUESTION, 5, "2026-02-03", OWN) == ENDPOINT | {
        "template": "judges/pairwise.txt", "question": QUESTION, "max_prompts": None, "max_pairs": None, "seed": 5,
        "max_tokens": None, "answer_tokens": 8, "logprobs": False, "retries": 5, "timeout": 120.0, "parallel": 1,
    }  # fmt: skip
    with pytest.raises(BadInput, match=r"judges/mine.txt: \{second\} is not in it"):
        resolved(entry, "{prompt} A: {first} B:", 5, "2026-02-03", OWN)
    # An endpoint's model may be called base; it is no folder of the study's.
    assert resolved(EndpointJudge(**ENDPOINT | {"model": "base"}), QUESTION, 5, "d", OWN)["model"] == "base"


def test_a_digest_is_of_names_and_bytes(tmp_path):
    (tmp_path / "one/sub").mkdir(parents=True)
    (tmp_path / "one/a.txt").write_bytes(b"first")
    (tmp_path / "one/sub/b.txt").write_bytes(b"second")
    before = digest(tmp_path / "one")
    (tmp_path / "one").rename(tmp_path / "two")
    assert digest(tmp_path / "two") == before  # wherever the folder is
    found = {before}
    (tmp_path / "two/sub/b.txt").write_bytes(b"sec0nd")
    found.add(digest(tmp_path / "two"))
    (tmp_path / "two/sub/b.txt").rename(tmp_path / "two/sub/c.txt")
    found.add(digest(tmp_path / "two"))
    (tmp_path / "two/sub/c.txt").rename(tmp_path / "two/c.txt")
    found.add(digest(tmp_path / "two"))
    (tmp_path / "two/c.txt").write_bytes(b"first")
    (tmp_path / "two/a.txt").write_bytes(b"sec0nd")
    found.add(digest(tmp_path / "two"))
    (tmp_path / "two/empty.txt").touch()
    found.add(digest(tmp_path / "two"))
    assert len(found) == 6


def test_pairs_that_policies_do_not_see_by_hand():
    """Where the first three are seen, of the clusters a and b, the later ones of b and a are left out with their prompts."""
    clusters = pd.Series(["a", "b", "a", "c", "b", "d", "a", "c"])
    first = [np.arange(8) < count for count in range(9)]
    assert not_seen(clusters, first[3], "pairs").tolist() == [False] * 3 + [True] * 5
    assert not_seen(clusters, first[3], "prompts").tolist() == [False, False, False, True, False, True, False, True]
    assert not_seen(clusters, first[5], "prompts").tolist() == [False] * 5 + [True, False, False]
    assert not_seen(clusters, first[1], "prompts").tolist() == [False, True, False, True, True, True, False, True]
    assert not_seen(clusters, clusters == "c", "pairs").tolist() == [True, True, True, False, True, True, True, False]
    # In the order of the rows, whatever their labels.
    turned = clusters.set_axis(range(7, -1, -1))
    assert not_seen(turned, first[3], "prompts").tolist() == not_seen(clusters, first[3], "prompts").tolist()
    for limit, unseen in ((6, "prompts"), (8, "prompts"), (8, "pairs")):
        with pytest.raises(
            BadParams, match=f"see {limit} of 8 pairs, which leaves none: lower policy.max_train, or take this judge"
        ):
            not_seen(clusters, first[limit], unseen)


@pytest.fixture
def study(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tiny_params(tmp_path)
    Path("judges").mkdir()
    Path("judges/pairwise.txt").write_text((ROOT / "judges/pairwise.txt").read_text())
    return tmp_path


def test_a_judge_without_its_question_is_refused(study):
    change(study, judges=[{"name": "ada", "kind": "language_model", "model": "base", "template": "judges/mine.txt"}])
    with pytest.raises(BadInput, match=r"judge ada: there is no file judges/mine.txt to ask with; judges/pairwise.txt is one"):
        prepare_judge.main("ada")
    Path("judges/mine.txt").write_text("Which, A or B? {prompt} {first}")
    with pytest.raises(BadInput, match=r"judges/mine.txt: \{second\} is not in it"):
        prepare_judge.main("ada")
    Path("judges/mine.txt").write_bytes("Which, A or B? {prompt} {first} {second} é".encode("latin-1"))
    with pytest.raises(BadInput, match=r"judge ada: judges/mine.txt is not UTF-8; save the file as UTF-8"):
        prepare_judge.main("ada")
    assert not Path("data/judges/ada.json").exists()
    with pytest.raises(BadInput, match=r"judges in params.yaml has none named 'eve'"):
        prepare_judge.main("eve")


def test_a_judges_file_changes_with_what_it_depends_on(study):
    Path("judges/mine").mkdir()
    Path("judges/mine/config.json").write_text("{}")
    change(
        study,
        judges=[
            {"name": "own", "kind": "reward_model", "model": "judges/mine"},
            {"name": "far", "kind": "reward_model", "model": "org/name"},
            {"name": "base", "kind": "language_model", "model": "base"},
            ENDPOINT | {"name": "served", "model": "judges"},
        ],
    )

    def made() -> dict:
        for name in ("own", "far", "base", "served"):
            prepare_judge.main(name)
        return {name: read_json(f"data/judges/{name}.json") for name in ("own", "far", "base", "served")}

    before = made()
    # The base model is DVC's to watch, and an endpoint's model is no folder, whatever it is called.
    assert [name for name, settings in before.items() if "folder" in settings] == ["own"]
    assert before["own"]["folder"] == digest("judges/mine") and before["base"]["seed"] == load_params().seed
    assert before["base"]["question"] == Path("judges/pairwise.txt").read_text()
    Path("judges/mine/config.json").write_text("[]")
    after = made()
    assert [name for name in before if before[name] != after[name]] == ["own"]
    with Path("judges/pairwise.txt").open("a") as file:
        file.write("!")
    assert [name for name, settings in made().items() if settings != after[name]] == ["base", "served"]


def test_a_cross_fitted_judge_is_of_the_studys_own_recipe(study):
    change(study, judges=[{"name": "second", "kind": "cross_fitted"}], policy={"max_train": 8})
    params = load_params()
    prepare_judge.main("second")
    assert read_json("data/judges/second.json") == {
        "name": "second",
        "kind": "cross_fitted",
        "unseen": "pairs",
        "variant": params.reward.judge,
        "max_length": params.reward.max_length,
        "aggregate": params.reward.aggregate.model_dump(),
    }


def test_nothing_is_trained_for_judges_of_other_kinds(study):
    Path("data/judges").mkdir(parents=True)
    Path("data/judges/ada.json").write_text(json.dumps({"name": "ada", "kind": "language_model"}))
    train_judge.main("ada")
    assert [path.name for path in Path("models/judges/ada").iterdir()] == ["none.txt"]
    assert Path("models/judges/ada/none.txt").read_text() == "ada is of kind language_model; nothing is trained.\n"
