"""The judge's rewards of all validation pairs -> data/scores/pairs.parquet, and as JSON Rm_model_mark_on_val_1k.json beside it.

python -m stages.score_pairs
"""

import numpy as np
import pyarrow as arrow

from preference_study.artifacts import PIECE, open_table, rows_as_json, table_in_pieces
from preference_study.boundary import run
from preference_study.models.frozen import kept_in, use_kept
from preference_study.models.language_models import load_tokenizer, pair_rewards
from preference_study.models.packed import pack_rows
from preference_study.models.reward_models import load_judge, parts
from preference_study.models.token_pairs import encode_file, token_folder
from preference_study.params import load_params
from preference_study.processes import check_processes

PAIRS, SCORES = "data/prepared/val.parquet", "data/scores/pairs.parquet"


def write_scores(scores: list[tuple[float, float]]) -> None:
    """Write the pairs with their rewards of chosen and rejected, and whether the first is the higher one."""
    rewards = np.array(scores, dtype=float)
    columns = {"chosen_reward": rewards[:, 0], "rejected_reward": rewards[:, 1], "correct": rewards[:, 0] > rewards[:, 1]}
    start = 0
    with table_in_pieces(SCORES) as write:
        for batch in open_table(PAIRS).iter_batches(PIECE):
            piece = arrow.Table.from_batches([batch]).replace_schema_metadata(None)
            for name, column in columns.items():
                piece = piece.append_column(name, arrow.array(column[start : start + len(piece)]))
            write(piece)
            start += len(piece)
    rows_as_json("data/scores/Rm_model_mark_on_val_1k.json", SCORES)


def main() -> None:
    params = load_params()
    state = check_processes(params.launch.processes)
    model = load_judge("models/base", f"models/reward/{params.reward.judge}", params.reward.aggregate.model_dump())
    kept = kept_in("data/frozen/reward")
    for part in parts(model):
        use_kept(part, kept)
        pack_rows(part)
    with token_folder("score_pairs") as folder:
        encoded = encode_file(load_tokenizer("models/base"), PAIRS, params.reward.max_length, folder)
        scores = pair_rewards(model, encoded, **params.scoring.model_dump(), description="validation pairs")
    if state.is_main_process:
        write_scores(scores)


if __name__ == "__main__":
    run(main)
