"""Tables of random scores on which the package rewardbench was run, and what it said.

rewardbench 0.1.4 of PyPI, in an environment of its own: `calculate_scores_per_section` for the first benchmark;
`reroll_and_score_dataset` and `process_single_model` for the second. Of `process_single_model` the last term leaves out questions
without a spread among their right answers, here as there.
"""

import random

import numpy as np
import pandas as pd

from preference_study.benchmarks.rewardbench import SECTION_OF
from preference_study.benchmarks.rewardbench2 import SECTIONS

Table = tuple[pd.DataFrame, list[np.ndarray]]


def _rows(found: list[tuple]) -> Table:
    rows = pd.DataFrame(
        [
            {"id": f"f:{i}", "cluster": cluster, "subset": subset, "section": section, "part": part, "correct": correct}
            for i, (subset, section, correct, cluster, part, _) in enumerate(found)
        ]
    )
    return rows, [np.array(scores) for *_, scores in found]


def first() -> Table:
    """Three to nine pairs of each subset of RewardBench."""
    rng, found = random.Random(4), []
    for number, (subset, section) in enumerate(SECTION_OF.items()):
        for pair in range(3 + number % 7):
            scores = [round(rng.gauss(0.4, 1), 1), round(rng.gauss(0, 1), 1)]
            found.append((subset, section, [True, False], f"{subset} {pair}", None, scores))
    return _rows(found)


def second() -> Table:
    """Nine rows of each subset of RewardBench 2, some with equal scores; of Ties eight questions, and one without a ref."""
    rng, found = random.Random(8), []
    for subset in SECTIONS[:-1]:
        for row in range(9):
            scores = [round(rng.gauss(0.7, 1)) / 2, *(round(rng.gauss(0, 1)) / 2 for _ in range(3))]
            found.append((subset, subset, [True, False, False, False], f"{subset} {row}", None, scores))
    for question in range(9):
        for part, right, wrong in (("ref", 1, 3), ("tied", 2 + question % 4, 2 + question % 3)):
            if (question, part) != (8, "ref"):
                scores = [round(rng.gauss(2.2, 0.6), 1) for _ in range(right)] + [
                    round(rng.gauss(0, 0.6), 1) for _ in range(wrong)
                ]
                if (question, part) == (3, "tied"):
                    scores[:right] = [1.5] * right  # no spread
                correct = [True] * right + [False] * wrong
                found.append(("Ties", "Ties", correct, f"Ties {question}", part, scores))
    return _rows(found)


FIRST = {
    "Chat": 0.5862263899973397,
    "Chat Hard": 0.5663438109161794,
    "Safety": 0.8427498927498929,
    "Reasoning": 0.7447089947089947,
}
SECOND = {
    "Factuality": 0.3888888888888889,
    "Precise IF": 0.3333333333333333,
    "Math": 0.45370370370370366,
    "Safety": 0.537037037037037,
    "Focus": 0.3333333333333333,
    "Ties": 0.8168047744798931,
}
