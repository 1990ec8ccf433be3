import pytest

from experiments.noise import collect, shown


def run(name: str, seed: int, flipped: float, standard: float, robust: float, rate: float = 0.2) -> tuple[str, dict, dict]:
    params = {"seed": seed, "reward.flipped": flipped, "reward.noise_robust.flip_rate": rate}
    return name, params, {"standard": {"accuracy": {"value": standard}}, "noise_robust": {"accuracy": {"value": robust}}}


RUNS = [
    run("a", 1, 0.0, 0.80, 0.79),
    run("b", 1, 0.2, 0.70, 0.75),
    run("c", 2, 0.0, 0.82, 0.80),
    run("d", 2, 0.2, 0.66, 0.74),
]


def test_what_flips_cost_by_hand():
    found = collect(RUNS[::-1])
    lost = {scorer: found["losses"][scorer]["0.2"]["lost"] for scorer in ("standard", "noise_robust")}
    assert lost["standard"]["value"] == pytest.approx((0.10 + 0.16) / 2) and lost["standard"]["n"] == 2
    assert lost["noise_robust"]["value"] == pytest.approx((0.04 + 0.06) / 2)
    assert found["losses"]["noise_robust"]["0.2"]["against_standard"]["value"] == pytest.approx((0.06 + 0.10) / 2)
    assert "against_standard" not in found["losses"]["standard"]["0.2"]
    assert found["params"] == {"reward.noise_robust.flip_rate": 0.2}
    lines = shown(found).splitlines()
    assert len(lines) == 4 and lines[-1].startswith("standard") and lines[-1].endswith("(0.700 0.660)   lost +0.130")


@pytest.mark.parametrize(
    ("runs", "wanted"),
    [
        (RUNS[:3], "every seed needs the same shares"),
        ([RUNS[1], RUNS[3]], "0 among them"),
        ([*RUNS, run("e", 2, 0.2, 0.5, 0.5)], "twice"),
        ([*RUNS, run("e", 3, 0.2, 0.5, 0.5, rate=0.3)], "differ by more than .*: reward.noise_robust.flip_rate"),
    ],
)
def test_what_cannot_be_compared_is_refused(runs, wanted):
    with pytest.raises(ValueError, match=wanted):
        collect(runs)


def test_without_flips_nothing_was_lost():
    assert collect(RUNS[:1])["losses"] == {"noise_robust": {}, "standard": {}}
