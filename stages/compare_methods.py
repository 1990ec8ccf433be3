"""The methods side by side -> metrics/methods.json, metrics/methods_cost.json (times and memory) and plots/methods/.

python -m stages.compare_methods
"""

from pathlib import Path

import pandas as pd

from preference_study.analysis.methods import compare_methods, pair_matrix, training_costs
from preference_study.artifacts import read_json, read_rows, write_csv, write_json, write_png
from preference_study.boundary import run
from preference_study.methods import METHODS, display_name, named
from preference_study.params import load_params
from preference_study.report import figures
from preference_study.texts.gold import with_truth

PLOTS = Path("plots/methods")
SIDES = ("chosen", "rejected")
LABELS = {
    "reward": "mean reward of samples",
    "kl": "KL from base (nats a token)",
    "length": "mean length of samples (tokens)",
}
SERIES = {"loss": "loss", "reward": "reward", "kl": "kl", "length": "completions_mean_length"}


def responses_by_policy(scored: pd.DataFrame, methods: list[str]) -> dict[str, pd.DataFrame]:
    """The methods' scored responses and, last, base's, in the same order of prompts; on the sandbox with letter and gold."""
    scored = with_truth(scored)
    by_policy = {policy: scored[scored["policy"] == policy].set_index("id") for policy in (*methods, "base")}
    return {policy: rows.loc[by_policy["base"].index] for policy, rows in by_policy.items()}


def training(methods: list[str], measure: str) -> dict[str, pd.DataFrame]:
    """Per method that logged it, a measure of each training step: columns examples and value."""
    found = {}
    for method in methods:
        folder = Path("plots/train_policy") / method / "plots/metrics"
        if (folder / f"{measure}.tsv").exists():
            steps, seen = (pd.read_csv(folder / f"{name}.tsv", sep="\t").set_index("step") for name in (measure, "examples"))
            found[method] = pd.DataFrame({"examples": seen["examples"], "value": steps[measure]}).dropna()
    return found


def likelihoods(methods: list[str], betas: dict[str, float | None]) -> dict[tuple[str, str], pd.DataFrame]:
    """Per method, by its name, and side of the pairs, how much likelier its batches' responses were than to base.

    Columns examples and value. TRL logs beta times that, for methods with a reference; the batches' log-probabilities themselves
    go by the batches.
    """
    return {
        (display_name(method), side): steps.assign(value=steps["value"] / betas[method])
        for side in SIDES
        for method, steps in training([m for m in methods if betas[m] is not None], f"rewards_{side}").items()
    }


def online_curve(method: str, missing_eos_penalty: float) -> pd.DataFrame:
    """Where an online method's training led: columns kl (nats a response) and reward, of the steps in which it sampled.

    TRL logs the rewards that it trained on; what was taken off those of responses that did not end is given back here, so that
    they are the judge's. No rows where a number was not logged.
    """
    measures = {name: measure for name, measure in SERIES.items() if name != "loss"} | {"cut_off": "completions_clipped_ratio"}
    logged = {name: found[method]["value"] for name, measure in measures.items() if (found := training([method], measure))}
    steps = pd.DataFrame(logged, columns=list(measures)).dropna()
    return pd.DataFrame({"kl": steps["kl"] * steps["length"], "reward": steps["reward"] + missing_eos_penalty * steps["cut_off"]})


def main() -> None:
    params = load_params()
    methods = params.policy.methods
    scored = read_rows("data/responses/scored.parquet")
    policies = read_json("metrics/policies.json")
    trained = {method: read_json(f"metrics/train_policy/{method}.json") for method in methods}
    measured = {method: read_json(f"metrics/train_cost/{method}.json") for method in methods}
    responses = responses_by_policy(scored, methods)
    given = params.model_dump(mode="json")  # as a file has them: lists, where Python may have tuples
    table = compare_methods(responses, policies, trained, read_json("experiments/results/stability.json"), given)
    write_json("metrics/methods.json", table)
    write_json("metrics/methods_cost.json", training_costs(measured, {method: trained[method]["tokens"] for method in methods}))
    names = list(map(display_name, methods))
    rows = figures.method_rows(named(policies), names)
    write_csv(PLOTS / "methods.csv", figures.or_not_measured(rows))
    steps = {name: figures.training_rows(named(training(methods, measure)), name, names) for name, measure in SERIES.items()}
    for name, logged in steps.items():
        write_csv(PLOTS / f"training_{name}.csv", figures.or_not_measured(logged))
    # Losses have units of their own; rewards, KL and lengths can be read side by side.
    losses = [(f"loss of {method}", "loss", own) for method, own in steps["loss"].groupby("group", sort=False)]
    shared = [(label, name, steps[name]) for name, label in LABELS.items()]
    write_png(PLOTS / "training.png", figures.training([*losses, *shared]))
    logps = figures.logps_rows(likelihoods(methods, {m: trained[m]["implicit_beta"] for m in methods}), names)
    write_csv(PLOTS / "training_logps.csv", figures.or_not_measured(logps))
    write_png(PLOTS / "training_logps.png", figures.logps(logps))
    online = {
        method: online_curve(method, params.policy.own(method).missing_eos_penalty)
        for method in methods
        if METHODS[method].needs_reward_model
    }
    plane = figures.plane_rows(named(policies), read_json("metrics/best_of_n.json"), named(online), names)
    for measure in figures.PLANE:
        write_csv(PLOTS / f"plane_{measure}.csv", figures.or_not_measured(plane[plane["measure"] == measure]))
    write_png(PLOTS / "plane.png", figures.plane(plane))
    write_png(PLOTS / "methods.png", figures.method_shares(rows))
    matrix = pair_matrix(table["pairs"], ["base", *methods], "reward")
    write_png(PLOTS / "pairwise.png", figures.win_matrix([row | {"policy": display_name(row["policy"])} for row in matrix]))


if __name__ == "__main__":
    run(main)
