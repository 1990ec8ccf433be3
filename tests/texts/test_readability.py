import numpy as np
import pytest
import textstat
from hypothesis import given, settings
from hypothesis import strategies as st

from preference_study.texts.readability import REASONS, lines_of_prose, reading_grades

PROSE = [
    "The cat sat on the mat. It was happy.",
    "Photosynthesis converts light into chemical energy, which plants store. Don't forget that it needs carbon dioxide!",
    "Is the well-known theory right? Nobody knows; the committee's investigation (begun in 1998) goes on. Wait and see.",
    "Dr. Smith arrived at 3.15 p.m. and said no. He left again an hour later without an explanation.",
    "Zyxtrolium is what the old miners called the grey stone that they used to find under the river.",
]
WORDS = ["the", "river", "runs", "slowly", "because", "nobody's", "mountains", "are", "well-known", "beautiful", "I"]


def grade(text: str) -> float:
    return reading_grades([text])[0][0]


def reason(text: str) -> str | None:
    grades, left_out = reading_grades([text])
    found = [name for name, count in left_out.items() if count]
    assert np.isnan(grades[0]) == bool(found)
    return found[0] if found else None


def test_by_hand():
    # 9 words in 2 sentences; the-cat-sat-on-the-mat has 6 syllables, it-was-hap-py 4.
    assert grade("The cat sat on the mat. It was happy.") == pytest.approx(0.39 * 9 / 2 + 11.8 * 10 / 9 - 15.59)


@pytest.mark.parametrize("text", PROSE)
def test_prose_has_textstats_grade(text):
    assert grade(text) == textstat.flesch_kincaid_grade(text)


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.lists(st.sampled_from(WORDS), min_size=3, max_size=12), st.sampled_from(".!?")), min_size=1, max_size=6)
)
def test_made_up_prose_has_textstats_grade(sentences):
    text = " ".join([PROSE[0], *(" ".join(words) + mark for words, mark in sentences)])
    assert grade(text) == textstat.flesch_kincaid_grade(text)


def test_paragraphs_add_up():
    assert grade(f"{PROSE[1]}\n\n{PROSE[2]}") == pytest.approx(textstat.flesch_kincaid_grade(f"{PROSE[1]} {PROSE[2]}"))


def test_a_list_is_not_one_sentence():
    items = ["put on your old shoes", "take the long way home", "feed the dog and cat", "call your friend at noon"]
    sentences = " ".join(f"{item}." for item in items)
    for style in ("- {}", "* {}", "• {}", "{i}. {}", "({i}) {}", "  + **{}**", "> {}", "### {}", "{}"):
        text = "\n".join(style.format(item, i=i + 1) for i, item in enumerate(items))
        assert grade(text) == textstat.flesch_kincaid_grade(sentences), style
    assert grade("These are good ideas for today:\n" + "\n".join(f"- {item}" for item in items)) < 5


def test_items_of_one_word_are_lines():
    assert grade("You will need these things:\n\n" + "\n".join(["- flour", "- milk", "- eggs", "- salt"] * 5)) < 5


def test_marks_and_code_are_taken_out():
    text = (
        "# Title\n\n1. **Use** _it_ – don’t wait.\n---\n2. See [the page](https://a.org/b) or https://c.org/d.\n"
        "```py\nx = 1\n```\nThen run `make all`.\n3.\n```\nnever closed"
    )
    lines = [" ".join(line.split()) for line in lines_of_prose(text)]
    assert lines == ["Title", "Use it don't wait.", "See the page or .", "Then run ."]


def test_code_does_not_change_the_grade():
    code = "```python\nfor i in range(3):\n    print(i)\n```"
    assert grade(f"{PROSE[1]}\n{code}") == grade(PROSE[1])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "empty"),
        (" \n\t", "empty"),
        ("... 👍 !!!", "empty"),
        ("No.", "too short"),
        ("Yes, of course.", "too short"),
        ("Yes, that is fine.", "too short"),
        ("Yes, that is fine now.", None),
        ("Try this:\n```python\nfor i in range(10):\n    print(i)\n```", "code"),
        ("```\nThe answer is cut before the fence is closed", "code"),
        ("import numpy as np\ndef add(a, b):\n    return a + b\nprint(add(1, 2))", "code"),
        ("<html><body><p>Hello dear world, this is me</p></body></html>", "code"),
        ("| fruit | price |\n|---|---|\n| apple | three |\n| pear | four |", "code"),
        ("Write to [your name] (or to her) when the parcel has come to you.", None),
        ("Para preparar una buena tortilla de patatas necesitas huevos, patatas, cebolla y aceite de oliva.", "not English"),
        ("Je suis désolé, mais je ne peux pas vous aider. Il est important de respecter la loi.", "not English"),
        ("Um gut zu schlafen, sollte man jeden Abend zur gleichen Zeit ins Bett gehen.", "not English"),
        ("Untuk tidur nyenyak, sebaiknya pergi ke tempat tidur pada waktu yang sama setiap malam.", "not English"),
        ("你好世界，今天天气很好，我们去公园玩吧。", "not English"),
        ("Sure, here is the translation: 我想去看一下那个很大的城市", "not English"),
        ("Привет, как дела сегодня, мой друг?", "not English"),
        ("Call it a café or a naïve façade, the word 猫 means cat and nothing else.", None),
    ],
)
def test_what_is_left_out(text, expected):
    assert reason(text) == expected


def test_order_and_counts():
    texts = ["No.", PROSE[0], "", PROSE[1], PROSE[0], "No.", "Oui."]
    grades, left_out = reading_grades(texts)
    assert np.isnan(grades).tolist() == [True, False, True, False, False, True, True]
    assert grades[1] == grades[4] == grade(PROSE[0]) and grades[3] == grade(PROSE[1])
    assert left_out == {"empty": 1, "code": 0, "not English": 0, "too short": 3} and tuple(left_out) == REASONS
    assert reading_grades([])[0].shape == (0,)


@settings(deadline=None)
@given(st.text(max_size=80))
def test_any_text_has_a_grade_or_a_reason(text):
    grades, left_out = reading_grades([text])
    assert np.isnan(grades[0]) == (sum(left_out.values()) == 1)
    assert np.isnan(grades[0]) or np.isfinite(grades[0])
