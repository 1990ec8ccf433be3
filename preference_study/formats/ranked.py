"""Ranked lists, as Nectar has them: several answers to a prompt, each with its rank, 1 being the best."""

from collections.abc import Iterable
from typing import Any

from preference_study.errors import BadInput
from preference_study.formats import Format
from preference_study.formats._rows import Row, Source, as_word

COLUMNS = ("prompt", "answers")


def rows(source: Source) -> Iterable[Row]:
    for prompt, answers in zip(*map(source.cells, COLUMNS), strict=True):
        ranked = _ranked(answers)
        if ranked is None:
            yield Row(prompt, None, None, "bad_preference")
            continue
        if min(ranked) < 1:
            raise BadInput(f"{source.name}: an answer has rank {min(ranked)}; ranks begin with 1, the best; count them so")
        last = max(ranked)
        wanted = [last if rank == -1 else rank for rank in source.ranks]
        sides = [ranked.get(rank, []) for rank in wanted]
        if wanted[0] == wanted[1] or any(len(side) > 1 for side in sides):
            yield Row(prompt, None, None, "tie")
        elif wanted[0] > wanted[1] or not all(sides):
            yield Row(prompt, None, None, "bad_preference")
        else:
            yield Row(prompt, sides[0][0], sides[1][0])


def _ranked(answers: Any) -> dict[int, list[Any]] | None:
    """The answers by rank; None where a rank is no whole number, or there is none."""
    found: dict[int, list[Any]] = {}
    for one in answers if isinstance(answers, (list, tuple)) else []:
        rank = as_word(one.get("rank") if isinstance(one, dict) else None)
        if not rank.isdecimal():
            return None
        found.setdefault(int(rank), []).append(one.get("answer"))
    return found or None


FORMAT = Format(COLUMNS, 9, rows)
