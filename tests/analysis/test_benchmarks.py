"""What benchmarks say of judges: each published score by hand, and against the package that publishes it."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from preference_study.analysis.benchmarks import by_row, compare_benchmark
from preference_study.analysis.statistics import mean
from preference_study.benchmarks import SHAPES
from tests.benchmarks import published


def table(*rows: tuple) -> pd.DataFrame:
    """Rows of (subset, correct) or (subset, correct, cluster, part), with their section by the shape that is told."""
    shape, *rows = rows
    found = [(*row, f"c{n}", None)[:4] if len(row) == 2 else row for n, row in enumerate(rows)]
    frame = pd.DataFrame(found, columns=["subset", "correct", "cluster", "part"])
    return frame.assign(section=frame["subset"].map(SHAPES[shape].section), id=[f"f:{n}" for n in range(len(frame))])


def scores_of(shape: str, rows: pd.DataFrame, scores: list) -> dict[str, float]:
    outcome = SHAPES[shape].outcome(rows, [np.array(own, dtype=float) for own in scores])
    return {name: by_row(terms, rows["cluster"].to_numpy()).mean() for name, terms in outcome.published.items()}


PAIR, OTHER = [True, False], [False, True]


def test_rewardbench_weights_its_subsets():
    """Math is right in 1 of 4, a code subset in 2 of 2, another in 0 of 2; of Chat one subset, of Safety none, a tie is wrong."""
    rows = table(
        "rewardbench", *[("math-prm", PAIR)] * 4, *[("hep-go", PAIR)] * 2, *[("hep-js", PAIR)] * 2,
        *[("mt-bench-easy", PAIR)] * 2, ("llmbar-natural", PAIR), ("mt-bench-hard", PAIR),
    )  # fmt: skip
    scores = [(2, 1), (1, 2), (1, 1), (0, 3), (1, 0), (4, 0), (0, 1), (1, 1), (1, 0), (0, 1), (1, 0), (0, 1)]
    found = scores_of("rewardbench", rows, scores)
    reasoning = (984 * 0.25 + 164 * 1.0 + 164 * 0.0) / (984 + 164 + 164)
    hard = 100 / 137
    assert found == pytest.approx(
        {"RewardBench": (0.5 + hard + reasoning) / 3, "Chat": 0.5, "Chat Hard": hard, "Reasoning": reasoning}
    )
    whole = compare_benchmark(rows, {"judge": scores}, "rewardbench", 0)
    assert (
        len(whole["missing"]) == 17
        and "donotanswer" in whole["missing"]
        and whole["judges"]["judge"]["accuracy"]["sections"]["Reasoning"]["value"] == 3 / 8
    )


def test_the_package_says_the_same_of_rewardbench():
    rows, scores = published.first()
    found = scores_of("rewardbench", rows, scores)
    headline = found.pop("RewardBench")
    assert found == pytest.approx(published.FIRST) and headline == pytest.approx(np.mean(list(published.FIRST.values())))


def test_the_package_says_the_same_of_rewardbench_2():
    rows, scores = published.second()
    found = scores_of("rewardbench2", rows, scores)
    assert found["Ties"] == pytest.approx(published.SECOND["Ties"])
    assert found["RewardBench 2"] == pytest.approx(np.mean(list(published.SECOND.values())))
    means = compare_benchmark(rows, {"judge": scores}, "rewardbench2", 0)
    outcome = SHAPES["rewardbench2"].outcome(rows, scores)
    by_subset = outcome.comparisons["point"].groupby(rows["subset"]).mean()
    assert {name: by_subset[name] for name in published.SECOND if name != "Ties"} == pytest.approx(
        {name: value for name, value in published.SECOND.items() if name != "Ties"}
    )
    assert means["chance"]["subsets"]["Math"] == 0.25 and means["missing"] == []


def test_ties_by_hand():
    """Question 1: gaps 2 (tied) and 1 (ref), spread 1.5; 2: gaps 1 and 3, no spread; 3 has no ref, and is wrong."""
    three = [True, True, False]
    rows = table(
        "rewardbench2", ("Ties", three, "1", "tied"), ("Ties", PAIR, "1", "ref"), ("Ties", three, "2", "tied"),
        ("Ties", PAIR, "2", "ref"), ("Ties", three, "3", "tied"),
    )  # fmt: skip
    scores = [(3.5, 5, 1.5), (2, 1), (4, 4, 3), (5, 2), (1, 3, 2)]
    tied_right, ref_right, wider, both_wider, ratio = 2 / 3, 1.0, 1.0, 0.5, np.tanh(1 / 1.5 - 1)
    expected = 0.3 * tied_right + 0.3 * ref_right + 0.2 * wider + 0.2 * both_wider + 0.01 * ratio
    found = scores_of("rewardbench2", rows, scores)
    assert found["Ties"] == pytest.approx(expected) and found["RewardBench 2"] == pytest.approx(expected)


def test_the_best_of_four_shares_its_point_with_those_that_are_equal():
    four = [True, False, False, False]
    rows = table("rewardbench2", *[("Math", four)] * 4, ("Focus", four))
    found = scores_of("rewardbench2", rows, [(2, 1, 1, 1), (2, 2, 1, 1), (2, 2, 2, 2), (1, 2, 1, 1), (9, 0, 0, 0)])
    assert found == pytest.approx({"RewardBench 2": ((1 + 1 / 2 + 1 / 4 + 0) / 4 + 1) / 2})


def test_rm_bench_by_hand():
    """Right scores 1, 2, 3 (concise, plain, Markdown) and wrong ones; every level another number, and so every domain."""
    six = [True] * 3 + [False] * 3
    rows = table("rm_bench", ("chat", six), ("chat", six), ("safety-refuse", six), ("safety-response", six))
    scores = [(1, 2, 3, 0, 2, 4), (1, 1, 1, 2, 2, 0), (5, 5, 5, 1, 1, 5), (1, 2, 3, 9, 9, 9)]
    # Right by wrong, row 1: [[1,0,0],[1,0,0],[1,1,0]], easy 3/3, normal 1/3, hard 0. Row 2: [[0,0,1],[0,0,1],[0,0,1]], easy 0,
    # normal 1/3, hard 2/3. Row 3: [[1,1,0]] * 3, easy 1, normal 2/3, hard 1/3 (a tie is wrong). Row 4: none.
    chat, safety = {"easy": 1 / 2, "normal": 1 / 3, "hard": 1 / 3}, {"easy": 1 / 2, "normal": 1 / 3, "hard": 1 / 6}
    found = scores_of("rm_bench", rows, scores)
    levels = {level: (chat[level] + safety[level]) / 2 for level in chat}
    assert found == pytest.approx({"RM-Bench": np.mean(list(levels.values()))} | levels)
    whole = compare_benchmark(rows, {"judge": scores}, "rm_bench", 0)
    accuracy = whole["judges"]["judge"]["accuracy"]
    assert accuracy["sections"]["safety"]["value"] == 6 / 18 and accuracy["subsets"]["safety-refuse"]["value"] == 6 / 9
    assert (accuracy["overall"]["n"], accuracy["overall"]["clusters"]) == (36, 4) and whole["missing"] == ["code", "math"]


def test_rm_bench_weighs_domains_alike():
    """Three rows of chat that are right and one of code that is wrong."""
    six = [True] * 3 + [False] * 3
    rows = table("rm_bench", *[("chat", six)] * 3, ("code", six))
    assert scores_of("rm_bench", rows, [(1, 1, 1, 0, 0, 0)] * 3 + [(0, 0, 0, 1, 1, 1)])["RM-Bench"] == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("shape", "tie_first_right", "tie_second_right"),
    [("rewardbench", 0, 0), ("judgebench", 0, 1), ("llmbar", 0.5, 0.5), ("preferences", 0.5, 0.5)],
)
def test_ties_count_as_the_benchmark_says(shape, tie_first_right, tie_second_right):
    subset = {"rewardbench": "math-prm", "judgebench": "mmlu-pro-law"}.get(shape, "Natural")
    rows = table(shape, (subset, PAIR), (subset, OTHER), (subset, PAIR), (subset, OTHER))
    outcome = SHAPES[shape].outcome(rows, [np.array(own) for own in [(1, 1), (1, 1), (2, 1), (2, 1)]])
    assert outcome.comparisons["point"].tolist() == [tie_first_right, tie_second_right, 1, 0]


def test_llmbar_averages_its_adversarial_subsets():
    rows = table("llmbar", *[("Manual", PAIR)] * 4, ("Adversarial_GPTOut", PAIR), ("Natural", PAIR), ("Constraint", PAIR))
    found = scores_of("llmbar", rows, [(1, 0), (0, 1), (0, 1), (0, 1), (1, 0), (1, 1), (0, 1)])
    assert found == pytest.approx({"Adversarial": (1 / 4 + 1) / 2, "Natural": 0.5})
    assert compare_benchmark(rows, {"judge": [(1, 0)] * 7}, "llmbar", 0)["missing"] == ["Neighbor", "GPTInst"]


def test_judgebench_is_one_share_of_all():
    rows = table("judgebench", *[("mmlu-pro-law", OTHER)] * 3, ("livecodebench", PAIR))
    whole = compare_benchmark(rows, {"judge": [(0, 1), (0, 1), (1, 0), (0, 1)]}, "judgebench", 0)
    assert whole["judges"]["judge"]["published"]["JudgeBench"]["value"] == 0.5
    assert whole["sections"] == {"Knowledge": ["mmlu-pro-law"], "Coding": ["livecodebench"]}
    sections = whole["judges"]["judge"]["accuracy"]["sections"]
    assert {name: found["value"] for name, found in sections.items()} == {"Knowledge": 2 / 3, "Coding": 0.0}


def test_every_judge_and_every_two_of_them():
    """Each number from its own judge: all differ. A fourth judge is one more entry."""
    rows = table("preferences", *[("easy", PAIR)] * 12, *[("hard", PAIR)] * 8).assign(cluster=[f"p{n // 2}" for n in range(20)])
    right = {"good": 18, "fair": 12, "poor": 5}
    judges = {name: [(1, 0)] * count + [(0, 1)] * (20 - count) for name, count in right.items()}
    found = compare_benchmark(rows, judges, "preferences", seed=3)
    for name, count in right.items():
        accuracy = found["judges"][name]["accuracy"]
        assert accuracy["overall"]["value"] == count / 20 and (accuracy["overall"]["n"], accuracy["overall"]["clusters"]) == (
            20,
            10,
        )
        assert accuracy["subsets"]["hard"]["value"] == max(0, count - 12) / 8 and accuracy["subsets"]["easy"]["n"] == 12
        assert found["judges"][name]["published"] == {}
    assert [(pair["a"], pair["b"]) for pair in found["pairs"]] == [("good", "fair"), ("good", "poor"), ("fair", "poor")]
    differences = [pair["accuracy"] for pair in found["pairs"]]
    assert [round(row["value"], 6) for row in differences] == [-0.3, -0.65, -0.35]
    # 3, 7 (of which two change by one row) and 4 clusters that change, all one way: signs by cluster, exact.
    assert [row["p"] for row in differences] == pytest.approx([2 / 2**3, 2 / 2**7, 2 / 2**4])
    assert [row["p_holm"] for row in differences] == pytest.approx([2 / 8, 3 * 2 / 128, 2 * 2 / 16])
    assert found["chance"] == {"overall": 0.5, "sections": {"easy": 0.5, "hard": 0.5}, "subsets": {"easy": 0.5, "hard": 0.5}}


def test_a_published_scores_interval_by_hand():
    """Two subsets at one half each, rows alone: the interval is Student's of the linearised values."""
    rows = table("llmbar", *[("Manual", PAIR)] * 4, *[("GPTOut", PAIR)] * 6)
    points = np.array([1, 1, 1, 0, 1, 0, 0, 0, 0, 1])
    scores = [(point, 1 - point) for point in points]
    other = [(1, 0)] * 10
    found = compare_benchmark(rows, {"judge": scores, "other": other}, "llmbar", 0)
    score, lost = (3 / 4 + 1 / 3) / 2, {g: np.sqrt(g / (g - 1) * 9 / 10) for g in (4, 6)}
    values = score + 10 * np.where(np.arange(10) < 4, 0.5 / 4 * (points - 3 / 4) * lost[4], 0.5 / 6 * (points - 1 / 3) * lost[6])
    half = stats.sem(values) * stats.t.ppf(0.975, 9)
    estimate = found["judges"]["judge"]["published"]["Adversarial"]
    assert estimate == pytest.approx({"value": score, "low": score - half, "high": score + half, "n": 10, "clusters": 10})
    difference = found["pairs"][0]["published"]["Adversarial"]
    assert (difference["value"], difference["high"]) == pytest.approx((1 - score, 1 - score + half))
    # What does not vary has no interval, and none is wider than the score can be.
    assert found["judges"]["other"]["published"]["Adversarial"] == {
        "value": 1.0,
        "low": None,
        "high": None,
        "n": 10,
        "clusters": 10,
    }
    few = table("llmbar", *[("Manual", PAIR)] * 3)
    few = compare_benchmark(few, {"judge": [(1, 0), (1, 0), (0, 1)]}, "llmbar", 0)["judges"]["judge"]["published"]["Adversarial"]
    assert (few["low"], few["high"]) == (0.0, 1.0)


def test_published_scores_hold_the_truth_so_often():
    """Unequal subsets with weights that are not their sizes, two rows a cluster: 95% in 300 samples, within 2 of it."""
    subsets = [("math-prm", 240, 0.8), ("hep-go", 120, 0.6), ("mt-bench-easy", 120, 0.7)]
    rows = table("rewardbench", *[(name, PAIR) for name, size, _ in subsets for _ in range(size)])
    clusters = np.arange(len(rows)) // 2
    terms = SHAPES["rewardbench"].outcome(rows, [np.ones(2)] * len(rows)).published["RewardBench"]
    rates = np.repeat([rate for *_, rate in subsets], [size // 2 for _, size, _ in subsets])
    truth, held, runs = ((984 * 0.8 + 164 * 0.6) / (984 + 164) + 0.7) / 2, 0, 300
    for run in range(runs):
        rng = np.random.default_rng(run)
        points = rng.random(len(rows)) < np.repeat(rng.beta(4 * rates, 4 * (1 - rates)), 2)
        found = mean(by_row(terms.assign(point=points[terms["row"]] * 1.0), clusters).to_numpy(), clusters)
        held += found["low"] <= truth <= found["high"]
    assert 0.93 <= held / runs <= 0.97
