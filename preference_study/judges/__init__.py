"""Other judges of the study's answers: what they are asked, and the one form that all their judgements take.

A judgement is a preference from 0 to 1: of a policy's response over base's to the same prompt, or of a validation pair's chosen
response over the rejected one. Above one half the judge takes the policy's, or the chosen one.
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import expit

SETS = ("responses", "pairs")


def cases(responses: dict[str, Sequence[dict]], pairs: pd.DataFrame) -> pd.DataFrame:
    """What a judge is asked about, a row a case.

    Args:
        responses: per policy, base among them, rows with id, prompt and response.
        pairs: validation pairs: id, prompt, chosen, rejected.

    Returns:
        set (of `SETS`), id, policy (None of a pair), prompt, response (the policy's, or the chosen one), other (base's, or the
        rejected one).
    """
    base = {row["id"]: row["response"] for row in responses["base"]}
    rows = [
        {"set": "responses", "id": row["id"], "policy": policy, "prompt": row["prompt"]}
        | {"response": row["response"], "other": base[row["id"]]}
        for policy, answered in responses.items()
        if policy != "base"
        for row in answered
    ]
    rows += [
        {"set": "pairs", "id": row.id, "policy": None, "prompt": row.prompt, "response": row.chosen, "other": row.rejected}
        for row in pairs.itertuples()
    ]
    return pd.DataFrame(rows, columns=["set", "id", "policy", "prompt", "response", "other"])


def some_cases(table: pd.DataFrame, max_prompts: int | None, max_pairs: int | None, seed: int) -> pd.DataFrame:
    """The cases of a seeded sample of prompts, the same for every policy, and of validation pairs; None takes all."""
    kept = []
    for name, limit in zip(SETS, (max_prompts, max_pairs), strict=True):
        part = table[table["set"] == name]
        ids = part["id"].drop_duplicates()
        if limit is not None and limit < len(ids):
            ids = ids.sample(limit, random_state=seed)
        kept.append(part[part["id"].isin(set(ids))])
    return pd.concat(kept, ignore_index=True)


def by_rewards(response: Sequence[float], other: Sequence[float]) -> np.ndarray:
    """Preferences of a judge that gives rewards: sigmoid(reward - the other's), Bradley and Terry's."""
    return expit(np.asarray(response, dtype=float) - np.asarray(other, dtype=float))


def judgement(name: str, kind: str, table: pd.DataFrame, **counts: float | None) -> dict[str, Any]:
    """What data/judgements/<name>.json holds.

    Args:
        table: of cases, with preference; of a pairwise judge also as_first and as_second: how much it prefers the response where
            that stands first, and where it stands second. Cases without a preference are left out.
        counts: what else is told of how it judged.

    Returns:
        {name, kind, ...counts, unanswered, responses, pairs}: how many cases are left out, by policy of responses and of pairs;
        rows of id, policy (of responses alone), preference and, of a pairwise judge, as_first and as_second, null where both
        responses are the same text and nothing was asked.
    """
    left_out, of_responses = table["preference"].isna(), table["set"] == "responses"
    by_policy = left_out[of_responses].groupby(table.loc[of_responses, "policy"]).sum()
    unanswered = {"responses": by_policy.astype(int).to_dict(), "pairs": int(left_out[~of_responses].sum())}
    table = table[~left_out]
    own = ["preference", *(column for column in ("as_first", "as_second") if column in table)]
    found = {"name": name, "kind": kind, **counts, "unanswered": unanswered}
    for of, columns in (("responses", ["id", "policy", *own]), ("pairs", ["id", *own])):
        part = table.loc[table["set"] == of, columns].astype(object)
        found[of] = part.where(part.notna(), None).to_dict("records")
    return found


def digest_of_texts(texts: Iterable[tuple[str, str, str]]) -> str:
    """Which responses a judge saw: a digest of (prompt id, the policy's response, base's), in whatever order they come."""
    return hashlib.blake2b(json.dumps(sorted(map(list, texts))).encode(), digest_size=16).hexdigest()


def seen_texts(table: pd.DataFrame) -> dict[str, str]:
    """By policy the digest of the responses among some cases that have a preference."""
    judged = table[(table["set"] == "responses") & table["preference"].notna()]
    return {
        policy: digest_of_texts(own[["id", "response", "other"]].itertuples(index=False, name=None))
        for policy, own in judged.groupby("policy")
    }


def own_judgement(name: str, scored: pd.DataFrame, pairs: pd.DataFrame, policies: Sequence[str]) -> dict[str, Any]:
    """The study's own reward model in the same form.

    Args:
        scored: the scored responses of base and the policies: id, policy, reward.
        pairs: validation pairs: id, chosen_reward, rejected_reward.
        policies: those besides base, in order.
    """
    rewards = {policy: rows.set_index("id")["reward"] for policy, rows in scored.groupby("policy")}
    rows = [
        pd.DataFrame(
            {"set": "responses", "id": own.index, "policy": policy, "preference": by_rewards(own, rewards["base"].loc[own.index])}
        )
        for policy in policies
        for own in [rewards[policy]]
    ]
    of_pairs = by_rewards(pairs["chosen_reward"], pairs["rejected_reward"])
    rows.append(pd.DataFrame({"set": "pairs", "id": pairs["id"].to_numpy(), "policy": None, "preference": of_pairs}))
    return judgement(name, "own", pd.concat(rows, ignore_index=True))
