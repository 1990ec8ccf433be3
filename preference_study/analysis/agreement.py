"""How far several opinions of the same cases agree."""

from collections.abc import Sequence

import krippendorff
import numpy as np

from preference_study.analysis.statistics import bootstrapped

POINTS = (0.0, 0.5, 1.0)  # the other response is better, a tie, the one is


def counted(*points: np.ndarray) -> np.ndarray:
    """[cases, 3]: how many of several opinions gave a case each of `POINTS`; NaN is none."""
    return np.sum([[np.asarray(column) == point for point in POINTS] for column in points], axis=0).T


def alpha(counts: np.ndarray, seed: int, clusters: Sequence) -> dict | None:
    """Krippendorff's alpha of points (2011), with a bootstrap interval over clusters.

    Points are taken as numbers: a tie lies halfway between both sides. 1 is full agreement, 0 what chance would give.

    Args:
        counts: [cases, 3], how often each was given each of `POINTS`; cases with fewer than two are left out.
        seed: of the bootstrap.
        clusters: of the cases.

    Returns:
        An estimate; None without a case that was given two, or where all points are the same one.
    """
    counts = np.asarray(counts, dtype=float)
    several = counts.sum(axis=1) > 1
    if (counts[several].sum(axis=0) > 0).sum() < 2:
        return None

    def of_columns(*columns: np.ndarray, axis: int = -1) -> np.ndarray:
        tables = np.stack(columns, axis=-1)
        found = [_alpha(table) for table in tables.reshape(-1, *tables.shape[-2:])]
        return np.reshape(found, tables.shape[:-2])

    return bootstrapped(of_columns, *counts[several].T, seed=seed, clusters=np.asarray(clusters)[several])


def _alpha(table: np.ndarray) -> float:
    """NaN where a resample has one value alone: then there is nothing to agree on."""
    if (table.sum(axis=0) > 0).sum() < 2:
        return np.nan
    return krippendorff.alpha(value_counts=table, value_domain=POINTS, level_of_measurement="interval")
