"""What people say of a policy's responses against base's, and how far they agree with one another, with judges and the truth."""

import numpy as np
import pandas as pd

from preference_study.analysis.agreement import alpha, counted
from preference_study.analysis.correction import corrected
from preference_study.analysis.evidence import win_rate_evidence
from preference_study.analysis.statistics import holm_in_place, sign_test, win_rate
from preference_study.analysis.verdicts import by_people


def answers_of(annotations: pd.DataFrame, key: dict, method: str, clusters: pd.Series) -> pd.DataFrame:
    """A row an annotation of one study.

    Args:
        annotations: from `read_annotations`; those of other studies are passed over.
        key: of this study, from `blind.draw`.
        method: the policy that base's responses stand beside.
        clusters: by prompt id.

    Returns:
        annotator, answer, flag, comment; id and cluster of the prompt; case; again, the case that this one shows a second time,
        None where it is the first time; point, 1 where the policy's response is better, 0 where base's is, one half for a tie;
        side, the same for the response shown first. Of a skipped case point and side are NaN.
    """
    rows = annotations[annotations["study"] == key["study"]]
    rows = rows.merge(pd.DataFrame(key["cases"], dtype=object), on="case", validate="many_to_one")
    side = rows["answer"].map({"1": 1.0, "tie": 0.5, "2": 0.0}).astype(float)
    columns = ["annotator", "answer", "flag", "comment", "id", "case"]
    return rows[columns].assign(
        again=rows["again"].where(rows["again"].notna(), None),
        cluster=rows["id"].map(clusters),
        point=side.where(rows["first"] == method, 1 - side),
        side=side,
    )


def agreement(points: pd.Series, other: pd.Series, clusters: pd.Series, seed: int) -> dict:
    """How far people's answers and another opinion are the same.

    Args:
        points: of people's answers.
        other: the other's of the same cases, NaN where there is none.

    Returns:
        {share, alpha}: of the answers that are no tie, the share on the other's side, the other's tie being half; and
        Krippendorff's alpha of both, which takes off what chance would give. None each where there is nothing to compare.
    """
    known = points.notna() & other.notna()
    decided = known & (points != 0.5)
    same = np.where(other == 0.5, 0.5, points == other)
    return {
        "share": _won(same[decided], clusters[decided]),
        "alpha": alpha(counted(points[known], other[known]), seed, clusters[known]) if known.any() else None,
    }


def _won(points: np.ndarray, clusters: pd.Series) -> dict | None:
    return win_rate(points, clusters) if len(points) else None


def self_agreement(rows: pd.DataFrame) -> pd.DataFrame:
    """The cases that a person answered twice, a skipped one being no answer: annotator, cluster, same."""
    answered = rows.dropna(subset="point")
    twice = answered[answered["again"].notna()].merge(
        answered[["annotator", "case", "point"]],
        left_on=["annotator", "again"],
        right_on=["annotator", "case"],
        suffixes=("", "_first"),
    )
    return twice[["annotator", "cluster"]].assign(same=twice["point"] == twice["point_first"])


def describe(rows: pd.DataFrame, key: dict, votes: pd.DataFrame, truth: pd.Series, seed: int) -> dict:
    """Everything that people's answers in one study say, but for the tests and the verdict.

    Second showings count for `self_agreement` alone.

    Args:
        rows: from `answers_of`.
        key: of the study.
        votes, truth: from `blind.opinions`.
        seed: of the bootstraps.
    """
    first, twice = rows[rows["again"].isna()], self_agreement(rows)
    noted = rows[rows["flag"] | (rows["comment"].str.strip() != "")]
    asked = [case for case in key["cases"] if case["again"] is None]
    found = {
        "study": key["study"], "which": key["which"], "cases": len(asked), "repeats": len(key["cases"]) - len(asked),
        "annotators": [_annotator(name, theirs, twice) for name, theirs in first.groupby("annotator")],
        "comments": noted[["annotator", "id", "answer", "flag", "comment"]].to_dict("records"),
    }  # fmt: skip
    answered = first.dropna(subset="point")
    if answered.empty:
        return found | {"win_rate": None}
    points, clusters = answered["point"], answered["cluster"]
    by_case = answered.groupby("id")["point"].apply(lambda given: counted(*given.to_numpy()[:, None])[0])
    of_case = answered.drop_duplicates("id").set_index("id")["cluster"]
    said = {name: answered["id"].map(column) for name, column in votes.items()}
    true = answered["id"].map(truth)
    return found | {
        "people": answered["annotator"].nunique(),
        "prompts": answered["id"].nunique(),
        "wins": int((points == 1).sum()),
        "losses": int((points == 0).sum()),
        "ties": int((points == 0.5).sum()),
        "win_rate": win_rate(points, clusters),
        "first_side": win_rate(answered["side"], clusters),
        "agreement": alpha(np.stack(by_case.to_list()), seed, of_case[by_case.index]),
        "self_agreement": _won(twice["same"].to_numpy(), twice["cluster"]),
        "truth": agreement(points, true, clusters, seed) if true.notna().any() else None,
        "judges": {
            name: agreement(points, vote, clusters, seed) | {"where_truth_differs": _with_truth(points, vote, true, clusters)}
            for name, vote in said.items()
        },
    }


def _annotator(name: str, first: pd.DataFrame, twice: pd.DataFrame) -> dict:
    theirs = twice[twice["annotator"] == name]
    return {
        "annotator": name, "answered": int(first["point"].notna().sum()), "ties": int((first["point"] == 0.5).sum()),
        "skipped": int(first["point"].isna().sum()), "flagged": int(first["flag"].sum()),
        "twice": len(theirs), "same": int(theirs["same"].sum()),
    }  # fmt: skip


def _with_truth(points: pd.Series, vote: pd.Series, true: pd.Series, clusters: pd.Series) -> dict | None:
    """Of the answers where the judge is for the one response and the truth for the other, the share on the truth's side."""
    differ = vote.isin([0, 1]) & true.isin([0, 1]) & (vote != true)
    sides = np.where(points == 0.5, 0.5, points == true)
    return _won(sides[differ], clusters[differ])


def corrected_rate(rows: pd.DataFrame, votes: pd.Series, clusters: pd.Series) -> dict | None:
    """A judge's win rate on all prompts, corrected by what people said of some.

    Args:
        rows: from `answers_of`; people must have seen a random sample of the prompts.
        votes: the judge's, a column of `blind.opinions`.
        clusters: by prompt id.

    Returns:
        {labels, uncorrected, rogan_gladen, prediction_powered, power_tuned}: how many prompts people answered, of several answers
        the mean; the judge's own rate; the corrections of `analysis.correction.corrected`. None where people answered fewer than
        two prompts, or all of them.
    """
    votes = votes.dropna()
    answered = rows[rows["again"].isna()].dropna(subset="point")
    labels = votes.index.to_series().map(answered.groupby("id")["point"].mean()).astype(float)
    known, numbers = int(labels.notna().sum()), clusters.loc[votes.index].to_numpy()
    if known < 2 or known == len(labels):
        return None
    found = {"labels": known, "uncorrected": win_rate(votes.to_numpy(), numbers)}
    return found | corrected(votes.to_numpy(), labels.to_numpy(), numbers)


def tested(rows: pd.DataFrame, smallest: float) -> dict:
    """The test that people prefer neither, and the one that what they prefer is smaller than matters; not corrected yet.

    Args:
        rows: from `answers_of`.
        smallest: the smallest difference of a win rate from one half that matters.

    Returns:
        {test, evidence}; empty where nobody answered.
    """
    answered = rows[rows["again"].isna()].dropna(subset="point")
    if answered.empty:
        return {}
    found = sign_test(2 * answered["point"] - 1, answered["cluster"]) or {"statistic": None, "p": None, "n": 0, "clusters": 0}
    return {"test": found, "evidence": win_rate_evidence(answered["point"].to_numpy(), answered["cluster"], smallest)}


def analyse_people(
    rows: dict[str, pd.DataFrame],
    method: str,
    key: dict,
    votes: pd.DataFrame,
    truth: pd.Series,
    clusters: pd.Series,
    reward: str | None,
    smallest: float,
    seed: int,
) -> dict:
    """metrics/people/<method>.json.

    Args:
        rows: by method that people are asked about, from `answers_of`: the tests of all are a family (Holm).
        method: the one that is described.
        key, votes, truth, seed: as `describe` takes them.
        clusters: by prompt id.
        reward: the verdict by reward on the method.
        smallest: as `tested` takes it.

    Returns:
        What `describe` says and, where somebody answered, test, evidence and verdict; and per judge `corrected`, from
        `corrected_rate`, null where people saw no random sample.
    """
    tests = {name: found for name, table in rows.items() if (found := tested(table, smallest))}
    holm_in_place((found["test"], "p") for found in tests.values())
    holm_in_place((found["evidence"], "p_equivalent") for found in tests.values())
    found = describe(rows[method], key, votes, truth, seed) | tests.get(method, {})
    if method in tests:
        sampled = key["which"] == "random"
        found["verdict"] = by_people(method, found, len(tests), sampled, reward)
        for name, judge in found["judges"].items():
            judge["corrected"] = corrected_rate(rows[method], votes[name], clusters) if sampled else None
    return found
