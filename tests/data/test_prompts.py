import numpy as np
import pandas as pd
import pytest

from preference_study.data.pairs import label, pair_id, usable_pairs
from preference_study.data.prompts import choose_prompts, is_prepared, prompts_of_file
from preference_study.errors import BadInput
from preference_study.formats import to_pairs
from preference_study.sections import Columns
from tests.conftest import asked
from tests.corpus.files import SYSTEM, THREE, A, B, Q, assistant, user


def test_prompts_are_distinct_and_sampled_by_seed():
    table = pd.DataFrame({"question": ["a", "b", "a", "c", "", None], "instruction": list("xyxzzz"), "other": 1})
    prompts = choose_prompts(table, None, 0, "t")
    assert list(prompts["prompt"]) == [asked("a"), asked("b"), asked("c")] and set(prompts) == {
        "id",
        "cluster",
        "prompt",
        "instruction",
    }
    assert list(prompts["id"]) == list(prompts["cluster"]) == [pair_id("a"), pair_id("b"), pair_id("c")] and list(
        prompts["instruction"]
    ) == list("xyz")
    assert len(choose_prompts(table, 2, 0, "t")) == 2
    with pytest.raises(BadInput, match=r"t: columns text hold no prompt.*'prompt'"):
        choose_prompts(pd.DataFrame({"text": ["a"]}), None, 0, "t")
    with pytest.raises(BadInput, match="it holds no prompt"):
        choose_prompts(
            pd.DataFrame({"prompt": ["", "\ud83d", [SYSTEM], [user("a"), assistant("b"), assistant("")]]}), None, 0, "t"
        )


def test_a_prompts_cluster_is_the_column_named_or_itself():
    """A column that is merely called cluster, with a gap at that, says nothing."""
    table = pd.DataFrame({"prompt": ["a", "b", "c"], "author": [7, 7, 8], "cluster": ["x", None, "x"]})
    assert list(choose_prompts(table, None, 0, "t", "author")["cluster"]) == ["7", "7", "8"]
    for named in (None, "source"):
        assert list(choose_prompts(table, None, 0, "t", named)["cluster"]) == list(map(pair_id, "abc"))


def test_a_prepared_file_has_its_own_prompts_and_clusters(tmp_path, monkeypatch):
    """Whatever columns the raw data had; the same table elsewhere is a user's."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data/prepared").mkdir(parents=True)
    columns = Columns(prompt="topic", chosen="chosen", rejected="rejected")
    table = pd.DataFrame({"cluster": ["x", "y", "y"], "prompt": [asked(text) for text in "abc"], "topic": list("pqr")})
    table = table.assign(chosen="d", rejected="e", author=["k", "l", "m"])
    table.to_parquet("data/prepared/val.parquet")
    table.to_parquet("own.parquet")
    for file in ("data/prepared/val.parquet", "./data/prepared/val.parquet", str(tmp_path / "data/prepared/val.parquet")):
        found = prompts_of_file(file, None, 0, "author", columns=columns)
        assert is_prepared(file) and list(found["cluster"]) == ["x", "y", "y"]
        assert list(found["prompt"]) == [asked(text) for text in "abc"]
    own = prompts_of_file("own.parquet", None, 0, "author", columns=columns)
    assert list(own["cluster"]) == ["k", "l", "m"] and list(own["prompt"]) == [asked(text) for text in "pqr"]
    assert not is_prepared("own.parquet")


GOOD_AND_BAD = {"prompt": "ask", "chosen": "good", "rejected": "bad"}
SIDES = {"ask": "q", "good": "a", "bad": "b"}
EXPLICIT = {"prompt": "q", "chosen": "a", "rejected": "b"}


@pytest.mark.parametrize(("row", "columns"), [
    (SIDES | {"system": "gpt-4-turbo"}, GOOD_AND_BAD),
    (SIDES | {"system_prompt": "gpt-4-turbo"}, GOOD_AND_BAD),
    (SIDES | {"system": "gpt-4-turbo", "rule": "Be brief."}, GOOD_AND_BAD | {"system": "rule"}),
    (SIDES | {"conversations": "a label"}, GOOD_AND_BAD),
    (SIDES | {"answers": "a label"}, GOOD_AND_BAD),
    (SIDES | {"question": "r", "response_1": "x", "response_2": "y", "overall_response": 1}, GOOD_AND_BAD),
    (EXPLICIT | {"system": "Be brief.", "system_prompt": "gpt-4-turbo"}, None),
    (EXPLICIT | {"system": "", "system_prompt": "gpt-4-turbo"}, None),
])  # fmt: skip
def test_the_prompts_of_a_prepared_file_are_those_of_its_pairs(tmp_path, monkeypatch, row, columns):
    """Whatever travels beside them."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data/prepared").mkdir(parents=True)
    columns = columns and Columns(**columns)
    kept, _ = usable_pairs(to_pairs(pd.DataFrame([row], dtype=object), "raw", columns).table, set())
    kept.to_parquet("data/prepared/val.parquet")
    for category in (None, kept.columns[-1]):
        found = prompts_of_file("data/prepared/val.parquet", None, 0, None, category, columns)
        assert list(found["prompt"]) == list(kept["prompt"]) and len(kept) == 1
        assert found.get("category", pd.Series()).tolist() == ([str(kept.iloc[0, -1])] if category else [])


ASK = {"prompt": "id-0", "ask": "What is 0?"}


@pytest.mark.parametrize(("row", "columns", "wanted"), [
    (ASK | {"chosen": "a", "rejected": "b"}, {"prompt": "ask", "chosen": "chosen", "rejected": "rejected"}, asked("What is 0?")),
    (ASK | {"l": "a", "r": "b", "won": "A", "rule": "Be brief."},
     {"prompt": "ask", "system": "rule", "responses": ["l", "r"], "preference": "won", "coding": ["A", "B"]},
     [SYSTEM, *asked("What is 0?")]),
    (ASK, {"prompt": "ask", "chosen": "good", "rejected": "bad"}, asked("What is 0?")),  # no responses, and none needed
    (ASK | {"rule": "Be brief."}, {"prompt": "ask", "system": "rule", "chosen": "good", "rejected": "bad"},
     [SYSTEM, *asked("What is 0?")]),
    ({"question": "q"}, {"prompt": "ask", "chosen": "good", "rejected": "bad"}, asked("q")),  # a file of another shape
    ({"good": [*THREE, assistant(A)], "bad": [*THREE, assistant("b")]}, {"chosen": "good", "rejected": "bad"}, THREE),
])  # fmt: skip
def test_columns_that_a_user_named_hold_the_prompts_to_answer_too(row, columns, wanted):
    assert choose_prompts(pd.DataFrame([row]), None, 0, "t", columns=Columns(**columns))["prompt"].tolist() == [wanted]


@pytest.mark.parametrize("column", ["instruction", "topic", "author"])
def test_a_label_that_cannot_be_written_is_named_with_a_remedy(column):
    table = pd.DataFrame({"prompt": ["a", "b"], "instruction": "x", "topic": "x", "author": "x"}).astype(object)
    table.loc[1, column] = "half \ud800"
    with pytest.raises(BadInput, match=rf"t: row 2, column '{column}' holds half of a pair .*half \\ud800.*remove it"):
        choose_prompts(table, None, 0, "t", "author", "topic")


def test_an_instruction_of_mixed_kinds_is_texts():
    table = pd.DataFrame({"prompt": list("abcd"), "instruction": ["x", 3, None, ["y"]]}, dtype=object)
    assert choose_prompts(table, None, 0, "t", category="instruction")["instruction"].tolist() == ["x", "3", None, "['y']"]


@pytest.mark.parametrize(("cell", "wanted"), [
    (" math ", "math"), ("", None), (" ", None), (None, None), (float("nan"), None), (pd.NA, None), (1, "1"), (1.0, "1"),
    (np.float64(-2.0), "-2"), (np.int64(3), "3"), (0.5, "0.5"), (True, "True"), (np.True_, "True"), (0, "0"), ("1.0", "1.0"),
])  # fmt: skip
def test_a_label_is_the_same_whatever_holds_it(cell, wanted):
    assert label(cell) == wanted


TIE = {"winner_model_a": 0, "winner_model_b": 0, "winner_tie": 1}
WON = {"winner_model_a": 1, "winner_model_b": 0, "winner_tie": 0}
ARENA = {"prompt": '["q"]', "response_a": '["a"]', "response_b": '["b"]'} | WON
LONGER = {"prompt": ["hi", Q], "response_a": ["hello", A], "response_b": ["hello", B]}


@pytest.mark.parametrize(("row", "wanted"), [
    ({"prompt": THREE}, THREE),
    ({"messages": [*THREE, assistant(A)]}, THREE),
    ({"conversations": [{"from": "human", "value": "q"}]}, asked("q")),
    ({"chosen": "\n\nHuman: q\n\nAssistant: a", "rejected": "x"}, asked("q")),
    ({"prompt": "\n\nHuman: q\n\nAssistant:"}, asked("q")),
    ({"input": "q", "system": "Be brief.", "chosen": "a", "rejected": "b"}, [SYSTEM, *asked("q")]),
    ({"question": "q", "system": "Be brief."}, [SYSTEM, *asked("q")]),
    ({"instruction": "Translate", "input": "q", "chosen": "a", "rejected": "b"}, asked("Translate\nq")),
    ({"prompt": "q", "context": "long " * 30 + "text", "chosen": "a", "rejected": "b"}, asked("q\n" + "long " * 30 + "text")),
    ({"question": "q", "context": "long " * 30 + "text"}, asked("q\n" + "long " * 30 + "text")),
    ({"question": "q", "context": "a label"}, asked("q")),
    ({"history": "q", "human_ref_A": "a", "human_ref_B": "b", "labels": 1}, asked("q")),
    ({"context": THREE, "response1": "a", "response2": "b", "overall_preference": 1}, THREE),
    ({"question": "q", "prompt": "stray", "response_1": "a", "response_2": "b", "overall_response": 1}, asked("q")),
    ({"prompt": "hi", "chosen": [*THREE, assistant(A)], "rejected": [*THREE, assistant("b")]}, THREE),
    (ARENA, asked("q")),
    (ARENA | TIE, asked("q")),
    (ARENA | {"winner_model_a": 0}, asked("q")),
    (LONGER | TIE, THREE),
    ({"prompt": "q", "answers": [{"answer": "a", "rank": 1}, {"answer": "b", "rank": 1}]}, asked("q")),
    ({"prompt": "q", "answers": [{"answer": "a", "rank": 1}, {"answer": "b", "rank": None}]}, asked("q")),
])  # fmt: skip
def test_a_file_of_any_shape_has_its_prompts(row, wanted):
    assert choose_prompts(pd.DataFrame([row]), None, 0, "t")["prompt"].tolist() == [wanted]


@pytest.mark.parametrize(("row", "reason"), [
    (LONGER | TIE | {"response_b": ["hey", B]}, "a tie"),
    (LONGER | WON | {"response_b": [B]}, "neither text nor messages"),
])  # fmt: skip
def test_a_row_without_a_prompt_that_both_were_asked_says_why(row, reason):
    with pytest.raises(BadInput, match=rf"no prompt that ends with the user's turn \(1 {reason} \(row 1\)\)"):
        choose_prompts(pd.DataFrame([row]), None, 0, "t")


@pytest.mark.parametrize("row", [
    {"instruction": "Translate", "input": "Apfel"}, {"instruction": "Sum up", "context": "A passage."}, {"chosen": "plain"},
])  # fmt: skip
def test_what_may_be_a_part_of_a_prompt_is_no_prompt(row):
    with pytest.raises(BadInput, match="hold no prompt"):
        choose_prompts(pd.DataFrame([row]), None, 0, "t")


def test_prompts_with_pictures_are_not_asked():
    table = pd.DataFrame({"prompt": ["a", "b"], "image": [None, "b.png"]})
    assert choose_prompts(table, None, 0, "t")["prompt"].tolist() == [asked("a")]


def test_what_a_prompt_is_about_is_the_column_that_is_named():
    table = pd.DataFrame({"ask": ["q"], "passage": ["p"], "context": ["long " * 30]})
    columns = Columns(prompt="ask", about="passage", chosen="good", rejected="bad")
    assert choose_prompts(table, None, 0, "t", columns=columns)["prompt"].tolist() == [asked("q\np")]
    alone = table.drop(columns="passage")
    assert choose_prompts(alone, None, 0, "t", columns=columns)["prompt"].tolist() == [asked("q")]
    pairs = table.assign(good="a", bad="b")
    assert choose_prompts(pairs, None, 0, "t", columns=columns)["prompt"].tolist() == [asked("q\np")]


def test_prompts_with_earlier_turns_in_a_column_are_not_asked():
    table = pd.DataFrame({"prompt": ["a", "b"], "history": [[], [["hi", "hello"]]]})
    assert choose_prompts(table, None, 0, "t")["prompt"].tolist() == [asked("a")]


def test_lists_written_as_text_are_not_asked_as_texts():
    with pytest.raises(BadInput, match=r"column 'prompt' holds lists written as text, such as '\[\"hi\"\]'"):
        choose_prompts(pd.DataFrame({"prompt": ['["hi"]', '["q", "r"]']}), None, 0, "t")
    assert len(choose_prompts(pd.DataFrame({"prompt": ['["hi"]', "What is [1, 2]?"]}), None, 0, "t")) == 2


def test_a_prompts_category_is_a_text_of_the_named_column():
    table = pd.DataFrame({"prompt": ["a", "b", "b", "c"], "topic": [1, None, 2, "tea"]}, dtype=object)
    assert choose_prompts(table, None, 0, "t", category="topic")["category"].tolist() == ["1", None, "tea"]
    blank = table.assign(topic=[" tea", "", "x", "  "])
    assert choose_prompts(blank, None, 0, "t", category="topic")["category"].tolist() == ["tea", None, None]
    assert "category" not in choose_prompts(table, None, 0, "t", category="other")
    assert "category" not in choose_prompts(table, None, 0, "t")
