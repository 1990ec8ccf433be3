"""Preference pairs -> a reward model in models/reward/<variant>, with TRL's RewardTrainer.

python -m stages.train_reward standard
"""

import sys
from pathlib import Path

import numpy as np
from datasets import Dataset
from trl import RewardConfig, RewardTrainer

from stages.lib.artifacts import read_table, write_json
from stages.lib.language_models import TokenPair, device, encode_pairs, load_tokenizer, new_reward_model, pair_rewards
from stages.lib.launching import check_processes
from stages.lib.params import load_params
from stages.lib.statistics import pairwise_accuracy
from stages.lib.training import PairedByLength, arguments, fingerprint, lora, summary, train


class Trainer(PairedByLength, RewardTrainer):
    """TRL's reward trainer on tokens, batched by length."""


def rows(pairs: list[TokenPair]) -> Dataset:
    """Pairs as the trainer takes them."""
    return Dataset.from_list(
        [
            {
                "chosen_ids": p.prompt_ids + p.chosen_ids,
                "rejected_ids": p.prompt_ids + p.rejected_ids,
                "length": len(p.prompt_ids) + max(len(p.chosen_ids), len(p.rejected_ids)),
            }
            for p in pairs
        ]
    )


def main(variant: str) -> None:
    params = load_params()
    section = params.reward
    state = check_processes(params.launch.processes)
    tokenizer = load_tokenizer("models/base")
    encoded = {}
    for split in ("train", "val"):
        encoded[split] = encode_pairs(tokenizer, read_table(f"data/prepared/{split}.parquet"), section.max_length)
    full = section.lora_rank == 0
    # Weights that are trained are kept in float32; what LoRA leaves frozen may as well be small.
    model = new_reward_model("models/base", params.seed, dtype="float32" if full else "bfloat16").to(device())

    scores = pair_rewards(model.eval(), encoded["val"], **params.scoring.model_dump(), description="untrained head on validation")
    chosen, rejected = np.array(scores).T
    untrained = pairwise_accuracy(chosen, rejected)

    datasets = {split: rows(pairs) for split, pairs in encoded.items()}
    checkpoints = Path("checkpoints/train_reward") / variant
    run = fingerprint([model], datasets["train"], section.model_dump(), params.seed)
    trainer = Trainer(
        model=model,
        # encode_pairs has shortened what is too long, where TRL would drop it.
        args=RewardConfig(**arguments(section, section.learning_rate, params.seed, checkpoints), max_length=None),
        train_dataset=datasets["train"],
        eval_dataset=datasets["val"] if section.evaluations else None,
        processing_class=tokenizer,
        peft_config=lora(model, section.lora_rank, section.lora_layers, task_type="SEQ_CLS", modules_to_save=["score"]),
    )
    log, target = Path("plots/train_reward") / variant, Path("models/reward") / variant
    train(trainer, checkpoints, run, log, target, untrained_loss=float(np.logaddexp(0, rejected - chosen).mean()))
    if state.is_main_process:
        write_json(f"metrics/train_reward/{variant}.json", {"untrained_accuracy": untrained} | summary(trainer, encoded))


if __name__ == "__main__":
    main(sys.argv[1])
