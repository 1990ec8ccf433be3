"""What wrong labels cost each way of training a reward model: DVC experiments that differ by reward.flipped and seed
-> experiments/noise.json and a table.

python -m experiments.noise                      every experiment of the current commit
python -m experiments.noise NAME [NAME ...]      these experiments, branches or commits
"""

import argparse

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from experiments.rank import current
from experiments.stability import load
from stages.lib.artifacts import write_json
from stages.lib.statistics import mean

VARIED = ("seed", "reward.flipped")


def collect(runs: list[tuple[str, dict, dict]]) -> dict:
    """experiments/noise.json.

    Args:
        runs: per experiment its name, its parameters by dotted name and its metrics/variants.json.

    Returns:
        {params, rows, losses}: the parameters but for those that vary; per run and scorer {flipped, seed, scorer, accuracy}; per
        scorer and share of flipped labels what it lost, the mean over seeds of accuracy without flips minus accuracy with them,
        with Student's interval, and against_standard, the standard model's loss minus its own, seed by seed: above zero where it
        loses less. n counts seeds.

    Raises:
        ValueError: they differ by more, two are the same, or a seed lacks the run without flips.
    """
    first = runs[0][1]
    for name, params, _ in runs:
        other = sorted(key for key in first | params if key not in VARIED and first.get(key) != params.get(key))
        if other:
            raise ValueError(f"{name} and {runs[0][0]} differ by more than {' and '.join(VARIED)}: {', '.join(other)}")
    rows = pd.DataFrame(
        [
            {"flipped": params["reward.flipped"], "seed": params["seed"], "scorer": scorer, "accuracy": row["accuracy"]["value"]}
            for _, params, metrics in runs
            for scorer, row in metrics.items()
        ]
    ).sort_values(["scorer", "flipped", "seed"], ignore_index=True)
    if rows.duplicated(["flipped", "seed", "scorer"]).any():
        raise ValueError("the same seed and share twice; name the experiments to be taken")
    table = rows.pivot(index="seed", columns=["scorer", "flipped"], values="accuracy")
    if table.isna().any(axis=None) or 0 not in set(rows["flipped"]):
        raise ValueError("every seed needs the same shares of flipped labels, 0 among them")
    losses = {}
    for scorer in rows["scorer"].unique():
        losses[scorer] = {}
        for share in sorted(set(rows["flipped"]) - {0}):
            lost = table[scorer, 0] - table[scorer, share]
            found = {"lost": mean(lost)}
            if "standard" in table and scorer != "standard":
                found["against_standard"] = mean((table["standard", 0] - table["standard", share]) - lost)
            losses[scorer][str(share)] = found
    fixed = {key: value for key, value in first.items() if key not in VARIED}
    return {"params": fixed, "rows": rows.to_dict("records"), "losses": losses}


def shown(found: dict) -> str:
    """The table: a row per scorer and share, accuracy seed by seed, and what was lost."""
    rows = pd.DataFrame(found["rows"])
    lines = []
    for (scorer, share), own in rows.groupby(["scorer", "flipped"], sort=False):
        seeds = " ".join(f"{value:.3f}" for value in own["accuracy"])
        line = f"{scorer:32} {share:4.0%} flipped   {np.mean(own['accuracy']):.3f}   ({seeds})"
        lost = found["losses"][scorer].get(str(share))
        lines.append(line + (f"   lost {lost['lost']['value']:+.3f}" if lost else ""))
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="experiments, branches or commits; by default every experiment of this commit")
    names = parser.parse_args().names or current()
    if not names:
        raise SystemExit("no experiments; the README's section on wrong labels says how to make them")
    try:
        bar = tqdm(names, desc="reading", unit="experiment", leave=False)
        found = collect([load(name, "metrics/variants.json", "compare_variants") for name in bar])
    except ValueError as error:
        raise SystemExit(str(error)) from None
    write_json("experiments/noise.json", found)
    print(shown(found))


if __name__ == "__main__":
    main()
