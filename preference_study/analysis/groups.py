"""Where a policy gained: policies and judge by the category of the prompt, and on categories that no training pair has."""

from collections.abc import Collection

import numpy as np
import pandas as pd

from preference_study.analysis.statistics import mcnemar, pairwise_accuracy, share, unpaired_difference

SMALL = 20  # prompts; a group of fewer is marked
MOST_GROUPS = 30
OTHERS = "all others"


def categories(table: pd.DataFrame, kept: list[str], rare: list[str]) -> pd.Series:
    """Each row's category as a text, the rare ones as `OTHERS`; missing where it has none, or one that is neither."""
    named = _as_texts(table)
    return named.where(named.isin(kept)).mask(named.isin(rare), OTHERS)


def _as_texts(table: pd.DataFrame) -> pd.Series:
    return table["category"].map(str, na_action="ignore")


def compare_groups(responses: dict[str, pd.DataFrame], pairs: pd.DataFrame | None, training: pd.DataFrame | None) -> dict:
    """metrics/groups.json: per category of the prompts what the policies and the judge do there, the most frequent first.

    Of more than `MOST_GROUPS` categories the rarest are taken together. What is of a category that no prompt has is in no group.
    There are no tests: of so many small groups some would differ by chance.

    Args:
        responses: per policy, base among them, its responses to the same prompts in the same order: category, cluster, reward
            and, on the sandbox, gold and letter.
        pairs: validation pairs with category, cluster, chosen_reward and rejected_reward; None where they have no categories.
        training: the training pairs' category; None where they have none.

    Returns:
        Per group {prompts, small, training_pairs, judge, policies}: how many prompts, whether they are fewer than `SMALL`, how
        many training pairs (None where they have no categories), and what `_group` gives.
    """
    counts = _as_texts(responses["base"]).value_counts()
    most = MOST_GROUPS if len(counts) <= MOST_GROUPS else MOST_GROUPS - 1
    kept, rare = list(counts.index[:most]), list(counts.index[most:])
    of_prompts = categories(responses["base"], kept, rare)
    of_pairs, of_training = (None if table is None else categories(table, kept, rare) for table in (pairs, training))
    return {
        group: {
            "prompts": int((of_prompts == group).sum()),
            "small": bool((of_prompts == group).sum() < SMALL),
            "training_pairs": None if of_training is None else int((of_training == group).sum()),
            **_group(responses, of_prompts == group, None if pairs is None else pairs[of_pairs == group]),
        }
        for group in [*kept, *([OTHERS] if rare else [])]
    }


def compare_transfer(responses: dict[str, pd.DataFrame], pairs: pd.DataFrame | None, trained: Collection[str]) -> dict:
    """metrics/transfer.json: whether what was learnt carries over to categories that no training pair has.

    Args:
        responses, pairs: as in `compare_groups`.
        trained: the training pairs' categories.

    Returns:
        {in_training, not_in_training, difference}. The first two are {categories, prompts, small, judge, policies}: the
        prompts' categories that training pairs have, or have not, how many prompts are of them, whether these are fewer than
        `SMALL`, and what `_group` gives of these prompts and of the pairs of these categories. difference is the
        first minus the second, {judge, policies} with a policy's win_rate and, on the sandbox, gold_difference and
        letter_difference, by `unpaired_difference`: prompts of one cluster in both parts are taken for independent, which makes
        it too wide where they are alike. Empty where one of the two has no prompts.
    """
    of_prompts = _as_texts(responses["base"])
    of_pairs = None if pairs is None else _as_texts(pairs)
    new = sorted(set(of_prompts.dropna()) - set(trained))
    parts = {"in_training": sorted(set(of_prompts.dropna()) & set(trained)), "not_in_training": new}
    if not all(parts.values()):
        return {}
    found = {}
    for part, names in parts.items():
        # Pairs of a category that no prompt has are in neither.
        judged = None if pairs is None else pairs[of_pairs.isin(names)]
        here = of_prompts.isin(names)
        size = {"prompts": int(here.sum()), "small": bool(here.sum() < SMALL)}
        found[part] = {"categories": names, **size, **_group(responses, here, judged)}
    known, unknown = found.values()
    judges = [known["judge"], unknown["judge"]]
    found["difference"] = {
        "judge": None if None in judges else unpaired_difference(*judges),
        "policies": {
            policy: {
                name: unpaired_difference(known["policies"][policy][name], unknown["policies"][policy][name])
                for name in ("win_rate", "gold_difference", "letter_difference")
                if name in known["policies"][policy]
            }
            for policy in responses
            if policy != "base"
        },
    }
    return found


def _group(responses: dict[str, pd.DataFrame], here: pd.Series, judged: pd.DataFrame | None) -> dict:
    """{judge, policies}: the judge's accuracy on these validation pairs (None where there are none), and per policy, of the
    prompts that are `here`, gold_rate and letter_rate, and but for base win_rate, gold_difference and letter_difference.
    """
    rows = np.flatnonzero(here)
    judge = None
    if judged is not None and len(judged):
        judge = pairwise_accuracy(judged["chosen_reward"], judged["rejected_reward"], judged["cluster"])
    base = responses["base"].iloc[rows]
    return {
        "judge": judge,
        "policies": {name: _policy(base, table.iloc[rows], name == "base") for name, table in responses.items()},
    }


def _policy(base: pd.DataFrame, rows: pd.DataFrame, is_base: bool) -> dict:
    truths = [truth for truth in ("gold", "letter") if truth in rows]
    numbers = {f"{truth}_rate": share(rows[truth], base["cluster"]) for truth in truths}
    if not is_base:
        numbers["win_rate"] = pairwise_accuracy(rows["reward"], base["reward"], base["cluster"])
        for truth in truths:
            numbers[f"{truth}_difference"] = mcnemar(base[truth], rows[truth], base["cluster"])["difference"]
    return numbers
