"""What the shapes share in scoring: points a comparison, and published scores as weighted sums of their means."""

from collections.abc import Sequence
from math import comb
from typing import NamedTuple

import numpy as np
import pandas as pd


class Outcome(NamedTuple):
    """What a judge's scores come to by a benchmark's rule.

    Attributes:
        comparisons: row (its place), point (1 right, 0 wrong, between them where the rule says so), chance (the point that a
            judge has on average that draws its scores) and level, where a row is compared at several, else null.
        published: per published score, the headline first, the terms that it is the weighted sum of the mean points of: term,
            weight (the same in all rows of a term), row, point.
    """

    comparisons: pd.DataFrame
    published: dict[str, pd.DataFrame]


def split(rows: pd.DataFrame, scores: Sequence[np.ndarray]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Each row's scores of its right responses, and of its wrong ones."""
    found = []
    for correct, own in zip(rows["correct"], scores, strict=True):
        correct, own = np.asarray(correct, dtype=bool), np.asarray(own, dtype=float)
        found.append((own[correct], own[~correct]))
    return found


def margins(rows: pd.DataFrame, scores: Sequence[np.ndarray]) -> np.ndarray:
    """The lowest score of a right response minus the highest of a wrong one, a row."""
    return np.array([right.min() - wrong.max() for right, wrong in split(rows, scores)])


def half_ties(gaps: np.ndarray) -> np.ndarray:
    """As in the study's statistics, which are loaded where scores are counted and not wherever parameters are read."""
    from preference_study.analysis import statistics

    return statistics.half_ties(gaps)


def one_a_row(rows: pd.DataFrame, points: Sequence[float]) -> pd.DataFrame:
    """Comparisons, one a row, in which every right response is held against every wrong one."""
    chance = [1 / comb(len(correct), int(np.sum(correct))) for correct in rows["correct"]]
    return pd.DataFrame({"row": np.arange(len(rows)), "point": np.asarray(points, dtype=float), "chance": chance, "level": None})


def weighted(comparisons: pd.DataFrame, terms: pd.Series, weights: dict[str, float]) -> pd.DataFrame:
    """The terms of a score.

    Args:
        terms: of each row of the benchmark, by its place, the term that its comparisons belong to.
        weights: by term; terms without one are no part of the score.
    """
    term = comparisons["row"].map(terms)
    table = comparisons[["row", "point"]].assign(term=term, weight=term.map(weights))
    return table[table["weight"].notna()]


def averaged(comparisons: pd.DataFrame, terms: pd.Series) -> pd.DataFrame:
    """The unweighted mean of the terms' mean points."""
    present = list(dict.fromkeys(terms))
    return weighted(comparisons, terms, dict.fromkeys(present, 1 / len(present)))
