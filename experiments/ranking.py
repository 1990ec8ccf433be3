"""Which of several settings is best on validation, and which it cannot be told from."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from preference_study.analysis.statistics import holm, mcnemar, mean, paired_tests, share
from preference_study.numbers import decimal, with_interval

LEVEL = 0.05


@dataclass(frozen=True)
class Run:
    """One experiment.

    Attributes:
        name: of the experiment.
        params: every parameter that bears on the reward model, by dotted name, and the seed.
        right: per validation pair, by its id: 1 where the chosen response got the higher reward, 0.5 at equal rewards, else 0.
        clusters: of the same pairs, by id.
        loss: columns step, examples, loss of training and, where it was computed, validation_loss.
    """

    name: str
    params: dict[str, Any]
    right: pd.Series
    clusters: pd.Series
    loss: pd.DataFrame

    @property
    def final_loss(self) -> float:
        """Training loss at the end: the mean over the last tenth of the steps, for a single step's loss is mostly noise."""
        losses = self.loss["loss"].dropna()
        return float(losses.tail(max(1, len(losses) // 10)).mean())


def differing(runs: Sequence[Run], but: Sequence[str] = ("seed",)) -> list[str]:
    """The parameters that are not the same in all runs, without those in `but`."""
    names = dict.fromkeys(name for run in runs for name in run.params)
    return [name for name in names if name not in but and len({repr(run.params.get(name)) for run in runs}) > 1]


def distinct(runs: Sequence[Run]) -> tuple[list[Run], dict[str, str]]:
    """The runs without those that trained the same reward model as one before: same parameters, same seed.

    Returns:
        The runs, and per run that was left out the name of the one that stands for it.
    """
    first: dict[str, Run] = {}
    left_out = {}
    for run in runs:
        same = first.setdefault(repr(sorted(run.params.items())), run)
        if same is not run:
            left_out[run.name] = same.name
    return list(first.values()), left_out


def on_same_pairs(runs: Sequence[Run]) -> tuple[list[Run], list[str]]:
    """Of runs that were validated on different pairs the most that share theirs, and the names of the others."""
    pairs = [frozenset(run.right.index) for run in runs]
    most = max(pairs, key=pairs.count)  # of as many, the first ones
    kept = [run for run, own in zip(runs, pairs, strict=True) if own == most]
    return kept, [run.name for run, own in zip(runs, pairs, strict=True) if own != most]


def rank(runs: Sequence[Run]) -> pd.DataFrame:
    """Settings, the best first; runs that differ only by seed are one setting.

    A setting's accuracy is the mean over validation pairs of how often its seeds were right, with Wilson's interval for that many
    pairs (a cautious one for several seeds). `difference` is to the best setting on the same pairs, `p` its test: Tango's
    interval and McNemar's test for single runs, Student's for means of seeds, all by clusters of pairs. Which setting is the best
    was seen on these pairs too: p is therefore Holm-corrected over every pair of settings, as if all had been compared, while the
    best one's accuracy and the differences to it are a little flattered.

    Returns:
        One row per setting: the differing parameters, seeds, accuracy, seeds_std (standard deviation of the seeds' accuracies),
        difference, p, apart (whether it can be told from the best), final_loss (mean over seeds), names.

    Raises:
        ValueError: the runs were not validated on the same pairs.
    """
    pairs, clusters = runs[0].right.index, runs[0].clusters.loc[runs[0].right.index].to_numpy()
    for run in runs:
        if set(run.right.index) != set(pairs):
            raise ValueError(
                f"{run.name} and {runs[0].name} were validated on different pairs: they cannot be compared: run both "
                "with the same data, data.max_val and data.seed"
            )
    names = differing(runs)
    settings: dict[str, list[Run]] = {}
    for run in runs:
        settings.setdefault(repr([run.params.get(name) for name in names]), []).append(run)
    rows, scores = [], []
    for own in settings.values():
        score = np.mean([run.right.loc[pairs].to_numpy() for run in own], axis=0)
        accuracies = [run.right.mean() for run in own]
        scores.append(score)
        rows.append(
            {name: own[0].params.get(name) for name in names}
            | {
                "seeds": len(own),
                "accuracy": share(score, clusters),
                "seeds_std": float(np.std(accuracies, ddof=1)) if len(own) > 1 else None,
                "final_loss": float(np.mean([run.final_loss for run in own])),
                "names": [run.name for run in own],
            }
        )
    order = sorted(range(len(rows)), key=lambda i: (-rows[i]["accuracy"]["value"], i))
    rows[order[0]] |= {"difference": None, "p": None, "apart": False}
    # Pairs of settings in order, so that the first ones are those with the best.
    compared = list(itertools.combinations(order, 2))
    found = [_difference(scores[other], scores[i], clusters) for i, other in compared]
    corrected = holm([p for _, p in found])
    for (_, other), (difference, _), p in list(zip(compared, found, corrected, strict=True))[: len(order) - 1]:
        rows[other] |= {"difference": difference, "p": p, "apart": p < LEVEL}
    ranked = [rows[i] for i in order]
    # A parameter's values stay what they are: null is no number, and 2 beside it no fraction.
    return pd.DataFrame(ranked).assign(**{name: pd.Series([row[name] for row in ranked], dtype=object) for name in names})


def told(value: object) -> str:
    """A parameter's value as params.yaml has it."""
    return "null" if value is None else str(value)


def by_value(value: object) -> tuple:
    """A key that sorts values of a parameter, null first; of several kinds each among its own."""
    return value is not None, type(value).__name__ if not isinstance(value, int | float) else "", value


def _difference(score: np.ndarray, best: np.ndarray, clusters: np.ndarray) -> tuple[dict, float]:
    if np.isin([score, best], [0, 1]).all():
        change = mcnemar(best, score, clusters)
        return change["difference"], change["p"]
    return mean(score - best, clusters), (paired_tests(score - best, clusters)["paired_t"] or {"p": 1.0})["p"]


def conclusion(ranking: pd.DataFrame, names: Sequence[str]) -> str:
    """What the ranking says in words, and where training loss alone would have chosen otherwise."""

    def setting(row: pd.Series) -> str:
        return ", ".join(f"{name}={told(row[name])}" for name in names) or row["names"][0]

    best = ranking.iloc[0]
    others = ranking.iloc[1:]
    alike = others[~others["apart"].astype(bool)]
    lines = [
        f"Best on validation: {setting(best)}, accuracy {with_interval(best['accuracy'], 3)}, n = {best['accuracy']['n']} pairs."
    ]
    if len(alike):
        lines.append("It cannot be told from: " + "; ".join(setting(row) for _, row in alike.iterrows()) + ".")
    elif len(others):
        lines.append("It is better than every other setting.")
    by_loss = ranking.loc[ranking["final_loss"].idxmin()]
    if by_loss["names"] != best["names"]:
        held = "worse on validation" if by_loss["apart"] else "not to be told from it on validation"
        lines.append(
            f"Training loss alone would have chosen {setting(by_loss)} (final training loss {decimal(by_loss['final_loss'], 3)} "
            f"against {decimal(best['final_loss'], 3)}), which is {held} (difference {with_interval(by_loss['difference'], 3)}, "
            f"corrected p = {decimal(by_loss['p'], 3)})."
        )
    else:
        lines.append("Training loss alone would have chosen the same.")
    return "\n".join(lines)
