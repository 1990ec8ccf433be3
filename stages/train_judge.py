"""A reward model of the study's own recipe, trained on pairs that no policy saw -> models/judges/<judge>; a note for others.

python -m preference_study.launch train_judge second

Policies are trained on a sample of policy.max_train of the training pairs. The cross-fitted judge is trained on the others;
where its entry says `unseen: prompts`, without those that share a cluster, mostly a prompt, with any of the sample.
"""

from pathlib import Path

import numpy as np
import pandas as pd

from preference_study.artifacts import open_table, read_array, read_json, write_json
from preference_study.boundary import run
from preference_study.data.sampling import seen_by_policies
from preference_study.errors import BadParams
from preference_study.models.frozen import kept_in
from preference_study.models.language_models import load_tokenizer
from preference_study.models.token_pairs import encode_file, token_folder
from preference_study.params import load_params
from preference_study.processes import check_processes
from preference_study.training.reward_trainer import flipped
from preference_study.variants import VARIANTS
from stages.train_reward import Places, Start, probe_on, train_ensemble, train_one


def not_seen(clusters: pd.Series, seen: np.ndarray, unseen: str) -> np.ndarray:
    """Which training pairs the judge is trained on: a mask.

    Args:
        clusters: of all training pairs, in order.
        seen: which of them policies see, a mask.
        unseen: "pairs", or "prompts": then no other pair of a cluster that policies see either.

    Raises:
        BadParams: none are left.
    """
    kept = ~seen
    if unseen == "prompts":
        kept &= ~clusters.isin(set(clusters[~kept])).to_numpy()
    if not kept.any():
        raise BadParams(
            f"a cross-fitted judge is trained on {unseen} that policies do not see, and they see {seen.sum()} of {len(clusters)} "
            "pairs, which leaves none: lower policy.max_train, or take this judge out of judges"
        )
    return kept


def main(name: str) -> None:
    params = load_params()
    settings, target = read_json(f"data/judges/{name}.json"), Path("models/judges") / name
    if settings["kind"] != "cross_fitted":
        target.mkdir(parents=True, exist_ok=True)
        (target / "none.txt").write_text(f"{name} is of kind {settings['kind']}; nothing is trained.\n", encoding="utf-8")
        return
    section, variant_name = params.reward, params.reward.judge
    variant = VARIANTS[variant_name]
    state = check_processes(params.launch.processes)
    tokenizer = load_tokenizer("models/base")
    pairs = open_table("data/prepared/train.parquet").read(["cluster", "chosen_words", "rejected_words"]).to_pandas()
    seen = seen_by_policies(pairs, params.policy.max_train, params.data.seed)
    kept = not_seen(pairs["cluster"], seen, settings["unseen"])
    turned = flipped(int(kept.sum()), section.flipped, params.seed)
    head = probe_on(turned, kept)[0] if section.head == "probe" else None
    start = Start(head, read_array("data/features/val.npy"), kept_in("data/frozen/reward"))
    places = Places(target, target / "log", Path("checkpoints/train_judge") / name)
    with token_folder(f"train_judge/{name}") as folder:
        encoded = {
            split: encode_file(tokenizer, f"data/prepared/{split}.parquet", section.max_length, folder, **which)
            for split, which in (("train", {"kept": kept, "turned": turned}), ("val", {}))
        }
        if variant.members:
            numbers, _ = train_ensemble(params, variant, variant_name, tokenizer, encoded, start, places)
        else:
            numbers, _ = train_one(params, variant, variant_name, params.seed, tokenizer, encoded, start, places)
    if state.is_main_process:
        write_json(target / "counts.json", numbers | {"train_pairs_left_out": int((~kept).sum())})


if __name__ == "__main__":
    run(main)
