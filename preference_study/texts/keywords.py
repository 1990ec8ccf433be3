"""Which words set texts apart: the original study's TF-IDF list, and words that one set of texts uses more than another."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
import pandas as pd
import regex
from sklearn.feature_extraction.text import TfidfVectorizer

from preference_study.texts.words import words

PRIOR_SHARE = 0.1
MOST_PAIRS = 20_000  # of a training set, whose words stand for those of all


def standing_for(pairs: int) -> np.ndarray:
    """The places of the pairs whose words stand for a training set's in the lists: all, or `MOST_PAIRS` at even distances."""
    return np.linspace(0, pairs - 1, min(pairs, MOST_PAIRS)).round().astype(int)


def _parts(text: str) -> list[str]:
    """What scikit-learn takes for words, runs of two letters and digits, within each of the text's words by Unicode."""
    parts = [part for word in words(text) for part in regex.findall(r"[\w\p{Mark}]+", word)]
    return [part for part in parts if len(part) > 1 or not part.isascii()]


def top_keywords(texts: Sequence[str], n: int = 20) -> list[tuple[str, float]]:
    """The words with the highest mean TF-IDF weight over the texts, as in the original study.

    The weights are scikit-learn's: words of two characters or more in lower case without English stop words, rows of unit
    length. A weight depends on what else is in `texts`, so weights of two lists do not compare; their words do.

    Returns:
        At most n pairs (word, mean weight), the highest first, equal weights in alphabetical order; none where no text has
        a word that is not a stop word.
    """
    vectorizer = TfidfVectorizer(stop_words="english", tokenizer=_parts, token_pattern=None)
    try:
        weights = np.asarray(vectorizer.fit_transform(texts).mean(axis=0)).ravel()
    except ValueError:  # an empty vocabulary
        return []
    names = vectorizer.get_feature_names_out()
    # The names come in alphabetical order; rounding makes ties of weights that differ by the order of summation alone.
    best = np.argsort(-weights.round(12), kind="stable")[:n]
    return [(str(names[i]), float(weights[i])) for i in best]


def keyword_table(groups: dict[str, Sequence[str]], n: int = 20) -> pd.DataFrame:
    """The `top_keywords` of several groups of texts: {group, rank, word, weight}, rank 1 being the highest weight."""
    rows = [
        (group, rank, word, weight)
        for group, texts in groups.items()
        for rank, (word, weight) in enumerate(top_keywords(texts, n), 1)
    ]
    return pd.DataFrame(rows, columns=["group", "rank", "word", "weight"])


def log_odds(a: Sequence[str], b: Sequence[str], prior: Sequence[str], alpha_0: float | None = None) -> pd.DataFrame:
    """Weighted log-odds ratio of each word between two sets of texts, with an informative Dirichlet prior.

    Monroe, Colaresi & Quinn 2008, "Fightin' Words", Political Analysis 16:372. For a word that occurs y_a times among the n_a
    words of a, and with pseudo-count alpha in each set:

    - log_odds = log((y_a + alpha) / (n_a + alpha_0 - y_a - alpha)) - the same of b (eq. 16);
    - variance = 1 / (y_a + alpha) + 1 / (y_b + alpha) (eq. 20);
    - z = log_odds / sqrt(variance) (eq. 22);
    - alpha = alpha_0 times the word's share of the prior's words (eq. 23), where each word of a, b and the prior is counted
      once more than the prior has it, so that no alpha is 0.

    Words are those of `preference_study.texts.words` in lower case, with straight apostrophes.

    Args:
        a, b: the texts to compare.
        prior: texts that show how often a word is used in general.
        alpha_0: total pseudo-count, in words, above 0; the larger, the more evidence a difference needs. By default
            `PRIOR_SHARE` of the mean number of words of a and b.

    Returns:
        One row per word of a or b: word, count_a, count_b, log_odds (above 0: more used in a), z. The highest z comes first,
        equal ones in alphabetical order. z takes words to be independent draws; they come in bursts within a text, so |z| is a
        measure for ranking and no test.
    """
    in_a, in_b, in_prior = _word_counts(a), _word_counts(b), _word_counts(prior)
    vocabulary = sorted(in_a | in_b)
    count_a, count_b, general = (
        np.array([counted[word] for word in vocabulary], dtype=float) for counted in (in_a, in_b, in_prior)
    )
    n_a, n_b = in_a.total(), in_b.total()
    if alpha_0 is None:
        alpha_0 = PRIOR_SHARE * (n_a + n_b) / 2
    n_words = len(in_a | in_b | in_prior)
    difference = np.zeros(len(vocabulary))
    deviation = np.ones(len(vocabulary))
    if n_words > 1:  # the odds of the only word there is are infinite in both sets
        alpha = alpha_0 * (general + 1) / (in_prior.total() + n_words)
        difference = np.log((count_a + alpha) / (n_a + alpha_0 - count_a - alpha))
        difference -= np.log((count_b + alpha) / (n_b + alpha_0 - count_b - alpha))
        deviation = np.sqrt(1 / (count_a + alpha) + 1 / (count_b + alpha))
    table = pd.DataFrame(
        {
            "word": pd.Series(vocabulary, dtype=str),
            "count_a": count_a.astype(int),
            "count_b": count_b.astype(int),
            "log_odds": difference,
            "z": difference / deviation,
        }
    )
    return table.sort_values(["z", "word"], ascending=[False, True], ignore_index=True)


def top_differences(table: pd.DataFrame, n: int) -> pd.DataFrame:
    """The n rows of a `log_odds` table with the highest z and the n with the lowest, each row once, in the table's order.

    Nothing is asked of the size of |z|: of two sets that hardly differ, the rows have a z near 0.
    """
    return table[(table.index < n) | (table.index >= len(table) - n)]


def _word_counts(texts: Sequence[str]) -> Counter[str]:
    return Counter(word for text in texts for word in words(text.replace("’", "'").lower()))
