"""The table by hand; and the program on the tiny study."""

import json
import shutil
import sys
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats

import stages.frozen_layers
from experiments import judge
from experiments.judge import DEFAULT, MeanWeights, begun, changed, groups, with_group, with_setting
from preference_study.analysis.judge import right_to_judge
from preference_study.analysis.statistics import proportion
from preference_study.artifacts import read_array, read_json, write_json
from preference_study.params import load_params
from tests.workspace import change

PAIRS = pd.DataFrame({"cluster": list("abcd"), "chosen_words": [3, 1, 3, 1], "rejected_words": 2})
RIGHT, WRONG = np.array([1.0, 2.0, 0.5, 3.0]), np.array([-1.0, -2.0, -0.5, -3.0])


def some(right: int) -> np.ndarray:
    """Margins of four pairs of which so many are right."""
    return np.where(np.arange(4) < right, RIGHT, WRONG)


def test_the_numbers_are_those_of_their_setting_and_seed():
    held_out = {
        DEFAULT: {1: {"last": some(2), "averaged": some(1)}, 2: {"last": some(3), "averaged": some(4)}},
        "other": {1: {"last": some(4), "averaged": some(2)}, 2: {"last": some(3), "averaged": some(3)}},
        "once": {1: {"last": some(1), "averaged": some(0)}},
    }
    val = {seed: {"last": some(right), "averaged": some(1)} for seed, right in ((1, 4), (2, 2), (3, 0))}
    val[3]["last"] = 10 * np.array([1.0, 1.0, -1.0, -1.0])  # the mean of rewards is not that of accuracies
    found = begun({"chosen": "this"}, 4, 5, {"probe": some(3)})
    assert found["settings"] == {} and (found["n_held_out"], found["n_val"], found["chosen"]) == (4, 5, "this")
    for name, seed in (("other", 1), (DEFAULT, 1), ("once", 1), (DEFAULT, 2), ("other", 2)):
        found = with_setting(found, name, seed, held_out[name][seed])
    found = with_group(found, val, some(3), PAIRS, {"probe": some(3)})
    assert found["settings"][DEFAULT] == {"seeds": [1, 2], "last": [0.5, 0.75], "averaged": [0.25, 1.0]}
    assert found["settings"]["other"]["last"] == [1.0, 0.75] and found["settings"]["once"]["seeds"] == [1]
    change = found["settings"]["other"]["against_default"]
    assert (change["value"], change["n"]) == (0.0, 1)
    assert found["settings"]["once"]["against_default"]["value"] == -0.25
    rights = found["val"].pop("right_to_judge")
    for right, seed in zip(rights, (1, 2, 3), strict=True):
        scored = PAIRS.assign(chosen_reward=val[seed]["last"], rejected_reward=0.0)
        assert right == right_to_judge(scored, {"probe": some(3)}) and right["against"].keys() == {"longer", "probe"}
    assert [right["shorter_chosen"]["value"] for right in rights] == [1.0, 0.5, 0.5]
    found["val"]["right_to_judge"] = []
    assert found["val"] == {
        "right_to_judge": [],
        "seeds": [1, 2, 3], "last": [1.0, 0.5, 0.5], "averaged": [0.25] * 3, "groups": [[1, 2, 3]], "mean_of_rewards": [0.5],
        "mean_of_weights": [0.75], "baselines": {"probe": proportion(3, 4)},
    }  # fmt: skip
    found = with_group(found, {4: val[2], 6: val[1]}, some(2), PAIRS, {})
    assert found["val"]["seeds"] == [1, 2, 3, 4, 6] and found["val"]["groups"] == [[1, 2, 3], [4, 6]]
    assert found["val"]["mean_of_weights"] == [0.75, 0.5] and found["val"]["last"] == [1.0, 0.5, 0.5, 0.5, 1.0]


def test_the_seed_that_chose_a_setting_is_left_out_of_its_difference_where_there_are_others():
    """By hand, right of four: 2, 3 and 1 by the default; 4, 3 and 3 by the other. Seed 1 alone says 2 / 4."""
    found = begun({"chosen": "this"}, 4, 5, {})
    for seed, default, other in ((1, 2, 4), (2, 3, 3), (3, 1, 3)):
        found = with_setting(found, DEFAULT, seed, {"last": some(default), "averaged": some(0)})
        found = with_setting(found, "other", seed, {"last": some(other), "averaged": some(0)})
        against = found["settings"]["other"]["against_default"]
        assert (against["value"], against["n"]) == {1: (0.5, 1), 2: (0.0, 1), 3: (0.25, 2)}[seed]
    student = stats.ttest_1samp([0.0, 0.5], 0).confidence_interval(0.95)
    assert (against["low"], against["high"]) == pytest.approx((student.low, student.high))
    assert "against_default" not in found["settings"][DEFAULT]


def test_what_was_measured_of_the_same_is_gone_on_from_and_nothing_else():
    about = {"chosen": "this", "params": {"rate": 0.1}, "pairs": "ab"}
    before = with_setting(begun(about, 4, 5, {}), DEFAULT, 1, {"last": some(2), "averaged": some(1)})
    assert begun(about, 4, 5, {}, before) == before
    before = with_group(before, {1: {"last": some(2), "averaged": some(1)}}, some(3), PAIRS, {})
    other = begun(about | {"chosen": "that"}, 4, 5, {}, before)
    assert other["settings"] == before["settings"] and other["val"]["seeds"] == [] and other["chosen"] == "that"
    for changed_ in ({"params": {"rate": 0.2}}, {"pairs": "ac"}, {"chosen": "that", "pairs": "ac"}):
        assert begun(about | changed_, 4, 5, {}, before)["settings"] == {}


def test_seeds_by_three():
    assert groups([1, 2, 3, 4, 5, 6, 7]) == [(1, 2, 3), (4, 5, 6)]


def test_the_mean_is_of_the_second_half_of_the_steps():
    weight, fixed = torch.nn.Parameter(torch.zeros(2)), torch.nn.Parameter(torch.ones(1), requires_grad=False)
    mean, state = MeanWeights(), SimpleNamespace(max_steps=5, global_step=0)
    mean.on_train_begin(None, state, None, model=SimpleNamespace(parameters=lambda: [weight, fixed]))
    for step in range(1, 6):
        state.global_step = step
        weight.data = torch.tensor([step, 10.0 * step])
        mean.on_step_end(None, state, None)
    mean.put_in()
    assert weight.tolist() == pytest.approx([4.0, 40.0]) and fixed.item() == 1


def test_a_rate_is_a_multiple_of_the_default(folder):
    section = load_params().reward
    found = changed(section, {"learning_rate": 0.5, "batch_size": 4})
    assert (found.learning_rate, found.batch_size) == (section.learning_rate / 2, 4)
    assert changed(section, {}) == section


@pytest.mark.parametrize(("rank", "dtype"), [(0, "float32"), (4, None)])
def test_weights_that_are_trained_are_in_float32(folder, monkeypatch, rank, dtype):
    asked = []

    def stop(base, seed, dtype=None):
        asked.append(dtype)
        raise InterruptedError

    monkeypatch.setattr(judge, "new_reward_model", stop)
    monkeypatch.setattr(judge, "load_tokenizer", lambda base: None)
    with pytest.raises(InterruptedError):
        judge.trained(load_params().reward.model_copy(update={"lora_rank": rank}), 1, None, None, None, folder, {})
    assert asked == [dtype]


def test_the_program_measures_once_and_leaves_validation_alone(folder, monkeypatch, capsys):
    change(folder, reward={"lora_rank": 4, "lora_layers": 1, "epochs": 1, "gradient_accumulation_steps": 1, "evaluations": 2})
    stages.frozen_layers.main()
    change(folder, reward={"flipped": 0.2})
    monkeypatch.setattr(sys, "argv", ["judge"])
    with pytest.raises(SystemExit, match=r"reward\.flipped .* set it to 0"):
        judge.main()
    change(folder, reward={"flipped": 0.0})
    monkeypatch.setattr(judge, "SETTINGS", {DEFAULT: {}, "head at random": {"head": "random"}, "slow": {"learning_rate": 0.01}})
    monkeypatch.setattr(judge, "MORE_SEEDS", (1, 2, 3))
    monkeypatch.setattr(judge, "SEEDS", (1, 2))
    monkeypatch.setattr(judge, "PROMISING", 1)
    monkeypatch.setattr(sys, "argv", ["judge"])
    seen = []
    trained = judge.trained

    def watched(section, seed, train, judged, *more):
        seen.append((section.head, seed, train, judged))
        return trained(section, seed, train, judged, *more)

    monkeypatch.setattr(judge, "trained", watched)
    judge.main()
    found = read_json("experiments/results/judge.json")
    assert len(seen) == 3 + 3 + 2 and sorted(len(row["seeds"]) for row in found["settings"].values()) == [1, 2, 2]
    features = {split: read_array(f"data/features/{split}.npy") for split in ("train", "val")}
    for number, (_, _, train, judged) in enumerate(seen):
        if number < 3:
            assert np.array_equal(train.features, features["train"]) and np.array_equal(judged.features, features["val"])
        else:
            assert len(train.encoded) + len(judged.encoded) == 40 and not set(train.clusters) & set(judged.clusters)
            assert len(judged.encoded) == found["n_held_out"] == 8
    assert found["n_val"] == 20 and found["val"]["groups"] == [[1, 2, 3]] and found["val"]["baselines"].keys() == {
        "longer", "tfidf", "probe"
    }  # fmt: skip
    judge.main()
    assert len(seen) == 8 and read_json("experiments/results/judge.json") == found
    # Stopped on the way, in a folder without the models: what was not written yet is measured, and comes out as it did.
    shutil.rmtree("checkpoints/judge")
    write_json("experiments/results/judge.json", found | {"settings": {DEFAULT: found["settings"][DEFAULT]}})
    judge.main()
    assert len(seen) == 8 + 1 + 2 and read_json("experiments/results/judge.json") == found
    json.dumps(found, allow_nan=False)
    # On a machine of other digits the best are given more seeds, and nothing that was measured is measured again.
    monkeypatch.setattr(judge, "SEEDS", (1, 2, 3))
    monkeypatch.setattr(sys, "argv", ["judge", "--elsewhere"])
    write_json("experiments/results/judge.json", found | {"pairs": "other digits"})
    judge.main()
    more = read_json("experiments/results/judge.json")
    assert len(seen) == 11 + 2 and more["pairs"] == "other digits" and more["val"] == found["val"]
    for name, row in found["settings"].items():
        added = 1 if len(row["seeds"]) == 2 else 0
        assert more["settings"][name]["last"][: len(row["seeds"])] == row["last"]
        assert len(more["settings"][name]["seeds"]) == len(row["seeds"]) + added
    write_json("experiments/results/judge.json", found | {"params": {}})
    with pytest.raises(SystemExit, match="leave --elsewhere out"):
        judge.main()
