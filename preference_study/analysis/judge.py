"""Whether a reward model has earned that verdicts go by it, and how often it agrees with the truth."""

import numpy as np
import pandas as pd

from preference_study.analysis.statistics import auc, cluster_sums, half_ties, holm_in_place, mean, sign_flip_p, win_rate
from preference_study.numbers import p_in_words, with_interval

LEVEL = 0.05
BASELINES = {"longer": "“the longer response wins”", "tfidf": "TF-IDF", "probe": "a linear probe of the base model"}


def right_to_judge(scored: pd.DataFrame, baselines: dict[str, np.ndarray]) -> dict:
    """Hold a reward model against what needs no training of its own, on the same validation pairs.

    It has the right to judge where it is shown to be right more often than each baseline, and is right on at least half of the
    pairs whose chosen response is the shorter one. Without such pairs the second does not count.

    Args:
        scored: cluster, chosen_reward, rejected_reward, chosen_words, rejected_words per pair.
        baselines: by name, a baseline's margin per pair, beside that of length, `longer`.

    Returns:
        {holds, reasons, against, shorter_chosen}: why it does not hold, in words; per baseline {difference, p, p_holm}, the
        reward model's share of pairs ranked right minus the baseline's, with the p-value of random signs of each cluster's sum,
        Holm-corrected over the baselines; its accuracy where the chosen response has fewer words, null without such pairs.
    """
    clusters = scored["cluster"].to_numpy()
    right = half_ties((scored["chosen_reward"] - scored["rejected_reward"]).to_numpy())
    longer = (scored["chosen_words"] - scored["rejected_words"]).to_numpy()
    against = {}
    for name, margins in ({"longer": longer} | baselines).items():
        ahead = right - half_ties(np.asarray(margins))
        against[name] = {"difference": mean(ahead, clusters), "p": sign_flip_p(cluster_sums(ahead, clusters))}
    holm_in_place((row, "p") for row in against.values())
    shorter = longer < 0
    of_shorter = win_rate(right[shorter], clusters[shorter]) if shorter.any() else None
    reasons = [
        f"it is {'not shown to be right more' if row['p_holm'] >= LEVEL else 'right less'} often than "
        f"{BASELINES.get(name, name)} ({with_interval(row['difference'], signed=True)}, {p_in_words(row['p_holm'])})"
        for name, row in against.items()
        if row["p_holm"] >= LEVEL or row["difference"]["value"] <= 0
    ]
    if of_shorter and of_shorter["value"] < 0.5:
        reasons.append(
            f"it is right on {with_interval(of_shorter)} of the pairs whose chosen response is the shorter one "
            f"(n = {of_shorter['n']}), less than half"
        )
    return {"holds": not reasons, "reasons": reasons, "against": against, "shorter_chosen": of_shorter}


def agreement_with_gold(base: pd.DataFrame, policy: pd.DataFrame) -> dict | None:
    """Of the prompts where one response is gold and the other is not, the share in which the gold one has the higher reward.

    Args:
        base, policy: cluster, reward and gold of responses to the same prompts, in the same order.

    Returns:
        An estimate, a tie of rewards being half; None where gold never differs.
    """
    ahead = policy["gold"].to_numpy(dtype=int) - base["gold"].to_numpy(dtype=int)
    differs = ahead != 0
    if not differs.any():
        return None
    reward = (policy["reward"].to_numpy() - base["reward"].to_numpy()) * ahead
    return win_rate(half_ties(reward[differs]), base["cluster"].to_numpy()[differs])


def telling_gold(responses: pd.DataFrame, seed: int) -> dict | None:
    """How well rewards tell one policy's gold responses from its others: the area under the ROC curve.

    Returns:
        An estimate; None where all are gold, or none.
    """
    if responses["gold"].nunique() < 2:
        return None
    return auc(responses["reward"], responses["gold"], seed, responses["cluster"])
