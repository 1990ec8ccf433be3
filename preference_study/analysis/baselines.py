"""What a reward model must beat to be worth its training."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.sparse import vstack
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from preference_study.texts.words import UNSPACED

# Runs of letters and digits, single characters of scripts that write no spaces, and single signs.
TOKEN = rf"[{UNSPACED}]|[^\W{UNSPACED}]+|[^\w\s]"


def tfidf_margins(train: pd.DataFrame, val: pd.DataFrame, seed: int) -> np.ndarray:
    """Logistic regression on the difference of two responses' TF-IDF vectors, without the prompt.

    Args:
        train: pairs with columns chosen and rejected; vocabulary and weights come from these alone.
        val: pairs to score.

    Returns:
        Per pair of `val` the log-odds that its chosen response is the preferred one; 0, which is no preference, where no word
        stands in two training responses.
    """
    vectorizer = TfidfVectorizer(sublinear_tf=True, ngram_range=(1, 2), min_df=2, token_pattern=TOKEN)
    try:
        vectorizer.fit(_texts(train))
    except ValueError:  # an empty vocabulary
        return np.zeros(len(val))
    features = _difference(vectorizer, train)
    # Each pair both ways round, so that there is nothing to learn from the order.
    both = vstack([features, -features])
    labels = np.repeat([1, 0], features.shape[0])
    model = LogisticRegression(fit_intercept=False, max_iter=1000, random_state=seed).fit(both, labels)
    return model.decision_function(_difference(vectorizer, val))


def _texts(pairs: pd.DataFrame) -> Sequence[str]:
    return [*pairs["chosen"], *pairs["rejected"]]


def _difference(vectorizer: TfidfVectorizer, pairs: pd.DataFrame):
    return vectorizer.transform(pairs["chosen"]) - vectorizer.transform(pairs["rejected"])
