"""A reward model's rewards of base's sampled responses -> data/scores/best_of_n/<variant>.json.

python -m preference_study.launch score_samples standard
"""

import pandas as pd

from preference_study.artifacts import read_dicts, write_json
from preference_study.boundary import run
from preference_study.models.language_models import load_tokenizer, rewards
from preference_study.models.reward_models import encode_responses, load_judge
from preference_study.params import load_params
from preference_study.processes import check_processes


def main(variant: str) -> None:
    params = load_params()
    state = check_processes(params.launch.processes)
    samples = read_dicts("data/responses/samples.parquet")
    model = load_judge("models/base", f"models/reward/{variant}")
    sequences, _ = encode_responses(load_tokenizer("models/base"), pd.DataFrame(samples), params.reward.max_length)
    scores = rewards(model, sequences, **params.scoring.model_dump(), description=f"samples, {variant}")
    if state.is_main_process:
        scored = [{"id": s["id"], "sample": s["sample"], "reward": r} for s, r in zip(samples, scores, strict=True)]
        write_json(f"data/scores/best_of_n/{variant}.json", scored)


if __name__ == "__main__":
    run(main)
