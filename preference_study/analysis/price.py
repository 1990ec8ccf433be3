"""What a policy paid: how likely it makes the preferred responses, how far it went from base, the form of its own responses."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from preference_study.analysis.statistics import (
    Clusters,
    bootstrapped,
    holm_in_place,
    mcnemar,
    mean,
    median,
    paired_tests,
    share,
    side_of_zero,
    sign_test,
)
from preference_study.analysis.verdicts import BETTER, GAINED
from preference_study.numbers import with_interval

LEVEL = 0.05
SIDES = ("chosen", "rejected")


@dataclass(frozen=True)
class Outcome:
    """Something in a response that a policy may pay with; more of it is worse.

    Attributes:
        column: of the responses' table.
        rate: whether it holds truth values; else numbers.
        says: what becoming worse is called in a sentence.
    """

    column: str
    rate: bool
    says: str


OUTCOMES = {
    "loops": Outcome("loops", True, "more of its responses loop"),
    "echoes": Outcome("echoes", True, "more of its responses say the prompt back"),
    "cut off": Outcome("cut_off", True, "more of its responses are cut off"),
    "refusals": Outcome("refuses", True, "more of its responses refuse"),
    "words": Outcome("words", False, "its responses have more words"),
}
LESS_LIKELY = "the chosen responses of the validation pairs became less likely"


def per_token(nats: Sequence[float], tokens: Sequence[int], seed: int, clusters: Clusters = None) -> dict:
    """All nats over all tokens, with a bootstrap interval over responses, or over their clusters."""
    return bootstrapped(lambda n, t, axis=-1: n.sum(axis=axis) / t.sum(axis=axis), nats, tokens, seed=seed, clusters=clusters)


def logps_change(base: pd.DataFrame, policy: pd.DataFrame, seed: int) -> dict:
    """How much likelier the policy makes the responses of the validation pairs than base does, chosen and rejected apart.

    DPO and its relatives raise the difference of the two; that does not keep the chosen response from becoming less likely
    (Razin et al. 2024, arXiv 2410.08847).

    Args:
        base, policy: cluster, chosen_logp, rejected_logp, chosen_tokens and rejected_tokens per pair, in the same order of pairs.

    Returns:
        Per side {nats_per_response, nats_per_response_median, nats_per_token, p, fell, fell_p}: the mean and median change with
        Wilcoxon's p, and the share of pairs in which it is below zero, with the sign test's p. A p is None where nothing changed.
    """
    found = {}
    for side in SIDES:
        change = (policy[f"{side}_logp"] - base[f"{side}_logp"]).to_numpy()
        found[side] = {
            "nats_per_response": mean(change, base["cluster"]),
            "nats_per_response_median": median(change, base["cluster"]),
            "nats_per_token": per_token(change, base[f"{side}_tokens"], seed, base["cluster"]),
            "p": (paired_tests(change, base["cluster"])["wilcoxon"] or {"p": None})["p"],
            "fell": share(change < 0, base["cluster"]),
            "fell_p": (sign_test(change, base["cluster"]) or {"p": None})["p"],
        }
    return found


def kl_from_base(rows: list[dict], seed: int) -> dict | None:
    """The KL divergence of a policy from base on its own responses, KL(policy || base).

    A response is a sequence of draws, one a token, and its divergence is the expected sum of theirs; of one that was cut off,
    that of the tokens there are. With r = pi_base / pi of a token, a token's part is estimated by k3 = (r - 1) - log r, which is
    never below zero, and by the plain k1 = -log r; both are without bias (Schulman 2020, "Approximating KL Divergence").

    Args:
        rows: per response, sampled from the policy at temperature 1: cluster, policy_logps and base_logps, one a token.

    Returns:
        {nats_per_response, nats_per_response_median, nats_per_token} by k3, and under `k1` the same by k1; None without any.
    """
    if not rows:
        return None
    ratios = [np.array(row["base_logps"]) - np.array(row["policy_logps"]) for row in rows]
    tokens, clusters = [len(ratio) for ratio in ratios], [row["cluster"] for row in rows]
    sums = {"k3": [(np.expm1(ratio) - ratio).sum() for ratio in ratios], "k1": [-ratio.sum() for ratio in ratios]}
    found = {
        name: {
            "nats_per_response": mean(nats, clusters),
            "nats_per_response_median": median(nats, clusters),
            "nats_per_token": per_token(nats, tokens, seed, clusters),
        }
        for name, nats in sums.items()
    }
    return found["k3"] | {"k1": found["k1"]}


def form_changes(base: pd.DataFrame, policy: pd.DataFrame) -> list[dict]:
    """What became of the form of the responses.

    Args:
        base, policy: responses to the same prompts in the same order: cluster, loops, echoes, finished, refuses and words.

    Returns:
        Per entry of `OUTCOMES` {outcome, base, policy, change, test, p}: rates or means, and policy minus base on the same
        prompts with McNemar's test, of words Wilcoxon's; p is None where that cannot be made.
    """
    base, policy = (responses.assign(cut_off=~responses["finished"].astype(bool)) for responses in (base, policy))
    rows, clusters = [], base["cluster"].to_numpy()
    for name, outcome in OUTCOMES.items():
        before, after = base[outcome.column].to_numpy(), policy[outcome.column].to_numpy()
        if outcome.rate:
            changed = mcnemar(before, after, clusters)
            row = {key: share(values, clusters) for key, values in (("base", before), ("policy", after))}
            row |= {"change": changed["difference"], "test": "McNemar", "p": changed["p"]}
        else:
            test = paired_tests(after - before, clusters)["wilcoxon"] or {"p": None}
            row = {"base": mean(before, clusters), "policy": mean(after, clusters), "change": mean(after - before, clusters)}
            row |= {"test": "Wilcoxon", "p": test["p"]}
        rows.append({"outcome": name} | row)
    return rows


def policy_price(
    base: pd.DataFrame, policy: pd.DataFrame, base_logps: pd.DataFrame, logps: pd.DataFrame, kl_rows: list[dict], seed: int
) -> dict:
    """`price` in metrics/policies.json, of one policy: {logps, kl, form}; p-values are not corrected yet.

    Args:
        base, policy: as `form_changes` takes them.
        base_logps, logps: as `logps_change` takes them.
        kl_rows: as `kl_from_base` takes them.
    """
    return {
        "logps": logps_change(base_logps, logps, seed),
        "kl": kl_from_base(kl_rows, seed),
        "form": form_changes(base, policy),
    }


def correct_prices(prices: dict[str, dict]) -> None:
    """Add, in place, Holm's correction over all prices of all policies, and whether each got worse.

    A price got worse where its corrected p is below 0.05 and its mean change, or that of its rate, lies on the worse
    `side_of_zero`. Wilcoxon's test goes by ranks: where most responses change a little one way and a few a lot the other, it
    finds a difference of which the mean says the opposite.

    Args:
        prices: per method what `policy_price` returned; where responses alone are compared, `form` alone. At <p>_holm come the
            corrected p-values; at `worse` the answer.
    """
    logps = [price["logps"] for price in prices.values() if "logps" in price]
    sides = [(found[side], key) for found in logps for side in SIDES for key in ("p", "fell_p")]
    holm_in_place([*sides, *((row, "p") for price in prices.values() for row in price["form"])])
    for found in logps:
        chosen = found["chosen"]
        chosen["worse"] = _shown(chosen) and side_of_zero(chosen["nats_per_response"]) < 0
    for price in prices.values():
        for row in price["form"]:
            row["worse"] = _shown(row) and side_of_zero(row["change"]) > 0


def _shown(row: dict) -> bool:
    return row["p_holm"] is not None and row["p_holm"] < LEVEL


def prices_in_words(price: dict) -> list[str]:
    """What got worse, an entry each, such as "more of its responses loop (+0.12 [0.07, 0.18])"; none where nothing did.

    Args:
        price: of one policy, corrected.
    """
    told = []
    if "logps" in price and price["logps"]["chosen"]["worse"]:
        told.append(f"{LESS_LIKELY} ({with_interval(price['logps']['chosen']['nats_per_response'], 1, signed=True)} nats each)")
    for row in price["form"]:
        if row["worse"]:
            places = 2 if OUTCOMES[row["outcome"]].rate else 1
            told.append(f"{OUTCOMES[row['outcome']].says} ({with_interval(row['change'], places, signed=True)})")
    return told


def add_to_verdict(verdict: dict, price: dict, name: str) -> None:
    """Add, in place, to a verdict what it was paid with: `price`, an entry each, and a sentence.

    Better, by the truth where it is known and else by the reward model at equal length, becomes better at a price.

    Args:
        verdict: from `preference_study.analysis.verdicts.verdict`.
        price: of the same policy, corrected.
        name: the policy's, as people read it.
    """
    verdict["price"] = prices_in_words(price)
    if verdict["price"]:
        by_reward = verdict["reward"] == BETTER and verdict["length"] == GAINED
        better = by_reward if verdict["gold"] is None else verdict["gold"] == BETTER
        verdict["sentence"] += (
            f" {f'{name} is better, at a price' if better else 'What got worse'}: {'; '.join(verdict['price'])}."
        )
