"""What README and docs say: tables against the files they come from, links, and the size of the README."""

import json
import re
from pathlib import Path

import pytest
import yaml

from experiments import documents
from preference_study.artifacts import write_json
from preference_study.errors import BadInput
from tests.conftest import ROOT

FILES = sorted(path.relative_to(ROOT).as_posix() for path in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
# Made from files that no run of the study changes.
STANDING = [name for name in documents.BLOCKS if name not in ("default-run", "one-prompt")]


@pytest.mark.parametrize("name", documents.BLOCKS)
def test_a_table_stands_between_its_marks(name):
    file, _ = documents.BLOCKS[name]
    text = (ROOT / file).read_text()
    assert documents.written(text, name, "new").count(f"<!-- {name} -->\nnew\n<!-- /{name} -->") == 1


@pytest.mark.parametrize("name", STANDING)
def test_a_table_is_what_its_files_say(name, monkeypatch):
    monkeypatch.chdir(ROOT)
    file, make = documents.BLOCKS[name]
    text = (ROOT / file).read_text()
    assert text == documents.written(text, name, make()), "python -m experiments.documents writes it anew"


def test_marks_must_stand_there_once():
    for text in ("none", "<!-- a --><!-- /a --><!-- a --><!-- /a -->"):
        with pytest.raises(ValueError, match="once each"):
            documents.written(text, "a", "new")


def test_the_default_runs_numbers(tmp_path, monkeypatch):
    """Each from its own place: every value here is another one."""

    def estimate(value: float) -> dict:
        return {"value": value, "low": value - 0.01, "high": value + 0.01, "n": round(1000 * value)}

    baselines = {"longer": estimate(0.52), "tfidf": estimate(0.63), "probe": estimate(0.68)}
    reward = {"accuracy": estimate(0.71), "baselines": baselines}
    against = {"win_rate": estimate(0.81), "win_rate_length_controlled": estimate(0.77), "words_difference": estimate(4.4)}
    policies = {
        "base": {"gold_rate": estimate(0.34), "letter_rate": estimate(0.44)},
        "dpo": {"gold_rate": estimate(0.58), "letter_rate": estimate(0.66)}
        | {"against_base": against | {"gold": {"gained": 67, "lost": 14}}},
    }
    write_json(tmp_path / "metrics/reward.json", reward)
    write_json(tmp_path / "metrics/policies.json", policies)
    of_new = {
        "base": {"gold_rate": estimate(0.05), "letter_rate": estimate(0.39)},
        "dpo": {"gold_rate": estimate(0.09), "letter_rate": estimate(0.19), "win_rate": estimate(0.74)},
    }
    new = {"categories": ["a", "b"], "prompts": 61, "policies": of_new, "judge": estimate(0.47)}
    write_json(tmp_path / "metrics/transfer.json", {"not_in_training": new, "in_training": {}})
    monkeypatch.chdir(tmp_path)
    first, second, letter, third, fourth = documents.default_run().splitlines()[2:]
    assert "0.71 [0.70, 0.72] of n = 710" in first and "0.52 [0.51, 0.53], TF-IDF 0.63 [0.62, 0.64], linear probe 0.68" in first
    assert "0.58 [0.57, 0.59] of n = 580" in second and "base 0.34 [0.33, 0.35]; 67 gained, 14 lost" in second
    assert "0.66 [0.65, 0.67]" in letter and "base 0.44 [0.43, 0.45]" in letter
    assert "0.81 [0.80, 0.82]" in third and "0.77 [0.76, 0.78]; +4.4 [4.4, 4.4] words" in third
    ours, bases = fourth.split(" | ")[1:]
    assert fourth.startswith("| And on the 2 kinds of instruction that no training pair has? |")
    assert ours == "gold 0.09 [0.08, 0.10], to the letter 0.19 [0.18, 0.20] of n = 61 prompts; preferred in 0.74 [0.73, 0.75]"
    assert bases.startswith(
        "base gold 0.05 [0.04, 0.06], to the letter 0.39 [0.38, 0.40]; the reward model is right on 0.47 [0.46,"
    )
    assert bases.endswith("of 470 pairs |")


def test_another_studys_numbers_are_not_the_default_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    default = {"base": {"gold_rate": {}}, "dpo": {"against_base": {"gold": {"gained": 0}}}}
    for policies in ({"base": {"gold_rate": {}}, "kto": {}}, {"base": {}, "dpo": {}}):
        write_json("metrics/policies.json", policies)
        for make in (documents.default_run, documents.one_prompt):
            write_json("metrics/reward.json", {})
            with pytest.raises(BadInput, match="of another study than the default one"):
                make()
    write_json("metrics/policies.json", default)
    with pytest.raises(BadInput, match="gained no prompt"):
        documents.one_prompt()
    (tmp_path / "params.before.yaml").touch()
    with pytest.raises(BadInput, match="of another study"):
        documents.default_run()


def test_the_methods_tests_and_what_carries_over(tmp_path, monkeypatch):
    """Each number of each seed under its own head, the method with the most gold first."""

    def estimate(value: float) -> dict:
        return {"value": value, "low": value - 0.01, "high": value + 0.01}

    def test(at: float, p: float, price: list[str]) -> dict:
        counts = {"gained": round(at * 100), "lost": round(at * 100) + 1, "p_holm": p}
        return {"difference": estimate(at), "verdict": f"verdict {at}", "price": price} | counts

    def parts(at: float) -> dict:
        names = ("judge", "gold_difference", "letter_difference", "win_rate")
        return {
            part: {name: estimate(at + 0.1 * i + 0.02 * j) for j, name in enumerate(names)}
            for i, part in enumerate(("in_training", "not_in_training", "difference"))
        }

    found = {
        "seeds": [1, 2],
        "methods": {"kto": {"gold_rate": [0.1, 0.1]}, "dpo": {"gold_rate": [0.2, 0.1]}},
        "gold": {
            "kto": [test(0.11, 0.5, []), test(0.12, 0.0004, ["more words", "loops"])],
            "dpo": [test(0.13, 1.0, []), test(0.14, 0.02, [])],
        },
        "transfer": {"kto": [parts(0.0), parts(0.01)], "dpo": [parts(0.02), parts(0.03)]},
    }
    write_json(tmp_path / "experiments/results/stability.json", found)
    monkeypatch.chdir(tmp_path)

    def rows(block: str) -> list[dict]:
        heads, _, *lines = ([cell.strip() for cell in line.strip("|").split("|")] for line in block.splitlines())
        return [dict(zip(heads, line, strict=True)) for line in lines]

    gold = rows(documents.methods_gold())
    assert [(row["method"], row["seed"], row["corrected p"]) for row in gold] == [
        ("DPO", "1", "1.000"), ("DPO", "2", "0.020"), ("KTO", "1", "0.500"), ("KTO", "2", "< 0.001"),
    ]  # fmt: skip
    assert gold[3] | {"method": "", "seed": "", "corrected p": ""} == {
        "method": "", "seed": "", "corrected p": "", "gold minus base": "+0.12 [0.11, 0.13]", "gained": "12", "lost": "13",
        "verdict": "verdict 0.12", "shown to have got worse": "more words; loops",
    }  # fmt: skip
    assert gold[0]["shown to have got worse"] == "nothing"
    carried = rows(documents.methods_transfer())
    assert [(row["method"], row["seed"]) for row in carried] == [("DPO", "1"), ("DPO", "2"), ("KTO", "1"), ("KTO", "2")]
    assert list(carried[1].values())[2:] == [
        "+0.05 [0.04, 0.06]", "+0.15 [0.14, 0.16]", "+0.25 [0.24, 0.26]",
        "+0.07 [0.06, 0.08]", "+0.17 [0.16, 0.18]",
        "0.09 [0.08, 0.10]", "0.19 [0.18, 0.20]",
    ]  # fmt: skip

    # Of other data there are no such tables.
    other = found | {"gold": {"kto": [{}, {}]}, "transfer": {"kto": [{}, {}]}}
    write_json(tmp_path / "experiments/results/stability.json", other)
    for make in (documents.methods_gold, documents.methods_transfer):
        with pytest.raises(BadInput, match="is of data without gold"):
            make()


def test_the_sft_terms_numbers(tmp_path, monkeypatch):
    """Each under its own head."""
    names = ("chosen_logp", "rejected_logp", "kl", "finished", "letter_rate", "gold_rate", "gold_difference", "win_rate")
    numbers = {name: {"value": 0.1 * i, "low": 0.1 * i - 1, "high": 0.1 * i + 1} for i, name in enumerate(names, 1)}
    write_json(tmp_path / "experiments/results/sft.json", {"rows": [{"sft_weight": 0.5, "seed": 7} | numbers]})
    monkeypatch.chdir(tmp_path)
    heads, _, row = ([cell.strip() for cell in line.strip("|").split("|")] for line in documents.sft_weight().splitlines())
    assert dict(zip(heads, row, strict=True)) == {
        "`sft_weight`": "0.5",
        "seed": "7",
        "chosen, nats a response": "+0.1 [-0.9, 1.1]",
        "rejected": "+0.2 [-0.8, 1.2]",
        "KL to base": "0.3 [-0.7, 1.3]",
        "ended its turn": "0.40 [-0.60, 1.40]",
        "letter": "0.50 [-0.50, 1.50]",
        "gold": "0.60 [-0.40, 1.60]",
        "gold, against base": "+0.70 [-0.30, 1.70]",
        "win rate": "0.80 [-0.20, 1.80]",
    }


def test_what_stages_took_of_memory(tmp_path, monkeypatch):
    """The slope is of the first number of pairs and the last, by time of the processor."""
    rows = [
        {"stage": "report", "pairs": pairs, "clock": 1.0, "seconds": seconds, "peak_bytes": gib * 2**30}
        for pairs, seconds, gib in ((100, 2.0, 0.5), (1000, 3.0, 0.75), (10_000, 200.0, 1.5))
    ]
    write_json(tmp_path / documents.RESULTS / "memory.json", {"rows": rows})
    monkeypatch.chdir(tmp_path)
    *_, row = documents.memory_measured().splitlines()
    assert row == "| `report` | 100, 1,000, 10,000 | 2, 3, 200 | 0.50, 0.75, 1.50 | 1.00 |"


def test_the_judges_numbers(tmp_path, monkeypatch):
    """Each from its own place."""
    share = {"value": 0.25, "low": 0.125, "high": 0.5, "n": 3}
    settings = {
        "low": {"seeds": [1], "last": [0.3], "averaged": [0.35], "against_default": share | {"n": 1, "value": -0.45}},
        "default": {"seeds": [1, 2], "last": [0.7, 0.8], "averaged": [0.72, 0.73]},
        "high": {"seeds": [1, 2], "last": [0.9, 0.95], "averaged": [0.91, 0.92], "against_default": share},
    }
    val = {"seeds": [1, 2, 3], "last": [0.5, 0.6, 0.64], "averaged": [0.51, 0.52, 0.56], "groups": [[1, 2, 3]]}
    val |= {"mean_of_rewards": [0.66], "mean_of_weights": [0.65], "baselines": {"longer": share | {"value": 0.45}}}
    val["right_to_judge"] = [
        {
            "holds": seed != 2,
            "shorter_chosen": share | {"value": seed / 8},
            "against": {"probe": {"difference": share | {"value": seed / 4}, "p_holm": 0.02 * seed}}
            | {"tfidf": {"difference": share | {"value": -seed / 4}, "p_holm": 0.0004 * seed}},
        }
        for seed in (1, 2, 3)
    ]
    write_json(tmp_path / documents.RESULTS / "judge.json", {"n_held_out": 31, "settings": settings, "n_val": 42, "val": val})
    monkeypatch.chdir(tmp_path)
    heads, _, *rows = documents.judge_settings().splitlines()
    assert "n = 31 pairs" in heads and "minus the default, the seed of choice left out where there are more" in heads
    assert rows == [
        "| high | 1, 2 | 0.900, 0.950 | +0.250 [0.125, 0.500] | 0.910, 0.920 |",
        "| default | 1, 2 | 0.700, 0.800 |  | 0.720, 0.730 |",
        "| low | 1 | 0.300 | -0.450 | 0.350 |",
    ]
    write_json(tmp_path / documents.RESULTS / "other.json", {"n_held_out": 31, "settings": {"low": settings["low"]}})
    assert "| minus the default |" in documents.judge_settings("other.json")
    write_json(tmp_path / documents.RESULTS / "judge.json", {"n_held_out": 31, "settings": settings, "n_val": 42, "val": val})
    heads, _, *rows = documents.judge_seeds().splitlines()
    assert "n = 42 validation pairs" in heads and rows == [
        "| one model, seeds 1, 2, 3 | 0.500, 0.600, 0.640 | 0.580 | 0.500 to 0.640, 0.072 |",
        "| the same with averaged weights | 0.510, 0.520, 0.560 | 0.530 | 0.510 to 0.560, 0.026 |",
        "| mean of three models' rewards | 0.660 | 0.660 |  |",
        "| mean of three models' weights | 0.650 | 0.650 |  |",
        "| “the longer wins” | 0.450 [0.125, 0.500] |  |  |",
    ]
    *_, first, second, third = documents.judge_rights().splitlines()
    assert first == "| 1 | 0.50 | 0.13 [0.13, 0.50] | -0.25 [0.13, 0.50], p < 0.001 | +0.25 [0.13, 0.50], p = 0.020 | yes |"
    assert second == "| 2 | 0.60 | 0.25 [0.13, 0.50] | -0.50 [0.13, 0.50], p < 0.001 | +0.50 [0.13, 0.50], p = 0.040 | no |"
    assert third.startswith("| 3 | 0.64 | 0.38 [0.13, 0.50] | -0.75 [0.13, 0.50], p = 0.001 |")


def test_the_numbers_of_other_judges(tmp_path, monkeypatch):
    """Each from its own place: every value here is another one."""

    def estimate(value: float, n: int = 9) -> dict:
        return {"value": value, "low": value - 0.01, "high": value + 0.01, "n": n}

    def judge(kind: str, start: float, holds: bool, position: dict | None, would_be: str | None) -> dict:
        pairs = {
            "accuracy": estimate(start),
            "accuracy_shorter_chosen": estimate(start + 0.03),
            "accuracy_longer_chosen": estimate(0.99),
        }
        pairs |= {"position": position, "right_to_judge": {"holds": holds}}
        verdict = {"reward": "withheld" if would_be else "worse", "reward_would_be": would_be}
        corrected = {"truth": 0.06, "prediction_powered": 0.09, "power_tuned": 0.12, "uncorrected": 0.4, "labels_alone": 0.41}
        corrected = {name: estimate(start + value) for name, value in corrected.items()}
        policy = {"win_rate": estimate(start + 0.15), "agrees_with_gold": estimate(start + 0.18), "corrected": corrected}
        return {"kind": kind, "pairs": pairs, "policies": {"kto": policy | {"verdict": verdict}}}

    position = {"first": estimate(0.95), "consistent": estimate(0.05)}
    judged = {"a": judge("own", 0.1, True, None, None), "b": judge("language_model", 0.5, False, position, "better")}
    agreement = {"pairs": {"all": estimate(0.32, 41)}, "responses": {"all": estimate(0.23, 42)}}
    found = {"judges": judged, "agreement": agreement, "disagreements": {"cases": 5, "of": 42}}
    write_json(tmp_path / documents.RESULTS / "judges.json", found)
    monkeypatch.chdir(tmp_path)
    _, _, own, other, _, *told = documents.judges().splitlines()
    assert own == (
        "| `a`, own | 0.10 [0.09, 0.11] | 0.13 [0.12, 0.14] |  | yes | KTO 0.25 [0.24, 0.26] | worse | 0.28 [0.27, 0.29] | "
        "0.16 [0.15, 0.17] | 0.19 [0.18, 0.20] | 0.22 [0.21, 0.23] |"
    )
    assert other == (
        "| `b`, language model | 0.50 [0.49, 0.51] | 0.53 [0.52, 0.54] | 0.95 [0.94, 0.96] | no | KTO 0.65 [0.64, 0.66] | "
        "withheld (better) | 0.68 [0.67, 0.69] | 0.56 [0.55, 0.57] | 0.59 [0.58, 0.60] | 0.62 [0.61, 0.63] |"
    )
    assert " ".join(told) == (
        "Krippendorff's alpha of all: 0.32 [0.31, 0.33] on 41 validation pairs, 0.23 [0.22, 0.24] on 42 responses; on 5 of 42 "
        "responses one judge is for the policy's and another for base's."
    )


def test_the_methods_numbers_over_seeds(tmp_path, monkeypatch):
    """Those of a measure in its own column, and base last."""
    measures = ["gold_rate", "letter_rate", "finished", "loops", "chosen_logp", "kl", "win_rate", "win_rate_length_controlled"]

    def values(start: float) -> dict:
        return {name: [start + place, start + place + 0.5] for place, name in enumerate([*measures, "words_mean"])}

    base = {"gold_rate": [0.01, 0.02], "words_mean": [47.0, 48.0]}
    found = {"params": {}, "seeds": [3, 7], "base": base, "methods": {"dpo": values(0.1), "kto": values(0.2)}}
    write_json(tmp_path / documents.RESULTS / "stability.json", found)
    monkeypatch.chdir(tmp_path)
    told, _, heads, _, *rows = documents.methods_over_seeds().splitlines()
    assert told == "Seeds 3, 7, a value each:" and heads == (
        "| method | gold | letter | ended its turn | loops | chosen, nats a response | KL to base | win rate | at equal length "
        "| words |"
    )
    assert rows == [
        "| KTO | 0.20, 0.70 | 1.20, 1.70 | 2.20, 2.70 | 3.20, 3.70 | 4.2, 4.7 | 5.2, 5.7 | 6.20, 6.70 | 7.20, 7.70 | 8.2, 8.7 |",
        "| DPO | 0.10, 0.60 | 1.10, 1.60 | 2.10, 2.60 | 3.10, 3.60 | 4.1, 4.6 | 5.1, 5.6 | 6.10, 6.60 | 7.10, 7.60 | 8.1, 8.6 |",
        "| base | 0.01, 0.02 |  |  |  |  |  |  |  | 47.0, 48.0 |",
    ]


def test_the_reward_models_numbers_under_stress(tmp_path, monkeypatch):
    """Each under its own head."""

    def estimate(value: float) -> dict:
        return {"value": value, "low": value - 0.01, "high": value + 0.01}

    def seed(first: float) -> dict:
        names = ("accuracy", "longer_chosen", "shorter_chosen", "length")
        plain = {name: estimate(first + i) for i, name in enumerate(names)}
        worst = {"perturbation": "typos", "accuracy": estimate(first + 4)}
        return plain | {
            "perturbed_pairs": 12, "worst": worst, "best": {"n": 8, "gold": estimate(first + 5), "gain": estimate(99.0)}
        }  # fmt: skip

    mean = {"seeds": [seed(0.1), seed(0.2)], "gain": estimate(0.7)}
    mean["against_standard"] = {"accuracy": estimate(0.8), "gold": estimate(-0.9)}
    scorers = {"ensemble (mean)": mean, "standard": {"seeds": [seed(0.3), seed(0.4)], "gain": estimate(0.6)}}
    write_json(tmp_path / documents.RESULTS / "robustness.json", {"params": {}, "seeds": [4, 9], "scorers": scorers})
    monkeypatch.chdir(tmp_path)
    heads, _, *rows = documents.robustness().splitlines()
    assert heads == (
        "| scorer | accuracy, seeds 4, 9 | minus `standard` | longer chosen | shorter chosen | length correlation "
        "| worst perturbation, n = 12 | gold, best of 8 | minus one response | gold minus `standard` |"
    )
    assert rows == [
        "| `ensemble (mean)` | 0.10, 0.20 | +0.80 [0.79, 0.81] | 1.10, 1.20 | 2.10, 2.20 | 3.10, 3.20 | 4.10, 4.20 | 5.10, 5.20 "
        "| +0.70 [0.69, 0.71] | -0.90 [-0.91, -0.89] |",
        "| `standard` | 0.30, 0.40 |  | 1.30, 1.40 | 2.30, 2.40 | 3.30, 3.40 | 4.30, 4.40 | 5.30, 5.40 | +0.60 [0.59, 0.61] |  |",
    ]


def test_the_methods_means_over_seeds(tmp_path, monkeypatch):
    """Each minus base's of the same seed; of two seeds Student's t is 12.706, and the error half of their difference."""
    base = {"gold_rate": [0.1, 0.2], "letter_rate": [0.3, 0.3], "finished": [0.5, 0.6], "words_mean": [40.0, 42.0]}
    dpo = {"gold_rate": [0.15, 0.27], "letter_rate": [0.4, 0.42], "finished": [0.8, 0.94], "words_mean": [38.5, 39.5]}
    dpo |= {"win_rate": [0.7, 0.68]}
    kto = {name: [value - 0.2 for value in values] for name, values in dpo.items()}
    write_json(
        tmp_path / documents.RESULTS / "stability.json", {"seeds": [1, 2], "base": base, "methods": {"kto": kto, "dpo": dpo}}
    )
    monkeypatch.chdir(tmp_path)
    heads, _, *rows = documents.methods_means().splitlines()
    assert heads == "| method | gold minus base | letter minus base | ended its turn minus base | words minus base | win rate |"
    # Changes of DPO by seed: gold 0.05, 0.07; letter 0.10, 0.12; ended 0.30, 0.34; words -1.5, -2.5; win rates 0.70, 0.68.
    assert rows == [
        "| DPO | +0.06 [-0.07, 0.19] | +0.11 [-0.02, 0.24] | +0.32 [0.07, 0.57] | -2.0 [-8.4, 4.4] | 0.69 [0.56, 0.82] |",
        "| KTO | -0.14 [-0.27, -0.01] | -0.09 [-0.22, 0.04] | +0.12 [-0.13, 0.37] | -2.2 [-8.6, 4.2] | 0.49 [0.36, 0.62] |",
    ]

    without = [{name: values for name, values in of.items() if name in ("words_mean", "win_rate")} for of in (base, dpo)]
    of_other_data = {"seeds": [1, 2], "base": without[0], "methods": {"dpo": without[1]}}
    write_json(tmp_path / documents.RESULTS / "stability.json", of_other_data)
    assert documents.methods_means().splitlines()[::2] == [
        "| method | words minus base | win rate |", "| DPO | -2.0 [-8.4, 4.4] | 0.69 [0.56, 0.82] |",
    ]  # fmt: skip

    write_json(tmp_path / documents.RESULTS / "stability.json", {"seeds": [1], "methods": {}})
    with pytest.raises(BadInput, match="is of one seed"):
        documents.methods_means()


def test_the_exports_numbers(tmp_path, monkeypatch):
    """Each beside its own name and bound."""
    share = {"value": 0.75, "low": 0.5, "high": 0.9, "n": 31, "clusters": 31}
    policy = {
        "n": 31,
        "same_answers": share,
        "same_tokens_before": None,
        "logp_difference": 0.00012,
        "no_gguf": None,
        "licence": "mit",
    }
    policy |= {"bounds": {"same_answers": 0.5, "logp_difference": 0.001}, "bytes": {"config.json": 7}}
    served = {"n": 30, "same_prompts": share | {"value": 0.625}, "same_tokens_before": 12.5}
    write_json(tmp_path / documents.RESULTS / "export.json", {"policy/dpo": policy, "llama_cpp/dpo": served})
    monkeypatch.chdir(tmp_path)
    _, _, *rows = documents.export_parity().splitlines()
    assert rows == [
        "| `dpo`, policy | `same_answers` | 0.75 [0.50, 0.90] | 0.5 | 31 |",
        "| `dpo`, policy | `logp_difference` | 0.00012 | 0.001 | 31 |",
        "| `dpo`, folder and llama_cpp | `same_prompts` | 0.63 [0.50, 0.90] |  | 30 |",
        "| `dpo`, folder and llama_cpp | `same_tokens_before` | 12.5 |  | 30 |",
    ]


def test_the_engines_numbers(tmp_path, monkeypatch):
    """Each in its own column."""
    share = {"value": 0.75, "low": 0.5, "high": 0.9, "n": 31, "clusters": 31}
    seconds = {"transformers": {"start": 2.0, "writing": 10.0}, "vllm": {"start": 30.0, "writing": 5.0}}
    one = {"same": share, "first_difference": 12.5, "gap_median": 0.03, "gap_max": 0.4, "n": 31}
    one |= {"tokens": {"transformers": 1000, "vllm": 900}, "seconds": seconds}
    none = {"first_difference": None, "gap_median": None, "gap_max": None}
    write_json(tmp_path / documents.RESULTS / "engines.json", {"float32": one | none, "bfloat16": one})
    monkeypatch.chdir(tmp_path)
    _, _, *rows = documents.engines().splitlines()
    assert rows == [
        "| float32 | 0.75 [0.50, 0.90] | – | –, – | 2 + 10, 100 | 30 + 5, 180 | 31 |",
        "| bfloat16 | 0.75 [0.50, 0.90] | 12.5 | 0.03, 0.4 | 2 + 10, 100 | 30 + 5, 180 | 31 |",
    ]


def test_every_row_of_the_original_study_has_a_place():
    """Of files that stages write, or of the docs; and what is reported there is what the page says."""
    lines = [line.strip("|").split(" | ") for line in (ROOT / "docs/original_study.md").read_text().splitlines()]
    rows = {number.strip(): cells for number, *cells in (line for line in lines if len(line) == 4) if number[1:2].isdigit()}
    assert {number for key in rows for number in key.split(", ")} == {str(number) for number in range(1, 20)}
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"].values()
    outs = [next(iter(out)) if isinstance(out, dict) else out for stage in stages for out in stage.get("outs", [])]
    outs = [re.sub(r"\$\{[^}]*\}", ".*", out) for out in [*outs, "reports/index.html", "docs/results/.*"]]
    for cells in rows.values():
        named = [path for path in re.findall(r"`([\w./*{},]+)`", cells[-1]) if "/" in path]
        assert named and all(any(re.match(out, path.rstrip("/")) or out.startswith(path) for out in outs) for path in named), (
            cells
        )
    for row in json.loads((ROOT / "preference_study/report/original_study.json").read_text()):
        told = [cells[1] for key, cells in rows.items() if set(row["row"].split("–")) & set(key.split(", "))]
        number = re.search(r"\d+\.\d{3,}|p = \S+", row["reported"])
        assert not number or row["what"].startswith("Reward model’s learning rate") or number[0] in told[0], row


def test_differences_between_processes_stand_under_their_heads(tmp_path, monkeypatch):
    number = iter(range(1, 9))
    rows = [
        {
            "name": "kto", "full": True, "dtype": dtype,
            "differences": {
                how: {"loss": next(number) / 10, "weights": next(number) / 1000} for how in ("torchrun", "FSDP2")
            },
        }
        for dtype in ("float32", "bfloat16")
    ]  # fmt: skip
    write_json(tmp_path / "processes.json", {"rows": rows})
    monkeypatch.setattr(documents, "RESULTS", tmp_path)
    heads, _, row = documents.processes().splitlines()
    assert row == "| `kto` | all | 1e-01 | 3e-01 | 2e-03 | 4e-03 | 5e-01 | 7e-01 |"
    assert heads.startswith("|  | trained | loss, float32, torchrun | loss, float32, FSDP2 | weights, float32, torchrun |")


@pytest.mark.parametrize("file", FILES)
def test_links_lead_somewhere(file):
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", (ROOT / file).read_text()):
        if not target.startswith("http") and not target.endswith("example/index.html"):
            assert ((ROOT / file).parent / target).exists(), target


@pytest.mark.parametrize("file", FILES)
def test_lines_are_wrapped(file):
    """At 120, but for tables and what cannot be broken."""
    inside = False
    for line in (ROOT / file).read_text().splitlines():
        inside ^= line.startswith("```")
        assert len(line) <= 120 or line.startswith(("|", "![", "> ")) or inside, line


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 120


def test_every_stage_method_and_variant_is_described():
    extending = Path(ROOT / "docs/extending.md").read_text()
    from preference_study.formats import FORMATS
    from preference_study.methods import METHODS
    from preference_study.variants import VARIANTS

    for name in (*METHODS, *VARIANTS):
        assert f"| `{name}` |" in extending, name
    data = Path(ROOT / "docs/data.md").read_text()
    for found in FORMATS.values():
        assert f"| `{', '.join(found.columns)}` |" in data
