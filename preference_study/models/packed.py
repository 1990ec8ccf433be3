"""The rows of a batch as trees of tokens, in which what several of them begin with stands once.

Both responses of a pair follow the same prompt, and the shorter one is filled up to the longer: a third of what a model works
through in training. A causal model's hidden state of a token depends on that token, those before it and their positions alone, so
rows can be computed as a tree of tokens, with the positions that they had, each seeing itself and those above it. Rows that have
little in common are trees of their own, one after the other: attention goes over the tokens of one tree at a time, and all else
over the tokens of all.
"""

import sys
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any

import numpy as np
import torch
from accelerate import PartialState
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.masking_utils import eager_mask

from preference_study.models.batching import batches_by_length
from preference_study.models.token_pairs import BothSides, lengths

CLOSE = 0.05  # of the norm: a bfloat16's rounding, through all layers, is below it, and a layer or a mask left out above
# Plain attention's work for two tokens of a sequence, in hidden sizes, where a token's in the linear maps is 12 of their squares:
# by the time that it takes on a CPU, mostly to go through memory.
OF_TWO, OF_ONE = 5, 12
TOGETHER = 2  # pairs in a batch outside of training: one is too small a matrix
TRIED = 24  # tokens of the longer row on which a model is tried
TREES = "trees"  # what transformers knows the attention below by

Row = Sequence[tuple[int, int]]  # its tokens, each after its place, as padding on the left leaves it


@dataclass(frozen=True)
class Packed:
    """A batch as trees of its tokens, one after the other.

    Attributes:
        ids, positions: [1, nodes], of each node, a parent before its children.
        seen: bool [1, nodes, nodes], whether a node (row) sees another one (column): itself and those above it.
        sizes: nodes of each tree.
        first: [1, nodes], where in the flattened batch a node stands, in the first row that has it.
        nodes: [rows, tokens], which node each token of the batch is; padding is given the first one.
    """

    ids: torch.Tensor
    positions: torch.Tensor
    seen: torch.Tensor
    sizes: tuple[int, ...]
    first: torch.Tensor
    nodes: torch.Tensor

    @classmethod
    def of(cls, ids: torch.Tensor, mask: torch.Tensor, hidden_size: int) -> "Packed":
        """
        Args:
            ids, mask: [rows, tokens]; padding, where the mask is 0, may stand on either side.
            hidden_size: of the layers that take it, by which rows are put together.
        """
        width = ids.shape[1]
        real = [row.nonzero().flatten().tolist() for row in mask]
        rows = [[(place, row[place]) for place in places] for row, places in zip(ids.tolist(), real, strict=True)]
        groups = trees_of(rows, hidden_size)
        found = [(group, *_tree([rows[row] for row in group])) for group in groups]
        sizes = tuple(len(parents) for _, _, parents in found)
        first, nodes = np.zeros(sum(sizes), dtype=np.int64), np.zeros(ids.shape, dtype=np.int64)
        seen = np.eye(sum(sizes), dtype=bool)
        for start, (group, numbers, parents) in zip(accumulate(sizes, initial=0), found, strict=False):
            for row, of_row in zip(reversed(group), reversed(numbers), strict=True):  # so that the first row has the last word
                own = start + np.array(of_row, dtype=np.int64)
                first[own] = row * width + np.array(real[row], dtype=np.int64)
                nodes[row, real[row]] = own
            own = seen[start : start + len(parents), start : start + len(parents)]
            for node, parent in enumerate(parents):
                if parent >= 0:
                    own[node] |= own[parent]
        at = torch.from_numpy(first)[None]
        return cls(ids.flatten()[at], at % width, torch.from_numpy(seen)[None], sizes, at, torch.from_numpy(nodes))

    def take(self, states: torch.Tensor) -> torch.Tensor:
        """Of a batch's hidden states [rows, tokens, size] the nodes': [1, nodes, size]."""
        return states.flatten(0, 1)[self.first]

    def give(self, states: torch.Tensor) -> torch.Tensor:
        """The nodes' hidden states [1, nodes, size] as the batch's: [rows, tokens, size]."""
        return states[0].index_select(0, self.nodes.flatten()).view(*self.nodes.shape, -1)

    def is_less(self) -> bool:
        """Whether the trees are less work than the rows, as they are where rows begin alike for long, or would be filled up."""
        return sum(self.sizes) < self.nodes.numel()


def _tree(rows: Sequence[Row]) -> tuple[list[list[int]], list[int]]:
    """Rows as one tree: which node each token of each row is, and each node's parent, -1 where it has none."""
    known: dict[tuple[int, int, int], int] = {}
    numbers, parents = [], []
    for row in rows:
        node, of_row = -1, []
        for place, token in row:
            parent, new = node, len(parents)
            node = known.setdefault((parent, place, token), new)
            if node == new:
                parents.append(parent)
            of_row.append(node)
        numbers.append(of_row)
    return numbers, parents


def _in_common(one: Row, other: Row) -> int:
    """How many tokens two rows begin with in common."""
    differ = (at for at, (mine, theirs) in enumerate(zip(one, other, strict=False)) if mine != theirs)
    return next(differ, min(len(one), len(other)))


def trees_of(rows: Sequence[Row], hidden_size: int) -> list[list[int]]:
    """Which rows are best one tree: those that begin alike for so long that this is less work.

    Returns:
        Places in `rows`, each once, in order within a tree and by the first of each.
    """
    order = sorted(range(len(rows)), key=lambda row: rows[row])
    # Between rows in this order and the next ones: how many tokens they begin with in common.
    shared = [_in_common(rows[one], rows[other]) for one, other in pairwise(order)]
    group = list(range(len(rows)))  # of each row in this order
    size = [len(rows[row]) for row in order]
    for at in sorted(range(len(shared)), key=lambda at: -shared[at]):
        one, other = group[at], group[at + 1]
        both = size[one] + size[other] - shared[at]
        if work(both, hidden_size) < work(size[one], hidden_size) + work(size[other], hidden_size):
            group, size[one] = [one if each == other else each for each in group], both
    return sorted(sorted(row for row, each in zip(order, group, strict=True) if each == one) for one in set(group))


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
    """The batch that a model's decoder is at, where it is computed as trees."""
    return getattr(decoder, "packed", None)


def _of_each_tree(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    trees: Sequence[int] | None = None,
    **named: Any,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """The model's own plain attention, as transformers calls it; of a batch of trees over one after the other.

    Args:
        query, key, value: [1, heads, nodes, size of a head], of trees.
        attention_mask: [1, 1, nodes, nodes], of trees.
        trees: nodes of each; None where the batch is of rows.
    """
    plain = _plain_attention(module)
    if trees is None:
        return plain(module, query, key, value, attention_mask, **named)
    found = []
    for start, stop in pairwise(accumulate(trees, initial=0)):
        own = [states[:, :, start:stop] for states in (query, key, value)]
        found.append(plain(module, *own, attention_mask[..., start:stop, start:stop], **named)[0])
    return torch.cat(found, dim=1), None


def _plain_attention(module: torch.nn.Module) -> Callable[..., Any] | None:
    """As transformers has it beside each model that can be given another attention; None where a model cannot."""
    return getattr(sys.modules[type(module).__module__], "eager_attention_forward", None)


AttentionInterface.register(TREES, _of_each_tree)
AttentionMaskInterface.register(TREES, eager_mask)


def pack_rows(model: PreTrainedModel) -> bool:
    """Have the model compute a batch as trees where that is less work. What comes out has the shape that it always has.

    Where it does, `model.packs` is true from then on.

    Generation runs as before. On an accelerator, whose fast attention takes no mask of such a shape, models are left as they are.

    Returns:
        Whether it does. Where it gives something else that way, as one that reads a text step by step, or goes by other positions
        than it is given, or where its attention is its own affair, it is left as it was.
    """
    model.packs = False
    decoder, config = model.get_decoder(), model.config.get_text_config()
    if PartialState().device.type != "cpu" or _plain_attention(decoder) is None:
        return False
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
        if not plain or (longest is not None and ids.shape[1] > longest):
            return forward(*args, **named)
        tree = Packed.of(ids, mask, config.hidden_size)
        if not tree.is_less():
            return forward(**named)
        hidden = torch.zeros(tree.seen.shape, dtype=dtype).masked_fill_(~tree.seen, torch.finfo(dtype).min)
        decoder.packed = tree
        of_tree = {"input_ids": tree.ids, "attention_mask": hidden[:, None], "position_ids": tree.positions, TREES: tree.sizes}
        of_nodes = forward(**named | of_tree)
        of_nodes.last_hidden_state = tree.give(of_nodes.last_hidden_state)
        return of_nodes

    before, attention = _tried(model), config._attn_implementation
    # For good, and not for a batch: gradient checkpointing runs a layer again when the batch is over.
    decoder.forward, config._attn_implementation = packed, TREES
    after = _tried(model)
    same = before is not None and after is not None and bool((after - before).norm() <= CLOSE * before.norm())
    if not same:
        del decoder.forward
        decoder.packed, config._attn_implementation = None, attention
    model.packs = same
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
