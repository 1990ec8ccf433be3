"""Judges that run here, on the tiny model: what they read, and the numbers that come of it."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
import torch

from preference_study.errors import BadModel
from preference_study.judges.models import (
    encode_cases,
    judge_by_labels,
    judge_by_rewards,
    label_logps,
    label_tokens,
    load_language_model,
    load_reward_model,
    unused_token,
)
from preference_study.judges.pairwise import questions
from preference_study.models.language_models import batch_rewards, load_causal, load_tokenizer, new_reward_model, pair_rewards
from preference_study.models.tokens import encode_pairs
from tests.conftest import asked

BATCHING = {"max_batch": 3, "max_padded": 400, "description": "t"}
TEMPLATE = "{prompt} A {first} B {second}"


def settings(folder, **other):
    return {
        "name": "ada", "model": str(folder), "revision": None, "date": "2026-01-01", "template_arguments": {}
    } | other  # fmt: skip


def table(rows):
    columns = ["set", "id", "policy", "prompt", "response", "other"]
    return pd.DataFrame([(of, f"c{n}", None, asked(p), r, o) for n, (of, p, r, o) in enumerate(rows)], columns=columns)


CASES = table(
    [
        ("responses", "Rain?", "yes", "no, never"),
        ("responses", "Rain?", "same", "same"),
        ("pairs", "Old maps?", "a longer response", "short"),
        ("pairs", "Hens?", "x", "yes yes yes"),
    ]
)


@pytest.fixture(scope="module")
def reward_folder(model_folder, tmp_path_factory):
    """A reward model as a folder that transformers loads, with a tokenizer, such as an export."""
    folder = tmp_path_factory.mktemp("reward") / "model"
    model = new_reward_model(model_folder, seed=3, dtype="float32")
    torch.nn.init.normal_(model.score.weight, std=20.0)
    model.save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        if (model_folder / name).exists():
            shutil.copy(model_folder / name, folder / name)
    return folder


def test_a_reward_model_of_a_folder_judges_by_its_rewards(reward_folder):
    model, tokenizer = load_reward_model(settings(reward_folder))
    judged, shortened = judge_by_rewards(model, tokenizer, CASES, 96, "eos", **BATCHING)
    pairs = CASES[2:].assign(chosen=CASES["response"], rejected=CASES["other"])
    rewards = np.array(pair_rewards(model, encode_pairs(tokenizer, pairs, 96), **BATCHING))
    wanted = 1 / (1 + np.exp(rewards[:, 1] - rewards[:, 0]))
    assert judged["preference"][2:].tolist() == pytest.approx(wanted.tolist(), abs=1e-3) and abs(wanted - 0.5).min() > 0.01
    assert judged["preference"][1] == 0.5 and judged["preference"][0] != 0.5 and shortened == 0


def test_a_sequence_ends_where_it_is_to(tokenizer):
    """The template writes nothing after EOS here, so one that goes on is made."""
    tokenizer.chat_template, before = (
        tokenizer.chat_template.replace("<|end|>{% endfor %}", "<|end|>!{% endfor %}"),
        tokenizer.chat_template,
    )
    try:
        own, other, shortened = encode_cases(tokenizer, CASES, 96, "template")
        ends = [tokenizer.decode(ids) for ids in own]
        assert ends[0] == "<|user|>Rain?<|end|>!<|assistant|>yes<|end|>!" and shortened == 0
        assert tokenizer.decode(other[3]).endswith("yes yes yes<|end|>!")
        own, other, _ = encode_cases(tokenizer, CASES, 96, "eos")
        assert tokenizer.decode(own[2]).endswith("a longer response<|end|>") and tokenizer.decode(other[0]).endswith(
            "never<|end|>"
        )
        own, _, shortened = encode_cases(tokenizer, CASES, 20, "template")
        assert shortened == 2 and list(map(len, own)) == [14, 15, 20, 10]  # with "!" the third has 32, and the fourth's other 22
        assert encode_cases(tokenizer, CASES, 21, "eos")[2] == 1
    finally:
        tokenizer.chat_template = before


def test_without_a_padding_token_the_last_token_is_read(reward_folder):
    model, tokenizer = load_reward_model(settings(reward_folder))
    alone = []
    own, other, _ = encode_cases(tokenizer, CASES, 96, "eos")
    for ids in own + other:
        alone += batch_rewards(model, [ids])
    model.config.pad_token_id = None
    judged, _ = judge_by_rewards(model, tokenizer, CASES, 96, "eos", **BATCHING)
    wanted = 1 / (1 + np.exp(np.array(alone[4:]) - np.array(alone[:4])))
    assert judged["preference"].tolist() == pytest.approx(wanted.tolist(), abs=1e-3)
    assert model.config.pad_token_id not in set().union(*own, *other)
    assert unused_token([(0, 1), (3,)], 5) == 2


def test_a_judge_that_cannot_be_one_is_refused(reward_folder, model_folder, tmp_path):
    config = json.loads((reward_folder / "config.json").read_text())
    shutil.copytree(reward_folder, tmp_path / "three")
    (tmp_path / "three/config.json").write_text(json.dumps(config | {"id2label": {"0": "a", "1": "b", "2": "c"}}))
    with pytest.raises(BadModel, match=r"judge ada, model .*three.* has 3 labels"):
        load_reward_model(settings(tmp_path / "three"))
    with pytest.raises(BadModel, match=r"judge ada, .*(labels|lacks weights)"):
        load_reward_model(settings(model_folder))  # a language model, which has no head
    with pytest.raises(BadModel, match="judge ada, model 'nowhere/at_all'"):
        load_language_model(settings("nowhere/at_all"))
    shutil.copytree(reward_folder, tmp_path / "silent")
    (tmp_path / "silent/chat_template.jinja").unlink(missing_ok=True)
    tokens = json.loads((tmp_path / "silent/tokenizer_config.json").read_text())
    tokens.pop("chat_template", None)
    (tmp_path / "silent/tokenizer_config.json").write_text(json.dumps(tokens))
    with pytest.raises(BadModel, match="no chat template"):
        load_reward_model(settings(tmp_path / "silent"))
    with pytest.raises(BadModel, match="has no variable 'thinking'"):
        load_reward_model(settings(reward_folder, template_arguments={"thinking": False}))


def test_label_probabilities_are_those_of_the_models_next_token(model_folder, tokenizer):
    """Against a plain forward pass of each question alone."""
    model, own = load_language_model(settings(model_folder))
    asked_of = questions(TEMPLATE, CASES)
    assert asked_of["case"].tolist() == [0, 0, 2, 2, 3, 3]
    for_a = []
    for text in asked_of["question"]:
        ids = tokenizer(f"<|user|>{text}<|end|><|assistant|>", add_special_tokens=False)["input_ids"]
        with torch.inference_mode():
            logits = model(input_ids=torch.tensor([ids])).logits[0, -1].float()
        a, b = (logits[tokenizer.convert_tokens_to_ids(label)].item() for label in "AB")
        for_a.append(1 / (1 + np.exp(b - a)))
    judged, told = judge_by_labels(model, own, CASES, TEMPLATE, 512, **BATCHING)
    wanted = [(for_a[n] + 1 - for_a[n + 1]) / 2 for n in (0, 2, 4)]
    assert judged["preference"].tolist() == pytest.approx([wanted[0], 0.5, *wanted[1:]], abs=2e-3)
    assert judged["as_first"].tolist() == pytest.approx([for_a[0], np.nan, for_a[2], for_a[4]], abs=2e-3, nan_ok=True)
    assert judged["as_second"].tolist() == pytest.approx(
        [1 - for_a[1], np.nan, 1 - for_a[3], 1 - for_a[5]], abs=2e-3, nan_ok=True
    )
    assert len(set(np.round(for_a, 3))) > 2 and told["too_long"] == 0 and 0 < told["label_probability"] < 0.1


def test_a_question_that_is_too_long_is_left_out(model_folder):
    model, tokenizer = load_language_model(settings(model_folder))
    limit = len(
        tokenizer("<|user|>Old maps? A a longer response B short<|end|><|assistant|>", add_special_tokens=False)["input_ids"]
    )
    judged, told = judge_by_labels(model, tokenizer, CASES, TEMPLATE, limit - 1, **BATCHING)
    assert judged["preference"].isna().tolist() == [False, False, True, False] and told["too_long"] == 1
    judged, told = judge_by_labels(model, tokenizer, CASES, TEMPLATE, 9, **BATCHING)
    assert told == {"too_long": 3, "label_probability": None} and judged["preference"].tolist()[1] == 0.5


def test_labels_are_one_token_each(tokenizer, model_folder):
    start = "<|user|>Which?<|end|><|assistant|>"
    assert label_tokens(tokenizer, start) == [tokenizer.convert_tokens_to_ids(label) for label in "AB"]

    class Joining:
        """Takes a letter and what is before it for one token."""

        def __call__(self, text, **_):
            return {"input_ids": [text[max(0, n - 1) : n + 1] for n in range(1, len(text), 2)]}

    with pytest.raises(BadModel, match="'A' is no single token"):
        label_tokens(Joining(), start)
    model = load_causal(model_folder)
    one = label_logps(model, [[5, 6, 7]], [8, 9, 10], **BATCHING)
    many = label_logps(model, [[5, 6, 7], [5] * 30, [9], [3, 4]], [8, 9, 10], **BATCHING)
    assert many[0] == pytest.approx(one[0], abs=0.02) and len(many) == 4 and many[0] != many[1]
    assert len(load_tokenizer(model_folder)) > 200 and all(value < 0 for row in many for value in row)
