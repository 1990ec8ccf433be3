import numpy as np
import pytest

from stages.lib import figures


def test_a_histogram_counts_everything_once():
    groups = {"base": [1.0, 2.0, 3.0, np.nan], "dpo": [2.0, 8.0]}
    bins = figures.histogram_rows(groups, ["dpo"])
    assert bins.groupby("group")["count"].sum().to_dict() == {"base": 3, "dpo": 2}
    assert bins.groupby("group")["share"].sum().to_dict() == pytest.approx({"base": 1, "dpo": 1})
    assert bins.groupby("group")["n"].first().to_dict() == {"base": 3, "dpo": 2}  # what is not a number is not there
    assert len(bins) == 2 * figures.BINS and bins["high"].max() == 8


def test_a_density_integrates_to_what_lies_in_view():
    values = np.random.default_rng(0).normal(size=4000)
    points = figures.kde_rows({"margin": values})
    assert np.trapezoid(points["density"], points["x"]) == pytest.approx(1, abs=0.01)
    constant = figures.kde_rows({"margin": [1.0, 1.0]})
    assert len(constant) == 0 and list(constant.columns) == list(points.columns)
    figures.kde(constant, "Nothing to see", "x")


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
    assert axes.get_xlabel() == "reward" and axes.get_ylabel() == "share of pairs"


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
    assert figures.shares(rows).axes[0].get_title() == "Policies, n = 100"
