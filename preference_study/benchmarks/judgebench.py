"""JudgeBench (Tan et al. 2025, arXiv 2410.12784; ScalerLab/JudgeBench on the hub, splits `gpt` and `claude`): two responses of
one model to a question with a checkable answer, one right and one wrong."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from preference_study.benchmarks import Shape
from preference_study.benchmarks._rows import labelled
from preference_study.benchmarks._rules import Outcome, margins, one_a_row, weighted

COLUMNS = ("question", "response_A", "response_B", "label", "source")
SECTIONS = {
    "mmlu-pro": "Knowledge",
    "livebench-reasoning": "Reasoning",
    "livebench-math": "Math",
    "livecodebench": "Coding",
}


def section(subset: str) -> str:
    """Sources by how they begin, as `run_judge.py` of the benchmark's code takes them."""
    try:
        return next(section for begins, section in SECTIONS.items() if subset.startswith(begins))
    except StopIteration:
        raise KeyError(subset) from None


def outcome(rows: pd.DataFrame, scores: Sequence[np.ndarray]) -> Outcome:
    """Right where the right response scores higher; a tie is taken for B, as the benchmark's code takes it for reward models
    (`utils/judges.py`). The headline is the accuracy over all pairs (Overall in
    `run_judge.py`)."""
    second_is_right = np.array([bool(correct[1]) for correct in rows["correct"]])
    gaps = margins(rows, scores)
    comparisons = one_a_row(rows, (gaps > 0) | ((gaps == 0) & second_is_right))
    everything = pd.Series("all", index=range(len(rows)))
    return Outcome(comparisons, {"JudgeBench": weighted(comparisons, everything, {"all": 1.0})})


SHAPE = Shape(
    COLUMNS,
    4,
    labelled(*COLUMNS[:4], ("A>B", "B>A"), subset="source"),
    section,
    tuple(SECTIONS.values()),
    outcome,
    "A pair is right where the right response scores higher; a tie is taken for response B. The headline is the accuracy over "
    "all pairs.",
)
