"""The judge's rewards of all validation pairs -> data/scores/Rm_model_mark_on_val_1k.json.

python -m stages.score_pairs
"""

from preference_study.artifacts import read_table, write_json
from preference_study.boundary import run
from preference_study.models.frozen import kept_in, use_kept
from preference_study.models.language_models import load_tokenizer, pair_rewards
from preference_study.models.reward_models import load_judge, parts
from preference_study.models.tokens import encode_pairs
from preference_study.params import load_params
from preference_study.processes import check_processes


def main() -> None:
    params = load_params()
    state = check_processes(params.launch.processes)
    val = read_table("data/prepared/val.parquet")
    model = load_judge("models/base", f"models/reward/{params.reward.judge}", params.reward.aggregate.model_dump())
    kept = kept_in("data/frozen/reward")
    for part in parts(model):
        use_kept(part, kept)
    encoded = encode_pairs(load_tokenizer("models/base"), val, params.reward.max_length)
    scores = pair_rewards(model, encoded, **params.scoring.model_dump(), description="validation pairs")
    if not state.is_main_process:
        return
    scored = val.assign(
        chosen_reward=[chosen for chosen, _ in scores],
        rejected_reward=[rejected for _, rejected in scores],
        correct=[chosen > rejected for chosen, rejected in scores],
    )
    # JSON has no NaN: what a column of the data's own lacks is null.
    rows = scored.astype(object).where(scored.notna(), None).to_dict("records")
    write_json("data/scores/Rm_model_mark_on_val_1k.json", rows)


if __name__ == "__main__":
    run(main)
