"""Prompts that are nearly the same: what was learned from one is known of the other."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from datasketch import MinHash, MinHashLSH

from preference_study.data.conversations import Turns, spoken

SHINGLE = 5  # characters
PERMUTATIONS = 128
# What an index of hashes may miss weighs more than what it finds too much: that is looked at once more.
MISSED = 0.9
# The index cannot tell higher similarities apart; each candidate is compared anyway.
HIGHEST = 0.9


class Near(NamedTuple):
    """The place of the most similar one among the others, and its similarity."""

    place: int
    similarity: float


def shingles(text: str) -> set[str]:
    """All runs of five characters of a text; the text itself where it is shorter."""
    return {text[place : place + SHINGLE] for place in range(max(1, len(text) - SHINGLE + 1))}


def similarity(one: str, other: str) -> float:
    """The Jaccard similarity of two texts' runs of five characters: those they share of those that either has."""
    first, second = shingles(one), shingles(other)
    return len(first & second) / len(first | second)


def nearest(texts: Sequence[str], others: Sequence[str], threshold: float) -> dict[int, Near]:
    """Of each text that has near-duplicates among the others the most similar one; that of a text in both is never itself.

    Found by MinHash and locality-sensitive hashing (Broder 1997; Leskovec, Rajaraman and Ullman, Mining of Massive Datasets,
    chapter 3), which may miss some just above the threshold; each found is compared in full.

    Args:
        texts, others: as `spoken` gives them, each text once; the same list may be both.
        threshold: the least similarity, from one half, below which hashes tell little apart, to 1.

    Returns:
        By place in `texts`.
    """
    hashed = _hashes(others)
    index = MinHashLSH(threshold=min(threshold, HIGHEST), num_perm=PERMUTATIONS, weights=(1 - MISSED, MISSED))
    with index.insertion_session() as session:
        for place, found in enumerate(hashed):
            session.insert(place, found)
    near = {}
    for number, (text, found) in enumerate(zip(texts, hashed if texts is others else _hashes(texts), strict=True)):
        candidates = sorted(place for place in index.query(found) if not (texts is others and place == number))
        compared = [Near(place, similarity(text, others[place])) for place in candidates]
        best = max(compared, key=lambda pair: pair.similarity, default=None)
        if best and best.similarity >= threshold:
            near[number] = best
    return near


def _hashes(texts: Sequence[str]) -> list[MinHash]:
    return MinHash.bulk([[shingle.encode() for shingle in shingles(text)] for text in texts], num_perm=PERMUTATIONS)


def near_any(prompts: Iterable[Turns], others: Iterable[Turns], threshold: float) -> set[str]:
    """What is said, as `spoken` gives it, in those prompts that are near-duplicates of one of the others."""
    mine, theirs = sorted({spoken(prompt) for prompt in prompts}), sorted({spoken(prompt) for prompt in others})
    return {mine[place] for place in nearest(mine, theirs, threshold)}
