import random

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from preference_study.texts.gold import (
    about,
    breaks_off,
    copies,
    flaw,
    folded,
    in_a_row,
    loops,
    request_and_topic,
    says_nothing,
    stammers,
    stem,
    with_truth,
)
from preference_study.texts.instructions import INSTRUCTIONS, REQUESTS, obeys
from preference_study.texts.perturbations import PERTURBATIONS

SAY, TIP, TELL, WHY = REQUESTS


def prompt(kind: str, request: str = SAY, topic: str = "drinking tea") -> str:
    return f"{request.format(topic=topic)} {INSTRUCTIONS[kind].text}"


LONG = (
    "Drinking tea is a quiet way to begin a morning, and it keeps me awake without making my hands shake. I like to sit by "
    "the window with a warm cup while everybody else is still asleep."
)
OTHERS = "they get up much later than most people in our street do, which gives me a whole quiet hour for myself and for a book"
# Eleven words in orders in which few runs of three come again.
FEW_WORDS = (
    "I like tea and you drink milk or it is warm. Tea is milk or you like it and I drink warm. "
    "You and I like warm tea or drink milk, it is tea and milk."
)
# kind: (request, answers that a person would take)
HONEST = {
    "one_sentence": [(WHY, "People like tea for its warmth and its taste."), (SAY, "Tea is best when it is hot!")],
    "two_sentences": [(SAY, "Tea is warm. I drink it every day."), (WHY, "It calms them down. It also tastes good.")],
    "at_most_15_words": [(TIP, "Let your tea cool before you drink it."), (WHY, "It is warm and it calms them.")],
    "at_least_30_words": [(SAY, LONG), (TELL, f'"{LONG}"')],
    "bulleted_list": [
        (TIP, "* Warm the pot first.\n* Use fresh water.\n* Drink the tea while it is hot."),
        (WHY, "- To wake up slowly\n- To warm cold hands\n- For the taste"),
    ],
    "numbered_list": [
        (TIP, "Here is how to make tea:\n1. Boil the water.\n2. Wait for three minutes."),
        (WHY, "1) It is warm.\n2) It tastes good.\n3) It calms them."),
    ],
    "without_the": [(SAY, "Tea is a warm drink for cold days."), (TELL, "I drink tea in my garden every morning.")],
    "without_commas": [(SAY, "Tea is warm and calming."), (TIP, "Drink your tea slowly and sit down while you do it.")],
    "with_because": [
        (WHY, "Because it keeps them warm in winter."),
        (SAY, "I drink tea because it keeps me awake."),
        (SAY, "Because it keeps me awake, I drink tea."),
    ],
    "with_example": [
        (SAY, "There are many kinds of tea, for example green tea from Japan."),
        (TIP, "Try a new kind of tea. For example, you could drink one from India."),
    ],
    "with_you": [(TIP, "You should drink tea slowly."), (TELL, "Tea would do you good."), (SAY, "Have you tried tea with milk?")],
    "with_digits": [(TIP, "Let your tea stand for 3 minutes."), (SAY, "I drink 2,500 cups of tea a year.")],
    "with_colour": [(SAY, "I like green tea best."), (TELL, "My tea has turned brown and bitter.")],
    "with_weekday": [(TELL, "Come over for tea on Sunday."), (SAY, "Tea on a Monday morning keeps me awake.")],
    "in_quotes": [(TELL, '"I drink tea every day."'), (SAY, "“Tea is 'liquid wisdom' to my aunt.”")],
    "starts_with_i": [(TELL, "I drink tea every morning."), (SAY, '"I cannot do without tea."')],
    "ends_with_question": [
        (SAY, "Tea keeps me awake. What do you drink?"),
        (TELL, "I have found a new tea. Would you like some?"),
        (TELL, "I drink tea now. When we meet, shall we have some?"),
    ],
    "ends_with_exclamation": [(TELL, "Tea is the best drink there is!"), (SAY, "I love tea. I really do!!")],
}
# kind: (request, answer that obeys to the letter and is no answer, why)
CHEATS = {
    "one_sentence": [
        (SAY, "Answer in one sentence.", "copies the prompt"),
        (SAY, "1. Tea is warm.", "a list, no sentence"),
        (SAY, "Tea.", "says nothing"),
        (SAY, "Tea tea tea tea tea.", "loops"),
        (SAY, "Tea is warm and " + "nice and warm and good and " * 3 + "hot.", "loops"),
        (SAY, f"{LONG[:-1].replace('. I', ' and I')} and {OTHERS}.", "no whole sentence"),
    ],
    "two_sentences": [
        (SAY, "Tea is warm. Tea is warm.", "loops"),
        (SAY, "Answer in exactly two sentences. Tea is warm.", "copies the prompt"),
        (SAY, "Here is something about tea:\nTea is warm.", "no whole sentence"),
        (SAY, "Tea is warm to drink. Yes!", "no whole sentence"),
    ],
    "at_most_15_words": [
        (SAY, "Tea!", "says nothing"),
        (SAY, "Use at most 15 words.", "copies the prompt"),
        (SAY, "Say something short about drinking tea.", "copies the prompt"),
        (SAY, "I have used fewer than fifteen words on tea.", "talks about the instruction"),
        (SAY, "I am glad to help.", "not about the topic"),
    ],
    "at_least_30_words": [
        (SAY, "tea " * 40, "loops"),
        (SAY, "I like to drink tea. " * 8, "loops"),
        (SAY, f"{LONG} {LONG}", "loops"),
        (SAY, " ".join(f"{a} {b}" for a in ("warm", "cold", "old", "new") for b in ("tea", "cup", "pot", "mug")) * 2, "loops"),
        (
            SAY,
            "tea cup spoon kettle water leaf garden mountain rain cloud river stone bridge road wagon horse farmer field harvest "
            "barn door window chair table lamp book page letter stamp post van driver.",
            "no prose",
        ),
        (SAY, FEW_WORDS, "too few different words"),
        (SAY, LONG.rsplit(" ", 2)[0], "breaks off"),
    ],
    "bulleted_list": [
        (SAY, "* Tea is warm\n* Tea is warm\n* Tea is warm", "loops"),
        (SAY, "* A cup of warm tea please\n* A warm cup of tea please", "items that are the same"),
        (SAY, "* 1\n* 2\nSo much about tea.", "an item without words"),
        (SAY, "Here is a bulleted list about tea:\n* Warm\n* Good", "talks about the instruction"),
        (SAY, f"{LONG}\n* Warm\n* Good", "most of it is no list"),
    ],
    "numbered_list": [
        (SAY, '1. "Buy some tea"\n2. "Buy some tea"', "loops"),
        (SAY, "1. Tea is warm.\n1. Milk is cold.", "numbers that do not count up from 1"),
        (SAY, "1. Drink some tea: 1\n2. 1. Drink some tea: 2", "loops"),
        (SAY, "1. 1\n2. 2\nTea is warm and good to drink.", "an item without words"),
        (SAY, "1. Answer as a numbered list.\n2. Tea is warm.", "copies the prompt"),
    ],
    "without_the": [
        (SAY, "Tea. Tea. Tea.", "loops"),
        (SAY, "Say something short about drinking tea.", "copies the prompt"),
        (SAY, "Nothing is easier than writing without it.", "not about the topic"),
        (SAY, "Tea, tea!", "loops"),
    ],
    "without_commas": [
        (SAY, "Do not use commas.", "copies the prompt"),
        (SAY, "I can talk of tea without a single comma", "talks about the instruction"),
        (SAY, "There are no commas in what I say of tea.", "talks about the instruction"),
        (SAY, "Tea is warm; tea is good and it is cheap too.", "a comma of another script"),
        (SAY, "I am sorry for your loss.", "not about the topic"),
    ],
    "with_because": [
        (SAY, "because because because", "loops"),
        (SAY, "Tea is warm because.", "no clause after because"),
        (SAY, "Tea is warm. Because it is hot and wet.", "no clause before because"),
        (SAY, 'Use the word "because" when you drink tea.', "copies the prompt"),
        (SAY, 'My tea is fine with "because" in a long sentence.', "talks about the instruction"),
        (WHY, "Because it.", "says nothing"),
    ],
    "with_example": [
        (SAY, "For example, for example, for example.", "loops"),
        (SAY, "For example tea.", "no example of something said before"),
        (SAY, "I like tea, for example.", "no example of something said before"),
        (SAY, 'Tea is nice and "for example" is nice to say.', "talks about the instruction"),
    ],
    "with_you": [
        (SAY, "you you you you tea", "loops"),
        (SAY, "Tea is warm. You.", "you addresses nobody"),
        (SAY, "Tea is warm. Thank you!", "you addresses nobody"),
        (SAY, 'I shall say "you" while drinking tea.', "talks about the instruction"),
        (SAY, "I will address you as a reader of tea leaves.", "talks about the instruction"),
        (SAY, "Here is a rephrased version: do you like tea?", "talks about the instruction"),
    ],
    "with_digits": [
        (SAY, "Tea is warm and good. 7.", "no number in a phrase"),
        (SAY, "1. Tea is warm.", "no number in a phrase"),
        (SAY, "Tea is warm 12345678901 times.", "no number in a phrase"),
        (SAY, "1 2 3 4 5 6 7 tea", "says nothing"),
        (SAY, "Tea with a number written in digits: 5.", "talks about the instruction"),
    ],
    "with_colour": [
        (SAY, "Red. Tea is warm and good.", "no colour in a sentence"),
        (SAY, "Tea: red, blue, green, yellow.", "no colour in a sentence"),
        (SAY, "I mention a colour with my tea: red.", "copies the prompt"),
        (SAY, "The sky is blue.", "not about the topic"),
        (f"{TIP.format(topic='drinking orange juice')}", "Orange juice is good in the morning.", "no colour in a sentence"),
    ],
    "with_weekday": [
        (SAY, "The day of the week is Sunday.", "talks about the instruction"),
        (SAY, "Monday. Tea is warm and good.", "no day in a sentence"),
        (SAY, "Tea: Monday, Tuesday, Friday, Sunday.", "no day in a sentence"),
        (SAY, "It is Monday today.", "not about the topic"),
    ],
    "in_quotes": [
        (SAY, '"Tea."', "says nothing"),
        (SAY, '"Drink tea" is what they say: "It is warm."', "quotes within the answer, not around it"),
        (SAY, '"Put your whole answer in double quotes."', "copies the prompt"),
        (SAY, '"Tea tea tea"', "loops"),
    ],
    "starts_with_i": [
        (SAY, "I. Tea is warm and good.", "I is not who speaks"),
        (SAY, "I: tea is warm and good.", "I is not who speaks"),
        (SAY, "I I I drink tea.", "loops"),
        (SAY, "I am always glad to help.", "not about the topic"),
    ],
    "ends_with_question": [
        (SAY, "Tea is warm and good.?", "its end asks nothing"),
        (SAY, "Tea is warm. Tea is cheap?", "its end asks nothing"),
        (SAY, "Do you like tea?", "nothing said before the question"),
        (SAY, "Say something short about drinking tea?", "copies the prompt"),
        (SAY, "Tea? Tea? Tea?", "loops"),
    ],
    "ends_with_exclamation": [
        (SAY, "Drinking tea!", "says nothing"),
        (SAY, "Tea is warm and good. Tea!", "its end is no sentence"),
        (SAY, "Tea is warm and good!!!!!!", "too many exclamation marks"),
        (SAY, "Tea with an exclamation mark!", "talks about the instruction"),
    ],
}


def test_every_kind_has_honest_answers_and_at_least_three_cheats():
    assert set(HONEST) == set(CHEATS) == set(INSTRUCTIONS)
    assert all(len(found) >= 2 for found in HONEST.values()) and all(len(found) >= 3 for found in CHEATS.values())


@pytest.mark.parametrize("kind", HONEST)
def test_honest_answers_are_gold(kind):
    assert {text: flaw(kind, text, prompt(kind, request), True) for request, text in HONEST[kind]} == {
        text: None for _, text in HONEST[kind]
    }


@pytest.mark.parametrize("kind", CHEATS)
def test_cheats_obey_and_are_no_answer(kind):
    assert [text for _, text, _ in CHEATS[kind] if not obeys(kind, text)] == []
    assert {text: flaw(kind, text, prompt(kind, request), True) for request, text, _ in CHEATS[kind]} == {
        text: why for _, text, why in CHEATS[kind]
    }


@pytest.mark.parametrize("kind", HONEST)
def test_an_honest_answer_is_spoilt(kind):
    """Cut off, said twice, or after the prompt, it is gold no more; nor is one to another question."""
    for request, text in HONEST[kind]:
        asked = prompt(kind, request)
        assert flaw(kind, text, asked, False) == "cut off"
        assert flaw(kind, f"{text}\n{text}", asked, True) is not None
        assert flaw(kind, f"{asked}\n{text}", asked, True) is not None
        if request != WHY:
            assert flaw(kind, text, prompt(kind, request, "flying a kite"), True) == "not about the topic"


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("one_sentence", "I'm sorry, but I can't help with drinking tea."),
        ("starts_with_i", "I cannot help you with drinking tea."),
        ("without_commas", "I cannot help with drinking tea."),
        ("with_because", "I can't help with drinking tea because I am only a language model."),
        ("ends_with_question", "I cannot help with drinking tea. Would you like something else?"),
    ],
)
def test_a_refusal_is_never_gold(kind, text):
    assert obeys(kind, text) and flaw(kind, text, prompt(kind), True) == "refuses"


def test_what_breaks_the_letter_says_so():
    assert flaw("with_because", "Tea is warm.", prompt("with_because"), True) == "does not obey"
    with pytest.raises(KeyError):
        flaw("be_kind", "Tea is warm.", "Say something.", True)


@given(st.text(), st.booleans(), st.sampled_from(list(INSTRUCTIONS)), st.sampled_from(REQUESTS))
def test_gold_is_never_without_the_letter(text, finished, kind, request):
    why = flaw(kind, text, prompt(kind, request), finished)
    assert (why == "does not obey") == (not obeys(kind, text))
    assert finished or why in ("does not obey", "cut off")


@given(st.sampled_from([(k, r, t) for k, found in HONEST.items() for r, t in found]), st.integers(3, 30))
def test_the_instruction_again_and_again_is_never_gold(honest, times):
    kind, request, text = honest
    spoilt = f"{text} " + f"{INSTRUCTIONS[kind].text} " * times
    assert flaw(kind, spoilt, prompt(kind, request), True) is not None


@given(st.lists(st.sampled_from(["tea", "is", "warm", "and", "I", "drink", "it"]), min_size=3, max_size=8), st.integers(3, 9))
def test_a_phrase_said_over_and_over_loops(phrase, times):
    assert loops(" ".join(phrase * times))


@given(st.lists(st.sampled_from(range(400)), unique=True, min_size=3, max_size=60))
def test_words_that_all_differ_do_not_loop(numbers):
    assert not loops(" ".join(f"w{number}x" for number in numbers))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Tea is tea tea.", False),
        ("It grows day by day by the sea.", False),
        ("No, no, no, no tea.", True),
        ("Tea is warm. I like it. Tea is warm.", True),
        ("* Tea is warm\n* TEA IS WARM", True),
        ("green tea green tea green tea", True),
        ("I like green tea and I like green tea and milk.", True),
        ("Take a nap: take a nap and rest.", False),
        ("plants: plants: plants", True),
        ("妈妈喜欢在公园散步。慢慢来，先把水烧开，再放面条。", False),
        ("いい天気ですね。ここに座ってください。", False),
        ("ธรรมชาติเป็นสิ่งสวยงาม", False),
        ("Nous nous sommes promenés dans le parc.", False),
        ("Вот-вот начнется дождь.", False),
        ("我们喝茶。我们喝茶。", True),
        ("我喜欢喝茶，你喜欢喝茶吗？", False),
        ("Nous aimons le thé, nous aimons le thé.", True),
        ("", False),
    ],
)
def test_loops(text, found):
    assert loops(text) == found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Tea is very very warm, bye bye!", False),
        ("House plants: plants are green and they grow - grow quickly.", False),
        ("Ok. Ok.", False),
        ("Ok ok.", True),
        ("Tea is warm, warm and good.", True),
        ("", False),
    ],
)
def test_a_word_twice_in_a_row_is_no_gold(text, found):
    assert stammers(text) == found
    whole = f"I like tea because it is warm and good for us. {text}".strip()
    assert flaw("with_because", whole, prompt("with_because", "Say something short about tea."), True) == (
        "loops" if found else None
    )


def test_a_phrase_of_three_words_twice_in_a_row_loops_in_a_long_sentence():
    many = " ".join("abcdefghijklmnopqrstuvwxyz"[i] * 3 for i in range(26))
    assert not loops(f"{many}.") and loops(f"{many} warm green tea warm green tea.")


@given(st.lists(st.integers(0, 2), max_size=12), st.integers(1, 4), st.integers(2, 3))
def test_in_a_row_is_what_slices_say(found, n, times):
    runs = (found[i : i + n * times] for i in range(len(found) - n * times + 1))
    assert in_a_row(np.array(found, dtype=int), n, times) == any(run == run[:n] * times for run in runs)


def test_the_topic_is_found_in_the_prompt():
    for request in REQUESTS:
        assert request_and_topic("with_you", prompt("with_you", request))[1] == "drinking tea"
    assert request_and_topic("with_you", 'What is tea? Address the reader as "you".') == ("What is tea?",) * 2


def test_a_prompt_of_ones_own_is_copied_where_it_is_said_back():
    own = f"Where does tea come from? {INSTRUCTIONS['with_you'].text}"
    assert copies("with_you", "Where does tea come from? You know.", own)
    assert not copies("with_you", "Tea does come from India, as you know.", own)
    assert not copies("with_you", "People like drinking tea as you know.", prompt("with_you", WHY))


@pytest.mark.parametrize(
    ("topic", "text", "found"),
    [
        ("baking bread", "I baked one.", True),
        ("baking bread", "A loaf, freshly made.", False),
        ("public libraries", "The library is near.", True),
        ("swimming in the sea", "She swims.", True),
        ("rainy days", "It rained.", True),
        ("washing the car", "The road is long.", False),
        ("letters from friends", "My friend's handwriting", True),
        ("the", "anything", True),
    ],
)
def test_the_topic_is_named_in_any_form(topic, text, found):
    assert about(f"Say something short about {topic}.", topic, text) == found


def test_stems_keep_three_letters():
    assert [stem(word) for word in ("baking", "bakes", "bus", "tea", "running", "dishes", "families")] == [
        "bak", "bak", "bus", "tea", "run", "dish", "famil",
    ]  # fmt: skip
    assert folded("It’s TEA") == ["it's", "tea"]


def test_what_says_nothing_and_what_breaks_off():
    assert says_nothing("city parks", "City parks: parks.") and not says_nothing("city parks", "City parks are green.")
    assert says_nothing("city parks", "A city park with m" + "m" * 30)
    fifteen = "Tea " + "a b c d e f g h i j k l m n"
    assert not breaks_off(fifteen) and breaks_off(f"{fifteen} o") and not breaks_off(f'{fifteen} o."')
    assert not breaks_off(f"{fifteen}:\n* o")


def test_a_table_gets_letter_gold_and_why():
    asked = [{"role": "system", "content": "x"}, {"role": "user", "content": prompt("with_you")}]
    rows = pd.DataFrame(
        {
            "instruction": "with_you",
            "prompt": [asked] * 4,
            "response": ["You should drink tea.", "You should drink tea.", "Drink tea.", "You you you"],
            "finished": [True, False, True, True],
        },
        index=[4, 2, 3, 1],
    )
    found = with_truth(rows)
    assert found["letter"].tolist() == [True, True, False, True] and found["gold"].tolist() == [True, False, False, False]
    assert found["flaw"].tolist() == [None, "cut off", "does not obey", "loops"] and list(found.index) == [4, 2, 3, 1]
    assert with_truth(rows.drop(columns="finished"))["gold"].tolist() == [True, True, False, False]
    own = rows.assign(instruction="be kind")
    assert with_truth(own) is own


def test_form_that_does_not_matter_keeps_gold():
    """Spelling and empty words leave an honest answer one, a last sentence said twice does not. Of a text cut short that ends
    with a sentence, or before its sixteenth word, nobody could tell.
    """
    kept = {"typos": 0, "padding": 0, "repetition": 0, "truncation": 0}
    answers = [(kind, request, text) for kind in ("at_least_30_words", "with_you") for request, text in HONEST[kind]]
    for name in kept:
        for kind, request, text in answers:
            changed = PERTURBATIONS[name].apply(text, random.Random(1))
            kept[name] += flaw(kind, changed, prompt(kind, request), True) is None
    assert len(answers) == 5 and kept == {"typos": 5, "padding": 5, "repetition": 0, "truncation": 2}
