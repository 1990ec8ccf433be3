"""What is wrong with preference data before anything is trained on them."""

from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.special import expit
from sklearn.model_selection import GroupKFold

from preference_study.analysis.baselines import tfidf_margins
from preference_study.analysis.statistics import pairwise_accuracy, share
from preference_study.data.conversations import prompt_key, spoken
from preference_study.data.duplicates import nearest

FOLDS = 5


def repeated_prompts(train: pd.DataFrame, val: pd.DataFrame, threshold: float) -> dict:
    """Near-duplicates among the prompts of each split, and of validation's among training's.

    Returns:
        train, val: {prompts, near_duplicates}: different prompts, and those of them that another one of the split is nearly; and
        across: {prompts, near_duplicates, nearest}, of validation's prompts; nearest has the most similar pairs, as
        {val_id, train_id, similarity}, of one row each, the most similar first.
    """
    said = {"train": _first_ids(train), "val": _first_ids(val)}
    texts = {split: list(ids) for split, ids in said.items()}
    found = {split: {"prompts": len(own), "near_duplicates": len(nearest(own, own, threshold))} for split, own in texts.items()}
    across = nearest(texts["val"], texts["train"], threshold)
    pairs = [
        {
            "val_id": said["val"][texts["val"][place]],
            "train_id": said["train"][texts["train"][near.place]],
            "similarity": near.similarity,
        }
        for place, near in sorted(across.items(), key=lambda item: -item[1].similarity)
    ]
    return found | {"across": {"prompts": len(texts["val"]), "near_duplicates": len(across), "nearest": pairs}}


def _first_ids(pairs: pd.DataFrame) -> dict[str, str]:
    """By what a prompt says the id of the first row with it."""
    ids: dict[str, str] = {}
    for prompt, id in zip(pairs["prompt"], pairs["id"], strict=True):
        ids.setdefault(spoken(prompt), id)
    return ids


def contradictions(pairs: pd.DataFrame) -> pd.DataFrame:
    """Which pairs contradict others on the same prompt.

    Returns:
        A row a pair: opposite, the same two responses stand with the other one chosen; cycle, the pair is part of a circle of
        preferences over three or more responses (one over another, that over a third, and the third over the first).
    """
    keys = [prompt_key(prompt) for prompt in pairs["prompt"]]
    # A response is a node of its own for each prompt, so one graph holds all prompts.
    nodes = pd.factorize(pd.Series([*zip(keys, pairs["chosen"], strict=True), *zip(keys, pairs["rejected"], strict=True)]))[0]
    better, worse = nodes[: len(pairs)], nodes[len(pairs) :]
    edges = set(zip(better, worse, strict=True))
    opposite = np.array([(w, b) in edges for b, w in zip(better, worse, strict=True)])
    return pd.DataFrame({"opposite": opposite, "cycle": _in_circles(better, worse, opposite)}, index=pairs.index)


def _in_circles(better: np.ndarray, worse: np.ndarray, opposite: np.ndarray) -> np.ndarray:
    """Which edges from a better to a worse node are part of a circle over three nodes or more: a mask.

    Args:
        opposite: which edges stand the other way about too.
    """
    graph = coo_array((np.ones(len(better)), (better, worse)), shape=(max(better.max(), worse.max()) + 1,) * 2)
    component = connected_components(graph, directed=True, connection="strong")[1]
    circle = component[better] == component[worse]
    # Within a component a path leads back from the worse to the better. Where the two stand the other way about too, it may be
    # that edge alone, so another one is looked for: at worst through all edges of the component for each such pair. All else
    # costs time in line with the edges; and where most responses of a group are compared, another path is found within a few.
    doubled = circle & opposite
    after, before = defaultdict(set), defaultdict(set)
    for b, w in zip(better[circle].tolist(), worse[circle].tolist(), strict=True):
        after[b].add(w)
        before[w].add(b)
    circle[doubled] = [
        _another_path(w, b, after, before) for b, w in zip(better[doubled].tolist(), worse[doubled].tolist(), strict=True)
    ]
    return circle


def _another_path(start: int, end: int, after: Mapping[int, set[int]], before: Mapping[int, set[int]]) -> bool:
    """Whether a path leads from one node to another over at least one more.

    Args:
        after, before: by node those that an edge leads to, and those that one comes from.
    """
    if len(before[end]) < len(after[start]):  # walked backwards, from where there are fewer ways to go
        start, end, after = end, start, before
    seen = {start} | after[start]
    left = list(after[start] - {end})
    while left:
        ways = after[left.pop()]
        if end in ways:
            return True
        left += ways - seen
        seen |= ways
    return False


def shared_responses(train: pd.DataFrame, val: pd.DataFrame) -> dict[str, int]:
    """How many of validation's different responses stand in training too: {responses, shared}."""
    seen = {text for side in ("chosen", "rejected") for text in train[side]}
    own = {text for side in ("chosen", "rejected") for text in val[side]}
    return {"responses": len(own), "shared": len(own & seen)}


def cross_fitted_margins(pairs: pd.DataFrame, seed: int) -> np.ndarray | None:
    """Per pair the log-odds that its label is right, by a model of words that saw no pair of its cluster.

    The model is `tfidf_margins`; the clusters are dealt out to five folds. None where there are fewer than two clusters.
    """
    folds = min(FOLDS, pairs["cluster"].nunique())
    if folds < 2:
        return None
    margins = np.empty(len(pairs))
    # As numbers in the labels' order: of texts NumPy compares each with all others, in time that grows with their square.
    numbers = np.unique(pairs["cluster"].to_numpy(dtype=object), return_inverse=True)[1]
    for fitted, held_out in GroupKFold(folds, shuffle=True, random_state=seed).split(pairs, groups=numbers):
        margins[held_out] = tfidf_margins(pairs.iloc[fitted], pairs.iloc[held_out], seed)
    return margins


def doubted(margins: np.ndarray) -> np.ndarray:
    """Which labels a model finds wrong by confident learning (Northcutt, Jiang and Chuang 2021, JAIR 70:1373, equation 1).

    A label is doubted where the model is as sure of the other one as it is, on average, of those that are given. Which side is
    called chosen is a matter of writing, so both labels have one threshold.

    Args:
        margins: log-odds that the given label is right, of models that did not see it.
    """
    sure = expit(np.asarray(margins, dtype=float))
    # A model that knows nothing doubts nothing.
    return (1 - sure >= sure.mean()) & (sure < 0.5)


def labels(margins: np.ndarray, clusters: Sequence[str]) -> dict:
    """How often a model's margins are on the label's side, and the share of labels that it doubts, with intervals."""
    return {
        "words_accuracy": pairwise_accuracy(margins, np.zeros(len(margins)), clusters),
        "doubted": share(doubted(margins).astype(float), clusters),
    }
