"""What is wrong with preference data before anything is trained."""

from itertools import permutations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import logit

import preference_study.analysis.data as data
from preference_study.analysis.statistics import share
from tests.conftest import asked

LONG = "Tell me how long a piece of string is, and how one would go about measuring it at home"


def table(rows: list[tuple]) -> pd.DataFrame:
    """Pairs of (prompt, chosen, rejected), with ids a, b, ... and a cluster a prompt."""
    pairs = pd.DataFrame(rows, columns=["prompt", "chosen", "rejected"])
    return pairs.assign(prompt=pairs["prompt"].map(asked), cluster=pairs["prompt"], id=[chr(97 + n) for n in range(len(rows))])


def test_repeated_prompts_by_hand():
    train = table([(LONG, "x", "y"), (LONG, "x", "z"), (f"{LONG}?", "x", "y"), ("Something else is asked here", "x", "y")])
    val = table([("What is this?", "x", "y"), (LONG.upper() + "!!", "x", "y"), ("Something else is asked there", "x", "y")])
    found = data.repeated_prompts(train, val, 0.9)
    assert found["train"] == {"prompts": 3, "near_duplicates": 2}
    assert found["val"] == {"prompts": 3, "near_duplicates": 0}
    [near] = found["across"].pop("nearest")
    assert found["across"] == {"prompts": 3, "near_duplicates": 1}
    shingles = len({LONG.lower()[place : place + 5] for place in range(len(LONG) - 4)})
    assert near == {"val_id": "b", "train_id": "a", "similarity": pytest.approx(shingles / (shingles + 2))}


def test_the_nearest_come_first():
    val = table([(f"{LONG} and in the garden", "x", "y"), (f"{LONG}!", "x", "y")])
    found = data.repeated_prompts(table([(LONG, "x", "y")]), val, 0.7)["across"]["nearest"]
    assert [near["val_id"] for near in found] == ["b", "a"]


def test_contradictions_by_hand():
    pairs = table([
        ("p", "one", "two"), ("p", "two", "one"),  # opposite
        ("p", "two", "three"),  # in no circle
        ("q", "one", "two"), ("q", "two", "three"), ("q", "three", "one"),  # a circle of three
        ("q", "one", "four"),
        ("r", "two", "one"),  # another prompt
        ("s", "a", "b"), ("s", "b", "c"), ("s", "a", "c"),  # an order
    ])  # fmt: skip
    found = data.contradictions(pairs)
    assert list(pairs["id"][found["opposite"]]) == ["a", "b"]
    assert list(pairs["id"][found["cycle"]]) == ["d", "e", "f"]


def test_a_pair_and_its_opposite_make_no_circle_by_themselves():
    pairs = table([
        ("p", "one", "two"), ("p", "two", "one"), ("p", "two", "three"), ("p", "three", "two"),  # no way round
        ("q", "one", "two"), ("q", "two", "one"),
        ("q", "two", "three"), ("q", "three", "one"),  # one, two, three, one; from one to two leads nothing but their edge
        ("r", "one", "two"), ("r", "two", "one"), ("r", "two", "three"), ("r", "three", "two"),
        ("r", "three", "one"), ("r", "one", "three"),  # both ways round
        ("s", "hub", "one"), ("s", "one", "hub"), ("s", "hub", "two"), ("s", "two", "hub"),
        ("s", "hub", "three"), ("s", "three", "hub"), ("s", "two", "four"), ("s", "four", "three"), ("s", "three", "two"),
    ])  # fmt: skip
    found = data.contradictions(pairs)
    # In s: two, four, three, two; hub, two, four, three, hub; hub, three, two, hub.
    assert "".join(pairs["id"][found["cycle"]]) == "eghijklmnqrstuvw"
    assert "".join(pairs["id"][found["opposite"]]) == "abcdefijklmnopqrst"


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)).filter(lambda pair: pair[0] != pair[1]), min_size=1, max_size=12))
def test_a_pair_is_in_a_circle_where_listing_all_circles_finds_it(pairs):
    circles = [ring for size in (3, 4, 5) for ring in permutations(range(5), size)]
    sides = [list(zip(ring, ring[1:] + ring[:1], strict=True)) for ring in circles]
    wanted = {edge for ring in sides if set(ring) <= set(pairs) for edge in ring}
    found = data.contradictions(table([("p", f"r{better}", f"r{worse}") for better, worse in pairs]))
    assert found["cycle"].tolist() == [pair in wanted for pair in pairs]


def test_responses_that_both_splits_have():
    train, val = (
        table([("p", "one", "two"), ("q", "three", "one")]),
        table([("r", "two", "five"), ("s", "six", "two"), ("s", "one", "5")]),
    )
    assert data.shared_responses(train, val) == {"responses": 5, "shared": 2}
    assert data.shared_responses(val, train) == {"responses": 3, "shared": 2}


def test_no_model_sees_a_prompt_that_it_is_asked_about(monkeypatch):
    pairs = table([(f"prompt {n % 7}", f"good {n}", f"bad {n}") for n in range(21)])

    def margins(fitted, held_out, seed):
        assert not set(fitted["cluster"]) & set(held_out["cluster"]) and len(fitted) + len(held_out) == 21 and seed == 5
        return np.array([float(text.split()[1]) for text in held_out["chosen"]])

    monkeypatch.setattr(data, "tfidf_margins", margins)
    assert list(data.cross_fitted_margins(pairs, 5)) == list(range(21))
    assert data.cross_fitted_margins(pairs[pairs["cluster"] == "prompt 1"], 5) is None


def test_doubt_by_hand():
    """The mean of .9, .8, .6, .4, .2 is .58: of the last two the other label is as sure as .6 and .8."""
    sure = np.array([0.9, 0.8, 0.6, 0.4, 0.2])
    assert list(data.doubted(logit(sure))) == [False, False, False, True, True]
    assert list(data.doubted(logit(np.array([0.9, 0.8, 0.7, 0.4])))) == [False] * 4  # the mean is .7, and .6 is below it
    assert not data.doubted(np.zeros(3)).any()


def test_labels_that_are_wrong_are_doubted():
    rng = np.random.default_rng(0)
    rows = [(f"prompt {n}", f"please and thanks {n}", f"never or nothing {n}") for n in range(120)]
    wrong = rng.permutation(120)[:12]
    for place in wrong:
        prompt, chosen, rejected = rows[place]
        rows[place] = (prompt, rejected, chosen)
    pairs = pd.DataFrame(rows, columns=["prompt", "chosen", "rejected"]).assign(cluster=range(120), id=range(120))
    margins = data.cross_fitted_margins(pairs, 1)
    assert set(np.flatnonzero(data.doubted(margins))) == set(wrong)
    found = data.labels(margins, pairs["cluster"])
    assert found["doubted"] == share([1.0] * 12 + [0.0] * 108) and found["words_accuracy"]["value"] == 0.9
    by_prompt = data.labels(margins, pairs["cluster"] // 4)
    assert by_prompt["doubted"]["clusters"] == by_prompt["words_accuracy"]["clusters"] == 30
