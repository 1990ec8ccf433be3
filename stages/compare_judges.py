"""Every judge beside the study's own: right how often, leaning to what, its verdict, and where judges disagree.

-> metrics/judges.json and data/disagreements.csv; both empty, unless judges names some

python -m stages.compare_judges
"""

import pandas as pd

from preference_study.analysis.baselines import tfidf_margins
from preference_study.analysis.judges import compare_judges, disagreements
from preference_study.artifacts import read_array, read_json, read_rows, read_table, write_csv, write_json
from preference_study.boundary import run
from preference_study.judges import own_judgement
from preference_study.params import load_params
from preference_study.texts.gold import with_truth
from preference_study.texts.words import words
from preference_study.training.probe import linear_probe

CASE = ["id", "policy", "prompt", "base", "response"]


def pairs_with_gold(pairs: pd.DataFrame) -> pd.DataFrame:
    """The pairs by id; on the sandbox with chosen_gold and rejected_gold, all being taken for finished."""
    for side in ("chosen", "rejected"):
        judged = with_truth(pairs.assign(response=pairs[side]))
        if "gold" in judged:
            pairs = pairs.assign(**{f"{side}_gold": judged["gold"]})
    return pairs.set_index("id")


def main() -> None:
    params = load_params()
    names, policies = [judge.name for judge in params.judges], params.policy.methods
    if not names:
        write_json("metrics/judges.json", {})
        write_csv("data/disagreements.csv", pd.DataFrame(columns=CASE))
        return
    scored = read_rows("data/responses/scored.parquet")
    pairs = read_rows("data/scores/pairs.parquet")
    own = own_judgement(params.reward.judge, scored, pairs, policies)
    judgements = [own, *(read_json(f"data/judgements/{name}.json") for name in names)]
    by_policy = {policy: scored[scored["policy"] == policy].set_index("id") for policy in ("base", *policies)}
    responses = {
        policy: with_truth(rows.loc[by_policy["base"].index].assign(words=lambda t: [len(words(text)) for text in t["response"]]))
        for policy, rows in by_policy.items()
    }
    train, val = (read_table(f"data/prepared/{split}.parquet") for split in ("train", "val"))
    features = {split: read_array(f"data/features/{split}.npy") for split in ("train", "val")}
    weights, _ = linear_probe(features["train"], list(train["cluster"]))
    probe = (features["val"][:, 0] - features["val"][:, 1]) @ weights
    baselines = {"tfidf": tfidf_margins(train, val, params.seed), "probe": probe}
    smallest = params.verdict.smallest_difference.win_rate
    write_json(
        "metrics/judges.json",
        compare_judges(judgements, pairs_with_gold(pairs), responses, baselines, smallest, params.seed),
    )
    write_csv("data/disagreements.csv", disagreements(judgements, responses))


if __name__ == "__main__":
    run(main)
