"""What an experiment found that compares variants of the reward model: plain, perturbed, and choosing among several responses
-> experiments/results/robustness.json.

python -m experiments.robustness NAME      an experiment, branch or commit, such as what make robustness made
"""

import argparse

from experiments.runs import load
from preference_study.artifacts import write_json

FILE = "experiments/results/robustness.json"
PLAIN = {
    "accuracy": "accuracy",
    "longer_chosen": "accuracy_longer_chosen",
    "shorter_chosen": "accuracy_shorter_chosen",
    "length": "length_correlation_within_pairs",
}


def collect(params: dict, variants: dict, stress: dict, best_of_n: dict) -> dict:
    """experiments/results/robustness.json.

    Args:
        params: of the experiment, by dotted name.
        variants, stress, best_of_n: its metrics files of these names.

    Returns:
        {params, scorers}: per scorer accuracy, longer_chosen, shorter_chosen, length, as metrics/variants.json has them; worst,
        the perturbation under which it is right least often, and its accuracy; best, gold of the response with the highest
        reward among n, and gain, what that is more than of one response.

    Raises:
        ValueError: the three do not compare the same reward models, or compare none, or their responses have no truth.
    """
    if not variants or not set(variants) == set(stress["scorers"]) == set(best_of_n):
        raise ValueError(
            "it does not compare the same reward models in all three: stress.variants, stress.max_pairs, best_of_n.variants"
        )
    scorers = {}
    for scorer, plain in variants.items():
        last, perturbed = best_of_n[scorer]["curve"][-1], stress["scorers"][scorer]
        if "gold" not in last:
            raise ValueError("its data has no truth to choose responses by")
        scorers[scorer] = {name: plain[key] for name, key in PLAIN.items()} | {
            "perturbed_pairs": perturbed["n"],
            "worst": perturbed["worst"],
            "best": {"n": last["n"], "gold": last["gold"], "gain": last["gain"]["gold"]},
        }
    return {"params": params, "scorers": scorers}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", help="an experiment, branch or commit")
    name = parser.parse_args().name
    files = {"variants": "compare_variants", "stress": "compare_stress", "best_of_n": "compare_best_of_n"}
    runs = {file: load(name, f"metrics/{file}.json", stage) for file, stage in files.items()}
    try:
        found = collect(runs["variants"][1], **{file: metrics for file, (_, _, metrics) in runs.items()})
    except ValueError as error:
        raise SystemExit(f"{name}: {error}") from None
    write_json(FILE, found)
    print(f"{FILE}: {', '.join(found['scorers'])}")


if __name__ == "__main__":
    main()
