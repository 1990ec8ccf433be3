"""Figures, and the rows they are drawn from: the same rows go to `dvc plots`, which overlays them between experiments.

Colours are Okabe and Ito's, which colour-blind people can tell apart.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.stats import gaussian_kde

GREY = "#999999"
PALETTE = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9")
GROUPS = {
    "correct": "#0072B2", "wrong": "#D55E00", "chosen": "#009E73", "rejected": "#CC79A7",
    "favoured": "#0072B2", "other": "#E69F00", "training set": "#000000", "margin": "#0072B2",
}  # fmt: skip
BINS, POINTS = 30, 200


def colour(group: str, methods: Sequence[str] = ()) -> str:
    """The colour of a group of answers, the same in every figure: grey for base, a method's by its place among the methods."""
    if group == "base":
        return GREY
    return PALETTE[list(methods).index(group) % len(PALETTE)] if group in methods else GROUPS[group]


def histogram_rows(groups: dict[str, Sequence[float]], methods: Sequence[str] = ()) -> pd.DataFrame:
    """Thirty bins over all groups together: {group, low, high, count, share, n, colour} per bin and group."""
    groups = _finite(groups)
    everything = np.concatenate([*groups.values(), []])
    edges = np.histogram_bin_edges(everything, bins=BINS)
    rows = [
        (group, low, high, count, count / max(1, len(values)), len(values), colour(group, methods))
        for group, values in groups.items()
        for low, high, count in zip(edges[:-1], edges[1:], np.histogram(values, edges)[0], strict=True)
    ]
    return pd.DataFrame(rows, columns=["group", "low", "high", "count", "share", "n", "colour"])


def kde_rows(groups: dict[str, Sequence[float]], methods: Sequence[str] = ()) -> pd.DataFrame:
    """Gaussian kernel density (Scott's rule), 200 points over all groups: {group, x, density, n, colour}.

    A group whose values do not differ has no density and is left out.
    """
    groups = {name: values for name, values in _finite(groups).items() if len(values) > 1 and np.ptp(values) > 0}
    everything = np.concatenate([*groups.values(), []])
    points = np.linspace(everything.min(), everything.max(), POINTS) if groups else []
    rows = [
        (group, x, y, len(values), colour(group, methods))
        for group, values in groups.items()
        for x, y in zip(points, gaussian_kde(values)(points), strict=True)
    ]
    return pd.DataFrame(rows, columns=["group", "x", "density", "n", "colour"])


def _finite(groups: dict[str, Sequence[float]]) -> dict[str, np.ndarray]:
    arrays = {name: np.asarray(values, dtype=float) for name, values in groups.items()}
    return {name: values[np.isfinite(values)] for name, values in arrays.items()}


def _axes(width: float = 6.4, height: float = 3.6) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots()


def _titled(axes: Axes, title: str, sizes: Sequence[int]) -> None:
    axes.set_title(f"{title}, n = {' and '.join(map(str, dict.fromkeys(sizes))) or 0}")


def histogram(bins: pd.DataFrame, title: str, x_label: str, unit: str) -> Figure:
    """The bins of `histogram_rows` as steps; `unit` is what is counted, such as pairs."""
    figure, axes = _axes()
    for group, rows in bins.groupby("group", sort=False):
        edges = [*rows["low"], rows["high"].iloc[-1]]
        label, fill = f"{group} (n = {rows['n'].iloc[0]})", rows["colour"].iloc[0]
        axes.stairs(rows["share"], edges, fill=True, alpha=0.45, color=fill, label=label)
    axes.set(xlabel=x_label, ylabel=f"share of {unit}")
    return _finished(figure, axes, title, bins)


def kde(points: pd.DataFrame, title: str, x_label: str) -> Figure:
    """The densities of `kde_rows`."""
    figure, axes = _axes()
    for group, rows in points.groupby("group", sort=False):
        label, line = f"{group} (n = {rows['n'].iloc[0]})", rows["colour"].iloc[0]
        axes.plot(rows["x"], rows["density"], color=line, label=label)
        axes.fill_between(rows["x"], rows["density"], color=line, alpha=0.15)
    axes.set(xlabel=x_label, ylabel="density", ylim=(0, None))
    return _finished(figure, axes, title, points)


def _finished(figure: Figure, axes: Axes, title: str, rows: pd.DataFrame) -> Figure:
    if len(rows):
        axes.legend()
    _titled(axes, title, rows.groupby("group", sort=False)["n"].first())
    return figure


def scatter(base: Sequence[float], others: dict[str, Sequence[float]], methods: Sequence[str]) -> Figure:
    """Rewards of base's answer and of each method's to the same prompt; above the diagonal the method's is higher."""
    figure, axes = _axes(4.6, 4.6)
    for method, rewards in others.items():
        axes.scatter(base, rewards, s=12, alpha=0.6, color=colour(method, methods), label=method)
    axes.axline((float(np.mean(base)), float(np.mean(base))), slope=1, color="black", linewidth=1)
    axes.set(xlabel="reward of base's answer", ylabel="reward of the policy's answer", aspect="equal")
    axes.legend()
    _titled(axes, "Same prompts", [len(base)])
    return figure


def reliability(bins: list[dict], n: int) -> Figure:
    """The bins of `statistics.reliability` with their intervals; on the diagonal, confidence is earned."""
    figure, axes = _axes(4.6, 4.6)
    axes.plot([0.5, 1], [0.5, 1], color="black", linewidth=1, label="perfectly calibrated")
    _points(axes, [row["predicted"] for row in bins], [row["observed"] for row in bins], GROUPS["margin"], "reward model")
    axes.set(xlabel="sigmoid of the absolute margin", ylabel="share of pairs ranked right, 95% interval", ylim=(0, 1.02))
    axes.legend(loc="lower right")
    _titled(axes, "Calibration on validation pairs", [n])
    return figure


def _points(
    axes: Axes, x: Sequence[float], estimates: Sequence[dict], colour: str, label: str | None, flat: bool = False
) -> None:
    # Interval limits can miss the value by a rounding error, which errorbar refuses.
    error = [[max(0, e["value"] - e["low"]) for e in estimates], [max(0, e["high"] - e["value"]) for e in estimates]]
    values = [e["value"] for e in estimates]
    where = (values, x) if flat else (x, values)
    axes.errorbar(*where, **{"xerr" if flat else "yerr": error}, fmt="o", capsize=3, color=colour, label=label)


SHARES = {
    "gold_rate": "obeyed the instruction", "win_rate": "won against base", "win_rate_length_controlled": "won, at equal length",
    "finished": "ended its turn", "refusals": "refused", "implicit_accuracy": "implicit accuracy",
}  # fmt: skip


def share_rows(metrics: dict, methods: Sequence[str]) -> pd.DataFrame:
    """Every share in metrics/policies.json with its interval: {policy, measure, label, value, low, high, n, colour}."""
    rows = []
    for policy, measures in metrics.items():
        found = measures | measures.get("against_base", {})
        for measure in SHARES:
            if found.get(measure) and found[measure]["low"] is not None:
                row = {"policy": policy, "measure": measure, "label": f"{SHARES[measure]}: {policy}"}
                rows.append(row | found[measure] | {"colour": colour(policy, methods)})
    return pd.DataFrame(rows)


def shares(rows: pd.DataFrame) -> Figure:
    """The rows of `share_rows`: one line a measure, one point a policy."""
    measures = [m for m in SHARES if m in set(rows["measure"])][::-1]
    policies = list(rows["policy"].unique())
    figure, axes = _axes(height=1.2 + 0.6 * len(measures))
    for place, policy in enumerate(policies):
        own = rows[rows["policy"] == policy].to_dict("records")
        heights = [measures.index(row["measure"]) - 0.5 * ((place + 0.5) / len(policies) - 0.5) for row in own]
        _points(axes, heights, own, own[0]["colour"], policy, flat=True)
    axes.axvline(0.5, color="black", linewidth=0.5)
    axes.set(xlim=(0, 1), yticks=range(len(measures)), yticklabels=[SHARES[m] for m in measures], xlabel="share, 95% interval")
    axes.legend()
    _titled(axes, "Policies", rows["n"])
    return figure
