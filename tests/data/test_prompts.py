import pandas as pd
import pytest

from preference_study.data.pairs import pair_id
from preference_study.data.prompts import choose_prompts
from preference_study.errors import BadInput
from tests.conftest import asked
from tests.corpus.files import SYSTEM, THREE, A, assistant, user


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


def test_a_prompts_cluster_is_the_column_named_or_the_prepared_one_or_itself():
    table = pd.DataFrame({"prompt": ["a", "b", "c"], "author": [7, 7, 8], "cluster": ["x", "y", "y"]})
    assert list(choose_prompts(table, None, 0, "t", "author")["cluster"]) == ["7", "7", "8"]
    assert list(choose_prompts(table, None, 0, "t")["cluster"]) == ["x", "y", "y"]
    assert list(choose_prompts(table.drop(columns="cluster"), None, 0, "t", "source")["cluster"]) == list(map(pair_id, "abc"))


WON = {"winner_model_a": 1, "winner_model_b": 0, "winner_tie": 0}
ARENA = {"prompt": '["q"]', "response_a": '["a"]', "response_b": '["b"]'} | WON


@pytest.mark.parametrize(("row", "wanted"), [
    ({"prompt": THREE}, THREE),
    ({"messages": [*THREE, assistant(A)]}, THREE),
    ({"conversations": [{"from": "human", "value": "q"}]}, asked("q")),
    ({"chosen": "\n\nHuman: q\n\nAssistant: a", "rejected": "x"}, asked("q")),
    ({"prompt": "\n\nHuman: q\n\nAssistant:"}, asked("q")),
    ({"input": "q", "system": "Be brief.", "chosen": "a", "rejected": "b"}, [SYSTEM, *asked("q")]),
    ({"question": "q", "system": "Be brief."}, [SYSTEM, *asked("q")]),
    ({"instruction": "Translate", "input": "q", "chosen": "a", "rejected": "b"}, asked("Translate\nq")),
    ({"history": "q", "human_ref_A": "a", "human_ref_B": "b", "labels": 1}, asked("q")),
    ({"context": THREE, "response1": "a", "response2": "b", "overall_preference": 1}, THREE),
    ({"question": "q", "prompt": "stray", "response_1": "a", "response_2": "b", "overall_response": 1}, asked("q")),
    ({"prompt": "hi", "chosen": [*THREE, assistant(A)], "rejected": [*THREE, assistant("b")]}, THREE),
    (ARENA, asked("q")),
])  # fmt: skip
def test_a_file_of_any_shape_has_its_prompts(row, wanted):
    assert choose_prompts(pd.DataFrame([row]), None, 0, "t")["prompt"].tolist() == [wanted]


@pytest.mark.parametrize("row", [
    {"instruction": "Translate", "input": "Apfel"}, {"instruction": "Sum up", "context": "A passage."}, {"chosen": "plain"},
])  # fmt: skip
def test_what_may_be_a_part_of_a_prompt_is_no_prompt(row):
    with pytest.raises(BadInput, match="hold no prompt"):
        choose_prompts(pd.DataFrame([row]), None, 0, "t")


def test_prompts_with_pictures_are_not_asked():
    table = pd.DataFrame({"prompt": ["a", "b"], "image": [None, "b.png"]})
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
