import numpy as np
import pandas as pd

from preference_study.texts.measures import measured
from preference_study.texts.readability import reading_grades
from preference_study.texts.responses import repetition
from tests.conftest import asked


def test_each_number_of_a_response_is_its_own():
    texts = ["I cannot help with that?", "", "go go go go go go. The rest of it is about cats, is it not?"]
    table = pd.DataFrame({"response": texts, "instruction": "ends_with_question"}, index=list("abc"))
    table["prompt"] = [asked("Say something short about knitting. End with a question.")] * 3
    found, left_out = measured(table)
    assert found["words"].tolist() == [5, 0, 16]
    assert found["refuses"].tolist() == [True, False, False] and found["letter"].tolist() == [True, False, True]
    assert found["repetition"].tolist() == [repetition(text) for text in texts] and found["repetition"].iloc[2] > 0
    assert found["reading_grade"].isna().tolist() == np.isnan(reading_grades(texts)[0]).tolist() == [False, True, False]
    assert left_out == {"empty": 1, "code": 0, "not English": 0, "too short": 0} and list(found.index) == list("abc")
    assert found["flaw"].tolist() == ["not about the topic", "does not obey", "loops"] and not found["gold"].any()
    assert (measured(table.assign(response="# A **b**\n- c"))[0][["headings", "list_items", "bold"]] == 1).all(axis=None)
    assert found["loops"].tolist() == [False, False, True] and not found["echoes"].any()
    assert not {"letter", "gold"} & set(measured(table[["response", "prompt"]])[0])
    asked_twice = [[*asked("Who cannot help?"), *asked("so it is about cats")]] * 3
    echoed = measured(
        table.assign(response=["so it is about dogs", "Yes, so it is about cats", "Who it is about"], prompt=asked_twice)
    )
    assert echoed[0]["echoes"].tolist() == [False, True, False] and not echoed[0]["loops"].any()
