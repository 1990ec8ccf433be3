"""A reward model's rewards of base's sampled answers -> data/marks/best_of_n/<variant>.json.

python -m stages.launch mark_samples standard
"""

import sys

import pandas as pd

from stages.lib.artifacts import read_json, write_json
from stages.lib.language_models import BadModel, load_tokenizer, rewards
from stages.lib.launching import check_processes
from stages.lib.params import load_params
from stages.lib.reward_models import encode_answers, load_judge


def main(variant: str) -> None:
    params = load_params()
    state = check_processes(params.launch.processes)
    samples = read_json("data/responses/samples.json")
    try:
        model = load_judge("models/base", f"models/reward/{variant}")
    except BadModel as error:
        raise SystemExit(str(error)) from None
    sequences = encode_answers(load_tokenizer("models/base"), pd.DataFrame(samples), params.reward.max_length)
    scores = rewards(model, sequences, **params.scoring.model_dump(), description=f"samples, {variant}")
    if state.is_main_process:
        marks = [{"id": s["id"], "sample": s["sample"], "reward": r} for s, r in zip(samples, scores, strict=True)]
        write_json(f"data/marks/best_of_n/{variant}.json", marks)


if __name__ == "__main__":
    main(sys.argv[1])
