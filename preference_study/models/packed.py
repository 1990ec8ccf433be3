"""The rows of a batch as one sequence without padding, in which what several of them begin with stands once.

Both responses of a pair follow the same prompt, and the shorter one is filled up to the longer: a third of what a model works
through in training. A causal model's hidden state of a token depends on that token, those before it and their positions alone, so
rows can be computed as one tree of tokens, with the positions that they had, each seeing itself and those above it.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel

from preference_study.models.batching import batches_by_length
from preference_study.models.token_pairs import BothSides, lengths

CLOSE = 0.05  # of the norm: a bfloat16's rounding, through all layers, is below it, and a layer or a mask left out above
# Plain attention's work for two tokens of a sequence, in hidden sizes, where a token's in the linear maps is 12 of their squares:
# by the time that it takes on a CPU, mostly to go through memory.
OF_TWO, OF_ONE = 5, 12
TOGETHER = 2  # pairs in a tree outside of training: one is too small a matrix, and of more the attention takes longer
TRIED = 24  # tokens of the longer row on which a model is tried


@dataclass(frozen=True)
class Packed:
    """A batch as a tree of its tokens.

    Attributes:
        ids, positions: [nodes], of each node, a parent before its children.
        seen: bool [nodes, nodes], whether a node (row) sees another one (column): itself and those above it.
        first: [nodes], where in the flattened batch a node stands, in the first row that has it.
        nodes: [rows, tokens], which node each token of the batch is; padding is given the first one.
    """

    ids: torch.Tensor
    positions: torch.Tensor
    seen: torch.Tensor
    first: torch.Tensor
    nodes: torch.Tensor

    @classmethod
    def of(cls, ids: torch.Tensor, mask: torch.Tensor) -> "Packed":
        """
        Args:
            ids, mask: [rows, tokens]; padding, where the mask is 0, may stand on either side.
        """
        known: dict[tuple[int, int, int], int] = {}
        first, parents, width = [], [], ids.shape[1]
        nodes = np.zeros(ids.shape, dtype=np.int64)
        for row, (tokens, real) in enumerate(zip(ids.tolist(), mask.tolist(), strict=True)):
            node = -1
            for place in range(width):
                if real[place]:
                    parent, new = node, len(first)
                    node = known.setdefault((parent, place, tokens[place]), new)
                    if node == new:
                        first.append(row * width + place)
                        parents.append(parent)
                    nodes[row, place] = node
        seen = np.eye(len(first), dtype=bool)
        for node, parent in enumerate(parents):
            if parent >= 0:
                seen[node] |= seen[parent]
        at = torch.tensor(first)
        return cls(ids.flatten()[at], at % width, torch.from_numpy(seen), at, torch.from_numpy(nodes))

    def take(self, states: torch.Tensor) -> torch.Tensor:
        """Of a batch's hidden states [rows, tokens, size] the nodes': [1, nodes, size]."""
        return states.flatten(0, 1)[self.first][None]

    def give(self, states: torch.Tensor) -> torch.Tensor:
        """The nodes' hidden states [1, nodes, size] as the batch's: [rows, tokens, size]."""
        return states[0].index_select(0, self.nodes.flatten()).view(*self.nodes.shape, -1)

    def is_less(self, hidden_size: int) -> bool:
        """Whether the tree is less work than the rows, for layers of this hidden size."""
        rows, width = self.nodes.shape
        return work(len(self.ids), hidden_size) < rows * work(width, hidden_size)


def work(tokens: int, hidden_size: int) -> int:
    """What a sequence of so many tokens takes, in a unit of its own."""
    return tokens * (OF_ONE * hidden_size + OF_TWO * tokens)


def batches(
    model: torch.nn.Module, sequences: Sequence[list[int]], max_batch: int, max_padded: int, places: Sequence[int] | None = None
) -> list[list[int]]:
    """Cut sequences into batches for passes without training: as `batches_by_length`, but for pairs that are less work as trees.

    Args:
        model: where `pack_rows` has changed it, or all parts of it, both sides of a pair come into one batch, `TOGETHER` pairs
            in each, where that is less work than each by itself without any padding, and a batch can hold them.
        sequences: pairs where they are `BothSides`.
        max_batch, max_padded: as `batches_by_length` has them.
        places: of those wanted among the sequences; None for all.

    Returns:
        Lists of indices into `places`, longest first.
    """
    places = range(len(sequences)) if places is None else places
    every = lengths(sequences)
    long = [every[place] for place in places]
    together: list[tuple[int, int]] = []
    if isinstance(sequences, BothSides) and getattr(model, "packs", False) and max_batch > 1:
        size, sides = model.config.get_text_config().hidden_size, defaultdict(list)
        for index, place in enumerate(places):
            sides[place // 2].append(index)
        for both in sides.values():
            own = [long[index] for index in both]
            nodes = sum(own) - (len(both) - 1) * sequences.prompts[places[both[0]]]
            if len(both) == 2 and 2 * max(own) <= max_padded and work(nodes, size) < sum(work(tokens, size) for tokens in own):
                together.append(tuple(both))
    longest = [max(long[index] for index in both) for both in together]
    trees = [
        [index for pair in batch for index in together[pair]]
        for batch in batches_by_length(longest, min(TOGETHER, max_batch // 2), max_padded // 2)
    ]
    apart = sorted(set(range(len(long))) - {index for both in together for index in both})
    rows = [[apart[i] for i in batch] for batch in batches_by_length([long[i] for i in apart], max_batch, max_padded)]
    return sorted(trees + rows, key=lambda batch: -max(long[index] for index in batch))


def packed_now(decoder: torch.nn.Module) -> Packed | None:
    """The batch that a model's decoder is at, where it is computed as a tree."""
    return getattr(decoder, "packed", None)


def pack_rows(model: PreTrainedModel) -> bool:
    """Have the model compute a batch as a tree where that is less work. What comes out has the shape that it always has.

    Where it does, `model.packs` is true from then on.

    Generation runs as before, and so do batches on an accelerator, whose fast attention takes no mask of such a shape.

    Returns:
        Whether the model gives the same that way. Where it does not, as one that reads a text step by step, or goes by other
        positions than it is given, it is left as it was.
    """
    decoder, config = model.get_decoder(), model.config.get_text_config()
    forward, dtype = decoder.forward, next(decoder.parameters()).dtype
    windows = [getattr(config, name, None) for name in ("sliding_window", "attention_chunk_size")]
    longest = min((window for window in windows if isinstance(window, int)), default=None)

    def packed(*args: Any, **named: Any) -> Any:
        decoder.packed = None
        if len(args) == 1:  # a classifier gives its decoder the tokens by place
            args, named = (), named | {"input_ids": args[0]}
        ids, mask = named.get("input_ids"), named.get("attention_mask")
        other = any(named.get(name) is not None for name in ("past_key_values", "inputs_embeds", "position_ids"))
        more = any(named.get(name) for name in ("use_cache", "output_hidden_states", "output_attentions"))
        plain = not args and not other and not more and ids is not None and mask is not None and mask.dim() == 2
        if not plain or ids.device.type != "cpu" or (longest is not None and ids.shape[1] > longest):
            return forward(*args, **named)
        tree = Packed.of(ids, mask)
        if not tree.is_less(config.hidden_size):
            return forward(**named)
        hidden = torch.zeros(tree.seen.shape, dtype=dtype).masked_fill_(~tree.seen, torch.finfo(dtype).min)
        decoder.packed = tree
        of_nodes = forward(
            **named | {"input_ids": tree.ids[None], "attention_mask": hidden[None, None], "position_ids": tree.positions[None]}
        )
        of_nodes.last_hidden_state = tree.give(of_nodes.last_hidden_state)
        return of_nodes

    before = _tried(model)
    decoder.forward = packed
    after = _tried(model)
    same = before is not None and after is not None and bool((after - before).norm() <= CLOSE * before.norm())
    if not same:
        del decoder.forward
        decoder.packed = None
    model.packs = same and model.device.type == "cpu"
    return same


def _tried(model: PreTrainedModel) -> torch.Tensor | None:
    """The decoder's last hidden states of two rows that begin alike; None where it fails, or gives more than those."""
    row = torch.arange(TRIED, device=model.device) % model.config.get_text_config().vocab_size
    ids = torch.stack([row, torch.cat([row[: TRIED // 2], row.flip(0)[: TRIED // 2]])])
    mask = torch.ones_like(ids)
    mask[1, -TRIED // 4 :] = 0
    try:
        with torch.inference_mode():
            found = model.get_decoder()(input_ids=ids, attention_mask=mask, use_cache=False)
    except (IndexError, RuntimeError, TypeError, ValueError, AttributeError, NotImplementedError):
        return None
    only = {name for name, value in found.items() if value is not None} == {"last_hidden_state"}
    return found.last_hidden_state[mask.bool()].float() if only else None
