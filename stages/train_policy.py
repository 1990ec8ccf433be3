"""Preference pairs -> an aligned policy in models/policy/<method>, with TRL, and its log-probabilities on validation.

python -m stages.train_policy dpo
"""

import sys
from collections.abc import Iterable
from pathlib import Path

from datasets import Dataset
from trl import DPOConfig, DPOTrainer

from stages.lib.artifacts import read_json, read_table, write_json
from stages.lib.language_models import TokenPair, encode_pairs, load_causal, load_tokenizer, pair_logps
from stages.lib.launching import check_processes
from stages.lib.params import load_params
from stages.lib.training import PairedByLength, arguments, fingerprint, lora, summary, train


class DPO(PairedByLength, DPOTrainer):
    """TRL's DPO trainer on tokens, batched by length, with the reference's log-probabilities given."""

    def _precompute_ref_logps(self, dataset: Dataset, *_) -> Dataset:
        return dataset


# A method is a trainer, its configuration, and the parameters the configuration takes besides those all have.
METHODS = {"dpo": (DPO, DPOConfig, lambda policy: {"beta": policy.beta, "precompute_ref_log_probs": True})}


def rows(pairs: list[TokenPair], ids: Iterable[str], reference: list[dict]) -> Dataset:
    """Pairs as the trainer takes them, with the reference's log-probabilities looked up by the pairs' ids."""
    logps = {row["id"]: row for row in reference}
    return Dataset.from_list(
        [
            {
                "prompt_ids": p.prompt_ids,
                "chosen_ids": p.chosen_ids,
                "rejected_ids": p.rejected_ids,
                "ref_chosen_logps": logps[id]["chosen_logp"],
                "ref_rejected_logps": logps[id]["rejected_logp"],
                "length": len(p.prompt_ids) + max(len(p.chosen_ids), len(p.rejected_ids)),
            }
            for id, p in zip(ids, pairs, strict=True)
        ]
    )


def main(method: str) -> None:
    params = load_params()
    section = params.policy
    state = check_processes(params.launch.processes)
    tokenizer = load_tokenizer("models/base")
    pairs, encoded = {}, {}
    for split, limit in (("train", section.max_train), ("val", None)):
        pairs[split] = read_table(f"data/prepared/{split}.parquet")[:limit]
        encoded[split] = encode_pairs(tokenizer, pairs[split], section.max_length)
    datasets = {split: rows(encoded[split], pairs[split]["id"], read_json(f"data/logps/base/{split}.json")) for split in encoded}
    full = section.lora_rank == 0
    model = load_causal("models/base", dtype="float32" if full else "bfloat16")
    checkpoints, target = Path("checkpoints/train_policy") / method, Path("models/policy") / method
    run = fingerprint(model, datasets["train"], section, params.seed)
    trainer_class, config_class, extra = METHODS[method]
    trainer = trainer_class(
        model=model,
        args=config_class(**arguments(section, params.seed, checkpoints), **extra(section)),
        train_dataset=datasets["train"],
        eval_dataset=datasets["val"] if section.evaluations else None,
        processing_class=tokenizer,
        peft_config=lora(model, section.lora_rank, section.lora_layers, task_type="CAUSAL_LM"),
    )
    train(trainer, checkpoints, run, Path("plots/train_policy") / method, target)

    # The policy as it was written, not the one in memory: what is measured is what is used later.
    policy = load_causal("models/base", target)
    logps = pair_logps(policy, encoded["val"], **params.scoring.model_dump(), description=f"{method} on validation")
    if state.is_main_process:
        ids = pairs["val"]["id"]
        write_json(f"data/logps/{method}/val.json", [{"id": id} | row for id, row in zip(ids, logps, strict=True)])
        write_json(f"metrics/train_policy/{method}.json", summary(trainer, encoded))


if __name__ == "__main__":
    main(sys.argv[1])
