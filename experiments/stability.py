"""How far each method's numbers lie apart between seeds: experiments that differ by seed alone
-> experiments/results/stability.json.

python -m experiments.stability                      every experiment of the current commit
python -m experiments.stability NAME [NAME ...]      these experiments, branches or commits
"""

import argparse
import json

import dvc.api
from dvc.exceptions import DvcException
from tqdm.auto import tqdm

from experiments.rank import current
from preference_study.analysis.methods import flat
from preference_study.artifacts import write_json

MEASURES = ("gold_rate", "letter_rate", "win_rate", "win_rate_length_controlled", "words_mean")


def collect(runs: list[tuple[str, dict, dict]]) -> dict:
    """experiments/results/stability.json.

    Args:
        runs: per experiment its name, its parameters by dotted name and its metrics/policies.json.

    Returns:
        {params, seeds, methods}: the parameters but for the seed; per method and measure one value a seed, in the order of seeds.

    Raises:
        ValueError: they differ by more than the seed, or two have the same.
    """
    runs = sorted(runs, key=lambda run: run[1]["seed"])
    seeds = [params["seed"] for _, params, _ in runs]
    if len(set(seeds)) < len(seeds):
        told = ", ".join(f"{name} has {seed}" for (name, _, _), seed in zip(runs, seeds, strict=True))
        raise ValueError(f"the same seed twice: {told}; name those to be taken")
    first = runs[0][1]
    for name, params, _ in runs:
        other = sorted(key for key in first | params if key != "seed" and first.get(key) != params.get(key))
        if other:
            raise ValueError(f"{name} and {runs[0][0]} differ by more than the seed: {', '.join(other)}; name those to be taken")
    methods = {}
    for method in first["policy.methods"]:
        found = [metrics[method] | metrics[method]["against_base"] for _, _, metrics in runs]
        methods[method] = {key: [numbers[key]["value"] for numbers in found] for key in MEASURES if key in found[0]}
    return {"params": {key: value for key, value in first.items() if key != "seed"}, "seeds": seeds, "methods": methods}


def load(revision: str, file: str, stage: str) -> tuple[str, dict, dict]:
    """An experiment's name, its parameters by dotted name, and a metrics file.

    Raises:
        SystemExit: it has no such file; `stage` is the one that writes it.
    """
    try:
        params = flat(dvc.api.params_show("params.yaml", rev=revision))
        return revision, params, json.loads(dvc.api.read(file, rev=revision))
    except (DvcException, FileNotFoundError) as error:
        raise SystemExit(f"{revision}: {error}; run the experiment as far as {stage}") from None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="experiments, branches or commits; by default every experiment of this commit")
    names = parser.parse_args().names or current()
    if len(names) < 2:
        raise SystemExit("fewer than two experiments; dvc exp run --queue -S seed=1,2,3 and dvc exp run --run-all make three")
    try:
        bar = tqdm(names, desc="reading", unit="experiment", leave=False)
        found = collect([load(name, "metrics/policies.json", "compare_policies") for name in bar])
    except ValueError as error:
        raise SystemExit(str(error)) from None
    write_json("experiments/results/stability.json", found)
    print(f"experiments/results/stability.json: {len(found['methods'])} methods, seeds {', '.join(map(str, found['seeds']))}")


if __name__ == "__main__":
    main()
