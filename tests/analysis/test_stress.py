import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file

import stages.compare_stress
import stages.stress_reward
from preference_study.analysis import stress
from preference_study.analysis.statistics import holm
from preference_study.analysis.stress import compare_stress
from preference_study.artifacts import read_json, write_rows, write_table
from preference_study.models.language_models import new_reward_model, pair_rewards
from preference_study.models.tokens import encode_pairs
from preference_study.report import figures
from preference_study.texts.perturbations import PERTURBATIONS
from stages.stress_reward import perturbed, stress_scores, truth_kept
from tests.conftest import asked
from tests.workspace import change, tiny_params

pytestmark = pytest.mark.usefixtures("few_resamples")

# Ranked right, a tie, wrong, right; by perturbation (chosen, rejected), and the others change no reward.
PLAIN = ([2, 1, 0, 1], [1, 1, 1, 0])
CHANGED = {"padding": ([0, 2, 0, 1], [1, 1, 0, 0]), "typos": ([2, 1, 0, 1], [2, 1, 1, 3])}


def scored(plain=PLAIN, changed=CHANGED, kept=None) -> pd.DataFrame:
    tables = []
    for name in ("none", *PERTURBATIONS):
        chosen, rejected = (np.array(rewards, float) for rewards in changed.get(name, plain))
        ids = [str(i) for i in range(len(chosen))]
        table = pd.DataFrame(
            {"id": ids, "cluster": ids, "perturbation": name, "chosen_reward": chosen, "rejected_reward": rejected}
        )
        tables.append(
            table.assign(
                chosen_changed=name in changed and chosen != plain[0],
                rejected_changed=name in changed,
                truth_kept=(kept or {}).get(name, True),
            )
        )
    # The order of the rows says nothing: pairs are known by their id.
    return pd.concat(table if i % 2 else table[::-1] for i, table in enumerate(tables))


def test_by_hand():
    found = compare_stress({"standard": scored()}, seed=1)["standard"]
    assert found["n"] == 4 and found["accuracy"]["value"] == 0.625
    assert list(found["perturbations"]) == list(PERTURBATIONS)
    padding, typos = (found["perturbations"][name] for name in ("padding", "typos"))
    assert padding["strength"] == PERTURBATIONS["padding"].strength
    assert (padding["changed"]["value"], padding["changed"]["n"]) == (0.75, 4)
    assert padding["accuracy"]["value"] == 0.625
    assert (padding["change"]["gained"], padding["change"]["lost"], padding["change"]["p"]) == (1, 1, 1.0)
    assert padding["order_flips"]["value"] == 0.75  # right to wrong, a tie to right, wrong to a tie
    assert padding["fooled"]["value"] == 0
    assert (padding["chosen_shift"]["value"], padding["rejected_shift"]["value"]) == (-0.25, -0.25)
    assert typos["accuracy"]["value"] == 0.25
    assert (typos["change"]["gained"], typos["change"]["lost"]) == (0, 2)
    assert typos["order_flips"]["value"] == typos["fooled"]["value"] == 0.5  # the first is fooled by a tie
    assert (typos["chosen_shift"]["value"], typos["rejected_shift"]["value"]) == (0, 1)
    untouched = found["perturbations"]["formatting"]
    assert untouched["changed"]["value"] == untouched["order_flips"]["value"] == untouched["fooled"]["value"] == 0
    assert untouched["accuracy"] == found["accuracy"]
    assert found["worst"]["perturbation"] == "typos" and found["worst"]["accuracy"]["value"] == 0.25
    assert found["always_right"]["value"] == 0  # padding loses the first pair, typos the last


def test_only_the_better_response_perturbed_fools_nobody():
    changed = {"padding": ([0, 0, 0, 0], PLAIN[1])}
    found = compare_stress({"standard": scored(changed=changed)}, seed=1)["standard"]
    assert found["perturbations"]["padding"]["change"]["lost"] == 2
    assert found["perturbations"]["padding"]["fooled"]["value"] == 0
    assert found["always_right"]["value"] == 0
    found = compare_stress({"standard": scored(changed={"padding": ([2, 9, 9, 0], PLAIN[1])})}, seed=1)["standard"]
    assert found["always_right"]["value"] == 0.25  # a tie or a wrong order without a perturbation is not made good by one


def test_pairs_whose_truth_a_perturbation_changes_are_no_part_of_its_numbers():
    found = compare_stress({"standard": scored(kept={"typos": [True, True, True, False], "formatting": False})}, seed=1)[
        "standard"
    ]
    typos = found["perturbations"]["typos"]
    assert (typos["truth_kept"]["value"], typos["truth_kept"]["n"]) == (0.75, 4)
    # Of the first three the first becomes a tie, the second stays one, the third stays wrong.
    assert (typos["accuracy"]["value"], typos["accuracy"]["n"]) == (pytest.approx(1 / 3), 3)
    assert (typos["unperturbed_accuracy"]["value"], typos["unperturbed_accuracy"]["n"]) == (0.5, 3)
    assert (typos["change"]["lost"], typos["change"]["difference"]["n"]) == (1, 3)
    assert (typos["order_flips"]["n"], typos["fooled"]["n"], typos["chosen_shift"]["n"]) == (3, 3, 3)
    assert (typos["changed"]["value"], typos["changed"]["n"]) == (0.5, 4)
    assert "formatting" not in found["perturbations"]
    # The last pair is right as it is and under all that keep its truth; the first is not.
    assert (found["always_right"]["value"], found["always_right"]["n"]) == (0.25, 4)


def test_the_worst_is_not_of_a_handful_of_pairs(monkeypatch):
    """Typos, with the lowest accuracy, keep the truth of three pairs."""
    tables = {"standard": scored(kept={"typos": [True, True, True, False]})}
    found = compare_stress(tables, seed=1)["standard"]
    assert found["perturbations"]["typos"]["accuracy"]["value"] < 0.625
    assert (found["worst"]["perturbation"], found["worst"]["accuracy"]["value"]) == ("none", 0.625)
    monkeypatch.setattr(stress, "FEWEST", 3)
    found = compare_stress(tables, seed=1)["standard"]
    assert found["worst"]["perturbation"] == "typos" and found["worst"]["accuracy"]["value"] == pytest.approx(1 / 3)


def test_no_perturbation_is_one_too():
    better = {name: ([2, 2, 2, 2], [1, 1, 1, 1]) for name in PERTURBATIONS}
    found = compare_stress({"standard": scored(changed=better)}, seed=1)["standard"]
    assert (found["worst"]["perturbation"], found["worst"]["accuracy"]["value"]) == ("none", 0.625)


def test_the_truth_is_kept_where_both_responses_are_gold_as_before():
    prompt = [{"role": "user", "content": "Say something short about rain. Answer in one sentence."}]
    one, two = "Rain is wet and cold.", "Rain is wet and cold. I like it."
    pairs = pd.DataFrame({"instruction": ["one_sentence"] * 4, "chosen": [one] * 4, "rejected": [two] * 4})
    pairs["prompt"] = [prompt] * 4
    version = pairs.assign(
        chosen=["Rain is wet and cold!", two, one, "Rain rain rain."],
        rejected=["Rain is wet. I like it.", two, "I like rain most.", two],
    )
    assert truth_kept(pairs, version) == [True, False, False, False]
    assert truth_kept(pairs.drop(columns="instruction"), version) == [True] * 4
    assert truth_kept(pairs.assign(instruction="be kind"), version) == [True] * 4


def random_marks(seed: int, n: int = 80) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    plain = rng.normal([1, 0], 1, (n, 2)).T
    return scored(plain, {name: plain + rng.normal(0, 0.3 + 0.2 * i, (2, n)) for i, name in enumerate(PERTURBATIONS)})


def test_all_perturbations_of_all_variants_are_one_family():
    tables = {"one": random_marks(1), "other": random_marks(2)}
    found = compare_stress(tables, seed=1)
    changes = [row["change"] for numbers in found.values() for row in numbers["perturbations"].values()]
    assert len(changes) == 2 * len(PERTURBATIONS)
    assert [change["p_holm"] for change in changes] == holm([change["p"] for change in changes])
    alone = compare_stress({"one": tables["one"]}, seed=1)["one"]["perturbations"]["formatting"]["change"]
    assert alone["p"] < alone["p_holm"] < found["one"]["perturbations"]["formatting"]["change"]["p_holm"]
    assert compare_stress({}, seed=1) == {}


@pytest.mark.parametrize("seed", range(4))
def test_two_minima(seed):
    found = compare_stress({"standard": random_marks(seed)}, seed=1)["standard"]
    worst = found["worst"]["accuracy"]
    accuracies = {name: row["accuracy"]["value"] for name, row in found["perturbations"].items()}
    accuracies["none"] = found["accuracy"]["value"]
    assert worst["value"] == pytest.approx(min(accuracies.values())) == accuracies[found["worst"]["perturbation"]]
    assert worst["low"] < worst["value"] < worst["high"] and worst["n"] == 80
    assert found["always_right"]["value"] <= worst["value"] <= found["accuracy"]["value"]


def test_the_figure_and_its_rows():
    metrics = compare_stress({"one": random_marks(1), "other": random_marks(2)}, seed=1)
    rows = figures.stress_rows(metrics)
    assert len(rows) == 2 * (1 + len(PERTURBATIONS)) and rows["colour"].nunique() == 2
    typos = rows[(rows["variant"] == "other") & (rows["perturbation"] == "typos")].iloc[0]
    expected = metrics["other"]["perturbations"]["typos"]["accuracy"]
    assert {key: typos[key] for key in expected} == expected
    axes = figures.stress(rows).axes[0]
    assert [text.get_text() for text in axes.get_yticklabels()] == [name.replace("_", " ") for name in PERTURBATIONS][::-1]
    rings = [list(line.get_xdata()) for line in axes.lines if line.get_markerfacecolor() == "none"]
    assert rings == [[numbers["accuracy"]["value"]] * len(PERTURBATIONS) for numbers in metrics.values()] + [[]]
    assert axes.get_title() == "Responses perturbed, n = 80"
    assert len(figures.stress_rows({})) == 0 and list(figures.stress_rows({}).columns) == list(rows.columns)


PAIRS = pd.DataFrame(
    {
        "id": ["a", "b", "c"],
        "cluster": ["p", "q", "p"],
        "prompt": [asked("Hi"), asked("A longer question, is it not?"), asked("x")],
        "chosen": ["yes", "A long response goes on and on. It has two sentences.", "42"],
        "rejected": ["no no no", "Short.", "- one more\n- and two more words for it"],
    }
)
LIMITS = {"max_batch": 3, "max_padded": 400, "description": "t"}


def test_every_response_is_scored_as_it_stands_and_what_stays_the_same_once(model_folder, tokenizer, monkeypatch):
    model = new_reward_model(model_folder, seed=1, dtype=torch.float32).eval()
    scored = []
    original = stages.stress_reward.rewards
    monkeypatch.setattr(stages.stress_reward, "rewards", lambda m, s, **more: scored.extend(s) or original(m, s, **more))
    rows = pd.DataFrame(stress_scores(model, tokenizer, PAIRS, max_pairs=None, max_length=300, seed=1, **LIMITS))
    assert list(rows["perturbation"].unique()) == ["none", *PERTURBATIONS]
    assert len(rows) == 3 * (1 + len(PERTURBATIONS)) and rows["id"].tolist()[:3] == ["a", "b", "c"]
    assert not rows[rows["perturbation"] == "none"][["chosen_changed", "rejected_changed"]].to_numpy().any()
    plain = rows[rows["perturbation"] == "none"].set_index("id")
    stayed = 0
    for name, perturbation in PERTURBATIONS.items():
        version = perturbed(PAIRS, perturbation, 1)
        own = rows[rows["perturbation"] == name].set_index("id")
        direct = pair_rewards(model, encode_pairs(tokenizer, version, 300), **LIMITS)
        assert own[["chosen_reward", "rejected_reward"]].to_numpy() == pytest.approx(np.array(direct), abs=1e-5)
        for side in ("chosen", "rejected"):
            assert own[f"{side}_changed"].tolist() == (version[side] != PAIRS[side]).tolist()
            same = ~own[f"{side}_changed"]
            assert (own[f"{side}_reward"][same] == plain[f"{side}_reward"][same]).all()
            stayed += same.sum()
    assert stayed > 5 and len(scored) == len({tuple(ids) for ids in scored}) <= 2 * len(rows) - stayed


def test_a_response_that_stays_keeps_its_reward_where_its_partner_outgrows_the_limit(model_folder, tokenizer):
    model = new_reward_model(model_folder, seed=1, dtype=torch.float32).eval()
    pairs = PAIRS[:1].assign(prompt=[asked("a prompt " * 5)], rejected="no more of this, and no less")
    rows = pd.DataFrame(stress_scores(model, tokenizer, pairs, max_pairs=None, max_length=60, seed=1, **LIMITS)).set_index(
        "perturbation"
    )
    assert rows.loc["padding", "rejected_changed"] and not rows.loc["padding", "chosen_changed"]
    assert rows.loc["padding", "chosen_reward"] == rows.loc["none", "chosen_reward"]


def test_chance_depends_on_seed_pair_and_side_alone():
    typos = PERTURBATIONS["typos"]
    pairs = pd.DataFrame({"id": list("abcdefgh"), "chosen": "complicated", "rejected": "complicated"})
    found = perturbed(pairs, typos, 1)
    assert found.equals(perturbed(pairs, typos, 1)) and not found.equals(perturbed(pairs, typos, 2))
    assert perturbed(pairs[3:4], typos, 1)["chosen"].item() == found["chosen"][3]
    assert (found["chosen"] != found["rejected"]).any() and found["chosen"].nunique() > 1


@pytest.fixture
def folder(tmp_path, monkeypatch, model_folder):
    """A study with a reward model, untrained but for its head, and validation pairs."""
    tiny_params(tmp_path)
    shutil.copytree(model_folder, tmp_path / "models/base")
    new_reward_model(model_folder, seed=1).save_pretrained(tmp_path / "models/reward/standard")
    write_table(tmp_path / "data/prepared/val.parquet", PAIRS)
    write_rows(tmp_path / "data/scores/pairs.parquet", [])
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_stages(folder):
    stages.stress_reward.main("standard")
    rows = read_json("data/scores/stress/standard.json")
    assert [row["id"] for row in rows] == ["a", "b", "c"] * (1 + len(PERTURBATIONS))
    assert set(rows[0]) == {
        "id", "cluster", "perturbation", "chosen_reward", "rejected_reward", "chosen_changed", "rejected_changed", "truth_kept",
    }  # fmt: skip
    stages.compare_stress.main()
    found = read_json("metrics/stress.json")["scorers"]["standard"]
    assert (found["n"], found["clusters"], found["accuracy"]["clusters"]) == (3, 2, 2)
    assert len(pd.read_csv("plots/stress/accuracy.csv")) == 1 + len(PERTURBATIONS)
    assert (folder / "plots/stress/accuracy.png").stat().st_size > 0


def test_a_sample_of_the_pairs_is_perturbed_in_their_order(folder):
    change(folder, stress={"max_pairs": 2})
    stages.stress_reward.main("standard")
    rows = pd.DataFrame(read_json("data/scores/stress/standard.json")).groupby("perturbation")["id"].agg(list)
    assert rows["none"] == ["a", "b", "c"]  # all are scored plain
    assert len(rows["typos"]) == 2 and rows["typos"] == sorted(rows["typos"]) == rows["padding"]
    stages.compare_stress.main()
    numbers = read_json("metrics/stress.json")["scorers"]["standard"]
    assert numbers["n"] == numbers["accuracy"]["n"] == numbers["perturbations"]["typos"]["changed"]["n"] == 2


def test_no_pair_is_perturbed_where_none_is_wanted(folder):
    change(folder, stress={"max_pairs": 0})
    stages.stress_reward.main("standard")
    assert len(read_json("data/scores/stress/standard.json")) == 3
    stages.compare_stress.main()
    assert read_json("metrics/stress.json")["scorers"] == {}


def test_nothing_is_measured_where_no_variant_is_named(folder):
    change(folder, stress={"variants": []})
    stages.compare_stress.main()
    assert read_json("metrics/stress.json") == {"scorers": {}, "ensembles": {}}
    header = "variant,perturbation,label,value,low,high,n,clusters,unperturbed,colour"
    assert (folder / "plots/stress/accuracy.csv").read_text().split() == [header, ",,not", "measured,,,,,,,"]


def test_a_reward_model_without_its_head_is_refused(folder):
    weights = load_file("models/reward/standard/model.safetensors")
    del weights["score.weight"]
    save_file(weights, "models/reward/standard/model.safetensors", metadata={"format": "pt"})
    with pytest.raises(SystemExit, match="no reward head"):
        stages.stress_reward.main("standard")
    assert not (folder / "data/scores/stress").exists()
