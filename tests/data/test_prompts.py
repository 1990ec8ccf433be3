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
    assert list(prompts["prompt"]) == [asked("a"), asked("b"), asked("c")] and set(prompts) == {"id", "prompt", "instruction"}
    assert list(prompts["id"]) == [pair_id("a"), pair_id("b"), pair_id("c")] and list(prompts["instruction"]) == list("xyz")
    assert len(choose_prompts(table, 2, 0, "t")) == 2
    with pytest.raises(BadInput, match=r"t: columns text hold no prompt.*'prompt'"):
        choose_prompts(pd.DataFrame({"text": ["a"]}), None, 0, "t")
    with pytest.raises(BadInput, match="'prompt' holds no prompt"):
        choose_prompts(
            pd.DataFrame({"prompt": ["", "\ud83d", [SYSTEM], [user("a"), assistant("b"), assistant("")]]}), None, 0, "t"
        )


@pytest.mark.parametrize(("row", "wanted"), [
    ({"prompt": THREE}, THREE),
    ({"messages": [*THREE, assistant(A)]}, THREE),
    ({"conversations": [{"from": "human", "value": "q"}]}, asked("q")),
    ({"chosen": "\n\nHuman: q\n\nAssistant: a", "rejected": "x"}, asked("q")),
    ({"prompt": "\n\nHuman: q\n\nAssistant:"}, asked("q")),
    ({"input": "q", "system": "Be brief."}, [SYSTEM, *asked("q")]),
    ({"history": "q"}, asked("q")),
    ({"context": THREE}, THREE),
])  # fmt: skip
def test_a_file_of_any_shape_has_its_prompts(row, wanted):
    assert choose_prompts(pd.DataFrame([row]), None, 0, "t")["prompt"].tolist() == [wanted]
