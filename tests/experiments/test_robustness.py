"""Which number of which file stands where."""

import pytest

from experiments import robustness


def estimate(value: float) -> dict:
    return {"value": value, "low": value - 1, "high": value + 1, "n": 300, "clusters": 300}


def metrics(first: float) -> tuple[dict, dict, dict]:
    """A scorer's rows of the three files; what must not be taken is 99."""
    keys = ("accuracy", "accuracy_longer_chosen", "accuracy_shorter_chosen", "length_correlation_within_pairs")
    variants = {key: estimate(first + i) for i, key in enumerate(keys)} | {"length_correlation": estimate(99.0)}
    stress = {"n": 120, "accuracy": estimate(99.0), "worst": {"perturbation": "typos", "accuracy": estimate(first + 4)}}
    curve = [{"n": 1, "gold": estimate(99.0), "gain": {"gold": estimate(99.0)}}]
    gain = {"gold": estimate(3 * first + 6), "judge": estimate(99.0)}
    last = {"gold": estimate(2 * first + 5), "judge": estimate(99.0), "gain": gain}
    return variants, stress, {"curve": [*curve, {"n": 16} | last]}


def run(name: str, seed: int, firsts: dict[str, float], **params: object) -> tuple[str, dict, dict]:
    """An experiment whose scorers' numbers are the given first one and those that follow it, each in its own place."""
    rows = {scorer: metrics(first) for scorer, first in firsts.items()}
    variants, stress, best = ({scorer: parts[place] for scorer, parts in rows.items()} for place in range(3))
    files = {"variants": variants, "stress": {"scorers": stress, "ensembles": {}}, "best_of_n": best}
    return name, {"seed": seed, "data.max_train": 1200} | params, files


def collect(runs: list[tuple[str, dict, dict]]) -> dict:
    """What the program makes of experiments as `run` makes them."""
    others = {name: {file: files[file] for file in ("stress", "best_of_n")} for name, _, files in runs}
    return robustness.collect(others, [(name, params, files["variants"]) for name, params, files in runs])


def around(value: float, error: float):
    """A mean of two seeds: Student's t is 12.706, and the error half of their difference."""
    half = 12.7062 * error
    return pytest.approx({"value": value, "low": value - half, "high": value + half, "n": 2, "clusters": 2}, rel=1e-4)


def test_each_number_in_its_place():
    second = run("b", 2, {"standard": 100.0, "ensemble (mean)": 114.0})
    found = collect([second, run("a", 1, {"standard": 0.0, "ensemble (mean)": 10.0})])
    assert found["params"] == {"data.max_train": 1200} and found["seeds"] == [1, 2]
    assert list(found["scorers"]) == ["standard", "ensemble (mean)"]
    ensemble = found["scorers"]["ensemble (mean)"]
    assert ensemble["seeds"] == [
        {
            **{name: estimate(first + i) for i, name in enumerate(("accuracy", "longer_chosen", "shorter_chosen", "length"))},
            "perturbed_pairs": 120,
            "worst": {"perturbation": "typos", "accuracy": estimate(first + 4)},
            "best": {"n": 16, "gold": estimate(2 * first + 5), "gain": estimate(3 * first + 6)},
        }
        for first in (10.0, 114.0)
    ]
    assert ensemble["gain"] == around(192.0, 156.0)
    # 10 more than the standard model's with the first seed, 14 with the second; of gold twice as much.
    assert ensemble["against_standard"] == {"accuracy": around(12.0, 2.0), "gold": around(24.0, 4.0)}
    assert set(found["scorers"]["standard"]) == {"seeds", "gain"}


def test_one_seed_has_no_interval():
    found = collect([run("a", 1, {"standard": 0.0, "noise_robust": 10.0})])["scorers"]["noise_robust"]
    assert found["gain"] == {"value": 36.0, "low": None, "high": None, "n": 1, "clusters": 1}
    assert found["against_standard"]["accuracy"]["value"] == 10.0


def test_what_compares_nothing_is_refused():
    name, params, files = run("a", 1, {"standard": 1.0})
    nothing = {"variants": {}, "stress": {"scorers": {}}, "best_of_n": {}}
    for missing, empty in nothing.items():
        with pytest.raises(ValueError, match=r"a does not compare the same reward models in all three: stress\."):
            collect([(name, params, files | {missing: empty})])
    with pytest.raises(ValueError, match="the same reward models"):
        collect([(name, params, files | {"variants": files["variants"] | {"ensemble (mean)": files["variants"]["standard"]}})])
    del files["best_of_n"]["standard"]["curve"][-1]["gold"]
    with pytest.raises(ValueError, match="a: its data has no truth"):
        collect([(name, params, files)])


def test_runs_that_cannot_be_put_together_are_refused():
    first = run("a", 1, {"standard": 1.0})
    with pytest.raises(ValueError, match=r"b and a differ by more than seed: data\.max_train"):
        collect([first, run("b", 2, {"standard": 1.0}, **{"data.max_train": 600})])
    with pytest.raises(ValueError, match="the same seed twice"):
        collect([first, run("b", 1, {"standard": 1.0})])
