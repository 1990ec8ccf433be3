import pytest
from scipy import stats

from experiments.variants import added, collect, shown


def run(name: str, seed: int, flipped: float, standard: tuple, robust: tuple, rate: float = 0.2) -> tuple[str, dict, dict]:
    params = {"seed": seed, "reward.flipped": flipped, "reward.noise_robust.flip_rate": rate}
    numbers = {
        scorer: {
            "accuracy": {"value": accuracy},
            "accuracy_longer_chosen": {"value": accuracy + 0.06 + place / 100},
            "accuracy_shorter_chosen": {"value": accuracy - 0.05 + place / 50},
            "length_correlation_within_pairs": {"value": length},
        }
        for place, (scorer, (accuracy, length)) in enumerate((("standard", standard), ("noise_robust", robust)))
    }
    return name, params, numbers


RUNS = [
    run("a", 1, 0.0, (0.80, 0.3), (0.79, -0.1)),
    run("b", 1, 0.2, (0.70, 0.3), (0.75, 0.3)),
    run("c", 2, 0.0, (0.82, 0.2), (0.80, 0.1)),
    run("d", 2, 0.2, (0.66, -0.2), (0.74, 0.0)),
]


def test_against_the_standard_model_of_the_same_seed_by_hand():
    found = collect(RUNS[::-1])
    robust, standard = found["scorers"]["noise_robust"], found["scorers"]["standard"]
    assert robust["0.0"]["accuracy"]["value"] == pytest.approx(0.795) and robust["0.0"]["length"]["value"] == pytest.approx(0)
    change = robust["0.0"]["against_standard"]
    assert change.keys() == {"accuracy", "shorter_chosen", "length", "length_shift"}
    assert change["shorter_chosen"]["value"] == pytest.approx((-0.01 - 0.02) / 2 + 0.02)
    assert robust["0.0"]["longer_chosen"]["value"] == pytest.approx(0.795 + 0.07)
    assert robust["0.0"]["shorter_chosen"]["value"] == pytest.approx(0.795 - 0.03)
    assert change["accuracy"]["value"] == pytest.approx((-0.01 - 0.02) / 2) and change["accuracy"]["n"] == 2
    assert change["length"]["value"] == pytest.approx((-0.2 - 0.1) / 2)
    assert change["length_shift"]["value"] == pytest.approx((-0.4 - 0.1) / 2)
    student = stats.ttest_1samp([-0.2, -0.1], 0).confidence_interval(0.95)
    assert [change["length"]["low"], change["length"]["high"]] == pytest.approx(list(student))
    assert robust["0.2"]["against_standard"]["length"]["value"] == pytest.approx((0.0 - 0.2) / 2)
    assert "against_standard" not in standard["0.0"] and "against_standard" not in standard["0.2"]
    assert found["params"] == {"reward.noise_robust.flip_rate": 0.2}
    assert found["rows"][0] == {"flipped": 0.0, "seed": 1, "scorer": "noise_robust", "accuracy": 0.79, "length": -0.1} | {
        "longer_chosen": pytest.approx(0.86), "shorter_chosen": pytest.approx(0.76),
    }  # fmt: skip


def test_a_part_that_no_pair_is_of_is_left_out():
    runs = [run("a", 1, 0.0, (0.80, 0.3), (0.79, -0.1)), run("c", 2, 0.0, (0.82, 0.2), (0.80, 0.1))]
    for scorer in runs[1][2].values():
        scorer["accuracy_shorter_chosen"]["value"] = None
    found = collect(runs)["scorers"]["noise_robust"]["0.0"]
    assert "shorter_chosen" not in found and "shorter_chosen" not in found["against_standard"]
    assert found["longer_chosen"]["n"] == 2 and "shorter_chosen" not in shown(collect(runs))


def test_what_flips_cost_by_hand():
    found = collect(RUNS[::-1])["scorers"]
    assert found["standard"]["0.2"]["lost"]["value"] == pytest.approx((0.10 + 0.16) / 2)
    assert found["noise_robust"]["0.2"]["lost"]["value"] == pytest.approx((0.04 + 0.06) / 2)
    assert found["noise_robust"]["0.2"]["against_standard"]["lost"]["value"] == pytest.approx((0.06 + 0.10) / 2)
    assert "lost" not in found["standard"]["0.0"]


def test_the_table_shows_every_seed_and_interval():
    lines = shown(collect(RUNS)).splitlines()
    start = lines.index("noise_robust, 0% flipped")
    assert lines[start + 1 : start + 5] == [
        "  accuracy        +0.795   (+0.790 +0.800)",
        "  longer_chosen   +0.865   (+0.860 +0.870)",
        "  shorter_chosen  +0.765   (+0.760 +0.770)",
        "  length          0.000   (-0.100 +0.100)",
    ]
    assert lines[start + 7] == "  length against standard: -0.150 [-0.785, 0.485], 2 seeds"
    assert "  lost            +0.130 [-0.251, 0.511], 2 seeds" in lines
    assert "  accuracy against standard: -0.010, 1 seed" in shown(collect(RUNS[:1])).splitlines()


@pytest.mark.parametrize(
    ("runs", "wanted"),
    [
        (RUNS[:3], "every seed needs the same reward models and shares"),
        ([RUNS[1], RUNS[3]], "0 among them"),
        ([*RUNS, run("e", 2, 0.2, (0.5, 0), (0.5, 0))], "twice"),
        (
            [*RUNS, run("e", 3, 0.2, (0.5, 0), (0.5, 0), rate=0.3)],
            "differ by more than .*: reward.noise_robust.flip_rate; name those",
        ),
        ([("e", {"seed": 1, "reward.flipped": 0.0}, {})], "e compares no reward models; name them in stress.variants"),
    ],
)
def test_what_cannot_be_compared_is_refused(runs, wanted):
    with pytest.raises(ValueError, match=wanted):
        collect(runs)


def test_runs_are_added_to_those_of_before():
    before, now = collect(RUNS[:2]), collect(RUNS[2:])
    assert added(before, now) == collect(RUNS)
    other = now | {"params": now["params"] | {"report.max_cases": 5}}
    assert added(before, other) == collect(RUNS) | {"params": other["params"]}


def test_runs_that_cannot_be_added_are_refused():
    before, now = collect(RUNS[:2]), collect(RUNS[2:])
    with pytest.raises(ValueError, match="twice"):
        added(before, before)
    with pytest.raises(ValueError, match=r"with other parameters: reward\.noise_robust\.flip_rate; leave --add out"):
        added(before, now | {"params": {"reward.noise_robust.flip_rate": 0.3}})
    with pytest.raises(ValueError, match="every seed needs the same reward models"):
        added(before, now | {"rows": [row for row in now["rows"] if row["scorer"] == "standard"]})
