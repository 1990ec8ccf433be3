"""A linear probe: how far the frozen model's own features tell which response is preferred, and a head to begin training from.

A head drawn at random pulls the features out of shape before it has learnt to read them; one that reads them already does not
(linear probing, then fine-tuning: Kumar et al. 2022, arXiv 2202.10054; Tomihari and Sato 2024, arXiv 2405.16747).
"""

from collections.abc import Sequence

import numpy as np
from sklearn.linear_model import LogisticRegression, LogisticRegressionCV
from sklearn.model_selection import GroupKFold

STRENGTHS = np.logspace(-6, -1, 11)  # C, of which cross-validation chooses
FOLDS = 5
FEW = 1e-3  # C where there are too few clusters to choose one by


def linear_probe(features: np.ndarray, clusters: Sequence[str]) -> tuple[np.ndarray, float]:
    """Logistic regression through the origin on the differences of both responses' features, each divided by its spread.

    Args:
        features: [pairs, 2, features], of the chosen and the rejected response's last tokens.
        clusters: of each pair; those of one cluster stay together in cross-validation.

    Returns:
        Weights [features] for features as they come: weights · (chosen - rejected) is the log-odds that chosen is preferred; and
        the penalty's inverse strength, C in scikit-learn with each pair both ways round, which cross-validated log-likelihood
        chose.
    """
    differences = features[:, 0].astype(np.float64) - features[:, 1].astype(np.float64)
    # Both ways round the mean is 0, so this is the standard deviation.
    spread = np.sqrt((differences**2).mean(axis=0))
    spread[spread == 0] = 1.0
    both = np.vstack([differences, -differences]) / spread
    # As numbers in the labels' order: of texts NumPy compares each with all others, in time that grows with their square.
    numbers = np.unique(np.asarray(clusters, dtype=object), return_inverse=True)[1]
    labels, groups = np.repeat([1, 0], len(differences)), np.tile(numbers, 2)
    options = {"fit_intercept": False, "max_iter": 1000}
    if len(set(clusters)) < 2 * FOLDS:
        return LogisticRegression(C=FEW, **options).fit(both, labels).coef_[0] / spread, FEW
    folds = list(GroupKFold(FOLDS, shuffle=True, random_state=0).split(both, groups=groups))
    # l1_ratios: of the elastic net none, which is the default by another name.
    new = {"l1_ratios": (0.0,), "use_legacy_attributes": False}
    model = LogisticRegressionCV(Cs=STRENGTHS, cv=folds, scoring="neg_log_loss", **options, **new).fit(both, labels)
    return model.coef_[0] / spread, float(model.C_)
