"""Ways of training a reward model over seeds and shares of wrong labels: DVC experiments that differ by seed and reward.flipped
-> experiments/results/variants.json and a table.

python -m experiments.variants                                     every experiment of the current commit
python -m experiments.variants NAME [NAME ...]                     these experiments, branches or commits
python -m experiments.variants --output FILE [NAME ...]            into another file
python -m experiments.variants --add [NAME ...]                    beside what the file already has
"""

import argparse

import pandas as pd

from experiments.rank import current
from experiments.runs import collected, shared_parameters
from preference_study.analysis.methods import bears_on_judge
from preference_study.analysis.statistics import mean
from preference_study.analysis.variants import STANDARD
from preference_study.artifacts import read_json, write_json
from preference_study.numbers import decimal, with_interval

VARIED = {name: name for name in ("seed", "reward.flipped")}
MEASURES = {
    "accuracy": "accuracy",
    "longer_chosen": "accuracy_longer_chosen",
    "shorter_chosen": "accuracy_shorter_chosen",
    "length": "length_correlation_within_pairs",
}


def collect(runs: list[tuple[str, dict, dict]]) -> dict:
    """experiments/results/variants.json.

    Args:
        runs: per experiment its name, its parameters by dotted name and its metrics/variants.json.

    Returns:
        {params, rows, scorers}: the parameters but for those that vary; per run and scorer {flipped, seed, scorer, accuracy,
        longer_chosen, shorter_chosen, length}, accuracy also where the longer or the shorter response was chosen, null where no
        pair is such a one, and length being the correlation of margin and length within pairs; and per scorer and share of
        flipped labels means over seeds with Student's intervals, whose n counts seeds:
        the same four, but for those that are null in a run;
        lost, accuracy without flips minus accuracy with them;
        against_standard, of the same seed and share: accuracy and shorter_chosen, its own minus the standard model's; length,
        the same of absolute length, below zero where it goes less by length; length_shift, the same of length with its sign,
        which tells a cure that goes too far from one that does nothing; lost, the standard model's minus its own, above zero
        where it loses less.

    Raises:
        ValueError: they differ by more, one compares no reward models, or `summed_up` refuses them.
    """
    for name, _, metrics in runs:
        if not metrics:
            raise ValueError(f"{name} compares no reward models; name them in stress.variants")
    fixed = shared_parameters(runs, VARIED)
    rows = [
        {"flipped": params["reward.flipped"], "seed": params["seed"], "scorer": scorer}
        | {name: row[key]["value"] for name, key in MEASURES.items()}
        for _, params, metrics in runs
        for scorer, row in metrics.items()
    ]
    return summed_up(fixed, rows)


def added(before: dict, now: dict) -> dict:
    """Both files' runs in one, as `collect` returns it.

    Raises:
        ValueError: they were measured with other parameters that bear on one of the reward models, or `summed_up` refuses them.
    """
    one, other, scorers = before["params"], now["params"], {row["scorer"] for row in before["rows"] + now["rows"]}
    differing = [
        key for key in one | other if one.get(key) != other.get(key) and any(bears_on_judge(key, scorer) for scorer in scorers)
    ]
    if differing:
        raise ValueError(f"the file was measured with other parameters: {', '.join(differing)}; leave --add out to begin anew")
    return summed_up(now["params"], before["rows"] + now["rows"])


def summed_up(params: dict, rows: list[dict]) -> dict:
    """The rows of all runs with what they come to, as `collect` returns it.

    Raises:
        ValueError: two runs of a scorer are the same, or a seed lacks a scorer, a share or the run without flips.
    """
    rows = pd.DataFrame(rows).sort_values(["scorer", "flipped", "seed"], ignore_index=True)
    if rows.duplicated(["flipped", "seed", "scorer"]).any():
        raise ValueError("the same seed and share twice; name the experiments to be taken")
    # A column per scorer and share, a row per seed.
    columns = {name: rows.pivot(index="seed", columns=["scorer", "flipped"], values=name) for name in MEASURES}
    accuracy, length, shorter = (columns[name] for name in ("accuracy", "length", "shorter_chosen"))
    if accuracy.isna().any(axis=None) or 0 not in set(rows["flipped"]):
        raise ValueError("every seed needs the same reward models and shares of flipped labels, 0 among them")
    lost = {(scorer, share): accuracy[scorer, 0] - accuracy[scorer, share] for scorer, share in accuracy if share}
    known = {name: values for name, values in columns.items() if values.notna().all(axis=None)}
    scorers = {scorer: {} for scorer in rows["scorer"].unique()}
    for scorer, share in accuracy:
        own, standard = (scorer, share), (STANDARD, share)
        found = {name: mean(values[own]) for name, values in known.items()}
        against = {}
        if scorer != STANDARD and STANDARD in scorers:
            against = {"accuracy": mean(accuracy[own] - accuracy[standard])}
            if "shorter_chosen" in known:
                against["shorter_chosen"] = mean(shorter[own] - shorter[standard])
            against["length"] = mean(length[own].abs() - length[standard].abs())
            against["length_shift"] = mean(length[own] - length[standard])
        if share:
            found["lost"] = mean(lost[own])
            if against:
                against["lost"] = mean(lost[standard] - lost[own])
        scorers[scorer][str(share)] = found | ({"against_standard": against} if against else {})
    return {"params": params, "rows": rows.to_dict("records"), "scorers": scorers}


def shown(found: dict) -> str:
    """A table: a row per scorer and share, each measure seed by seed and its mean, and what differs from the standard model."""
    lines = []
    for (scorer, share), own in pd.DataFrame(found["rows"]).groupby(["scorer", "flipped"], sort=False):
        numbers = found["scorers"][scorer][str(share)]
        line = f"{scorer}, {share:.0%} flipped"
        for name in [name for name in MEASURES if name in numbers]:
            each = " ".join(decimal(value, 3, signed=True) for value in own[name])
            line += f"\n  {name:16}{decimal(numbers[name]['value'], 3, signed=True)}   ({each})"
        if "lost" in numbers:
            line += f"\n  {'lost':16}{_interval(numbers['lost'])}"
        for name, change in numbers.get("against_standard", {}).items():
            line += f"\n  {name} against standard: {_interval(change)}"
        lines.append(line)
    return "\n".join(lines)


def _interval(change: dict) -> str:
    return f"{with_interval(change, 3, signed=True)}, {change['n']} seed{'s' if change['n'] > 1 else ''}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="experiments, branches or commits; by default every experiment of this commit")
    parser.add_argument("--output", default="experiments/results/variants.json", help="%(default)s unless told")
    parser.add_argument("--add", action="store_true", help="beside what the file has")
    arguments = parser.parse_args()
    names = arguments.names or current()
    if not names:
        raise SystemExit("no experiments; docs/results/reward_models.md says how to make them")
    found = collected(collect, names, "metrics/variants.json", "compare_variants")
    if arguments.add:
        try:
            found = added(read_json(arguments.output), found)
        except ValueError as error:
            raise SystemExit(str(error)) from None
    write_json(arguments.output, found)
    print(shown(found))


if __name__ == "__main__":
    main()
