"""Several judges of the same answers: how often each is right, what it leans to, its verdict, and how far they agree."""

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from preference_study.analysis.agreement import alpha, counted
from preference_study.analysis.correction import corrected
from preference_study.analysis.evidence import win_rate_evidence
from preference_study.analysis.judge import agreement_with_gold, right_to_judge
from preference_study.analysis.statistics import (
    half_ties,
    holm_in_place,
    mean,
    rank_correlation,
    share,
    sign_test,
    win_rate,
)
from preference_study.analysis.style import even_at_equal_length_p, length_controlled_win_rate
from preference_study.analysis.verdicts import EQUAL_LENGTH, REWARD, right_over, verdict
from preference_study.methods import display_name

LABELLED = 100  # prompts, at most half of them, whose gold corrects a judge's win rate
# Of a judge's cases, those that it may leave unanswered. It leaves them not at random, but what is long, or hard to tell, or what
# it will not speak of: of the others alone, where they are fewer, nothing follows for all.
MOST_UNANSWERED = 0.1
ASKED = ("responses", "pairs")


def compare_judges(
    judgements: Sequence[dict[str, Any]],
    pairs: pd.DataFrame,
    responses: dict[str, pd.DataFrame],
    baselines: dict[str, np.ndarray],
    smallest: float,
    seed: int,
) -> dict:
    """metrics/judges.json.

    Args:
        judgements: of each judge, the study's own first, as `preference_study.judges.judgement` gives them.
        pairs: validation pairs by id: cluster, chosen_words, rejected_words; on the sandbox chosen_gold and rejected_gold.
        responses: per policy, base among them, by id: cluster, words, and on the sandbox gold; in the same order.
        baselines: margins of the pairs, in their order, as `right_to_judge` takes them.
        smallest: the smallest difference of a win rate from one half that matters.
        seed: of bootstraps, and of the prompts whose gold is taken for labels.

    Returns:
        judges: per judge kind, counts, what `on_pairs` gives as `pairs`, and as `policies` per policy what `on_responses` gives,
        with `verdict`, and each with what `unanswered` gives: where it is too many there is no right to judge, or no verdict on
        the policy; known_gold; tests_of_verdicts: how many tests the verdicts go by, one family over all judges and policies;
        agreement: of responses and pairs, what `agreement` gives; disagreements: {cases, of}, how many of the policies'
        responses have one judge for and another against.
    """
    found = {one["name"]: _of_judge(one, pairs, responses, baselines, smallest, seed) for one in judgements}
    comparisons = {(name, policy): compared for name, judge in found.items() for policy, compared in judge["policies"].items()}
    rows = [row for compared in comparisons.values() for row in compared["tests"]]
    holm_in_place((row, "p") for row in rows)
    holm_in_place((compared["evidence"]["reward"], "p_equivalent") for compared in comparisons.values())
    for (name, policy), compared in comparisons.items():
        right = found[name]["pairs"]["right_to_judge"]
        if found[name]["kind"] == "own":
            right = right_over(right, {display_name(policy): policy})
        right = held(right, compared["unanswered"], f"{display_name(policy)}'s responses")
        said = verdict(policy, compared | {"tests_of_verdicts": len(rows)}, right)
        compared["verdict"] = {key: said[key] for key in ("reward", "reward_would_be", "length")}
        compared["verdict"]["seen"] = said["seen"]["reward"]
    clusters = {"responses": responses["base"]["cluster"], "pairs": pairs["cluster"]}
    tables = {of: points(judgements, of) for of in ASKED}
    return {
        "judges": found,
        "known_gold": "gold" in responses["base"],
        "tests_of_verdicts": len(rows),
        "agreement": {of: agreement(tables[of], clusters[of], seed) for of in ASKED},
        "disagreements": {"cases": int(disagree(tables["responses"]).sum()), "of": len(tables["responses"])},
    }


def _of_judge(
    judged: dict[str, Any],
    pairs: pd.DataFrame,
    responses: dict[str, pd.DataFrame],
    baselines: dict[str, np.ndarray],
    smallest: float,
    seed: int,
) -> dict:
    of_pairs = pd.DataFrame(judged["pairs"]).set_index("id")
    here = pairs.index.isin(of_pairs.index)
    some = pairs[here].join(of_pairs)
    counts = {key: value for key, value in judged.items() if key not in ("name", "kind", "texts", "unanswered", *ASKED)}
    none = judged.get("unanswered", {"responses": {}, "pairs": 0})  # none of a judge that reads whatever there is
    on = on_pairs(some, {name: np.asarray(margins)[here] for name, margins in baselines.items()}, seed)
    on["unanswered"] = unanswered(none["pairs"], len(some))
    on["right_to_judge"] = held(on["right_to_judge"], on["unanswered"], "validation pairs")
    of_responses, own = pd.DataFrame(judged["responses"]), {}
    for policy in responses:
        if policy != "base":
            rows = of_responses[of_responses["policy"] == policy].set_index("id")
            left_out = {"unanswered": unanswered(none["responses"].get(policy, 0), len(rows))}
            own[policy] = on_responses(rows, responses, policy, smallest, seed) | left_out
    return {"kind": judged["kind"], "counts": counts, "pairs": on, "policies": own}


def unanswered(cases: int, answered: int) -> dict:
    """{cases, of, too_many}: how many cases a judge left unanswered, of how many, and whether more than `MOST_UNANSWERED`."""
    of = cases + answered
    return {"cases": cases, "of": of, "too_many": cases > MOST_UNANSWERED * of}


def held(right_to_judge: dict, unanswered: dict, cases: str) -> dict:
    """The right to judge, which does not hold where too many cases are unanswered.

    Args:
        cases: what they are called.
    """
    if not unanswered["too_many"]:
        return right_to_judge
    reason = (
        f"it left {unanswered['cases']:,} of {unanswered['of']:,} {cases} unanswered, more than {MOST_UNANSWERED:.0%}, "
        "and not at random"
    )
    return right_to_judge | {"holds": False, "reasons": [*right_to_judge["reasons"], reason]}


def on_pairs(pairs: pd.DataFrame, baselines: dict[str, np.ndarray], seed: int) -> dict:
    """How often a judge is right on validation pairs, and what else it goes by.

    Args:
        pairs: preference, cluster, chosen_words, rejected_words; of a pairwise judge as_first and as_second (NaN where it was not
            asked); on the sandbox chosen_gold and rejected_gold.
        baselines: their margins of the same pairs.

    Returns:
        accuracy, and accuracy_longer_chosen, accuracy_shorter_chosen (null without such pairs); accuracy_gold, of pairs one of
        whose responses is gold, where it is known; prefers_longer: of pairs of unlike length; length_correlation: of the
        preference with the difference in log words, Spearman's; position: of a pairwise judge {first, consistent}, how often it
        takes what stands first, and how often both orders come to the same response; right_to_judge.
    """
    points, clusters = half_ties(pairs["preference"].to_numpy() - 0.5), pairs["cluster"].to_numpy()
    longer = np.sign((pairs["chosen_words"] - pairs["rejected_words"]).to_numpy())

    def of(rows: np.ndarray, values: np.ndarray = points) -> dict | None:
        return win_rate(values[rows], clusters[rows]) if rows.any() else None

    log_words = np.log1p(pairs["chosen_words"].to_numpy()) - np.log1p(pairs["rejected_words"].to_numpy())
    found = {
        "accuracy": win_rate(points, clusters),
        "accuracy_longer_chosen": of(longer > 0),
        "accuracy_shorter_chosen": of(longer < 0),
        "prefers_longer": of(longer != 0, np.where(longer > 0, points, 1 - points)),
        "length_correlation": rank_correlation(pairs["preference"], log_words, seed, clusters),
        "position": position(pairs, clusters) if "as_first" in pairs else None,
    }
    if "chosen_gold" in pairs:
        ahead = pairs["chosen_gold"].to_numpy(dtype=int) - pairs["rejected_gold"].to_numpy(dtype=int)
        found["accuracy_gold"] = of(ahead != 0, np.where(ahead > 0, points, 1 - points))
    scored = pairs.assign(chosen_reward=pairs["preference"], rejected_reward=1 - pairs["preference"])
    return found | {"right_to_judge": right_to_judge(scored, baselines)}


def position(judged: pd.DataFrame, clusters: np.ndarray) -> dict | None:
    """How often a pairwise judge takes what stands first, and how often both orders come to the same response.

    Args:
        judged: as_first and as_second: the preference for the same response in either place.

    Returns:
        {first, consistent}, shares of the cases it was asked about; None where there are none. A judge that goes by the texts
        alone has one half and one; one that goes by the place alone zero or one, and zero.
    """
    asked = judged["as_first"].notna().to_numpy()
    if not asked.any():
        return None
    one, other = (np.sign(judged.loc[asked, order].to_numpy(dtype=float) - 0.5) for order in ("as_first", "as_second"))
    same = (one == other) & (one != 0)
    return {"first": share((one - other) / 4 + 0.5, clusters[asked]), "consistent": share(same, clusters[asked])}


def on_responses(judged: pd.DataFrame, responses: dict[str, pd.DataFrame], policy: str, smallest: float, seed: int) -> dict:
    """One judge on one policy against base, a tie being half a win; p-values are not corrected yet.

    Args:
        judged: preference by id.
        responses, smallest, seed: as `compare_judges` takes them.

    Returns:
        wins, losses, ties, win_rate, win_rate_length_controlled, words_difference, evidence and tests as in
        metrics/policies.json; agrees_with_gold and corrected where gold is known.
    """
    ids = responses["base"].index[responses["base"].index.isin(judged.index)]
    base, own = (responses[name].loc[ids] for name in ("base", policy))
    preference, clusters = judged.loc[ids, "preference"].to_numpy(), base["cluster"].to_numpy()
    points, words = half_ties(preference - 0.5), (own["words"] - base["words"]).to_numpy()
    even = even_at_equal_length_p(points, words, clusters)
    sign = sign_test(preference - 0.5, clusters)
    tests = {REWARD: (sign or {}).get("p"), EQUAL_LENGTH: even}
    found = {
        "wins": int((points == 1).sum()),
        "losses": int((points == 0).sum()),
        "ties": int((points == 0.5).sum()),
        "win_rate": win_rate(points, clusters),
        "win_rate_length_controlled": length_controlled_win_rate(points, words, seed, clusters),
        "words_difference": mean(words, clusters),
        "evidence": {"reward": win_rate_evidence(points, clusters, smallest)},
        "tests": [{"outcome": outcome, "test": test, "p": p} for (outcome, test), p in tests.items()],
    }
    if "gold" in base:
        rewarded = {"base": base.assign(reward=0.0), policy: own.assign(reward=preference - 0.5)}
        found["agrees_with_gold"] = agreement_with_gold(rewarded["base"], rewarded[policy])
        truth = half_ties(own["gold"].to_numpy(dtype=int) - base["gold"].to_numpy(dtype=int))
        found["corrected"] = with_labels(points, np.where(labelled(clusters, seed), truth, np.nan), clusters) | {
            "truth": win_rate(truth, clusters)
        }
    return found


def labelled(clusters: np.ndarray, seed: int, most: int = LABELLED) -> np.ndarray:
    """Which cases have a label, where any could have one: those of some clusters, each as likely as another.

    Their number is that of so many cases, or half of all, where clusters are of one size; a single one would tell nothing.
    """
    order = np.random.default_rng(seed).permutation(np.unique(clusters))
    count = min(most, len(clusters) // 2) * len(order) // len(clusters)
    return np.isin(clusters, order[:count] if count > 1 else [])


def with_labels(points: np.ndarray, labels: np.ndarray, clusters: np.ndarray) -> dict | None:
    """A judge's win rate beside what labels of some cases make of it.

    Args:
        points: 1 where the judge takes the policy's response, 0 where base's, one half for a tie.
        labels: the same by gold; NaN where there is none. Those that have one are a random sample.
        clusters: of the cases.

    Returns:
        {labels, uncorrected, labels_alone, rogan_gladen, prediction_powered, power_tuned}: how many labels; the judge's win rate
        on all cases; that of the labels alone; the corrections (null where all cases have a label, or none).
    """
    known = np.isfinite(labels)
    found = {"labels": int(known.sum()), "uncorrected": win_rate(points, clusters)}
    found["labels_alone"] = win_rate(labels[known], clusters[known]) if known.any() else None
    if known.all() or not known.any():
        return found | dict.fromkeys(("rogan_gladen", "prediction_powered", "power_tuned"))
    return found | corrected(points, labels, clusters)


def points(judgements: Sequence[dict[str, Any]], of: str) -> pd.DataFrame:
    """Each judge's point for the policy's or the chosen response, by id (and policy); NaN where it has none."""
    keys = ["id", "policy"] if of == "responses" else ["id"]
    columns = {}
    for one in judgements:
        table = pd.DataFrame(one[of], columns=[*keys, "preference"]).set_index(keys)["preference"]
        columns[one["name"]] = pd.Series(half_ties(table.to_numpy() - 0.5), table.index)
    table = pd.DataFrame(columns)
    return table[[one["name"] for one in judgements]]


def agreement(table: pd.DataFrame, clusters: pd.Series, seed: int) -> dict:
    """Krippendorff's alpha of all judges, and of every two: 1 where they agree, 0 where they do as by chance.

    Points are numbers (interval metric): a tie is half as far from a win as a loss is. Cases that a judge has nothing on are
    left to the others.

    Args:
        table: of `points`.
        clusters: by id.

    Returns:
        {all, two}: an estimate with a bootstrap interval over clusters, null where fewer than two judged or nothing varies; and
        per two judges {a, b, alpha, same}, same being the share of cases in which their points are equal.
    """
    labels = clusters.loc[table.index.get_level_values("id")].to_numpy()
    two = []
    for a, b in combinations(table.columns, 2):
        both = table[[a, b]].notna().all(axis=1).to_numpy()
        part = table.loc[both, [a, b]]
        same = share((part[a] == part[b]).to_numpy(), labels[both]) if both.any() else None
        two.append({"a": a, "b": b, "alpha": _alpha_of(part, labels[both], seed), "same": same})
    return {"all": _alpha_of(table, labels, seed), "two": two}


def _alpha_of(table: pd.DataFrame, clusters: np.ndarray, seed: int) -> dict | None:
    return alpha(counted(*(table[name] for name in table)), seed, clusters)


def disagree(table: pd.DataFrame) -> pd.Series:
    """In which cases one judge is for a response and another against it; a tie is neither."""
    return (table.max(axis=1) == 1) & (table.min(axis=1) == 0)


def disagreements(judgements: Sequence[dict[str, Any]], responses: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """The policies' responses on which judges disagree, those first on which their preferences lie furthest apart.

    Args:
        responses: as `compare_judges` takes them, with prompt (turns) and response.

    Returns:
        id, policy, prompt (its last turn), base, response, gold_base and gold_response where they are known, and per judge its
        preference, in a column of its name after "judge ".
    """
    found = points(judgements, "responses")
    rows = []
    preferences = {
        one["name"]: pd.DataFrame(one["responses"], columns=["id", "policy", "preference"]).set_index(["id", "policy"])[
            "preference"
        ]
        for one in judgements
    }
    for id, policy in found.index[disagree(found)]:
        base, own = responses["base"].loc[id], responses[policy].loc[id]
        row = {"id": id, "policy": policy, "prompt": base["prompt"][-1]["content"]}
        row |= {"base": base["response"], "response": own["response"]}
        if "gold" in base:
            row |= {"gold_base": bool(base["gold"]), "gold_response": bool(own["gold"])}
        rows.append(row | {f"judge {name}": own.get((id, policy)) for name, own in preferences.items()})
    heads = ["id", "policy", "prompt", "base", "response"]
    if not rows:
        return pd.DataFrame(columns=[*heads, *(f"judge {name}" for name in preferences)])
    table = pd.DataFrame(rows)
    own = table[[f"judge {name}" for name in preferences]].astype(float)
    return table.loc[(own.max(axis=1) - own.min(axis=1)).sort_values(ascending=False, kind="stable").index]
