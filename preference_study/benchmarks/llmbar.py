"""LLMBar (Zeng et al. 2024, arXiv 2310.07641; github.com/princeton-nlp/LLMBar, a file a subset): two outputs of which one follows
the instruction; in the adversarial subsets the other one looks better."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from preference_study.benchmarks import Shape
from preference_study.benchmarks._rows import labelled
from preference_study.benchmarks._rules import Outcome, averaged, half_ties, margins, one_a_row

COLUMNS = ("input", "output_1", "output_2", "label")
NATURAL, ADVERSARIAL = "Natural", "Adversarial"
SUBSETS = ("Neighbor", "GPTInst", "GPTOut", "Manual")


def section(subset: str) -> str:
    """A subset by its name in the repository, or with "Adversarial_" before it; others, such as the case study's, stand alone."""
    return ADVERSARIAL if subset.removeprefix(f"{ADVERSARIAL}_") in SUBSETS else subset


def outcome(rows: pd.DataFrame, scores: Sequence[np.ndarray]) -> Outcome:
    """Right where the right output scores higher; a tie counts half, as equal ratings do in the benchmark's `evaluate.py`.

    The published scores are the accuracy on Natural, and the mean of the accuracies on the four adversarial subsets (which gives
    the 82.8% that the paper reports of GPT-4, from the statistics of its judgements in the repository).
    """
    comparisons, subsets = one_a_row(rows, half_ties(margins(rows, scores))), rows["subset"].reset_index(drop=True)
    published = {}
    for name in (ADVERSARIAL, NATURAL):
        own = subsets[(rows["section"] == name).to_numpy()]
        if len(own):
            published[name] = averaged(comparisons[comparisons["row"].isin(own.index)], own)
    return Outcome(comparisons, published)


SHAPE = Shape(
    COLUMNS,
    5,
    labelled(*COLUMNS, ("1", "2")),
    section,
    (*SUBSETS, NATURAL),
    outcome,
    "A pair is right where the right output scores higher; a tie counts half. Adversarial averages its four subsets.",
)
