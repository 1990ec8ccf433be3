"""The reward models side by side on the validation pairs: accuracy and length -> metrics/variants.json and plots/variants/.

python -m stages.compare_variants

The comparison is empty where `stress.variants` names none: they are compared by the plain responses' rewards that
stress_reward leaves. What every variant was before training, and its bias-only expert beside it, goes to
metrics/reward_training.json, and the losses logged in its training to plots/variants/.
"""

from pathlib import Path

import pandas as pd

from preference_study.analysis.scorers import scorers
from preference_study.analysis.variants import before_and_beside_training, compare_variants
from preference_study.artifacts import read_json, read_table, write_csv, write_json, write_png
from preference_study.boundary import run
from preference_study.params import load_params
from preference_study.report import figures

PLOTS = Path("plots/variants")
TRAINING = Path("plots/train_reward")


def logged(variants: list[str], measure: str, examples: str) -> dict[str, pd.DataFrame]:
    """Per variant, or per member where it is an ensemble, a measure that was logged in training: columns examples and value."""
    found = {}
    for variant in variants:
        for file in sorted((TRAINING / variant).rglob(f"{measure}.tsv")):
            values, seen = (pd.read_csv(path, sep="\t").set_index("step") for path in (file, file.with_name(f"{examples}.tsv")))
            name = " ".join(file.relative_to(TRAINING).parent.parts[:-2])  # without DVCLive's plots/metrics
            found[name] = pd.DataFrame({"examples": seen[examples], "value": values[measure]}).dropna()
    return found


def main() -> None:
    params = load_params()
    pairs = read_table("data/prepared/val.parquet").set_index("id")[["cluster", "chosen_words", "rejected_words"]]
    trained = {
        variant: before_and_beside_training(
            read_json(f"data/scores/training/{variant}.json"), pairs["cluster"].to_numpy(), params.seed
        )
        for variant in params.reward.variants
    }
    scored, bias_only = {}, {}
    for variant in params.stress.variants:
        rows = pd.DataFrame(read_json(f"data/scores/stress/{variant}.json"))
        plain = rows[rows["perturbation"] == "none"].drop(columns="cluster").set_index("id").join(pairs).loc[pairs.index]
        scored |= scorers(variant, plain, ["chosen_reward", "rejected_reward"], params.reward.aggregate.spread_weight)
        bias_only |= {variant: trained[variant]["bias_only"]} if "bias_only" in trained[variant] else {}
    metrics = compare_variants(scored, bias_only, params.seed)
    write_json("metrics/variants.json", metrics)
    write_json("metrics/reward_training.json", trained)
    rows = figures.variant_rows(metrics)
    write_csv(PLOTS / "accuracy.csv", figures.or_not_measured(rows))
    panels = []
    for name, measure, examples in (
        ("training", "loss", "examples"),
        ("validation", "validation_loss", "validation_examples"),
    ):
        losses = logged(params.reward.variants, measure, examples)
        steps = figures.training_rows(losses, "loss", list(losses))
        write_csv(PLOTS / f"{name}_loss.csv", figures.or_not_measured(steps))
        panels.append((f"{name} loss (nats a pair)", "loss", steps))
    write_png(PLOTS / "training.png", figures.training(panels))
    if metrics:
        write_png(PLOTS / "accuracy.png", figures.variants(rows))


if __name__ == "__main__":
    run(main)
