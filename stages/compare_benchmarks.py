"""Every reward model on a benchmark, beside "the longer wins" -> metrics/benchmarks/<name>.json.

python -m stages.compare_benchmarks llmbar
"""

import pandas as pd

from preference_study.analysis.benchmarks import compare_benchmark
from preference_study.analysis.scorers import scorers
from preference_study.artifacts import read_json, read_table, write_json
from preference_study.boundary import run
from preference_study.params import load_params
from preference_study.texts.words import words

LONGER = "the longer wins"


def main(name: str) -> None:
    params = load_params()
    rows, read = read_table(f"data/benchmarks/{name}.parquet"), read_json(f"data/benchmarks/{name}.json")
    judges, shortened = {}, 0
    for variant in params.reward.variants:
        scored = pd.DataFrame(read_json(f"data/scores/benchmarks/{name}/{variant}.json"))
        shortened = int(scored.groupby("id")["shortened"].any().sum())
        for scorer, table in scorers(variant, scored, ["reward"], params.reward.aggregate.spread_weight).items():
            judges[scorer] = table.groupby("id")["reward"].apply(list).loc[rows["id"]].tolist()
    judges[LONGER] = [[len(words(text)) for text in texts] for texts in rows["responses"]]
    found = compare_benchmark(rows, judges, read["shape"], params.seed)
    write_json(f"metrics/benchmarks/{name}.json", read | {"shortened": shortened} | found)


if __name__ == "__main__":
    run(main)
