"""Grouping texts of similar length, so that little of a batch is padding, and sharing batches out between processes."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from accelerate import PartialState
from accelerate.utils import gather_object
from tqdm.auto import tqdm

T = TypeVar("T")


def batches_by_length(lengths: Sequence[int], max_batch: int, max_padded: int | None = None) -> list[list[int]]:
    """Cut the indices of `lengths`, longest first, into batches.

    Args:
        lengths: one length (tokens) per item.
        max_batch: most items in a batch.
        max_padded: most tokens in a batch, padding included; an item longer than this gets a batch of its own.

    Returns:
        Lists of indices that together hold every index once. Longest first, so that what does not fit in memory fails at once.
    """
    batches: list[list[int]] = []
    for index in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        batch = batches[-1] if batches else None
        # Items come in falling length, so a batch is padded to its first one.
        fits = batch and len(batch) < max_batch and (max_padded is None or lengths[batch[0]] * (len(batch) + 1) <= max_padded)
        if fits:
            batch.append(index)
        else:
            batches.append([index])
    return batches


def map_batches(run: Callable[[int, list[int]], list[T]], batches: list[list[int]], *, description: str) -> list[T]:
    """Run a function over batches, shared out between the processes of a distributed launch, with a progress bar.

    Args:
        run: (number of the batch, indices of its items) -> one result per index. What it returns must depend on
            these two alone, so that any number of processes gives the same results.
        batches: as from `batches_by_length`.
        description: shown on the progress bar.

    Returns:
        One result per item, in the order of the items' indices, the same on every process.
    """
    state = PartialState()
    total = sum(map(len, batches))
    places: list[int] = []
    results: list[T] = []
    mine = range(state.process_index, len(batches), state.num_processes)
    with tqdm(total=sum(len(batches[b]) for b in mine), desc=description, disable=not state.is_main_process) as bar:
        for number in mine:
            found = run(number, batches[number])
            if len(found) != len(batches[number]):
                raise RuntimeError(f"{description}: {len(found)} results for {len(batches[number])} items")
            results.extend(found)
            places.extend(batches[number])
            bar.update(len(batches[number]))
    if state.num_processes > 1:
        places, results = gather_object(places), gather_object(results)
    order = sorted(range(len(places)), key=places.__getitem__)
    if [places[i] for i in order] != list(range(total)):
        raise RuntimeError(f"{description}: {len(places)} results for {total} items")
    return [results[i] for i in order]
