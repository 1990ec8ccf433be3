"""Two experiments' answers to the same prompts: B held against A, where neither need be base."""

from typing import Any

import pandas as pd

from preference_study.analysis.judge import agreement_with_gold
from preference_study.analysis.methods import flat
from preference_study.analysis.policies import correct_tests, describe_responses, evidence, responses_against
from preference_study.analysis.price import add_to_verdict, correct_prices, form_changes
from preference_study.analysis.statistics import holm_in_place, mean, paired_tests
from preference_study.data.conversations import prompt_key
from preference_study.errors import BadInput
from preference_study.variants import VARIANTS

A, B = "A", "B"  # what the two are called in sentences
MARKS = ("headings", "list_items", "bold")
NOT_MEASURED = {"holds": False, "reasons": ["whether it has the right to judge was not measured"]}
NOT_THERE = "not there"
READ_BY_JUDGE = {"reward_model": "the reward model", "base_model": "the base model under it"}
SETTINGS = {"max_length": "reward.max_length", "aggregate": "reward.aggregate"}


def differing_parameters(a: dict, b: dict) -> list[dict[str, Any]]:
    """The parameters that differ: {name, a, b}, a parameter that one side does not have being `NOT_THERE`.

    Args:
        a, b: all of params.yaml, nested.
    """
    a, b = flat(a), flat(b)
    rows = [{"name": name, "a": a.get(name, NOT_THERE), "b": b.get(name, NOT_THERE)} for name in {**a, **b}]
    return [row for row in rows if row["a"] != row["b"]]


def why_judges_differ(a: dict, b: dict) -> list[str]:
    """Why rewards of two studies cannot be compared, an entry each; none where one judge gave them all.

    Args:
        a, b: what gave a study's rewards: name (the variant), reward_model and base_model (their files' hashes; None where not
            known), max_length, aggregate, and `stands`, whether the responses are those that were scored with it.
    """
    reasons = [
        f"the responses of {name} are not those that its dvc.lock tells the judge of"
        for name, side in ((A, a), (B, b))
        if not side["stands"]
    ]
    for key, told in READ_BY_JUDGE.items():
        if a[key] is None or a[key] != b[key]:
            reasons.append(f"{told} is not the same")
    one_model = all(side["name"] in VARIANTS and VARIANTS[side["name"]].members is None for side in (a, b))
    for key, told in SETTINGS.items():
        if a[key] != b[key] and not (key == "aggregate" and one_model):  # one model has nothing to sum up
            reasons.append(f"{told} is {_said(a[key])} in {A} and {_said(b[key])} in {B}")
    return reasons


def _said(value: Any) -> str:
    return ", ".join(f"{name} {item}" for name, item in value.items()) if isinstance(value, dict) else str(value)


def shared_right(a: dict | None, b: dict | None) -> dict:
    """Whether the judge that two studies share has the right to judge: where it has it on the validation pairs of both.

    Args:
        a, b: `right_to_judge` of metrics/reward.json; None where a study has none.
    """
    a, b = a or NOT_MEASURED, b or NOT_MEASURED
    reasons = a["reasons"]
    if a["reasons"] != b["reasons"]:
        reasons = [f"{reason} (of {name})" for name, side in ((A, a), (B, b)) for reason in side["reasons"]]
    return {"holds": a["holds"] and b["holds"], "reasons": reasons}


def pair_prompts(a: list[dict], b: list[dict]) -> tuple[pd.DataFrame, pd.DataFrame, dict]:
    """The responses to the prompts that both sides answered, in A's order, and what is left out.

    Args:
        a, b: one policy's responses each: id, prompt (turns), response and, where they are known, cluster and instruction.

    Returns:
        Both tables by id, and {paired, only_in_a, only_in_b, changed, repeated_in_a, repeated_in_b, same_response,
        clusters_differ}. A prompt is in both where its id and all its turns are the same; `changed` are those with the same id
        and other turns; of a prompt that stands there several times the first is taken, and the others are counted as repeated.
        Where both sides drew prompts together in other ways, both tables have the clusters of the one with fewer.

    Raises:
        BadInput: no prompt is in both.
    """
    whole = [pd.DataFrame(rows) for rows in (a, b)]
    tables = [table.drop_duplicates("id").set_index("id") for table in whole]
    keys = [table["prompt"].map(prompt_key) for table in tables]
    shared = keys[0].index[keys[0].index.isin(keys[1].index)]
    same = shared[(keys[0][shared] == keys[1][shared]).to_numpy()]
    if same.empty:
        raise BadInput(
            f"{A} answered {len(tables[0])} prompts and {B} {len(tables[1])}, and no prompt is in both: run them with the same "
            "data, data.seed, generate.prompts and generate.max_prompts"
        )
    paired = [table.loc[same] for table in tables]
    counts = {
        "paired": len(same),
        "only_in_a": len(tables[0]) - len(shared),
        "only_in_b": len(tables[1]) - len(shared),
        "changed": len(shared) - len(same),
        "repeated_in_a": len(whole[0]) - len(tables[0]),
        "repeated_in_b": len(whole[1]) - len(tables[1]),
        "same_response": int((paired[0]["response"] == paired[1]["response"]).sum()),
    }
    clusters = [table["cluster"] if "cluster" in table else pd.Series(same, same) for table in paired]
    counts["clusters_differ"] = bool((pd.factorize(clusters[0])[0] != pd.factorize(clusters[1])[0]).any())
    fewer = min(clusters, key=lambda labels: labels.nunique())
    paired = [table.assign(cluster=fewer) for table in paired]
    if not all("instruction" in table for table in paired) or not paired[0]["instruction"].equals(paired[1]["instruction"]):
        paired = [table.drop(columns="instruction", errors="ignore") for table in paired]
    return *paired, counts


def style_changes(a: pd.DataFrame, b: pd.DataFrame) -> list[dict]:
    """Headings, list items and bold phrases a response: {outcome, a, b, change, test, p, p_holm}, corrected over the three.

    Args:
        a, b: cluster and these columns, in the same order of prompts.
    """
    rows = []
    for mark in MARKS:
        change = b[mark].to_numpy() - a[mark].to_numpy()
        test = paired_tests(change, a["cluster"])["wilcoxon"] or {"p": None}
        row = {"outcome": mark, "a": mean(a[mark], a["cluster"]), "b": mean(b[mark], a["cluster"])}
        rows.append(row | {"change": mean(change, a["cluster"]), "test": "Wilcoxon", "p": test["p"]})
    holm_in_place((row, "p") for row in rows)
    return rows


def compare_experiments(
    a: pd.DataFrame, b: pd.DataFrame, judges_differ: list[str], right_to_judge: dict, smallest: dict[str, float], seed: int
) -> dict:
    """B's responses against A's to the same prompts.

    Args:
        a, b: from `pair_prompts`, with what `preference_study.texts.measures.measured` adds, and reward.
        judges_differ: from `why_judges_differ`. Where there is a reason, rewards are left out.
        right_to_judge: from `shared_right`, as `preference_study.analysis.verdicts.right_over` gives it of both policies.
        smallest: win_rate and gold_rate: the smallest differences that matter.
        seed: of the bootstraps.

    Returns:
        {a, b, b_against_a, form, style}: each side on its own, and B against A, as metrics/policies.json has of a policy and
        against base; changes of form as its `price`, from a to b. The verdict's sentence calls the two A and B.
    """
    if judges_differ:
        a, b = (table.drop(columns="reward") for table in (a, b))
    comparison = responses_against(a, b, seed)
    comparison["evidence"] = evidence(a, b, smallest)
    if {"gold", "reward"} <= set(a):
        comparison["judge_agrees_with_gold"] = agreement_with_gold(a, b)
    correct_tests({B: comparison}, {B: right_to_judge}, A)
    verdict = comparison["verdict"]
    if judges_differ:
        told = f"Rewards are not compared, for {' and '.join(judges_differ)}."
        no_truth = "No truth is known of these prompts either, so it is not said which is better."
        verdict["sentence"] = f"{told} {verdict['sentence'] or no_truth}"
    price = {"form": form_changes(a, b)}
    correct_prices({B: price})
    add_to_verdict(verdict, price, B)
    form = [
        {"a" if key == "base" else "b" if key == "policy" else key: value for key, value in row.items()} for row in price["form"]
    ]
    sides = {name: describe_responses(table, seed) for name, table in (("a", a), ("b", b))}
    return sides | {"b_against_a": comparison, "form": form, "style": style_changes(a, b)}
