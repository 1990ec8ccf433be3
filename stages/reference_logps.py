"""The base model's log-probabilities of all responses -> data/logps/base/{train,val}.json: DPO's reference, computed once.

python -m stages.reference_logps

In the same pass the hidden states under the lowest layer that LoRA trains are kept in data/frozen/policy, from which every
training of a policy starts, in place of running the layers under it again. Where those that stage frozen_layers kept are of no
deeper layer, the pass starts from them itself.
"""

from datasets import concatenate_datasets

from preference_study.artifacts import open_table, write_json
from preference_study.boundary import run
from preference_study.data.sampling import seen_by_policies
from preference_study.models.frozen import keep_hidden_states, kept_in, use_kept
from preference_study.models.language_models import load_causal, load_tokenizer, pair_logps
from preference_study.models.layers import frozen_layers
from preference_study.models.packed import pack_rows
from preference_study.models.token_pairs import BothSides, TokenPairs, encode_for_policies, token_folder
from preference_study.params import load_params
from preference_study.processes import check_processes


def main() -> None:
    params = load_params()
    state = check_processes(params.launch.processes)
    tokenizer, model = load_tokenizer("models/base"), load_causal("models/base")
    section = params.policy
    depth = frozen_layers(model, section.lora_rank, section.lora_layers)
    of_reward = kept_in("data/frozen/reward")
    # What comes out of a layer under that one would be missing.
    use_kept(model, of_reward if of_reward is not None and of_reward.depth <= depth else None)
    pack_rows(model)
    kept = {"max_gib": params.frozen.max_gib, "spread": params.launch.spread}
    with token_folder("reference_logps") as folder:
        words = open_table("data/prepared/train.parquet").read(["chosen_words", "rejected_words"]).to_pandas()
        seen = seen_by_policies(words, section.max_train, params.data.seed)
        ids, encoded = encode_for_policies(tokenizer, seen, section.max_length, folder)
        texts = BothSides(TokenPairs(concatenate_datasets([pairs.rows for pairs in encoded.values()])))
        with keep_hidden_states(model, texts, depth, "data/frozen/policy", **kept):
            logps = {
                split: pair_logps(model, pairs, **params.scoring.model_dump(), description=f"base on {split}")
                for split, pairs in encoded.items()
            }
    if state.is_main_process:
        for split in ids:
            rows = [{"id": id} | row for id, row in zip(ids[split], logps[split], strict=True)]
            write_json(f"data/logps/base/{split}.json", rows)


if __name__ == "__main__":
    run(main)
