"""Krippendorff's alpha: against its definition, by clusters, and where there is nothing to agree on."""

import numpy as np
import pytest

from preference_study.analysis.agreement import alpha, counted

NAN = float("nan")


@pytest.mark.usefixtures("few_resamples")
def test_alpha_by_its_definition():
    """Of four coders, some of whom left cases out: those of Krippendorff 2011, example C, but for values above 3."""
    coders = np.array([
        [1, 2, 3, 3, 2, 1, 4, 1, 2, NAN, NAN, NAN],
        [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, NAN, 3],
        [NAN, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, NAN],
        [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, NAN],
    ])  # fmt: skip
    three = np.where(coders > 3, NAN, (coders - 1) / 2)
    table = counted(*three)
    assert table.sum() == np.isfinite(three).sum() and table[1].tolist() == [0, 3, 1]
    found = alpha(table, 1, [f"k{i}" for i in range(12)])
    values = [unit[np.isfinite(unit)] for unit in three.T if np.isfinite(unit).sum() > 1]
    n = sum(map(len, values))
    observed = sum(((unit[:, None] - unit) ** 2).sum() / (len(unit) - 1) for unit in values) / n
    every = np.concatenate(values)
    expected = ((every[:, None] - every) ** 2).sum() / (n * (n - 1))
    assert found["value"] == pytest.approx(1 - observed / expected) and found["low"] < found["value"] < found["high"]
    assert found["n"] == len(values)


@pytest.mark.usefixtures("few_resamples")
def test_alpha_by_clusters_is_less_sure():
    rng = np.random.default_rng(2)
    truth = np.repeat(rng.integers(0, 2, 15), 8)
    coders = [np.where(rng.random(120) < 0.15, 1 - truth, truth) for _ in range(2)]
    shared = np.repeat(rng.random(15) < 0.4, 8)  # whole clusters on which they differ
    coders[1] = np.where(shared, 1 - truth, coders[1])
    table = counted(*coders)
    by_row, by_cluster = alpha(table, 1, range(120)), alpha(table, 1, np.repeat(range(15), 8))
    assert by_row["value"] == by_cluster["value"] and by_cluster["clusters"] == 15
    assert by_cluster["high"] - by_cluster["low"] > 1.5 * (by_row["high"] - by_row["low"])


@pytest.mark.usefixtures("few_resamples")
def test_alpha_of_what_says_nothing_is_none():
    assert alpha(np.array([[1, 0, 0], [0, 0, 1]]), 1, ["a", "b"]) is None  # nobody answered a case that another did
    assert alpha(np.array([[0, 0, 2], [0, 0, 3], [1, 0, 0]]), 1, list("abc")) is None  # all the same
    sure = alpha(np.array([[0, 0, 2], [2, 0, 0]] * 10), 1, range(20))
    assert sure["value"] == 1


@pytest.mark.usefixtures("few_resamples")
def test_alpha_by_hand():
    """Two opinions, four cases, one apart: Do = 1/4, De = 2 * 3 * 5 / (8 * 7). A tie is half as far: squared distance 1/4."""
    found = alpha(counted(np.array([1, 1, 0, 0]), np.array([1, 1, 0, 1])), 1, range(4))
    assert found["value"] == pytest.approx(1 - (1 / 4) / (2 * 3 * 5 / (8 * 7))) and found["n"] == 4
    tie = alpha(counted(np.array([1, 1, 0, 0.5]), np.array([1, 1, 0, 0])), 1, range(4))
    values = np.array([1, 1, 0, 0.5, 1, 1, 0, 0])
    expected = ((values[:, None] - values) ** 2).sum() / (8 * 7)
    assert tie["value"] == pytest.approx(1 - (2 * 0.25 / 8) / expected)
