"""The preference pairs before anything is trained on them: repeated prompts, contradictions, labels that look wrong.

-> metrics/data_analysis.json, and the rows behind its numbers, data/findings.csv

python -m stages.analyse_data
"""

import numpy as np
import pandas as pd

from preference_study.analysis.baselines import tfidf_margins
from preference_study.analysis.data import (
    contradictions,
    cross_fitted_margins,
    doubted,
    labels,
    repeated_prompts,
    shared_responses,
)
from preference_study.artifacts import read_table, write_csv, write_json
from preference_study.boundary import run
from preference_study.params import load_params

FINDINGS = ("split", "id", "finding", "other_id", "value")
CONTRADICT = {"opposite": "opposite label", "cycle": "cycle"}


def split_findings(split: str, pairs: pd.DataFrame, margins: np.ndarray | None) -> tuple[dict, list[dict]]:
    """The numbers of one split, and the rows of data/findings.csv behind them.

    Args:
        margins: of a model of words that did not see the pairs, the log-odds of their labels; None where there is none.
    """
    found = contradictions(pairs)
    numbers = {"pairs": len(pairs), "opposite_labels": int(found["opposite"].sum()), "in_cycles": int(found["cycle"].sum())}
    rows = [
        {"split": split, "id": id, "finding": finding}
        for column, finding in CONTRADICT.items()
        for id in pairs.loc[found[column], "id"]
    ]
    if margins is not None:
        numbers |= labels(margins, pairs["cluster"])
        wrong = pairs.assign(value=margins)[doubted(margins)].sort_values("value", kind="stable")
        rows += [
            {"split": split, "id": id, "finding": "doubted label", "value": value}
            for id, value in zip(wrong["id"], wrong["value"], strict=True)
        ]
    return numbers, rows


def main() -> None:
    params = load_params()
    pairs = {split: read_table(f"data/prepared/{split}.parquet") for split in ("train", "val")}
    # Of training pairs by models of the other prompts' pairs, of validation pairs by a model of all training pairs.
    margins = {"train": cross_fitted_margins(pairs["train"], params.seed)}
    margins["val"] = tfidf_margins(pairs["train"], pairs["val"], params.seed)
    metrics, rows = {}, []
    for split, own in pairs.items():
        metrics[split], findings = split_findings(split, own, margins[split])
        rows += findings
    repeated = repeated_prompts(pairs["train"], pairs["val"], params.data.near_duplicate)
    rows += [
        {"split": "val", "id": near["val_id"], "finding": "near-duplicate prompt in training", "other_id": near["train_id"]}
        | {"value": near["similarity"]}
        for near in repeated["across"].pop("nearest")
    ]
    metrics |= {"prompts": {"similarity": params.data.near_duplicate} | repeated}
    metrics["responses"] = shared_responses(pairs["train"], pairs["val"])
    write_csv("data/findings.csv", pd.DataFrame(rows, columns=FINDINGS))
    write_json("metrics/data_analysis.json", metrics)
    across = repeated["across"]
    # A pair can be both, and is one pair all the same.
    odd = {row["id"] for row in rows if row["split"] == "train" and row["finding"] in CONTRADICT.values()}
    print(f"{across['near_duplicates']} of {across['prompts']} validation prompts are near-duplicates of training's")
    print(f"{len(odd)} of {len(pairs['train'])} training pairs contradict others")


if __name__ == "__main__":
    run(main)
