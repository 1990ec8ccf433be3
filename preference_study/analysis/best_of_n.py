"""Best of n: what picking the response with the highest reward does to that reward, and to what it stands for. Pure."""

from math import comb, log

import numpy as np
import pandas as pd

from preference_study.analysis.statistics import (
    Clusters,
    half_ties,
    holm_in_place,
    mean,
    paired_tests,
    pairwise_accuracy,
)
from preference_study.analysis.style import length_controlled_win_rate

SIZES = (1, 2, 4, 8, 16, 32, 64)


def expected_best(rewards: np.ndarray, values: np.ndarray, n: int) -> float:
    """The mean value of the response with the highest reward among n, over every choice of n of the N responses there are.

    Without bias, and with less variance than drawing n once (Nakano et al. 2021, appendix I; Gao et al. 2023). Responses of equal
    reward are as likely to be picked.

    Args:
        rewards, values: [N], by which a response is picked, and what is averaged.
        n: at least 1, at most N.
    """
    total = len(rewards)
    order = np.argsort(rewards, kind="stable")
    # The response with i lower ones is the best of C(i, n - 1) of the C(N, n) choices.
    weights = np.array([comb(i, n - 1) for i in range(total)]) / comb(total, n)
    _, group = np.unique(rewards[order], return_inverse=True)
    shared = np.bincount(group, weights) / np.bincount(group)
    return float((shared[group] * values[order]).sum())


def best_of_n_curve(rewards: np.ndarray, values: dict[str, np.ndarray], clusters: Clusters = None) -> list[dict]:
    """The curves of one reward model.

    Args:
        rewards: [prompts, N], by which it picks.
        values: by name, [prompts, N]: what is averaged of the picked responses, such as gold.
        clusters: of the prompts.

    Returns:
        Per n, doubling up to N: {n, kl, gain, and per name the mean over prompts with its interval}; in gain the same minus that
        of n = 1. kl is log n - (n - 1) / n, how far best of n is from the sampled policy, in nats (an upper bound; Stiennon et
        al. 2020).
    """
    sizes = [n for n in SIZES if n <= rewards.shape[1]]
    per_prompt = _per_prompt(rewards, values, sizes)
    return [
        {"n": n, "kl": log(n) - (n - 1) / n}
        | {name: mean(columns[:, place], clusters) for name, columns in per_prompt.items()}
        | {"gain": {name: mean(columns[:, place] - columns[:, 0], clusters) for name, columns in per_prompt.items()}}
        for place, n in enumerate(sizes)
    ]


def _per_prompt(rewards: np.ndarray, values: dict[str, np.ndarray], sizes: list[int]) -> dict[str, np.ndarray]:
    return {
        name: np.array([[expected_best(r, v, n) for n in sizes] for r, v in zip(rewards, table, strict=True)])
        for name, table in values.items()
    }


def best_of_n_gains(rewards: np.ndarray, outcome: np.ndarray, clusters: Clusters = None) -> dict:
    """What picking does to the outcome.

    Args:
        rewards, outcome: [prompts, N].
        clusters: of the prompts.

    Returns:
        steps: per doubling {from, to, difference}, on the same prompts; whole: the difference between best of N and one response,
        with Student's paired p; rises_until: the n up to which every doubling raised the outcome, its interval above zero.
    """
    sizes = [n for n in SIZES if n <= rewards.shape[1]]
    columns = _per_prompt(rewards, {"outcome": outcome}, sizes)["outcome"]
    steps = [
        {"from": sizes[i], "to": sizes[i + 1], "difference": mean(columns[:, i + 1] - columns[:, i], clusters)}
        for i in range(len(sizes) - 1)
    ]
    rises_until = sizes[0]
    for step in steps:
        if step["difference"]["low"] is None or step["difference"]["low"] <= 0:
            break
        rises_until = step["to"]
    whole = columns[:, -1] - columns[:, 0]
    test = paired_tests(whole, clusters)["paired_t"]
    return {"steps": steps, "whole": mean(whole, clusters), "p": test["p"] if test else 1.0, "rises_until": rises_until}


def best_against_one(rewards: np.ndarray, outcome: np.ndarray, words: np.ndarray, seed: int, clusters: Clusters = None) -> dict:
    """The best of N responses against the first, a plain sample, by the outcome; a first that is the best stands against itself.

    Returns:
        {win_rate, win_rate_length_controlled, words_difference}; None for the second where its interval cannot be computed.
    """
    picked = rewards.argmax(axis=1)[:, None]
    best, best_words = (np.take_along_axis(table, picked, axis=1)[:, 0] for table in (outcome, words))
    difference = best - outcome[:, 0]
    return {
        "win_rate": pairwise_accuracy(best, outcome[:, 0], clusters),
        "win_rate_length_controlled": length_controlled_win_rate(half_ties(difference), best_words - words[:, 0], seed, clusters),
        "words_difference": mean(best_words - words[:, 0], clusters),
    }


def compare_best_of_n(samples: pd.DataFrame, scored: dict[str, pd.DataFrame], judge: str, seed: int) -> dict:
    """metrics/best_of_n.json: per scorer its curve, what it gains in each outcome, and its pick against a plain response.

    The outcomes are gold, where the truth is known, and judge, the judge's own reward, where it is among `scored`; its
    gain in its own reward is no evidence of anything. p_holm is corrected over all scorers and outcomes.

    Args:
        samples: id, cluster, sample, words and, where the truth is known, gold: as many samples for each id.
        scored: per scorer id, sample, reward.
        judge: the scorer that judges.
    """

    def square(table: pd.DataFrame, column: str) -> np.ndarray:
        return table.pivot(index="id", columns="sample", values=column).sort_index().to_numpy(dtype=float)

    outcomes = {"gold": square(samples, "gold")} if "gold" in samples else {}
    outcomes |= {"judge": square(scored[judge], "reward")} if judge in scored else {}
    words, clusters = square(samples, "words"), samples.groupby("id")["cluster"].first().sort_index().to_numpy()
    metrics = {}
    for scorer, rows in scored.items():
        rewards = square(rows, "reward")
        metrics[scorer] = {
            "curve": best_of_n_curve(rewards, {"reward": rewards, "words": words} | outcomes, clusters),
            "gains": {name: best_of_n_gains(rewards, outcome, clusters) for name, outcome in outcomes.items()},
            "against_one": {
                name: best_against_one(rewards, outcome, words, seed, clusters) for name, outcome in outcomes.items()
            },
        }
    holm_in_place((found, "p") for numbers in metrics.values() for found in numbers["gains"].values())
    return metrics
