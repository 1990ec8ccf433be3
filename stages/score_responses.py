"""The judge's reward of every policy's answers -> data/responses/Response_of_DPO_n_Ori_val_with_rm.json.

python -m stages.score_responses
"""

import pandas as pd

from stages.lib.artifacts import read_json, write_json
from stages.lib.language_models import BadModel, encode_pairs, load_reward, load_tokenizer, rewards
from stages.lib.launching import check_processes
from stages.lib.params import load_params


def main() -> None:
    params = load_params()
    state = check_processes(params.launch.processes)
    policies = ["base", *params.policy.methods]
    rows = [row for policy in policies for row in read_json(f"data/responses/generated/{policy}.json")]
    try:
        model = load_reward("models/base", f"models/reward/{params.reward.judge}")
    except BadModel as error:
        raise SystemExit(str(error)) from None
    responses = pd.DataFrame(rows)
    # An answer is scored as one side of a pair, so that it is written and shortened exactly as in training.
    pairs = responses.assign(chosen=responses["response"], rejected=responses["response"])
    encoded = encode_pairs(load_tokenizer("models/base"), pairs, params.reward.max_length)
    scores = rewards(
        model, [p.prompt_ids + p.chosen_ids for p in encoded], **params.scoring.model_dump(), description="responses"
    )
    if state.is_main_process:
        scored = [row | {"reward": reward} for row, reward in zip(rows, scores, strict=True)]
        write_json("data/responses/Response_of_DPO_n_Ori_val_with_rm.json", scored)


if __name__ == "__main__":
    main()
