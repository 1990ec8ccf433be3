"""One policy on its own, and against base on the same prompts."""

import numpy as np
import pandas as pd

from preference_study.analysis.evidence import rate_evidence, win_rate_evidence
from preference_study.analysis.judge import agreement_with_gold, telling_gold
from preference_study.analysis.statistics import (
    effect_size,
    half_ties,
    holm_in_place,
    mcnemar,
    mean,
    median,
    paired_standard_deviation,
    paired_tests,
    pairwise_accuracy,
    share,
    sign_test,
    standard_deviation,
    unpaired_t,
)
from preference_study.analysis.style import (
    even_at_equal_length_p,
    length_controlled_win_rate,
    style_controlled,
)
from preference_study.analysis.verdicts import EQUAL_LENGTH, VERDICT_TESTS, right_over, verdict
from preference_study.methods import display_name

TRUTHS = ("gold", "letter")  # of a response on the sandbox: preference_study.texts.gold
UNPAIRED = "as in the original study; both policies answer the same prompts, so it is the wrong test"


def describe_responses(responses: pd.DataFrame, seed: int) -> dict:
    """One policy's responses on their own.

    Args:
        responses: cluster, words, headings, list_items, bold, finished, reading_grade (NaN where left out), repetition, refuses;
            reward, where they were scored; on the sandbox also letter and gold. What hangs on a column that is not there is left
            out.
    """
    grades, clusters = responses["reading_grade"].dropna(), responses["cluster"]
    description = {}
    if "reward" in responses:
        description["reward_mean"] = mean(responses["reward"], clusters)
        description["reward_median"] = median(responses["reward"], clusters)
        description["reward_std"] = standard_deviation(responses["reward"], seed, clusters)
    description |= {
        "words_mean": mean(responses["words"], clusters),
        "words_median": median(responses["words"], clusters),
        "reading_grade_mean": mean(grades, clusters[grades.index]) if len(grades) else None,
        "reading_grade_median": median(grades, clusters[grades.index]) if len(grades) else None,
        "repetition_mean": mean(responses["repetition"], clusters),
        "finished": share(responses["finished"], clusters),
        "refusals": share(responses["refuses"], clusters),
    }
    for truth in TRUTHS:
        if truth in responses:
            description[f"{truth}_rate"] = share(responses[truth], clusters)
    if {"gold", "reward"} <= set(responses):
        description["reward_tells_gold"] = telling_gold(responses, seed)
    return description


def describe_policy(responses: pd.DataFrame, logps: pd.DataFrame, reference: pd.DataFrame, beta: float | None, seed: int) -> dict:
    """One policy on its own.

    Args:
        responses: its scored responses, as `describe_responses` takes them.
        logps: cluster, chosen_logp and rejected_logp per validation pair under the policy. Both responses of a pair are one
            observation.
        reference: the same under the base model.
        beta: the implicit reward is beta (log pi - log pi_ref) (Rafailov et al. 2023, eq. 5). Its accuracy does not depend on
            beta; its mean and deviation are null where beta is None, because the method has no reference. For the base model
            it is 0 for every response and its accuracy, all ties, one half.
    """
    chosen = (logps["chosen_logp"] - reference["chosen_logp"]).to_numpy()
    rejected = (logps["rejected_logp"] - reference["rejected_logp"]).to_numpy()
    implicit = None if beta is None else (beta * chosen, beta * rejected)
    of_pairs = logps["cluster"]
    return describe_responses(responses, seed) | {
        "implicit_accuracy": pairwise_accuracy(chosen, rejected, of_pairs),
        "implicit_reward_mean": None if implicit is None else mean(np.mean(implicit, axis=0), of_pairs),
        "implicit_reward_std": None if implicit is None else paired_standard_deviation(implicit, seed, of_pairs),
        "likelihood_accuracy": pairwise_accuracy(logps["chosen_logp"], logps["rejected_logp"], of_pairs),
    }


def _test_row(outcome: str, test: str, result: dict | None, clusters: pd.Series) -> dict:
    return {
        "outcome": outcome,
        "test": test,
        "statistic": (result or {}).get("statistic"),
        "p": (result or {}).get("p"),
        # A sign test is of what differs: ties are no part of it.
        "n": (result or {}).get("n", len(clusters)),
        "clusters": (result or {}).get("clusters", clusters.nunique()),
    }


def _by_reward(reference: pd.DataFrame, policy: pd.DataFrame, seed: int) -> dict:
    difference = policy["reward"].to_numpy() - reference["reward"].to_numpy()
    words = policy["words"].to_numpy() - reference["words"].to_numpy()
    clusters = reference["cluster"]
    wins, losses = int((difference > 0).sum()), int((difference < 0).sum())
    style = style_controlled(half_ties(difference), reference, policy, seed)
    found = {
        "sign": sign_test(difference, clusters),
        "paired t": paired_tests(difference, clusters)["paired_t"],
        "Wilcoxon": paired_tests(difference, clusters)["wilcoxon"],
    }
    even = {"p": even_at_equal_length_p(half_ties(difference), words, clusters)}
    rows = [_test_row("reward", test, result, clusters) for test, result in found.items()]
    rows.insert(1, _test_row(*EQUAL_LENGTH, even, clusters))
    return {
        "wins": wins,
        "losses": losses,
        "ties": len(difference) - wins - losses,
        "win_rate": pairwise_accuracy(policy["reward"], reference["reward"], clusters),
        "win_rate_length_controlled": length_controlled_win_rate(half_ties(difference), words, seed, clusters),
        "win_rate_style_controlled": style["win_rate"],
        "style_coefficients": style["coefficients"],
        "style_left_out": style["left_out"],
        "reward_difference": mean(difference, clusters),
        "reward_difference_median": median(difference, clusters),
        "effect_size": effect_size(difference, seed, clusters),
        "tests": rows,
    }


def responses_against(reference: pd.DataFrame, policy: pd.DataFrame, seed: int) -> dict:
    """One policy's responses against another's to the same prompts, a tie being half a win; p-values are not corrected yet.

    Words, refusals and whether responses ended are tested among the prices, `preference_study.analysis.price.form_changes`.

    Args:
        reference, policy: as `describe_responses` takes them, in the same order of prompts. Where they have no rewards, nothing
            is said of them.
    """
    words = policy["words"].to_numpy() - reference["words"].to_numpy()
    grades = (policy["reading_grade"] - reference["reading_grade"]).dropna()
    clusters = reference["cluster"]
    of_grades = clusters[grades.index]
    repetition = policy["repetition"].to_numpy() - reference["repetition"].to_numpy()
    comparison = _by_reward(reference, policy, seed) if "reward" in policy else {"tests": []}
    comparison |= {
        "words_difference": mean(words, clusters),
        "words_difference_median": median(words, clusters),
        "reading_grade_difference": mean(grades, of_grades) if len(grades) else None,
        "reading_grade_difference_median": median(grades, of_grades) if len(grades) else None,
        "repetition_difference": mean(repetition, clusters),
    }
    found = {
        ("reading grade", "Wilcoxon"): (paired_tests(grades, of_grades)["wilcoxon"], of_grades),
        ("repetition", "Wilcoxon"): (paired_tests(repetition, clusters)["wilcoxon"], clusters),
    }
    for truth in TRUTHS:
        if truth in policy:
            comparison[truth] = mcnemar(reference[truth], policy[truth], clusters)
            comparison[truth] |= {"before": float(reference[truth].mean()), "after": float(policy[truth].mean())}
            found[truth, "McNemar"] = (comparison[truth], clusters)
    comparison["tests"] += [_test_row(*name, result, of) for name, (result, of) in found.items()]
    return comparison


def policy_against_base(
    base: pd.DataFrame, policy: pd.DataFrame, base_logps: pd.DataFrame, logps: pd.DataFrame, seed: int
) -> dict:
    """One policy against base: its responses, and its ranking of the validation pairs; p-values are not corrected yet.

    Args:
        base, policy: as `responses_against` takes them.
        base_logps, logps: as `describe_policy` takes them, of the same validation pairs in the same order.
    """
    ranked, base_ranked = (table["chosen_logp"] > table["rejected_logp"] for table in (logps, base_logps))
    implicit = (logps["chosen_logp"] - base_logps["chosen_logp"]) - (logps["rejected_logp"] - base_logps["rejected_logp"])
    of_pairs = base_logps["cluster"]
    comparison = responses_against(base, policy, seed)
    comparison["likelihood"] = mcnemar(base_ranked, ranked, of_pairs)
    comparison["tests"] += [
        # Base's implicit accuracy is one half by definition, so the test against base is one against one half.
        _test_row("implicit accuracy", "sign", sign_test(implicit, of_pairs), of_pairs),
        _test_row("likelihood accuracy", "McNemar", comparison["likelihood"], of_pairs),
    ]
    return comparison


def evidence(reference: pd.DataFrame, policy: pd.DataFrame, smallest: dict[str, float]) -> dict:
    """Per outcome, reward and gold, whether the difference is smaller than the one that matters, and how exactly it is known.

    Args:
        reference, policy: as `responses_against` takes them.
        smallest: win_rate, from one half, and gold_rate: the smallest differences that matter.
    """
    found = {}
    if "reward" in policy:
        points = half_ties(policy["reward"].to_numpy() - reference["reward"].to_numpy())
        found["reward"] = win_rate_evidence(points, reference["cluster"], smallest["win_rate"])
    if "gold" in policy:
        found["gold"] = rate_evidence(reference["gold"], policy["gold"], reference["cluster"], smallest["gold_rate"])
    return found


def correct_tests(comparisons: dict[str, dict], rights: dict[str, dict], reference: str = "base") -> None:
    """Add, in place, Holm's corrections and the verdicts.

    The tests that verdicts go by are one family over all policies; those that only describe are another; and so are the tests
    that a difference is smaller than matters.

    Args:
        comparisons: per policy what `responses_against` or `policy_against_base` returned, with `evidence`.
        rights: per policy the reward model's right to judge it, as `verdict` takes it.
        reference: the policy they are held against.
    """
    rows = [row for comparison in comparisons.values() for row in comparison["tests"]]
    of_verdicts = [row for row in rows if (row["outcome"], row["test"]) in VERDICT_TESTS]
    for family in (of_verdicts, [row for row in rows if (row["outcome"], row["test"]) not in VERDICT_TESTS]):
        holm_in_place((row, "p") for row in family)
    holm_in_place((row, "p_equivalent") for comparison in comparisons.values() for row in comparison["evidence"].values())
    for policy, comparison in comparisons.items():
        comparison["tests_of_verdicts"] = len(of_verdicts)
        comparison["verdict"] = verdict(policy, comparison, rights[policy], reference)


def compare_policies(
    responses: dict[str, pd.DataFrame],
    logps: dict[str, pd.DataFrame],
    betas: dict[str, float | None],
    seed: int,
    smallest: dict[str, float],
    right_to_judge: dict,
) -> dict:
    """metrics/policies.json.

    Args:
        responses: per policy, base among them, its scored responses; all in the same order of prompts.
        logps: per policy cluster, chosen_logp and rejected_logp of the validation pairs, all in the same order.
        betas: per policy besides base the beta of its implicit reward; None where it has none.
        smallest: as `evidence` takes it.
        right_to_judge: of the reward model that gave the rewards.
    """
    metrics = {
        policy: describe_policy(responses[policy], logps[policy], logps["base"], beta, seed)
        for policy, beta in ({"base": 1.0} | betas).items()
    }
    metrics["base"]["implicit_accuracy"] |= {"low": None, "high": None}  # one half by definition
    comparisons = {m: policy_against_base(responses["base"], responses[m], logps["base"], logps[m], seed) for m in betas}
    for method, comparison in comparisons.items():
        comparison["evidence"] = evidence(responses["base"], responses[method], smallest)
        if "gold" in responses["base"]:
            comparison["judge_agrees_with_gold"] = agreement_with_gold(responses["base"], responses[method])
    correct_tests(comparisons, {method: right_over(right_to_judge, {display_name(method): method}) for method in betas})
    for method, comparison in comparisons.items():
        # The original study's test: it is reported and is no part of a family.
        unpaired = unpaired_t(responses[method]["reward"], responses["base"]["reward"])
        row = _test_row("reward", "unpaired t", unpaired, responses["base"]["cluster"])
        comparison["tests"].append(row | {"p_holm": None, "note": UNPAIRED})
        metrics[method]["against_base"] = comparison
    return metrics
