"""What perturbed answers do to the reward models -> metrics/stress.json and plots/stress/; empty where none was measured.

python -m stages.compare_stress
"""

from pathlib import Path

import pandas as pd

from stages.lib import figures
from stages.lib.artifacts import read_json, write_csv, write_json, write_png
from stages.lib.params import load_params
from stages.lib.stress import analyse

PLOTS = Path("plots/stress")


def main() -> None:
    params = load_params()
    variants = params.stress.variants
    marks = {variant: pd.DataFrame(read_json(f"data/marks/stress/{variant}.json")) for variant in variants}
    metrics = analyse(marks, params.seed)
    write_json("metrics/stress.json", metrics)
    rows = figures.stress_rows(metrics)
    write_csv(PLOTS / "accuracy.csv", rows)
    if variants:
        write_png(PLOTS / "accuracy.png", figures.stress(rows))


if __name__ == "__main__":
    main()
