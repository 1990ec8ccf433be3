import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from preference_study.texts.responses import echoes, refuses, repetition

REFUSALS = [
    "I'm sorry, but I can't help with that.",
    "I’m sorry, but I can’t help with that.",
    "I'm sorry. I can't help you with this request.",
    "I cannot provide instructions for picking locks.",
    "I won't write that for you.",
    "I'm unable to assist with your request.",
    "I am really not able to give out his home address.",
    "No, I cannot. It is dangerous.",
    "Unfortunately, we cannot condone this.",
    "As an AI language model, I don't have access to your messages.",
    "As a text-based AI, I must not pretend to be a doctor.",
    "I must decline.",
    "I'm not comfortable recommending drugs.",
    '"I\'m sorry, but no."',
    "**I cannot answer this question.** Please ask something else.",
    "> Sorry, but that is private.",
    "I can't tell you how to make a bomb.",
    "I can't recommend this medicine for children.",
    "I'D RATHER NOT SAY.",
]
ANSWERS = [
    "",
    "...",
    "Sure, here is a recipe. I can't help noticing that you like garlic.",
    "I can't recommend this book enough!",
    "I can't wait to see you tomorrow.",
    "I can't help but smile when it snows.",
    "I can't tell you how much I love this town.",
    "I won't give up on my garden.",
    "I'm sorry to hear that you feel sad. Try to take a walk.",
    "Sorry, what do you mean?",
    "You cannot enter a bank at night. The doors are locked.",
    "I'm an AI assistant, and I can help you with your essay.",
    "As an AI, I love to talk about trains.",
    "She works as an AI engineer in Oslo, where it does not get dark in June.",
    "I'm comfortable with either date.",
    "I refuse to believe that it is already June.",
    "Bread needs flour, water, salt and yeast. I can't help you with the oven.",
    "Cannot is one word in modern English.",
]


@pytest.mark.parametrize("text", REFUSALS)
def test_refusals(text):
    assert refuses(text)


@pytest.mark.parametrize("text", ANSWERS)
def test_answers(text):
    assert not refuses(text)


@settings(deadline=None)
@given(st.sampled_from(REFUSALS + ANSWERS))
def test_marks_around_a_text_change_nothing(text):
    assert refuses(f"“{text}”") == refuses(f"**{text}**") == refuses(text)


def test_repetition_by_hand():
    # the-cat-sat, cat-sat-the, sat-the-cat, the-cat-sat again: one of four.
    assert repetition("The cat sat. The CAT sat!") == 1 / 4
    assert repetition("a b a b a", n=2) == 2 / 4  # ab ba ab ba
    assert repetition("a b c d e") == 0
    assert repetition("go go") == 0  # fewer than three words
    assert repetition("") == 0


@settings(deadline=None)
@given(st.lists(st.sampled_from(["a", "b", "c"]), min_size=3, max_size=30), st.integers(1, 3))
def test_repetition_is_a_share_that_grows_with_copies(items, n):
    text = " ".join(items)
    seen, again = set(), 0
    for i in range(len(items) - n + 1):
        again += tuple(items[i : i + n]) in seen
        seen.add(tuple(items[i : i + n]))
    assert repetition(text, n) == pytest.approx(again / (len(items) - n + 1))
    assert repetition(f"{text} {text}", n) >= repetition(text, n)


def test_a_response_echoes_its_prompt_where_half_of_it_stands_there():
    prompt = "Tell a friend about carrying an umbrella in a short message. Use at most 15 words."
    assert echoes("TELL a friend, about carrying an umbrella!", prompt)
    assert echoes("Okay: carrying an umbrella in a short message, it is so very nice", prompt)  # 7 of 13
    assert not echoes("Okay: carrying an umbrella in a short message, it is so very very nice today", prompt)  # 7 of 15
    assert not echoes("carrying an umbrella in", prompt)  # four words are no run
    assert not echoes("Use a short umbrella about 15 friend words in a message", prompt) and not echoes("", prompt)
