"""Answers side by side: what is shown of them, and what of a model's text is not."""

import pytest

from preference_study.models.generation import Response
from preference_study.talk import beside, foot, main, printable, typed


def test_side_by_side():
    text = beside([("base", "one two three four five six seven eight", "reward 1.00"), ("DPO", "a\n\nb", "reward 2.00")], 63)
    assert text.splitlines() == [
        "base                           | DPO",
        "------------------------------ | ------------------------------",
        "one two three four five six    | a",
        "seven eight                    |",
        "                               | b",
        "                               |",
        "reward 1.00                    | reward 2.00",
    ]


def test_one_under_the_other_where_there_is_no_room():
    text = beside([("base", "one two", "reward 1"), ("DPO", "a", "reward 2")], 40)
    assert text == "base\none two\nreward 1\n\nDPO\na\nreward 2"


@pytest.mark.parametrize("width", [40, 90])
def test_what_a_terminal_would_take_for_commands_is_not_shown(width):
    text = "red \x1b[31m and \x07 bell, \u202e turned, \r back\tand on"
    shown = beside([("base", text, "f"), ("DPO", text, "f")], width)
    assert not set("\x1b\x07\u202e\r\t") & set(shown) and "bell" in shown
    assert printable("a\tb\nc é 你 🙂") == "a b\nc é 你 🙂"


def test_lines_are_prompts_until_an_empty_one_of_a_person():
    lines = ["Hi there \n", "\n", "  \n", "And?"]
    assert list(typed(lines, asked=False)) == ["Hi there", "And?"]
    assert list(typed(lines, asked=True)) == ["Hi there"]


def test_what_stands_beneath():
    answer = Response("t", 7, True, False, [], [])
    assert foot(answer, -1.005) == "reward -1.01, 7 tokens"
    assert foot(Response("t", 8, False, False, [], []), 2.0) == "reward 2.00, 8 tokens, cut off"


@pytest.mark.parametrize("temperature", ["-0.1", "nan", "inf"])
def test_a_temperature_that_is_none_is_refused(temperature, capsys):
    with pytest.raises(SystemExit):
        main(["dpo", "--temperature", temperature])
    assert "--temperature is a number of at least 0" in capsys.readouterr().err
