"""The judge's rewards of all validation pairs -> data/scores/Rm_model_mark_on_val_1k.json, metrics/reward.json.

python -m stages.score_pairs
"""

import numpy as np
import pandas as pd

from preference_study.analysis.baselines import tfidf_margins
from preference_study.analysis.statistics import mean, paired_rank_correlation, pairwise_accuracy, standard_deviation
from preference_study.artifacts import read_table, write_json
from preference_study.models.language_models import BadModel, encode_pairs, load_tokenizer, pair_rewards
from preference_study.models.reward_models import load_judge
from preference_study.params import load_params
from preference_study.processes import check_processes


def reward_metrics(scored: pd.DataFrame, tfidf: np.ndarray, seed: int) -> dict:
    """metrics/reward.json from the scored validation pairs.

    Args:
        scored: chosen_reward, rejected_reward, chosen_words, rejected_words per pair.
        tfidf: the TF-IDF baseline's margin per pair.

    `reward_mean` and `reward_std` are of all rewards, chosen and rejected; `length_correlation` is Spearman's of reward
    and words over all answers, pairs resampled whole. A subset without pairs is null.
    """
    longer = scored["chosen_words"] > scored["rejected_words"]
    shorter = scored["chosen_words"] < scored["rejected_words"]
    rewards, words = ([scored[f"{side}_{what}"] for side in ("chosen", "rejected")] for what in ("reward", "words"))

    def accuracy(rows: pd.DataFrame) -> dict | None:
        return pairwise_accuracy(rows["chosen_reward"], rows["rejected_reward"]) if len(rows) else None

    return {
        "accuracy": accuracy(scored),
        "accuracy_longer_chosen": accuracy(scored[longer]),
        "accuracy_shorter_chosen": accuracy(scored[shorter]),
        "reward_mean": mean(np.concatenate(rewards)),
        "reward_std": standard_deviation(np.concatenate(rewards), seed),
        "length_correlation": paired_rank_correlation(rewards, words, seed),
        "baselines": {
            "longer": pairwise_accuracy(scored["chosen_words"], scored["rejected_words"]),
            "tfidf": pairwise_accuracy(tfidf, np.zeros(len(tfidf))),
        },
    }


def reward_row(metrics: dict) -> dict:
    """The few numbers of `reward_metrics` that stand in a row of `dvc exp show`."""
    accuracy, shorter = metrics["accuracy"], metrics["accuracy_shorter_chosen"]
    row = {"accuracy": accuracy["value"], "accuracy_low": accuracy["low"], "accuracy_high": accuracy["high"]}
    return row | ({"accuracy_shorter_chosen": shorter["value"]} if shorter else {})


def main() -> None:
    params = load_params()
    state = check_processes(params.launch.processes)
    train, val = (read_table(f"data/prepared/{split}.parquet") for split in ("train", "val"))
    try:
        model = load_judge("models/base", f"models/reward/{params.reward.judge}", params.reward.aggregate.model_dump())
    except BadModel as error:
        raise SystemExit(str(error)) from None
    encoded = encode_pairs(load_tokenizer("models/base"), val, params.reward.max_length)
    scores = pair_rewards(model, encoded, **params.scoring.model_dump(), description="validation pairs")
    if not state.is_main_process:
        return
    scored = val.assign(
        chosen_reward=[chosen for chosen, _ in scores],
        rejected_reward=[rejected for _, rejected in scores],
        correct=[chosen > rejected for chosen, rejected in scores],
    )
    write_json("data/scores/Rm_model_mark_on_val_1k.json", scored.to_dict("records"))
    metrics = reward_metrics(scored, tfidf_margins(train, val, params.seed), params.seed)
    write_json("metrics/reward.json", metrics)
    write_json("metrics/summary/reward.json", reward_row(metrics))


if __name__ == "__main__":
    main()
