"""Preference pairs -> a reward model in models/reward/<variant>, with TRL's RewardTrainer.

python -m stages.train_reward standard

The variants are in preference_study/training/variants.py.
"""

import sys
from pathlib import Path

import numpy as np
import torch
from accelerate import PartialState
from datasets import Dataset
from transformers import PreTrainedTokenizerBase
from trl import RewardConfig

from preference_study.aggregates import MEMBERS
from preference_study.analysis.statistics import paired_rank_correlation, pairwise_accuracy
from preference_study.artifacts import read_table, write_json
from preference_study.models.language_models import (
    TokenPair,
    device,
    encode_pairs,
    load_reward,
    load_tokenizer,
    new_reward_model,
    pair_rewards,
)
from preference_study.models.reward_models import drop_bias_only
from preference_study.params import Params, load_params
from preference_study.processes import check_processes
from preference_study.training.run import arguments, fingerprint, lora, train, training_counts
from preference_study.training.variants import (
    VARIANTS,
    BiasOnly,
    Collator,
    RewardPairTrainer,
    RewardVariant,
    flipped,
    reward_rows,
)

CENTRING = 100  # training pairs whose mean reward is taken for a member's origin


def bias_numbers(bias_only: BiasOnly, pairs: list[TokenPair], seed: int) -> dict:
    """What the bias-only expert has learned: accuracy on these pairs, and Spearman's correlation of its rewards with length."""
    tokens = [[len(p.chosen_ids) for p in pairs], [len(p.rejected_ids) for p in pairs]]
    with torch.inference_mode():
        rewards = [bias_only(torch.tensor(side, dtype=torch.float, device=device())).tolist() for side in tokens]
    return {
        "accuracy": pairwise_accuracy(*rewards),
        "length_correlation": paired_rank_correlation(rewards, tokens, seed),
    }


def train_one(
    params: Params,
    variant: RewardVariant,
    name: str,
    seed: int,
    tokenizer: PreTrainedTokenizerBase,
    encoded: dict[str, list[TokenPair]],
) -> dict:
    """Train one model, or one member of an ensemble, into models/reward/<name> and return its numbers.

    Args:
        seed: of its head, its adapters and the order of the data.
        encoded: the pairs by split.
    """
    section = params.reward
    full = section.lora_rank == 0
    # Weights that are trained are kept in float32; what LoRA leaves frozen may as well be small.
    model = new_reward_model("models/base", seed, dtype="float32" if full else "bfloat16").to(device())
    scores = pair_rewards(model.eval(), encoded["val"], **params.scoring.model_dump(), description="untrained head on validation")
    chosen, rejected = np.array(scores).T
    made = reward_rows(encoded["train"])
    if variant.bias_only:
        model.bias_only = BiasOnly([row[f"{side}_tokens"] for row in made for side in ("chosen", "rejected")]).to(device())
    dataset = Dataset.from_list(variant.rows(made, section))
    checkpoints = Path("checkpoints/train_reward") / name
    run = fingerprint([model], dataset, section.model_dump(), seed)
    trainer = RewardPairTrainer(
        model=model,
        # encode_pairs has shortened what is too long, where TRL would drop it.
        args=RewardConfig(
            **arguments(section, section.learning_rate, seed, checkpoints),
            max_length=None,
            # The bias-only expert is used after the model's own forward pass, where several processes would think it is not.
            ddp_find_unused_parameters=False,
        ),
        data_collator=Collator(tokenizer.pad_token_id),
        train_dataset=dataset,
        eval_dataset=Dataset.from_list(reward_rows(encoded["val"])) if section.evaluations else None,
        processing_class=tokenizer,
        peft_config=lora(
            model,
            section.lora_rank,
            section.lora_layers,
            task_type="SEQ_CLS",
            modules_to_save=["score", "bias_only"] if variant.bias_only else ["score"],
        ),
        pair_loss=variant.pair_loss(section) if variant.pair_loss else None,
    )
    log, target = Path("plots/train_reward") / name, Path("models/reward") / name
    train(trainer, checkpoints, run, log, target, untrained_loss=float(np.logaddexp(0, rejected - chosen).mean()))
    numbers = {"untrained_accuracy": pairwise_accuracy(chosen, rejected)} | training_counts(trainer, encoded)
    if variant.bias_only:
        learned = trainer.accelerator.unwrap_model(trainer.model).bias_only
        numbers["bias_only"] = bias_numbers(learned, encoded["val"], seed)
        if trainer.is_world_process_zero():
            drop_bias_only(target)
    return numbers


def train_ensemble(params: Params, variant: RewardVariant, name: str, tokenizer, encoded: dict[str, list[TokenPair]]) -> dict:
    """Train an ensemble's members, which differ by seed and order of the data, and write the mean that each is centred by."""
    numbers, members = {}, []
    for number in range(variant.members(params.reward)):
        member = f"member_{number + 1}"
        seed = (1000 * (params.seed + 1) + number) % 2**32  # away from the seeds that a user compares
        numbers[member] = train_one(params, variant, f"{name}/{member}", seed, tokenizer, encoded)
        model = load_reward("models/base", f"models/reward/{name}/{member}")
        some = encoded["train"][:CENTRING]
        scores = pair_rewards(model, some, **params.scoring.model_dump(), description=f"{member} on training pairs")
        members.append({"folder": member, "mean_reward": float(np.mean(scores))})
    if PartialState().is_main_process:
        write_json(f"models/reward/{name}/{MEMBERS}", members)
    of_each = list(numbers.values())
    totals = {name: sum(member[name] for member in of_each) for name in ("trained_parameters", "steps")}
    return of_each[0] | {"untrained_accuracy": None} | totals | {"members": numbers}


def main(name: str) -> None:
    params = load_params()
    variant, section = VARIANTS[name], params.reward
    state = check_processes(params.launch.processes)
    tokenizer = load_tokenizer("models/base")
    encoded = {
        split: encode_pairs(tokenizer, read_table(f"data/prepared/{split}.parquet"), section.max_length)
        for split in ("train", "val")
    }
    before = encoded["train"]
    encoded["train"] = flipped(before, section.flipped, params.seed)
    turned = sum(one is not other for one, other in zip(before, encoded["train"], strict=True))
    if variant.members:
        numbers = train_ensemble(params, variant, name, tokenizer, encoded)
    else:
        numbers = train_one(params, variant, name, params.seed, tokenizer, encoded)
    if state.is_main_process:
        write_json(f"metrics/train_reward/{name}.json", numbers | {"train_pairs_flipped": turned})


if __name__ == "__main__":
    main(sys.argv[1])
