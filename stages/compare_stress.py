"""What perturbed responses do to the reward models -> metrics/stress.json and plots/stress/; empty where none was measured.

python -m stages.compare_stress
"""

from pathlib import Path

import pandas as pd

from preference_study.analysis.scorers import is_ensemble, members, scorers
from preference_study.analysis.stress import compare_stress, ensemble_on_perturbations
from preference_study.artifacts import read_json, write_csv, write_json, write_png
from preference_study.boundary import run
from preference_study.params import load_params
from preference_study.report import figures

PLOTS = Path("plots/stress")
REWARDS = ["chosen_reward", "rejected_reward"]


def main() -> None:
    params = load_params()
    weight = params.reward.aggregate.spread_weight
    scored, ensembles = {}, {}
    for variant in params.stress.variants if params.stress.max_pairs != 0 else []:
        rows = pd.DataFrame(read_json(f"data/scores/stress/{variant}.json"))
        summed = scorers(variant, rows, REWARDS, weight)
        scored |= summed
        if is_ensemble(rows, REWARDS):
            ensembles[variant] = ensemble_on_perturbations(summed, members(rows, REWARDS), params.seed)
    found = compare_stress(scored, params.seed)
    write_json("metrics/stress.json", {"scorers": found, "ensembles": ensembles})
    rows = figures.stress_rows(found)
    write_csv(PLOTS / "accuracy.csv", figures.or_not_measured(rows))
    if scored:
        write_png(PLOTS / "accuracy.png", figures.stress(rows))


if __name__ == "__main__":
    run(main)
