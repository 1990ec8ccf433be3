"""What perturbed responses do to a reward model's accuracy and rewards. Pure: from scored pairs to numbers.

Robust alignment is written as max over policies of min over perturbations U of J(policy, U). Two numbers here are that minimum:
`worst` is the minimum of the mean, one perturbation for all pairs; `always_right` is the mean of the minimum, for each pair
the perturbation that hurts it most.

A perturbation that makes a response gold that was not, or the other way about, changes which response is right, and a reward
model that follows it is no worse for it. Where the truth is known, such pairs are no part of that perturbation's numbers.
"""

import numpy as np
import pandas as pd

from preference_study.analysis.statistics import (
    bootstrapped,
    half_ties,
    holm_in_place,
    mcnemar,
    mean,
    paired_mean_change,
    pairwise_accuracy,
    share,
)
from preference_study.texts.perturbations import PERTURBATIONS

PLAIN = "none"
FEWEST = 20  # pairs that a perturbation's accuracy is of, at least, to be the worst: of a handful, chance has made the lowest


def compare_stress(scored: dict[str, pd.DataFrame], seed: int) -> dict:
    """metrics/stress.json: per variant what `scorer_under_stress` gives, each change with p_holm.

    Holm's correction is over all perturbations of all variants.

    Args:
        scored: per variant of the reward model a row per pair and perturbation, "none" among them: id, cluster,
            perturbation, chosen_reward, rejected_reward, chosen_changed, rejected_changed, truth_kept.
        seed: of the bootstrap.
    """
    metrics = {variant: scorer_under_stress(rows, seed) for variant, rows in scored.items()}
    holm_in_place((found["change"], "p") for numbers in metrics.values() for found in numbers["perturbations"].values())
    return metrics


def scorer_under_stress(rows: pd.DataFrame, seed: int) -> dict:
    """One reward model's numbers.

    In an accuracy a tie counts half. Where a pair is either right or not, in `change` and `always_right`, a tie is not right.

    Returns:
        {n, clusters, accuracy, perturbations, worst, always_right}, of the pairs that were perturbed: accuracy is of their plain
        responses; always_right is the share of pairs ranked right plain and under every perturbation that keeps their truth;
        worst names the perturbation with the lowest accuracy, or "none", with a bootstrap interval of the minimum, pairs or
        clusters resampled whole, in each resample whichever perturbation it is of. A minimum picks what chance has made low:
        where several perturbations are about as bad it lies too low, and its interval holds the true minimum less often than 95%
        of the time. One that keeps the truth of fewer than `FEWEST` pairs, unless these are all, is not the worst. A perturbation
        that keeps the truth of no pair is left out.
    """
    by_name = {name: found.set_index("id") for name, found in rows.groupby("perturbation", sort=False)}
    plain = by_name[PLAIN].loc[by_name[next(iter(PERTURBATIONS))].index]
    perturbed = {name: by_name[name].loc[plain.index] for name in PERTURBATIONS if by_name[name]["truth_kept"].any()}
    found = {name: effect_of_perturbation(plain, changed, PERTURBATIONS[name].strength) for name, changed in perturbed.items()}
    accuracies = {PLAIN: pairwise_accuracy(plain["chosen_reward"], plain["rejected_reward"], plain["cluster"])}
    enough = [name for name, pairs in perturbed.items() if pairs["truth_kept"].sum() >= min(FEWEST, len(plain))]
    accuracies |= {name: found[name]["accuracy"] for name in enough}
    versions = [plain, *perturbed.values()]
    compared = [plain, *(perturbed[name] for name in enough)]
    points = [np.where(pairs["truth_kept"], half_ties(_margins(pairs)), np.nan) for pairs in compared]
    always = np.all([(_margins(pairs) > 0) | ~pairs["truth_kept"].to_numpy() for pairs in versions], axis=0)
    return {
        "n": len(plain),
        "clusters": plain["cluster"].nunique(),
        "accuracy": accuracies[PLAIN],
        "perturbations": found,
        "worst": {
            "perturbation": min(accuracies, key=lambda name: accuracies[name]["value"]),
            "accuracy": bootstrapped(_lowest_mean, *points, seed=seed, clusters=plain["cluster"]),
        },
        "always_right": share(always, plain["cluster"]),
    }


def effect_of_perturbation(plain: pd.DataFrame, perturbed: pd.DataFrame, strength: str) -> dict:
    """What one perturbation does, on the pairs whose truth it keeps; at least one.

    Args:
        plain, perturbed: the same pairs in the same order, with cluster, chosen_reward and rejected_reward; perturbed also with
            chosen_changed, rejected_changed and truth_kept.
        strength: how strong it is, in words; handed on.

    Returns:
        changed: share of all responses whose text the perturbation changed, a pair's two being one observation.
        truth_kept: share of all pairs that the other numbers are of.
        accuracy: of pairs, both responses perturbed.
        unperturbed_accuracy: of the same pairs' plain responses.
        change: McNemar's test of ranked right, plain against perturbed.
        order_flips: share of pairs whose order by reward is another one. A tie is an order too: to or from one is a flip.
        fooled: share of pairs in which the plain chosen response beats the plain rejected one and no longer beats the
            perturbed one; a tie is not beating. Somebody dresses up the worse response.
        chosen_shift, rejected_shift: mean of perturbed minus plain reward.
    """
    changed = perturbed[["chosen_changed", "rejected_changed"]].to_numpy()
    kept = perturbed["truth_kept"]
    whole = {"changed": share(changed.mean(axis=1), plain["cluster"]), "truth_kept": share(kept, plain["cluster"])}
    plain, perturbed = plain[kept], perturbed[kept]
    clusters = plain["cluster"].to_numpy()
    before, after = _margins(plain), _margins(perturbed)
    dressed_up = (plain["chosen_reward"] - perturbed["rejected_reward"]).to_numpy()
    shifts = {
        f"{side}_shift": mean(perturbed[f"{side}_reward"] - plain[f"{side}_reward"], clusters) for side in ("chosen", "rejected")
    }
    return (
        {"strength": strength}
        | whole
        | {
            "accuracy": pairwise_accuracy(perturbed["chosen_reward"], perturbed["rejected_reward"], clusters),
            "unperturbed_accuracy": pairwise_accuracy(plain["chosen_reward"], plain["rejected_reward"], clusters),
            "change": mcnemar(before > 0, after > 0, clusters),
            "order_flips": share(np.sign(before) != np.sign(after), clusters),
            "fooled": share((before > 0) & (dressed_up <= 0), clusters),
        }
        | shifts
    )


def ensemble_on_perturbations(aggregated: dict[str, pd.DataFrame], members: list[pd.DataFrame], seed: int) -> dict:
    """Is an ensemble's worst member a better judge than a member by itself, and where?

    Args:
        aggregated: per way to sum up the ensemble's scored, rows as `compare_stress` takes them.
        members: the same of each member.

    Returns:
        Per perturbation, on the perturbed pairs whose truth it keeps: {n, member: mean accuracy of the members, and per way its
        accuracy minus that, a mean over pairs with p, and p_holm over the whole table}.
    """
    by_name = dict(list(members[0].groupby("perturbation", sort=False)))
    perturbed = set(by_name[next(name for name in by_name if name != PLAIN)]["id"])
    found = {}
    for name, rows in by_name.items():
        kept = rows.index[rows["truth_kept"] & rows["id"].isin(perturbed)]
        if not len(kept):
            continue
        alone = np.mean([half_ties(_margins(member.loc[kept])) for member in members], axis=0)
        clusters = rows.loc[kept, "cluster"].to_numpy()
        found[name] = {"n": len(kept), "member": mean(alone, clusters)} | {
            way: paired_mean_change(half_ties(_margins(table.loc[kept])) - alone, seed, clusters)
            for way, table in aggregated.items()
        }
    holm_in_place((row[way], "p") for row in found.values() for way in aggregated)
    return found


def _margins(pairs: pd.DataFrame) -> np.ndarray:
    return (pairs["chosen_reward"] - pairs["rejected_reward"]).to_numpy()


def _lowest_mean(*points: np.ndarray, axis: int = -1) -> np.ndarray:
    return np.nanmin([np.nanmean(column, axis=axis) for column in points], axis=0)
