"""The stage's wiring: responses joined by id, each measure of training from its own file, costs from their own."""

import numpy as np
import pandas as pd
import pytest
import yaml

import stages.compare_methods
from preference_study.analysis.methods import compare_pairs, flat
from preference_study.artifacts import read_json, read_rows, write_json, write_rows
from preference_study.report.figures import NOT_MEASURED, method_rows
from stages.compare_methods import responses_by_policy, training
from tests.report.example import write_example
from tests.workspace import change, tiny_params

pytestmark = pytest.mark.usefixtures("few_resamples")

METHODS, READ = ["dpo", "rloo"], ["DPO", "RLOO"]


def scored(**columns) -> pd.DataFrame:
    """Four prompts, whose order is another in each policy."""
    rows = [
        ("base", "d", "No.", 4.0), ("base", "a", "Why?", 1.0), ("base", "c", "Who?", 3.0), ("base", "b", "Yes.", 2.0),
        ("dpo", "a", "So?", 10.0), ("dpo", "b", "And?", 20.0), ("dpo", "c", "No.", 30.0), ("dpo", "d", "If?", 40.0),
        ("rloo", "c", "No?", 300.0), ("rloo", "d", "No!", 400.0), ("rloo", "b", "No!", 200.0), ("rloo", "a", "No!", 100.0),
    ]  # fmt: skip
    table = pd.DataFrame(rows, columns=["policy", "id", "response", "reward"])
    table["prompt"] = [[{"role": "user", "content": "Say something about rain. End with a question."}]] * len(table)
    return table.assign(**columns)


def test_responses_are_in_bases_order_and_base_is_last():
    found = responses_by_policy(scored(instruction="ends_with_question"), METHODS)
    assert list(found) == ["dpo", "rloo", "base"]
    assert {policy: rows["reward"].tolist() for policy, rows in found.items()} == {
        "dpo": [40, 10, 30, 20], "rloo": [400, 100, 300, 200], "base": [4, 1, 3, 2],
    }  # fmt: skip
    assert {policy: rows["letter"].tolist() for policy, rows in found.items()} == {
        "dpo": [True, True, False, True], "rloo": [False, False, True, False], "base": [False, True, True, False],
    }  # fmt: skip


def test_without_instructions_no_truth_is_known():
    assert all(not {"letter", "gold"} & set(rows) for rows in responses_by_policy(scored(), METHODS).values())


def log(method: str, measure: str, steps: dict[int, float]) -> None:
    path = f"plots/train_policy/{method}/plots/metrics/{measure}.tsv"
    pd.DataFrame({"step": steps.keys(), measure: steps.values()}).to_csv(path, sep="\t", index=False)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    write_example(tmp_path, METHODS, sandbox=True, whole=False)
    tiny_params(tmp_path)
    change(tmp_path, policy={"methods": METHODS})
    monkeypatch.chdir(tmp_path)
    for place, method in enumerate(METHODS, start=1):
        (tmp_path / f"plots/train_policy/{method}/plots/metrics").mkdir(parents=True, exist_ok=True)
        log(method, "examples", {0: 0, 4: 8 * place, 8: 16 * place, 12: 24 * place})
        log(method, "loss", {4: 0.5 + place, 8: 0.25 + place})
        path = f"metrics/train_policy/{method}.json"
        write_json(path, read_json(path) | {"implicit_beta": {"dpo": 0.5, "rloo": None}[method]})
        cost = {"seconds": 10.0 * place, "peak_memory_bytes": place * 2**30, "device": method, "dtype": f"{method}16"}
        write_json(f"metrics/train_cost/{method}.json", cost)
    for side, place in (("chosen", 0), ("rejected", 1)):
        log("dpo", f"rewards_{side}", {4: 0.5 - place, 8: -0.25 - place})
        log("rloo", f"rewards_{side}", {4: 7.0})
    log("rloo", "reward", {4: -1.0, 12: 2.0})
    log("rloo", "kl", {4: 0.0, 8: 0.125, 12: 0.25})
    log("rloo", "completions_mean_length", {4: 33.0, 12: 20.0})
    log("rloo", "completions_clipped_ratio", {4: 0.75, 12: 0.25})
    write_json("metrics/best_of_n.json", {})
    return tmp_path


def test_a_step_has_the_examples_seen_by_then_and_its_own_measure(folder):
    found = training(METHODS, "loss")
    assert list(found) == METHODS
    assert found["dpo"].to_numpy().tolist() == [[8, 1.5], [16, 1.25]]
    assert found["rloo"].to_numpy().tolist() == [[16, 2.5], [32, 2.25]]
    assert list(training(METHODS, "reward")) == ["rloo"] and training(["dpo"], "kl") == {}


def test_each_file_is_of_its_own_measure(folder, monkeypatch):
    pictures = {}
    monkeypatch.setattr(stages.compare_methods, "write_png", lambda path, figure: pictures.update({path.stem: figure}))
    stages.compare_methods.main()
    wanted = {
        "loss": [("DPO", 8, 1.5), ("DPO", 16, 1.25), ("RLOO", 16, 2.5), ("RLOO", 32, 2.25)],
        "reward": [("RLOO", 16, -1.0), ("RLOO", 48, 2.0)],
        "kl": [("RLOO", 16, 0.0), ("RLOO", 32, 0.125), ("RLOO", 48, 0.25)],
        "length": [("RLOO", 16, 33.0), ("RLOO", 48, 20.0)],
    }
    for name, rows in wanted.items():
        found = pd.read_csv(f"plots/methods/training_{name}.csv")
        assert list(found[["group", "examples", name]].itertuples(index=False, name=None)) == rows
    logps = pd.read_csv("plots/methods/training_logps.csv")
    assert list(logps[["group", "examples", "change"]].itertuples(index=False, name=None)) == [
        ("DPO, chosen", 8, 1.0), ("DPO, chosen", 16, -0.5), ("DPO, rejected", 8, -1.0), ("DPO, rejected", 16, -2.5),
    ]  # fmt: skip
    plane = pd.read_csv("plots/methods/plane_judge.csv").set_index("group")
    policies = read_json("metrics/policies.json")
    for method, name in zip(METHODS, READ, strict=True):
        assert plane.loc[name, "kl"] == pytest.approx(policies[method]["price"]["kl"]["nats_per_response"]["value"])
        assert plane.loc[name, "value"] == pytest.approx(policies[method]["against_base"]["reward_difference"]["value"])
    # The penalty of 1 for responses that were cut off is given back: -1 + 0.75, and 2 + 0.25.
    assert plane.loc["RLOO in training", ["kl", "value"]].to_numpy().tolist() == [[0.0, 0.0], [5.0, 2.5]]
    gold = pd.read_csv("plots/methods/plane_gold.csv").set_index("group")["value"]
    assert gold.to_dict() == {
        name: pytest.approx(policies[m]["against_base"]["gold"]["difference"]["value"])
        for m, name in zip(METHODS, READ, strict=True)
    }
    shares, by_name = pd.read_csv("plots/methods/methods.csv"), dict(zip(["base", *READ], policies.values(), strict=True))
    pd.testing.assert_frame_equal(shares, method_rows(by_name, READ).reset_index(drop=True), check_dtype=False)
    assert set(pictures) == {"methods", "pairwise", "training", "training_logps", "plane"}
    drawn = {axes.get_title(): list(axes.lines[0].get_ydata()) for axes in pictures["training"].axes if axes.axison}
    assert drawn == {
        "loss of DPO": [1.5, 1.25], "loss of RLOO": [2.5, 2.25], "mean reward of samples": [-1, 2],
        "KL from base (nats a token)": [0, 0.125, 0.25], "mean length of samples (tokens)": [33, 20],
    }  # fmt: skip
    ticks = [label.get_text() for label in pictures["pairwise"].axes[0].get_xticklabels()]
    assert [tick.split("\n")[0] for tick in ticks] == ["base", *READ]


def test_costs_and_tokens_are_each_methods_own(folder):
    for method, tokens in (("dpo", 1000), ("rloo", 4000)):
        path = f"metrics/train_policy/{method}.json"
        write_json(path, read_json(path) | {"tokens": tokens})
    stages.compare_methods.main()
    found = read_json("metrics/methods_cost.json")
    shown = ("seconds", "seconds_per_1000_tokens", "peak_memory_gib", "device", "dtype")
    assert [found["dpo"][name] for name in shown] == [10.0, 10.0, 1.0, "dpo", "dpo16"]
    assert [found["rloo"][name] for name in shown] == [20.0, 5.0, 2.0, "rloo", "rloo16"]


def test_every_two_policies_are_compared_on_the_same_prompts(folder):
    rows = read_rows("data/responses/scored.parquet").to_dict("records")
    mixed = [rows[i] for i in np.random.default_rng(1).permutation(len(rows))]
    write_rows("data/responses/scored.parquet", mixed)
    stages.compare_methods.main()
    pairs = read_json("metrics/methods.json")["pairs"]
    for found, wanted in zip(pairs, compare_pairs(responses_by_policy(pd.DataFrame(rows), METHODS)), strict=True):
        for name in found:  # sums in another order differ in their last digit
            assert found[name] == pytest.approx(wanted[name], rel=1e-9) if name not in "ab" else found[name] == wanted[name]
    assert [(pair["a"], pair["b"]) for pair in pairs] == [("dpo", "rloo"), ("dpo", "base"), ("rloo", "base")]


def test_what_no_method_logged_is_said_to_be_not_measured(folder):
    for side in ("chosen", "rejected"):
        (folder / f"plots/train_policy/dpo/plots/metrics/rewards_{side}.tsv").unlink()
    for measure in ("reward", "kl", "completions_mean_length"):
        (folder / f"plots/train_policy/rloo/plots/metrics/{measure}.tsv").unlink()
    stages.compare_methods.main()
    for name in ("reward", "kl", "length", "logps"):
        assert pd.read_csv(f"plots/methods/training_{name}.csv")["group"].tolist() == [NOT_MEASURED]
    assert set(pd.read_csv("plots/methods/plane_judge.csv")["kind"]) == {"policy"}


def test_the_spread_over_seeds_is_found_where_it_was_measured_with_these_parameters(folder):
    # As experiments.stability writes them: from the file, not from what the stage makes of it.
    params = flat(yaml.safe_load((folder / "params.yaml").read_text()))
    measured = {"params": params, "seeds": [1, 2], "methods": {"dpo": {"gold_rate": [0.25, 0.75]}}}
    write_json("experiments/results/stability.json", measured)
    stages.compare_methods.main()
    spread = {method: row["spread"] for method, row in read_json("metrics/methods.json")["methods"].items()}
    assert spread["dpo"]["gold_rate"]["mean"] == 0.5 and spread["dpo"]["gold_rate"]["seeds"] == [1, 2]
    assert spread["rloo"] is None
