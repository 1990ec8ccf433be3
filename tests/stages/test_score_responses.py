"""Each response beside its own reward, and one text with one reward, whoever wrote it."""

import stages.score_responses
from preference_study.artifacts import read_json, read_rows, write_rows
from tests.conftest import asked
from tests.workspace import change, tiny_params

ANSWERS = {"base": ["red", "green", "blue"], "dpo": ["red", "yellow", "green"], "ipo": ["pink", "red", "red"]}


def test_one_text_after_one_prompt_is_scored_once(tmp_path, monkeypatch):
    tiny_params(tmp_path)
    change(tmp_path, policy={"methods": ["dpo", "ipo"]})
    monkeypatch.chdir(tmp_path)
    for policy, answers in ANSWERS.items():
        rows = [
            {"id": f"p{i}", "policy": policy, "prompt": asked(f"{i // 2}"), "response": text} for i, text in enumerate(answers)
        ]
        write_rows(f"data/responses/generated/{policy}.parquet", rows)
    scored = []

    def rewards(model, sequences, **limits):
        scored.extend(map(tuple, sequences))
        return [float(place) for place in range(len(sequences))]

    encode = lambda tokenizer, table, length: [  # noqa: E731
        list(f"{prompt[0]['content']} {text}".encode()) for prompt, text in zip(table["prompt"], table["response"], strict=True)
    ]
    monkeypatch.setattr(stages.score_responses, "load_judge", lambda *_: None)
    monkeypatch.setattr(stages.score_responses, "load_tokenizer", lambda *_: None)
    monkeypatch.setattr(stages.score_responses, "encode_responses", encode)
    monkeypatch.setattr(stages.score_responses, "rewards", rewards)
    stages.score_responses.main()
    # p0 and p1 ask the same, p2 something else: of nine responses seven differ.
    assert [bytes(ids).decode() for ids in scored] == [
        "0 red", "0 green", "1 blue", "0 yellow", "1 green", "0 pink", "1 red",
    ]  # fmt: skip
    found = read_rows("data/responses/scored.parquet")
    assert found["policy"].tolist() == ["base"] * 3 + ["dpo"] * 3 + ["ipo"] * 3
    assert found["response"].tolist() == [text for answers in ANSWERS.values() for text in answers]
    assert found["reward"].tolist() == [0, 1, 2, 0, 3, 4, 5, 0, 6]
    assert [row["reward"] for row in read_json("data/responses/Response_of_DPO_n_Ori_val_with_rm.json")] == list(found["reward"])
