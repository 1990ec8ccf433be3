"""What the numbers say about a policy, in words, by rules that are stated here and nowhere else."""

from preference_study.analysis.evidence import POWER, detectable, needed
from preference_study.analysis.statistics import side_of_zero
from preference_study.methods import METHODS, display_name
from preference_study.numbers import decimal, p_in_words, with_interval

LEVEL = 0.05
BETTER, WORSE, NO_EVIDENCE = "better", "worse", "no evidence of a difference"
AS_GOOD, INCONCLUSIVE, WITHHELD = "as good", "inconclusive", "withheld"
GAINED, LOST = "gained at equal length", "lost at equal length"
ONLY_LONGER, NOT_SHOWN_AT_EQUAL_LENGTH = "only longer", "not shown at equal length"
# The tests that verdicts go by, a family of their own.
REWARD, EQUAL_LENGTH, GOLD = ("reward", "sign"), ("reward at equal length", "score"), ("gold", "McNemar")
VERDICT_TESTS = (REWARD, EQUAL_LENGTH, GOLD)
# How an outcome's difference is told, from what, and the largest that there can be.
RATES = {"reward": ("a win rate", " from one half", 0.5), "gold": ("a gold rate", "", 1.0)}


def direction(corrected_p: float | None, difference: float) -> str:
    """Better or worse where the corrected p-value is below 0.05, by the sign of the difference; else no evidence."""
    if corrected_p is None or corrected_p >= LEVEL or difference == 0:
        return NO_EVIDENCE
    return BETTER if difference > 0 else WORSE


def judged(corrected_p: float | None, difference: float, equivalence: float) -> str:
    """One of four verdicts.

    As good comes first: where a difference is shown to be smaller than matters, that it is there does not matter.

    Args:
        corrected_p: of the test that there is no difference; None where it cannot be made.
        difference: policy minus base.
        equivalence: the corrected p-value of both one-sided tests that the difference is smaller than the one that matters.
    """
    if equivalence < LEVEL:
        return AS_GOOD
    found = direction(corrected_p, difference)
    return INCONCLUSIVE if found == NO_EVIDENCE else found


def at_equal_length(reward: str, corrected_p: float | None, win_rate: dict, words_difference: dict) -> str | None:
    """What is left of a difference in reward once length is held equal; None where reward shows no difference.

    Args:
        reward: the verdict by the reward model, from `judged`.
        corrected_p: of the test that the win rate at equal length is one half. Below 0.05 the win rate says who won.
        win_rate: at equal length.
        words_difference: mean of the policy's words minus base's. Where equal length shows nothing although the policy is better,
            and this lies above 0, `side_of_zero`, the policy is only longer.
    """
    if reward not in (BETTER, WORSE):
        return None
    found = direction(corrected_p, win_rate["value"] - 0.5)
    if found != NO_EVIDENCE:
        return GAINED if found == BETTER else LOST
    return ONLY_LONGER if reward == BETTER and side_of_zero(words_difference) > 0 else NOT_SHOWN_AT_EQUAL_LENGTH


def could_have_been_seen(evidence: dict, tests: int) -> dict:
    """What a comparison of this size could have shown.

    Args:
        evidence: as `win_rate_evidence` and `rate_evidence` return.
        tests: how many the family of tests has.

    Returns:
        {power, difference, smallest, prompts, clusters}: the smallest difference seen with that power, null where so few clusters
        can show nothing, and beyond what is possible where there are too few prompts to see any; the one that matters; how many
        prompts, in how many clusters, it would take to see that one, null for a single cluster.
    """
    found = {"power": POWER, "difference": None, "smallest": evidence["smallest"], "prompts": None, "clusters": None}
    if evidence["error"] is None:
        return found
    found["difference"] = detectable(evidence, tests)
    found["clusters"] = needed(evidence, evidence["smallest"], tests)
    return found | {"prompts": -(-found["clusters"] * evidence["n"] // evidence["clusters"])}


def right_over(right_to_judge: dict, policies: dict[str, str]) -> dict:
    """The right of the study's own reward model to judge some policies: none of those that were trained against it.

    Args:
        right_to_judge: in metrics/reward.json.
        policies: the method of each by what the policy is called in sentences.

    Returns:
        right_to_judge with `trained_against`, the names of the policies whose method is online.
    """
    against = [name for name, method in policies.items() if method in METHODS and METHODS[method].needs_reward_model]
    return right_to_judge | {"trained_against": against}


def why_withheld(right_to_judge: dict) -> str:
    """Why there is no verdict by reward, in words; empty where there is one.

    Args:
        right_to_judge: as `verdict` takes it.
    """
    told = [] if right_to_judge["holds"] else [f"the reward model has not earned it: {'; '.join(right_to_judge['reasons'])}"]
    if against := right_to_judge.get("trained_against"):
        told.append(
            f"{' and '.join(against)} {'was' if len(against) == 1 else 'were'} trained against this reward model, so what "
            "it prefers is what was optimised, and another judge or people must say (docs/judges.md)"
        )
    return "; and ".join(told)


def verdict(policy: str, comparison: dict, right_to_judge: dict, reference: str = "base") -> dict:
    """The verdict on one policy.

    Args:
        comparison: what metrics/policies.json holds as its `against_base`, p-values corrected: with `evidence` of reward, where
            rewards are compared, and of gold, where the truth is known.
        right_to_judge: of the reward model, in metrics/reward.json; of the study's own as `right_over` gives it. Where it does
            not hold, or the policy was trained against the reward model, there is no verdict by reward.
        reference: the policy it is held against.

    Returns:
        {reward, reward_would_be, length, gold, seen, sentence}: reward (null where rewards are not compared) goes by the sign
        test of wins and losses, gold (null without a known truth) by McNemar's test, length (null where reward shows no
        difference or is withheld) by the score test at equal length, all Holm-corrected. Where reward is withheld,
        reward_would_be is what its preference would have been; else null. seen: per outcome what could have been seen. The
        sentence says it with the numbers.
    """
    names = display_name(policy), display_name(reference)
    corrected = {(row["outcome"], row["test"]): row["p_holm"] for row in comparison["tests"]}
    tests = comparison["tests_of_verdicts"]
    seen = {outcome: could_have_been_seen(found, tests) for outcome, found in comparison["evidence"].items()}
    found = {"reward": None, "reward_would_be": None, "length": None, "gold": None, "seen": seen}
    sentences = []
    if "reward" in seen:
        reward, length, by_reward = _by_reward(names, comparison, corrected, seen["reward"])
        if not (why := why_withheld(right_to_judge)):
            found |= {"reward": reward, "length": length}
            sentences.append(f"{by_reward[0].upper()}{by_reward[1:]}.")
        else:
            found |= {"reward": WITHHELD, "reward_would_be": reward}
            sentences.append(f"The verdict by reward is withheld, for {why}. What it would have said: {by_reward}.")
    if "gold" in comparison:
        found["gold"], in_truth = _by_gold(names, comparison, corrected, seen["gold"])
        sentences.append(f"{in_truth}.")
    return found | {"sentence": " ".join(sentences)}


CONFIRMS, CONTRADICTS, LEAVES_OPEN = "confirms", "contradicts", "leaves open"


def against_reward(people: str, reward: str | None) -> str | None:
    """What people's verdict is to the one by reward; None where there is none by reward, or none of people's.

    Both must have found something: better, worse or as good. Where these are not the same, people contradict the reward model;
    as good, too, contradicts better, for it says that the difference is smaller than the one that matters.
    """
    if reward in (None, WITHHELD) or people == WITHHELD:
        return None
    if INCONCLUSIVE in (people, reward):
        return LEAVES_OPEN
    return CONFIRMS if people == reward else CONTRADICTS


def by_people(policy: str, found: dict, tests: int, sampled: bool, reward: str | None) -> dict:
    """People's verdict on one policy against base, by the rules of the verdict by reward.

    Args:
        found: wins, losses, win_rate, people, prompts, and test and evidence with corrected p-values, of people's answers.
        tests: how many the family of tests has.
        sampled: whether people saw a random sample of the prompts; of other cases there is no verdict on the policy.
        reward: the verdict by reward on the same policy.

    Returns:
        {people, people_would_be, against_reward, seen, sentence}: seen as `could_have_been_seen` says, its prompts being answers
        (several to a prompt where several people answered); people is withheld where the cases are no sample, and
        people_would_be is then what it would have been.
    """
    name, reference = display_name(policy), display_name("base")
    difference, p = found["wins"] - found["losses"], found["test"]["p_holm"]
    people, seen = judged(p, difference, found["evidence"]["p_equivalent_holm"]), could_have_been_seen(found["evidence"], tests)
    seen["answers"] = seen.pop("prompts")  # evidence counts rows, which are answers here
    rate = found["win_rate"]
    many = f"n = {rate['n']} answers of {found['people']} {'people' if found['people'] > 1 else 'person'}"
    many += f" to {found['prompts']} prompts" + (
        f" in {rate['clusters']} clusters" if rate["clusters"] != found["prompts"] else ""
    )
    smaller = _shown_but_small(p, difference)
    told = {
        BETTER: f"people prefer {name}'s responses to {reference}'s",
        WORSE: f"people prefer {reference}'s responses to {name}'s",
        AS_GOOD: f"to people {name} is as good as {reference}, to within {decimal(seen['smallest'])}{smaller}",
        INCONCLUSIVE: f"by people's answers it is inconclusive whether {name} is better or worse than {reference}",
    }[people] + f" (win rate {with_interval(rate)}, {many}, {_p_of(people, p, found['evidence'], smaller)})"
    if people == INCONCLUSIVE:
        told += f": {_in_words(seen, 'reward', 'answers')}"
    if not sampled:
        sentence = (
            "People's verdict is withheld, for they were asked where judges disagree, which is no sample of the prompts. "
            f"What it would have said: {told}."
        )
        return {"people": WITHHELD, "people_would_be": people, "against_reward": None, "seen": seen, "sentence": sentence}
    beside = against_reward(people, reward)
    held = {
        None: "There is no verdict by reward to hold it against",
        CONFIRMS: "The verdict by reward is the same",
        CONTRADICTS: f"It contradicts the verdict by reward, which is: {reward}",
        LEAVES_OPEN: f"It neither confirms nor contradicts the verdict by reward, which is: {reward}",
    }[beside]
    sentence = f"{told[0].upper()}{told[1:]}. {held}."
    return {"people": people, "people_would_be": None, "against_reward": beside, "seen": seen, "sentence": sentence}


def _by_reward(names: tuple[str, str], comparison: dict, corrected: dict, seen: dict) -> tuple[str, str | None, str]:
    """The verdict by reward, what is left of it at equal length, and both in words."""
    name, reference = names
    reward = judged(
        corrected[REWARD], comparison["wins"] - comparison["losses"], comparison["evidence"]["reward"]["p_equivalent_holm"]
    )
    controlled = comparison["win_rate_length_controlled"]
    length = at_equal_length(reward, corrected[EQUAL_LENGTH], controlled, comparison["words_difference"])
    smaller = _shown_but_small(corrected[REWARD], comparison["wins"] - comparison["losses"])
    p = _p_of(reward, corrected[REWARD], comparison["evidence"]["reward"], smaller)
    shown = f"win rate {with_interval(comparison['win_rate'])}, {_size(comparison['win_rate'])}, {p}"
    told = {
        BETTER: f"the reward model prefers {name}'s responses to {reference}'s",
        WORSE: f"the reward model prefers {reference}'s responses to {name}'s",
        AS_GOOD: f"by the reward model {name} is as good as {reference}, to within {decimal(seen['smallest'])}{smaller}",
        INCONCLUSIVE: f"by the reward model it is inconclusive whether {name} is better or worse than {reference}",
    }[reward] + f" ({shown})"
    if length:
        told += (
            "; "
            + {
                GAINED: "at equal length it still prefers them" if reward == BETTER else f"at equal length it prefers {name}'s",
                LOST: f"at equal length it prefers {reference}'s responses to {name}'s"
                if reward == BETTER
                else "at equal length it still prefers them",
                ONLY_LONGER: "at equal length no difference is shown: what is shown is that the responses are longer",
                NOT_SHOWN_AT_EQUAL_LENGTH: "at equal length no difference is shown",
            }[length]
        )
        told += f" ({with_interval(controlled)}, {p_in_words(corrected[EQUAL_LENGTH])})"
    if reward == INCONCLUSIVE:
        told += f": {_in_words(seen, 'reward')}"
    return reward, length, told


def _by_gold(names: tuple[str, str], comparison: dict, corrected: dict, seen: dict) -> tuple[str, str]:
    """The verdict by gold, and in words."""
    name, reference = names
    change = comparison["gold"]["difference"]
    gold = judged(corrected[GOLD], change["value"], comparison["evidence"]["gold"]["p_equivalent_holm"])
    smaller = _shown_but_small(corrected[GOLD], change["value"])
    told = {
        BETTER: f"In truth it is better: more of {name}'s responses are gold than of {reference}'s",
        WORSE: f"In truth it is worse: fewer of {name}'s responses are gold than of {reference}'s",
        AS_GOOD: f"In truth {name} is as good as {reference}, to within {decimal(seen['smallest'])}{smaller}",
        INCONCLUSIVE: f"In truth it is inconclusive whether {name} is better or worse than {reference}",
    }[gold]
    before, after = comparison["gold"]["before"], comparison["gold"]["after"]
    rates = f"from {decimal(before)} to {decimal(after)}" if before or after else "neither is ever gold"
    p = _p_of(gold, corrected[GOLD], comparison["evidence"]["gold"], smaller)
    told += f" ({with_interval(change, signed=True)}, {rates}, {p})"
    return gold, f"{told}: {_in_words(seen, 'gold')}" if gold == INCONCLUSIVE else told


def _shown_but_small(corrected_p: float | None, difference: float) -> str:
    """What a policy that is as good is better or worse by, where that is shown: less than matters."""
    found = direction(corrected_p, difference)
    return "" if found == NO_EVIDENCE else f": it is {found} by less than that"


def _size(estimate: dict) -> str:
    """How many prompts, and how many clusters where they are others."""
    told = f"n = {estimate['n']} prompts"
    return told if estimate["clusters"] == estimate["n"] else f"{told} in {estimate['clusters']} clusters"


def _in_words(seen: dict, outcome: str, rows: str = "prompts") -> str:
    """What could have been seen, and what it would take; too few prompts read otherwise than enough."""
    rate, where, most = RATES[outcome]
    if seen["clusters"] is None:
        return "prompts of one cluster tell nothing of others"
    power, smallest = f"{seen['power']:.0%} power", decimal(seen["smallest"])
    if seen["difference"] is not None and seen["difference"] <= seen["smallest"]:
        return (
            f"{rate} that differs by {smallest}{where} would have been seen with {power}, and after correction for the number of "
            "tests neither that much nor none can be ruled out"
        )
    many = f"{seen[rows]:,} {rows}" + (f" in {seen['clusters']:,} clusters" if seen["clusters"] != seen[rows] else "")
    if seen["difference"] is None:
        return (
            "too few clusters to show anything: of so few no p of this test can be below 0.05 once corrected for all tests; "
            f"to see a difference of {smallest} with {power} takes {many}"
        )
    only = f"only a difference of {decimal(seen['difference'])}{where}"
    if seen["difference"] > most:
        only = "no difference, however large,"
    return f"too few {rows} to tell, for {only} could have been seen with {power}; to see one of {smallest} takes {many}"


def _p_of(found: str, p: float | None, evidence: dict, smaller: str) -> str:
    """The p-value that a verdict rests on: of a policy that is as good that of equivalence, and beside it what else is said."""
    if found != AS_GOOD:
        return p_in_words(p)
    told = p_in_words(evidence["p_equivalent_holm"], "corrected p of equivalence")
    return f"{told}, {p_in_words(p, 'of a difference')}" if smaller else told
