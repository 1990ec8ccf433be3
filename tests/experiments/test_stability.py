import pytest

from experiments.stability import added, collect
from preference_study.analysis.methods import spread_over_seeds


def run(name: str, seed: int, gold: float, beta: float = 0.1, **params) -> tuple[str, dict, dict]:
    def value(number: float) -> dict:
        return {"value": number, "low": -1.0, "high": 9.0}

    base = {"gold_rate": value(gold / 10), "letter_rate": value(0.15), "finished": value(0.55), "words_mean": value(50.0 + seed)}
    own = {"gold_rate": value(gold), "letter_rate": value(0.65), "finished": value(0.75), "words_mean": value(20.0 + seed)}
    tests = [
        {"outcome": "reward", "p": 0.001, "p_holm": 0.002},
        {"outcome": "gold", "p": 0.003, "p_holm": 0.004 + seed},
        {"outcome": "letter", "p": 0.005, "p_holm": 0.006},
    ]
    against = {
        "win_rate": value(0.6),
        "win_rate_length_controlled": value(0.5),
        "gold": {"difference": value(gold * 0.9), "gained": 40 + seed, "lost": 10 + seed, "p": 0.003, "before": 0.1},
        "letter": {"difference": value(0.95), "gained": 1, "lost": 2, "p": 0.005},
        "tests": tests,
        "verdict": {"reward": "worse", "gold": f"better {seed}", "price": ["more words"]},
    }
    logps = {
        "chosen": {"nats_per_response": value(3.0), "nats_per_token": value(0.98)},
        "rejected": {"nats_per_response": value(4.0), "nats_per_token": value(0.96)},
    }
    form = [
        {"outcome": "copies", "base": value(0.11), "policy": value(0.12)},
        {"outcome": "loops", "base": value(0.13), "policy": value(0.14)},
    ]
    price = {"logps": logps, "kl": {"nats_per_response": value(10.0 + seed), "nats_per_token": value(0.97)}, "form": form}
    named = {"seed": seed, "policy.methods": ["dpo"], "policy.dpo.beta": beta, "data.train": "a"} | params
    return name, named, {"base": base, "dpo": own | {"against_base": against, "price": price}}


def carried(first: float) -> dict:
    """metrics/transfer.json, its numbers `first` and those that follow it."""

    def part(first: float) -> dict:
        measures = ("gold_difference", "letter_difference", "win_rate")
        policies = {"base": {"gold_rate": 9.0}, "dpo": {"gold_rate": 8.0} | {m: first + i for i, m in enumerate(measures, 1)}}
        return {"prompts": 240, "judge": first, "policies": policies}

    return {name: part(first + 10 * i) for i, name in enumerate(("in_training", "not_in_training", "difference"))}


def collected(*runs: tuple[str, dict, dict]) -> dict:
    """Of runs on data where every category is trained on."""
    return collect({name: {} for name, _, _ in runs}, list(runs))


def test_each_seeds_tests_and_what_carried_over():
    transfers = {"b": carried(200.0), "a": carried(100.0)}
    found = collect(transfers, [run("b", 2, 0.5), run("a", 1, 0.3)])
    assert found["gold"] == {
        "dpo": [
            {
                "difference": {"value": pytest.approx(gold * 0.9), "low": -1.0, "high": 9.0},
                "gained": 40 + seed,
                "lost": 10 + seed,
                "p_holm": 0.004 + seed,
                "verdict": f"better {seed}",
                "price": ["more words"],
            }
            for seed, gold in ((1, 0.3), (2, 0.5))
        ]
    }
    assert found["transfer"] == {
        "dpo": [
            {
                part: {"judge": at, "gold_difference": at + 1, "letter_difference": at + 2, "win_rate": at + 3}
                for part, at in (("in_training", first), ("not_in_training", first + 10), ("difference", first + 20))
            }
            for first in (100.0, 200.0)
        ]
    }


def test_data_without_truth_has_no_test_of_it():
    name, params, metrics = run("a", 1, 0.3)
    del metrics["dpo"]["against_base"]["gold"]
    found = collected((name, params, metrics))
    assert found["gold"] == {"dpo": [{}]} and found["transfer"] == {"dpo": [{}]}


def test_seeds_are_collected_in_their_order():
    found = collected(run("b", 2, 0.5), run("a", 1, 0.3), run("c", 3, 0.4))
    assert found["seeds"] == [1, 2, 3]
    assert found["methods"] == {
        "dpo": {
            "gold_rate": [0.3, 0.5, 0.4],
            "letter_rate": [0.65] * 3,
            "finished": [0.75] * 3,
            "loops": [0.14] * 3,
            "chosen_logp": [3.0] * 3,
            "kl": [11.0, 12.0, 13.0],
            "win_rate": [0.6] * 3,
            "win_rate_length_controlled": [0.5] * 3,
            "words_mean": [21.0, 22.0, 23.0],
        }
    }
    assert found["base"] == {
        "gold_rate": [0.03, 0.05, 0.04],
        "letter_rate": [0.15] * 3,
        "finished": [0.55] * 3,
        "words_mean": [51.0, 52.0, 53.0],
    }
    # The table takes it for the same parameters, whatever the seed.
    now = {"seed": 9, "policy": {"methods": ["dpo", "ipo"], "dpo": {"beta": 0.1}}, "data": {"train": "a"}}
    assert spread_over_seeds(found, now, "dpo")["gold_rate"] == {
        "mean": pytest.approx(0.4),
        "std": pytest.approx(0.1),
        "min": 0.3,
        "max": 0.5,
        "seeds": [1, 2, 3],
    }
    now["policy"]["dpo"]["beta"] = 0.2
    assert spread_over_seeds(found, now, "dpo") is None


def test_experiments_that_differ_by_more_are_refused():
    with pytest.raises(ValueError, match=r"b and a differ by more than the seed: policy\.dpo\.beta"):
        collected(run("a", 1, 0.3), run("b", 2, 0.5, beta=0.2))
    with pytest.raises(ValueError, match="the same seed twice"):
        collected(run("a", 1, 0.3), run("b", 1, 0.5))


def test_a_seed_joins_those_that_were_measured_before():
    whole = collected(run("a", 1, 0.3), run("b", 2, 0.5), run("c", 3, 0.4))
    before = collected(run("a", 1, 0.3), run("c", 3, 0.4))
    # Parameters that no policy depends on may be new since.
    assert added(before, collected(run("b", 2, 0.5, benchmarks=["x"]))) == whole | {
        "params": whole["params"] | {"benchmarks": ["x"]}
    }
    assert before["seeds"] == [1, 3]
    with pytest.raises(ValueError, match="has seed 1, 3 already"):
        added(before, before)
    with pytest.raises(ValueError, match=r"with other parameters: policy\.dpo\.beta; leave --add out"):
        added(before, collected(run("b", 2, 0.5, beta=0.2)))
    with pytest.raises(ValueError, match=r"with other parameters: data\.train"):
        added(before, collected(run("b", 2, 0.5, **{"data.train": "b"})))


def test_a_policy_whose_divergence_was_not_measured_has_none():
    name, params, metrics = run("a", 1, 0.3)
    metrics["dpo"]["price"]["kl"] = None
    assert "kl" not in collected((name, params, metrics))["methods"]["dpo"]
