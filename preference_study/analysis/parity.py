"""Whether an exported model does what the study's own does."""

from collections.abc import Sequence

import numpy as np

from preference_study.analysis.statistics import share

# Both sides hold the same numbers and multiply them with the same kernels: what differs is a wrong file. In nats a token.
LOGP_BOUND = 1e-3
# Greedy answers are written in batches of another shape, and bfloat16 rounds otherwise there: where two tokens are nearly as
# likely, an answer may take another turn, and stays on it; the longer answers are, the more of them do. How many is no sign of a
# fault, but a turn to a token that was clearly less likely is. In nats: four times the most that batches of another size made in
# `benchmarks/partings.py`; logits of 16 to 32 are 0.125 apart in bfloat16.
GAP_BOUND = 1.0
# Both sides in float32, of standard deviations of the study's rewards; attention is computed by another kernel.
REWARD_BOUND = 1e-3
# Of the rewards of texts, tokenised by the exported folder alone, on average.
TEXT_BOUND = 0.1
FLOOR = 1e-5  # where rewards hardly vary


def policy_parity(
    own_prompts: Sequence[list[int]],
    prompts: Sequence[list[int]],
    own_answers: Sequence[list[int]],
    answers: Sequence[list[int]],
    own_logps: Sequence[np.ndarray],
    logps: Sequence[np.ndarray],
    gaps: Sequence[float],
    clusters: Sequence[str],
) -> dict:
    """Hold an exported policy against the study's own on the same prompts.

    Args:
        own_prompts, prompts: each prompt's tokens, the study's and the folder's.
        own_answers, answers: the tokens of the greedy responses.
        own_logps, logps: the log-probability of each token of the study's own response, by either, in nats.
        gaps: of each of `partings`, by how much the study's token is likelier than the other, in nats.

    Returns:
        {n, same_prompts, same_answers, same_tokens_before, parting_gap, going_on, logp_difference, logp_mean_difference, bounds}:
        shares as estimates; how many tokens of the differing answers are the same before they part, on average, and the largest
        gap, null where none parts; in how many rows one answer ends where the other goes on without having ended otherwise; the
        largest difference of a token's log-probability, and the mean one, without signs.
    """
    apart = [(a, b) for a, b in zip(own_answers, answers, strict=True) if a != b]
    differences = np.abs(np.concatenate([a - b for a, b in zip(map(np.asarray, own_logps), map(np.asarray, logps), strict=True)]))
    return {
        "n": len(own_prompts),
        "same_prompts": share([a == b for a, b in zip(own_prompts, prompts, strict=True)], clusters),
        "same_answers": share([a == b for a, b in zip(own_answers, answers, strict=True)], clusters),
        "same_tokens_before": float(np.mean([same_before(a, b) for a, b in apart])) if apart else None,
        "parting_gap": largest_gap(gaps),
        "going_on": len(apart) - len(partings(own_answers, answers)),
        "logp_difference": float(differences.max()),
        "logp_mean_difference": float(differences.mean()),
        "bounds": {"logp_difference": LOGP_BOUND, "parting_gap": GAP_BOUND, "going_on": 0, "same_prompts": 1.0},
    }


def largest_gap(gaps: Sequence[float]) -> float | None:
    """The largest of the gaps, without their signs; NaN where one is, and None where none parts."""
    return float(np.abs(gaps).max()) if len(gaps) else None


def same_before(a: Sequence[int], b: Sequence[int]) -> int:
    """How many tokens two answers share before they part."""
    return next((place for place, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


def partings(one: Sequence[Sequence[int]], other: Sequence[Sequence[int]]) -> list[tuple[int, int]]:
    """The rows whose answers part, and the place where they do; not those of which one is only the other's beginning."""
    places = [(row, same_before(a, b)) for row, (a, b) in enumerate(zip(one, other, strict=True)) if a != b]
    return [(row, place) for row, place in places if place < min(len(one[row]), len(other[row]))]


def reward_parity(
    own: Sequence[float],
    exact: Sequence[float],
    exported: Sequence[float],
    of_texts: Sequence[float],
    same_tokens: Sequence[bool],
    clusters: Sequence[str],
) -> dict:
    """Hold an exported reward model against the study's own on the same responses.

    Args:
        own: the study's rewards, in the precision that it scores in.
        exact: the same of the study's own weights in float32.
        exported: the exported model's rewards of the same tokens.
        of_texts: the exported model's rewards of the conversations as its own tokenizer writes them.
        same_tokens: whether that writes the tokens that the study does.

    Returns:
        {n, same_tokens, reward_std, reward_difference, text_difference, rounding, same_order, bounds}: `reward_difference` is the
        largest between `exported` and `exact`, `text_difference` the mean one between `of_texts` and `exact`, `rounding` the
        largest between `exact` and `own`, all without signs; `same_order` is the share of all pairs of responses that `of_texts`
        ranks as `own` does, those that `own` ties left out, null where it ties all.
    """
    own, exact, exported, of_texts = (np.asarray(values, dtype=float) for values in (own, exact, exported, of_texts))
    spread = float(exact.std(ddof=1)) if len(exact) > 1 else 0.0
    first, second = np.triu_indices(len(own), k=1)
    told = own[first] != own[second]
    as_own = np.sign(own[first] - own[second]) == np.sign(of_texts[first] - of_texts[second])
    return {
        "n": len(own),
        "same_tokens": share(same_tokens, clusters),
        "reward_std": spread,
        "reward_difference": float(np.abs(exported - exact).max()),
        "text_difference": float(np.abs(of_texts - exact).mean()),
        "rounding": float(np.abs(exact - own).max()),
        "same_order": float(as_own[told].mean()) if told.any() else None,
        "bounds": {"reward_difference": REWARD_BOUND * spread + FLOOR, "text_difference": TEXT_BOUND * spread + FLOOR},
    }


def beyond(parity: dict) -> list[str]:
    """What of a parity lies beyond its bounds, in words; empty where nothing does."""
    found = []
    for name, bound in parity["bounds"].items():
        value = parity[name]
        if value is None:  # nothing of the kind was there
            continue
        is_share = isinstance(value, dict)
        value = value["value"] if is_share else value
        # A comparison that a NaN fails.
        if not (value >= bound if is_share else value <= bound):
            found.append(f"{name} is {value:.4g}, {'at least' if is_share else 'at most'} {bound:.4g} is allowed")
    return found
