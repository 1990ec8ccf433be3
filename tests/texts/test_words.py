import pytest
from hypothesis import given
from hypothesis import strategies as st

from preference_study.texts.keywords import top_keywords
from preference_study.texts.responses import repetition
from preference_study.texts.words import words


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("Don't stop, it’s fine!", ["Don't", "stop", "it’s", "fine"]),
        ("3.14 and 1,000 in the U.S.A.", ["3.14", "and", "1,000", "in", "the", "U.S.A"]),
        ("A well-known snake_case: **bold** -- 'quoted'", ["A", "well", "known", "snake_case", "bold", "quoted"]),
        ("你好，世界。", ["你", "好", "世", "界"]),
        ("カタカナ です", ["カタカナ", "で", "す"]),
        ("สวัสดี", ["ส", "วั", "ส", "ดี"]),
        ("مرحبا بالعالم", ["مرحبا", "بالعالم"]),
        ("नमस्ते दुनिया", ["नमस्ते", "दुनिया"]),
        ("안녕하세요 세계", ["안녕하세요", "세계"]),
        (" ... — 🙂 ", []),
        ("", []),
    ],
)
def test_words_are_those_of_unicode(text, wanted):
    assert words(text) == wanted


@given(st.text())
def test_words_are_parts_of_the_text_in_order(text):
    place = 0
    for word in words(text):
        place = text.index(word, place) + len(word)
    assert all(any(map(str.isalnum, word)) for word in words(text))
    assert len(words(f"{text} and more")) == len(words(text)) + 2


def test_a_chinese_text_repeats_itself_by_its_characters():
    assert repetition("我喜欢苹果" * 4) > 0.6 and repetition("我喜欢苹果，她不喜欢梨。") == 0


def test_keywords_of_scripts_without_spaces_are_not_clauses():
    found = [word for word, _ in top_keywords(["我爱苹果，她爱苹果。", "苹果很好吃"])]
    assert found[:2] == ["果", "苹"] and all(len(word) == 1 for word in found)
    assert [word for word, _ in top_keywords(["I don't know the café's owner"])] == ["café", "don", "know", "owner"]
    assert [word for word, _ in top_keywords(["नमस्ते दुनिया"])] == ["दुनिया", "नमस्ते"]
