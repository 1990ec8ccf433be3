"""The stage's wiring: rows joined by id and not by place, each policy's own files, the few numbers of a row."""

import numpy as np
import pandas as pd
import pytest

import stages.compare_policies
from preference_study.analysis.policies import compare_policies
from preference_study.artifacts import read_json, write_json, write_table
from stages.compare_policies import measured, policies_row
from tests.workspace import change, tiny_params

METHODS = ["dpo", "simpo"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    tiny_params(tmp_path)
    change(tmp_path, policy={"methods": METHODS})
    rng = np.random.default_rng(1)
    rows = [
        {
            "id": str(i), "prompt": f"prompt {i}", "policy": policy,
            "response": " ".join(["word"] * int(rng.integers(3, 30))) + ".",
            "tokens": 9, "finished": bool(rng.random() < 0.5), "reward": float(rng.normal()),
        }
        for policy in ("base", *METHODS)
        for i in rng.permutation(12)
    ]  # fmt: skip
    write_json(tmp_path / "data/responses/Response_of_DPO_n_Ori_val_with_rm.json", rows)
    for policy in ("base", *METHODS):
        logps = [
            {"id": str(i), "chosen_logp": float(rng.normal(-9)), "rejected_logp": float(rng.normal(-9))}
            for i in rng.permutation(8)
        ]
        write_json(tmp_path / f"data/logps/{policy}/val.json", logps)
    for method, beta in (("dpo", 0.3), ("simpo", None)):
        write_json(tmp_path / f"metrics/train_policy/{method}.json", {"implicit_beta": beta})
    write_table(
        tmp_path / "data/prepared/train.parquet", pd.DataFrame({"chosen": ["good words here"], "rejected": ["bad words"]})
    )
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_policies_are_compared_on_the_same_prompts_and_pairs_whatever_their_order(folder):
    stages.compare_policies.main()
    rows = pd.DataFrame(read_json("data/responses/Response_of_DPO_n_Ori_val_with_rm.json")).sort_values("id")
    responses = {policy: measured(rows[rows["policy"] == policy].set_index("id"))[0] for policy in ("base", *METHODS)}
    logps = {
        policy: pd.DataFrame(read_json(f"data/logps/{policy}/val.json")).set_index("id").sort_index() for policy in responses
    }
    wanted = compare_policies(responses, logps, {"dpo": 0.3, "simpo": None}, seed=1)
    found = read_json("metrics/policies.json")
    for policy in responses:
        for measure in (
            "reward_mean",
            "words_mean",
            "finished",
            "implicit_accuracy",
            "likelihood_accuracy",
            "implicit_reward_mean",
        ):
            assert found[policy][measure] == pytest.approx(wanted[policy][measure]), (policy, measure)
    for method in METHODS:
        for measure in ("wins", "losses", "win_rate", "reward_difference", "words_difference"):
            assert found[method]["against_base"][measure] == pytest.approx(wanted[method]["against_base"][measure])
    assert found["simpo"]["implicit_reward_mean"] is None
    assert found["base"]["reading_grade_left_out"].keys() == {"empty", "code", "not English", "too short"}
    assert read_json("metrics/summary/policies.json") == policies_row(found, METHODS)


def test_the_few_numbers_of_a_row_are_those():
    one = {"value": 0.1, "low": 0.0, "high": 0.2}
    against = {"win_rate": one, "win_rate_length_controlled": one | {"value": 0.2}, "words_difference": one | {"value": 0.3}}
    metrics = {"dpo": {"gold_rate": one | {"value": 0.4}, "words_mean": one | {"value": 9.0}, "against_base": against}}
    assert policies_row(metrics, ["dpo"]) == {
        "dpo": {"win_rate": 0.1, "win_rate_length_controlled": 0.2, "gold_rate": 0.4, "words_difference": 0.3}
    }
    del metrics["dpo"]["gold_rate"]
    assert policies_row(metrics, ["dpo"])["dpo"].keys() == against.keys()
