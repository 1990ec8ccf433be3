"""Preference pairs -> a reward model in models/reward/<variant>, with TRL's RewardTrainer.

python -m stages.train_reward standard

The variants are in preference_study/variants/. A model's head begins as a linear probe of the base model's features, or is drawn
at random (reward.head). Of the validation pairs the rewards before training, and those of a bias-only expert, go to
data/scores/training/<variant>.json.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from accelerate import PartialState
from transformers import PreTrainedTokenizerBase

from preference_study.aggregates import MEMBERS
from preference_study.artifacts import open_table, read_array, write_json
from preference_study.boundary import run
from preference_study.models.frozen import HiddenStates, kept_in, use_kept
from preference_study.models.language_models import device, load_reward, load_tokenizer, new_reward_model, pair_rewards
from preference_study.models.packed import pack_rows
from preference_study.models.reward_models import drop_bias_only
from preference_study.models.token_pairs import TokenPairs, encode_file, token_folder
from preference_study.params import Params, load_params
from preference_study.processes import check_processes
from preference_study.training.probe import linear_probe
from preference_study.training.reward_trainer import BiasOnly, flipped, reward_rows, reward_trainer
from preference_study.training.run import code_of, fingerprint, train, training_counts
from preference_study.variants import VARIANTS, RewardVariant

CENTRING = 100  # training pairs whose mean reward is taken for a member's origin


@dataclass(frozen=True)
class Start:
    """What every model of a variant begins with.

    Attributes:
        head: weights [hidden size] of a linear probe on the training pairs; None where a model's seed draws its head.
        features: of the base model, [validation pairs, 2, hidden size], of chosen and rejected.
        kept: the hidden states under the lowest trained layer; None where they are not kept.
    """

    head: np.ndarray | None
    features: np.ndarray
    kept: HiddenStates | None


@dataclass(frozen=True)
class Places:
    """The folders in which a training has one of the model's name."""

    models: Path = Path("models/reward")
    logs: Path = Path("plots/train_reward")
    checkpoints: Path = Path("checkpoints/train_reward")


def probe_on(turned: np.ndarray, used: np.ndarray | None = None) -> tuple[np.ndarray, float]:
    """The linear probe, as `linear_probe` returns it, on the training pairs; of those that are `turned` the sides are swapped.

    Args:
        used: which of the training pairs, by a mask; None for all.
    """
    features = read_array("data/features/train.npy")
    clusters = open_table("data/prepared/train.parquet").read(["cluster"]).to_pandas()["cluster"]
    if used is not None:
        features, clusters = features[used], clusters[used]
    features[turned] = features[turned][:, ::-1]
    return linear_probe(features, list(clusters))


def bias_only_rows(bias_only: BiasOnly, pairs: TokenPairs) -> list[dict]:
    """Per pair what the bias-only expert sees and gives: {chosen_tokens, rejected_tokens, chosen_reward, rejected_reward}."""
    tokens = {side: pairs.column(f"{side}_tokens").tolist() for side in ("chosen", "rejected")}
    columns = {f"{side}_tokens": counts for side, counts in tokens.items()}
    with torch.inference_mode():
        for side, counts in tokens.items():
            columns[f"{side}_reward"] = bias_only(torch.tensor(counts, dtype=torch.float, device=device())).tolist()
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def train_one(
    params: Params,
    variant: RewardVariant,
    name: str,
    seed: int,
    tokenizer: PreTrainedTokenizerBase,
    encoded: dict[str, TokenPairs],
    start: Start,
    places: Places,
) -> tuple[dict, dict]:
    """Train one model, or one member of an ensemble, into the folder <name> of `places`.

    Args:
        name: of its folder; an ensemble's member has its variant's name before its own.
        seed: of its adapters and the order of the data, and of a head that is drawn at random.
        encoded: the pairs by split.

    Returns:
        What it was trained on, and its rows of data/scores/training.
    """
    section, variant_name = params.reward, name.split("/")[0]
    full = section.lora_rank == 0
    # Weights that are trained are kept in float32; what LoRA leaves frozen may as well be small.
    model = new_reward_model("models/base", seed, dtype="float32" if full else None).to(device())
    if start.head is not None:
        model.score.weight.data.copy_(torch.from_numpy(start.head)[None])
    before = start.features @ model.score.weight.detach().cpu().numpy()[0]
    use_kept(model, start.kept)
    pack_rows(model)
    made = reward_rows(encoded["train"])
    if variant.bias_only:
        tokens = np.stack([encoded["train"].column(f"{side}_tokens") for side in ("chosen", "rejected")], axis=1)
        model.bias_only = BiasOnly(tokens.ravel()).to(device())
        # It works outside of the model's own forward pass: where weights are sharded it must be gathered by itself.
        model._no_split_modules.add(BiasOnly.__name__)
    dataset = variant.rows(made, section.own(variant_name))
    checkpoints = places.checkpoints / name
    val = reward_rows(encoded["val"]) if section.evaluations else None
    seen = [dataset] if val is None else [dataset, val]
    made_by = fingerprint([model], seen, section.model_dump(), seed, code_of("variants", variant_name))
    trainer = reward_trainer(model, tokenizer, dataset, val, section, variant_name, variant, seed, checkpoints)
    log, target = places.logs / name, places.models / name
    train(trainer, checkpoints, made_by, log, target, untrained_loss=float(np.logaddexp(0, before[:, 1] - before[:, 0]).mean()))
    rows = {"untrained": [{"chosen_reward": c, "rejected_reward": r} for c, r in before.tolist()]}
    if variant.bias_only:
        rows["bias_only"] = bias_only_rows(trainer.accelerator.unwrap_model(trainer.model).bias_only, encoded["val"])
        if trainer.is_world_process_zero():
            drop_bias_only(target)
    if trainer.is_world_process_zero():
        shutil.rmtree(checkpoints, ignore_errors=True)
    return training_counts(trainer, encoded), rows


def train_ensemble(
    params: Params,
    variant: RewardVariant,
    name: str,
    tokenizer: PreTrainedTokenizerBase,
    encoded: dict[str, TokenPairs],
    start: Start,
    places: Places,
) -> tuple[dict, dict]:
    """Train an ensemble's members, which differ by seed and order of the data, and write the mean that each is centred by.

    Returns:
        As `train_one`: sums over the members, and each one's own.
    """
    numbers, rows, members = {}, {}, []
    for number in range(variant.members(params.reward.own(name))):
        member = f"member_{number + 1}"
        seed = (1000 * (params.seed + 1) + number) % 2**32  # away from the seeds that a user compares
        numbers[member], rows[member] = train_one(params, variant, f"{name}/{member}", seed, tokenizer, encoded, start, places)
        model = load_reward("models/base", places.models / name / member)
        use_kept(model, start.kept)
        pack_rows(model)
        some = encoded["train"][:CENTRING]
        scores = pair_rewards(model, some, **params.scoring.model_dump(), description=f"{member} on training pairs")
        members.append({"folder": member, "mean_reward": float(np.mean(scores))})
    if PartialState().is_main_process:
        write_json(places.models / name / MEMBERS, members)
    of_each = list(numbers.values())
    totals = {name: sum(member[name] for member in of_each) for name in ("trained_parameters", "steps")}
    return of_each[0] | totals | {"members": numbers}, {"members": rows}


def main(name: str) -> None:
    params = load_params()
    variant, section = VARIANTS[name], params.reward
    state = check_processes(params.launch.processes)
    tokenizer = load_tokenizer("models/base")
    turned = flipped(open_table("data/prepared/train.parquet").metadata.num_rows, section.flipped, params.seed)
    head, strength = probe_on(turned) if section.head == "probe" else (None, None)
    start = Start(head, read_array("data/features/val.npy"), kept_in("data/frozen/reward"))
    with token_folder(f"train_reward/{name}") as folder:
        encoded = {
            split: encode_file(tokenizer, f"data/prepared/{split}.parquet", section.max_length, folder, turned=swapped)
            for split, swapped in (("train", turned), ("val", None))
        }
        if variant.members:
            numbers, rows = train_ensemble(params, variant, name, tokenizer, encoded, start, Places())
        else:
            numbers, rows = train_one(params, variant, name, params.seed, tokenizer, encoded, start, Places())
    if state.is_main_process:
        write_json(
            f"metrics/train_reward/{name}.json", numbers | {"train_pairs_flipped": int(turned.sum()), "probe_strength": strength}
        )
        write_json(f"data/scores/training/{name}.json", rows)


if __name__ == "__main__":
    run(main, VARIANTS)
