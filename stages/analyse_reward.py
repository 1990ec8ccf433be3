"""The judge's rewards of the validation pairs: how often they are right, and what they go by.

-> metrics/reward.json, metrics/summary/reward.json, metrics/reward_analysis.json and plots/reward/

python -m stages.analyse_reward
"""

from pathlib import Path

import numpy as np
import pandas as pd

from preference_study.analysis.baselines import tfidf_margins
from preference_study.analysis.judge import right_to_judge
from preference_study.analysis.reward import analyse_reward, favoured_and_other, reward_metrics, reward_row
from preference_study.artifacts import read_array, read_rows, read_table, write_csv, write_json, write_png
from preference_study.boundary import run
from preference_study.params import load_params
from preference_study.report import figures
from preference_study.texts.keywords import keyword_table, log_odds, standing_for, top_differences
from preference_study.texts.readability import reading_grades
from preference_study.training.probe import linear_probe

PLOTS = Path("plots/reward")
MOST_DIFFERENT = 20


def draw_reward(scored: pd.DataFrame, sides: pd.DataFrame, metrics: dict) -> None:
    """Write the figures of the scored pairs and the rows they are drawn from."""
    reward, unit = "reward (reward model's units)", "pairs"
    correct, wrong = (scored[f"{a}_reward"] > scored[f"{b}_reward"] for a, b in (("chosen", "rejected"), ("rejected", "chosen")))
    winning = scored[["chosen_reward", "rejected_reward"]].max(axis=1)
    for name, groups, title, label in (
        ("score", {"correct": winning[correct], "wrong": winning[wrong]}, "Winning reward, different questions", reward),
        ("reward", {"chosen": scored["chosen_reward"], "rejected": scored["rejected_reward"]}, "Rewards, same pairs", reward),
        ("margin", {"margin": scored["chosen_reward"] - scored["rejected_reward"]}, "Reward of chosen minus rejected", reward),
        ("words", {"favoured": sides["favoured_words"], "other": sides["other_words"]}, "Length of responses", "words"),
        ("reading_grade", {"favoured": sides["favoured_grade"], "other": sides["other_grade"]}, "Flesch-Kincaid grade", "grade"),
    ):
        bins, points = figures.histogram_rows(groups), figures.kde_rows(groups)
        write_csv(PLOTS / f"{name}_histogram.csv", bins)
        write_csv(PLOTS / f"{name}_kde.csv", figures.or_not_measured(points))
        # As the original study draws it: of the winning rewards, how many are of pairs ranked right, and how many of the others.
        measure = "count" if name == "score" else "share"
        write_png(PLOTS / f"{name}_histogram.png", figures.histogram(bins, title, label, unit, measure))
        write_png(PLOTS / f"{name}_kde.png", figures.kde(points, title, label))
    bins = metrics["calibration"]["bins"]
    write_csv(PLOTS / "reliability.csv", pd.DataFrame([{"predicted": b["predicted"], **b["observed"]} for b in bins]))
    write_png(PLOTS / "reliability.png", figures.reliability(bins, len(scored)))


def write_keywords(sides: pd.DataFrame, training: list[str]) -> dict:
    """Write the study's TF-IDF lists and the words that really differ; return the lists and what they share."""
    texts = {"favoured": sides["favoured"].tolist(), "other": sides["other"].tolist(), "training set": training}
    table = keyword_table(texts)
    write_csv(PLOTS / "keywords.csv", table)
    differences = top_differences(log_odds(texts["favoured"], texts["other"], training), MOST_DIFFERENT)
    write_csv(PLOTS / "log_odds.csv", differences.assign(comparison="favoured against other"))
    found = {group: table.loc[table["group"] == group, "word"].tolist() for group in texts}
    shared = [word for word in found["favoured"] if word in found["training set"]]
    return {"favoured": found["favoured"], "training": found["training set"], "shared": shared}


def probe_margins(clusters: pd.Series) -> np.ndarray:
    """Per validation pair the margin of a linear probe of the base model's features; the clusters are the training pairs'."""
    train, val = (read_array(f"data/features/{split}.npy") for split in ("train", "val"))
    weights, _ = linear_probe(train, list(clusters))
    return (val[:, 0] - val[:, 1]) @ weights


def main() -> None:
    params = load_params()
    scored = read_rows("data/scores/pairs.parquet")
    train, val = (read_table(f"data/prepared/{split}.parquet") for split in ("train", "val"))
    baselines = {"tfidf": tfidf_margins(train, val, params.seed), "probe": probe_margins(train["cluster"])}
    reward = reward_metrics(scored, baselines, params.seed) | {"right_to_judge": right_to_judge(scored, baselines)}
    write_json("metrics/reward.json", reward)
    write_json("metrics/summary/reward.json", reward_row(reward))
    sides = favoured_and_other(scored)
    grades, left_out = reading_grades([*sides["favoured"], *sides["other"]])
    sides = sides.assign(favoured_grade=grades[: len(sides)], other_grade=grades[len(sides) :])
    metrics = analyse_reward(scored, sides, left_out, params.seed)
    draw_reward(scored, sides, metrics)
    words_of = train.iloc[standing_for(len(train))]
    metrics["keywords"] = write_keywords(sides, [*words_of["chosen"], *words_of["rejected"]])
    write_json("metrics/reward_analysis.json", metrics)


if __name__ == "__main__":
    run(main)
