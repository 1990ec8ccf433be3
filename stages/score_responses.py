"""The judge's reward of every policy's responses -> data/responses/scored.parquet, and as JSON
Response_of_DPO_n_Ori_val_with_rm.json beside it.

python -m stages.score_responses
"""

import pandas as pd

from preference_study.artifacts import read_dicts, rows_as_json, write_rows
from preference_study.boundary import run
from preference_study.models.language_models import load_tokenizer, rewards
from preference_study.models.reward_models import encode_responses, load_judge
from preference_study.params import load_params
from preference_study.processes import check_processes


def main() -> None:
    params = load_params()
    state = check_processes(params.launch.processes)
    policies = ["base", *params.policy.methods]
    rows = [row for policy in policies for row in read_dicts(f"data/responses/generated/{policy}.parquet")]
    model = load_judge("models/base", f"models/reward/{params.reward.judge}", params.reward.aggregate.model_dump())
    sequences, shortened = encode_responses(load_tokenizer("models/base"), pd.DataFrame(rows), params.reward.max_length)
    scores = rewards(model, sequences, **params.scoring.model_dump(), description="responses")
    if state.is_main_process:
        facts = zip(rows, scores, shortened, strict=True)
        scored = [row | {"reward": reward, "truncated": short} for row, reward, short in facts]
        write_rows("data/responses/scored.parquet", scored)
        rows_as_json("data/responses/Response_of_DPO_n_Ori_val_with_rm.json", "data/responses/scored.parquet")


if __name__ == "__main__":
    run(main)
