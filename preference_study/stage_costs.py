"""What each stage of dvc.yaml that runs the model costs, from the parameters, the model's shape and the data's lengths."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from preference_study.cost import (
    GIB,
    LIBRARIES,
    PAIR_NOTES,
    TOKEN_MAPPED,
    TOKEN_OBJECTS,
    Assumptions,
    Decoding,
    Device,
    Load,
    Part,
    Shape,
    Stage,
    decoding,
    decoding_load,
    decoding_memory,
    forward,
    load,
    scoring_memory,
    seconds,
    total,
    training,
    training_memory,
)
from preference_study.methods import METHODS
from preference_study.models.batching import batches_by_length
from preference_study.params import Params
from preference_study.texts.perturbations import PERTURBATIONS
from preference_study.variants import VARIANTS

MEGABATCH = 50  # batches that transformers' LengthGroupedSampler sorts at a time
CENTRED = 100  # training pairs that an ensemble's member is centred by
RANK = 16  # of LoRA where it is the remedy
HALVINGS = 12


@dataclass(frozen=True)
class Lengths:
    """Tokens of a sample of pairs, not shortened yet, and of how many pairs it is one.

    Attributes:
        prompts, chosen, rejected: tokens of each sampled pair; responses with their EOS.
        pairs: of all, by split: train, val.
        whole: whether all pairs are in the sample, so that the longest is known.
        asked: tokens of the prompts that are answered.
        answered: how many prompts are answered.
        written: mean tokens of an answer.
    """

    prompts: np.ndarray
    chosen: np.ndarray
    rejected: np.ndarray
    pairs: dict[str, int]
    whole: bool
    asked: np.ndarray
    answered: int
    written: float


@dataclass(frozen=True)
class Fitted:
    """A sample's lengths as `preference_study.models.tokens.fit` shortens them."""

    prompts: np.ndarray
    chosen: np.ndarray
    rejected: np.ndarray

    @property
    def sequences(self) -> np.ndarray:
        """Prompt and response, chosen and rejected of each pair in turn."""
        return np.stack([self.prompts + self.chosen, self.prompts + self.rejected], axis=1).ravel()

    @property
    def responses(self) -> np.ndarray:
        return np.stack([self.chosen, self.rejected], axis=1).ravel()


def fitted(lengths: Lengths, max_length: int) -> Fitted:
    """The sample as the study shortens it, to at most `max_length` tokens of prompt and response."""
    prompts, chosen, rejected = (np.asarray(part, dtype=int) for part in (lengths.prompts, lengths.chosen, lengths.rejected))
    room = np.maximum(max_length - np.maximum(chosen, rejected), max_length // 4)
    prompts = np.minimum(prompts, room)
    left = max_length - prompts
    return Fitted(prompts, np.minimum(chosen, left), np.minimum(rejected, left))


def _longest(work: Load, lengths: Lengths, max_length: int, rows: int) -> Load:
    """The load with its largest batch as large as it can be, where not all pairs are in the sample."""
    if lengths.whole or not work.rows:
        return work
    share = work.largest_scored / (work.rows * work.length)
    return replace(work, rows=rows, length=max_length, largest_scored=share * rows * max_length)


def training_load(lengths: Lengths, max_length: int, batch_size: int, pairs: int) -> Load:
    """One epoch of training on so many pairs, in batches of pairs of similar length, two sequences a pair."""
    found = fitted(lengths, max_length)
    longer = found.prompts + np.maximum(found.chosen, found.rejected)
    batches = []
    for start in range(0, len(longer), MEGABATCH * batch_size):
        order = start + np.argsort(-longer[start : start + MEGABATCH * batch_size], kind="stable")
        batches += [order[place : place + batch_size] for place in range(0, len(order), batch_size)]
    sides = [[side for pair in batch for side in (2 * pair, 2 * pair + 1)] for batch in batches]
    work = load(found.sequences, found.responses, sides).times(pairs / len(longer))
    return _longest(work, lengths, max_length, 2 * batch_size)


def scoring_load(lengths: Lengths, max_length: int, scoring: Any, pairs: float) -> Load:
    """Scoring both responses of so many pairs, batched by length."""
    found = fitted(lengths, max_length)
    work = load(found.sequences, found.responses, batches_by_length(list(found.sequences), scoring.max_batch, scoring.max_padded))
    rows = max(1, min(scoring.max_batch, scoring.max_padded // max_length))
    return _longest(work.times(pairs / len(found.prompts)), lengths, max_length, rows)


def answers_load(lengths: Lengths, max_length: int, scoring: Any, answers: float) -> Load:
    """Scoring so many answers to the prompts."""
    written = round(lengths.written)
    sequences = np.minimum(lengths.asked + written, max_length)
    responses = np.full(len(sequences), min(written, max_length))
    work = load(sequences, responses, batches_by_length(list(sequences), scoring.max_batch, scoring.max_padded))
    return work.times(answers / len(sequences))


def pairs_used(params: Params, lengths: Lengths) -> dict[str, int]:
    """Pairs that reward models are trained on, that policies are, and of validation."""
    train = min(lengths.pairs["train"], params.data.max_train or lengths.pairs["train"])
    val = min(lengths.pairs["val"], params.data.max_val or lengths.pairs["val"])
    return {"reward": train, "policy": min(train, params.policy.max_train or train), "val": val}


def trained_layers(section: Any, shape: Shape) -> int:
    """How many of the top layers a section trains."""
    return shape.layers if section.lora_rank == 0 or section.lora_layers is None else min(section.lora_layers, shape.layers)


def store(params: Params, section: Any, shape: Shape, lengths: Lengths, pairs: int, item: int) -> float:
    """Bytes of the hidden states that are kept under a section's trained layers; 0 where they are not."""
    if trained_layers(section, shape) == shape.layers or params.launch.spread:
        return 0.0
    found = fitted(lengths, section.max_length)
    needed = found.sequences.mean() * 2 * pairs * shape.hidden * item
    return float(needed) if needed <= params.frozen.max_gib * GIB else 0.0


class _Study:
    """What the stages' costs are computed from, with what several of them need."""

    def __init__(self, params: Params, shape: Shape, lengths: Lengths, device: Device, assumed: Assumptions):
        self.params, self.shape, self.lengths, self.device, self.assumed = params, shape, lengths, device, assumed
        self.judge = replace(shape, parameters=shape.parameters - shape.own_head)  # a reward model has one output
        self.processes = params.launch.processes
        self.pairs = pairs_used(params, lengths)
        self.kept = {
            name: store(params, getattr(params, name), shape, lengths, self.pairs[name] + self.pairs["val"], device.item)
            for name in ("reward", "policy")
        }

    def stage(
        self,
        name: str,
        parts: Sequence[Part],
        memory: dict,
        host: dict | None = None,
        disk: dict | None = None,
        full: bool = False,
    ) -> Stage:
        spent = sum(seconds(part, self.device, self.assumed, self.processes) for part in parts) + self.assumed.start_seconds
        host = {name: bytes_ for name, bytes_ in (host or {}).items() if bytes_}
        if self.device.shared:
            # While weights are loaded as another type than their file's, both are there.
            file = 2.0 * self.shape.parameters if self.device.item == 4 and parts else 0.0
            memory = memory | host
            memory["loading"] = memory.get("loading", 0.0) or max(0.0, file - (total(memory) - memory.get("weights", 0.0)))
            if parts:
                memory["libraries"] = LIBRARIES
        elif parts:
            # Each process loads the model into the machine's memory first, in float32 where every weight is trained.
            host = {"loading": self.processes * self.shape.parameters * (4.0 if full else self.device.item)} | host
            if full and self.params.launch.accelerate_config:
                # And whole onto its device, before the processes share it out.
                memory = memory | {"loading": max(0.0, 4.0 * self.shape.parameters - total(memory))}
        return Stage(name, tuple(parts), memory, host, disk or {}, spent)

    def rows(self, section: Any, pairs: float) -> float:
        """Bytes of the pairs in memory: their tokens, mapped by all processes together, and what each process notes of a pair."""
        return self.tokens(section, pairs) + PAIR_NOTES * pairs * self.processes

    def tokens(self, section: Any, pairs: float) -> float:
        """Bytes of the file of the pairs' tokens, the prompt and both responses."""
        found = fitted(self.lengths, section.max_length)
        return TOKEN_MAPPED * (found.prompts + found.chosen + found.rejected).mean() * pairs

    def held(self, section: Any, pairs: float) -> float:
        """Bytes of the pairs' tokens where every process holds them itself."""
        return TOKEN_OBJECTS * fitted(self.lengths, section.max_length).sequences.mean() * 2 * pairs * self.processes

    def forward(self, work: Load, layers: int | None = None, logits: bool = False) -> Part:
        depth = self.shape.layers if layers is None else layers
        return Part("forward", forward(self.shape, work, depth, logits), work.passes * depth, tokens=work.tokens)

    def decoding(self, work: Decoding) -> Part:
        cache = self.shape.cache(1, self.device.item)
        weights = self.device.item * (self.shape.layer_linear * self.shape.layers + self.shape.hidden * self.shape.vocabulary)
        passes = (work.steps + work.prompts.passes) * self.shape.layers
        read = work.steps * weights + work.read * cache
        return Part("decoding", decoding(self.shape, work), passes, read, work.prompts.tokens + work.tokens)

    def trained(
        self, section: Any, work: Load, kept: bool, epochs: float, *, logits: bool, whole: bool, references: float = 0
    ) -> tuple[Part, dict[str, float]]:
        layers = trained_layers(section, self.shape)
        full = section.lora_rank == 0
        shared = {"rank": section.lora_rank, "trained": layers, "checkpointing": section.gradient_checkpointing, "logits": logits}
        # Forward and for the hidden states' gradient; for trained weights theirs; and TRL's own computes the first again.
        products = 2 + full + (not whole and (full or not self.device.shared))
        scored = replace(work, scored=work.tokens) if whole else work
        flops = training(self.shape, scored, kept=kept, head_products=products, **shared)
        passes = work.passes * ((0 if kept else self.shape.layers - layers) + (3 + section.gradient_checkpointing) * layers)
        sharded = self.params.launch.accelerate_config is not None and self.processes > 1
        memory = training_memory(
            self.shape if logits else self.judge,
            self.device,
            work,
            whole=whole,
            processes=self.processes,
            sharded=sharded,
            references=references,
            **shared,
        )
        return Part("training", epochs * flops, epochs * passes, tokens=epochs * work.tokens), memory

    def trained_files(self, section: Any, models: int) -> dict[str, float]:
        """Two checkpoints, of weights and both of Adam's averages in float32, and what comes of the training."""
        count = self.shape.parameters if section.lora_rank == 0 else self.shape.lora(
            section.lora_rank, trained_layers(section, self.shape)
        )  # fmt: skip
        return {"models": 4.0 * count * models, "checkpoints": 2 * 12.0 * count}


def stages(params: Params, shape: Shape, lengths: Lengths, device: Device, assumed: Assumptions) -> list[Stage]:
    """Every stage of dvc.yaml that runs the model, in its order, with what it costs."""
    study = _Study(params, shape, lengths, device, assumed)
    found = [_prepare_model(study), _frozen_layers(study)]
    found += [_train_reward(study, variant) for variant in params.reward.variants]
    found.append(_score_pairs(study))
    found += [_stress(study, variant) for variant in params.stress.variants]
    if params.best_of_n.variants:
        found.append(_samples(study))
    found += [_score_samples(study, variant) for variant in params.best_of_n.variants]
    found.append(_reference_logps(study))
    found += [_train_policy(study, method) for method in params.policy.methods]
    found += [_generate(study, name) for name in ("generate_base", *(f"generate@{method}" for method in params.policy.methods))]
    found += [_measure_kl(study, method) for method in params.policy.methods]
    found.append(_score_responses(study))
    return found


def training_activations(
    params: Params, shape: Shape, lengths: Lengths, device: Device, assumed: Assumptions, name: str
) -> float:
    """Bytes of activations on one device in training a section, reward or policy."""
    study, section = _Study(params, shape, lengths, device, assumed), getattr(params, name)
    work = training_load(lengths, section.max_length, section.batch_size // study.processes, study.pairs[name])
    return study.trained(section, work, study.kept[name] > 0, 1, logits=False, whole=False)[1]["activations"]


def _prepare_model(study: _Study) -> Stage:
    weights = 2.0 * study.shape.parameters
    host = {"weights": 2 * weights}
    return study.stage("prepare_model", [], {}, host, {"models": weights})


def _frozen_layers(study: _Study) -> Stage:
    params, pairs = study.params, study.pairs["reward"] + study.pairs["val"]
    work = scoring_load(study.lengths, params.reward.max_length, params.scoring, pairs)
    features = 2.0 * pairs * study.shape.hidden * 4
    host = {"rows": study.rows(params.reward, pairs), "features": 2 * features * study.processes, "store": study.kept["reward"]}
    disk = {"features": features, "frozen store": study.kept["reward"]}
    return study.stage("frozen_layers", [study.forward(work)], scoring_memory(study.shape, study.device, work, False), host, disk)


def _train_reward(study: _Study, variant: str) -> Stage:
    params, section = study.params, study.params.reward
    models = _members(study, variant)
    pairs, val = study.pairs["reward"], study.pairs["val"]
    kept, layers = study.kept["reward"] > 0, trained_layers(section, study.shape)
    work = training_load(study.lengths, section.max_length, section.batch_size // study.processes, pairs)
    part, memory = study.trained(section, work, kept, models * section.epochs, logits=False, whole=False)
    parts = [part]
    if section.evaluations:
        evaluated = training_load(study.lengths, section.max_length, section.batch_size // study.processes, val)
        times = models * section.evaluations
        parts.append(study.forward(evaluated.times(times), layers if kept else None))
    if models > 1:
        centred = scoring_load(study.lengths, section.max_length, params.scoring, CENTRED)
        parts.append(study.forward(centred.times(models), layers if kept else None))
    host = {
        "rows": study.rows(section, pairs + val),
        # Float32 from the disk, and the differences that the probe is fitted to, in float64.
        "features": 4.0 * (pairs * (2 + 2) + 2 * val) * study.shape.hidden * study.processes if section.head == "probe" else 0.0,
        "store": study.kept["reward"],
    }
    files = study.trained_files(section, models)
    return study.stage(f"train_reward@{variant}", parts, memory, host, files, section.lora_rank == 0)


def _members(study: _Study, variant: str) -> int:
    members = VARIANTS[variant].members
    return members(study.params.reward.own(variant)) if members else 1


def _scored(study: _Study, name: str, work: Load, layers: int | None, variant: str, host: dict) -> Stage:
    """A stage that has a reward model, or all of an ensemble's, score a load."""
    parts = [study.forward(work.times(_members(study, variant)), layers)]
    return study.stage(name, parts, scoring_memory(study.judge, study.device, work, False), host)


def _score_pairs(study: _Study) -> Stage:
    params = study.params
    work = scoring_load(study.lengths, params.reward.max_length, params.scoring, study.pairs["val"])
    layers = trained_layers(params.reward, study.shape) if study.kept["reward"] else None
    host = {"rows": study.rows(params.reward, study.pairs["val"]), "store": study.kept["reward"]}
    return _scored(study, "score_pairs", work, layers, params.reward.judge, host)


def _stress(study: _Study, variant: str) -> Stage:
    params, val = study.params, study.pairs["val"]
    perturbed = val if params.stress.max_pairs is None else min(val, params.stress.max_pairs)
    pairs = val + perturbed * len(PERTURBATIONS)
    work = scoring_load(study.lengths, params.reward.max_length, params.scoring, pairs)
    return _scored(study, f"stress_reward@{variant}", work, None, variant, {"rows": study.held(params.reward, pairs)})


def _answered(study: _Study, limit: int | None) -> int:
    return min(study.lengths.answered, limit or study.lengths.answered)


def _decoded(study: _Study, prompts: float, batch_size: int) -> tuple[Part, dict[str, float]]:
    """Answering so many prompts, each process a share of the batches."""
    asked, new, limit = study.lengths.asked, study.lengths.written, study.params.generate.max_new_tokens
    work = decoding_load(asked, batch_size, new, limit, prompts / len(asked))
    memory = decoding_memory(study.shape, study.device, work.prompts.rows, work.prompts.length, limit)
    return study.decoding(work), memory


def _samples(study: _Study) -> Stage:
    settings, generate = study.params.best_of_n, study.params.generate
    rows = max(1, generate.batch_size // settings.samples) * settings.samples
    part, memory = _decoded(study, _answered(study, settings.max_prompts) * settings.samples, rows)
    return study.stage("sample_responses", [part], memory)


def _score_samples(study: _Study, variant: str) -> Stage:
    params = study.params
    answers = _answered(study, params.best_of_n.max_prompts) * params.best_of_n.samples
    work = answers_load(study.lengths, params.reward.max_length, params.scoring, answers)
    return _scored(study, f"score_samples@{variant}", work, None, variant, {})


def _reference_logps(study: _Study) -> Stage:
    params, section = study.params, study.params.policy
    pairs = study.pairs["policy"] + study.pairs["val"]
    work = scoring_load(study.lengths, section.max_length, params.scoring, pairs)
    of_reward = study.shape.layers - trained_layers(params.reward, study.shape)
    skipped = of_reward if study.kept["reward"] and of_reward <= study.shape.layers - trained_layers(section, study.shape) else 0
    host = {"rows": study.rows(section, pairs), "store": study.kept["policy"] + (study.kept["reward"] if skipped else 0)}
    part = study.forward(work, study.shape.layers - skipped, logits=True)
    memory = scoring_memory(study.shape, study.device, work, True)
    return study.stage("reference_logps", [part], memory, host, {"frozen store": study.kept["policy"]})


def _train_policy(study: _Study, name: str) -> Stage:
    params, section, method = study.params, study.params.policy, METHODS[name]
    own, pairs, val = section.own(name), study.pairs["policy"], study.pairs["val"]
    kept, layers = study.kept["policy"] > 0, trained_layers(section, study.shape)
    on_val = scoring_load(study.lengths, section.max_length, params.scoring, val)
    after = study.forward(on_val, layers if kept else None, logits=True)
    host = {"rows": study.rows(section, pairs + val), "store": study.kept["policy"]}
    disk = study.trained_files(section, 1)
    stage = f"train_policy@{name}"
    if method.needs_reward_model:
        parts, memory = _online(study, own)
        memory = _then_scored(study, memory, on_val)
        return study.stage(stage, [*parts, after], memory, host, disk, section.lora_rank == 0)
    batch = section.batch_size // study.processes
    work = training_load(study.lengths, section.max_length, batch, pairs)
    # TRL's experimental trainers, of methods without a reference, hold the logits of every token.
    part, memory = study.trained(section, work, kept, section.epochs, logits=True, whole=not method.needs_reference)
    parts = [part, after]
    if method.needs_reference and not method.given_reference:
        # KTO: the reference's pass over the responses and over those to other prompts, and the policy's over the latter.
        parts.append(study.forward(work, layers if kept else None, logits=True))
        parts.append(study.forward(work.times(1 + section.epochs), logits=True))
    if section.evaluations:
        evaluated = training_load(study.lengths, section.max_length, batch, val)
        parts.append(study.forward(evaluated.times(section.evaluations), layers if kept else None, logits=True))
    return study.stage(stage, parts, _then_scored(study, memory, on_val), host, disk, section.lora_rank == 0)


def _then_scored(study: _Study, trained: dict[str, float], work: Load) -> dict[str, float]:
    """The most memory of training a policy and of scoring with it, as it was written, while the trained one is still there."""
    scoring = scoring_memory(study.shape, study.device, work, True)
    if study.device.shared and study.device.item == 4:
        scoring["loading"] = max(0.0, 2.0 * study.shape.parameters - scoring["activations"] - scoring["logits"])
    held = {name: trained[name] for name in ("weights", "optimiser", "other models")}
    after = held | {"other models": held["other models"] + scoring.pop("weights")} | scoring
    return max(trained, after, key=total)


def _online(study: _Study, own: Any) -> tuple[list[Part], dict[str, float]]:
    """RLOO: sampling, the reward model's and the reference's passes, and training, on the policy's own responses."""
    section, shape, lengths = study.params.policy, study.shape, study.lengths
    rows = own.batch_size * own.generations
    steps = own.steps * section.gradient_accumulation_steps
    prompts = fitted(lengths, section.max_length).prompts
    prompt, new = int(np.quantile(prompts, 0.9)), min(lengths.written, own.max_new_tokens)
    length = prompt + new
    per_process = rows / study.processes
    one = Load(rows, rows * length, rows * length**2, rows * new, 0, 0, 0)
    one = replace(one, passes=study.processes, rows=int(per_process), length=int(length), largest_scored=per_process * new)
    together = own.steps_per_generation * rows
    sampled = decoding_load(np.full(together, prompt), together // study.processes, new, own.max_new_tokens)
    part, memory = study.trained(
        section, one.times(steps), False, 1, logits=True, whole=False,
        # The reward model, and the reference, which is the policy without its adapter where LoRA trains it.
        references=shape.parameters * (1 + (section.lora_rank == 0)),
    )  # fmt: skip
    written = study.decoding(sampled)
    times = own.steps / own.steps_per_generation
    written = replace(
        written, **{key: times * getattr(written, key) for key in ("flops", "layers", "read", "tokens")}
    )  # fmt: skip
    cache = shape.cache(together / study.processes * length, study.device.item)
    parts = [part, written, study.forward(one.times(steps), None), study.forward(one.times(steps), None, logits=True)]
    return parts, memory | {"cache": cache}


def _generate(study: _Study, name: str) -> Stage:
    generate = study.params.generate
    part, memory = _decoded(study, _answered(study, generate.max_prompts), generate.batch_size)
    return study.stage(name, [part], memory)


def _measure_kl(study: _Study, method: str) -> Stage:
    params = study.params
    if params.generate.kl_prompts == 0:
        return Stage(f"measure_kl@{method}", (), {}, seconds=study.assumed.start_seconds)
    prompts = _answered(study, params.generate.kl_prompts)
    part, memory = _decoded(study, prompts, params.generate.batch_size)
    longest = int(study.lengths.asked.max()) + params.generate.max_new_tokens
    work = answers_load(study.lengths, longest, params.scoring, prompts)
    scoring = scoring_memory(study.shape, study.device, work, True)
    # A CPU's process keeps the memory that it has held: preference_study/launch.py.
    larger = scoring | {"cache": memory["cache"]} if study.device.shared else max(memory, scoring, key=total)
    return study.stage(f"measure_kl@{method}", [part, study.forward(work.times(2), logits=True)], larger)


def _score_responses(study: _Study) -> Stage:
    params = study.params
    answers = _answered(study, params.generate.max_prompts) * (1 + len(params.policy.methods))
    work = answers_load(study.lengths, params.reward.max_length, params.scoring, answers)
    return _scored(study, "score_responses", work, None, params.reward.judge, {})


@dataclass(frozen=True)
class Misfit:
    """Something that will not fit.

    Attributes:
        stage: the first that it happens in.
        what: device memory, memory of the machine, or disk.
        needed, there: bytes.
        largest: what takes most of it.
        remedies: parameters to change, {name: value}, all together; none where no parameter helps.
    """

    stage: str
    what: str
    needed: float
    there: float
    largest: str
    remedies: dict[str, Any]


def changed(params: Params, changes: dict[str, Any]) -> Params:
    """Parameters with others in their place, by dotted name, checked.

    Raises:
        ValueError: what comes out is not right.
    """
    values = params.model_dump()
    for name, value in changes.items():
        *sections, key = name.split(".")
        place = values
        for section in sections:
            place = place[section]
        place[key] = value
    return Params.model_validate(values)


def _problem(found: Sequence[Stage], device: Device, assumed: Assumptions) -> tuple[Stage, str, float, float, dict] | None:
    """The first stage that does not fit: what, needed, there, and its parts."""
    on_disk: dict[str, float] = {}
    for stage in found:
        usable = device.memory * assumed.usable
        if total(stage.memory) > usable:
            return stage, "device memory", total(stage.memory), usable, stage.memory
        if device.host and not device.shared and total(stage.host) > device.host * assumed.usable:
            return stage, "memory of the machine", total(stage.host), device.host * assumed.usable, stage.host
        held = on_disk | {name: on_disk.get(name, 0.0) + bytes_ for name, bytes_ in stage.disk.items()}
        if device.disk is not None and total(held) > device.disk:
            return stage, "disk", total(held), device.disk, held
        # Checkpoints go when a training ends.
        on_disk = {name: bytes_ for name, bytes_ in held.items() if name != "checkpoints"}
    return None


def _halvings(value: int, least: int, exact: bool = False) -> list[int]:
    """Half of a number, half of that, and so on down to the least; exact: as long as they are whole without rounding."""
    found = []
    while value // 2 >= least and not (exact and value % 2) and len(found) < HALVINGS:
        value //= 2
        found.append(value)
    return found


def _training_remedies(params: Params, name: str, largest: str) -> list[dict[str, Any]]:
    section, processes = getattr(params, name), params.launch.processes
    checkpointing = [] if section.gradient_checkpointing else [{f"{name}.gradient_checkpointing": True}]
    smaller = [
        {f"{name}.batch_size": size,
         f"{name}.gradient_accumulation_steps": section.gradient_accumulation_steps * section.batch_size // size}
        for size in _halvings(section.batch_size, processes, exact=True)
    ]  # fmt: skip
    shorter = [{f"{name}.max_length": length} for length in _halvings(section.max_length, 128)]
    sharded = [] if processes == 1 or params.launch.accelerate_config else [{"launch.accelerate_config": "params/fsdp.yaml"}]
    adapters = [] if section.lora_rank else [{f"{name}.lora_rank": RANK}]
    activations, state = checkpointing + smaller + shorter, sharded + adapters
    return activations + state if largest in ("activations", "logits", "cache") else state + activations


def candidates(params: Params, stage: str, what: str, largest: str) -> list[dict[str, Any]]:
    """Changes of parameters that make a stage smaller, those that cost the study least first."""
    kind, scoring = stage.split("@")[0], params.scoring
    sections = {"train_reward": "reward", "train_policy": "policy"}
    if what == "disk":
        by_part = {"frozen store": [{"frozen.max_gib": 0}], "features": _fewer_pairs(params)}
        adapters = [{f"{name}.lora_rank": RANK} for name in ("reward", "policy") if getattr(params, name).lora_rank == 0]
        return by_part.get(largest, []) + adapters
    if what == "memory of the machine" or largest in ("rows", "features", "store"):
        fewer = [{"launch.processes": n} for n in _halvings(params.launch.processes, 1)]
        return ([{"frozen.max_gib": 0}] if largest == "store" else []) + fewer + _fewer_pairs(params)
    longest = max(params.reward.max_length, params.policy.max_length)
    padded = [{"scoring.max_padded": size} for size in _halvings(scoring.max_padded, longest)]
    if kind in sections:
        # A policy is scored with where it was trained.
        scored = padded if kind == "train_policy" and largest == "logits" else []
        return scored + _training_remedies(params, sections[kind], largest)
    if largest in ("cache",) or kind in ("generate", "generate_base", "sample_responses"):
        return [{"generate.batch_size": size} for size in _halvings(params.generate.batch_size, 1)]
    return padded + [{"scoring.max_batch": size} for size in _halvings(scoring.max_batch, 1)]


def _fewer_pairs(params: Params) -> list[dict[str, Any]]:
    """Halves of the training pairs; where all are used there is a number to name first."""
    return [{"data.max_train": size} for size in (1_000_000, 500_000, 200_000, 100_000, 50_000, 20_000, 10_000)
            if params.data.max_train is None or size < params.data.max_train]  # fmt: skip


def first_misfit(params: Params, shape: Shape, lengths: Lengths, device: Device, assumed: Assumptions) -> Misfit | None:
    """The first thing that will not fit, and the parameters that make that stage fit; None where all fits.

    Each change is tried by planning again: alone, and, where none is enough, one after the other together.
    """
    problem = _problem(stages(params, shape, lengths, device, assumed), device, assumed)
    if problem is None:
        return None
    stage, what, needed, there, parts = problem
    largest = max((name for name in parts if name != "libraries"), key=parts.get)
    tried = candidates(params, stage.name, what, largest)

    order = [found.name for found in stages(params, shape, lengths, device, assumed)]

    def cured(changes: dict[str, Any]) -> bool:
        try:
            again = changed(params, changes)
        except ValueError:  # pydantic's: a batch that the processes cannot share, say
            return False
        later = _problem(stages(again, shape, lengths, device, assumed), device, assumed)
        return later is None or order.index(later[0].name) > order.index(stage.name)

    remedy = next((changes for changes in tried if cured(changes)), None)
    if remedy is None:
        remedy, together = {}, {}
        for changes in tried:
            together |= changes
            if cured(together):
                remedy = together
                break
    return Misfit(stage.name, what, needed, there, largest, remedy)
