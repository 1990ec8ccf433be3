"""The base model's log-probabilities of all responses -> data/logps/base/{train,val}.json: DPO's reference, computed once.

python -m stages.reference_logps
"""

from preference_study.artifacts import read_table, write_json
from preference_study.boundary import run
from preference_study.models.language_models import load_causal, load_tokenizer, pair_logps
from preference_study.models.tokens import encode_pairs
from preference_study.params import load_params
from preference_study.processes import check_processes


def main() -> None:
    params = load_params()
    state = check_processes(params.launch.processes)
    tokenizer, model = load_tokenizer("models/base"), load_causal("models/base")
    for split, limit in (("train", params.policy.max_train), ("val", None)):
        pairs = read_table(f"data/prepared/{split}.parquet")[:limit]
        encoded = encode_pairs(tokenizer, pairs, params.policy.max_length)
        logps = pair_logps(model, encoded, **params.scoring.model_dump(), description=f"base on {split}")
        if state.is_main_process:
            write_json(f"data/logps/base/{split}.json", [{"id": id} | row for id, row in zip(pairs["id"], logps, strict=True)])


if __name__ == "__main__":
    run(main)
