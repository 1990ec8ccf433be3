import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib.font_manager import fontManager

from preference_study.report import figures


def test_fonts_for_other_scripts_come_after_matplotlibs_own_where_they_are_installed():
    first, *others = matplotlib.rcParams["font.family"]
    assert first == "DejaVu Sans" and others == [name for name in figures.FONTS if name in fontManager.get_font_names()]
    assert "Noto Sans CJK SC" in figures.FONTS


def test_a_histogram_counts_everything_once():
    groups = {"base": [1.0, 2.0, 3.0, np.nan], "dpo": [2.0, 8.0]}
    bins = figures.histogram_rows(groups, ["dpo"])
    assert bins.groupby("group")["count"].sum().to_dict() == {"base": 3, "dpo": 2}
    assert bins.groupby("group")["share"].sum().to_dict() == pytest.approx({"base": 1, "dpo": 1})
    assert bins.groupby("group")["n"].first().to_dict() == {"base": 3, "dpo": 2}  # what is not a number is not there
    assert list(bins["low"][:2]) == [1, 2] and bins["high"].max() == 9 and len(bins) == 2 * 8  # whole numbers: no narrower than 1


def test_bins_are_the_same_for_two_runs_of_about_the_same_range():
    one, other = (np.random.default_rng(seed).normal(loc, 1.0, 500) for seed, loc in ((0, 0.0), (1, 0.7)))
    ends, others = figures.bin_edges(one), figures.bin_edges(other)
    shared = set(ends) & set(others)
    assert len(shared) > 20 and shared == {e for e in ends if others[0] <= e <= others[-1]}
    assert ends[0] <= one.min() < ends[1] and ends[-2] <= one.max() < ends[-1]


@pytest.mark.parametrize("scale", [1e-7, 0.013, 0.3, 1.0, 7.0, 250.0, 4e6])
def test_bins_are_about_thirty_at_multiples_of_a_round_width(scale):
    edges = figures.bin_edges(np.linspace(-scale / 3, scale, 1000))
    width = edges[1] - edges[0]
    assert 18 < len(edges) < 50 and np.allclose(np.diff(edges), width)
    assert np.allclose(edges / width, np.round(edges / width)) and f"{width:.0e}"[0] in "125"


def test_there_are_bins_of_little():
    assert list(figures.bin_edges(np.array([]))) == [0, 1]
    assert list(figures.bin_edges(np.array([0.3, 0.3]))) == [0, 1] and list(figures.bin_edges(np.array([-2.0]))) == [-2, -1]
    assert list(figures.bin_edges(np.array([1.0, 2.0]))) == [1, 2, 3]


def test_a_plot_without_rows_says_so():
    rows = figures.or_not_measured(figures.best_of_n_rows({}))
    assert len(rows) == 1 and rows.isna().all(axis=None)
    (row,) = figures.or_not_measured(figures.stress_rows({})).to_dict("records")
    assert row.pop("label") == "not measured" and set(row.values()) == {None}
    (row,) = figures.or_not_measured(figures.kde_rows({})).to_dict("records")
    assert row.pop("group") == "not measured" and set(row.values()) == {None}
    points = figures.kde_rows({"margin": [1.0, 2.0]})
    assert figures.or_not_measured(points) is points
    assert [text.get_text() for text in figures.best_of_n(figures.best_of_n_rows({})).texts] == ["Best of n: not measured"]


def test_the_numbers_of_best_of_n_stand_on_its_axis_and_no_formula_is_read():
    estimate = {"value": 0.5, "low": 0.4, "high": 0.6, "n": 9}
    curve = [{"n": n, "kl": 0.0, "reward": estimate, "gold": estimate} for n in (1, 2, 4)]
    figure = figures.best_of_n(figures.best_of_n_rows({"standard": {"curve": curve}}))
    figure.draw_without_rendering()
    for axes in figure.axes:
        assert [tick.get_text() for tick in axes.get_xticklabels()] == ["1", "2", "4"] and not axes.get_xminorticklabels()
    named = figures.Figure()
    assert not named.text(0, 0, r"$\frac$").get_parse_math()


def test_a_density_integrates_to_what_lies_in_view():
    values = np.random.default_rng(0).normal(size=4000)
    points = figures.kde_rows({"margin": values})
    assert np.trapezoid(points["density"], points["x"]) == pytest.approx(1, abs=0.01)
    constant = figures.kde_rows({"margin": [1.0, 1.0]})
    assert len(constant) == 0 and list(constant.columns) == list(points.columns)
    figures.kde(constant, "Nothing to see", "x")


def test_an_axis_does_not_bow_to_one_value():
    values = np.arange(100.0)
    assert figures.view(values) == (0, 99)
    assert figures.view(np.array([*values, 1000.0])) == (0, 99) and figures.view(np.array([-1000.0, *values])) == (0, 99)
    assert figures.view(np.array([-1000.0, *values, 1000.0])) == (0, 99)
    assert figures.view(np.array([*values, 150.0])) == (0, 150)  # it takes less than half of the axis
    assert figures.view(np.array([*values, 900.0, 1000.0])) == (0, 1000)  # two of a hundred are no exception
    assert figures.view(np.array([0.0] * 50 + [7.0])) == (0, 7)  # all others are one value: there is no axis without it
    assert figures.view(np.array([1.0, 2.0, 900.0])) == (1, 900) and figures.view(np.array([])) == (0, 1)
    many = np.random.default_rng(0).normal(size=5000)
    assert figures.view(many) == (many.min(), many.max())
    far = np.concatenate([many, np.full(20, 500.0)])
    low, high = figures.view(far)
    assert low == many.min() and high < 4


def test_what_lies_outside_is_counted_and_said():
    groups = {"base": [*np.arange(100.0), 5000.0], "dpo": [*np.arange(100.0)]}
    bins = figures.histogram_rows(groups, ["dpo"])
    assert bins["high"].max() <= 105 and bins.groupby("group")["count"].sum().to_dict() == {"base": 100, "dpo": 100}
    assert bins.groupby("group")["outside"].first().to_dict() == {"base": 1, "dpo": 0}
    assert bins.groupby("group")["share"].sum().to_dict() == pytest.approx({"base": 100 / 101, "dpo": 1})
    points = figures.kde_rows(groups, ["dpo"])
    assert points["x"].max() == 99 and points.groupby("group")["outside"].first().to_dict() == {"base": 1, "dpo": 0}
    plain = figures.kde_rows({"dpo": groups["dpo"]}, ["dpo"])  # the far value does not widen the kernel
    base = points.loc[points["group"] == "base", "density"]
    assert base.to_numpy() == pytest.approx(plain["density"].to_numpy() * 100 / 101)
    for figure in (figures.histogram(bins, "Words", "words", "responses"), figures.kde(points, "Words", "words")):
        told = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
        assert told == ["base (n = 101, 1 outside)", "dpo (n = 100)"]
    base, dpo = np.arange(60.0), np.arange(60.0)
    dpo[3], base[4] = 4000.0, -4000.0
    panel = figures.scatter(base, {"dpo": dpo}, ["dpo"]).axes[0]
    assert panel.get_legend().get_texts()[0].get_text() == "dpo, 2 outside" and panel.get_xlim()[1] < 70


def test_training_is_drawn_a_panel_a_measure():
    steps = {
        name: pd.DataFrame({"examples": range(40), "value": np.arange(40.0) + place}) for place, name in enumerate(("dpo", "ipo"))
    }
    rows = figures.training_rows(steps, "loss", METHODS)
    nothing = figures.training_rows({}, "kl", METHODS)
    spike = rows[rows["group"] == "dpo"].rename(columns={"loss": "reward"}).assign(reward=[*range(39), 5000.0])
    figure = figures.training([("loss", "loss", rows), ("KL", "kl", nothing), ("reward", "reward", spike)])
    shown = [axes for axes in figure.axes if axes.axison]
    assert [axes.get_title() for axes in shown] == ["loss", "reward"] and shown[1].get_ylim()[1] < 200
    assert [axes.get_xlabel() for axes in shown] == ["examples seen", "examples seen; 1 of 40 values outside"]
    raw, smooth, other, _ = shown[0].lines
    assert list(raw.get_ydata()) == list(range(40)) and list(smooth.get_ydata()[:3]) == [0, 0.5, 1.5]  # means of two steps
    assert list(other.get_ydata()) == list(range(1, 41)) and other.get_color() == figures.colour("ipo", METHODS)
    assert [text.get_text() for text in shown[0].get_legend().get_texts()] == ["dpo", "ipo"]
    assert figures.training([("loss", "loss", rows[:1])]).texts[0].get_text() == "Training: not measured"  # one step
    assert figures.training([("KL", "kl", nothing)]).texts[0].get_text() == "Training: not measured"


def test_a_policy_has_one_colour_everywhere():
    methods = ["dpo", "ipo"]
    assert figures.colour("base", methods) == figures.GREY
    assert figures.colour("dpo", methods) != figures.colour("ipo", methods)
    bins, points = (rows({"ipo": [1.0, 2.0]}, methods) for rows in (figures.histogram_rows, figures.kde_rows))
    assert set(bins["colour"]) == set(points["colour"]) == {figures.colour("ipo", methods)}


def test_titles_say_how_many():
    bins = figures.histogram_rows({"correct": [1.0, 2.0, 3.0], "wrong": [0.5]})
    figure = figures.histogram(bins, "Winning reward", "reward", "pairs")
    axes = figure.axes[0]
    assert axes.get_title() == "Winning reward, n = 3 and 1"
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["correct (n = 3)", "wrong (n = 1)"]
    assert axes.get_xlabel() == "reward" and axes.get_ylabel() == "share of each group's pairs"
    assert max(step.get_data().values.max() for step in axes.patches) == 1.0  # all of the one that is wrong
    counted = figures.histogram(bins, "Winning reward", "reward", "pairs", "count").axes[0]
    alone = figures.histogram(bins[bins["group"] == "wrong"], "Margins", "reward", "pairs").axes[0]
    assert (counted.get_ylabel(), alone.get_ylabel()) == ("number of pairs", "share of pairs")
    heights = [step.get_data().values.sum() for step in counted.patches]
    assert heights == [3, 1]


def test_shares_leave_out_what_is_not_there():
    estimate = {"value": 0.4, "low": 0.3, "high": 0.5, "n": 100}
    metrics = {
        "base": {"finished": estimate, "implicit_accuracy": estimate},
        "dpo": {
            "finished": estimate,
            "against_base": {"win_rate": estimate, "win_rate_length_controlled": estimate | {"low": None}},
        },
    }
    rows = figures.share_rows(metrics, ["dpo"])
    assert list(zip(rows["policy"], rows["measure"], strict=True)) == [
        ("base", "finished"), ("base", "implicit_accuracy"), ("dpo", "win_rate"), ("dpo", "finished"),
    ]  # fmt: skip
    axes = figures.shares(rows).axes[0]
    assert axes.get_title() == "Policies, n = 100" and axes.get_xlim()[0] < 0 and axes.get_xlim()[1] > 1


def test_shares_of_one_cluster_have_no_interval_and_no_point():
    estimate = {"value": 0.4, "low": None, "high": None, "n": 100}
    metrics = {"base": {"finished": estimate}, "dpo": {"finished": estimate, "against_base": {"win_rate": estimate}}}
    for rows, drawn in (
        (figures.share_rows(metrics, ["dpo"]), figures.shares),
        (figures.method_rows(metrics, ["dpo"]), figures.method_shares),
    ):
        assert rows.empty and figures.or_not_measured(rows)["label"].tolist() == [figures.NOT_MEASURED]
        assert drawn(rows).texts[0].get_text().endswith(figures.NOT_MEASURED)


METHODS = ["dpo", "ipo", "kto", "simpo", "orpo", "rloo"]


def test_many_groups_are_not_drawn_over_each_other():
    groups = {policy: [place, place + 1.0] for place, policy in enumerate(["base", *METHODS])}
    figure = figures.histogram(figures.histogram_rows(groups, METHODS), "Rewards", "reward", "responses")
    assert [panel.get_legend().get_texts()[0].get_text() for panel in figure.axes] == [f"{p} (n = 2)" for p in groups]
    density = figures.kde(figures.kde_rows(groups, METHODS), "Rewards", "reward")
    assert density.axes[0].get_legend() is None and len(density.legends[0].get_texts()) == 7  # beside the curves, not on them
    for methods, shown in ((METHODS[:1], 1), (METHODS[:4], 4), (METHODS, 6)):
        panels = figures.scatter(groups["base"], {m: groups[m] for m in methods}, methods).axes
        assert [panel.get_legend().get_texts()[0].get_text() for panel in panels if panel.axison] == methods
        assert sum(panel.axison for panel in panels) == shown


def test_methods_are_drawn_beside_bases_gold_rate():
    low, high = {"value": 0.4, "low": 0.3, "high": 0.5, "n": 100}, {"value": 0.7, "low": 0.6, "high": 0.8, "n": 100}
    against = {"win_rate": high, "win_rate_length_controlled": low}
    metrics = {"base": {"gold_rate": low, "letter_rate": high, "finished": low}}
    metrics |= {method: {"gold_rate": high, "letter_rate": high, "finished": low, "against_base": against} for method in METHODS}
    rows = figures.method_rows(metrics, METHODS)
    assert rows["measure"].value_counts().to_dict() == {
        "gold_rate": 7, "letter_rate": 7, "win_rate": 6, "win_rate_length_controlled": 6,
    }  # fmt: skip
    axes = figures.method_shares(rows).axes[0]
    assert [text.get_text() for text in axes.get_xticklabels()] == METHODS and axes.get_title() == "Methods, n = 100"
    (base,) = (line for line in axes.lines if line.get_linestyle() == "--")
    assert list(base.get_ydata()) == [0.4, 0.4] and base.get_label() == "gold: base"
    (letter,) = (line for line in axes.lines if line.get_linestyle() == ":")
    assert list(letter.get_ydata()) == [0.7, 0.7] and letter.get_label() == "obeyed to the letter: base"
    for policy in metrics.values():
        del policy["gold_rate"], policy["letter_rate"]
    without = figures.method_shares(figures.method_rows(metrics, METHODS)).axes[0]
    assert not any(line.get_linestyle() in ("--", ":") for line in without.lines)


def test_the_square_of_win_rates_marks_what_can_be_told_apart():
    def cell(value, better):
        return {"estimate": {"value": value, "low": 0.1, "high": 0.9, "n": 40}, "better": better}

    matrix = [{"policy": "base", "cells": [None, cell(0.2, False)]}, {"policy": "dpo", "cells": [cell(0.8, True), None]}]
    axes = figures.win_matrix(matrix).axes[0]
    assert [(text.get_text(), text.get_position()) for text in axes.texts] == [("0.20*", (1, 0)), ("0.80*", (0, 1))]
    matrix[0]["cells"][1]["better"] = matrix[1]["cells"][0]["better"] = None
    assert [text.get_text() for text in figures.win_matrix(matrix).axes[0].texts] == ["0.20", "0.80"]


def test_changes_of_log_probabilities_are_drawn_a_panel_a_method():
    steps = pd.DataFrame({"examples": range(40), "value": np.arange(40.0)})
    series = {("dpo", "chosen"): steps, ("dpo", "rejected"): steps.assign(value=-steps["value"]), ("ipo", "chosen"): steps[:3]}
    rows = figures.logps_rows(series, METHODS)
    assert rows.groupby("group", sort=False)["change"].sum().to_dict() == {
        "dpo, chosen": 780,
        "dpo, rejected": -780,
        "ipo, chosen": 3,
    }
    assert set(rows["colour"]) == {figures.colour("dpo", METHODS), figures.colour("ipo", METHODS)}
    figure = figures.logps(rows)
    assert [axes.get_title() for axes in figure.axes] == ["dpo", "ipo"]
    assert [axes.get_xlabel() for axes in figure.axes] == ["examples seen"] * 2
    long = pd.DataFrame({"examples": range(300), "value": np.linspace(0, 5, 300)})
    far = long.assign(value=long["value"].where(long["examples"] != 150, -3000.0))
    spoilt = figures.logps(figures.logps_rows({("dpo", "chosen"): far, ("dpo", "rejected"): long}, METHODS)).axes[0]
    assert spoilt.get_xlabel() == "examples seen; 1 of 600 values outside" and -300 < spoilt.get_ylim()[0] < 0
    raw, smooth = figure.axes[0].lines[:2]
    assert list(raw.get_ydata()) == list(range(40)) and list(smooth.get_ydata()[:3]) == [0, 0.5, 1.5]  # means of two steps
    assert figures.logps(figures.logps_rows({}, METHODS)).texts[0].get_text() == "Log-probabilities in training: not measured"


def test_long_names_of_categories_leave_room_for_the_picture():
    names = [
        "short",
        "x" * 32,
        f"{'one and the same beginning, then ' * 2}a",
        f"{'one and the same beginning, then ' * 2}b",
        "y" * 40,
    ]
    cut = figures.shortened(names)
    assert cut[:2] == names[:2] and cut[2:] == [
        "one and the same beginning, the… 1", "one and the same beginning, the… 2", "y" * 31 + "…",
    ]  # fmt: skip
    policies = {"base": {"gold_rate": estimated(0.5)}, "dpo": {"gold_rate": estimated(0.6)}}
    metrics = {name: {"prompts": 50, "small": False, "judge": None, "policies": policies} for name in names}
    figure = figures.groups(figures.group_rows(metrics, ["dpo"]))
    figure.draw_without_rendering()
    assert figure.axes[0].get_position().width * figure.get_figwidth() > 3
    assert sorted(text.get_text() for text in figure.axes[0].get_yticklabels()) == sorted(f"{name} (n = 50)" for name in cut)


def estimated(value: float, n: int = 50) -> dict:
    return {"value": value, "low": value - 0.5, "high": value + 0.25, "n": n}


def test_gains_are_drawn_against_kl_each_with_its_own():
    policies = {
        method: {
            "price": {"kl": {"nats_per_response": estimated(10.0 * place), "nats_per_token": estimated(0.1)}},
            "against_base": {"reward_difference": estimated(place), "gold": {"difference": estimated(place / 10)}},
        }
        for place, method in enumerate(METHODS, start=1)
    }
    policies["kto"]["price"]["kl"] = None  # not measured
    curve = [
        {
            "n": n,
            "kl": kl,
            "reward": estimated(9.0),
            "gain": {"reward": estimated(8.0), "judge": estimated(kl), "gold": estimated(kl / 9)},
        }
        for n, kl in ((1, 0.0), (2, 0.19))
    ]
    online = {"rloo": pd.DataFrame({"kl": np.arange(16.0), "reward": 5 + np.arange(16.0) / 4})}
    rows = figures.plane_rows(policies, {"standard": {"curve": curve}}, online, METHODS)
    of = {
        (row["group"], row["measure"], row["step"] if row["step"] == row["step"] else 0): row for row in rows.to_dict("records")
    }
    assert (of["ipo", "judge", 0]["kl"], of["ipo", "judge", 0]["value"], of["ipo", "gold", 0]["value"]) == (20, 2, 0.2)
    assert (of["ipo", "gold", 0]["kl_low"], of["ipo", "gold", 0]["low"]) == (19.5, -0.3) and ("kto", "judge", 0) not in of
    assert [of["best of n, standard", "gold", n]["value"] for n in (1, 2)] == [0, 0.19 / 9]
    assert [of["best of n, standard", "judge", n]["kl"] for n in (1, 2)] == [0, 0.19]
    trained = rows[rows["kind"] == "training"]  # means of two steps each
    assert trained["kl"].tolist() == [0.5 + 2 * k for k in range(8)] and trained["value"].tolist() == [k / 2 for k in range(8)]
    assert len(rows) == 5 * 2 + 2 * 2 + 8
    figure = figures.plane(rows)
    assert [axes.get_title() for axes in figure.axes] == list(figures.PLANE.values())
    named = [text.get_text() for text in figure.legends[0].get_texts()]
    assert sorted(named) == sorted(["base", "dpo", "ipo", "simpo", "orpo", "rloo", "rloo in training", "best of n, standard"])
    assert figures.plane(figures.plane_rows({}, {}, {}, [])).texts[0].get_text() == "Reward against KL: not measured"


def test_categories_are_drawn_with_intervals_in_the_tables_order():
    metrics = {
        name: {
            "prompts": n, "small": n < 20, "judge": None,
            "policies": {
                "base": {"gold_rate": estimated(base, n)}, "dpo": {"gold_rate": estimated(dpo, n), "win_rate": estimated(0.9)},
            },
        }
        for name, n, base, dpo in (("a", 30, 0.5, 0.5), ("b", 12, 0.1, 0.6), ("c", 25, 0.3, 0.5))
    }  # fmt: skip
    rows = figures.group_rows(metrics, ["dpo"])
    assert list(rows[["category", "policy", "value", "n"]].itertuples(index=False, name=None)) == [
        ("a", "base", 0.5, 30), ("a", "dpo", 0.5, 30), ("b", "base", 0.1, 12), ("b", "dpo", 0.6, 12), ("c", "base", 0.3, 25),
        ("c", "dpo", 0.5, 25),
    ]  # fmt: skip
    axes = figures.groups(rows).axes[0]
    assert [text.get_text() for text in axes.get_yticklabels()] == ["c (n = 25)", "b (n = 12)*", "a (n = 30)"]
    assert axes.get_xlabel() == "share of responses that are gold, 95% interval; * few prompts"
    # Where both have the same rate each is seen: no two points lie on each other, and each has its interval.
    points = [
        (x, y, line.get_mfc()) for line in axes.lines if line.get_marker() == "o" for x, y in zip(*line.get_data(), strict=True)
    ]
    assert len(points) == 6 == len({point[:2] for point in points}) and len({round(y) for _, y, _ in points}) == 3
    assert sorted(x for x, _, face in points if face == "white") == [0.1, 0.6]
    drawn = [segment[:, 0] for bars in axes.collections for segment in bars.get_segments()]
    assert sorted(np.round(np.array(drawn), 6).tolist()) == sorted([round(x - 0.5, 6), round(x + 0.25, 6)] for x, _, _ in points)
    for found in metrics.values():
        found["policies"] = {"base": {}, "dpo": {"win_rate": found["policies"]["dpo"]["win_rate"]}}
    rows = figures.group_rows(metrics, ["dpo"])
    assert rows["value"].tolist() == [0.5, 0.9] * 3 and set(rows["measure"]) == {"win_rate"}
    assert figures.groups(rows).axes[0].get_xlabel() == "win rate over base by reward, 95% interval; * few prompts"
    assert figures.groups(figures.group_rows({}, ["dpo"])).texts[0].get_text() == "By category: not measured"
