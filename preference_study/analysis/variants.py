"""Reward models side by side on the same validation pairs: how right each is, how much it goes by length, and what differs."""

import numpy as np
import pandas as pd
from scipy import stats

from preference_study.analysis.statistics import (
    bootstrapped_change,
    holm_in_place,
    mcnemar,
    paired_rank_correlation,
    pairwise_accuracy,
    rank_correlation,
)
from preference_study.variants import STANDARD


def compare_variants(scored: dict[str, pd.DataFrame], bias_only: dict[str, dict], seed: int) -> dict:
    """metrics/variants.json.

    Args:
        scored: per scorer the same pairs in the same order: cluster, chosen_reward, rejected_reward, chosen_words,
            rejected_words.
        bias_only: per scorer that was trained with one, what its bias-only expert learned.
        seed: of the bootstrap.

    Returns:
        Per scorer the numbers of `describe_scorer`, bias_only where there is one and, besides the standard model's where
        that is there, against_standard: as `scorer_against_standard` returns, p_holm corrected over all scorers and both tests.
    """
    metrics = {scorer: describe_scorer(rows, seed) for scorer, rows in scored.items()}
    for scorer, found in bias_only.items():
        metrics[scorer]["bias_only"] = found
    if STANDARD in scored:
        for scorer, rows in scored.items():
            if scorer != STANDARD:
                metrics[scorer]["against_standard"] = scorer_against_standard(scored[STANDARD], rows, seed)
    against = [numbers["against_standard"] for numbers in metrics.values() if "against_standard" in numbers]
    holm_in_place((row[name], "p") for row in against for name in ("right", "length"))
    return metrics


def describe_scorer(scored: pd.DataFrame, seed: int) -> dict:
    """One reward model's accuracy, on all pairs and by which response is longer, and its dependence on length.

    Returns:
        {accuracy, accuracy_longer_chosen, accuracy_shorter_chosen, length_correlation_within_pairs}: the last is Spearman's of
        the margin and the difference in log words. A subset without pairs is null.
    """
    difference = length_difference(scored)
    subsets = {
        "accuracy": scored,
        "accuracy_longer_chosen": scored[difference > 0],
        "accuracy_shorter_chosen": scored[difference < 0],
    }
    return {
        name: pairwise_accuracy(rows["chosen_reward"], rows["rejected_reward"], rows["cluster"]) if len(rows) else None
        for name, rows in subsets.items()
    } | {"length_correlation_within_pairs": rank_correlation(margins(scored), difference, seed, scored["cluster"])}


def scorer_against_standard(standard: pd.DataFrame, other: pd.DataFrame, seed: int) -> dict:
    """One reward model against the standard one on the same pairs.

    Returns:
        right: McNemar's test of ranked right. length: the absolute length correlation minus the standard one's, below zero where
        it goes less by length, pairs or clusters resampled whole. Resampled correlations near zero are larger than the true one,
        so a model that is cured of length looks a little less so.
    """
    columns = (margins(standard), margins(other), length_difference(standard))

    def change(before, after, difference, axis=-1):
        return np.abs(_spearman(after, difference, axis)) - np.abs(_spearman(before, difference, axis))

    return {
        "right": mcnemar(margins(standard) > 0, margins(other) > 0, standard["cluster"]),
        "length": bootstrapped_change(change, *columns, seed=seed, clusters=standard["cluster"]),
    }


def before_and_beside_training(scores: dict, clusters: np.ndarray, seed: int) -> dict:
    """What a variant's rows of data/scores/training say of the validation pairs.

    Args:
        scores: untrained and, where there is one, bias_only: rows a pair, as stages.train_reward writes them; or members, the
            same of each.
        clusters: of the pairs, in their order.
        seed: of the bootstrap.

    Returns:
        untrained_accuracy: of the model with its head as it was drawn; null for an ensemble, whose members have their own.
        bias_only: of the bias-only expert its accuracy, and Spearman's correlation of its rewards with the number of tokens.
        members: the same of each member.
    """
    if "members" in scores:
        members = {name: before_and_beside_training(rows, clusters, seed) for name, rows in scores["members"].items()}
        return {"untrained_accuracy": None, "members": members}
    untrained = pd.DataFrame(scores["untrained"])
    found = {"untrained_accuracy": pairwise_accuracy(untrained["chosen_reward"], untrained["rejected_reward"], clusters)}
    if "bias_only" in scores:
        rows = pd.DataFrame(scores["bias_only"])
        rewards, tokens = ((rows[f"chosen_{what}"], rows[f"rejected_{what}"]) for what in ("reward", "tokens"))
        found["bias_only"] = {
            "accuracy": pairwise_accuracy(*rewards, clusters),
            "length_correlation": paired_rank_correlation(rewards, tokens, seed, clusters),
        }
    return found


def margins(scored: pd.DataFrame) -> np.ndarray:
    """Reward of the chosen response minus the rejected one's."""
    return (scored["chosen_reward"] - scored["rejected_reward"]).to_numpy(dtype=float)


def length_difference(scored: pd.DataFrame) -> np.ndarray:
    """log(1 + words) of the chosen response minus the rejected one's."""
    return (np.log1p(scored["chosen_words"]) - np.log1p(scored["rejected_words"])).to_numpy(dtype=float)


def _spearman(a: np.ndarray, b: np.ndarray, axis: int) -> np.ndarray:
    a, b = (stats.rankdata(column, axis=axis) for column in (a, b))
    a, b = (ranks - ranks.mean(axis=axis, keepdims=True) for ranks in (a, b))
    return (a * b).sum(axis=axis) / np.sqrt((a * a).sum(axis=axis) * (b * b).sum(axis=axis))
