"""What the base model makes of all pairs before any training -> data/frozen/reward and data/features.

python -m preference_study.launch frozen_layers

The hidden states under the lowest layer that LoRA trains, from which every training of a reward model starts, in place of running
the layers under it again; and per split the last ones of each response, [pairs, 2, hidden size] of chosen and rejected, which a
reward head reads.
"""

import numpy as np
from datasets import concatenate_datasets

from preference_study.artifacts import write_array
from preference_study.boundary import run
from preference_study.models.frozen import keep_hidden_states, last_features
from preference_study.models.language_models import load_causal, load_tokenizer
from preference_study.models.layers import frozen_layers
from preference_study.models.packed import pack_rows
from preference_study.models.token_pairs import BothSides, TokenPairs, encode_file, token_folder
from preference_study.params import load_params
from preference_study.processes import check_processes


def main() -> None:
    params = load_params()
    section = params.reward
    state = check_processes(params.launch.processes)
    tokenizer, model = load_tokenizer("models/base"), load_causal("models/base")
    pack_rows(model)
    depth = frozen_layers(model, section.lora_rank, section.lora_layers)
    kept = {"max_gib": params.frozen.max_gib, "spread": params.launch.spread}
    with token_folder("frozen_layers") as folder:
        encoded = [
            encode_file(tokenizer, f"data/prepared/{split}.parquet", section.max_length, folder) for split in ("train", "val")
        ]
        texts = BothSides(TokenPairs(concatenate_datasets([pairs.rows for pairs in encoded])))
        with keep_hidden_states(model, texts, depth, "data/frozen/reward", **kept):
            features = last_features(model, texts, **params.scoring.model_dump(), description="base on all pairs")
    if state.is_main_process:
        of_pairs = features.reshape(len(texts) // 2, 2, -1)
        for split, found in zip(("train", "val"), np.split(of_pairs, [len(encoded[0])]), strict=True):
            write_array(f"data/features/{split}.npy", found)


if __name__ == "__main__":
    run(main)
