"""Which pairs are used where not all are: seeded samples that say of length what all say."""

import numpy as np
import pandas as pd


def sample_pairs(pairs: pd.DataFrame, limit: int | None, seed: int) -> pd.DataFrame:
    """At most `limit` pairs by a seeded sample, in their order, of which as large a share has a longer chosen response as of all.

    How often the longer response is preferred says how far a judge gets by length alone, so a sample does not change it.

    Args:
        pairs: with chosen_words and rejected_words.
        limit: None keeps all.
    """
    if limit is None or limit >= len(pairs):
        return pairs
    shuffled = pairs.sample(frac=1, random_state=seed)
    longer = np.sign(shuffled["chosen_words"] - shuffled["rejected_words"])
    # Where each stratum's rows stand at even distances, any first rows hold the strata in proportion.
    place = (longer.groupby(longer).cumcount() + 0.5) / longer.map(longer.value_counts())
    return pairs.loc[place.sort_values(kind="stable").index[:limit].sort_values()]


def seen_by_policies(pairs: pd.DataFrame, max_train: int | None, seed: int) -> np.ndarray:
    """Which training pairs policies are trained on, by `sample_pairs`: a mask.

    Files of preferences are often one data set after another, so that the first pairs would be of one of them alone.

    Args:
        pairs: all training pairs, in order, with chosen_words and rejected_words.
        max_train: how many policies see; None for all.
    """
    return pairs.index.isin(sample_pairs(pairs, max_train, seed).index)
