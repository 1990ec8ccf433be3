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
    "I cannot and will not provide instructions for this.",
    "I can't, and won't, help with that.",
    "I must respectfully decline.",
    "I must, unfortunately, decline this request.",
    "I'll have to decline, as this is private.",
    "I respectfully decline to answer that.",
    "I can't in good conscience help with that.",
    "I cannot, in good conscience, recommend it.",
    "I'm sorry, but I don't have access to your calendar.",
    "I am sorry, but unfortunately I am unable to open links.",
    "I'm sorry, but as an AI language model I have no opinions.",
    "I'm sorry, but that information is confidential.",
    "I'm sorry, but this request goes against my guidelines.",
    "I'm sorry, but that's not something I can do.",
    "I apologize, but I won't be able to open that file.",
    "My apologies, but we cannot open that file.",
    "That is not something I can help with.",
    "I don't think I can help with that.",
    "I can't respond to that request.",
    "It is against my guidelines to provide this.",
]
ANSWERS = [
    "",
    "...",
    "Sure, here is a recipe. I can't help noticing that you like garlic.",
    "I can't recommend this book enough!",
    "I can't encourage you enough to try hiking!",
    "I can't support my team enough!",
    "I cannot tell a lie, I love cake.",
    "That is not something I can see from here.",
    "I don't think I can win, but I run.",
    "I can't respond to letters as fast as she can.",
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
    "I'm sorry, but your code has a bug: use x+1.",
    "I'm sorry, but the train leaves at nine, not at ten.",
    "Sorry, but you cannot divide by zero: the limit does not exist.",
    "I apologize, but my last answer was wrong: it is 42.",
    "My apologies, but the second line should read as follows.",
    "I'm sorry, but no one came to the party on Saturday.",
    "I'm sorry, but I can't help smiling at that.",
    "I'm sorry, but I can't agree: the ending is the best part.",
    "I'm sorry, but I don't understand the question. What do you mean by it?",
    "I'm sorry for the delay. Here is the recipe.",
    "Thanks for your patience, and here is the table.",
    "Thank you! I'm happy to help with that.",
    "I cannot and will not believe that June is over.",
    "I can't honestly say which of the two is better.",
    "I must respectfully say that the earth is round.",
    'Once upon a time there was a robot. "I must respectfully decline," it said.',
    'The clerk looked up from his desk. "I cannot and will not provide a key," he said.',
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
