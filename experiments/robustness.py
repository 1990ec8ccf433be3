"""Variants of the reward model plain, perturbed, and choosing among several responses, over seeds: experiments that differ by
seed alone -> experiments/results/robustness.json.

python -m experiments.robustness NAME [NAME ...]      experiments, branches or commits, such as what make robustness made
"""

import argparse
from functools import partial

from experiments.runs import collected, load, shared_parameters
from experiments.variants import MEASURES
from preference_study.analysis.statistics import mean
from preference_study.analysis.variants import STANDARD
from preference_study.artifacts import write_json

FILE = "experiments/results/robustness.json"
OTHERS = {"stress": "compare_stress", "best_of_n": "compare_best_of_n"}  # metrics files beside variants.json, and their stages


def of_one(name: str, variants: dict, stress: dict, best_of_n: dict) -> dict[str, dict]:
    """Per scorer of an experiment its row of robustness.json, as `collect` returns it.

    Args:
        name: of the experiment.
        variants, stress, best_of_n: its metrics files of these names.

    Raises:
        ValueError: the three do not compare the same reward models, or compare none, or their responses have no truth.
    """
    if not variants or not set(variants) == set(stress["scorers"]) == set(best_of_n):
        raise ValueError(
            f"{name} does not compare the same reward models in all three: stress.variants, stress.max_pairs, best_of_n.variants"
        )
    scorers = {}
    for scorer, plain in variants.items():
        last, perturbed = best_of_n[scorer]["curve"][-1], stress["scorers"][scorer]
        if "gold" not in last:
            raise ValueError(f"{name}: its data has no truth to choose responses by")
        scorers[scorer] = {measure: plain[key] for measure, key in MEASURES.items()} | {
            "perturbed_pairs": perturbed["n"],
            "worst": perturbed["worst"],
            "best": {"n": last["n"], "gold": last["gold"], "gain": last["gain"]["gold"]},
        }
    return scorers


def collect(others: dict[str, dict[str, dict]], runs: list[tuple[str, dict, dict]]) -> dict:
    """experiments/results/robustness.json.

    Args:
        others: per experiment, by its name, its stress and best_of_n, as `of_one` takes them.
        runs: per experiment its name, its parameters by dotted name and its metrics/variants.json.

    Returns:
        {params, seeds, scorers}: the parameters but for the seed; and per scorer {seeds, gain, against_standard}:
        seeds, for each accuracy, longer_chosen, shorter_chosen, length, as metrics/variants.json has them; worst, the
        perturbation under which it is right least often, and its accuracy; best, gold of the response with the highest reward
        among n, and gain, what that is more than of one response;
        gain, the mean of these gains over seeds, with Student's interval, whose n counts seeds;
        against_standard, of others than the standard model, the same mean of their accuracy and of best's gold minus the
        standard model's of the same seed.

    Raises:
        ValueError: they differ by more than the seed, or two by nothing; or `of_one` refuses one.
    """
    runs = sorted(runs, key=lambda run: run[1]["seed"])
    fixed, seeds = shared_parameters(runs, {"seed": "seed"}), [params["seed"] for _, params, _ in runs]
    if len(set(seeds)) < len(seeds):
        raise ValueError("the same seed twice")
    rows = [of_one(name, variants, **others[name]) for name, _, variants in runs]
    scorers = {}
    for scorer in rows[0]:
        own = [row[scorer] for row in rows]
        scorers[scorer] = {"seeds": own, "gain": mean([row["best"]["gain"]["value"] for row in own])}
        if scorer != STANDARD and STANDARD in rows[0]:
            pairs = [(row, row_of[STANDARD]) for row, row_of in zip(own, rows, strict=True)]
            scorers[scorer]["against_standard"] = {
                "accuracy": mean([row["accuracy"]["value"] - standard["accuracy"]["value"] for row, standard in pairs]),
                "gold": mean([row["best"]["gold"]["value"] - standard["best"]["gold"]["value"] for row, standard in pairs]),
            }
    return {"params": fixed, "seeds": seeds, "scorers": scorers}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="+", metavar="NAME", help="an experiment, branch or commit")
    names = parser.parse_args().names
    others = {name: {file: load(name, f"metrics/{file}.json", stage)[2] for file, stage in OTHERS.items()} for name in names}
    found = collected(partial(collect, others), names, "metrics/variants.json", "compare_variants")
    write_json(FILE, found)
    print(f"{FILE}: {', '.join(found['scorers'])}; seeds {', '.join(map(str, found['seeds']))}")


if __name__ == "__main__":
    main()
