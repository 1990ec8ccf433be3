"""How often the reward model is right by how it is trained, over seeds -> experiments/results/judge.json.

python -m experiments.judge              after dvc repro frozen_layers
python -m experiments.judge --chosen "4 pairs a step"
python -m experiments.judge --elsewhere    more seeds of the best settings, on a machine whose digits are others

Settings are compared on training pairs alone: trained on four fifths of their clusters, they are judged on the pairs of the rest,
each with one seed, and the best two and the default with more; those are compared with the default on the seeds that did not
choose them. The chosen one, which is the default unless told, is trained on all training pairs, with six seeds, and judged on
validation, which nothing was chosen by. Models are trained in this process, from the hidden states of the stage frozen_layers. It
can be stopped: what the file holds of the same pairs and parameters is not measured again, and models that were trained are taken
from checkpoints/judge/. Delete both where training's code has changed.

On another kind of processor the base model gives other last digits, and all begins anew, but with --elsewhere: seeds after the
first take no part in choosing, and are compared with the default's of the same machine alone.
"""

import argparse
import hashlib
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from peft.helpers import disable_input_dtype_casting
from sklearn.model_selection import GroupShuffleSplit
from tqdm.auto import tqdm
from transformers import PreTrainedModel, ProgressCallback, TrainerCallback

from preference_study.analysis.baselines import tfidf_margins
from preference_study.analysis.judge import right_to_judge
from preference_study.analysis.statistics import mean, pairwise_accuracy
from preference_study.artifacts import read_array, read_json, read_table, write_json
from preference_study.launch import ALLOCATOR
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
    "1 epoch": {"epochs": 1},
    "2 epochs": {"epochs": 2},
    "1 epoch of 2 pairs a step, rate halved": {"epochs": 1, "batch_size": 2, "learning_rate": 0.5},
    "2 epochs of 4 pairs a step, rate halved": {"epochs": 2, "batch_size": 4, "learning_rate": 0.5},
    "4 epochs": {"epochs": 4},
    "warm-up 0.2": {"warmup": 0.2},
    "LoRA on 5 layers": {"lora_layers": 5},
}  # a learning rate is a multiple of that in params.yaml
SEEDS, MORE_SEEDS, PROMISING, HELD_OUT, TOGETHER = (1, 2, 3), (1, 2, 3, 4, 5, 6), 2, 0.2, 3
SCRATCH, TARGET = Path("checkpoints/judge"), Path("experiments/results/judge.json")


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
    model = new_reward_model("models/base", seed, dtype="float32" if section.lora_rank == 0 else None)
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
    with disable_input_dtype_casting(trainer.model):  # as `preference_study.training.run.train` has it
        trainer.train()
    trainer.save_model(str(folder))
    found = {"last": margins_of(trainer.model, judged, limits)}
    averaged.put_in()
    return found | {"averaged": margins_of(trainer.model, judged, limits)}


def margins_of(model: PreTrainedModel, pairs: Pairs, limits: dict) -> np.ndarray:
    """Reward of chosen minus rejected, per pair."""
    scores = np.array(pair_rewards(model.eval(), pairs.encoded, **limits, description="scoring"))
    return scores[:, 0] - scores[:, 1]


def digest_of(train: Pairs, judged: Pairs, settings: Any = None) -> str:
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    for array in (train.features, judged.features):
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:16]


def once(section: Reward, seed: int, train: Pairs, judged: Pairs, kept: HiddenStates | None, limits: dict) -> tuple[dict, Path]:
    """`trained`, or what it gave before with the same parameters on the same pairs; and the folder of its adapters."""
    folder = SCRATCH / digest_of(train, judged, [section.model_dump(), seed])
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
    return margins_of(first, judged, limits)


def accuracy(margin: np.ndarray) -> float:
    """Of the pairs; a tie counts half."""
    return pairwise_accuracy(margin, np.zeros(len(margin)))["value"]


def groups(seeds: Sequence[int]) -> list[tuple[int, ...]]:
    """The seeds by three, each once."""
    return [tuple(seeds[i : i + TOGETHER]) for i in range(0, len(seeds) - TOGETHER + 1, TOGETHER)]


def begun(about: dict, n_held_out: int, n_val: int, baselines: dict[str, np.ndarray], before: dict | None = None) -> dict:
    """experiments/results/judge.json before anything is trained, with what was measured before of the same.

    Settings are told from one another by their names, so they outlast another choice of the one that is judged on validation.

    Args:
        about: what tells one search from another, {chosen, params, pairs}.
        baselines: margins of the validation pairs.
        before: what the file held.

    Returns:
        about, with
        settings: per setting {seeds, last, averaged}, an accuracy a seed, and against_default, as `with_setting` gives it;
        val: {seeds, last, averaged}, an accuracy a seed, right_to_judge, a seed's as the study gives it,
        {groups, mean_of_rewards, mean_of_weights}, an accuracy a group, and baselines with Wilson intervals;
        n_held_out and n_val, the pairs that these are of.
    """
    same = {name for name, value in about.items() if before is not None and before.get(name) == value}
    if same == about.keys():
        return before
    of_each = ("seeds", "last", "averaged", "right_to_judge", "groups", "mean_of_rewards", "mean_of_weights")
    shares = {name: pairwise_accuracy(found, np.zeros(len(found))) for name, found in baselines.items()}
    val = {name: [] for name in of_each} | {"baselines": shares}
    settings = before["settings"] if before is not None and about.keys() - same == {"chosen"} else {}
    return about | {"n_held_out": n_held_out, "settings": settings, "n_val": n_val, "val": val}


def with_group(found: dict, margins: dict[int, dict], weights: np.ndarray, pairs: pd.DataFrame, baselines: dict) -> dict:
    """The same with a group of seeds on validation.

    Args:
        margins: per seed {last, averaged}, of the validation pairs.
        weights: margins of the one model of the group's mean weights.
        pairs: cluster, chosen_words and rejected_words of each.
        baselines: margins by name, but for that of length.
    """
    val, last = found["val"], [each["last"] for each in margins.values()]
    added = {kind: [accuracy(each[kind]) for each in margins.values()] for kind in ("last", "averaged")}
    added |= {"seeds": list(margins), "groups": [list(margins)], "mean_of_weights": [accuracy(weights)]}
    added |= {"mean_of_rewards": [accuracy(np.mean(last, axis=0))]}
    scored = [pairs.assign(chosen_reward=margin, rejected_reward=0.0) for margin in last]
    added |= {"right_to_judge": [right_to_judge(each, baselines) for each in scored]}
    return found | {"val": val | {name: val[name] + values for name, values in added.items()}}


def with_setting(found: dict, name: str, seed: int, margins: dict) -> dict:
    """The same with a setting's model of another seed.

    Args:
        margins: {last, averaged}, of the training pairs held out.

    Returns:
        With against_default of every other setting than the default: the mean difference of last over the seeds that both have,
        with Student's interval. The first of `SEEDS` chose which settings have more, and would favour those: it is left out
        where both have others, and alone it is a first look.
    """
    own = found["settings"].get(name, {"seeds": [], "last": [], "averaged": []})
    own = own | {"seeds": [*own["seeds"], seed]} | {kind: [*own[kind], accuracy(margins[kind])] for kind in ("last", "averaged")}
    settings = found["settings"] | {name: own}
    last = {name: dict(zip(row["seeds"], row["last"], strict=True)) for name, row in settings.items()}
    for other, row in settings.items():
        both = {seed: value - last[DEFAULT][seed] for seed, value in last[other].items() if seed in last.get(DEFAULT, {})}
        others = [difference for seed, difference in both.items() if seed != SEEDS[0]]
        if other != DEFAULT and both:
            settings[other] = row | {"against_default": mean(others or list(both.values()))}
    return found | {"settings": settings}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chosen", default=DEFAULT, choices=SETTINGS, help="the setting that is judged on validation")
    parser.add_argument("--elsewhere", action="store_true", help="more seeds of the best settings that the file names, no more")
    given, params = parser.parse_args(), load_params()
    chosen = given.chosen
    if params.reward.flipped:
        raise SystemExit(
            "reward.flipped swaps training pairs, and the search is over pairs as they are: set it to 0 in params.yaml"
        )
    # Validation is at the end, on pairs that `evaluations` knows nothing of.
    section, limits = params.reward.model_copy(update={"evaluations": 0}), params.scoring.model_dump()
    tokenizer, tables, splits = load_tokenizer("models/base"), {}, {}
    for split in ("train", "val"):
        tables[split] = read_table(f"data/prepared/{split}.parquet")
        encoded = encode_pairs(tokenizer, tables[split], section.max_length)
        splits[split] = Pairs(encoded, read_array(f"data/features/{split}.npy"), list(tables[split]["cluster"]))
    train, judged, kept = splits["train"], splits["val"], kept_in("data/frozen/reward")
    [(seen, unseen)] = GroupShuffleSplit(1, test_size=HELD_OUT, random_state=0).split(train.clusters, groups=train.clusters)
    most, rest = train.part(seen), train.part(unseen)
    weights, _ = linear_probe(train.features, train.clusters)
    baselines = {
        "longer": (tables["val"]["chosen_words"] - tables["val"]["rejected_words"]).to_numpy(),
        "tfidf": tfidf_margins(tables["train"], tables["val"], params.seed),
        "probe": (judged.features[:, 0] - judged.features[:, 1]) @ weights,
    }
    about = {"chosen": chosen, "params": section.model_dump(), "pairs": digest_of(train, judged)}
    before, (first, *more) = read_json(TARGET) if TARGET.exists() else None, SEEDS
    if given.elsewhere:
        if before is None or before["params"] != about["params"] or not SETTINGS.keys() <= before["settings"].keys():
            raise SystemExit(f"{TARGET} does not have each setting with these parameters once: leave --elsewhere out")
        found = before
    else:
        found = begun(about, len(rest.encoded), len(judged.encoded), baselines, before)

    for group in tqdm([] if given.elsewhere else groups(MORE_SEEDS), desc=f"{chosen}, on all training pairs"):
        if list(group) in found["val"]["groups"]:
            continue
        own = changed(section, SETTINGS[chosen])
        margins, folders = zip(*(once(own, seed, train, judged, kept, limits) for seed in group), strict=True)
        weights = with_mean_weights(folders, judged, kept, limits)
        others = {name: baselines[name] for name in ("tfidf", "probe")}
        found = with_group(found, dict(zip(group, margins, strict=True)), weights, tables["val"], others)
        write_json(TARGET, found)

    def measured(names: Sequence[str], seeds: Sequence[int], description: str) -> dict:
        now = found
        for name, seed in tqdm([(name, seed) for name in names for seed in seeds], desc=description):
            if seed not in now["settings"].get(name, {"seeds": []})["seeds"]:
                margins, _ = once(changed(section, SETTINGS[name]), seed, most, rest, kept, limits)
                now = with_setting(now, name, seed, margins)
                write_json(TARGET, now)
        return now

    found = measured(list(SETTINGS), [first], "settings, one seed each")
    by_accuracy = sorted(SETTINGS, key=lambda name: -found["settings"][name]["last"][0])
    promising = [DEFAULT, *[name for name in by_accuracy if name != DEFAULT][:PROMISING]]
    found = measured(promising, more, "the best of them, more seeds")
    print(pd.Series(found["val"]["last"]).describe().to_string())


if __name__ == "__main__":
    if not ALLOCATOR.keys() <= os.environ.keys():  # as the stage is started
        os.execve(sys.executable, [sys.executable, "-m", "experiments.judge", *sys.argv[1:]], os.environ | ALLOCATOR)
    main()
