import pytest

from experiments.stability import collect
from preference_study.analysis.methods import spread_over_seeds


def run(name: str, seed: int, gold: float, beta: float = 0.1) -> tuple[str, dict, dict]:
    numbers = {"gold_rate": {"value": gold}, "words_mean": {"value": 20.0 + seed}}
    against = {"win_rate": {"value": 0.6}, "win_rate_length_controlled": {"value": 0.5}}
    params = {"seed": seed, "policy.methods": ["dpo"], "policy.dpo.beta": beta, "data.train": "a"}
    return name, params, {"base": {}, "dpo": numbers | {"against_base": against}}


def test_seeds_are_collected_in_their_order():
    found = collect([run("b", 2, 0.5), run("a", 1, 0.3), run("c", 3, 0.4)])
    assert found["seeds"] == [1, 2, 3]
    assert found["methods"] == {
        "dpo": {
            "gold_rate": [0.3, 0.5, 0.4],
            "win_rate": [0.6] * 3,
            "win_rate_length_controlled": [0.5] * 3,
            "words_mean": [21.0, 22.0, 23.0],
        }
    }
    # The table takes it for the same parameters, whatever the seed.
    now = {"seed": 9, "policy": {"methods": ["dpo", "ipo"], "dpo": {"beta": 0.1}}, "data": {"train": "a"}}
    assert spread_over_seeds(found, now, "dpo")["gold_rate"] == {
        "mean": pytest.approx(0.4),
        "std": pytest.approx(0.1),
        "min": 0.3,
        "max": 0.5,
        "seeds": 3,
    }
    now["policy"]["dpo"]["beta"] = 0.2
    assert spread_over_seeds(found, now, "dpo") is None


def test_experiments_that_differ_by_more_are_refused():
    with pytest.raises(ValueError, match=r"b and a differ by more than the seed: policy\.dpo\.beta"):
        collect([run("a", 1, 0.3), run("b", 2, 0.5, beta=0.2)])
    with pytest.raises(ValueError, match="the same seed twice"):
        collect([run("a", 1, 0.3), run("b", 1, 0.5)])
