"""The win rate at equal style, and what each mark of style is worth to the judge."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import stats
from scipy.special import expit

from preference_study.analysis.statistics import (
    CONFIDENCE,
    PRIOR_PRECISION,
    Clusters,
    bootstrapped,
    cluster_sums,
    estimate,
    information,
    not_narrower,
    sign_flip_p,
)

STYLE = ("words", "headings", "list_items", "bold")
HELD = 1e12  # the precision of a prior that leaves nothing of a coefficient


def at_equal_features(wins: np.ndarray, features: np.ndarray, even: bool = False) -> np.ndarray:
    """The coefficients of P(win) = sigmoid(a + b . features), by Newton's method, for every sample of a stack at once.

    A win and a loss of half a prompt's weight at features of zero are added, and each b has a weak normal prior, so that they are
    finite where every prompt was won or a feature separates wins from losses.

    Args:
        wins: [..., n], 1, 0 or 0.5.
        features: [..., n, k].
        even: whether a is held at zero.

    Returns:
        [..., 1 + k]: a, then b.
    """
    design = np.concatenate([np.ones((*features.shape[:-1], 1)), features], axis=-1)
    size = design.shape[-1]
    prior = np.diag([HELD if even else 0.0] + [PRIOR_PRECISION] * (size - 1))
    found = np.zeros((*design.shape[:-2], size))
    for _ in range(30):
        p = expit((design @ found[..., None])[..., 0])
        even = expit(found[..., 0])
        gradient = ((wins - p)[..., None] * design).sum(axis=-2) - found @ prior
        gradient[..., 0] += 0.5 - even
        curvature = np.swapaxes(design, -1, -2) @ (design * (p * (1 - p))[..., None]) + prior
        curvature[..., 0, 0] += even * (1 - even)
        step = np.clip(np.linalg.solve(curvature, gradient[..., None])[..., 0], -2, 2)
        found = found + step
        if np.abs(step).max() < 1e-9:
            break
    return found


def coefficient_intervals(wins: np.ndarray, features: np.ndarray, found: np.ndarray, clusters: Clusters = None) -> list[dict]:
    """Each coefficient of `at_equal_features` with Student's interval by the sandwich estimate of its variance (White 1980).

    Of clusters the scores are summed by cluster, with clusters - 1 degrees of freedom. A mark of style that few responses have
    can fit their wins and losses so well that nothing is left to vary; so the variance is never below the `information`'s.

    Args:
        wins: [n].
        features: [n, k].
        found: [1 + k].
    """
    n, design = len(features), np.column_stack([np.ones(len(features)), features])
    variances = np.linalg.inv(information(features, found))
    scores = variances @ ((wins - expit(design @ found))[:, None] * design).T
    scores = np.array([cluster_sums(row, clusters) for row in scores])
    units, half = scores.shape[1], np.nan * found
    if units > 1:
        sandwich = units / (units - 1) * (scores**2).sum(axis=1)
        half = np.sqrt(np.maximum(sandwich, np.diag(variances))) * stats.t.ppf((1 + CONFIDENCE) / 2, units - 1)
    return [estimate(b, b - h, b + h, n, units) for b, h in zip(found[1:], half[1:], strict=True)]


def even_at_equal_features_p(wins: Sequence[float], features: np.ndarray, clusters: Clusters = None) -> float:
    """The p-value of a win rate of one half at equal features, whatever the features are worth.

    The score of a in the model of `at_equal_features`, fitted with a = 0 and cleared of b, is held against random signs of each
    cluster's part (Hemerik, Goeman and Finos 2020, JRSS B 82:841). Without features it is the sign test.

    Where the policy's responses are always longer, length and policy can hardly be told apart: next to nothing is left of each
    part, all the same of one sign, and random signs do not see how little it is. So p is that of the score against the model's
    own information (Rao 1948) where that is larger.

    Args:
        wins: [n].
        features: [n, k].
    """
    wins = np.asarray(wins, dtype=float)
    if not features.any():
        return sign_flip_p(cluster_sums(wins - 0.5, clusters))
    p = expit(features @ at_equal_features(wins, features, even=True)[1:])
    weights = p * (1 - p)
    curvature = features.T @ (features * weights[:, None]) + PRIOR_PRECISION * np.eye(features.shape[1])
    cleared = 1 - features @ np.linalg.solve(curvature, features.T @ weights)
    parts = (wins - p) * cleared
    told = (weights * cleared**2)[wins != 0.5].sum()  # ties tell nothing of it
    by_information = 2 * stats.norm.sf(abs(parts.sum()) / np.sqrt(told)) if told > 0 else 1.0
    return max(sign_flip_p(cluster_sums(parts, clusters)), float(by_information))


def length_features(differences: Sequence[float]) -> np.ndarray:
    """[n, 2], what a difference in words may be worth: tanh(difference / m), m the median of their sizes, and difference / s, s
    their standard deviation about zero.

    The first tells small differences apart, and the second what a few responses that run on are worth. With one of the two, those
    would say what a small difference is worth, too.
    """
    differences = np.asarray(differences, dtype=float)
    spread = np.sqrt(np.mean(differences**2))
    if spread == 0:
        return np.zeros((len(differences), 2))
    middle = np.median(np.abs(differences))
    return np.column_stack([np.tanh(differences / (middle if middle > 0 else spread)), differences / spread])


def even_at_equal_length_p(wins: Sequence[float], differences: Sequence[float], clusters: Clusters = None) -> float:
    """The p-value of a win rate of one half at equal length: the larger of those by `length_features`, and by tanh of the second.

    Each alone can be misled: one feature by a few responses that run on, two where all are longer and won.

    Args:
        wins: 1 where the policy's response won, 0 where it lost, 0.5 for a tie.
        differences: words of the policy's response minus base's.
    """
    features = length_features(differences)
    return max(even_at_equal_features_p(wins, columns, clusters) for columns in (features, np.tanh(features[:, 1:])))


def length_controlled_win_rate(
    wins: Sequence[float], length_differences: Sequence[float], seed: int, clusters: Clusters = None
) -> dict:
    """The win rate at equal length, in the manner of length-controlled AlpacaEval (Dubois et al. 2024).

    P(win) = sigmoid(a + b . `length_features`); the result is sigmoid(a), with a bootstrap interval, `not_narrower`. Theirs has
    one feature, and a term per instruction.

    Args:
        wins: 1 where the policy's response won, 0 where it lost, 0.5 for a tie.
        length_differences: words of the policy's response minus base's.
        seed: of the bootstrap.
    """
    wins, features = np.asarray(wins, dtype=float), length_features(length_differences)
    resampled = bootstrapped(win_rate_at_equal_features, wins, *features.T, seed=seed, clusters=clusters)
    return not_narrower(resampled, features, at_equal_features(wins, features))


def win_rate_at_equal_features(wins: np.ndarray, *features: np.ndarray, axis: int = -1) -> np.ndarray:
    """sigmoid(a) of `at_equal_features`, whose features come one by one, for every sample of a stack."""
    columns = np.stack(features, axis=-1) if features else np.empty((*wins.shape, 0))
    return expit(at_equal_features(wins, columns)[..., 0])


def style_differences(base: pd.DataFrame, policy: pd.DataFrame) -> dict[str, np.ndarray]:
    """Per mark of style in which two responses differ anywhere, how much: (policy - base) / (policy + base), 0 where both are 0.

    Divided by its root mean square, as in the Arena's style control, so that coefficients can be compared.
    """
    found = {}
    for name in STYLE:
        own, other = policy[name].to_numpy(dtype=float), base[name].to_numpy(dtype=float)
        total = own + other
        difference = np.divide(own - other, total, out=np.zeros(len(own)), where=total > 0)
        if difference.any():
            found[name] = difference / np.sqrt(np.mean(difference**2))
    return found


def style_controlled(wins: Sequence[float], base: pd.DataFrame, policy: pd.DataFrame, seed: int) -> dict:
    """The win rate at equal style: words, headings, list items, bold (Li, Angelopoulos and Chiang 2024, LMArena's style control).

    Args:
        wins: 1 where the policy's response won, 0 where it lost, 0.5 for a tie.
        base, policy: responses to the same prompts in the same order: cluster and the columns `STYLE`.
        seed: of the bootstrap.

    Returns:
        {win_rate, coefficients, left_out}: sigmoid(a) of `at_equal_features` with a bootstrap interval, `not_narrower`; per mark
        its log odds of a win for each root mean square of the normalised difference; the marks in which no two responses differ.
    """
    columns = style_differences(base, policy)
    wins = np.asarray(wins, dtype=float)
    features = np.column_stack([*columns.values(), np.empty((len(wins), 0))])

    found = at_equal_features(wins, features)
    intervals = coefficient_intervals(wins, features, found, base["cluster"])
    resampled = bootstrapped(win_rate_at_equal_features, wins, *columns.values(), seed=seed, clusters=base["cluster"])
    return {
        "win_rate": not_narrower(resampled, features, found),
        "coefficients": dict(zip(columns, intervals, strict=True)),
        "left_out": [name for name in STYLE if name not in columns],
    }
