"""Which parameter reaches which setting of generation; every one has a value of its own."""

import pandas as pd
import pytest

import stages.generate
import stages.sample_responses
from preference_study.artifacts import read_dicts
from preference_study.engines import choice
from preference_study.launch import of_stage
from preference_study.models.generation import Response
from preference_study.params import Launch
from tests.workspace import change

GENERATE = {"temperature": 0.4, "top_p": 0.6, "batch_size": 5, "max_new_tokens": 7, "max_prompts": 3}


@pytest.fixture
def given(folder, monkeypatch) -> dict:
    """What a stage asks for, in a study in which nothing is written but the prompt's number and the sample's."""
    found: dict = {}

    def responses(policy, prompts, **settings):
        found.update(settings, policy=policy, prompts=prompts)
        every = range(settings.get("samples", 1))
        return [[Response(f"{n} {s}", n, n == 1, n == 2, [n], [n]) for s in every] for n in range(len(prompts))]

    for module in (stages.generate, choice):
        monkeypatch.setattr(module, "responses", responses)
    change(folder, seed=9, generate=GENERATE, best_of_n={"temperature": 0.8, "samples": 2, "max_prompts": 4})
    change(folder, launch={"processes": 2})
    return found


@pytest.mark.parametrize(("policy", "adapter"), [("base", None), ("dpo", "dpo")])
def test_of_base_and_of_a_policy(given, policy, adapter):
    stages.generate.main(policy)
    vllm = given.pop("vllm")
    prompts = given.pop("prompts")
    assert vllm.python == ".vllm/bin/python" and given == {
        "policy": adapter, "engine": "transformers", "processes": 2, "max_new_tokens": 7, "batch_size": 5, "temperature": 0.4,
        "top_p": 0.6, "seed": 9, "description": policy,
    }  # fmt: skip
    rows = read_dicts(f"data/responses/generated/{policy}.parquet")
    assert [row["prompt"] for row in rows] == prompts and len(prompts) == 3
    of_each = [(row["response"], row["tokens"], row["finished"], row["prompt_truncated"], row["policy"]) for row in rows]
    assert of_each == [(f"{n} 0", n, n == 1, n == 2, policy) for n in range(3)]


@pytest.mark.parametrize(("stage", "rows", "limit"), [("generate", "generated/base", 3), ("sample_responses", "samples", 4)])
def test_which_prompts_and_what_each_belongs_to(folder, given, stage, rows, limit):
    """By the data's seed, with the cluster and the category of the columns that the parameters name."""
    prompts = pd.DataFrame({"prompt": [f"Say {n}." for n in range(20)], "author": [f"a{n % 7}" for n in range(20)]})
    prompts["kind"] = [f"k{n % 3}" for n in range(20)]
    prompts.to_parquet("own.parquet")
    change(folder, data={"cluster": "author", "seed": 6}, generate={"prompts": "own.parquet", "category": "kind"})
    getattr(stages, stage).main(*["base"] * (stage == "generate"))
    found = {int(row["prompt"][0]["content"][4:-1]): row for row in read_dicts(f"data/responses/{rows}.parquet")}
    assert sorted(found) == sorted(prompts.sample(limit, random_state=6).index)
    assert all(row["cluster"] == f"a{n % 7}" for n, row in found.items())
    if stage == "generate":
        assert all(row["category"] == f"k{n % 3}" for n, row in found.items())


def test_of_samples(given):
    stages.sample_responses.main()
    vllm = given.pop("vllm")
    prompts = given.pop("prompts")
    assert vllm.python == ".vllm/bin/python" and given == {
        "policy": None, "engine": "transformers", "processes": 2, "max_new_tokens": 7, "batch_size": 5, "temperature": 0.8,
        "samples": 2, "seed": 9, "description": "samples of base",
    }  # fmt: skip
    rows = read_dicts("data/responses/samples.parquet")
    assert [row["prompt"] for row in rows[::2]] == prompts and len(prompts) == 4
    assert [(row["response"], row["sample"], row["tokens"], row["finished"]) for row in rows] == [
        (f"{n} {s}", s, n, n == 1) for n in range(4) for s in range(2)
    ]


@pytest.mark.parametrize(("engine", "module"), [("transformers", "respond"), ("vllm", "respond_by_vllm")])
def test_either_engine_gets_what_was_asked_for(monkeypatch, engine, module):
    seen = {}
    for name in ("respond", "respond_by_vllm"):
        monkeypatch.setattr(choice, name, lambda *place, name=name, **named: seen.update({name: (place, named)}))
    monkeypatch.setattr(choice, "load_tokenizer", lambda path: f"tokenizer of {path}")
    monkeypatch.setattr(choice, "load_causal", lambda *paths: paths)
    monkeypatch.setattr(choice, "for_generating", lambda model: model)
    monkeypatch.setattr(choice, "check_processes", lambda processes: seen.update(processes=processes))
    asked = {"max_new_tokens": 7, "temperature": 0.4, "seed": 9}
    own = {"engine": engine, "vllm": "there", "processes": 3, "batch_size": 11, "samples": 4, "description": "d"}
    choice.responses("dpo", ["a prompt"], **own, **asked)
    model = ("models/base", "models/policy/dpo")
    if engine == "vllm":
        wanted = (*model, "tokenizer of models/base", ["a prompt"], "there"), {"batch_size": 11, "samples": 4} | asked
        assert seen == {module: wanted}
    else:  # which batches prompts
        named = {"batch_size": 2, "samples": 4, "description": "d"} | asked
        assert seen == {module: ((model, "tokenizer of models/base", ["a prompt"]), named), "processes": 3}


def test_vllm_shares_its_work_out_itself_and_starts_in_one_process():
    several = Launch(processes=8, machines=2, accelerate_config="params/fsdp.yaml")
    alone = Launch(processes=1, machines=1, accelerate_config=None)
    for stage in ("generate", "sample_responses"):
        assert of_stage(several, stage, "vllm") == alone and of_stage(several, stage, "transformers") == several
    assert of_stage(several, "train_policy", "vllm") == several
