"""Policies and judge by the category of the prompt.

-> metrics/groups.json, metrics/transfer.json, metrics/summary/transfer.json and plots/groups/

python -m stages.compare_groups

Empty where the prompts have no categories, or the default one holds instructions that are no kinds.
"""

from pathlib import Path

import pandas as pd

from preference_study.analysis.groups import compare_groups, compare_transfer
from preference_study.artifacts import open_table, read_rows, write_csv, write_json, write_png
from preference_study.boundary import run
from preference_study.data.pairs import TAKEN, label
from preference_study.methods import display_name, named
from preference_study.params import load_params
from preference_study.report import figures
from preference_study.texts.gold import with_truth
from preference_study.texts.instructions import checkable

PLOTS = Path("plots/groups")


def transfer_row(transfer: dict, methods: list[str]) -> dict:
    """The few numbers of metrics/transfer.json that stand in a row of `dvc exp show`: {method: {measure: value}}, where the truth
    is known and some categories are not in training.
    """
    policies = transfer.get("not_in_training", {}).get("policies", {})
    return {
        method: {"gold_rate_not_in_training": policies[method]["gold_rate"]["value"]}
        for method in methods
        if "gold_rate" in policies.get(method, {})
    }


def main() -> None:
    params = load_params()
    methods = params.policy.methods
    scored = with_truth(read_rows("data/responses/scored.parquet"))
    pairs = read_rows("data/scores/pairs.parquet")
    training = open_table("data/prepared/train.parquet")
    metrics, transfer, column = {}, {}, params.generate.category
    if "category" not in scored and column not in (None, "instruction"):
        print(f"the prompts have no column {column!r}, which generate.category names: results are not told apart")
    # The default category names kinds that can be checked; an instruction of one's own is the prompt, and each a group by itself.
    if "category" in scored and (column != "instruction" or checkable(scored)):
        by_policy = {policy: scored[scored["policy"] == policy].set_index("id") for policy in ("base", *methods)}
        responses = {policy: rows.loc[by_policy["base"].index] for policy, rows in by_policy.items()}
        # What a stage added to the pairs is another thing of the same name.
        theirs = column not in TAKEN
        if column not in pairs or not theirs:
            print(f"the validation pairs have no column {column!r}: how often the judge is right there is not told")
        # As texts in one way on both sides, or a prompt and a pair of one category would be in two.
        labelled = pairs.assign(category=[label(cell) for cell in pairs[column]]) if column in pairs and theirs else None
        trained = None
        if column in training.schema_arrow.names and theirs:
            trained = pd.DataFrame({"category": map(label, training.read([column])[column].to_pylist())}, dtype=object)
            transfer = compare_transfer(responses, labelled, set(trained["category"].dropna()))
        metrics = compare_groups(responses, labelled, trained)
    write_json("metrics/groups.json", metrics)
    write_json("metrics/transfer.json", transfer)
    write_json("metrics/summary/transfer.json", transfer_row(transfer, methods))
    shown = {category: found | {"policies": named(found["policies"])} for category, found in metrics.items()}
    rows = figures.group_rows(shown, list(map(display_name, methods)))
    write_csv(PLOTS / "groups.csv", figures.or_not_measured(figures.without_markup(rows)))
    write_png(PLOTS / "groups.png", figures.groups(rows))


if __name__ == "__main__":
    run(main)
