"""What alignment changed, per policy and against base -> metrics/policies.json, plots/policies.{json,png}.

python -m stages.compare_policies
"""

import numpy as np
import pandas as pd

from stages.lib.artifacts import read_json, whole_file, write_json
from stages.lib.figures import policies_figure
from stages.lib.instructions import obeys
from stages.lib.params import load_params
from stages.lib.statistics import (
    effect_size,
    mcnemar,
    mean,
    paired_tests,
    pairwise_accuracy,
    proportion,
    standard_deviation,
)
from stages.lib.words import words


def describe(answers: pd.DataFrame, logps: pd.DataFrame, reference: pd.DataFrame, beta: float, seed: int) -> dict:
    """One policy on its own.

    Args:
        answers: its rows of the scored responses, with `words` and, on the sandbox, `obeyed`.
        logps: chosen_logp and rejected_logp per validation pair under the policy.
        reference: the same under the base model.
        beta: the implicit reward is beta (log pi - log pi_ref) (Rafailov et al. 2023, eq. 5). For the base model it is 0
            for every answer and its accuracy, all ties, one half.
    """
    chosen = beta * (logps["chosen_logp"] - reference["chosen_logp"]).to_numpy()
    rejected = beta * (logps["rejected_logp"] - reference["rejected_logp"]).to_numpy()
    implicit = np.concatenate([chosen, rejected])
    description = {
        "reward_mean": mean(answers["reward"]),
        "reward_std": standard_deviation(answers["reward"], seed),
        "words_mean": mean(answers["words"]),
        "finished": proportion(answers["finished"].sum(), len(answers)),
        "implicit_accuracy": pairwise_accuracy(chosen, rejected),
        "implicit_reward_mean": mean(implicit),
        "implicit_reward_std": standard_deviation(implicit, seed),
        "likelihood_accuracy": pairwise_accuracy(logps["chosen_logp"], logps["rejected_logp"]),
    }
    if "obeyed" in answers:
        description["gold_rate"] = proportion(answers["obeyed"].sum(), len(answers))
    return description


def against(base: pd.DataFrame, policy: pd.DataFrame, seed: int) -> dict:
    """One policy against base on the same prompts; both tables in the same order of prompts. A tie is half a win."""
    difference = policy["reward"].to_numpy() - base["reward"].to_numpy()
    wins, losses = int((difference > 0).sum()), int((difference < 0).sum())
    comparison = {
        "wins": wins,
        "losses": losses,
        "ties": len(difference) - wins - losses,
        "win_rate": pairwise_accuracy(policy["reward"], base["reward"]),
        "reward_difference": mean(difference),
        "effect_size": effect_size(difference, seed),
        "tests": paired_tests(difference),
        "words_difference": mean(policy["words"].to_numpy() - base["words"].to_numpy()),
    }
    if "obeyed" in policy:
        comparison["gold"] = mcnemar(base["obeyed"], policy["obeyed"])
    return comparison


def shares(metrics: dict) -> list[dict]:
    """Rows for dvc plots: every share in metrics/policies.json with its interval."""
    rows = []
    for policy, measures in metrics.items():
        found = measures | {"win_rate": measures["against_base"]["win_rate"]} if "against_base" in measures else measures
        for name in ("gold_rate", "win_rate", "finished", "implicit_accuracy"):
            if name in found:
                rows.append({"policy": policy, "measure": f"{name} of {policy}"} | found[name])
    return rows


def main() -> None:
    params = load_params()
    answers = pd.DataFrame(read_json("data/responses/Response_of_DPO_n_Ori_val_with_rm.json"))
    answers["words"] = answers["response"].map(lambda text: len(words(text)))
    if "instruction" in answers:
        answers["obeyed"] = [obeys(*row) for row in answers[["instruction", "response"]].itertuples(index=False)]
    by_policy = {name: rows.set_index("id") for name, rows in answers.groupby("policy", sort=False)}
    base = by_policy["base"]
    reference = pd.DataFrame(read_json("data/logps/base/val.json")).set_index("id")
    metrics = {}
    for policy in ("base", *params.policy.methods):
        rows = by_policy[policy].loc[base.index]
        logps = pd.DataFrame(read_json(f"data/logps/{policy}/val.json")).set_index("id").loc[reference.index]
        metrics[policy] = describe(rows, logps, reference, params.policy.beta, params.seed)
        if policy != "base":
            metrics[policy]["against_base"] = against(base, rows, params.seed)
    differences = {m: (by_policy[m].loc[base.index, "reward"] - base["reward"]).to_numpy() for m in params.policy.methods}
    write_json("metrics/policies.json", metrics)
    write_json("plots/policies.json", shares(metrics))
    with whole_file("plots/policies.png") as path:
        policies_figure(metrics, differences).savefig(path, dpi=120, format="png")


if __name__ == "__main__":
    main()
