"""The reward models side by side on the validation pairs: accuracy and length -> metrics/variants.json and plots/variants/.

python -m stages.compare_variants

Empty where `stress.variants` names none: they are compared by the plain answers' rewards that stress_reward leaves.
"""

from pathlib import Path

import pandas as pd

from preference_study.analysis.scorers import scorers
from preference_study.analysis.variants import compare_variants
from preference_study.artifacts import read_json, read_table, write_csv, write_json, write_png
from preference_study.params import load_params
from preference_study.report import figures

PLOTS = Path("plots/variants")


def main() -> None:
    params = load_params()
    pairs = read_table("data/prepared/val.parquet").set_index("id")[["chosen_words", "rejected_words"]]
    scored, bias_only = {}, {}
    for variant in params.stress.variants:
        rows = pd.DataFrame(read_json(f"data/scores/stress/{variant}.json"))
        plain = rows[rows["perturbation"] == "none"].set_index("id").join(pairs).loc[pairs.index]
        scored |= scorers(variant, plain, ["chosen_reward", "rejected_reward"], params.reward.aggregate.spread_weight)
        learned = read_json(f"metrics/train_reward/{variant}.json")
        bias_only |= {variant: learned["bias_only"]} if "bias_only" in learned else {}
    metrics = compare_variants(scored, bias_only, params.seed)
    write_json("metrics/variants.json", metrics)
    rows = figures.variant_rows(metrics)
    write_csv(PLOTS / "accuracy.csv", rows)
    if metrics:
        write_png(PLOTS / "accuracy.png", figures.variants(rows))


if __name__ == "__main__":
    main()
