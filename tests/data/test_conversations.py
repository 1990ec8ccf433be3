import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from trl.data_utils import is_conversational, maybe_extract_prompt

from preference_study.data.conversations import (
    Unusable,
    as_turns,
    holds_turns,
    is_other_transcript,
    is_transcript,
    pair_of,
    prompt_key,
)
from preference_study.formats import to_pairs
from tests.corpus.files import THREE, A, B, Q, assistant, say, user


@pytest.mark.parametrize("kind", [list, tuple, lambda turns: np.array(turns, dtype=object)])
def test_a_conversation_as_a_list_or_an_array_of_messages(kind):
    assert as_turns(kind([say("system", " s "), user("q"), assistant("a")]), "user") == [
        say("system", "s"),
        user("q"),
        assistant("a"),
    ]


@pytest.mark.parametrize(("value", "reason"), [
    ([user(None) | {"content": 3}], "not_text"),
    ([user([{"type": "audio", "audio": "x"}])], "not_text"),
    ([{"content": "q"}], "unknown_role"),
    ([say("narrator", "q")], "unknown_role"),
    ([say("tool", "q")], "tool_calls"),
    ([assistant("q") | {"tool_calls": [{}]}], "tool_calls"),
    (["q"], "not_a_conversation"),
    (7, "not_a_conversation"),
])  # fmt: skip
def test_what_is_no_conversation_is_so_for_a_reason(value, reason):
    with pytest.raises(Unusable) as error:
        as_turns(value, "user")
    assert error.value.reason == reason


@pytest.mark.parametrize("value", [None, float("nan"), []])
def test_a_missing_cell_has_no_turns(value):
    assert as_turns(value, "user") == []


def test_tool_calls_that_are_empty_are_none():
    assert as_turns([user("q") | {"tool_calls": None}, assistant("a") | {"tool_calls": []}], "user") == [
        user("q"),
        assistant("a"),
    ]


def test_transcripts_become_turns_and_other_texts_do_not():
    text = "\n\nHuman: hi\n\nAssistant: hello\n\nAnd more: x\n\nHuman: q\n\nAssistant:"
    assert as_turns(text, "user") == [user("hi"), assistant("hello\n\nAnd more: x"), user("q")]
    for plain in ("Who is Human: a film?", "Human: what?", "A\n\nHuman: b\n\nAssistant: c", ""):
        assert not is_transcript(plain) and as_turns(plain, "user") == [user(plain)]


@pytest.mark.parametrize("filler", ["\n", " ", "\t", "#", "\n#", "\n \n", "# "])
def test_long_runs_of_spaces_are_looked_through_once(filler):
    """Where two parts of an expression take the same ones, 800 of them took twelve seconds, and ten thousand would take hours."""
    for before in ("", "User: q"):
        assert not is_other_transcript(before + 10_000 * filler + "x") and not holds_turns(before + 10_000 * filler + "x")
    long = "User: q" + 10_000 * filler + "\nAssistant: a"
    assert is_other_transcript(long) and holds_turns(long)


TEXT = st.text(alphabet="ab .", min_size=1).filter(str.strip).map(str.strip)
TURNS = st.lists(st.tuples(TEXT, TEXT), max_size=3).flatmap(
    lambda said: TEXT.map(lambda last: [t for both in said for t in (user(both[0]), assistant(both[1]))] + [user(last)])
)


@given(TURNS, TEXT, TEXT)
def test_all_forms_of_a_pair_are_one(prompt, chosen, rejected):
    wanted = (prompt, chosen, rejected)
    whole = [[*prompt, assistant(text)] for text in (chosen, rejected)]
    assert pair_of(prompt, chosen, rejected) == wanted
    assert pair_of(prompt, [assistant(chosen)], assistant(rejected)) == wanted
    assert pair_of(None, *whole) == wanted == pair_of(prompt, *whole) == pair_of(prompt[-1]["content"], *whole)
    names = {"user": "Human", "assistant": "Assistant"}
    transcripts = ["".join(f"\n\n{names[turn['role']]}: {turn['content']}" for turn in turns) for turns in whole]
    assert pair_of(None, *transcripts) == wanted


@given(TURNS, TEXT, TEXT, st.sampled_from(["implicit", "explicit", "texts"]))
def test_the_pairs_are_those_of_trl(prompt, chosen, rejected, form):
    if chosen == rejected:
        return
    row = {
        "implicit": {"chosen": [*prompt, assistant(chosen)], "rejected": [*prompt, assistant(rejected)]},
        "explicit": {"prompt": prompt, "chosen": [assistant(chosen)], "rejected": [assistant(rejected)]},
        "texts": {"prompt": Q, "chosen": chosen, "rejected": rejected},
    }[form]
    theirs = maybe_extract_prompt(dict(row))
    if is_conversational(theirs):
        theirs = {"prompt": theirs["prompt"], **{side: theirs[side][0]["content"] for side in ("chosen", "rejected")}}
    else:
        theirs["prompt"] = [user(theirs["prompt"])]
    [ours] = to_pairs(pd.DataFrame([row]), "raw").table[["prompt", "chosen", "rejected"]].to_dict("records")
    assert ours == theirs


@pytest.mark.parametrize("row", [
    {"chosen": "The sky is blue.", "rejected": "The sky is green."},
    {"chosen": "What is 2+2? Four", "rejected": "What is 2+2? Five"},
    {"chosen": "q: a", "rejected": "q: b"},
])  # fmt: skip
def test_texts_that_begin_alike_are_split_as_trl_does(row):
    theirs = maybe_extract_prompt(dict(row))
    [ours] = to_pairs(pd.DataFrame([row]), "raw").table.to_dict("records")
    assert ours["prompt"] == [user(theirs["prompt"].strip())]
    assert all(ours[side] == theirs[side].strip() for side in ("chosen", "rejected"))


def test_a_text_that_begins_the_other_leaves_no_response():
    [row] = to_pairs(pd.DataFrame([{"chosen": "It is so and so", "rejected": "It is so"}]), "raw").table.to_dict("records")
    assert row["problem"] == "empty_text"


def test_a_prompt_has_one_key():
    assert prompt_key([user(Q)]) == Q
    keys = [prompt_key(turns) for turns in (THREE, [say("system", "s"), *THREE], [say("system", Q)], [assistant(Q)], [user(Q)])]
    assert len(set(keys)) == len(keys)
    assert prompt_key([{"content": "愛", "role": "system"}]) == '[{"role": "system", "content": "愛"}]'


def test_a_system_turn_is_not_said_twice():
    system = say("system", "s")
    assert pair_of([system, user(Q)], A, B, "s")[0] == [system, user(Q)] == pair_of(Q, A, B, "s")[0]
    assert pair_of([say("system", ""), user(Q)], A, B)[0] == [user(Q)]
