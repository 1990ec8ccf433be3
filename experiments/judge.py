"""How often the reward model is right by how it is trained, over seeds -> experiments/results/judge.json.

python -m experiments.judge              after dvc repro frozen_layers
python -m experiments.judge --chosen "4 pairs a step"

Settings are compared on training pairs alone: trained on four fifths of their clusters, they are judged on the pairs of the rest,
each with one seed, and the best two and the default with more. The chosen one, which is the default unless told, is trained on
all training pairs, with six seeds, and judged on validation, which nothing was chosen by. Models are trained in this process,
from the hidden states of the stage frozen_layers. What was measured before, on the same pairs with the same parameters, is taken
from checkpoints/judge/: delete that where the code of training has changed.
"""

import argparse
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from sklearn.model_selection import GroupShuffleSplit
from tqdm.auto import tqdm
from transformers import PreTrainedModel, ProgressCallback, TrainerCallback

from preference_study.analysis.baselines import tfidf_margins
from preference_study.analysis.statistics import mean, pairwise_accuracy
from preference_study.artifacts import read_array, read_table, write_json
from preference_study.models.frozen import HiddenStates, kept_in, use_kept
from preference_study.models.language_models import load_reward, load_tokenizer, new_reward_model, pair_rewards
from preference_study.models.packed import pack_rows
from preference_study.models.tokens import TokenPair, encode_pairs
from preference_study.params import Reward, load_params
from preference_study.training.probe import linear_probe
from preference_study.training.reward_trainer import reward_rows, reward_trainer
from preference_study.variants import STANDARD, VARIANTS

DEFAULT = "as params.yaml has it"
SETTINGS = {
    DEFAULT: {},
    "head at random": {"head": "random"},
    "rate halved": {"learning_rate": 0.5},
    "rate doubled": {"learning_rate": 2.0},
    "4 pairs a step": {"batch_size": 4},
    "4 pairs a step, rate doubled": {"batch_size": 4, "learning_rate": 2.0},
    "warm-up 0.2": {"warmup": 0.2},
    "LoRA on 5 layers": {"lora_layers": 5},
}  # a learning rate is a multiple of that in params.yaml
SEEDS, MORE_SEEDS, PROMISING, HELD_OUT, TOGETHER = (1, 2, 3), (1, 2, 3, 4, 5, 6), 2, 0.2, 3
SCRATCH = Path("checkpoints/judge")


@dataclass(frozen=True)
class Pairs:
    """Pairs as a model takes them, with the base model's features [pairs, 2, hidden size] and clusters."""

    encoded: list[TokenPair]
    features: np.ndarray
    clusters: list[str]

    def part(self, places: np.ndarray) -> "Pairs":
        return Pairs([self.encoded[i] for i in places], self.features[places], [self.clusters[i] for i in places])


class MeanWeights(TrainerCallback):
    """The mean of the trained weights over the second half of the steps (Izmailov et al. 2018).

    TRL's BEMACallback copies a model that is trained as a whole, and none with adapters.
    """

    def on_train_begin(self, args, state, control, model=None, **kwargs):
        self.trained = [weight for weight in model.parameters() if weight.requires_grad]
        self.means, self.steps = [torch.zeros_like(weight) for weight in self.trained], 0

    def on_step_end(self, args, state, control, **kwargs):
        if 2 * state.global_step > state.max_steps:
            self.steps += 1
            for total, weight in zip(self.means, self.trained, strict=True):
                total.lerp_(weight.detach(), 1 / self.steps)

    def put_in(self) -> None:
        """Give the model these weights."""
        for total, weight in zip(self.means, self.trained, strict=True):
            weight.data.copy_(total)


def changed(section: Reward, changes: dict) -> Reward:
    """The section with a setting's changes."""
    rate = section.learning_rate * changes.get("learning_rate", 1.0)
    return section.model_copy(update=changes | {"learning_rate": rate})


def trained(
    section: Reward, seed: int, train: Pairs, judged: Pairs, kept: HiddenStates | None, folder: Path, limits: dict
) -> dict:
    """Margins of the judged pairs by a model trained on others, whose adapters stay in `folder`.

    Returns:
        last and averaged: with the last weights, and with the `MeanWeights`.
    """
    tokenizer = load_tokenizer("models/base")
    model = new_reward_model("models/base", seed)
    if section.head == "probe":
        head, _ = linear_probe(train.features, train.clusters)
        model.score.weight.data.copy_(torch.from_numpy(head)[None])
    use_kept(model, kept)
    pack_rows(model)
    rows = reward_rows(train.encoded)
    trainer = reward_trainer(model, tokenizer, rows, None, section, STANDARD, VARIANTS[STANDARD], seed, folder)
    trainer.args.save_strategy = "no"
    trainer.remove_callback(ProgressCallback)
    averaged = MeanWeights()
    trainer.add_callback(averaged)
    trainer.train()
    trainer.save_model(str(folder))
    found = {"last": margins(trainer.model, judged, limits)}
    averaged.put_in()
    return found | {"averaged": margins(trainer.model, judged, limits)}


def margins(model: PreTrainedModel, pairs: Pairs, limits: dict) -> np.ndarray:
    """Reward of chosen minus rejected, per pair."""
    scores = np.array(pair_rewards(model.eval(), pairs.encoded, **limits, description="scoring"))
    return scores[:, 0] - scores[:, 1]


def once(section: Reward, seed: int, train: Pairs, judged: Pairs, kept: HiddenStates | None, limits: dict) -> tuple[dict, Path]:
    """`trained`, or what it gave before with the same parameters on the same pairs; and the folder of its adapters."""
    digest = hashlib.sha256(json.dumps([section.model_dump(), seed], sort_keys=True).encode())
    for array in (train.features, judged.features):
        digest.update(np.ascontiguousarray(array).tobytes())
    folder = SCRATCH / digest.hexdigest()[:16]
    file = folder / "margins.npz"
    if not file.exists():
        found = trained(section, seed, train, judged, kept, folder, limits)
        np.savez(file, **found)
    with np.load(file, allow_pickle=False) as found:
        return dict(found), folder


def with_mean_weights(folders: Sequence[Path], judged: Pairs, kept: HiddenStates | None, limits: dict) -> np.ndarray:
    """Margins by one model of the mean of several models' weights, adapters merged (WARM, Ramé et al. 2024)."""
    first, *others = (load_reward("models/base", folder, torch.float32) for folder in folders)
    weights = [dict(model.named_parameters()) for model in others]
    with torch.no_grad():
        for name, weight in first.named_parameters():
            weight.copy_(torch.stack([weight, *(other[name] for other in weights)]).mean(dim=0))
    use_kept(first, kept)
    return margins(first, judged, limits)


def accuracy(margin: np.ndarray) -> float:
    """Of the pairs; a tie counts half."""
    return pairwise_accuracy(margin, np.zeros(len(margin)))["value"]


def groups(seeds: Sequence[int]) -> list[tuple[int, ...]]:
    """The seeds by three, each once."""
    return [tuple(seeds[i : i + TOGETHER]) for i in range(0, len(seeds) - TOGETHER + 1, TOGETHER)]


def collect(held_out: dict[str, dict[int, dict]], val: dict[int, dict], baselines: dict[str, np.ndarray]) -> dict:
    """experiments/results/judge.json from margins.

    Args:
        held_out: per setting and seed {last, averaged}, margins of the training pairs held out.
        val: of the chosen setting, per seed {last, averaged} of the validation pairs; per group of seeds, {weights}.
        baselines: margins of the validation pairs.

    Returns:
        settings: per setting {seeds, last, averaged}, an accuracy a seed, and against_default, the mean difference of last with
        Student's interval over seeds;
        val: {seeds, last, averaged}, an accuracy a seed, {groups, mean_of_rewards, mean_of_weights}, an accuracy a group, and
        baselines with Wilson intervals; n of both.
    """
    settings = {}
    for name, by_seed in held_out.items():
        found = {kind: [accuracy(by_seed[seed][kind]) for seed in by_seed] for kind in ("last", "averaged")}
        if name != DEFAULT:
            default = held_out[DEFAULT]
            found["against_default"] = mean([accuracy(by_seed[s]["last"]) - accuracy(default[s]["last"]) for s in by_seed])
        settings[name] = {"seeds": list(by_seed)} | found
    seeds = [seed for seed in val if isinstance(seed, int)]
    together = [group for group in val if isinstance(group, tuple)]
    return {
        "n_held_out": len(next(iter(held_out[DEFAULT].values()))["last"]),
        "settings": settings,
        "n_val": len(val[seeds[0]]["last"]),
        "val": {"seeds": seeds}
        | {kind: [accuracy(val[seed][kind]) for seed in seeds] for kind in ("last", "averaged")}
        | {
            "groups": [list(group) for group in together],
            "mean_of_rewards": [accuracy(np.mean([val[seed]["last"] for seed in group], axis=0)) for group in together],
            "mean_of_weights": [accuracy(val[group]["weights"]) for group in together],
            "baselines": {name: pairwise_accuracy(found, np.zeros(len(found))) for name, found in baselines.items()},
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chosen", default=DEFAULT, choices=SETTINGS, help="the setting that is judged on validation")
    chosen = parser.parse_args().chosen
    params = load_params()
    section, limits = params.reward, params.scoring.model_dump()
    tokenizer, tables, splits = load_tokenizer("models/base"), {}, {}
    for split in ("train", "val"):
        tables[split] = read_table(f"data/prepared/{split}.parquet")
        encoded = encode_pairs(tokenizer, tables[split], section.max_length)
        splits[split] = Pairs(encoded, read_array(f"data/features/{split}.npy"), list(tables[split]["cluster"]))
    train, judged, kept = splits["train"], splits["val"], kept_in("data/frozen/reward")
    [(seen, unseen)] = GroupShuffleSplit(1, test_size=HELD_OUT, random_state=0).split(train.clusters, groups=train.clusters)
    most, rest = train.part(seen), train.part(unseen)
    held_out, val, folders = {name: {} for name in SETTINGS}, {}, {}
    for seed in tqdm(MORE_SEEDS, desc=f"{chosen}, on all training pairs"):
        val[seed], folders[seed] = once(changed(section, SETTINGS[chosen]), seed, train, judged, kept, limits)
    first, *more = SEEDS
    for name in tqdm(SETTINGS, desc="settings, one seed each"):
        held_out[name][first], _ = once(changed(section, SETTINGS[name]), first, most, rest, kept, limits)
    by_accuracy = sorted(SETTINGS, key=lambda name: -accuracy(held_out[name][first]["last"]))
    promising = [DEFAULT, *[name for name in by_accuracy if name != DEFAULT][:PROMISING]]
    for name, seed in tqdm([(name, seed) for name in promising for seed in more], desc="the best of them, more seeds"):
        held_out[name][seed], _ = once(changed(section, SETTINGS[name]), seed, most, rest, kept, limits)
    for group in groups(MORE_SEEDS):
        val[group] = {"weights": with_mean_weights([folders[seed] for seed in group], judged, kept, limits)}
    weights, _ = linear_probe(train.features, train.clusters)
    baselines = {
        "longer": (tables["val"]["chosen_words"] - tables["val"]["rejected_words"]).to_numpy(),
        "tfidf": tfidf_margins(tables["train"], tables["val"], params.seed),
        "probe": (judged.features[:, 0] - judged.features[:, 1]) @ weights,
    }
    found = {"chosen": chosen, "params": section.model_dump()} | collect(held_out, val, baselines)
    write_json("experiments/results/judge.json", found)
    print(pd.Series(found["val"]["last"]).describe().to_string())


if __name__ == "__main__":
    main()
