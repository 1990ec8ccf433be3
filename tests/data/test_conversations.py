import numpy as np
import pytest

from preference_study.data.conversations import flatten, split_last


def turn(role: str, content: object) -> dict:
    return {"role": role, "content": content}


@pytest.mark.parametrize("kind", [list, tuple, lambda turns: np.array(turns, dtype=object)])
def test_a_conversation_as_a_list_or_an_array_of_messages(kind):
    assert flatten(kind([turn("user", "q")])) == "q"
    several = kind([turn("user", "q"), turn("assistant", "a"), turn("system", "s"), turn("user", "r")])
    assert flatten(several) == "Human: q\n\nAssistant: a\n\nSystem: s\n\nHuman: r"


@pytest.mark.parametrize("broken", [[], ["q"], [turn("user", None)], [turn("user", "q"), {"role": "user"}], [turn("user", 3)]])
def test_messages_without_texts_are_none(broken):
    assert flatten(broken) is None


def test_what_is_no_conversation_stays():
    assert flatten("text") == "text" and flatten(None) is None and flatten(7) == 7


def test_the_last_answer_is_split_off():
    one = "\n\nHuman: q\n\nAssistant: a "
    assert split_last(one) == ("q", "a")  # a single question stands bare
    two = "\n\nHuman: q\n\nAssistant: a\n\nHuman: r\n\nAssistant: b"
    assert split_last(two) == ("Human: q\n\nAssistant: a\n\nHuman: r", "b")
    assert split_last("\n\nHuman: q\n\nHuman: r\n\nAssistant: b") == ("Human: q\n\nHuman: r", "b")
    assert split_last("Human: q\n\nAssistant: b") == ("Human: q", "b")  # without the mark at the start it is kept as it stands
    assert split_last("no transcript") == split_last(3) == split_last([turn("user", "q")]) == (None, None)
    assert split_last([turn("user", "q"), turn("assistant", "a")]) == ("q", "a")
    assert split_last((turn("user", "q"), turn("assistant", "a"), turn("user", "r"), turn("assistant", "b"))) == (
        "Human: q\n\nAssistant: a\n\nHuman: r",
        "b",
    )
