"""What the SFT term does to DPO: experiments that differ by seed and policy.dpo.sft_weight alone -> experiments/results/sft.json.

python -m experiments.sft                      every experiment of the current commit
python -m experiments.sft NAME [NAME ...]      these experiments, branches or commits
"""

import argparse

from experiments.rank import current
from experiments.runs import collected, shared_parameters
from preference_study.artifacts import write_json

WEIGHT = "policy.dpo.sft_weight"


def collect(runs: list[tuple[str, dict, dict]]) -> dict:
    """experiments/results/sft.json.

    Args:
        runs: per experiment its name, its parameters by dotted name and its metrics/policies.json.

    Returns:
        {params, rows}: the parameters but for those that vary; and per run, by weight and seed, {sft_weight, seed} and estimates:
        chosen_logp, rejected_logp, changes on validation in nats a response; kl, in nats a response; finished,
        letter_rate, gold_rate; gold_difference from base; win_rate against base.

    Raises:
        ValueError: they differ by more, or two by nothing.
    """
    runs = sorted(runs, key=lambda run: (run[1][WEIGHT], run[1]["seed"]))
    fixed, rows = shared_parameters(runs, {"seed": "seed", WEIGHT: WEIGHT}), []
    for _, params, metrics in runs:
        dpo = metrics["dpo"]
        logps, against = dpo["price"]["logps"], dpo["against_base"]
        rows.append(
            {
                "sft_weight": params[WEIGHT],
                "seed": params["seed"],
                "chosen_logp": logps["chosen"]["nats_per_response"],
                "rejected_logp": logps["rejected"]["nats_per_response"],
                "kl": dpo["price"]["kl"]["nats_per_response"],
                "finished": dpo["finished"],
                "letter_rate": dpo["letter_rate"],
                "gold_rate": dpo["gold_rate"],
                "gold_difference": against["gold"]["difference"],
                "win_rate": against["win_rate"],
            }
        )
    if len({(row["sft_weight"], row["seed"]) for row in rows}) < len(rows):
        raise ValueError("the same weight and seed twice")
    return {"params": fixed, "rows": rows}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="experiments, branches or commits; by default every experiment of this commit")
    names = parser.parse_args().names or current()
    if len(names) < 2:
        raise SystemExit("fewer than two experiments; dvc exp run --queue -S policy.dpo.sft_weight=0,1 makes two")
    found = collected(collect, names, "metrics/policies.json", "compare_policies")
    write_json("experiments/results/sft.json", found)
    print(f"experiments/results/sft.json: {len(found['rows'])} runs")


if __name__ == "__main__":
    main()
