"""RM-Bench (Liu et al. 2025, arXiv 2410.16184; THU-KEG/RM-Bench on the hub): three right and three wrong responses, each concise,
detailed in plain text, and detailed in Markdown."""

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

from preference_study.benchmarks import Shape
from preference_study.benchmarks._rows import Item, listed
from preference_study.benchmarks._rules import Outcome, averaged, split
from preference_study.formats import Source

COLUMNS = ("prompt", "chosen", "rejected", "domain")
SECTIONS = ("chat", "code", "math", "safety")
STYLES = 3
EASY, NORMAL, HARD = "easy", "normal", "hard"


def items(source: Source) -> Iterable[Item]:
    cells = [source.cells(name if name in source.table else None) for name in COLUMNS]
    for number, (prompt, chosen, rejected, domain) in enumerate(zip(*cells, strict=True), start=1):
        sides = [listed(source, number, name, cell, STYLES) for name, cell in (("chosen", chosen), ("rejected", rejected))]
        yield Item(prompt, [*sides[0], *sides[1]], [True] * STYLES + [False] * STYLES, domain)


def section(subset: str) -> str:
    """safety-refuse and safety-response are one domain, as in `split_dataset_by_domain` of the benchmark's code."""
    try:
        return next(name for name in SECTIONS if subset.startswith(name))
    except StopIteration:
        raise KeyError(subset) from None


def outcome(rows: pd.DataFrame, scores: Sequence[np.ndarray]) -> Outcome:
    """Nine comparisons a row, of each right response with each wrong one; a tie is wrong.

    Hard where the wrong response is in the richer style, easy where the right one is, normal where both are in the same: above,
    under and on the diagonal of the matrix of accuracies, styles in order (`compute_accuracy` of the benchmark's code). Each is
    averaged over the four domains, and so is the headline, the mean of all nine.
    """
    found = [
        (row, float(a > b), 0.5, HARD if j > i else EASY if i > j else NORMAL)
        for row, (right, wrong) in enumerate(split(rows, scores))
        for i, a in enumerate(right)
        for j, b in enumerate(wrong)
    ]
    comparisons = pd.DataFrame(found, columns=["row", "point", "chance", "level"])
    domains = rows["section"].reset_index(drop=True)
    levels = {level: averaged(comparisons[comparisons["level"] == level], domains) for level in (EASY, NORMAL, HARD)}
    return Outcome(comparisons, {"RM-Bench": averaged(comparisons, domains)} | levels)


SHAPE = Shape(
    COLUMNS,
    3,
    items,
    section,
    SECTIONS,
    outcome,
    "Each of three right responses is compared with each of three wrong ones; a tie is wrong. Hard: the wrong one is in the "
    "richer style (longer, or Markdown); easy: the right one is; normal: both in the same. All scores average the domains.",
    lists=True,
)
