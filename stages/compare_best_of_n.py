"""Best of n by each reward model: its reward against the truth -> metrics/best_of_n.json and plots/best_of_n/.

python -m stages.compare_best_of_n

Empty where `best_of_n.variants` names none.
"""

from pathlib import Path

import pandas as pd

from preference_study.analysis.best_of_n import compare_best_of_n
from preference_study.analysis.scorers import is_ensemble, scorer_name, scorers
from preference_study.artifacts import read_dicts, read_json, write_csv, write_json, write_png
from preference_study.boundary import run
from preference_study.params import load_params
from preference_study.report import figures
from preference_study.texts.gold import with_truth
from preference_study.texts.words import words

PLOTS = Path("plots/best_of_n")


def main() -> None:
    params = load_params()
    samples = pd.DataFrame(read_dicts("data/responses/samples.parquet"))
    scored, metrics, judge = {}, {}, params.reward.judge
    for variant in params.best_of_n.variants:
        rows = pd.DataFrame(read_json(f"data/scores/best_of_n/{variant}.json"))
        scored |= scorers(variant, rows, ["reward"], params.reward.aggregate.spread_weight)
        if variant == params.reward.judge and is_ensemble(rows, ["reward"]):
            judge = scorer_name(variant, params.reward.aggregate.by)
    if scored:
        samples["words"] = [len(words(text)) for text in samples["response"]]
        metrics = compare_best_of_n(with_truth(samples), scored, judge, params.seed)
    write_json("metrics/best_of_n.json", metrics)
    rows = figures.best_of_n_rows(metrics)
    write_csv(PLOTS / "curves.csv", rows)
    write_png(PLOTS / "curves.png", figures.best_of_n(rows))


if __name__ == "__main__":
    run(main)
