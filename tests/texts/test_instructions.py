import pytest
from hypothesis import given
from hypothesis import strategies as st

from preference_study.texts.instructions import INSTRUCTIONS, obeys, sentences

# kind: (texts that obey, texts that do not)
EXAMPLES = {
    "one_sentence": (["Rain is fine.", "1. Rain is fine."], ["Rain is fine. So is snow.", "", "..."]),
    "two_sentences": (
        ["Rain is fine. So is snow!", 'He said "no." Then he left.'],
        ["Rain.", "One. Two. Three.", "1. Rain is fine."],
    ),
    "at_most_15_words": (["a " * 15], ["a " * 16, ""]),
    "at_least_30_words": (["a " * 30], ["a " * 29]),
    "bulleted_list": (["- a\n- b", "Here:\n* a\n* b", "• a\n\n• b"], ["- a", "a - b\nc - d", "-a\n-b"]),
    "numbered_list": (["1. a\n2. b", "1) a\n2) b"], ["1. a", "1. a 2. b", "a\nb"]),
    "without_the": (["Rain falls on a theme."], ["Rain on the roof.", "The rain", ""]),
    "without_commas": (["Rain and snow."], ["Rain, snow.", ""]),
    "with_because": (["I stay Because it rains."], ["I stay as it rains."]),
    "with_example": (["Rain, for example, is wet."], ["An example: rain."]),
    "with_you": (["You like rain.", "Do you?"], ["Your rain is mine."]),
    "with_digits": (["I saw 2 birds."], ["I saw two birds."]),
    "with_colour": (["A RED hat."], ["A bored man."]),
    "with_weekday": (["See me on Monday."], ["See me one day."]),
    "in_quotes": (['"Rain."', "“Rain.”", ' "Rain." '], ['He said "rain".', '"Rain." he said', '""']),
    "starts_with_i": (["I like rain.", '"I like rain."'], ["It rains.", "I'm wet.", "Me and I"]),
    "ends_with_question": (["Rain?", 'He asked "rain?"'], ["Rain? Yes."]),
    "ends_with_exclamation": (["Rain!", "Rain!**"], ["Rain! Yes."]),
}


def test_every_kind_has_examples():
    assert set(EXAMPLES) == set(INSTRUCTIONS)
    assert len(INSTRUCTIONS) >= 12


@pytest.mark.parametrize("kind", EXAMPLES)
def test_examples(kind):
    obedient, disobedient = EXAMPLES[kind]
    assert [obeys(kind, text) for text in obedient] == [True] * len(obedient)
    assert [obeys(kind, text) for text in disobedient] == [False] * len(disobedient)


@given(st.text())
def test_any_text_gets_an_answer(text):
    for kind in INSTRUCTIONS:
        assert obeys(kind, text) in (True, False)
    assert obeys("one_sentence", text) + obeys("two_sentences", text) <= 1


@given(st.lists(st.sampled_from(["Rain falls.", "Is it wet?", "Yes!"]), max_size=6))
def test_sentences_are_counted(parts):
    assert len(sentences(" ".join(parts))) == len(parts)
