"""What the shapes share in reading: rows with a label that says which of two responses is right, and lists of responses."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from preference_study.data.conversations import is_missing
from preference_study.errors import BadInput
from preference_study.formats import Source
from preference_study.formats._rows import STRAY_SHARE, as_word


class Item(NamedTuple):
    """A row of a benchmark.

    Attributes:
        prompt, responses: as `pair_of` takes them; at least two responses.
        correct: of each response whether it is right.
        subset: missing where the file's name says it.
        problem: why it cannot be used, where its shape can tell.
        cluster: what was drawn, where that is not the prompt.
        part: what it is in its subset, where the rule tells its rows apart.
    """

    prompt: Any
    responses: Sequence[Any]
    correct: Sequence[bool]
    subset: Any = None
    problem: str | None = None
    cluster: str | None = None
    part: str | None = None


def labelled(
    prompt: str, first: str, second: str, label: str, coding: tuple[str, str], subset: str | None = None
) -> Callable[[Source], Iterable[Item]]:
    """Rows of two responses and a label that says which is right.

    Args:
        coding: the label, as a text, that means the first response, and the second.
        subset: the column that says the subset; None leaves it to the file's name.
    """

    def items(source: Source) -> Iterable[Item]:
        words = [as_word(cell) for cell in source.cells(label)]
        stray = Counter(word for word in words if word and word not in coding)
        if sum(stray.values()) > STRAY_SHARE * len(words):
            held = ", ".join(f"{word} ({count} rows)" for word, count in stray.most_common(6))
            raise BadInput(
                f"{source.name}: column {label!r} holds {held}, where {coding[0]} means that {first!r} is right and {coding[1]} "
                f"that {second!r} is; write it so"
            )
        subsets = source.cells(subset if subset in source.table else None)
        texts = zip(*(source.cells(name) for name in (prompt, first, second)), strict=True)
        for (said, a, b), word, own in zip(texts, words, subsets, strict=True):
            yield Item(said, [a, b], [word == coding[0], word == coding[1]], own, None if word in coding else "bad_preference")

    return items


def listed(source: Source, number: int, column: str, cell: Any, count: int | None = None) -> list[Any]:
    """A cell's list of responses, so many or at least one.

    Raises:
        BadInput: it is no list, or of another length.
    """
    texts = list(cell) if isinstance(cell, (list, tuple)) else []
    if not texts or count not in (None, len(texts)):
        what = f"a list of {len(texts)}" if texts else f"{str(cell)[:60]!r}"
        wanted = "responses" if count is None else f"{count} responses"
        raise BadInput(f"{source.name}: row {number}, column {column!r} holds {what}, where a list of {wanted} belongs; mend it")
    return texts


def subset_of(cell: Any, file: str | Path) -> str:
    """The subset that a row's cell names; where it names none, the file's name does."""
    return stem(Path(file)) if is_missing(cell) or cell == "" else str(cell)


def stem(file: Path) -> str:
    """A file's name without what says how it is written: llmbar/Natural.json.gz is Natural."""
    return file.name.split(".")[0]
