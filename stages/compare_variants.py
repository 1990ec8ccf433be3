"""The reward models side by side on the validation pairs: accuracy and length -> metrics/variants.json and plots/variants/.

python -m stages.compare_variants

Empty where `stress.variants` names none: they are compared by the plain answers' rewards that stress_reward leaves.
"""

from pathlib import Path

import pandas as pd

from stages.lib import figures
from stages.lib.artifacts import read_json, read_table, write_csv, write_json, write_png
from stages.lib.params import load_params
from stages.lib.reward_comparison import compare
from stages.lib.scorers import scorers

PLOTS = Path("plots/variants")


def main() -> None:
    params = load_params()
    pairs = read_table("data/prepared/val.parquet").set_index("id")[["chosen_words", "rejected_words"]]
    marks, bias_only = {}, {}
    for variant in params.stress.variants:
        rows = pd.DataFrame(read_json(f"data/marks/stress/{variant}.json"))
        plain = rows[rows["perturbation"] == "none"].set_index("id").join(pairs).loc[pairs.index]
        marks |= scorers(variant, plain, ["chosen_reward", "rejected_reward"], params.reward.aggregate.spread_weight)
        learned = read_json(f"metrics/train_reward/{variant}.json")
        bias_only |= {variant: learned["bias_only"]} if "bias_only" in learned else {}
    metrics = compare(marks, bias_only, params.seed)
    write_json("metrics/variants.json", metrics)
    rows = figures.variant_rows(metrics)
    write_csv(PLOTS / "accuracy.csv", rows)
    if metrics:
        write_png(PLOTS / "accuracy.png", figures.variants(rows))


if __name__ == "__main__":
    main()
