"""Figures, and the rows they are drawn from: the same rows go to `dvc plots`, which overlays them between experiments.

Colours are Okabe and Ito's, which colour-blind people can tell apart.
"""

from collections.abc import Sequence

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import fontManager
from matplotlib.lines import Line2D
from scipy.stats import gaussian_kde

from preference_study.numbers import decimal

# Names of categories are the data's, and "$" in them is no formula.
matplotlib.rcParams["text.parse_math"] = False
# What matplotlib's own font lacks comes from the first of these that is installed and has it; where none has, boxes are drawn.
FONTS = (
    "Noto Sans CJK SC",
    "WenQuanYi Zen Hei",
    "PingFang SC",
    "Hiragino Sans",
    "Microsoft YaHei",
    "Noto Sans Thai",
    "Noto Sans",
)
matplotlib.rcParams["font.family"] = ["DejaVu Sans", *(name for name in FONTS if name in fontManager.get_font_names())]

GREY = "#999999"
PALETTE = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9", "#000000")
GROUPS = {
    "correct": "#0072B2", "wrong": "#D55E00", "chosen": "#009E73", "rejected": "#CC79A7",
    "favoured": "#0072B2", "other": "#E69F00", "training set": "#000000", "margin": "#0072B2",
}  # fmt: skip
SIDES = ("chosen", "rejected")
BINS, POINTS = 30, 200
NOT_MEASURED = "not measured"
DPI = 120
OVERLAID = 3  # groups that can be read on top of each other
OUTERMOST = 0.005  # of all values, on either side, those that an axis does not bow to
MIDDLE = (0.025, 0.975)
FEWEST = 20  # values; of fewer none is left out
SHARE = (-0.03, 1.03)  # the ends of an axis of shares: a mark at 0 or 1 is seen whole
LONGEST = 32  # characters of a category beside a picture


def colour(group: str, methods: Sequence[str] = ()) -> str:
    """The colour of a group of responses, the same in every figure: grey for base, a method's by its place among the methods."""
    if group == "base":
        return GREY
    return PALETTE[list(methods).index(group) % len(PALETTE)] if group in methods else GROUPS[group]


def view(values: np.ndarray) -> tuple[float, float]:
    """The ends of an axis for finite values, which a few far ones do not stretch.

    They are the lowest and the highest value, unless the outermost half percent on a side, one value at least, would take more of
    the axis than all others: then it ends where the others do.
    """
    ordered = np.sort(values)
    if len(ordered) < FEWEST:
        return (float(ordered[0]), float(ordered[-1])) if len(ordered) else (0.0, 1.0)
    outermost = max(1, int(OUTERMOST * len(ordered)))
    low, high = ordered[outermost], ordered[-1 - outermost]
    inner = high - low
    first = low if ordered[outermost] - ordered[0] > inner > 0 else ordered[0]
    last = high if ordered[-1] - ordered[-1 - outermost] > inner > 0 else ordered[-1]
    return float(first), float(last)


def _within(values: np.ndarray, ends: tuple[float, float]) -> np.ndarray:
    return values[(values >= ends[0]) & (values <= ends[1])]


def bin_edges(values: np.ndarray) -> np.ndarray:
    """About thirty bins over finite values, at multiples of 1, 2 or 5 times a power of ten: [edges], in the values' unit.

    Values of about the same range get the same edges, so that the histograms of two runs can be compared. Whole numbers, such as
    counts of words, get bins no narrower than 1, or every other bin would be empty. A value on an edge is in the bin above it.
    """
    if not len(values):
        return np.array([0.0, 1.0])
    whole = bool(np.all(values == np.round(values)))
    decimals, width = 0, 1.0
    if wanted := np.ptp(values) / BINS:
        power = int(np.floor(np.log10(wanted)))
        widths = [factor * 10.0 ** (power + more) for factor, more in ((1, 0), (2, 0), (5, 0), (1, 1))]
        width = min(widths, key=lambda width: abs(np.log(width / wanted)))
        decimals, width = max(0, -power), max(width, 1.0) if whole else width
    first, last = np.floor(values.min() / width), np.floor(values.max() / width)
    return np.round(np.arange(first, last + 2) * width, decimals)


def histogram_rows(groups: dict[str, Sequence[float]], methods: Sequence[str] = ()) -> pd.DataFrame:
    """The bins of `bin_edges` over all groups together, as far as `view` reaches.

    Returns:
        {group, low, high, count, share, n, outside, colour} per bin and group: count, and share of the group's n values; of these
        `outside` lie in no bin.
    """
    groups = _finite(groups)
    everything = np.concatenate([*groups.values(), []])
    edges = bin_edges(_within(everything, view(everything)))
    rows = []
    for group, values in groups.items():
        counts = np.histogram(values, edges)[0]
        n, own = len(values), colour(group, methods)
        rows += [
            (group, low, high, count, count / max(1, n), n, n - counts.sum(), own)
            for low, high, count in zip(edges[:-1], edges[1:], counts, strict=True)
        ]
    return pd.DataFrame(rows, columns=["group", "low", "high", "count", "share", "n", "outside", "colour"])


def kde_rows(groups: dict[str, Sequence[float]], methods: Sequence[str] = ()) -> pd.DataFrame:
    """Gaussian kernel density (Scott's rule), 200 points over all groups, as far as `view` reaches.

    What lies outside would widen the kernel: it is left out of it, and counted. A group whose values do not differ has no density
    and is left out.

    Returns:
        {group, x, density, n, outside, colour} per point and group; of the n values `outside` lie outside.
    """
    groups = {name: values for name, values in _finite(groups).items() if len(values) > 1 and np.ptp(values) > 0}
    ends = view(np.concatenate([*groups.values(), []]))
    points = np.linspace(*ends, POINTS)
    rows = []
    for group, values in groups.items():
        inside = _within(values, ends)
        if len(inside) > 1 and np.ptp(inside) > 0:
            density = gaussian_kde(inside)(points) * (len(inside) / len(values))
            size = (len(values), len(values) - len(inside), colour(group, methods))
            rows += [(group, x, y, *size) for x, y in zip(points, density, strict=True)]
    return pd.DataFrame(rows, columns=["group", "x", "density", "n", "outside", "colour"])


def _named(group: str, rows: pd.DataFrame) -> str:
    """A group with how many values it has, and how many of them the axis does not reach."""
    outside = rows["outside"].iloc[0]
    return f"{group} (n = {rows['n'].iloc[0]}{f', {outside} outside' if outside else ''})"


def or_not_measured(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of a plot; where there are none, one row whose group or label says so, with nothing else in it.

    `dvc plots` draws a table without rows as a page element without title and axes.
    """
    if len(rows):
        return rows
    return pd.DataFrame([{name: NOT_MEASURED if name in ("group", "label") else None for name in rows}])


def _finite(groups: dict[str, Sequence[float]]) -> dict[str, np.ndarray]:
    arrays = {name: np.asarray(values, dtype=float) for name, values in groups.items()}
    return {name: values[np.isfinite(values)] for name, values in arrays.items()}


def _axes(width: float = 6.4, height: float = 3.6) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), layout="constrained", dpi=DPI)
    return figure, figure.subplots()


def _titled(axes: Axes, title: str, sizes: Sequence[int]) -> None:
    found = list(dict.fromkeys(sizes))
    told = " and ".join(map(str, found)) if len(found) < 3 else f"{min(found)} to {max(found)}"
    axes.set_title(f"{title}, n = {told or 0}")


def training_rows(series: dict[str, pd.DataFrame], name: str, methods: Sequence[str]) -> pd.DataFrame:
    """A measure of each method's training steps (columns examples, value) in one table: {group, examples, <name>, colour}."""
    tables = [
        pd.DataFrame({"group": method, "examples": steps["examples"], name: steps["value"], "colour": colour(method, methods)})
        for method, steps in series.items()
    ]
    return pd.concat(tables) if tables else pd.DataFrame(columns=["group", "examples", name, "colour"])


def training(panels: Sequence[tuple[str, str, pd.DataFrame]]) -> Figure:
    """What was logged in training, a panel a measure: each step, and means over a twentieth of the steps.

    Args:
        panels: (title, column, rows of `training_rows` with that column); those of one step or none are left out. Where there are
            none, the figure says so.
    """
    panels = [panel for panel in panels if panel[2]["group"].duplicated().any()]
    if not panels:
        return _nothing("Training")
    columns = min(3, len(panels))
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(1 + 3.6 * columns, 0.6 + 2.8 * rows), layout="constrained", dpi=DPI)
    grid = figure.subplots(rows, columns, squeeze=False).flat
    for (title, column, table), axes in zip(panels, grid, strict=False):
        for group, own in table.groupby("group", sort=False):
            _steps(axes, own["examples"], own[column], own["colour"].iloc[0], group)
        low, high = _ends_of_steps([axes.lines], table[column])
        if not table[column].between(low, high).all():
            axes.set(ylim=(low, high))
        axes.set(title=title, xlabel=_examples_seen(table[column], low, high))
        axes.legend()
    for axes in grid:
        axes.set_axis_off()
    return figure


def _ends_of_steps(drawn: Sequence[Sequence[Line2D]], values: pd.Series) -> tuple[float, float]:
    """The ends of an axis for training steps: that of the means, every second line, and of nineteen in twenty of the steps.

    Steps of few pairs go far up and down.
    """
    ends = [view(np.concatenate([line.get_ydata() for lines in drawn for line in lines[1::2]])), np.quantile(values, MIDDLE)]
    low, high = min(low for low, _ in ends), max(high for _, high in ends)
    margin = 0.05 * (high - low)
    return low - margin, high + margin


def _examples_seen(values: pd.Series, low: float, high: float) -> str:
    outside = int((~values.between(low, high)).sum())
    return f"examples seen{f'; {outside} of {len(values)} values outside' if outside else ''}"


def _steps(axes: Axes, examples: pd.Series, values: pd.Series, colour: str, label: str) -> None:
    """A measure of training steps, which differ by their batches, and its mean over a twentieth of them."""
    smooth = values.rolling(max(1, len(values) // 20), center=True, min_periods=1).mean()
    marker = "o" if len(values) < FEWEST else None  # of one point there is no line
    axes.plot(examples, values, color=colour, linewidth=0.5, alpha=0.3, marker=marker, markersize=3)
    axes.plot(examples, smooth, color=colour, label=label)


LOGPS_COLUMNS = ("group", "method", "side", "examples", "change", "colour")


def logps_rows(series: dict[tuple[str, str], pd.DataFrame], methods: Sequence[str]) -> pd.DataFrame:
    """Changes of log-probabilities in training, per (method, side) columns examples and value, in one table.

    Returns:
        {group, method, side, examples, change, colour}; no rows where no method logged them.
    """
    tables = [
        pd.DataFrame(
            {
                "group": f"{method}, {side}",
                "method": method,
                "side": side,
                "examples": steps["examples"],
                "change": steps["value"],
            }
        ).assign(colour=colour(method, methods))
        for (method, side), steps in series.items()
    ]
    return pd.concat(tables) if tables else pd.DataFrame(columns=LOGPS_COLUMNS)


def logps(rows: pd.DataFrame) -> Figure:
    """The rows of `logps_rows` as means over a twentieth of the steps, a panel a method; steps themselves differ by their pairs.

    Where there are none, the figure says so.
    """
    if rows.empty:
        return _nothing("Log-probabilities in training")
    methods = list(rows["method"].unique())
    figure = Figure(figsize=(1 + 3.6 * len(methods), 3.6), layout="constrained", dpi=DPI)
    panels = figure.subplots(1, len(methods), sharey=True, squeeze=False)[0]
    for method, axes in zip(methods, panels, strict=True):
        for side in SIDES:
            own = rows[(rows["method"] == method) & (rows["side"] == side)]
            _steps(axes, own["examples"], own["change"], GROUPS[side], side)
    low, high = _ends_of_steps([axes.lines for axes in panels], rows["change"])
    for method, axes in zip(methods, panels, strict=True):
        own = rows.loc[rows["method"] == method, "change"]
        axes.axhline(0, color="black", linewidth=0.5)
        axes.set(xlabel=_examples_seen(own, low, high), title=method)
    if not rows["change"].between(low, high).all():
        panels[0].set_ylim(low, high)
    axes.legend()
    figure.supylabel("log-probability minus base's\n(nats a response)", fontsize="medium")
    return figure


def _nothing(what: str) -> Figure:
    figure = Figure(figsize=(3.4, 1.0))
    figure.text(0.5, 0.5, f"{what}: {NOT_MEASURED}", ha="center", va="center")
    return figure


def histogram(bins: pd.DataFrame, title: str, x_label: str, unit: str, measure: str = "share") -> Figure:
    """The bins of `histogram_rows` as steps, of many groups each in a panel.

    Args:
        unit: what is counted, such as pairs.
        measure: "share", of each group's own, or "count".
    """
    groups = list(bins.groupby("group", sort=False))
    panels = len(groups) if len(groups) > OVERLAID else 1
    figure = Figure(figsize=(6.4, max(3.6, 1.1 * panels)), layout="constrained", dpi=DPI)
    axes = figure.subplots(panels, sharex=True, sharey=True, squeeze=False)[:, 0]
    for place, (group, rows) in enumerate(groups):
        edges = [*rows["low"], rows["high"].iloc[-1]]
        label, fill = _named(group, rows), rows["colour"].iloc[0]
        axes[place % panels].stairs(rows[measure], edges, fill=True, alpha=0.45, color=fill, label=label)
    for panel in axes if groups else []:
        panel.legend()
    axes[-1].set_xlabel(x_label)
    whose = "each group's " if len(groups) > 1 else ""
    axes[panels // 2].set_ylabel(f"number of {unit}" if measure == "count" else f"share of {whose}{unit}")
    _titled(axes[0], title, bins.groupby("group", sort=False)["n"].first())
    return figure


def kde(points: pd.DataFrame, title: str, x_label: str) -> Figure:
    """The densities of `kde_rows`."""
    figure, axes = _axes()
    groups = list(points.groupby("group", sort=False))
    for group, rows in groups:
        label, line = _named(group, rows), rows["colour"].iloc[0]
        axes.plot(rows["x"], rows["density"], color=line, label=label)
        if len(groups) <= OVERLAID:
            axes.fill_between(rows["x"], rows["density"], color=line, alpha=0.15)
    axes.set(xlabel=x_label, ylabel="density", ylim=(0, None))
    _legend(figure, axes, len(groups))
    _titled(axes, title, points.groupby("group", sort=False)["n"].first())
    return figure


def _legend(figure: Figure, axes: Axes, entries: int) -> None:
    if entries > OVERLAID:
        figure.legend(loc="outside right center")
    elif entries:
        axes.legend()


def scatter(base: Sequence[float], others: dict[str, Sequence[float]], methods: Sequence[str]) -> Figure:
    """Rewards of base's response and of a method's to the same prompt, a panel a method; above the diagonal the method wins."""
    columns = min(3, len(methods))
    rows = -(-len(methods) // columns)
    figure = Figure(figsize=(1 + 3.6 * columns, 1 + 3.6 * rows), layout="constrained", dpi=DPI)
    panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).flat
    everything = np.concatenate([base, *others.values()])
    low, high = view(everything)
    margin = 0.05 * (high - low)
    for (method, rewards), panel in zip(others.items(), panels, strict=False):
        outside = sum(not low <= x <= high or not low <= y <= high for x, y in zip(base, rewards, strict=True))
        label = f"{method}, {outside} outside" if outside else method
        panel.scatter(base, rewards, s=12, alpha=0.6, color=colour(method, methods), label=label)
        if (low, high) != (everything.min(), everything.max()):
            panel.set(xlim=(low - margin, high + margin), ylim=(low - margin, high + margin))
        panel.axline((float(np.mean(base)), float(np.mean(base))), slope=1, color="black", linewidth=1)
        panel.set_aspect("equal")
        panel.legend()
    for panel in panels:
        panel.set_axis_off()
    figure.supxlabel("reward of base's response", fontsize="medium")
    figure.supylabel("reward of the policy's response", fontsize="medium")
    figure.suptitle(f"Same prompts, n = {len(base)}", fontsize="large")
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
    axes: Axes, x: Sequence[float], estimates: Sequence[dict], colour: str, label: str | None, flat: bool = False,
    marker: str = "o", hollow: bool = False,
) -> None:  # fmt: skip
    """Estimates with their intervals, at x; flat ones lie along x. Hollow marks are rings."""
    values = [e["value"] for e in estimates]
    ends = [[v if pd.isna(e[end]) else e[end] for v, e in zip(values, estimates, strict=True)] for end in ("low", "high")]
    # Interval limits can miss the value by a rounding error, which errorbar refuses.
    error = np.maximum(0, [np.subtract(values, ends[0]), np.subtract(ends[1], values)])
    where = (values, x) if flat else (x, values)
    face = "white" if hollow else colour
    axes.errorbar(*where, **{"xerr" if flat else "yerr": error}, fmt=marker, capsize=3, color=colour, label=label, mfc=face)


SHARES = {
    "gold_rate": "gold", "letter_rate": "obeyed to the letter", "win_rate": "won against base",
    "win_rate_length_controlled": "won, at equal length", "finished": "ended its turn", "refusals": "refused",
    "implicit_accuracy": "implicit accuracy",
}  # fmt: skip


def share_rows(metrics: dict, methods: Sequence[str]) -> pd.DataFrame:
    """Every share in metrics/policies.json with its interval: {policy, measure, label, value, low, high, n, clusters, colour}."""
    rows = []
    for policy, measures in metrics.items():
        found = measures | measures.get("against_base", {})
        for measure in SHARES:
            if found.get(measure) and found[measure]["low"] is not None:
                row = {"policy": policy, "measure": measure, "label": f"{SHARES[measure]}: {policy}"}
                rows.append(row | found[measure] | {"colour": colour(policy, methods)})
    return pd.DataFrame(rows, columns=["policy", "measure", "label", "value", "low", "high", "n", "clusters", "colour"])


def shares(rows: pd.DataFrame) -> Figure:
    """The rows of `share_rows`: one line a measure, one point a policy. Where no share has an interval, the figure says so."""
    if rows.empty:
        return _nothing("Policies")
    measures = [m for m in SHARES if m in set(rows["measure"])][::-1]
    policies = list(rows["policy"].unique())
    figure, axes = _axes(height=1.2 + (0.4 + 0.1 * len(policies)) * len(measures))
    for place, policy in enumerate(policies):
        own = rows[rows["policy"] == policy].to_dict("records")
        heights = [measures.index(row["measure"]) - 0.75 * ((place + 0.5) / len(policies) - 0.5) for row in own]
        _points(axes, heights, own, own[0]["colour"], policy, flat=True)
    axes.axvline(0.5, color="black", linewidth=0.5)
    axes.set(xlim=SHARE, yticks=range(len(measures)), yticklabels=[SHARES[m] for m in measures], xlabel="share, 95% interval")
    _legend(figure, axes, len(policies))
    _titled(axes, "Policies", rows["n"])
    return figure


MARKERS = {"gold_rate": "s", "letter_rate": "D", "win_rate": "o", "win_rate_length_controlled": "^"}
BASE_LINES = {"gold_rate": "--", "letter_rate": ":"}


def method_rows(metrics: dict, methods: Sequence[str]) -> pd.DataFrame:
    """Of `share_rows` what the methods are told apart by; of base its gold and letter rates, where the truth is known."""
    rows = share_rows(metrics, methods)
    return rows[rows["measure"].isin(MARKERS)]


def method_shares(rows: pd.DataFrame) -> Figure:
    """The rows of `method_rows`: a column a method, a mark a measure; base's gold and letter are lines with intervals.

    Where no share has an interval, the figure says so.
    """
    if rows.empty:
        return _nothing("Methods")
    base = rows[rows["policy"] == "base"].to_dict("records")
    rows = rows[rows["policy"] != "base"]
    methods, measures = list(rows["policy"].unique()), [m for m in MARKERS if m in set(rows["measure"])]
    figure, axes = _axes(max(5.6, 1 + 1.1 * len(methods)), 4.2)
    for row in base:
        axes.axhline(row["value"], color=GREY, linestyle=BASE_LINES[row["measure"]], label=f"{SHARES[row['measure']]}: base")
        axes.axhspan(row["low"], row["high"], color=GREY, alpha=0.15, linewidth=0)
    for place, measure in enumerate(measures):
        axes.plot([], [], MARKERS[measure], color="black", label=SHARES[measure])
        for row in rows[rows["measure"] == measure].to_dict("records"):
            x = methods.index(row["policy"]) + 0.22 * (place - (len(measures) - 1) / 2)
            _points(axes, [x], [row], row["colour"], None, marker=MARKERS[measure])
    axes.axhline(0.5, color="black", linewidth=0.5)
    axes.set(xlim=(-0.6, len(methods) - 0.4), ylim=(0, 1), xticks=range(len(methods)), xticklabels=methods)
    axes.set_ylabel("share, 95% interval")
    figure.legend(loc="outside lower center", ncols=2)
    _titled(axes, "Methods", rows["n"])
    return figure


def win_matrix(matrix: list[dict]) -> Figure:
    """The win rates of `method_table.matrix`: the row's policy over the column's."""
    policies = [row["policy"] for row in matrix]
    figure, axes = _axes(2.2 + 0.75 * len(policies), 1.4 + 0.6 * len(policies))
    values = [[np.nan if cell is None else cell["estimate"]["value"] for cell in row["cells"]] for row in matrix]
    image = axes.imshow(values, cmap="PuOr", vmin=0, vmax=1, aspect="auto")
    axes.set_facecolor(GREY)
    cells = [(i, j, cell) for i, row in enumerate(matrix) for j, cell in enumerate(row["cells"]) if cell is not None]
    for i, j, cell in cells:
        value = cell["estimate"]["value"]
        text = f"{decimal(value)}{'*' if cell['better'] is not None else ''}"
        axes.text(j, i, text, ha="center", va="center", color="white" if abs(value - 0.5) > 0.3 else "black")
    places = range(len(policies))
    axes.set(xticks=places, xticklabels=policies, yticks=places, yticklabels=policies, xlabel="* corrected p < 0.05")
    figure.colorbar(image, label="win rate of row over column")
    _titled(axes, "Win rates by reward", [cell["estimate"]["n"] for _, _, cell in cells])
    return figure


STRESS_COLUMNS = ("variant", "perturbation", "label", "value", "low", "high", "n", "clusters", "unperturbed", "colour")


def stress_rows(metrics: dict) -> pd.DataFrame:
    """Accuracies in metrics/stress.json, in each variant the one of plain responses first, as "none".

    Returns:
        {variant, perturbation, label, value, low, high, n, clusters, unperturbed, colour}, unperturbed the accuracy of the same
        pairs' plain responses; no rows where no variant was measured.
    """
    rows = []
    for variant, numbers in metrics.items():
        plain = {"none": {"accuracy": numbers["accuracy"], "unperturbed_accuracy": numbers["accuracy"]}}
        for name, found in (plain | numbers["perturbations"]).items():
            row = {"variant": variant, "perturbation": name, "label": f"{name.replace('_', ' ')}: {variant}"}
            before = {"unperturbed": found["unperturbed_accuracy"]["value"]}
            rows.append(row | found["accuracy"] | before | {"colour": colour(variant, list(metrics))})
    return pd.DataFrame(rows, columns=STRESS_COLUMNS)


def stress(rows: pd.DataFrame) -> Figure:
    """The rows of `stress_rows`: one line a perturbation, one point a variant; a ring is the same pairs' plain accuracy."""
    perturbations = [name for name in rows["perturbation"].unique() if name != "none"][::-1]
    variants = list(rows["variant"].unique())
    figure, axes = _axes(height=1.4 + (0.3 + 0.1 * len(variants)) * len(perturbations))
    for place, variant in enumerate(variants):
        plain, *own = rows[rows["variant"] == variant].to_dict("records")
        heights = [perturbations.index(row["perturbation"]) - 0.75 * ((place + 0.5) / len(variants) - 0.5) for row in own]
        ring = {"markerfacecolor": "none", "color": plain["colour"], "markersize": 8}
        axes.plot([row["unperturbed"] for row in own], heights, "o", **ring)
        _points(axes, heights, own, plain["colour"], variant, flat=True)
    axes.plot([], [], "o", color="black", markerfacecolor="none", markersize=8, label="unperturbed, the same pairs")
    axes.axvline(0.5, color="black", linewidth=0.5)
    labels = [name.replace("_", " ") for name in perturbations]
    axes.set(xlim=SHARE, yticks=range(len(labels)), yticklabels=labels, xlabel="accuracy, 95% interval")
    figure.legend(loc="outside lower center", ncols=2)
    _titled(axes, "Responses perturbed", rows.loc[rows["perturbation"] != "none", "n"])
    return figure


VARIANT_MARKERS = {"accuracy": "s", "accuracy_longer_chosen": "^", "accuracy_shorter_chosen": "v"}
VARIANT_COLUMNS = ("scorer", "measure", "label", "value", "low", "high", "n", "clusters", "colour")


def variant_rows(metrics: dict) -> pd.DataFrame:
    """Accuracies in metrics/variants.json: {scorer, measure, label, value, low, high, n, clusters, colour}; maybe no rows."""
    rows = [
        {"scorer": scorer, "measure": measure, "label": f"{measure.replace('_', ' ')}: {scorer}"}
        | numbers[measure]
        | {"colour": colour(scorer, list(metrics))}
        for scorer, numbers in metrics.items()
        for measure in VARIANT_MARKERS
        if numbers[measure] is not None
    ]
    return pd.DataFrame(rows, columns=VARIANT_COLUMNS)


def variants(rows: pd.DataFrame) -> Figure:
    """The rows of `variant_rows`: one line a scorer, one mark a measure."""
    scorers = list(rows["scorer"].unique())[::-1]
    figure, axes = _axes(height=1.6 + 0.5 * len(scorers))
    for place, (measure, marker) in enumerate(VARIANT_MARKERS.items()):
        axes.plot([], [], marker, color="black", label=measure.replace("_", " "))
        own = rows[rows["measure"] == measure].to_dict("records")
        for row in own:
            _points(
                axes, [scorers.index(row["scorer"]) + 0.22 * (1 - place)], [row], row["colour"], None, flat=True, marker=marker
            )
    axes.axvline(0.5, color="black", linewidth=0.5)
    axes.set(xlim=SHARE, yticks=range(len(scorers)), yticklabels=scorers, xlabel="share of pairs ranked right, 95% interval")
    figure.legend(loc="outside lower center", ncols=3)
    _titled(axes, "Reward models", rows["n"])
    return figure


BEST_COLUMNS = ("scorer", "n", "kl", "measure", "value", "low", "high", "prompts", "colour")


def best_of_n_rows(metrics: dict) -> pd.DataFrame:
    """The curves in metrics/best_of_n.json: {scorer, n, kl, measure, value, low, high, prompts, colour}; `n` as in best of n."""
    rows = [
        {"scorer": scorer, "n": row["n"], "kl": row["kl"], "measure": measure}
        | {key: estimate[key] for key in ("value", "low", "high")}
        | {"prompts": estimate["n"], "colour": colour(scorer, list(metrics))}
        for scorer, numbers in metrics.items()
        for row in numbers["curve"]
        for measure, estimate in row.items()
        if measure not in ("n", "kl", "gain")
    ]
    return pd.DataFrame(rows, columns=BEST_COLUMNS)


def best_of_n(rows: pd.DataFrame) -> Figure:
    """The rows of `best_of_n_rows`: against n, on a logarithmic scale, each scorer's own reward and what it stands for.

    Where there are none, the figure says so.
    """
    if rows.empty:
        return _nothing("Best of n")
    labels = {"reward": "own reward, from n = 1", "gold": "share that is gold", "judge": "judge's reward", "words": "words"}
    measures = [name for name in labels if name in set(rows["measure"])]
    figure = Figure(figsize=(3.4 * len(measures), 4.0), layout="constrained", dpi=DPI)
    for axes, measure in zip(np.atleast_1d(figure.subplots(1, len(measures))), measures, strict=True):
        for place, (scorer, own) in enumerate(rows[rows["measure"] == measure].groupby("scorer", sort=False)):
            # Rewards have no common origin: each begins at zero.
            origin = own["value"].iloc[0] if measure == "reward" else 0.0
            error = [own["value"] - own["low"].fillna(own["value"]), own["high"].fillna(own["value"]) - own["value"]]
            axes.errorbar(
                own["n"] * 1.02**place, own["value"] - origin, yerr=error, color=own["colour"].iloc[0], marker="o",
                markersize=3, linewidth=1, elinewidth=0.7, label=scorer if measure == measures[0] else None,
            )  # fmt: skip
        axes.set_xscale("log", base=2)
        counts = sorted(set(rows["n"]))
        axes.set(xlabel="n, best of", title=labels[measure], xticks=counts, xticklabels=counts)
    figure.legend(loc="outside lower center", ncols=3)
    figure.suptitle(f"Best of n, n = {rows['prompts'].iloc[0]} prompts")
    return figure


GROUP_COLUMNS = ("category", "policy", "measure", "label", "value", "low", "high", "n", "small", "colour")


def group_rows(metrics: dict, methods: Sequence[str]) -> pd.DataFrame:
    """Of metrics/groups.json each policy's gold rate per category, or its win rate over base where no truth is known.

    Returns:
        {category, policy, measure, label, value, low, high, n, small, colour}; no rows where there are no categories. Base's win
        rate is one half, by definition.
    """
    rows = []
    for category, found in metrics.items():
        measure = "gold_rate" if "gold_rate" in found["policies"]["base"] else "win_rate"
        half = {"value": 0.5, "low": None, "high": None, "n": found["prompts"]}
        for policy, numbers in found["policies"].items():
            row = {"category": category, "policy": policy, "measure": measure, "label": f"{category}: {policy}"}
            rows.append(row | numbers.get(measure, half) | {"small": found["small"], "colour": colour(policy, methods)})
    return pd.DataFrame(rows, columns=GROUP_COLUMNS)


def without_markup(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of `group_rows` for `dvc plots`, with "‹" for each "<" of a category.

    DVC writes a table's texts into its page as they are, where "</script>" would end the page's program and begin another one.
    """
    return rows.assign(**{name: rows[name].astype(object).str.replace("<", "‹") for name in ("category", "label")})


def shortened(names: Sequence[str]) -> list[str]:
    """Names of at most `LONGEST` characters, cut where they are longer; where two would become the same, each has a number."""
    cut = [name if len(name) <= LONGEST else f"{name[: LONGEST - 1].rstrip()}…" for name in names]
    return [short if cut.count(short) == 1 else f"{short} {cut[:place].count(short) + 1}" for place, short in enumerate(cut)]


def groups(rows: pd.DataFrame) -> Figure:
    """The rows of `group_rows`, one line a category and one point a policy; rings and a star are of few prompts.

    Where there are none, the figure says so.
    """
    if rows.empty:
        return _nothing("By category")
    names = list(dict.fromkeys(rows["category"]))
    counted = rows.drop_duplicates("category").set_index("category")
    labels = [
        f"{short} (n = {counted.loc[name, 'n']}){'*' if counted.loc[name, 'small'] else ''}"
        for name, short in zip(names, shortened(names), strict=True)
    ]
    names, labels = names[::-1], labels[::-1]
    policies = list(rows["policy"].unique())
    height = 1.4 + (0.2 + 0.12 * len(policies)) * len(names)
    figure, axes = _axes(width=max(6.4, 4.4 + 0.09 * max(map(len, labels))), height=height)
    for place, policy in enumerate(policies):
        own = rows[rows["policy"] == policy]
        of_policy = own["colour"].iloc[0]
        for small, some in own.groupby("small"):
            heights = [names.index(name) - 0.6 * ((place + 0.5) / len(policies) - 0.5) for name in some["category"]]
            _points(axes, heights, some.to_dict("records"), of_policy, None, flat=True, hollow=small)
        axes.plot([], [], "o", color=of_policy, label=policy)
    label = "share of responses that are gold" if rows["measure"].iloc[0] == "gold_rate" else "win rate over base by reward"
    axes.set(xlim=SHARE, yticks=range(len(names)), yticklabels=labels, xlabel=f"{label}, 95% interval; * few prompts")
    figure.legend(loc="outside lower center", ncols=4)
    _titled(axes, "By category", [int(counted["n"].sum())])
    return figure


PLANE_COLUMNS = ("group", "kind", "step", "kl", "kl_low", "kl_high", "measure", "value", "low", "high", "n", "colour")
PLANE = {"judge": "judge's reward, gain over base", "gold": "gold, gain over base"}


PLANE_STEPS = 8


def plane_rows(policies: dict, best_of_n: dict, online: dict[str, pd.DataFrame], methods: Sequence[str]) -> pd.DataFrame:
    """What each policy gained over base against its KL divergence from base; beside it best of n's curve, and training online's.

    Args:
        policies: metrics/policies.json. A policy whose KL was not measured is left out.
        best_of_n: metrics/best_of_n.json; its gains are over one response of base, its KL log n - (n - 1) / n.
        online: per online method kl (nats a response) and reward (the judge's) of its training's steps. They are taken together
            to `PLANE_STEPS` means, whose gains are over the first; without intervals, for the prompts are others in each.
        methods: the policies besides base.

    Returns:
        {group, kind (policy, best of n or training), step (of best of n its n), kl, kl_low, kl_high (nats a response), measure
        (judge or gold), value, low, high, n, colour}.
    """
    rows = []
    for method in methods:
        price, against = policies[method]["price"], policies[method]["against_base"]
        gains = {"judge": against["reward_difference"], "gold": against.get("gold", {}).get("difference")}
        if (kl := (price["kl"] or {}).get("nats_per_response")) is None:
            continue
        place = {"kl": kl["value"], "kl_low": kl["low"], "kl_high": kl["high"], "colour": colour(method, methods)}
        rows += [
            {"group": method, "kind": "policy", "measure": measure} | gain | place
            for measure, gain in gains.items()
            if gain is not None
        ]
    for method, steps in online.items():
        if steps.empty:
            continue
        parts = [steps.iloc[places].mean() for places in np.array_split(range(len(steps)), min(PLANE_STEPS, len(steps)))]
        rows += [
            {"group": f"{method} in training", "kind": "training", "step": step, "kl": part["kl"], "measure": "judge"}
            | {"value": part["reward"] - parts[0]["reward"], "n": len(steps), "colour": colour(method, methods)}
            for step, part in enumerate(parts, start=1)
        ]
    for scorer, found in best_of_n.items():
        rows += [
            {"group": f"best of n, {scorer}", "kind": "best of n", "step": row["n"], "kl": row["kl"], "measure": measure}
            | row["gain"][measure]
            | {"colour": "#000000" if place == 0 else GREY}
            for place in [list(best_of_n).index(scorer)]
            for row in found["curve"]
            for measure in PLANE
            if measure in row["gain"]
        ]
    return pd.DataFrame(rows, columns=PLANE_COLUMNS)


def plane(rows: pd.DataFrame) -> Figure:
    """The rows of `plane_rows`: a panel a measure; high and to the left is much gained for little KL.

    Where there are none, the figure says so.
    """
    if rows.empty:
        return _nothing("Reward against KL")
    measures = [name for name in PLANE if name in set(rows["measure"])]
    figure = Figure(figsize=(1 + 4.2 * len(measures), 4.2), layout="constrained", dpi=DPI)
    told = set()
    for measure, axes in zip(measures, np.atleast_1d(figure.subplots(1, len(measures))), strict=True):
        axes.plot(0, 0, "s", color=GREY, label=None if told else "base")
        for group, own in rows[rows["measure"] == measure].groupby("group", sort=False):
            ends = [own["value"] - own["low"].fillna(own["value"]), own["high"].fillna(own["value"]) - own["value"]]
            across = [(own["kl"] - own["kl_low"]).fillna(0), (own["kl_high"] - own["kl"]).fillna(0)]
            curve = own["kind"].iloc[0] != "policy"
            axes.errorbar(
                own["kl"], own["value"], yerr=np.maximum(ends, 0), xerr=None if curve else np.maximum(across, 0),
                fmt="o-" if curve else "o", markersize=3 if curve else 6, linewidth=1, capsize=2, color=own["colour"].iloc[0],
                label=None if group in told else group,
            )  # fmt: skip
            told.add(group)
        axes.axhline(0, color="black", linewidth=0.5)
        axes.set(xlabel="KL from base (nats a response)", title=PLANE[measure])
    figure.legend(loc="outside lower center", ncols=3)
    return figure
