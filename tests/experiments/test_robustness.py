"""Which number of which file stands where."""

import pytest

from experiments.robustness import collect


def estimate(value: float) -> dict:
    return {"value": value, "low": value - 1, "high": value + 1, "n": 300, "clusters": 300}


def metrics(first: float) -> tuple[dict, dict, dict]:
    """A scorer's rows of the three files; what must not be taken is 99."""
    keys = ("accuracy", "accuracy_longer_chosen", "accuracy_shorter_chosen", "length_correlation_within_pairs")
    variants = {key: estimate(first + i) for i, key in enumerate(keys)} | {"length_correlation": estimate(99.0)}
    stress = {"n": 120, "accuracy": estimate(99.0), "worst": {"perturbation": "typos", "accuracy": estimate(first + 4)}}
    curve = [{"n": 1, "gold": estimate(99.0), "gain": {"gold": estimate(99.0)}}]
    last = {"gold": estimate(first + 5), "judge": estimate(99.0), "gain": {"gold": estimate(first + 6), "judge": estimate(99.0)}}
    return variants, stress, {"curve": [*curve, {"n": 16} | last]}


def test_each_number_in_its_place():
    names = ("standard", "ensemble (mean)")
    rows = {name: metrics(10.0 * place) for place, name in enumerate(names)}
    variants, stress, best = ({name: rows[name][place] for name in names} for place in range(3))
    found = collect({"seed": 1}, variants, {"scorers": stress, "ensembles": {}}, best)
    assert found["params"] == {"seed": 1} and list(found["scorers"]) == list(names)
    assert found["scorers"]["ensemble (mean)"] == {
        **{name: estimate(10.0 + i) for i, name in enumerate(("accuracy", "longer_chosen", "shorter_chosen", "length"))},
        "perturbed_pairs": 120,
        "worst": {"perturbation": "typos", "accuracy": estimate(14.0)},
        "best": {"n": 16, "gold": estimate(15.0), "gain": estimate(16.0)},
    }


def test_what_compares_nothing_is_refused():
    variants, stress, best = ({"standard": part} for part in metrics(1.0))
    for missing in range(3):
        files = [{} if place == missing else part for place, part in enumerate((variants, stress, best))]
        with pytest.raises(ValueError, match=r"does not compare the same reward models in all three: stress\."):
            collect({}, files[0], {"scorers": files[1]}, files[2])
    with pytest.raises(ValueError, match="the same reward models"):
        collect({}, variants | {"ensemble (mean)": variants["standard"]}, {"scorers": stress}, best)
    del best["standard"]["curve"][-1]["gold"]
    with pytest.raises(ValueError, match="no truth"):
        collect({}, variants, {"scorers": stress}, best)
