"""What the numbers say about a policy, in words, by rules that are stated here and nowhere else."""

from preference_study.methods import display_name
from preference_study.numbers import decimal, with_interval

LEVEL = 0.05
FEW = 100  # prompts; fewer are a first look
BETTER, WORSE, NO_EVIDENCE = "better", "worse", "no evidence of a difference"
GAINED, ONLY_LONGER = "gained at equal length", "only longer"
LOST, NO_EVIDENCE_AT_EQUAL_LENGTH = "lost at equal length", "no evidence at equal length"


def direction(corrected_p: float | None, difference: float) -> str:
    """Better or worse where the corrected p-value is below 0.05, by the sign of the difference; else no evidence."""
    if corrected_p is None or corrected_p >= LEVEL or difference == 0:
        return NO_EVIDENCE
    return BETTER if difference > 0 else WORSE


def at_equal_length(reward: str, win_rate: dict, words_difference: dict) -> str:
    """What is left of a difference in reward once length is held equal.

    Args:
        reward: the verdict by the reward model, from `direction`.
        win_rate: the length-controlled win rate. Its interval above one half: gained; below: lost.
        words_difference: mean of the policy's words minus base's. Where the interval of the win rate holds one half although the
            policy is better, and the interval of this lies above 0, the policy is only longer.
    """
    if win_rate["low"] is not None and win_rate["low"] > 0.5:
        return GAINED
    if win_rate["high"] is not None and win_rate["high"] < 0.5:
        return LOST
    longer = words_difference["low"] is not None and words_difference["low"] > 0
    return ONLY_LONGER if reward == BETTER and longer else NO_EVIDENCE_AT_EQUAL_LENGTH


def verdict(policy: str, comparison: dict) -> dict:
    """The verdict on one policy.

    Args:
        comparison: what metrics/policies.json holds as its `against_base`, p-values corrected.

    Returns:
        {reward, length, gold, sentence}: reward goes by the sign test of wins and losses, gold (null without a
        known truth) by the exact McNemar test, both Holm-corrected; the sentence says it with the numbers.
    """
    name = display_name(policy)
    corrected = {(row["outcome"], row["test"]): row["p_holm"] for row in comparison["tests"]}
    p = corrected.get(("reward", "sign"))
    reward = direction(p, comparison["wins"] - comparison["losses"])
    controlled = comparison["win_rate_length_controlled"]
    length = at_equal_length(reward, controlled, comparison["words_difference"])
    n = comparison["win_rate"]["n"]
    by_reward = {
        BETTER: f"The reward model prefers {name}'s responses to base's",
        WORSE: f"The reward model prefers base's responses to {name}'s",
        NO_EVIDENCE: f"The reward model shows no evidence of a difference between {name} and base",
    }[reward]
    by_length = {
        GAINED: "at equal length it still prefers them" if reward == BETTER else f"at equal length it prefers {name}'s",
        LOST: f"at equal length it prefers base's responses to {name}'s",
        ONLY_LONGER: "at equal length no difference is left to be seen: what can be shown is that the responses are longer",
        NO_EVIDENCE_AT_EQUAL_LENGTH: "at equal length there is none either"
        if reward == NO_EVIDENCE
        else "at equal length no difference can be shown",
    }[length]
    shown = f"win rate {with_interval(comparison['win_rate'])}, n = {n} prompts, {_p(p)}"
    sentence = f"{by_reward} ({shown}); {by_length} ({with_interval(controlled)})."
    gold = None
    if "gold" in comparison:
        p = corrected[("gold", "McNemar")]
        change = comparison["gold"]["difference"]
        gold = direction(p, change["value"])
        truth = {
            BETTER: f"In truth it is better: more of {name}'s responses are gold than of base's",
            WORSE: f"In truth it is worse: fewer of {name}'s responses are gold than of base's",
            NO_EVIDENCE: f"In truth there is no evidence that more or fewer of {name}'s responses are gold than of base's",
        }[gold]
        sentence += f" {truth} ({with_interval(change, signed=True)}, {_p(p)})."
    if n < FEW:
        sentence += f" With n = {n} prompts this is a first look: too few to tell."
    return {"reward": reward, "length": length, "gold": gold, "sentence": sentence}


def _p(p: float | None) -> str:
    if p is None:
        return "no test possible"
    return "corrected p < 0.001" if p < 0.001 else f"corrected p = {decimal(p, 3)}"
