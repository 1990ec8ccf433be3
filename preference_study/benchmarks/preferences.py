"""Any file of preferences in one of the shapes of `preference_study/formats`; a column `subset` says the subset."""

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

from preference_study.benchmarks import Shape
from preference_study.benchmarks._rows import Item
from preference_study.benchmarks._rules import Outcome, half_ties, margins, one_a_row
from preference_study.errors import BadInput
from preference_study.formats import Source, to_pairs


def items(source: Source) -> Iterable[Item]:
    try:
        pairs = to_pairs(source.table, source.name).table
    except BadInput as error:
        # The remedy of a study's own files: data.columns says nothing of a benchmark's.
        found, told, _ = str(error).partition("Say under data in params.yaml")
        if not told:
            raise
        raise BadInput(
            f"{found}Of a benchmark's file nothing can be said in params.yaml: write it with columns prompt, chosen and "
            "rejected, or with question, response_1, response_2 and overall_response, which is 1 or 2"
        ) from None
    subsets = source.cells("subset" if "subset" in source.table else None)
    columns = [pairs[name] for name in ("prompt", "chosen", "rejected", "problem")]
    for prompt, chosen, rejected, problem, subset in zip(*columns, subsets, strict=True):
        yield Item(prompt, [chosen, rejected], [True, False], subset, problem)


def outcome(rows: pd.DataFrame, scores: Sequence[np.ndarray]) -> Outcome:
    """Right where the chosen response scores higher; a tie counts half, as everywhere in the study. Nothing is published."""
    return Outcome(one_a_row(rows, half_ties(margins(rows, scores))), {})


SHAPE = Shape(
    (),
    6,
    items,
    lambda subset: subset,
    (),
    outcome,
    "A pair is right where the chosen response scores higher; a tie counts half. There is no published score of such a file.",
)
