"""Frozen layers: what comes out of them for a sequence of tokens is computed once, kept on disk, and put back in their place.

LoRA on the top layers leaves the layers under them as they are, and training would run those anew in every epoch, of every
member, variant and seed. In float32 nothing changes by it. In bfloat16 a sequence's hidden states differ in their last digits
with the sequences that are computed beside it, and so do losses and rewards from kept ones: as they do between batches of
another size.
"""

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import PartialState
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file
from transformers import PreTrainedModel

from preference_study.artifacts import made_by, read_json, write_json
from preference_study.errors import BadModel
from preference_study.models.batching import map_batches
from preference_study.models.language_models import padded
from preference_study.models.layers import layer_list
from preference_study.models.packed import CLOSE, batches, packed_now
from preference_study.models.token_pairs import distinct, lengths, some

# Written last, so that a folder whose pass was killed holds no states.
ABOUT = "about.json"
STATES, SEQUENCES = "states.bin", "sequences.safetensors"


class HiddenStates:
    """What comes out of a model's first layers for known sequences of tokens.

    Args:
        sequences: of tokens, each once.
        depth: layers that the states have been through.
        states: [tokens, hidden size], the sequences' one after the other.
    """

    def __init__(self, sequences: Sequence[Sequence[int] | np.ndarray], depth: int, states: torch.Tensor):
        self.depth, self.states = depth, states
        self.shortest = list(map(int, min(sequences, key=len)))
        self.rows, start = {}, 0
        for ids in sequences:
            self.rows[np.asarray(ids, dtype=np.int32).tobytes()] = slice(start, start + len(ids))
            start += len(ids)

    def places(self, ids: torch.Tensor, mask: torch.Tensor | None) -> list[slice | None]:
        """Where in `states` each sequence of a batch padded on the right is; None where it is not known."""
        rows = ids.cpu().numpy().astype(np.int32)
        lengths = [ids.shape[1]] * len(rows) if mask is None else mask.sum(dim=1).tolist()
        return [self.rows.get(row[:length].tobytes()) for row, length in zip(rows, lengths, strict=True)]

    def of(self, ids: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor | None:
        """Hidden states [sequences, tokens, hidden size] of such a batch, those of padding 0; None where one is not known."""
        places = self.places(ids, mask)
        if None in places:
            return None
        batch = self.states.new_zeros((*ids.shape, self.states.shape[1]))
        for row, place in zip(batch, places, strict=True):
            row[: place.stop - place.start] = self.states[place]
        return batch.to(ids.device)


def why_not(needed: int, depth: int, max_gib: float, spread: bool, folder: str | Path) -> str | None:
    """Why hidden states are not to be kept, in words; None where they are.

    Args:
        needed: bytes they would take.
        depth: layers they would have been through.
        max_gib: most disk they may take, GiB.
        spread: whether the model, or the processes that run it, are in several places.
        folder: on the disk that would hold them.
    """
    if depth == 0:
        return "every layer is trained"
    if spread:
        return "the model, or the processes that run it, are spread over several places"
    gib, free = needed / 2**30, shutil.disk_usage(folder).free / 2**30
    if gib > max_gib:
        return f"they would take {gib:.1f} GiB, and frozen.max_gib is {max_gib:g}"
    # DVC keeps a copy of its own where the disk cannot link files.
    return f"they would take {gib:.1f} GiB twice, and {free:.1f} GiB of the disk are free" if 2 * gib > free else None


@contextmanager
def keep_hidden_states(
    model: PreTrainedModel, sequences: Sequence[list[int]], depth: int, folder: str | Path, *, max_gib: float, spread: bool
) -> Iterator[None]:
    """While it is open, a model that runs over these sequences of tokens leaves in `folder` what comes out of its first `depth`
    layers, a vector a token; or it leaves there why not, and prints it beforehand.

    Args:
        sequences: all of them must be run over, by the processes of a launch together, which share the folder.
        max_gib, spread: as `why_not` takes them.
    """
    state, folder = PartialState(), Path(folder)
    width, dtype = model.config.get_text_config().hidden_size, next(model.get_decoder().parameters()).dtype
    places, _ = distinct(sequences)
    every = lengths(sequences)
    tokens = sum(every[place] for place in places)
    if state.is_main_process:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        left_out = why_not(dtype.itemsize * width * tokens, depth, max_gib, spread, folder)
        if left_out:
            print(f"hidden states under the trained layers are not kept: {left_out}")
            write_json(folder / ABOUT, {"left_out": left_out})
        else:
            print(f"keeping hidden states of {tokens:,} tokens, {dtype.itemsize * width * tokens / 2**30:.2f} GiB")
            with (folder / STATES).open("wb") as file:
                file.truncate(dtype.itemsize * width * tokens)
    state.wait_for_everyone()
    if (folder / ABOUT).exists():
        yield
        return
    of_each = some(sequences, places.tolist())
    kept = HiddenStates(of_each, depth, _mapped(folder, tokens, width, dtype, shared=True))
    batch: list[slice | None] = []

    def look_up(decoder: torch.nn.Module, args: tuple, named: dict[str, Any]) -> None:
        batch[:] = kept.places(*_ids_and_mask(args, named))

    def write(layer: torch.nn.Module, args: tuple, named: dict[str, Any]) -> None:
        hidden, tree = _hidden(args, named), packed_now(model.get_decoder())
        for states, place in zip(hidden if tree is None else tree.give(hidden), batch, strict=True):
            if place is not None:
                kept.states[place] = states[: place.stop - place.start].detach().cpu()

    hooks = [
        model.get_decoder().register_forward_pre_hook(look_up, with_kwargs=True),
        model.get_submodule(layer_list(model))[depth].register_forward_pre_hook(write, with_kwargs=True),
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
    state.wait_for_everyone()
    if state.is_main_process:
        written = {"tokens": np.concatenate(of_each).astype(np.int32), "lengths": np.array([len(ids) for ids in of_each])}
        save_file(written, folder / SEQUENCES)
        write_json(folder / ABOUT, {"depth": depth, "hidden_size": width, "dtype": str(dtype).removeprefix("torch.")})
    state.wait_for_everyone()


def kept_in(folder: str | Path) -> HiddenStates | None:
    """The hidden states in a folder that `keep_hidden_states` has left, memory-mapped; None where they were left out.

    Raises:
        BadInput, BadModel: its files are not whole.
    """
    folder = Path(folder)
    about = read_json(folder / ABOUT)
    if "left_out" in about:
        return None
    try:
        found = load_file(folder / SEQUENCES)
        states = _mapped(folder, int(found["lengths"].sum()), about["hidden_size"], getattr(torch, about["dtype"]), shared=False)
    except (OSError, RuntimeError, SafetensorError) as error:
        raise BadModel(f"{folder} is not whole ({error}); {made_by(str(folder))}") from None
    return HiddenStates(np.split(found["tokens"], np.cumsum(found["lengths"])[:-1]), about["depth"], states)


def _mapped(folder: Path, tokens: int, width: int, dtype: torch.dtype, shared: bool) -> torch.Tensor:
    return torch.from_file(str(folder / STATES), shared, tokens * width, dtype=dtype).view(tokens, width)


def skip_frozen_layers(model: PreTrainedModel, kept: HiddenStates) -> bool:
    """Have the model take kept hidden states in place of its first `kept.depth` layers, in every batch whose sequences are known.

    Other batches, and generation, run as before. Nothing else changes: names, weights, adapters, gradients of the layers above.

    Args:
        model: with the weights that the states were computed with; those of the skipped layers must stay as they are.

    Returns:
        Whether the model gives the same without its frozen layers; where it does not it is left as it was.
    """
    current: list[torch.Tensor | None] = [None]
    layers, decoder = model.get_submodule(layer_list(model)), model.get_decoder()

    def look_up(decoder: torch.nn.Module, args: tuple, named: dict[str, Any]) -> None:
        plain = not (named.get("use_cache") or named.get("past_key_values")) and named.get("inputs_embeds") is None
        current[0] = kept.of(*_ids_and_mask(args, named)) if plain else None

    def put_back(layer: torch.nn.Module, args: tuple, named: dict[str, Any]) -> tuple[tuple, dict[str, Any]] | None:
        if current[0] is None:
            return None
        before, tree = _hidden(args, named), packed_now(decoder)
        found = current[0] if tree is None else tree.take(current[0])
        # With gradient checkpointing the embeddings are made to ask for a gradient, and so must these.
        states = found.to(before.dtype).requires_grad_(before.requires_grad)
        return ((states, *args[1:]), named) if args else (args, named | {"hidden_states": states})

    def passing(forward: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *args, **named: forward(*args, **named) if current[0] is None else _hidden(args, named)

    shortest = torch.tensor([kept.shortest], device=model.device)
    before = _last_hidden(decoder, shortest)
    hooks = [
        decoder.register_forward_pre_hook(look_up, with_kwargs=True),
        layers[kept.depth].register_forward_pre_hook(put_back, with_kwargs=True),
    ]
    for layer in layers[: kept.depth]:
        layer.forward = passing(layer.forward)
    after = _last_hidden(decoder, shortest)
    same = after is not None and before is not None and bool((after - before).norm() <= CLOSE * before.norm())
    if not same:
        for hook in hooks:
            hook.remove()
        for layer in layers[: kept.depth]:
            del layer.forward
    return same


def _last_hidden(decoder: torch.nn.Module, ids: torch.Tensor) -> torch.Tensor | None:
    """Of the last token; None where the model cannot do without its layers' own outputs."""
    try:
        with torch.inference_mode():
            return decoder(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False).last_hidden_state[:, -1].float()
    except (IndexError, RuntimeError, TypeError, ValueError):
        return None


def use_kept(model: PreTrainedModel, kept: HiddenStates | None) -> None:
    """`skip_frozen_layers` where hidden states are kept, with a word where the model cannot.

    A model that computes in another precision than they were computed in, as one whose adapter bfloat16 would lose, runs all its
    layers.
    """
    if kept is None or kept.states.dtype != next(model.get_decoder().parameters()).dtype:
        return
    if not skip_frozen_layers(model, kept):
        print(f"{type(model).__name__} gives other outputs from kept hidden states, so all of its layers run")


def last_features(
    model: PreTrainedModel, sequences: Sequence[list[int]], *, max_batch: int, max_padded: int, description: str
) -> np.ndarray:
    """The model's last hidden state of each sequence's last token, what a reward head reads: float32 [sequences, hidden size]."""
    (places, which), padding = distinct(sequences), model.config.pad_token_id

    def run(number: int, indices: list[int]) -> list[np.ndarray]:
        ids, mask = padded(some(sequences, places[indices].tolist()), padding, model.device)
        with torch.inference_mode():
            states = model.get_decoder()(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state
        # As transformers' classifiers find the last token: where the EOS is the padding too, it is the one before it.
        last = (torch.arange(ids.shape[1], device=ids.device) * (ids != padding)).argmax(dim=1)
        return list(states[torch.arange(len(indices)), last].float().cpu().numpy())

    return np.stack(map_batches(run, batches(model, sequences, max_batch, max_padded, places), description=description))[which]


def _ids_and_mask(args: tuple, named: dict[str, Any]) -> tuple[torch.Tensor, torch.Tensor | None]:
    return args[0] if args else named["input_ids"], named.get("attention_mask")


def _hidden(args: tuple, named: dict[str, Any]) -> torch.Tensor:
    return args[0] if args else named["hidden_states"]
