"""What a public benchmark says of reward models and other judges: how often each is right, the benchmark's own scores by its own
rule, and what differs between judges on the same rows."""

from collections.abc import Sequence
from itertools import combinations

import numpy as np
import pandas as pd

from preference_study.analysis.statistics import holm_in_place, mean, paired_mean_change, share
from preference_study.benchmarks import SHAPES, Outcome

Scores = Sequence[Sequence[float]]


def compare_benchmark(rows: pd.DataFrame, judges: dict[str, Scores], shape: str, seed: int) -> dict:
    """metrics/benchmarks/<name>.json, but for what was read and dropped.

    Args:
        rows: of one benchmark, as `read_benchmark` gives them.
        judges: per judge its scores of each row's responses, the higher the better, rows and responses in order.
        shape: of `SHAPES`.
        seed: of the tests that turn signs at random.

    Returns:
        n, clusters: rows, and of how many clusters.
        sections: per section the subsets in it.
        missing: subsets or sections that the published scores need and that are not there.
        chance: by overall, and per section and subset, the accuracy of a judge that draws its scores.
        judges: per judge what `describe` gives.
        pairs: every two judges on the same rows: accuracy, b's minus a's, a mean over rows with p and p_holm, corrected over all
            pairs; published, the same difference in each published score, with its interval and without a test.
    """
    found = SHAPES[shape]
    rows = rows.reset_index(drop=True)
    outcomes = {name: found.outcome(rows, [np.asarray(own, dtype=float) for own in scores]) for name, scores in judges.items()}
    pairs = [between(rows, a, b, outcomes, seed) for a, b in combinations(judges, 2)]
    holm_in_place((pair["accuracy"], "p") for pair in pairs)
    present = rows.groupby("section", sort=False)["subset"].unique().map(list).to_dict()
    there = {*present, *rows["subset"]}
    any_of_them = next(iter(outcomes.values())).comparisons
    return {
        "n": len(rows),
        "clusters": rows["cluster"].nunique(),
        "rule": found.rule,
        "sections": present,
        "missing": [need for need in found.needs if not any(name == need or name.endswith(f"_{need}") for name in there)],
        "chance": _by_part(rows, any_of_them, lambda points, clusters: float(points.mean()), "chance"),
        "judges": {name: describe(rows, outcome) for name, outcome in outcomes.items()},
        "pairs": pairs,
    }


def describe(rows: pd.DataFrame, outcome: Outcome) -> dict:
    """One judge's numbers.

    Returns:
        accuracy: {overall, sections, subsets}, shares of comparisons by the benchmark's rule on ties, by clusters; where a row
            is compared at several levels they are all its comparisons.
        published: per published score, the headline first, its estimate over rows.
    """
    clusters = rows["cluster"].to_numpy()
    return {
        "accuracy": _by_part(rows, outcome.comparisons, share, "point"),
        "published": {name: _estimate(terms, clusters) for name, terms in outcome.published.items()},
    }


def between(rows: pd.DataFrame, a: str, b: str, outcomes: dict[str, Outcome], seed: int) -> dict:
    """Judge b minus judge a, on the same rows."""
    clusters = rows["cluster"].to_numpy()
    points = [outcomes[name].comparisons.groupby("row")["point"].mean().to_numpy() for name in (a, b)]
    published = {}
    for name in outcomes[a].published:
        one, other = (by_row(outcomes[judge].published[name], clusters) for judge in (a, b))
        published[name] = mean((other - one).to_numpy(), clusters[one.index])
    return {
        "a": a,
        "b": b,
        "accuracy": paired_mean_change(points[1] - points[0], seed, clusters),
        "published": published,
    }


def by_row(terms: pd.DataFrame, clusters: np.ndarray) -> pd.Series:
    """A score's value a row: their mean is the score, and their spread its uncertainty.

    The score is a sum over terms t of weight_t times the mean of the term's points. A row's value is the score plus n times the
    sum over its points of weight_t / n_t (point - mean_t): the linearised form of a weighted sum of means, of which
    cluster-robust errors can be taken (Binder 1983, International Statistical Review 51:279). Each term loses a degree of
    freedom to its mean: with g_t of all g clusters in it, its part is multiplied by the square root of g_t / (g_t - 1) over
    g / (g - 1). A term of one cluster adds nothing to the error, for nothing is known of its spread.

    Args:
        terms: as in `Outcome.published`.
        clusters: of all rows.

    Returns:
        By the rows' places, those that are in any term.
    """
    grouped = terms.groupby("term")["point"]
    share_of = terms["weight"] / grouped.transform("size")
    score = float((share_of * terms["point"]).sum())
    labels = terms["row"].map(pd.Series(clusters))
    inside, total = labels.groupby(terms["term"]).transform("nunique"), labels.nunique()
    lost = np.sqrt(inside / (inside - 1).clip(lower=1) * max(total - 1, 1) / total)
    own = (share_of * lost * (terms["point"] - grouped.transform("mean"))).groupby(terms["row"]).sum()
    return score + len(own) * own


def _estimate(terms: pd.DataFrame, clusters: np.ndarray) -> dict:
    """A published score with Student's interval by clusters, no wider than what the score can be."""
    values = by_row(terms, clusters)
    found = mean(values.to_numpy(), clusters[values.index])
    if found["low"] is not None:
        most = float(terms.drop_duplicates("term")["weight"].sum())
        found |= {"low": max(found["low"], min(0.0, found["value"])), "high": min(found["high"], max(most, found["value"]))}
    return found


def _by_part(rows: pd.DataFrame, comparisons: pd.DataFrame, measure, column: str) -> dict:
    """A measure of all comparisons, and of those of each section and subset."""
    table = comparisons.join(rows[["cluster", "section", "subset"]], on="row")

    def of(part: pd.DataFrame):
        return measure(part[column].to_numpy(dtype=float), part["cluster"].to_numpy())

    grouped = {
        f"{name}s": {str(key): of(part) for key, part in table.groupby(name, sort=False)} for name in ("section", "subset")
    }
    return {"overall": of(table)} | grouped
