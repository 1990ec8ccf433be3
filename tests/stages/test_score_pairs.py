"""The stage's file: each pair beside its own rewards, however many are looked at together."""

import pandas as pd
import pytest

import stages.score_pairs
from preference_study.artifacts import read_json, read_rows, write_table
from tests.conftest import asked

PAIRS = pd.DataFrame(
    {
        "id": list("abcde"),
        "prompt": [asked(f"question {i}") for i in range(5)],
        "chosen": [f"chosen {i}" for i in range(5)],
        "rejected": [f"rejected {i}" for i in range(5)],
    }
)
SCORES = [(1.5, 0.5), (0.25, 0.75), (-2.0, -2.0), (3.0, -1.0), (0.0, 4.0)]


@pytest.mark.parametrize("piece", [1, 2, 5, 50])
def test_each_pair_stands_beside_its_own_rewards(tmp_path, monkeypatch, piece):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(stages.score_pairs, "PIECE", piece)
    write_table(stages.score_pairs.PAIRS, PAIRS)
    stages.score_pairs.write_scores(SCORES)
    found = read_rows(stages.score_pairs.SCORES)
    assert list(zip(found["id"], found["chosen_reward"], found["rejected_reward"], strict=True)) == [
        (id, *scores) for id, scores in zip("abcde", SCORES, strict=True)
    ]
    assert list(found["correct"]) == [True, False, False, True, False]  # a tie is not right
    assert list(found["chosen"]) == list(PAIRS["chosen"]) and list(found["prompt"]) == list(PAIRS["prompt"])
    assert read_json("data/scores/Rm_model_mark_on_val_1k.json") == found.to_dict("records")
