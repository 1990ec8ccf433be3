import numpy as np
import pandas as pd
import pytest

from preference_study.analysis.baselines import tfidf_margins


def pairs(chosen: list[str], rejected: list[str]) -> pd.DataFrame:
    return pd.DataFrame({"chosen": chosen, "rejected": rejected})


TRAIN = pairs(["yes please", "yes sir", "yes now", "oh yes"], ["no please", "no sir", "no now", "oh no"])


def test_it_learns_what_the_chosen_have_and_the_rejected_have_not():
    margins = tfidf_margins(TRAIN, pairs(["yes", "no", "sir"], ["no", "yes", "sir"]), seed=1)
    assert margins[0] > 0.5 and margins[1] == pytest.approx(-margins[0]) and margins[2] == 0


def test_the_vocabulary_never_sees_validation():
    """A word that only validation has counts nothing, however often; and what else is there changes no margin."""
    val = pairs(["yes zebra", "zebra"], ["no zebra", "lion"])
    alone = tfidf_margins(TRAIN, val[:1], seed=1)
    both = tfidf_margins(TRAIN, pd.concat([val, *[val[1:]] * 9]), seed=1)
    assert both[0] == alone[0] and (both[1:] == 0).all()


def test_a_word_of_one_training_text_counts_nothing():
    train = pd.concat([TRAIN, pairs(["rare word"], ["word"])])
    assert tfidf_margins(train, pairs(["rare"], ["sir"]), seed=1)[0] == tfidf_margins(train, pairs([""], ["sir"]), seed=1)[0]


def test_sides_changed_places_change_the_sign_alone():
    val = pairs(["yes sir", "oh no"], ["no sir", "please"])
    there = tfidf_margins(TRAIN, val, seed=1)
    back = tfidf_margins(TRAIN, val.rename(columns={"chosen": "rejected", "rejected": "chosen"}), seed=1)
    assert np.allclose(there, -back) and (there != 0).any()


def test_two_words_in_order_and_marks_are_features():
    train = pairs(["a b !", "c a b !", "a b d !"], ["b a", "c b a", "b a d"])
    margins = tfidf_margins(train, pairs(["a b", "!"], ["b a", "."]), seed=1)
    assert (margins > 0).all()


def test_a_word_of_two_training_texts_counts():
    train = pd.concat([TRAIN, pairs(["rare word", "rare one"], ["word", "one"])])
    assert tfidf_margins(train, pairs(["rare"], [""]), seed=1)[0] > 0.1


def test_three_words_in_order_are_no_feature():
    """Both texts have the same words and the same neighbours; only threes of words tell them apart."""
    train = pairs(["a b a c a"] * 3, ["a c a b a"] * 3)
    assert tfidf_margins(train, train, seed=1) == pytest.approx([0, 0, 0])


def test_a_repeated_word_weighs_one_plus_the_logarithm_of_its_count():
    """In TRAIN, of 8 texts, "yes" is in 4 and "sir" in 2, on both sides, so that "sir" only makes the vector longer."""
    alone, beside = tfidf_margins(TRAIN, pairs(["yes", "yes" + " sir" * 8], ["", ""]), seed=1)
    yes, sir = 1 + np.log(9 / 5), (1 + np.log(9 / 3)) * (1 + np.log(8))
    assert beside / alone == pytest.approx(yes / np.hypot(yes, sir), rel=1e-3)


def test_without_a_word_in_common_nothing_is_preferred():
    train = pd.DataFrame({"chosen": ["a b"], "rejected": ["c d"]})
    assert tfidf_margins(train, pd.DataFrame({"chosen": ["a", "b"], "rejected": ["c", "d"]}), 1).tolist() == [0.0, 0.0]
