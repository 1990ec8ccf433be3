"""Two experiments on one page: B's answers against A's to the same prompts, where neither need be base.

    python -m preference_study.compare HEAD other-beta
    python -m preference_study.compare v1 workspace --method dpo
    python -m preference_study.compare HEAD HEAD --method dpo --other-method simpo --output reports/simpo.html

A and B are anything that git or DVC knows: a commit, a branch, a tag, an experiment; workspace is what lies in the working tree.
Nothing is run and nothing is checked out: what is read is in git, and in DVC's cache or on its remote.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from preference_study.analysis.experiments import (
    A,
    B,
    compare_experiments,
    differing_parameters,
    pair_prompts,
    shared_right,
    why_judges_differ,
)
from preference_study.analysis.verdicts import right_over
from preference_study.artifacts import whole_file, write_json
from preference_study.errors import BadInput
from preference_study.methods import display_name
from preference_study.params import load_params
from preference_study.report.comparison import render_comparison
from preference_study.revisions import Study, read_study
from preference_study.texts.measures import measured

OUTCOMES = ("win_rate", "gold_rate")
ANSWERED_BY = (  # how the names of parameters begin by which responses come to be, beside model and policy themselves
    "generate.max_new_tokens", "generate.temperature", "generate.top_p", "generate.engine", "model.system_prompt",
    "model.chat_template", "model.template_arguments", "model.date",
)  # fmt: skip


def choose_policy(study: Study, wanted: str | None, option: str) -> str:
    """The policy whose answers are compared: the one wanted, or the only one that was trained.

    Args:
        option: of the command line, which says the one wanted.

    Raises:
        BadInput: it did not answer there, or none is wanted and there are several.
    """
    there = study.policies()
    if wanted:
        if wanted not in there:
            raise BadInput(f"{study.revision}: {wanted} did not answer there; {', '.join(there)} did: {option} says which")
        return wanted
    trained = [policy for policy in there if policy != "base"]
    if len(trained) != 1:
        raise BadInput(f"{study.revision}: {', '.join(there)} answered there: {option} says which is meant")
    return trained[0]


def smallest_differences(a: dict, b: dict) -> dict[str, float]:
    """The smallest differences that matter: of those that both studies' parameters name, each time the smaller.

    Args:
        a, b: all of params.yaml. Where neither names them, those of the working tree are taken.
    """
    named = [found for params in (a, b) if (found := params.get("verdict", {}).get("smallest_difference"))]
    named = named or [load_params().verdict.smallest_difference.model_dump()]
    return {outcome: min(found[outcome] for found in named) for outcome in OUTCOMES}


def notes(parameters: list[dict], counts: dict) -> list[str]:
    """What a reader must know beside the verdict.

    Args:
        parameters: from `differing_parameters`.
        counts: from `pair_prompts`.
    """
    told = [
        f"{row['name']} is {row['a']} in A and {row['b']} in B, so the answers were made in other ways"
        for row in parameters
        if row["name"].startswith(ANSWERED_BY)
    ]
    left = counts["only_in_a"] + counts["only_in_b"] + counts["changed"]
    if left:
        told.append(f"{left} prompts are in one of both alone, or read otherwise there, and are left out")
    if counts["clusters_differ"]:
        told.append("the two drew prompts together in other ways; the clusters are those of the one with fewer")
    return [f"{note}." for note in told]


def compare(a: Study, b: Study, method: str | None = None, other_method: str | None = None) -> tuple[dict, list[dict]]:
    """Everything that the page and the JSON say, and the paired responses.

    Args:
        method: the policy of both.
        other_method: B's, where it is another.

    Raises:
        BadInput: a method did not answer there, both sides are the same, or no prompt is in both.
    """
    chosen = choose_policy(a, method, "--method"), choose_policy(b, other_method or method, "--other-method")
    if a.identity == b.identity and a.revision == b.revision and chosen[0] == chosen[1]:
        raise BadInput(f"both sides are {display_name(chosen[0])} of {a.revision}: name another revision or --other-method")
    *tables, counts = pair_prompts(a.of(chosen[0]), b.of(chosen[1]))
    parameters, differs = differing_parameters(a.params, b.params), why_judges_differ(a.judge, b.judge)
    if not differs:  # in two studies' batches one text's two rewards differ in the last digits, and are a tie all the same
        same = tables[0]["response"] == tables[1]["response"]
        tables[1] = tables[1].assign(reward=tables[1]["reward"].where(~same, tables[0]["reward"]))
    right, smallest = shared_right(a.right_to_judge, b.right_to_judge), smallest_differences(a.params, b.params)
    over = right_over(right, {A: chosen[0], B: chosen[1]})
    measures = [measured(table)[0] for table in tables]
    found = compare_experiments(*measures, differs, over, smallest, b.params["seed"])
    for side, study, policy in (("a", a, chosen[0]), ("b", b, chosen[1])):
        called = f"{display_name(policy)} of {study.revision}"
        found[side] = {"called": called, "method": policy, "revision": study.revision, **study.identity, "responses": found[side]}
    found |= {
        "prompts": counts,
        "parameters": parameters,
        "judge": {"name": a.judge["name"], "differs": differs, "right_to_judge": None if differs else over},
        "smallest": smallest,
        "seed": b.params["seed"],
        "notes": notes(parameters, counts),
    }
    shown = [table.drop(columns="reward") if differs else table for table in tables]
    rows = [
        row for side, table in zip("ab", shown, strict=True) for row in table.assign(policy=side).reset_index().to_dict("records")
    ]
    return found, rows


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("a", metavar="A", help="a revision, which B is held against")
    parser.add_argument("b", metavar="B", help="another")
    parser.add_argument("--method", help="the policy, base among them (the only one that was trained)")
    parser.add_argument("--other-method", help="B's policy, where it is another than A's")
    parser.add_argument("--output", type=Path, default=Path("reports/compare.html"), help="the page (%(default)s)")
    parser.add_argument("--json", type=Path, help="the numbers (beside the page, with the ending .json)")
    given = parser.parse_args(arguments)
    studies = []
    for name in (given.a, given.b):
        print(f"Reading {name} ...", flush=True)
        studies.append(read_study(name))
    print("Comparing ...", flush=True)
    found, rows = compare(*studies, given.method, given.other_method)
    numbers = given.json or given.output.with_suffix(".json")
    write_json(numbers, found)
    page = render_comparison(found, rows)
    with whole_file(given.output) as path:
        path.write_text(page, encoding="utf-8")
    for side in ("a", "b"):
        commit = (found[side]["commit"] or "no commit")[:7]
        print(f"{side.upper()} is {found[side]['called']} ({commit}{', changed' if found[side]['changed'] else ''})")
    print(f"{found['prompts']['paired']} prompts in common. {found['b_against_a']['verdict']['sentence']}")
    print("\n".join(found["notes"] + [f"The page: {given.output}; its numbers: {numbers}"]))


if __name__ == "__main__":
    main()
