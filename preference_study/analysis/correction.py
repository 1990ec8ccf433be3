"""A judge's win rate corrected by labels of some cases: what people, or the truth, say of them.

The corrections take a judge's preferences on all cases and labels on some, drawn at random from the same cases. Their intervals
hold both sources of error: of the cases that the judge alone has seen, and of those that tell how it errs.
"""

import numpy as np

from preference_study.analysis.evidence import RULE_OF_THREE
from preference_study.analysis.statistics import CONFIDENCE, Clusters, estimate, student


def corrected(judged: np.ndarray, labels: np.ndarray, clusters: Clusters = None) -> dict[str, dict]:
    """All corrections; `judged`, `labels` and `clusters` as they take them."""
    return {
        "rogan_gladen": rogan_gladen(judged, labels, clusters),
        "prediction_powered": prediction_powered(judged, labels, clusters),
        "power_tuned": prediction_powered(judged, labels, clusters, weight=tuned_weight(judged, labels)),
    }


def tuned_weight(judged: np.ndarray, labels: np.ndarray) -> float:
    """How much of the judge to take so that the interval is narrow: all of one that is always right, nothing of one that guesses.

    The covariance of label and judge over the judge's variance, over 1 + labels / other cases (Angelopoulos, Duchi and Zrnic
    2023, arXiv 2311.01453, example 6.1), from 0 to 1.
    """
    judged, labels, _, known = _parts(judged, labels, None)
    if known.sum() < 2 or not judged.var():
        return 0.0
    together = np.cov(labels[known], judged[known])[0, 1]
    return float(np.clip(together / judged.var(ddof=1) / (1 + known.sum() / (~known).sum()), 0.0, 1.0))


def prediction_powered(judged: np.ndarray, labels: np.ndarray, clusters: Clusters = None, weight: float = 1.0) -> dict:
    """The mean label of all cases by prediction-powered inference (Angelopoulos et al. 2023, Science 382:669, a mean).

    The judge's mean on the cases without a label, and to it the mean of label minus judge on those with one. It holds whatever
    the judge is; a good one makes the interval narrow.

    Args:
        judged: per case what the judge says, 0 to 1: 1 where the policy won, one half for a tie.
        labels: the same by who is right; NaN where it is not known. Known ones are a random sample.
        clusters: of the cases.
        weight: that the judge is multiplied by; 0 leaves the labels alone.

    Returns:
        An estimate between 0 and 1, with Student's interval, robust to clusters. Where label minus judge is the same in all
        labelled cases, or the judge says the same of all cases of one label, which does not show that it always does, the rule of
        three says in how many others it may not.
    """
    judged, labels, numbers, known = _parts(judged, labels, clusters)
    alike = any(np.ptp(judged[known & (labels == label)]) == 0 for label in np.unique(labels[known]))
    judged = weight * judged
    of_labels = (labels - judged)[known]
    unseen = (1.0 if np.ptp(of_labels) == 0 else weight**2 * alike) * RULE_OF_THREE / _units(numbers, known) ** 2
    of_others, of_known = _mean_terms(judged, ~known, numbers), _mean_terms(np.where(known, labels - judged, 0.0), known, numbers)
    value = judged[~known].mean() + of_labels.mean()
    half = np.sqrt(((of_others + of_known) ** 2).sum() + unseen) * student(CONFIDENCE, _freedom(numbers, known))
    return _bounded(value, value - half, value + half, numbers)


def rogan_gladen(judged: np.ndarray, labels: np.ndarray, clusters: Clusters = None) -> dict:
    """The mean label of all cases by the judge's hits and false alarms (Rogan and Gladen 1978, Am. J. Epidemiology 107:71).

    Of the judge's mean p on the cases without a label, its mean s where the label is 1 and f where it is 0, the mean label is
    (p - f) / (s - f). A label between 0 and 1 counts in part for each, for which the same holds. The interval is Fieller's
    (1954): every value that p, s and f, with their errors, and `_unseen` ones of s and f, do not contradict.

    Args:
        judged, labels, clusters: as `prediction_powered` takes them.

    Returns:
        An estimate; null where s and f are not shown to differ: any rate goes with what such a judge says.
    """
    judged, labels, numbers, known = _parts(judged, labels, clusters)
    p, hits, misses = judged[~known].mean(), np.where(known, labels, 0.0), np.where(known, 1 - labels, 0.0)
    if not hits.sum() or not misses.sum():
        return estimate(np.nan, np.nan, np.nan, len(numbers), numbers.max() + 1)
    s, f = (float((weights * judged).sum() / weights.sum()) for weights in (hits, misses))
    a = _mean_terms(judged, ~known, numbers)
    scale = np.sqrt(_units(numbers, known) / (_units(numbers, known) - 1)) if _units(numbers, known) > 1 else np.nan
    b, c = (
        scale * np.bincount(numbers, weights * (judged - centre)) / weights.sum() for weights, centre in ((hits, s), (misses, f))
    )
    apart, t2 = s - f, student(CONFIDENCE, _freedom(numbers, known)) ** 2
    of_s, of_f = (_unseen(judged, weights > 0, numbers) for weights in (hits, misses))
    # (p - f - x (s - f))^2 <= t^2 (sum of (a - c - x (b - c))^2 + x^2 of_s + (1 - x)^2 of_f), a square in x.
    square = apart**2 - t2 * (((b - c) ** 2).sum() + of_s + of_f)
    linear = (p - f) * apart - t2 * (((a - c) * (b - c)).sum() + of_f)
    constant = (p - f) ** 2 - t2 * (((a - c) ** 2).sum() + of_f)
    if not square > 0:
        return estimate(np.nan, np.nan, np.nan, len(numbers), numbers.max() + 1)
    reach = np.sqrt(max(0.0, linear**2 - square * constant))
    return _bounded((p - f) / apart, (linear - reach) / square, (linear + reach) / square, numbers)


def _parts(judged: np.ndarray, labels: np.ndarray, clusters: Clusters) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The columns as numbers, each case's cluster as one from 0, and which labels are known."""
    judged, labels = np.asarray(judged, dtype=float), np.asarray(labels, dtype=float)
    known = np.isfinite(labels)
    if known.all() or not known.any():
        raise ValueError("a correction needs cases with a label and cases without one")
    _, numbers = np.unique(np.arange(len(judged)) if clusters is None else np.asarray(clusters, dtype=str), return_inverse=True)
    return judged, labels, numbers, known


def _unseen(judged: np.ndarray, rows: np.ndarray, numbers: np.ndarray) -> float:
    """The variance of a judge's mean over cases of one label, where it says the same of all: the rule of three says in how many
    others it may not."""
    return 0.0 if np.ptp(judged[rows]) > 0 else RULE_OF_THREE / _units(numbers, rows) ** 2


def _units(numbers: np.ndarray, rows: np.ndarray) -> int:
    return len(np.unique(numbers[rows]))


def _mean_terms(values: np.ndarray, rows: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """Per cluster what it adds to the error of the mean over some rows: the root of their squares' sum is CR1's."""
    units = _units(numbers, rows)
    if units < 2:
        return np.full(numbers.max() + 1, np.nan)
    own = np.where(rows, values - values[rows].mean(), 0.0) / rows.sum()
    return np.sqrt(units / (units - 1)) * np.bincount(numbers, own)


def _freedom(numbers: np.ndarray, known: np.ndarray) -> int:
    """Degrees of freedom: of the part with fewer clusters."""
    return max(1, min(_units(numbers, known), _units(numbers, ~known)) - 1)


def _bounded(value: float, low: float, high: float, numbers: np.ndarray) -> dict:
    """The estimate within what a rate can be."""
    return estimate(*np.clip([value, low, high], 0.0, 1.0), len(numbers), numbers.max() + 1)
