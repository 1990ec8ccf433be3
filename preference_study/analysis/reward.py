"""What a reward model's rewards go by: correctness, calibration, length, readability. All of it on one set of scored pairs."""

import numpy as np
import pandas as pd

from preference_study.analysis.statistics import (
    brier_score,
    calibration_error,
    effect_size,
    explained_share,
    mean,
    median,
    paired_rank_correlation,
    paired_standard_deviation,
    paired_tests,
    pairwise_accuracy,
    rank_correlation,
    reliability,
    subset,
    unpaired_t,
)

MOST_GROUPS = 30
KNOWN = {"id", "prompt", "chosen", "rejected", "cluster"}
NOTE = "Compares two different sets of questions, as the original study did: it does not say that the reward model is right."


def favoured_and_other(scored: pd.DataFrame) -> pd.DataFrame:
    """Each pair's responses by which one the reward model favours, not people: {favoured, other}, their words and cluster.

    Where both rewards are equal it favours neither, and the pair is left out.
    """
    scored = scored[scored["chosen_reward"] != scored["rejected_reward"]]
    right = scored["chosen_reward"] > scored["rejected_reward"]
    return pd.DataFrame(
        {
            f"{side}{column}": scored[f"{first}{column}"].where(right, scored[f"{second}{column}"])
            for side, first, second in (("favoured", "chosen", "rejected"), ("other", "rejected", "chosen"))
            for column in ("", "_words")
        }
    ).assign(cluster=scored["cluster"])


def analyse_reward(scored: pd.DataFrame, sides: pd.DataFrame, left_out: dict[str, int], seed: int) -> dict:
    """metrics/reward_analysis.json but for its keywords.

    Args:
        scored: the validation pairs with cluster, chosen_reward, rejected_reward, chosen_words, rejected_words and the data's own
            columns. All estimates are by clusters.
        sides: as `favoured_and_other` returns, with favoured_grade and other_grade (NaN where left out).
        left_out: how many texts have no reading grade, by reason.
    """
    chosen, rejected = scored["chosen_reward"].to_numpy(), scored["rejected_reward"].to_numpy()
    margins, clusters = chosen - rejected, scored["cluster"].to_numpy()
    favoured, other = (sides[f"{side}_grade"].dropna() for side in ("favoured", "other"))
    grades = (sides["favoured_grade"] - sides["other_grade"]).dropna()
    return {
        "n": len(scored),
        "clusters": len(set(clusters)),
        "correct_against_wrong": correct_against_wrong(chosen, rejected, clusters),
        "margin": {
            "mean": mean(margins, clusters),
            "median": median(margins, clusters),
            "effect_size": effect_size(margins, seed, clusters),
        }
        | paired_tests(margins, clusters),
        "calibration": {
            "brier": brier_score(margins, clusters),
            "ece": calibration_error(margins, seed, clusters),
            "bins": reliability(margins, clusters),
        },
        "by_group": {
            column: {
                str(value): pairwise_accuracy(rows["chosen_reward"], rows["rejected_reward"], rows["cluster"])
                for value, rows in scored.groupby(column)
            }
            for column in grouping_columns(scored)
        },
        "length": length(scored, sides, margins, seed),
        "readability": {
            **_centre("favoured", favoured, sides["cluster"][favoured.index]),
            **_centre("other", other, sides["cluster"][other.index]),
            **_centre("difference", grades, sides["cluster"][grades.index]),
            "left_out": left_out,
        }
        | paired_tests(grades, sides["cluster"][grades.index]),
    }


def correct_against_wrong(chosen: np.ndarray, rejected: np.ndarray, clusters: np.ndarray) -> dict:
    """The original study's comparison: the winning reward where the reward model is right, against where it is wrong.

    A pair of equal rewards is neither; `tied` counts them.
    """
    winning, right, false = np.maximum(chosen, rejected), chosen > rejected, chosen < rejected
    correct, wrong = winning[right], winning[false]
    found = unpaired_t(correct, wrong)
    return {
        **_centre("correct", correct, subset(clusters, right)),
        **_centre("wrong", wrong, subset(clusters, false)),
        "tied": len(winning) - len(correct) - len(wrong),
        "unpaired_t": found and found | {"n": len(correct) + len(wrong)},
        "note": NOTE,
    }


def length(scored: pd.DataFrame, sides: pd.DataFrame, margins: np.ndarray, seed: int) -> dict:
    """Does the reward model go by length?

    `correlation` is Spearman's of reward and words (their logarithm has the same ranks) over all responses, by whole pairs;
    `correlation_within_pairs` is of the margin and the difference in log words; `margin_explained` is the share of the margin
    that a line through the origin in that difference accounts for. The accuracies where the longer and where the shorter response
    is chosen are in metrics/reward.json.
    """
    words = tuple(scored[f"{side}_words"].to_numpy() for side in ("chosen", "rejected"))
    difference = np.log1p(words[0]) - np.log1p(words[1])
    rewards = (scored["chosen_reward"].to_numpy(), scored["rejected_reward"].to_numpy())
    words_difference = sides["favoured_words"] - sides["other_words"]
    clusters = scored["cluster"].to_numpy()
    return {
        **_centre("favoured_words", sides["favoured_words"], sides["cluster"]),
        **_centre("other_words", sides["other_words"], sides["cluster"]),
        **_centre("difference", words_difference, sides["cluster"]),
        "tests": paired_tests(words_difference, sides["cluster"]),
        "correlation": paired_rank_correlation(rewards, words, seed, clusters),
        "correlation_within_pairs": rank_correlation(margins, difference, seed, clusters),
        "margin_explained": explained_share(margins, difference, seed, clusters),
    }


def grouping_columns(scored: pd.DataFrame) -> list[str]:
    """The data's own columns of text that name at least two and at most thirty groups, such as topic, source or instruction."""
    return [
        column
        for column in scored.columns
        if column not in KNOWN
        and pd.api.types.is_string_dtype(scored[column])
        and scored[column].notna().all()
        and 2 <= scored[column].nunique() <= MOST_GROUPS
    ]


def _centre(name: str, values: pd.Series | np.ndarray, clusters: pd.Series | np.ndarray) -> dict[str, dict | None]:
    """A mean by its name and the median beside it, null without values."""
    return {key: of(values, clusters) if len(values) else None for key, of in ((name, mean), (f"{name}_median", median))}


def reward_metrics(scored: pd.DataFrame, baselines: dict[str, np.ndarray], seed: int) -> dict:
    """metrics/reward.json from the scored validation pairs.

    Args:
        scored: cluster, chosen_reward, rejected_reward, chosen_words, rejected_words per pair.
        baselines: by name, a baseline's margin per pair, beside that of length.

    `reward_mean`, `reward_median` and `reward_std` are of all rewards, chosen and rejected; `length_correlation` is Spearman's of
    reward and words over all responses; both responses of a pair are one observation. A subset without pairs is null.
    """
    longer = scored["chosen_words"] > scored["rejected_words"]
    shorter = scored["chosen_words"] < scored["rejected_words"]
    rewards, words = ([scored[f"{side}_{what}"] for side in ("chosen", "rejected")] for what in ("reward", "words"))

    def accuracy(rows: pd.DataFrame) -> dict | None:
        return pairwise_accuracy(rows["chosen_reward"], rows["rejected_reward"], rows["cluster"]) if len(rows) else None

    clusters = scored["cluster"].to_numpy()
    return {
        "accuracy": accuracy(scored),
        "accuracy_longer_chosen": accuracy(scored[longer]),
        "accuracy_shorter_chosen": accuracy(scored[shorter]),
        "reward_mean": mean(np.mean(rewards, axis=0), clusters),
        "reward_median": median(np.concatenate(rewards), np.tile(clusters, 2)) | {"n": len(scored)},
        "reward_std": paired_standard_deviation(tuple(rewards), seed, clusters),
        "length_correlation": paired_rank_correlation(rewards, words, seed, clusters),
        "baselines": {
            "longer": pairwise_accuracy(scored["chosen_words"], scored["rejected_words"], clusters),
        }
        | {name: pairwise_accuracy(margins, np.zeros(len(margins)), clusters) for name, margins in baselines.items()},
    }


def reward_row(metrics: dict) -> dict:
    """The few numbers of metrics/reward.json that stand in a row of `dvc exp show`."""
    accuracy, shorter = metrics["accuracy"], metrics["accuracy_shorter_chosen"]
    row = {"accuracy": accuracy["value"], "accuracy_low": accuracy["low"], "accuracy_high": accuracy["high"]}
    row |= {"accuracy_shorter_chosen": shorter["value"]} if shorter else {}
    return row | {"right_to_judge": "holds" if metrics["right_to_judge"]["holds"] else "does not hold"}
