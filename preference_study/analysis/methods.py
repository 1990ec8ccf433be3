"""The methods side by side: a row each, every pair of policies tested, a ranking that shows ties as ties, and what each cost."""

from collections.abc import Sequence
from itertools import combinations

import numpy as np
import pandas as pd

from preference_study.analysis.statistics import half_ties, holm_in_place, mcnemar, pairwise_accuracy, share, sign_test, win_rate
from preference_study.analysis.verdicts import BETTER, NO_EVIDENCE, WORSE, direction
from preference_study.methods import METHODS
from preference_study.variants import VARIANTS

TRAINING = ("needs_reference", "needs_reward_model", "needs_pairs", "examples", "tokens", "steps", "trained_parameters")
GIB = 2**30
TURNED = {BETTER: WORSE, WORSE: BETTER, NO_EVIDENCE: NO_EVIDENCE}


def flat(params: dict, prefix: str = "") -> dict:
    """Nested parameters by dotted name."""
    found = {}
    for key, value in params.items():
        found |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return found


def bears_on_judge(name: str, judge: str | None) -> bool:
    """Whether a parameter, by its dotted name, can change what the training of this reward model comes to, seeds apart."""
    section, *rest = name.split(".")
    how_it_runs = name.endswith((".save_steps", "model.watched"))
    of_other_variant = section == "reward" and len(rest) > 1 and rest[0] in VARIANTS and rest[0] != judge
    no_members = name.startswith("reward.aggregate.") and (judge not in VARIANTS or VARIANTS[judge].members is None)
    return section in ("data", "model", "reward") and not (
        how_it_runs or of_other_variant or no_members or name == "reward.variants"
    )


def bears_on_policy(name: str, method: str, judge: str | None) -> bool:
    """Whether a parameter can change what a method's training and responses come to under this judge, seeds apart."""
    section, *rest = name.split(".")
    if section not in ("policy", "generate"):
        return bears_on_judge(name, judge)
    of_other_method = section == "policy" and len(rest) > 1 and rest[0] in METHODS and rest[0] != method
    return not (of_other_method or name in ("policy.methods", "policy.save_steps", "generate.category"))


def spread_over_seeds(stability: dict, params: dict, method: str) -> dict | None:
    """How far a method's numbers lie apart between seeds.

    Args:
        stability: experiments/results/stability.json: `params` by dotted name, and per method and measure one value a seed.
        params: the current parameters, nested.

    Returns:
        {measure: {mean, std, min, max, seeds}}: std with n - 1; seeds is a list. None where the method was not measured with the
        current parameters, but for those that cannot change what its training comes to, or with one seed alone.
    """
    judge = params.get("reward", {}).get("judge")
    measured, current = (
        {name: value for name, value in values.items() if bears_on_policy(name, method, judge)}
        for values in (stability["params"], flat(params))
    )
    if measured != current or method not in stability["methods"] or len(stability["seeds"]) < 2:
        return None
    return {
        measure: {
            "mean": float(np.mean(values)),
            "std": float(np.std(values, ddof=1)),
            "min": min(values),
            "max": max(values),
            "seeds": stability["seeds"],
        }
        for measure, values in stability["methods"][method].items()
        if values and None not in values
    }


def method_row(policy: dict, training: dict, spread: dict | None) -> dict:
    """What a method needs, what it was trained on and what came of it.

    Args:
        policy: its entry in metrics/policies.json. Its p-values are Holm-corrected over the tests of all methods against base.
        training: metrics/train_policy/<method>.json.
        spread: from `spread_over_seeds`.
    """
    against = policy["against_base"]
    corrected = {(test["outcome"], test["test"]): test["p_holm"] for test in against["tests"]}
    row = {name: training[name] for name in TRAINING}
    row |= {name: policy[name] for name in ("implicit_accuracy", "words_mean", "repetition_mean")}
    row |= {name: against[name] for name in ("win_rate", "win_rate_length_controlled", "words_difference")}
    row |= {"reward_p": corrected["reward", "sign"], "verdict_by_reward": against["verdict"]["reward"]}
    if "gold" in against:
        row |= {name: policy[name] for name in ("gold_rate", "letter_rate")}
        row |= {"gold_difference": against["gold"]["difference"], "gold_p": corrected["gold", "McNemar"]}
    return row | {"spread": spread}


def compare_pairs(responses: dict[str, pd.DataFrame]) -> list[dict]:
    """Every two policies on the same prompts, a before b in the order given.

    Args:
        responses: per policy its responses, all in the same order of prompts: cluster, reward and, on the sandbox, gold.

    Returns:
        {a, b, n, wins, losses, ties, win_rate, reward_p, reward_p_holm}: a's wins over b by reward, a tie half a win, and the
        sign test's p, null where all are ties. With gold also {gold_difference, gold_gained, gold_lost, gold_p,
        gold_p_holm}: a's rate minus b's, prompts on which a is gold and b is not, the other way about, McNemar's test.
        Holm's correction is over all pairs and both outcomes together.
    """
    pairs = []
    clusters = next(iter(responses.values()))["cluster"].to_numpy()
    for a, b in combinations(responses, 2):
        difference = responses[a]["reward"].to_numpy() - responses[b]["reward"].to_numpy()
        wins, losses = int((difference > 0).sum()), int((difference < 0).sum())
        pair = {"a": a, "b": b, "n": len(difference), "wins": wins, "losses": losses, "ties": len(difference) - wins - losses}
        pair["win_rate"] = pairwise_accuracy(responses[a]["reward"], responses[b]["reward"], clusters)
        pair["reward_p"] = (sign_test(difference, clusters) or {"p": None})["p"]
        if "gold" in responses[a]:
            change = mcnemar(responses[b]["gold"], responses[a]["gold"], clusters)
            pair |= {f"gold_{name}": change[name] for name in ("difference", "gained", "lost", "p")}
        pairs.append(pair)
    holm_in_place((pair, name) for pair in pairs for name in ("reward_p", "gold_p") if name in pair)
    return pairs


def _verdict(pair: dict, outcome: str) -> str:
    """Whether a is better or worse than b, or there is no evidence, by the corrected p-value."""
    ahead, behind = ("wins", "losses") if outcome == "reward" else ("gold_gained", "gold_lost")
    return direction(pair[f"{outcome}_p_holm"], pair[ahead] - pair[behind])


def ranking(estimates: dict[str, dict], pairs: list[dict], outcome: str) -> list[dict]:
    """The policies by their estimates, highest first; a rank is one plus the number of policies shown to be better.

    Args:
        estimates: per policy.
        pairs: from `compare_pairs`.
        outcome: reward or gold.

    Returns:
        {policy, value, rank, not_told_from}: the estimate; 1 + the number of policies that are better with a corrected p below
        0.05; the policies that are neither better nor worse. Being better is not transitive, so a policy may share its rank
        with one it can be told from.
    """
    found = {}
    for pair in pairs:
        verdict = _verdict(pair, outcome)
        found |= {(pair["a"], pair["b"]): verdict, (pair["b"], pair["a"]): TURNED[verdict]}
    order = sorted(estimates, key=lambda policy: -estimates[policy]["value"])
    return [
        {
            "policy": policy,
            "value": estimates[policy],
            "rank": 1 + sum(found.get((other, policy)) == BETTER for other in order),
            "not_told_from": [other for other in order if found.get((other, policy)) == NO_EVIDENCE],
        }
        for policy in order
    ]


def mean_win_rate(responses: dict[str, pd.DataFrame], policy: str) -> dict:
    """The mean of a policy's win rates by reward over each other policy, a tie half a win; n counts prompts.

    The interval is that of `win_rate`; over several policies Wilson's for that many prompts, or as many as their clusters tell
    of, which is a cautious one.
    """
    own = responses[policy]["reward"].to_numpy()
    others = np.array([rows["reward"] for other, rows in responses.items() if other != policy])
    points, clusters = half_ties(own - others).mean(axis=0), responses[policy]["cluster"]
    return win_rate(points, clusters) if len(others) == 1 else share(points, clusters)


def compare_methods(
    responses: dict[str, pd.DataFrame], policies: dict, training: dict[str, dict], stability: dict, params: dict
) -> dict:
    """metrics/methods.json: the methods' rows, all pairs of policies, and the rankings.

    Args:
        responses: as `compare_pairs` takes them, of base and every method.
        policies: metrics/policies.json.
        training: per method metrics/train_policy/<method>.json.
        stability, params: as `spread_over_seeds` takes them.
    """
    pairs = compare_pairs(responses)
    rankings = {"reward": ranking({policy: mean_win_rate(responses, policy) for policy in responses}, pairs, "reward")}
    if "gold" in responses["base"]:
        rates = {policy: share(rows["gold"], rows["cluster"]) for policy, rows in responses.items()}
        rankings["gold"] = ranking(rates, pairs, "gold")
    rows = {
        method: method_row(policies[method], training[method], spread_over_seeds(stability, params, method))
        for method in training
    }
    return {"methods": rows, "pairs": pairs, "ranking": rankings}


def pair_matrix(pairs: list[dict], policies: Sequence[str], outcome: str) -> list[dict]:
    """Pairs as a square: every policy against every other, as seen from the row's.

    Args:
        pairs: from `compare_pairs`.
        policies: the order of rows and columns.
        outcome: reward, for win rates; or gold, for differences of gold rates.

    Returns:
        Per row {policy, cells}: a cell is None on the diagonal, else {estimate, better}: whether the row's policy is better than
        the column's, None where they cannot be told apart.
    """
    whole, name = (1, "win_rate") if outcome == "reward" else (0, "gold_difference")
    cells = {}
    for pair in pairs:
        seen, verdict = pair[name], _verdict(pair, outcome)
        turned = seen | {"value": whole - seen["value"]}
        turned |= {"low": None if seen["high"] is None else whole - seen["high"]}
        turned |= {"high": None if seen["low"] is None else whole - seen["low"]}
        better = None if verdict == NO_EVIDENCE else verdict == BETTER
        cells[pair["a"], pair["b"]] = {"estimate": seen, "better": better}
        cells[pair["b"], pair["a"]] = {"estimate": turned, "better": None if better is None else not better}
    return [{"policy": row, "cells": [cells.get((row, column)) for column in policies]} for row in policies]


def training_costs(measured: dict[str, dict], tokens: dict[str, int]) -> dict[str, dict]:
    """metrics/methods_cost.json: what training took on the machine it ran on.

    Args:
        measured: per method {seconds, peak_memory_bytes, device, dtype}; seconds are null where training was interrupted.
        tokens: per method how many it was trained on.

    Returns:
        Per method {seconds, seconds_relative_to_dpo, seconds_per_1000_tokens, peak_memory_gib, device, dtype}; relative to DPO is
        null where DPO was not trained, and so is all that follows from seconds that are null.
    """
    dpo = measured.get("dpo", {}).get("seconds")
    return {
        method: {
            "seconds": cost["seconds"],
            "seconds_relative_to_dpo": cost["seconds"] / dpo if cost["seconds"] and dpo else None,
            "seconds_per_1000_tokens": 1000 * cost["seconds"] / tokens[method] if cost["seconds"] else None,
            "peak_memory_gib": cost["peak_memory_bytes"] / GIB,
            "device": cost["device"],
            "dtype": cost["dtype"],
        }
        for method, cost in measured.items()
    }
