"""Which number of which run stands where."""

import pytest

from experiments.sft import collect


def estimate(value: float) -> dict:
    return {"value": value, "low": value - 1, "high": value + 1, "n": 300, "clusters": 300}


def run(name: str, seed: int, weight: float, first: float, **params: object) -> tuple[str, dict, dict]:
    """A run whose numbers are `first` and those that follow it, each in its own place."""
    logps = {
        side: {"nats_per_response": estimate(first + i), "nats_per_token": 99.0} for i, side in enumerate(("chosen", "rejected"))
    }
    dpo = {
        "price": {"logps": logps, "kl": {"nats_per_response": estimate(first + 2), "nats_per_token": 99.0}},
        "finished": estimate(first + 3),
        "letter_rate": estimate(first + 4),
        "gold_rate": estimate(first + 5),
        "against_base": {"gold": {"difference": estimate(first + 6)}, "win_rate": estimate(first + 7)},
    }
    return name, {"seed": seed, "policy.dpo.sft_weight": weight, "policy.dpo.beta": 0.1} | params, {"base": {}, "dpo": dpo}


def test_each_number_in_its_place():
    found = collect([run("b", 2, 1.0, 20.0), run("a", 2, 0.0, 10.0), run("c", 1, 1.0, 30.0)])
    assert found["params"] == {"policy.dpo.beta": 0.1}
    names = ("chosen_logp", "rejected_logp", "kl", "finished", "letter_rate", "gold_rate", "gold_difference", "win_rate")
    assert found["rows"] == [
        {"sft_weight": weight, "seed": seed} | {name: estimate(first + i) for i, name in enumerate(names)}
        for weight, seed, first in ((0.0, 2, 10.0), (1.0, 1, 30.0), (1.0, 2, 20.0))
    ]


def test_runs_that_differ_by_more_or_by_nothing_are_refused():
    with pytest.raises(ValueError, match=r"b and a differ by more than seed and policy\.dpo\.sft_weight: policy\.dpo\.beta"):
        collect([run("a", 1, 0.0, 1.0), run("b", 1, 1.0, 1.0, **{"policy.dpo.beta": 0.2})])
    with pytest.raises(ValueError, match="the same weight and seed twice"):
        collect([run("a", 1, 0.0, 1.0), run("b", 1, 0.0, 1.0)])
