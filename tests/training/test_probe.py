import numpy as np
import pytest
from scipy.special import expit
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, GroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from preference_study.training.probe import FEW, STRENGTHS, linear_probe


def pairs(n: int = 120, width: int = 6, seed: int = 0, noise: float = 1.0) -> np.ndarray:
    """Pairs of which the first two features tell which response is preferred, the others nothing."""
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(n, 2, width)) * 10.0 ** np.arange(width)
    features[:, 0, 0] += 1.0 / noise
    features[:, 1, 1] += 5.0 / noise
    return features.astype(np.float32)


def own(n: int) -> list[str]:
    return [f"prompt {i}" for i in range(n)]


def test_one_feature_by_hand():
    """Nine pairs of ten have +2, the tenth -2. Each divided by its spread, 2: the slope w is where
    w = C * 2 * (9 sigma(-w) - sigma(w)), the penalty's pull against that of ten pairs, each both ways round."""
    features = np.zeros((10, 2, 1))
    features[:9, 0], features[9, 0] = 5.0, -5.0
    features[:9, 1], features[9, 1] = 3.0, -3.0
    weights, strength = linear_probe(features, ["one prompt"] * 10)
    assert strength == FEW
    slope = weights[0] * 2.0
    assert slope == pytest.approx(FEW * 2 * (9 * expit(-slope) - expit(slope)), rel=1e-3) and slope > 0


def test_strength_and_weights_are_those_of_a_search_by_scikit_learn():
    """GridSearchCV over a scaler and the regression, which scales each fold by its own training part."""
    features = pairs()
    prompts = [f"prompt {i // 2}" for i in range(120)]
    weights, strength = linear_probe(features, prompts)
    differences = features[:, 0].astype(float) - features[:, 1].astype(float)
    both, labels = np.vstack([differences, -differences]), np.repeat([1, 0], 120)
    search = GridSearchCV(
        make_pipeline(StandardScaler(), LogisticRegression(fit_intercept=False, max_iter=1000)),
        {"logisticregression__C": STRENGTHS}, scoring="neg_log_loss", cv=GroupKFold(5, shuffle=True, random_state=0),
    ).fit(both, labels, groups=prompts + prompts)  # fmt: skip
    assert strength == search.best_params_["logisticregression__C"] and STRENGTHS[0] < strength
    found = search.best_estimator_
    assert differences @ weights == pytest.approx(found.decision_function(differences), abs=1e-2)


def test_pairs_of_one_cluster_stay_together():
    """Ten equal pairs a prompt, and nothing to learn: only folds that know the prompt find that a weak penalty is better."""
    rng = np.random.default_rng(1)
    features = np.repeat(rng.normal(size=(20, 2, 60)), 10, axis=0)
    together = linear_probe(features, [f"prompt {i // 10}" for i in range(200)])[1]
    assert together < linear_probe(features, own(200))[1] == STRENGTHS[-1]


@pytest.mark.parametrize(("column", "factor"), [(0, 1e-3), (1, 1e4), (4, 7.0)])
def test_a_features_unit_does_not_matter_and_neither_does_the_order_of_responses(column, factor):
    features = pairs(40)
    weights, strength = linear_probe(features, own(40))
    other = features.copy()
    other[:, :, column] *= factor
    found, same = linear_probe(other[:, ::-1], own(40))
    assert same == strength
    found[column] *= factor
    assert -found == pytest.approx(weights, rel=1e-2, abs=1e-9)


def test_a_feature_that_never_differs_has_no_weight():
    features = pairs(30)
    features[:, :, 3] = 4.0
    weights, _ = linear_probe(features, own(30))
    assert weights[3] == 0 and np.isfinite(weights).all() and weights[0] > 0


@pytest.mark.parametrize("n", [1, 2, 9, 10])
def test_few_pairs_are_enough(n):
    weights, strength = linear_probe(pairs(n), own(n))
    assert np.isfinite(weights).all() and weights.any() and (strength == FEW or n == 10)


def test_twice_the_same():
    (one, _), (other, _) = linear_probe(pairs(), own(120)), linear_probe(pairs(), own(120))
    assert np.array_equal(one, other)
