"""Where a policy gained: policies and judge by the category of the prompt."""

import pandas as pd

from preference_study.analysis.statistics import mcnemar, pairwise_accuracy, share

SMALL = 20  # prompts; a group of fewer is marked
MOST_GROUPS = 30
OTHERS = "all others"


def categories(table: pd.DataFrame, kept: list[str]) -> pd.Series:
    """Each row's category as a text, those that are not kept as `OTHERS`, missing ones as missing."""
    named = table["category"].map(str, na_action="ignore")
    return named.where(named.isin(kept) | named.isna(), OTHERS)


def compare_groups(responses: dict[str, pd.DataFrame], pairs: pd.DataFrame | None) -> dict:
    """metrics/groups.json: per category of the prompts what the policies and the judge do there, the most frequent first.

    Of more than `MOST_GROUPS` categories the rarest are taken together. There are no tests: of so many small groups some would
    differ by chance.

    Args:
        responses: per policy, base among them, its responses to the same prompts in the same order: category, cluster, reward
            and, on the sandbox, gold.
        pairs: validation pairs with category, cluster, chosen_reward and rejected_reward; None where they have no categories.

    Returns:
        Per group {prompts, small, judge, policies}: how many prompts, whether they are fewer than `SMALL`, the judge's accuracy
        on the group's validation pairs (None where there are none), and per policy gold_rate, and but for base win_rate and
        gold_difference.
    """
    base = responses["base"]
    counts = base["category"].map(str, na_action="ignore").value_counts()
    kept = list(counts.index) if len(counts) <= MOST_GROUPS else list(counts.index[: MOST_GROUPS - 1])
    of_prompts = categories(base, kept)
    of_pairs = None if pairs is None else categories(pairs, kept)
    found = {}
    for group in [*kept, *([OTHERS] if len(counts) > MOST_GROUPS else [])]:
        here = (of_prompts == group).to_numpy()
        judged = pairs[(of_pairs == group).to_numpy()] if pairs is not None else []
        found[group] = {
            "prompts": int(here.sum()),
            "small": bool(here.sum() < SMALL),
            "judge": pairwise_accuracy(judged["chosen_reward"], judged["rejected_reward"], judged["cluster"])
            if len(judged)
            else None,
            "policies": {policy: _policy(base[here], rows[here], policy == "base") for policy, rows in responses.items()},
        }
    return found


def _policy(base: pd.DataFrame, rows: pd.DataFrame, is_base: bool) -> dict:
    gold = "gold" in rows
    numbers = {"gold_rate": share(rows["gold"], base["cluster"])} if gold else {}
    if not is_base:
        numbers["win_rate"] = pairwise_accuracy(rows["reward"], base["reward"], base["cluster"])
        if gold:
            numbers["gold_difference"] = mcnemar(base["gold"], rows["gold"], base["cluster"])["difference"]
    return numbers
