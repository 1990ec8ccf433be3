"""How far each method's numbers lie apart between seeds: experiments that differ by seed alone
-> experiments/results/stability.json.

python -m experiments.stability                      every experiment of the current commit
python -m experiments.stability NAME [NAME ...]      these experiments, branches or commits
"""

import argparse

from experiments.rank import current
from experiments.runs import collected, shared_parameters
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
    params = shared_parameters(runs, {"seed": "the seed"})
    methods = {}
    for method in params["policy.methods"]:
        found = [metrics[method] | metrics[method]["against_base"] for _, _, metrics in runs]
        methods[method] = {key: [numbers[key]["value"] for numbers in found] for key in MEASURES if key in found[0]}
    return {"params": params, "seeds": seeds, "methods": methods}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="experiments, branches or commits; by default every experiment of this commit")
    names = parser.parse_args().names or current()
    if len(names) < 2:
        raise SystemExit("fewer than two experiments; dvc exp run --queue -S seed=1,2,3 and dvc exp run --run-all make three")
    found = collected(collect, names, "metrics/policies.json", "compare_policies")
    write_json("experiments/results/stability.json", found)
    print(f"experiments/results/stability.json: {len(found['methods'])} methods, seeds {', '.join(map(str, found['seeds']))}")


if __name__ == "__main__":
    main()
