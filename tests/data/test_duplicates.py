"""Prompts that are nearly the same."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from preference_study.data.conversations import spoken
from preference_study.data.duplicates import Near, near_any, nearest, similarity
from tests.conftest import asked


@pytest.mark.parametrize(
    ("one", "other", "wanted"),
    [
        ("abcdef", "abcdeg", 1 / 3),  # abcde of abcde, bcdef, bcdeg
        ("abcdef", "abcdef", 1),
        ("abcdefgh", "xxabcdexx", 1 / 8),
        ("ab", "ab", 1),
        ("ab", "abc", 0),
        ("", "", 1),
    ],
)
def test_similarity_by_hand(one, other, wanted):
    assert similarity(one, other) == similarity(other, one) == pytest.approx(wanted)


@given(st.text("ab c", max_size=30), st.text("ab c", max_size=30))
def test_similarity_is_a_share(one, other):
    assert 0 <= similarity(one, other) <= 1 and similarity(one, one) == 1


def test_what_is_said():
    system = {"role": "system", "content": "Be brief."}
    turns = [system, *asked("Hello,  YOU\n"), {"role": "assistant", "content": "Yes?"}, *asked("Go on")]
    assert spoken(turns) == "hello, you yes? go on"
    assert spoken(turns[1:]) == spoken(turns)


def texts(count: int, seed: int) -> list[str]:
    rng = np.random.default_rng(seed)
    return ["".join(rng.choice(list("abcdefghijklmnop "), 120)) for _ in range(count)]


def test_near_duplicates_are_found_and_no_others():
    plain = texts(60, seed=1)
    changed = [text[:60] + "#" + text[61:] for text in plain[:30]]
    assert all(0.9 < similarity(one, other) < 1 for one, other in zip(plain[:30], changed, strict=True))
    found = nearest(changed, plain, 0.8)
    assert {place: near.place for place, near in found.items()} == {place: place for place in range(30)}
    assert [near.similarity for near in found.values()] == [similarity(changed[i], plain[i]) for i in range(30)]
    assert nearest(changed, plain, 0.99) == {} and nearest(plain[30:], plain[:30], 0.5) == {}


def test_the_most_similar_one_is_named():
    text, *_ = texts(1, seed=2)
    further, nearer = "##" + text[2:60] + "#" + text[61:], "#" + text[1:]
    assert nearest([text], [further, nearer], 0.5) == {0: Near(1, similarity(text, nearer))}


def test_a_text_is_no_near_duplicate_of_itself_but_of_its_like_elsewhere():
    own = texts(5, seed=3)
    assert nearest(own, own, 0.8) == {}
    assert nearest(own, list(reversed(own)), 0.8) == {place: Near(4 - place, 1.0) for place in range(5)}
    both = [own[0], own[0] + "!"]
    assert {place: near.place for place, near in nearest(both, both, 0.8).items()} == {0: 1, 1: 0}
    assert nearest(own, list(reversed(own)), 1.0) == nearest(own, list(reversed(own)), 0.8)
    assert nearest([], own, 0.8) == nearest(own, [], 0.8) == {}


def test_a_prompt_counts_by_what_is_said_in_it():
    [text] = texts(1, seed=4)
    mine = [asked(text.upper()), asked("another thing altogether, and long enough")]
    assert near_any(mine, [[{"role": "system", "content": "x" * 500}, *asked(text + "?")]], 0.8) == {spoken(mine[0])}
