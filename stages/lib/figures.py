"""Pictures for reading. One colour a policy, from Okabe and Ito's palette, which colour-blind people can tell apart."""

from collections.abc import Sequence

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

BASE = "#999999"
PALETTE = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9")


def policy_colour(policy: str, methods: Sequence[str]) -> str:
    """The colour of a policy: grey for base, else by its place among the methods."""
    return BASE if policy == "base" else PALETTE[list(methods).index(policy) % len(PALETTE)]


def policies_figure(metrics: dict, differences: dict[str, Sequence[float]]) -> Figure:
    """Base against each method: shares with their 95% intervals, and reward differences over the same prompts.

    Args:
        metrics: as in metrics/policies.json.
        differences: per method its rewards minus base's, one a prompt.
    """
    methods = [policy for policy in metrics if policy != "base"]
    shares = {"finished": "ended its turn", "gold_rate": "obeyed the instruction"}
    shares = {key: label for key, label in shares.items() if key in metrics["base"]}
    n = metrics["base"]["finished"]["n"]
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
    for place, policy in enumerate(metrics):
        for row, key in enumerate(shares):
            share = metrics[policy][key]
            # Interval limits can miss the value by a rounding error, which errorbar refuses.
            error = [[max(0, share["value"] - share["low"])], [max(0, share["high"] - share["value"])]]
            height = row + 0.25 * (place - (len(metrics) - 1) / 2)
            left.errorbar(
                share["value"], height, xerr=error, fmt="o", capsize=3, color=policy_colour(policy, methods),
                label=policy if row == 0 else None,
            )  # fmt: skip
    left.set(
        xlim=(0, 1), yticks=range(len(shares)), yticklabels=shares.values(), ylim=(-0.6, len(shares) - 0.4),
        xlabel="share of answers, 95% interval", title=f"Answers to the same {n} prompts",
    )  # fmt: skip
    left.legend()
    for method in methods:
        win = metrics[method]["against_base"]["win_rate"]
        label = f"{method}: wins {win['value']:.2f} [{win['low']:.2f}, {win['high']:.2f}]"
        right.hist(differences[method], bins=30, alpha=0.6, color=policy_colour(method, methods), label=label)
    right.axvline(0, color="black", linewidth=1)
    right.set(
        xlabel="reward minus base's reward (reward model's units)", ylabel="prompts", title=f"What the reward model says, n = {n}"
    )
    right.legend()
    return figure
