"""What a run costs, before it is run: operations, time, memory and disk of each stage that runs the model.

Functions of values alone: a model's shape, the tokens of the data, a device. What is counted:

- Operations of matrix products: 2 for each weight and token forward, as many for the gradient by what goes in, and as many for
  the gradient by the weight. So 6 N D for training every weight (Kaplan et al. 2020, "Scaling Laws for Neural Language Models",
  section 2.1), 4 N D where LoRA leaves the weight as it is (Hu et al. 2021), 2 N D forward. Attention's products of queries,
  keys and values come on top, and the head: in a small model with a large vocabulary it is a fifth of the whole.
- Memory of weights, gradients, Adam's two averages (Rajbhandari et al. 2020, "ZeRO", section 3), of what autograd keeps of each
  layer (after Korthikanti et al. 2022, "Reducing Activation Recomputation in Large Transformer Models", section 4, for gated
  layers with grouped queries), of logits, and of keys and values.
- Layers under LoRA's lowest, where their hidden states are kept, cost nothing but the disk (docs/pipeline.md, Frozen layers).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

GIB = 2**30
LINEAR = 7  # of a gated layer: queries, keys, values, output; gate, up, down
HEAD_TOKENS = 256  # whose logits training holds at once on a CPU: preference_study/training/head.py
HEAD_TILE = 4096 * 32768  # logits that TRL's own head holds at once
TOKEN_OBJECTS = 116  # bytes a token of sequences that are held as Python's lists, at most: as measured on 12,000 pairs
TOKEN_MAPPED = 4  # bytes a token in the files that are mapped into memory
# What PyTorch and oneDNN come to hold on a CPU beside the tensors, such as kernels compiled for a shape, of which
# preference_study/launch.py lets them keep few: settled on the embedded model in bfloat16, stages of 20 to 128 pairs and the
# whole default study (benchmarks/plan.py, experiments/results/whole_run.json).
LIBRARIES = 0.15 * GIB
PAIR_NOTES = 1300  # bytes that a process notes of a pair, at most: train_reward, 10,000 to 100,000 pairs, benchmarks/memory.py


@dataclass(frozen=True)
class Shape:
    """What of a model decides what it costs.

    Attributes:
        parameters: all of them, those that are tied counted once.
        layers, hidden, heads: of the decoder.
        intermediate: width of the gated layer.
        attention: heads times their width.
        keys: heads of keys times their width; keys and values are this wide each.
        layer_linear: weights of a layer's linear maps.
        layer_maps: sum of inputs and outputs of a layer's linear maps: LoRA has rank times this.
        vocabulary: rows of the head.
        own_head: weights of the head that are not the embeddings' too.
    """

    parameters: int
    layers: int
    hidden: int
    heads: int
    intermediate: int
    attention: int
    keys: int
    layer_linear: int
    layer_maps: int
    vocabulary: int
    own_head: int

    def lora(self, rank: int, layers: int) -> int:
        """LoRA's parameters on every linear map of so many layers."""
        return rank * self.layer_maps * layers

    def cache(self, tokens: float, item: int) -> float:
        """Bytes of keys and values of so many tokens, `item` bytes a number."""
        return 2 * self.keys * self.layers * item * tokens


@dataclass(frozen=True)
class Device:
    """What runs the model.

    Attributes:
        name: shown.
        count: how many of them.
        memory: bytes of each.
        rate: operations a second of each in dense matrix products, in the type that is computed in.
        bandwidth: of its memory, bytes a second.
        item: bytes of a number in that type.
        host: bytes of the machine's own memory.
        disk: bytes free; None where it is not known.
        shared: whether the device's memory is the machine's own, as a CPU's is.
    """

    name: str
    count: int
    memory: float
    rate: float
    bandwidth: float
    item: int
    host: float | None
    disk: float | None
    shared: bool = False


@dataclass(frozen=True)
class Assumptions:
    """What cannot be computed.

    Attributes:
        forward, training, decoding: share of the device's rate that the products of a pass reach, all else in the pass included.
        reading: share of the bandwidth that decoding reaches.
        layer_seconds: that a layer takes, forward, however little is in the batch: Python, and the start of its kernels.
        start_seconds: until a stage has imported its libraries and loaded the model.
        usable: share of a device's memory that tensors can have; the rest is the driver's, or lies in pieces.
    """

    forward: float
    training: float
    decoding: float
    reading: float
    layer_seconds: float
    start_seconds: float
    usable: float


@dataclass(frozen=True)
class Load:
    """What a model is run over, padding included: sums over all batches, and the largest one.

    Attributes:
        passes: batches.
        tokens: sum of rows times length.
        squares: sum of rows times length squared: attention.
        scored: tokens of responses, whose logits are needed.
        rows, length: of the batch with the most tokens.
        largest_scored: tokens of responses in that batch.
    """

    passes: float = 0
    tokens: float = 0
    squares: float = 0
    scored: float = 0
    rows: int = 0
    length: int = 0
    largest_scored: float = 0

    def times(self, factor: float) -> "Load":
        """As many batches of the same kind times the factor."""
        sums = {name: factor * getattr(self, name) for name in ("passes", "tokens", "squares", "scored")}
        return replace(self, **sums)


def load(lengths: np.ndarray, responses: np.ndarray, batches: Sequence[Sequence[int]]) -> Load:
    """The load of sequences in batches, each padded to its longest.

    Args:
        lengths: tokens of each sequence, prompt and response.
        responses: of them those of the response.
        batches: indices of the sequences of each.
    """
    if not batches:
        return Load()
    rows, longest = np.array([len(batch) for batch in batches]), np.array([lengths[list(batch)].max() for batch in batches])
    scored = np.array([responses[list(batch)].sum() for batch in batches])
    largest = int((rows * longest).argmax())
    return Load(
        passes=len(batches),
        tokens=float((rows * longest).sum()),
        squares=float((rows * longest.astype(float) ** 2).sum()),
        scored=float(scored.sum()),
        rows=int(rows[largest]),
        length=int(longest[largest]),
        largest_scored=float(scored.max()),
    )


def linear(shape: Shape, work: Load, layers: int) -> float:
    """Operations of the linear maps of so many layers, forward."""
    return 2.0 * shape.layer_linear * layers * work.tokens


def attention(shape: Shape, work: Load, layers: int) -> float:
    """Operations of attention's two products, forward, masked places counted along: they are computed too."""
    return 4.0 * shape.attention * layers * work.squares


def head(shape: Shape, scored: float) -> float:
    """Operations of the head over the vocabulary, forward."""
    return 2.0 * shape.hidden * shape.vocabulary * scored


def forward(shape: Shape, work: Load, layers: int | None = None, logits: bool = False) -> float:
    """Operations of running so many layers (None: all) over a load, and the head over its responses where logits are wanted."""
    layers = shape.layers if layers is None else layers
    return linear(shape, work, layers) + attention(shape, work, layers) + (head(shape, work.scored) if logits else 0.0)


def training(
    shape: Shape, work: Load, *, rank: int, trained: int, kept: bool, checkpointing: bool, logits: bool, head_products: int
) -> float:
    """Operations of one epoch of training over a load.

    The gradient by the lowest trained layer's own input is counted along, though LoRA does without it in that layer's queries,
    keys and values.

    Args:
        rank: LoRA's; 0 trains every weight.
        trained: how many of the top layers are trained.
        kept: whether what comes out of the layers under them is read from the disk.
        checkpointing: whether layers are run once more in the backward pass.
        logits: whether the loss needs the vocabulary; a reward model's does not.
        head_products: products with the vocabulary a token of a response: forward, for the gradients, and computed again.
    """
    below = 0.0 if kept else forward(shape, work, shape.layers - trained)
    once = forward(shape, work, trained)
    again = once if checkpointing else 0.0
    by_weights = linear(shape, work, trained) if rank == 0 else 0.0
    backward = linear(shape, work, trained) + 2 * attention(shape, work, trained) + by_weights
    adapters = 6.0 * shape.lora(rank, trained) * work.tokens
    if checkpointing:
        adapters *= 4 / 3
    return below + once + again + backward + adapters + (head_products * head(shape, work.scored) if logits else 0.0)


def saved(shape: Shape, length: int, item: int, full: bool, plain: bool, rank: int = 0) -> float:
    """Bytes a token that autograd keeps of one layer.

    A norm keeps what goes in, in float32, and what it makes of it; the linear maps what goes in; attention its queries, keys,
    values and what comes out, and, where it is plain (as on a CPU), its probabilities; the gated layer four vectors. After
    Korthikanti et al. 2022, equation 2, without dropout.

    Args:
        length: of the sequence.
        full: whether weights are trained, in float32, and with them the norms.
        plain: whether attention's probabilities are kept, for heads times length.
        rank: LoRA's.
    """
    width, inner = shape.attention, shape.intermediate
    if item == 4:
        norms = (6 if full else 4) * shape.hidden
        adapters = 0 if full else LINEAR * rank
        return 4.0 * (norms + 4 * width + 4 * inner + adapters + (shape.heads * length if plain else 0))
    norms = 20 * shape.hidden if full else 8 * shape.hidden
    # PEFT makes a copy of what goes in for each linear map's adapter.
    adapters = 0 if full else item * (5 * shape.hidden + width + inner + LINEAR * rank)
    probabilities = shape.heads * length * (4 + item) if plain else 0
    return float(norms + item * (4 * width + 4 * inner) + adapters + probabilities)


def training_memory(
    shape: Shape, device: Device, work: Load, *,
    rank: int, trained: int, checkpointing: bool, logits: bool, whole: bool, processes: int, sharded: bool, references: float = 0,
) -> dict[str, float]:  # fmt: skip
    """Bytes on one device, by what they are for.

    Args:
        work: its largest batch is what one process holds.
        rank, trained, checkpointing, logits: as `training` takes them.
        whole: whether the loss holds the logits of all tokens at once, prompts and padding too, as TRL's older trainers do.
        sharded: whether the processes share weights, gradients and optimiser state out among them (FSDP).
        references: further models held for use, in parameters.
    """
    full, item = rank == 0, device.item
    count = shape.parameters if full else shape.lora(rank, trained)
    share = processes if sharded else 1
    tokens = work.rows * work.length
    layer = tokens * saved(shape, work.length, item, full, device.shared, rank)
    residual = tokens * shape.hidden * (4 if full else item)
    # Autocast keeps a copy of the weights in the type it computes in; sharded, that is what a layer at a time is gathered in.
    copies = item * shape.layer_linear * (1 if sharded else shape.layers) if full and item < 4 else 0
    weights = 4 * shape.parameters if full else item * shape.parameters + 4 * count
    activations = trained * residual + layer if checkpointing else trained * layer
    head_bytes = 0.0
    if logits and whole:
        # As the head gives them, in float32, their logarithms of probabilities, and the gradient.
        head_bytes = tokens * shape.vocabulary * ((item if item < 4 else 0) + 4 + 4 + 4)
    elif logits:
        tile = HEAD_TOKENS * shape.vocabulary * 4 * 4 if device.shared else HEAD_TILE * item
        head_bytes = tile + work.largest_scored * shape.hidden * (4 + item)
        # Of weights that are trained TRL adds the head's gradient up in float32, beside the one it has.
        head_bytes += 4 * shape.vocabulary * shape.hidden if full else 0
    return {
        "weights": weights / share + copies,
        "gradients": 4 * count / share + (4 * count if processes > 1 and not sharded else 0),
        "optimiser": 8 * count / share,
        "other models": references * item,
        # Those of a layer's gradients besides, while it is gone through backwards.
        "activations": activations + layer,
        "logits": head_bytes,
    }


def scoring_memory(shape: Shape, device: Device, work: Load, logits: bool) -> dict[str, float]:
    """Bytes on one device of a forward pass, by what they are for: a layer's at a time, and of wanted logits all."""
    item, tokens = device.item, work.rows * work.length
    layer = tokens * (item * (3 * shape.hidden + 4 * shape.attention + 3 * shape.intermediate) + 8 * shape.hidden)
    if device.shared:
        layer += 3 * 4 * shape.heads * work.length * tokens
    # Logits, in float32, and their logarithms of probabilities.
    numbers = (item if item < 4 else 0) + 4 + 4
    return {
        "weights": item * shape.parameters,
        "activations": layer,
        "logits": numbers * shape.vocabulary * work.largest_scored if logits else 0.0,
    }


def decoding_memory(shape: Shape, device: Device, rows: int, prompt: int, new: float) -> dict[str, float]:
    """Bytes on one device of letting `rows` prompts of so many tokens be answered, by what they are for."""
    prefill = scoring_memory(shape, replace(device, shared=False), Load(rows=rows, length=prompt), False)["activations"]
    kept = shape.cache(rows * (prompt + new), device.item)
    return {
        "weights": device.item * shape.parameters,
        "activations": prefill,
        "logits": rows * shape.vocabulary * (device.item + 4 + 4),
        # A layer's is written anew at each token.
        "cache": kept * (1 + 1 / shape.layers),
    }


@dataclass(frozen=True)
class Decoding:
    """Letting prompts be answered.

    Attributes:
        prompts: the load of reading the prompts.
        steps: tokens written, one after the other, over all batches.
        tokens: written, over all rows.
        read: positions of keys and values read, over all rows and steps.
    """

    prompts: Load
    steps: float
    tokens: float
    read: float


def decoding_load(prompts: np.ndarray, batch_size: int, new: float, limit: int, scale: float = 1.0) -> Decoding:
    """The load of answering prompts, longest first, so many at a time.

    Args:
        prompts: tokens of each.
        new: mean tokens of a response; a batch goes on until its last one has ended, at the limit.
        limit: most tokens of a response.
        scale: how many prompts each of these stands for.
    """
    order = np.sort(prompts)[::-1]
    # As many batches as all prompts make, whose lengths are spread like these.
    count = max(1, round(len(order) * scale))
    sizes = [min(batch_size, count - start) for start in range(0, count, batch_size)]
    lengths = [int(order[min(len(order) - 1, int(start / scale))]) for start in range(0, count, batch_size)]
    rows, longest = np.array(sizes), np.array(lengths)
    reading = Load(
        passes=len(rows),
        tokens=float((rows * longest).sum()),
        squares=float((rows * longest.astype(float) ** 2).sum()),
        rows=int(rows.max()),
        length=int(longest.max()),
    )
    steps = limit if new < limit else new
    return Decoding(reading, float(len(rows) * steps), float(count * new), float((rows * new * (longest + new / 2)).sum()))


def decoding(shape: Shape, work: Decoding) -> float:
    """Operations of answering prompts: reading them, and each new token through every layer, over the cache, and the head."""
    written = 2.0 * shape.layer_linear * shape.layers * work.tokens + 4.0 * shape.attention * shape.layers * work.read
    return forward(shape, work.prompts) + written + head(shape, work.tokens + work.prompts.rows)


@dataclass(frozen=True)
class Part:
    """A part of a stage that runs at one speed.

    Attributes:
        kind: forward, training or decoding.
        flops: its matrix products.
        layers: passes through a layer, forward and backward, that Python starts.
        read: bytes that decoding reads, weights and cache.
        tokens: through the model, padding included.
    """

    kind: str
    flops: float
    layers: float
    read: float = 0.0
    tokens: float = 0.0


def seconds(part: Part, device: Device, assumed: Assumptions, processes: int) -> float:
    """How long a part takes on as many devices as processes, which share its batches."""
    computing = part.flops / (device.rate * getattr(assumed, part.kind))
    reading = part.read / (device.bandwidth * assumed.reading)
    starting = part.layers * assumed.layer_seconds
    # A GPU reads, computes and starts its kernels at once; on a CPU one comes after the other.
    together = sum if device.shared else max
    return together((computing, reading, starting)) / processes


@dataclass(frozen=True)
class Stage:
    """What one stage of dvc.yaml costs.

    Attributes:
        name: as DVC writes it, train_policy@dpo.
        parts: what it computes.
        memory: bytes on one device, by what they are for.
        host: bytes of the machine's memory, of all processes together, by what they are for.
        disk: bytes that it leaves, or holds for a time, by what they are for.
        seconds: how long it takes.
    """

    name: str
    parts: tuple[Part, ...]
    memory: dict[str, float]
    host: dict[str, float] = field(default_factory=dict)
    disk: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def flops(self) -> float:
        return sum(part.flops for part in self.parts)

    @property
    def tokens(self) -> float:
        return sum(part.tokens for part in self.parts)


def total(parts: dict[str, float]) -> float:
    """Bytes of all that stands there."""
    return float(sum(parts.values()))
