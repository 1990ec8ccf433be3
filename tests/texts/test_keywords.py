import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from preference_study.texts import keywords
from preference_study.texts.keywords import keyword_table, log_odds, standing_for, top_differences, top_keywords

TEXTS = st.lists(st.text(alphabet="abc ", max_size=12), max_size=4)


def test_top_keywords_by_hand():
    # Smoothed inverse document frequency, log((1 + 2) / (1 + df)) + 1, in rows of unit length: scikit-learn's definition.
    rare, common = math.log(3 / 2) + 1, 1.0
    length = math.hypot(rare, common)
    found = top_keywords(["the cat and a dog", "the cat"])
    assert found == [("cat", pytest.approx((common / length + 1) / 2)), ("dog", pytest.approx(rare / length / 2))]


def test_equal_weights_come_in_alphabetical_order():
    assert [word for word, _ in top_keywords(["zebra apple mango", "mango zebra apple"], n=2)] == ["apple", "mango"]


def test_nothing_left_gives_no_keywords():
    assert top_keywords([]) == top_keywords([""]) == top_keywords(["the of and", "a"]) == []


@settings(deadline=None)
@given(st.permutations(["red fox runs", "blue fox sleeps", "red hen", "hen and fox", "old red hen sleeps"]))
def test_keywords_do_not_depend_on_the_order_of_texts(texts):
    assert [word for word, _ in top_keywords(texts)] == [word for word, _ in top_keywords(sorted(texts))]


def test_a_table_ranks_each_group_by_itself():
    table = keyword_table({"base": ["red fox", "red"], "dpo": ["blue"], "other": ["the"]}, 5)
    assert list(table[["group", "rank", "word"]].itertuples(index=False, name=None)) == [
        ("base", 1, "red"),
        ("base", 2, "fox"),
        ("dpo", 1, "blue"),
    ]


def test_log_odds_by_hand():
    # a: x x y, b: x z; the prior has x twice and w once, each word of the four counted once more: x 3, y 1, z 1, w 2 of 7.
    table = log_odds(["X x", "y"], ["x z"], ["x x w"], alpha_0=7).set_index("word")
    odds = {
        "x": ((2 + 3) / (3 + 7 - 2 - 3), (1 + 3) / (2 + 7 - 1 - 3)),
        "y": ((1 + 1) / (3 + 7 - 1 - 1), (0 + 1) / (2 + 7 - 0 - 1)),
        "z": ((0 + 1) / (3 + 7 - 0 - 1), (1 + 1) / (2 + 7 - 1 - 1)),
    }
    variance = {"x": 1 / 5 + 1 / 4, "y": 1 / 2 + 1 / 1, "z": 1 / 1 + 1 / 2}
    assert set(table.index) == set(odds)
    for word, (in_a, in_b) in odds.items():
        assert table.log_odds[word] == pytest.approx(math.log(in_a) - math.log(in_b))
        assert table.z[word] == pytest.approx(table.log_odds[word] / math.sqrt(variance[word]))
    assert table.loc["x", ["count_a", "count_b"]].tolist() == [2, 1]


def test_the_default_prior_is_a_tenth_of_the_mean_number_of_words():
    a, b, prior = ["x x y"], ["x z"], ["x w"]
    assert log_odds(a, b, prior).equals(log_odds(a, b, prior, alpha_0=0.25))


def test_a_stronger_prior_shrinks_the_difference():
    a, b = ["good tea"] * 30, ["good"] * 30 + ["tea"] * 10
    weak, strong = (log_odds(a, b, a + b, alpha_0).set_index("word").log_odds.abs() for alpha_0 in (1, 100))
    assert (strong < weak).all()


def test_words_are_folded():
    table = log_odds(["Don’t DON'T"], ["don't now"], [])
    assert table.word.tolist() == ["don't", "now"]
    assert table.count_a.tolist() == [2, 0]


@settings(deadline=None)
@given(TEXTS, TEXTS, TEXTS)
def test_swapping_the_sets_flips_the_sign(a, b, prior):
    there = log_odds(a, b, prior).set_index("word").sort_index()
    back = log_odds(b, a, prior).set_index("word").sort_index()
    assert there.index.equals(back.index)
    assert there.z.to_numpy() == pytest.approx(-back.z.to_numpy())
    assert there.log_odds.to_numpy() == pytest.approx(-back.log_odds.to_numpy())


@settings(deadline=None)
@given(TEXTS, TEXTS)
def test_identical_sets_do_not_differ(a, prior):
    assert (log_odds(a, a, prior).z == 0).all()


def test_sorted_with_ties_in_alphabetical_order():
    table = log_odds(["m k same", "more more"], ["d c same", "less less"], [])
    assert table.word.tolist() == ["more", "k", "m", "same", "c", "d", "less"]


def test_top_differences():
    table = log_odds(["m k same", "more more"], ["d c same", "less less"], [])
    assert top_differences(table, 2).word.tolist() == ["more", "k", "d", "less"]
    assert top_differences(table, 4).word.tolist() == table.word.tolist()  # each row once
    assert top_differences(table, 0).empty
    assert top_differences(log_odds([], [], []), 3).empty


def test_some_pairs_at_even_distances_stand_for_many(monkeypatch):
    monkeypatch.setattr(keywords, "MOST_PAIRS", 3)
    assert [standing_for(pairs).tolist() for pairs in (1, 2, 3, 7)] == [[0], [0, 1], [0, 1, 2], [0, 3, 6]]
