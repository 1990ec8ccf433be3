import copy
import importlib
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
import torch
import yaml
from peft import PeftModel, get_peft_model
from safetensors.torch import load_file

import preference_study.training.run
import stages.judge_for
import stages.reference_logps
import stages.train_policy
import stages.train_reward
from preference_study.artifacts import read_json, read_table
from preference_study.methods import METHODS
from preference_study.models.language_models import (
    TokenPair,
    encode_pairs,
    load_causal,
    load_reward,
    load_tokenizer,
    new_reward_model,
    pair_logps,
    pair_rewards,
)
from preference_study.processes import check_processes
from preference_study.training.run import BetterThanChance, EpochSampler, StepLog, last_complete, lora, nats_per_token
from tests.conftest import ROOT
from tests.workspace import change, stage


def losses(folder: Path, name: str) -> list[float]:
    return list(pd.read_csv(folder / f"plots/{name}/plots/metrics/loss.tsv", sep="\t")["loss"])


PAIRS = [
    {"prompt_ids": [2, 10, 11, 1, 3], "chosen_ids": [20, 21, 1], "rejected_ids": [30, 1]},
    {"prompt_ids": [2, 12, 1, 3], "chosen_ids": [22, 1], "rejected_ids": [31, 32, 33, 1]},
]


class Tokens:
    """A pair as `pair_rewards` takes it."""

    def __init__(self, row):
        self.__dict__ = row


def test_the_order_depends_on_seed_and_epoch_alone():
    lengths = [7 * i % 31 for i in range(60)]
    sampler = EpochSampler(4, lengths, seed=1)
    first = list(sampler)
    assert sorted(first) == list(range(60)) and list(sampler) == first
    sampler.set_epoch(1)
    second = list(sampler)
    assert second != first
    other = EpochSampler(4, lengths, seed=1)
    other.set_epoch(1)
    assert list(other) == second
    # Neighbours are of like length: far less padding than in the order of the file.
    padding = [
        sum(max(lengths[i] for i in order[b : b + 4]) * 4 for b in range(0, 60, 4)) - sum(lengths) for order in (first, range(60))
    ]
    assert padding[0] < padding[1] / 2


def test_lora_reaches_the_top_layers_only(model_folder):
    model = load_causal(model_folder)
    assert lora(model, 0, None) is None
    attention, mlp = ("q_proj", "k_proj", "v_proj", "o_proj"), ("gate_proj", "up_proj", "down_proj")
    linear = [
        {f"model.layers.{layer}.{part}.{name}" for part, names in (("self_attn", attention), ("mlp", mlp)) for name in names}
        for layer in (0, 1)
    ]
    assert set(get_peft_model(copy.deepcopy(model), lora(model, 4, 1)).targeted_module_names) == linear[1]
    assert set(get_peft_model(copy.deepcopy(model), lora(model, 4, None)).targeted_module_names) == linear[0] | linear[1]


def test_the_adapters_configuration_is_the_same_in_every_process(model_folder, tmp_path):
    program = "import sys; from preference_study.models.language_models import load_causal; "
    program += "from preference_study.training.run import lora; m = load_causal(sys.argv[1]); "
    program += "lora(m, 4, None).save_pretrained(sys.argv[2])"
    for seed in "12":  # of the order in which Python walks through a set
        environment = os.environ | {"PYTHONHASHSEED": seed}
        subprocess.run(
            [sys.executable, "-c", program, str(model_folder), str(tmp_path / seed)], cwd=ROOT, env=environment, check=True
        )
    first, second = ((tmp_path / seed / "adapter_config.json").read_bytes() for seed in "12")
    assert first == second


@pytest.mark.parametrize("rank", [0, 4])
def test_a_killed_run_ends_where_an_unbroken_one_does(folder, monkeypatch, rank):
    change(folder, reward={"lora_rank": rank})
    stages.train_reward.main("standard")
    whole, whole_losses = load_weights(folder / "models/reward/standard"), losses(folder, "train_reward/standard")
    shutil.rmtree(folder / "models/reward")
    shutil.rmtree(folder / "plots")

    log = StepLog.on_log

    def killed(self, args, state, control, **kwargs):
        if state.global_step == 5:
            raise KeyboardInterrupt
        log(self, args, state, control, **kwargs)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(StepLog, "on_log", killed)
        stages.train_reward.main("standard")
    assert last_complete(folder / "checkpoints/train_reward/standard").name == "checkpoint-3"
    assert not (folder / "models/reward").exists()

    seen = []

    def watched(self, args, state, control, **kwargs):
        seen.append(state.global_step)
        log(self, args, state, control, **kwargs)

    monkeypatch.setattr(StepLog, "on_log", watched)
    stages.train_reward.main("standard")
    assert min(seen) == 4  # the first three steps were not done again
    assert losses(folder, "train_reward/standard") == whole_losses
    again = load_weights(folder / "models/reward/standard")
    assert all(torch.equal(whole[name], again[name]) for name in whole | again)
    assert not (folder / "checkpoints/train_reward/standard").exists()


def test_a_merged_adapter_gives_the_rewards_of_one_that_stays_apart(folder):
    change(folder, reward={"lora_rank": 4, "lora_layers": None, "learning_rate": 3e-2})
    stages.train_reward.main("standard")
    base, trained = folder / "models/base", folder / "models/reward/standard"
    merged = load_reward(base, trained, dtype=torch.float32)
    apart = PeftModel.from_pretrained(new_reward_model(base, 0, torch.float32), trained).eval()
    limits = {"max_batch": 4, "max_padded": 99, "description": "t"}
    pairs = [Tokens(p) for p in PAIRS]
    found, wanted = (pair_rewards(model, pairs, **limits) for model in (merged, apart))
    untrained = pair_rewards(new_reward_model(base, 0, torch.float32).eval(), pairs, **limits)
    for one, other, before in zip(found, wanted, untrained, strict=True):
        assert one == pytest.approx(other, abs=1e-4) and one != pytest.approx(before, abs=1e-2)


def load_weights(folder: Path) -> dict[str, torch.Tensor]:
    assert {p.suffix for p in folder.iterdir()} == {".json", ".safetensors"}  # no pickle
    return {name: tensor for file in folder.glob("*.safetensors") for name, tensor in load_file(file).items()}


def test_checkpoints_of_other_parameters_are_not_continued(folder, monkeypatch):
    def killed(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(StepLog, "on_train_end", killed)
        stages.train_reward.main("standard")
    assert last_complete(folder / "checkpoints/train_reward/standard")
    change(folder, reward={"learning_rate": 1e-3})
    seen = []
    monkeypatch.setattr(StepLog, "on_log", lambda self, args, state, *_, **__: seen.append(state.global_step))
    stages.train_reward.main("standard")
    assert min(seen) == 1


def test_a_diverging_run_stops_with_its_step_and_cause(folder):
    change(folder, reward={"learning_rate": 1e30})
    with pytest.raises(SystemExit, match=r"diverged at step \d+: loss .*learning rate"):
        stages.train_reward.main("standard")
    assert not (folder / "models/reward").exists()


@pytest.fixture(scope="module")
def referenced(ready) -> Path:
    """With what the methods need: the reference's log-probabilities and a reward model."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ready)
        stages.reference_logps.main()
        stages.train_reward.main("standard")
    return ready


@pytest.mark.parametrize("name", METHODS)
def test_every_method_trains_logs_and_counts(referenced, folder, name):
    stages.judge_for.main(name)
    stages.train_policy.main(name)
    told = read_json(folder / f"metrics/train_policy/{name}.json")
    seen = {"kto": 2 * 24 * 2, "rloo": 3 * 8 * 2}.get(name, 24 * 2)  # responses; sampled responses; pairs, twice
    assert told["examples"] == seen and told["steps"] == (3 if name == "rloo" else 6)
    tokenizer = load_tokenizer(folder / "models/base")
    pairs = encode_pairs(tokenizer, read_table(folder / "data/prepared/train.parquet")[:24], 96)
    if name != "rloo":
        assert told["tokens"] == 2 * sum(2 * len(p.prompt_ids) + len(p.chosen_ids) + len(p.rejected_ids) for p in pairs)
    cost = read_json(folder / f"metrics/train_cost/{name}.json")
    assert cost["seconds"] > 0 and cost["peak_memory_bytes"] > 1e8
    logged = {path.stem for path in (folder / f"plots/train_policy/{name}").rglob("*.tsv")}
    assert {"loss", "learning_rate", "grad_norm", "examples"} <= logged
    assert name != "rloo" or {"reward", "kl", "completions_mean_length"} <= logged
    before = dict(load_causal(folder / "models/base").named_parameters())
    after = dict(load_causal(folder / "models/base", folder / f"models/policy/{name}").named_parameters())
    changed = {key for key in before if not torch.equal(before[key], after[key])}
    assert before.keys() == after.keys() and changed and all(".layers.1." in key for key in changed)
    assert told["trained_parameters"] == sum(w.numel() for w in load_weights(folder / f"models/policy/{name}").values())
    assert len(read_json(folder / f"data/logps/{name}/val.json")) == 20


@pytest.mark.parametrize("name", ["kto", "rloo"])
def test_a_killed_method_ends_where_an_unbroken_one_does(referenced, folder, monkeypatch, name):
    rloo = yaml.safe_load((folder / "params.yaml").read_text())["policy"]["rloo"]
    change(folder, policy={"save_steps": 2, "rloo": rloo | {"steps": 4, "steps_per_generation": 2}})
    stages.judge_for.main(name)
    stages.train_policy.main(name)
    whole, whole_losses = load_weights(folder / f"models/policy/{name}"), losses(folder, f"train_policy/{name}")
    shutil.rmtree(folder / "models/policy")
    log = StepLog.on_log

    def killed(self, args, state, control, **kwargs):
        if state.global_step == 3:
            raise KeyboardInterrupt
        log(self, args, state, control, **kwargs)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(StepLog, "on_log", killed)
        stages.train_policy.main(name)
    assert last_complete(folder / f"checkpoints/train_policy/{name}").name == "checkpoint-2"
    stages.train_policy.main(name)
    assert losses(folder, f"train_policy/{name}") == whole_losses
    again = load_weights(folder / f"models/policy/{name}")
    assert all(torch.equal(whole[key], again[key]) for key in whole | again)
    # How long the whole of it took is not known.
    assert read_json(folder / f"metrics/train_cost/{name}.json")["seconds"] is None


@pytest.mark.parametrize("name", METHODS)
def test_a_diverging_method_stops_and_leaves_no_model(referenced, folder, name):
    own = yaml.safe_load((folder / "params.yaml").read_text())["policy"][name]
    change(folder, policy={name: own | {"learning_rate": 1e30}})
    stages.judge_for.main(name)
    with pytest.raises(SystemExit, match=r"diverged at step \d+: .*learning rate"):
        stages.train_policy.main(name)
    assert not (folder / "models/policy").exists() and not (folder / f"metrics/train_policy/{name}.json").exists()


def test_a_policy_that_unlearned_language_is_stopped(referenced, folder, monkeypatch):
    """Adam's steps are bounded: on a real model no number becomes infinite at a rate of 1000, and the model is rubbish."""
    nats = iter([2.0, 4.0, 50.0])  # before training; at the checkpoints of steps 3 and 6
    monkeypatch.setattr(preference_study.training.run, "nats_per_token", lambda model, pairs: next(nats))
    stages.judge_for.main("kto")
    with pytest.raises(SystemExit, match=r"diverged at step 6 .*50\.0 nats.*learning rate 0\.0001"):
        stages.train_policy.main("kto")
    assert not (folder / "models/policy").exists() and not (folder / "metrics/train_policy/kto.json").exists()


def test_chance_is_what_random_tokens_come_to(model_folder):
    model = load_causal(model_folder, dtype="float32").train()
    pairs = [TokenPair(**row, truncated=False) for row in PAIRS]
    before = nats_per_token(model, pairs)
    logp = [row["chosen_logp"] for row in pair_logps(model, pairs, max_batch=1, max_padded=64, description="")]
    assert before == pytest.approx(-sum(logp) / 5, abs=1e-4)  # of three and two tokens
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(40):
        for row in PAIRS:
            ids = torch.tensor([row["prompt_ids"] + row["chosen_ids"]])
            model(input_ids=ids, labels=ids).loss.backward()
            optimiser.step()
            optimiser.zero_grad()
    state, args = SimpleNamespace(global_step=7), SimpleNamespace(save_steps=7, learning_rate=1.0)
    check = BetterThanChance(model, pairs)
    check.on_save(args, state, None, model=model)
    head = model.get_output_embeddings().weight
    trained = head.detach().clone()
    for scale in (0.0, -20.0, float("nan")):  # all tokens alike; surely wrong; no numbers
        head.data = scale * trained
        with pytest.raises(SystemExit, match=r"diverged at step 7 .*random ones"):
            check.on_train_end(args, state, None, model=model)


def test_two_processes_do_what_one_does(folder):
    """With the reward model that asks most of several processes: a part of it works outside the model's forward pass."""
    variant = "product_of_experts"
    change(folder, generate={"temperature": 0.0, "batch_size": 4}, reward={"variants": [variant], "judge": variant})
    change(folder, stress={"variants": []}, best_of_n={"variants": []})
    commands = (["train_reward", variant], ["score_pairs"], ["generate", "base"])

    def results() -> tuple:
        return (
            losses(folder, f"train_reward/{variant}"),
            pd.DataFrame(read_json(folder / "data/scores/Rm_model_mark_on_val_1k.json")),
            pd.DataFrame(read_json(folder / "data/responses/generated/base.json")),
        )

    for module, *arguments in commands:
        importlib.import_module(f"stages.{module}").main(*arguments)
    one_losses, one_marks, one_responses = results()
    shutil.rmtree(folder / "data/scores")
    shutil.rmtree(folder / "data/responses")

    change(folder, launch={"processes": 2})
    for arguments in commands:
        stage(folder, *arguments)
    two_losses, two_marks, two_responses = results()
    assert two_losses == pytest.approx(one_losses, abs=2e-3)
    assert list(two_marks["id"]) == list(one_marks["id"]) and len(two_marks) == 20
    assert list(two_marks["chosen_reward"]) == pytest.approx(list(one_marks["chosen_reward"]), abs=0.02)
    assert two_responses.equals(one_responses) and len(two_responses) == 12


def test_too_few_processes_are_noticed():
    with pytest.raises(SystemExit, match=r"launch\.processes is 2, but 1 run"):
        check_processes(2)
