"""Pairs as tokens in files that are mapped into memory: what is looked at is read, and what is not takes no memory."""

import hashlib
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, overload

import numpy as np
import pandas as pd
from accelerate import PartialState
from datasets import Dataset, Features, List, Value
from datasets.exceptions import DatasetGenerationError
from transformers import PreTrainedTokenizerBase

from preference_study.artifacts import open_table
from preference_study.errors import BadInput
from preference_study.models.tokens import TokenPair, encode_pairs, of_refused, prompt_text

FOLDER = Path("checkpoints/tokens")
READ = 1000  # pairs read, written or looked at together
MANY = 50_000  # pairs from which on several processes write them as tokens
FEATURES = Features(
    {name: List(Value("int32")) for name in ("prompt_ids", "chosen_ids", "rejected_ids")}
    | {"truncated": Value("bool")}
    | {name: Value("int32") for name in ("turns_dropped", "chosen_tokens", "rejected_tokens", "length", "tokens")}
)


class Refused(Exception):
    """What `encode_pairs` refuses, where a `SystemExit` would end one of several processes without a word."""


def row(pair: TokenPair) -> dict[str, Any]:
    """A pair as it is stored: its own fields, and the lengths that trainers sort and count by.

    Returns:
        Besides `TokenPair`'s fields chosen_tokens and rejected_tokens, of the responses alone; length, of the prompt with the
        longer response; and tokens, of both sequences together.
    """
    prompt, chosen, rejected = len(pair.prompt_ids), len(pair.chosen_ids), len(pair.rejected_ids)
    return vars(pair) | {
        "chosen_tokens": chosen,
        "rejected_tokens": rejected,
        "length": prompt + max(chosen, rejected),
        "tokens": 2 * prompt + chosen + rejected,
    }


def numbers(rows: Dataset, name: str) -> np.ndarray:
    """A column of numbers."""
    return rows.with_format("numpy", columns=[name])[:][name]


class TokenPairs(Sequence[TokenPair]):
    """Pairs that stand in Arrow data, read as they are asked for.

    Args:
        rows: of the columns that `row` names.
        folder: for the files that hold them, and others made of them; None where they are in memory.
    """

    def __init__(self, rows: Dataset, folder: Path | None = None):
        self.rows, self.folder = rows, folder

    @classmethod
    def of(cls, pairs: Sequence[TokenPair]) -> "TokenPairs":
        """Pairs in whatever form, these where they are it already, others in memory."""
        return pairs if isinstance(pairs, cls) else cls(Dataset.from_list([row(pair) for pair in pairs], features=FEATURES))

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, place: int) -> TokenPair: ...
    @overload
    def __getitem__(self, place: slice) -> "TokenPairs": ...
    def __getitem__(self, place):
        if isinstance(place, slice):
            return TokenPairs(self.rows.select(range(*place.indices(len(self)))), self.folder)
        return self.some([range(len(self))[place]])[0]

    def __iter__(self) -> Iterator[TokenPair]:
        for start in range(0, len(self), READ):
            yield from self.some(range(start, min(start + READ, len(self))))

    def some(self, places: Sequence[int]) -> list[TokenPair]:
        """The pairs at these places, read together."""
        found = self.rows[list(places)]
        return [TokenPair(*fields) for fields in zip(*(found[name] for name in TokenPair.__dataclass_fields__), strict=True)]

    def column(self, name: str) -> np.ndarray:
        """A column of numbers, of all pairs in order."""
        return numbers(self.rows, name)


class BothSides(Sequence[list[int]]):
    """The prompt with each response, two a pair: chosen, rejected.

    Attributes:
        lengths: tokens of each.
        prompts: tokens of each one's prompt.
    """

    def __init__(self, pairs: Sequence[TokenPair]):
        self.pairs = TokenPairs.of(pairs)
        chosen, rejected, length = map(self.pairs.column, ("chosen_tokens", "rejected_tokens", "length"))
        prompts = length - np.maximum(chosen, rejected)
        self.lengths = np.stack([prompts + chosen, prompts + rejected], axis=1).ravel().tolist()
        self.prompts = np.repeat(prompts, 2).tolist()

    def __len__(self) -> int:
        return 2 * len(self.pairs)

    def __getitem__(self, place: int) -> list[int]:
        return self.some([range(len(self))[place]])[0]

    def __iter__(self) -> Iterator[list[int]]:
        for pair in self.pairs:
            yield from (pair.prompt_ids + pair.chosen_ids, pair.prompt_ids + pair.rejected_ids)

    def some(self, places: Sequence[int]) -> list[list[int]]:
        """Those at these places, read together."""
        found = self.pairs.some([place // 2 for place in places])
        return [
            pair.prompt_ids + (pair.rejected_ids if place % 2 else pair.chosen_ids)
            for pair, place in zip(found, places, strict=True)
        ]


def lengths(sequences: Sequence[Sequence[int]]) -> list[int]:
    """Tokens of each sequence."""
    return sequences.lengths if isinstance(sequences, BothSides) else [len(ids) for ids in sequences]


def some(sequences: Sequence[list[int]], places: Sequence[int]) -> list[list[int]]:
    """The sequences at these places."""
    return sequences.some(places) if isinstance(sequences, BothSides) else [sequences[place] for place in places]


def distinct(sequences: Iterable[Sequence[int]]) -> tuple[np.ndarray, np.ndarray]:
    """Which of some sequences are all there are: equal ones are told by a digest of 16 bytes, so that none is held.

    Returns:
        The place of every different sequence's first occurrence, in order; and of each sequence which of those it is.
    """
    number: dict[bytes, int] = {}
    which = [
        number.setdefault(hashlib.blake2b(np.asarray(ids, dtype=np.int32).tobytes(), digest_size=16).digest(), len(number))
        for ids in sequences
    ]
    return np.unique(which, return_index=True)[1], np.array(which, dtype=int)


@contextmanager
def token_folder(name: str) -> Iterator[Path]:
    """A new folder for the tokens of one run of a stage, which its processes share and which is removed at the end.

    Args:
        name: of the stage, with what tells its runs apart.
    """
    state, folder = PartialState(), FOLDER / name
    if state.is_main_process:
        shutil.rmtree(folder, ignore_errors=True)  # a run that was killed has left it
        folder.mkdir(parents=True)
    state.wait_for_everyone()
    try:
        yield folder
        state.wait_for_everyone()
    finally:
        if state.is_main_process:
            shutil.rmtree(folder, ignore_errors=True)


def written(
    name: str, folder: Path | None, features: Features, rows: Callable[..., Iterator[dict]], processes: int = 1, **given: Any
) -> Dataset:
    """Rows that a function makes, in a file that is mapped into memory, which the processes of a launch share.

    Args:
        name: of the rows, in their folder.
        folder: for the file; None keeps the rows in memory.
        processes: that make the rows: the lists in `given` are shared out between them, and each gets all else.
        given: the function's arguments.
    """
    if folder is None:
        return Dataset.from_list(list(rows(**given)), features=features)
    options = {"features": features, "cache_dir": str(folder), "gen_kwargs": given, "fingerprint": name}
    with PartialState().main_process_first():  # the others find what it has written
        try:
            return Dataset.from_generator(rows, num_proc=processes if processes > 1 else None, **options)
        except DatasetGenerationError as error:
            if processes == 1:
                raise (error.__cause__ or error) from None
    # Of several processes nothing comes back but that one failed: alone it says why.
    return written(name, folder, features, rows, **given)


def encode_file(
    tokenizer: PreTrainedTokenizerBase,
    path: str | Path,
    max_length: int,
    folder: Path,
    *,
    kept: np.ndarray | None = None,
    turned: np.ndarray | None = None,
) -> TokenPairs:
    """The pairs of a file of `prepare_data` as tokens, written by `encode_pairs` piece by piece into a folder and mapped from it.

    Args:
        folder: from `token_folder`; every file of pairs has a folder of its own in it.
        kept: a mask of the file's pairs that are wanted; None for all.
        turned: of each pair that is wanted whether its responses change places; None where none do.

    Raises:
        BadInput: as `encode_pairs`; or the file is not there or not whole.
    """
    about = open_table(path).metadata
    rows = [about.row_group(number).num_rows for number in range(about.num_row_groups)]
    groups = list(enumerate(np.cumsum([0, *rows[:-1]]).tolist()))
    kept = np.ones(sum(rows), dtype=bool) if kept is None else kept
    swapped = np.zeros(sum(rows), dtype=bool)
    if turned is not None:
        swapped[np.flatnonzero(kept)[turned]] = True
    processes = min(len(groups), os.cpu_count() or 1) if sum(rows) >= MANY else 1
    folder = folder / Path(path).stem
    given = {"path": str(path), "tokenizer": tokenizer, "max_length": max_length, "kept": kept, "swapped": swapped}
    try:
        return TokenPairs(written("pairs", folder, FEATURES, _encoded, processes, groups=groups, **given), folder)
    except Refused as error:
        raise BadInput(_all_refused(tokenizer, path, kept) or str(error)) from None


def _all_refused(tokenizer: PreTrainedTokenizerBase, path: str | Path, kept: np.ndarray) -> str | None:
    """What to tell of all the file's prompts that the chat template does not write; None where it writes each of them."""
    found: dict[int, str] = {}
    prompts = (
        prompt for batch in open_table(path).iter_batches(READ, columns=["prompt"]) for prompt in batch["prompt"].to_pylist()
    )
    for number, (prompt, wanted) in enumerate(zip(prompts, kept, strict=True), start=1):
        try:
            _ = wanted and prompt_text(tokenizer, prompt)
        except BadInput as error:
            found[number] = str(error)
    return of_refused(found, f"{path}: row", int(kept.sum()))


def encode_for_policies(
    tokenizer: PreTrainedTokenizerBase, seen: np.ndarray, max_length: int, folder: Path
) -> tuple[dict[str, list[str]], dict[str, TokenPairs]]:
    """The training pairs that policies see, and all of validation.

    Args:
        seen: a mask of the training pairs.

    Returns:
        Their ids and their tokens, by split: train, val.
    """
    ids, encoded = {}, {}
    for split, wanted in (("train", seen), ("val", None)):
        path = f"data/prepared/{split}.parquet"
        all_ids = open_table(path).read(["id"])["id"].to_numpy()
        ids[split] = all_ids[slice(None) if wanted is None else wanted].tolist()
        encoded[split] = encode_file(tokenizer, path, max_length, folder, kept=wanted)
    return ids, encoded


def _encoded(
    groups: list[tuple[int, int]],
    path: str,
    tokenizer: PreTrainedTokenizerBase,
    max_length: int,
    kept: np.ndarray,
    swapped: np.ndarray,
) -> Iterator[dict[str, Any]]:
    """The rows of some of a file's row groups, each given with the number of its first row.

    Args:
        kept, swapped: masks of all the file's rows.
    """
    file = open_table(path)
    for group, start in groups:
        for batch in file.iter_batches(READ, row_groups=[group], columns=["prompt", "chosen", "rejected"]):
            wanted, turn = (mask[start : start + len(batch)] for mask in (kept, swapped))
            start += len(batch)
            table = pd.DataFrame(batch.to_pydict(), dtype=object)
            table.loc[turn, ["chosen", "rejected"]] = table.loc[turn, ["rejected", "chosen"]].to_numpy()
            try:
                pairs = encode_pairs(tokenizer, table[wanted], max_length)
            except BadInput as error:
                raise Refused(str(error)) from None
            yield from map(row, pairs)
