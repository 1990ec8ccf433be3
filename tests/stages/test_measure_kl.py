"""A policy's own responses and how likely they are, token by token, to it and to base."""

import shutil

import pytest
import torch

import stages.measure_kl
from preference_study.artifacts import read_json
from preference_study.data.prompts import prompts_of_file
from preference_study.models import generation
from preference_study.models.language_models import load_causal
from tests.workspace import change


@pytest.fixture
def policy(folder):
    """A policy that is the base model with its embeddings, and so its logits, made larger."""
    base = load_causal("models/base")
    shutil.copytree("models/base", "models/policy/dpo")
    with torch.no_grad():
        base.get_input_embeddings().weight.mul_(30)
    base.save_pretrained("models/policy/dpo")
    return folder


def test_each_token_has_its_log_probability_under_policy_and_base(policy, monkeypatch):
    change(policy, generate={"kl_prompts": 5, "max_new_tokens": 7, "batch_size": 4, "temperature": 0.0})
    change(policy, data={"cluster": "author", "seed": 6})
    asked, chosen = [], []

    def prompts_asked(*given, **named):
        chosen.append((given, named))
        return prompts_of_file(*given, **named)

    monkeypatch.setattr(stages.measure_kl, "prompts_of_file", prompts_asked)

    def respond(model, tokenizer, prompts, **settings):
        sampled = generation.respond(model, tokenizer, prompts, **settings)
        asked.append((prompts, settings, [response for [response] in sampled]))
        return sampled

    monkeypatch.setattr(stages.measure_kl, "respond", respond)
    stages.measure_kl.main("dpo")
    rows = read_json("data/kl/dpo.json")
    prompts = prompts_of_file("data/prepared/val.parquet", 5, 6)
    [(given, settings, responses)] = asked
    assert chosen == [(("data/prepared/val.parquet", 5, 6, "author"), {"columns": None})]
    assert given == list(prompts["prompt"]) and [row["id"] for row in rows] == list(prompts["id"])
    assert [row["cluster"] for row in rows] == list(prompts["cluster"])
    wanted = {"max_new_tokens": 7, "batch_size": 4, "temperature": 1.0, "seed": 1, "description": "dpo, sampled"}
    assert settings == wanted
    for row, response in zip(rows, responses, strict=True):
        assert (row["response"], row["finished"], row["tokens"]) == (response.text, response.finished, len(response.ids))
        for name, place in (("policy", "models/policy/dpo"), ("base", "models/base")):
            logits = load_causal(place)(input_ids=torch.tensor([response.prompt_ids + response.ids])).logits[0].float()
            start = len(response.prompt_ids) - 1
            by_hand = [logits.log_softmax(-1)[start + i, token].item() for i, token in enumerate(response.ids)]
            assert row[f"{name}_logps"] == pytest.approx(by_hand, abs=0.06)
    assert sum(sum(row["policy_logps"]) - sum(row["base_logps"]) for row in rows) > 5


def test_a_policy_that_is_base_is_at_no_distance_from_it(folder):
    shutil.copytree("models/base", "models/policy/dpo")
    stages.measure_kl.main("dpo")
    rows = read_json("data/kl/dpo.json")
    assert len(rows) == 6 and all(row["policy_logps"] == row["base_logps"] for row in rows)


def test_none_is_measured_where_none_is_asked_for(folder):
    change(folder, generate={"kl_prompts": 0})
    stages.measure_kl.main("dpo")
    assert read_json("data/kl/dpo.json") == []
