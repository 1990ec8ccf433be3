"""Each response beside its own reward, and one text with one reward, whoever wrote it."""

import stages.score_responses
from preference_study.artifacts import read_json, read_rows, write_rows
from preference_study.models import language_models
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

    def batch_rewards(model, sequences):
        scored.extend(bytes(ids).decode() for ids in sequences)
        return [float(place) for place in range(len(scored) - len(sequences), len(scored))]

    def encode(tokenizer, table, length):
        texts = [f"{prompt[0]['content']} {text}" for prompt, text in zip(table["prompt"], table["response"], strict=True)]
        return [list(text.encode()) for text in texts], [text.endswith("red") for text in texts]

    monkeypatch.setattr(stages.score_responses, "load_judge", lambda *_: None)
    monkeypatch.setattr(language_models, "batch_rewards", batch_rewards)
    monkeypatch.setattr(stages.score_responses, "load_tokenizer", lambda *_: None)
    monkeypatch.setattr(stages.score_responses, "encode_responses", encode)
    stages.score_responses.main()
    # p0 and p1 ask the same, p2 something else: of nine responses seven differ.
    assert sorted(scored) == ["0 green", "0 pink", "0 red", "0 yellow", "1 blue", "1 green", "1 red"]
    found = read_rows("data/responses/scored.parquet")
    assert found["policy"].tolist() == ["base"] * 3 + ["dpo"] * 3 + ["ipo"] * 3
    assert found["response"].tolist() == [text for answers in ANSWERS.values() for text in answers]
    texts = ["0 red", "0 green", "1 blue", "0 red", "0 yellow", "1 green", "0 pink", "0 red", "1 red"]
    assert found["reward"].tolist() == [scored.index(text) for text in texts]
    assert found["truncated"].tolist() == [text.endswith("red") for text in texts]
    assert [row["reward"] for row in read_json("data/responses/Response_of_DPO_n_Ori_val_with_rm.json")] == list(found["reward"])
