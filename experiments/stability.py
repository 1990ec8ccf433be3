"""How far each method's numbers lie apart between seeds, and what each seed's tests say: experiments that differ by seed alone
-> experiments/results/stability.json.

python -m experiments.stability                      every experiment of the current commit
python -m experiments.stability NAME [NAME ...]      these experiments, branches or commits
python -m experiments.stability --add [NAME ...]     their seeds beside those that the file already has
"""

import argparse
from functools import partial

from experiments.rank import current
from experiments.runs import collected, load, shared_parameters
from preference_study.analysis.methods import bears_on_policy
from preference_study.artifacts import read_json, write_json

FILE = "experiments/results/stability.json"
MEASURES = (
    "gold_rate",
    "letter_rate",
    "finished",
    "loops",
    "chosen_logp",
    "kl",
    "win_rate",
    "win_rate_length_controlled",
    "words_mean",
)


def numbers(policy: dict) -> dict[str, dict]:
    """A policy's estimates of metrics/policies.json by measure: its own, against base, and its price.

    `chosen_logp` is the change on validation and `kl` the divergence from base, both in nats a response; `loops` a share.
    """
    found, price = policy | policy["against_base"], policy["price"]
    found |= {row["outcome"]: row["policy"] for row in price["form"]}
    found["chosen_logp"] = price["logps"]["chosen"]["nats_per_response"]
    if price["kl"]:
        found["kl"] = price["kl"]["nats_per_response"]
    return found


def gold_test(policy: dict) -> dict:
    """A policy's gold responses against base's, of metrics/policies.json, and what it paid: {} where the data has no truth.

    Returns:
        {difference, gained, lost, p_holm, verdict, price}: p after the correction over all tests of verdicts.
    """
    against = policy["against_base"]
    if "gold" not in against:
        return {}
    [p] = [row["p_holm"] for row in against["tests"] if row["outcome"] == "gold"]
    verdict = {"p_holm": p, "verdict": against["verdict"]["gold"], "price": against["verdict"]["price"]}
    return {name: against["gold"][name] for name in ("difference", "gained", "lost")} | verdict


def carried_over(transfer: dict, method: str) -> dict:
    """A policy's changes from base by whether the category was trained on, of metrics/transfer.json.

    Returns:
        Per part {judge, gold_difference, letter_difference, win_rate}, those that there are; the parts are in_training,
        not_in_training and difference. {} where no category is left out of training.
    """
    names = ("gold_difference", "letter_difference", "win_rate")
    return {
        part: {"judge": found["judge"]}
        | {name: found["policies"][method][name] for name in names if name in found["policies"][method]}
        for part, found in transfer.items()
    }


def collect(transfers: dict[str, dict], runs: list[tuple[str, dict, dict]]) -> dict:
    """experiments/results/stability.json.

    Args:
        transfers: per experiment, by its name, its metrics/transfer.json.
        runs: per experiment its name, its parameters by dotted name and its metrics/policies.json.

    Returns:
        {params, seeds, base, methods, gold, transfer}: the parameters but for the seed; base's and per method and measure one
        value a seed, in the order of seeds; and in this order, per method, `gold_test` and `carried_over`.

    Raises:
        ValueError: they differ by more than the seed, or two have the same.
    """
    runs = sorted(runs, key=lambda run: run[1]["seed"])
    seeds = [params["seed"] for _, params, _ in runs]
    if len(set(seeds)) < len(seeds):
        told = ", ".join(f"{name} has {seed}" for (name, _, _), seed in zip(runs, seeds, strict=True))
        raise ValueError(f"the same seed twice: {told}; name those to be taken")
    params = shared_parameters(runs, {"seed": "the seed"})
    base = [metrics["base"] for _, _, metrics in runs]
    found = {method: [numbers(metrics[method]) for _, _, metrics in runs] for method in params["policy.methods"]}
    return {
        "params": params,
        "seeds": seeds,
        "base": by_measure(base),
        "methods": {method: by_measure(estimates) for method, estimates in found.items()},
        "gold": {method: [gold_test(metrics[method]) for _, _, metrics in runs] for method in found},
        "transfer": {method: [carried_over(transfers[name], method) for name, _, _ in runs] for method in found},
    }


def by_measure(estimates: list[dict]) -> dict[str, list[float]]:
    """Per measure that there is one value a seed."""
    return {key: [of_seed[key]["value"] for of_seed in estimates] for key in MEASURES if key in estimates[0]}


def added(before: dict, now: dict) -> dict:
    """Both files' seeds in one, as `collect` returns it.

    Raises:
        ValueError: they were measured with other parameters that bear on a policy, or have a seed in common.
    """
    one, other = before["params"], now["params"]
    differing = [
        key
        for key in one | other
        if one.get(key) != other.get(key)
        and (key == "policy.methods" or any(bears_on_policy(key, method, other.get("reward.judge")) for method in now["methods"]))
    ]
    if differing:
        raise ValueError(f"{FILE} was measured with other parameters: {', '.join(differing)}; leave --add out to begin anew")
    if twice := set(before["seeds"]) & set(now["seeds"]):
        raise ValueError(f"{FILE} has seed {', '.join(map(str, sorted(twice)))} already; name the other experiments")
    seeds = before["seeds"] + now["seeds"]
    order = sorted(range(len(seeds)), key=seeds.__getitem__)

    def both(one: dict, other: dict) -> dict:
        return {key: [(one[key] + other[key])[i] for i in order] for key in one if key in other}

    methods = {method: both(before["methods"][method], now["methods"][method]) for method in now["methods"]}
    tests = {name: both(before[name], now[name]) for name in ("gold", "transfer")}
    return now | {"seeds": sorted(seeds), "base": both(before["base"], now["base"]), "methods": methods} | tests


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="experiments, branches or commits; by default every experiment of this commit")
    parser.add_argument("--add", action="store_true", help="beside the seeds that the file has")
    given = parser.parse_args()
    names = given.names or current()
    if not names:
        raise SystemExit("no experiment of this commit; dvc exp run --queue -S seed=1,2,3 and dvc exp run --run-all make three")
    transfers = {name: load(name, "metrics/transfer.json", "compare_groups")[2] for name in names}
    found = collected(partial(collect, transfers), names, "metrics/policies.json", "compare_groups")
    if given.add:
        try:
            found = added(read_json(FILE), found)
        except ValueError as error:
            raise SystemExit(str(error)) from None
    write_json(FILE, found)
    print(f"{FILE}: {len(found['methods'])} methods, seeds {', '.join(map(str, found['seeds']))}")


if __name__ == "__main__":
    main()
