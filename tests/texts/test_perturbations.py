import random
import re
from collections import Counter

import pytest
import regex
from hypothesis import example, given
from hypothesis import strategies as st

from preference_study.texts.instructions import sentences
from preference_study.texts.perturbations import CONFIDENT, EMPTY_WORDS, HOPE, PERTURBATIONS
from preference_study.texts.words import words

LIST = "Here is a list:\n\n1. **Rain** is wet. It falls.\n2. Snow is “cold.”\n\n# Heading\n- one\n  - two\n\nThe end."
PIECES = ["rain", "Snow falls", "well-known", "it's", "42", ".", "! ", '?" ', " ", "\n", "\n\n- ", "\n2. ", "# ", "**", "’", "é"]
TEXTS = st.one_of(st.text(), st.lists(st.sampled_from(PIECES), max_size=30).map("".join))


def perturbed(name: str, text: str, seed: int = 0) -> str:
    return PERTURBATIONS[name].apply(text, random.Random(seed))


def test_the_set_and_its_strengths():
    assert list(PERTURBATIONS) == [
        "padding", "repetition", "truncation", "typos", "shuffled_sentences", "confident_tone", "hope_this_helps", "formatting",
    ]  # fmt: skip
    for perturbation in PERTURBATIONS.values():
        assert perturbation.strength and "\n" not in perturbation.strength


BY_HAND = [
    ("repetition", "Rain falls. So does snow!", "Rain falls. So does snow! So does snow!"),
    ("repetition", "A list:\n- one\n- two", "A list:\n- one\n- two\n- two"),
    ("repetition", 'He said "no."', 'He said "no." He said "no."'),
    ("truncation", "One two, three four. Five!", "One two, three"),
    ("truncation", "One two.", "One"),
    ("truncation", "One.", "One."),
    ("truncation", "1. Rain falls\n2. Snow falls", "1. Rain falls"),
    ("typos", "I am as wet as a feed.", "I am as wet as a feed."),
    ("typos", "Rain is wet.", "Rian is wet."),
    ("shuffled_sentences", "Only one.", "Only one."),
    ("shuffled_sentences", 'He said "no." Then he left.', 'Then he left. He said "no."'),
    ("shuffled_sentences", "1. one\n2. two", "1. two\n2. one"),
    ("confident_tone", "Rain falls.", "I am absolutely certain of this. Rain falls."),
    ("confident_tone", "- one\n- two", "I am absolutely certain of this.\n\n- one\n- two"),
    ("hope_this_helps", "Rain falls.", "Rain falls. I hope this helps."),
    ("hope_this_helps", "- one\n- two", "- one\n- two\n\nI hope this helps."),
    ("formatting", 'Rain falls. He said "no." So?', '- **Rain** falls.\n- **He** said "no."\n- **So**?'),
    ("formatting", "**Rain** falls.", "- **Rain** falls."),
    ("formatting", "a.\n... Bo", "- **a**.\n...\n- **Bo**"),
    (
        "formatting", LIST,
        "- **Here** is a list:\n\n1. **Rain** is wet.\n- **It** falls.\n2. **Snow** is “cold.”\n\n# **Heading**\n"
        "- **one**\n  - **two**\n\n- **The** end.",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("name", "text", "expected"), BY_HAND)
def test_by_hand(name, text, expected):
    assert perturbed(name, text) == expected


def test_padding_by_hand():
    found = perturbed("padding", "I like rain a lot, and a well-known kind of snow!")
    assert re.fullmatch(r"I like rain a lot (\w+), and a well-known kind (\w+) of snow!", found)
    # After five words "well" is due, and the whole of the compound is waited for.
    assert re.fullmatch(r"One two three four well-known (\w+) six", perturbed("padding", "One two three four well-known six"))
    assert set(re.findall(r"\w+", perturbed("padding", "a " * 100))) == {"a", *EMPTY_WORDS}
    assert perturbed("padding", "- one two\n- three\n1. four").startswith("- one two\n- three\n1. four")


def test_typos_come_in_every_tenth_long_word():
    text = " ".join(["a word"] * 25)
    changed = [i for i, (a, b) in enumerate(zip(text.split(), perturbed("typos", text).split(), strict=True)) if a != b]
    assert changed == [1, 21, 41]
    assert {perturbed("typos", "complicated", seed)[0::10] for seed in range(50)} == {"cd"}


def test_lists_and_markdown_survive():
    for name in set(PERTURBATIONS) - {"formatting", "truncation"}:
        found = perturbed(name, LIST)
        assert re.search(r"\n\n1\. .+\n2\. .+\n\n# .+\n- .+\n  - .+\n\n", found), name
    assert LIST.startswith(perturbed("truncation", LIST))


@pytest.mark.parametrize("name", PERTURBATIONS)
def test_a_text_without_words_has_nothing_to_change(name):
    for text in ("", "...", "42"):
        added = {"confident_tone": CONFIDENT, "hope_this_helps": HOPE}.get(name, "")
        assert perturbed(name, text).replace(added, "").strip() == text


@pytest.mark.parametrize("name", PERTURBATIONS)
@given(text=TEXTS, seed=st.integers(0, 5))
def test_the_same_text_and_seed_give_the_same(name, text, seed):
    assert perturbed(name, text, seed) == perturbed(name, text, seed)


@given(TEXTS, st.integers(0, 5))
def test_what_is_added_is_added_and_nothing_else(text, seed):
    assert perturbed("hope_this_helps", text).startswith(text) and perturbed("hope_this_helps", text).endswith(HOPE)
    assert perturbed("confident_tone", text).endswith(text) and perturbed("confident_tone", text).startswith(CONFIDENT)
    found, padded = words(text), words(perturbed("padding", text, seed))
    rest = iter(padded)
    assert all(word in rest for word in found)  # in their order
    assert len(padded) - len(found) <= len(found) // 5
    assert not Counter(padded) - Counter(found) - Counter(dict.fromkeys(EMPTY_WORDS, len(padded)))


def bare(text: str) -> list[str]:
    """The words without marks and invisible characters in front: those go with whatever stands before them (UAX #29, WB4)."""
    return [regex.sub(r"^[\p{M}\p{Cf}]+", "", word) for word in words(text)]


@given(TEXTS, st.integers(0, 5))
@example("\xadA", 0)  # a soft hyphen
def test_what_is_moved_or_marked_up_keeps_its_words(text, seed):
    assert Counter(bare(perturbed("shuffled_sentences", text, seed))) == Counter(bare(text))
    assert bare(perturbed("formatting", text, seed)) == bare(text)
    if len(sentences(text)) < 2:
        assert perturbed("shuffled_sentences", text, seed) == text
    elif len(set(sentences(text))) == len(sentences(text)) == 2 and "\n" not in text.strip():
        assert perturbed("shuffled_sentences", text, seed) != text


@given(TEXTS, st.integers(0, 5))
def test_what_is_cut_is_a_beginning(text, seed):
    cut = perturbed("truncation", text, seed)
    assert text.startswith(cut)
    assert bool(words(cut)) == bool(words(text))


@given(TEXTS, st.integers(0, 5))
def test_typos_keep_length_letters_and_numbers_of_words(text, seed):
    found = perturbed("typos", text, seed)
    assert len(found) == len(text) and len(words(found)) == len(words(text))
    changed = [i for i, (a, b) in enumerate(zip(text, found, strict=True)) if a != b]
    assert len(changed) % 2 == 0
    for i, j in zip(changed[::2], changed[1::2], strict=True):
        assert j == i + 1 and (text[i], text[j]) == (found[j], found[i])


@given(TEXTS, st.integers(0, 5))
def test_repetition_is_of_the_last_sentence(text, seed):
    found = perturbed("repetition", text, seed)
    assert (found == text) == (not sentences(text))
    if sentences(text):
        # An item of a list comes with a number of its own.
        more = [word for word in (Counter(words(found)) - Counter(words(text))).elements() if not word.isdigit()]
        # A soft hyphen belongs to the character before it, which is another one where a text begins.
        last, more = ([word.strip("\xad") for word in found] for found in (words(sentences(text)[-1]), more))
        assert Counter(more) <= Counter(last)
