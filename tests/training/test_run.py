import copy
import json
import math
import os
import resource
import shutil
import sys
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
import torch
import yaml
from datasets import Dataset
from peft import PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import TrainerState
from trl import RewardConfig

import preference_study.training.run
import stages.judge_for
import stages.reference_logps
import stages.train_policy
import stages.train_reward
from preference_study.artifacts import read_json, read_table
from preference_study.data.sampling import seen_by_policies
from preference_study.methods import METHODS
from preference_study.models.language_models import (
    load_causal,
    load_reward,
    load_tokenizer,
    new_reward_model,
    pair_logps,
    pair_rewards,
)
from preference_study.models.tokens import TokenPair, encode_pairs
from preference_study.processes import check_processes
from preference_study.sections import Training
from preference_study.training.run import (
    COMPLETE,
    BetterThanChance,
    CompleteMark,
    EpochSampler,
    PairedByLength,
    StepLog,
    arguments,
    code_of,
    fingerprint,
    last_complete,
    lora,
    nats_per_token,
    peak_memory,
    train,
    training_counts,
)
from tests.workspace import change


def losses(folder: Path, name: str) -> list[float]:
    return list(pd.read_csv(folder / f"plots/{name}/plots/metrics/loss.tsv", sep="\t")["loss"])


PAIRS = [
    {"prompt_ids": [2, 10, 11, 1, 3], "chosen_ids": [20, 21, 1], "rejected_ids": [30, 1]},
    {"prompt_ids": [2, 12, 1, 3], "chosen_ids": [22, 1], "rejected_ids": [31, 32, 33, 1]},
]


def test_the_order_depends_on_seed_and_epoch_alone():
    lengths = [7 * i % 31 for i in range(60)]
    sampler = EpochSampler(4, lengths, seed=1)
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    first = list(sampler)
    assert sorted(first) == list(range(60)) and list(sampler) == first
    sampler.set_epoch(1)
    second = list(sampler)
    assert second != first
    other = EpochSampler(4, lengths, seed=1)
    other.set_epoch(1)
    assert list(other) == second
    # Not even the second seed's first epoch is the first seed's second one; and no one else's stream of chance is drawn from.
    assert list(EpochSampler(4, lengths, seed=2)) not in (first, second)
    assert torch.rand(1) == expected
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


def test_loras_scale_is_two_and_what_is_more_is_passed_on(model_folder):
    model = load_causal(model_folder)
    made = lora(model, 6, 1, task_type="SEQ_CLS", modules_to_save=["score"])
    assert (made.r, made.lora_alpha, made.lora_dropout) == (6, 12, 0.0)
    assert (made.task_type, made.modules_to_save) == ("SEQ_CLS", ["score"])
    assert lora(model, 6, 9).target_modules == lora(model, 6, None).target_modules  # more layers than there are


SECTION = Training(
    epochs=3.5, batch_size=12, gradient_accumulation_steps=5, warmup=0.07, max_length=64, lora_rank=4, lora_layers=2,
    gradient_checkpointing=False, save_steps=11, evaluations=0,
)  # fmt: skip


def trl_configuration(learning_rate=0.02, seed=7, folder="somewhere", **section) -> dict:
    made = arguments(SECTION.model_copy(update=section), learning_rate, seed, Path(folder))
    return RewardConfig(**made).to_dict()


def test_what_every_training_has():
    wanted = {
        "output_dir": "somewhere", "learning_rate": 0.02, "num_train_epochs": 3.5, "per_device_train_batch_size": 12,
        "per_device_eval_batch_size": 12, "gradient_accumulation_steps": 5, "lr_scheduler_type": "cosine", "warmup_steps": 0.07,
        "gradient_checkpointing": False, "seed": 7, "data_seed": 7, "logging_steps": 1, "eval_strategy": "no",
        "eval_steps": None, "prediction_loss_only": True, "save_strategy": "steps", "save_steps": 11, "save_total_limit": 2,
        "remove_unused_columns": False, "report_to": [],
    }  # fmt: skip
    found = trl_configuration()
    assert {name: found[name] for name in wanted} == wanted
    assert found["use_cpu"] == (not torch.accelerator.is_available())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_a_training_computes_in_what_the_machine_does(monkeypatch, dtype):
    monkeypatch.setattr(preference_study.training.run, "compute_dtype", lambda: dtype)
    found = trl_configuration()
    assert (found["bf16"], found["fp16"]) == (dtype == torch.bfloat16, False)


@pytest.mark.parametrize(
    ("changed", "wanted"),
    [
        ({"learning_rate": 0.03}, {"learning_rate": 0.03}),
        ({"seed": 8}, {"seed": 8, "data_seed": 8}),
        ({"folder": "elsewhere"}, {"output_dir": "elsewhere"}),
        ({"epochs": 2}, {"num_train_epochs": 2}),
        ({"batch_size": 6}, {"per_device_train_batch_size": 6, "per_device_eval_batch_size": 6}),
        ({"gradient_accumulation_steps": 3}, {"gradient_accumulation_steps": 3}),
        ({"warmup": 0.2}, {"warmup_steps": 0.2}),
        ({"gradient_checkpointing": True}, {"gradient_checkpointing": True, "activation_checkpointing": True}),  # its newer name
        ({"save_steps": 13}, {"save_steps": 13}),
        ({"evaluations": 4}, {"eval_strategy": "steps", "eval_steps": 0.25, "do_eval": True}),
        ({"max_length": 32, "lora_rank": 0, "lora_layers": None}, {}),  # other places take these
    ],
)
def test_each_option_changes_what_it_should_and_nothing_else(changed, wanted):
    before, after = trl_configuration(), trl_configuration(**changed)
    assert {name: after[name] for name in after if after[name] != before[name]} == wanted


@pytest.mark.parametrize(("evaluations", "steps"), [(1, 20), (2, 10), (4, 5), (20, 1)])
def test_training_is_evaluated_as_often_as_asked(evaluations, steps):
    state = TrainerState()
    state.compute_steps(
        RewardConfig(**arguments(SECTION.model_copy(update={"evaluations": evaluations}), 0.02, 7, Path("x"))), 20
    )
    assert state.eval_steps == steps


def test_processes_share_a_batch(monkeypatch):
    monkeypatch.setattr(preference_study.training.run, "PartialState", lambda: SimpleNamespace(num_processes=4))
    made = arguments(SECTION, 0.02, 7, Path("somewhere"))
    assert (made["per_device_train_batch_size"], made["per_device_eval_batch_size"]) == (3, 3)
    assert made["gradient_accumulation_steps"] == 5


def test_batches_by_length_are_over_all_processes():
    paired = PairedByLength()
    paired.args = SimpleNamespace(train_batch_size=3, eval_batch_size=5, world_size=2, seed=7, data_seed=8)
    paired.train_dataset = Dataset.from_dict({"length": [5 * i % 37 for i in range(40)]})
    other = Dataset.from_dict({"length": [3 * i % 23 for i in range(40)]})
    assert list(paired._get_train_sampler()) == list(EpochSampler(6, paired.train_dataset["length"], 7))
    assert list(paired._get_train_sampler(other)) == list(EpochSampler(6, other["length"], 7))
    assert list(paired._get_eval_sampler(other)) == list(EpochSampler(10, other["length"], 7))


def test_the_fingerprint_sees_everything_that_decides_a_run(model_folder):
    model, judge = load_causal(model_folder), new_reward_model(model_folder, 1)
    settings, rows = {"beta": 0.1, "epochs": 2}, [{"length": 3, "ids": [1, 2]}, {"length": 4, "ids": [3, 4]}]

    def made(models=(model, judge), rows=rows, settings=settings, seed=5, code="a", judged=()) -> str:
        return fingerprint(models, list(map(Dataset.from_list, (rows, *judged))), settings, seed, {"code": code})

    same = made()
    assert made(settings={"epochs": 2, "beta": 0.1}) == same
    others = [
        made(models=(model,)),
        made(models=(model, new_reward_model(model_folder, 2))),
        made(rows=rows[::-1]),
        made(rows=[rows[0], {"length": 4, "ids": [3, 5]}]),
        made(rows=[rows[0], {"length": 5, "ids": [3, 4]}]),
        made(settings=settings | {"beta": 0.2}),
        made(settings={"gamma": 0.1, "epochs": 2}),
        made(seed=6),
        made(code="b"),
        made(judged=[rows]),
        made(judged=[rows[:1]]),
    ]
    with torch.no_grad():
        next(model.parameters())[0, 0] += 1
    others.append(made())
    assert len({same, *others}) == 13


def test_the_code_of_a_training_is_its_own_files_and_those_that_trainings_share(tmp_path, monkeypatch):
    for name in (
        "training/run.py",
        "training/losses.py",
        "models/packed.py",
        "methods/__init__.py",
        "methods/dpo.py",
        "methods/ipo.py",
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("same = 1\n")
    monkeypatch.setattr(preference_study.training.run, "__file__", str(tmp_path / "training/run.py"))
    first = code_of("methods", "dpo")
    assert first["trl"] == version("trl") and {"torch", "transformers", "peft"} < first.keys()
    for precision in (torch.float16, torch.float32):
        monkeypatch.setattr(preference_study.training.run, "compute_dtype", lambda precision=precision: precision)
        assert code_of("methods", "dpo") == first | {"precision": str(precision)}
    first = code_of("methods", "dpo")
    assert code_of("methods", "ipo")["code"] != first["code"]  # another file, if of the same words
    (tmp_path / "methods/ipo.py").write_text("other = 1\n")
    assert code_of("methods", "dpo") == first
    for name in ("training/losses.py", "models/packed.py", "methods/__init__.py", "methods/dpo.py"):
        (tmp_path / name).write_text("other = 1\n")
        assert code_of("methods", "dpo")["code"] != first["code"]
        (tmp_path / name).write_text("same = 1\n")
    assert code_of("methods", "dpo") == first


def test_one_process_trains_on_one_gpu(tmp_path):
    """transformers would copy the model to each, and take a batch for each."""
    trainer = SimpleNamespace(args=SimpleNamespace(n_gpu=8))
    with pytest.raises(SystemExit, match="one process sees 8 GPUs"):
        train(trainer, tmp_path / "checkpoints", "run", tmp_path / "log", tmp_path / "target")
    assert not list(tmp_path.iterdir())


def logged_by(log: StepLog, *logs: dict, history=()) -> dict[str, dict[int, float]]:
    """What a run of these logs, each with its step, leaves in the log's folder: {name: {step: value}}."""
    state = SimpleNamespace(is_world_process_zero=True, log_history=history, global_step=0)
    log.on_train_begin(None, state, None)
    for line in logs:
        state.global_step = line["step"]
        log.on_log(None, state, None, logs={key: value for key, value in line.items() if key != "step"})
    log.on_train_end(None, state, None)
    tables = {path.stem: pd.read_csv(path, sep="\t") for path in (log.folder / "plots/metrics").glob("*.tsv")}
    return {name: dict(zip(table["step"], table[name], strict=True)) for name, table in tables.items()}


def test_each_number_is_logged_under_its_own_name(tmp_path):
    names = (
        "loss", "learning_rate", "grad_norm", "accuracy", "margin", "rewards/accuracies", "rewards/margins",
        "rewards/chosen", "rewards/rejected", "reward", "kl",
        "completions/mean_length", "completions/clipped_ratio",
    )  # fmt: skip
    numbers = {name: 1.5 + place for place, name in enumerate(names)}
    told = logged_by(
        StepLog(tmp_path, rows=40, untrained_loss=0.875),
        {"step": 3, "epoch": 0.3, "entropy": 9.0, "num_tokens": 8.0} | numbers,
        {"step": 4, "epoch": 0.45, "eval_loss": 0.75, "eval_runtime": 7.0, "eval_accuracy": 6.0},
        {"step": 4, "epoch": 0.45, "train_runtime": 5.0, "train_loss": 4.0},
        history=[{"step": 2, "epoch": 0.2, "loss": 0.5, "grad_norm": 0.25}, {"step": 1, "epoch": 0.125, "eval_loss": 0.8125}],
    )
    wanted = {name.replace("/", "_"): {3: value} for name, value in numbers.items()}
    wanted["loss"], wanted["grad_norm"] = {2: 0.5, 3: numbers["loss"]}, {2: 0.25, 3: numbers["grad_norm"]}
    wanted["examples"] = {2: 8, 3: 12}
    wanted["validation_loss"] = {0: 0.875, 1: 0.8125, 4: 0.75}
    wanted["validation_examples"] = {0: 0, 1: 5, 4: 18}
    assert told == wanted
    last = json.loads((tmp_path / "metrics.json").read_text())
    assert (last["validation_loss"], last["grad_norm"], last["step"]) == (0.75, numbers["grad_norm"], 4)


def test_an_unknown_untrained_loss_is_not_logged_and_one_of_nothing_is(tmp_path):
    step = {"step": 1, "epoch": 0.1, "loss": 2.0}
    assert logged_by(StepLog(tmp_path / "none", 40, None), step) == {"loss": {1: 2.0}, "examples": {1: 4}}
    assert logged_by(StepLog(tmp_path / "zero", 40, 0.0), step)["validation_loss"] == {0: 0.0}


@pytest.mark.parametrize(
    ("logs", "numbers"),
    [
        ({"loss": 0.5, "grad_norm": math.nan, "learning_rate": 0.125}, "loss 0.5, gradient norm nan, learning rate 0.125"),
        ({"loss": 0.5, "grad_norm": math.inf, "learning_rate": 0.125}, "loss 0.5, gradient norm inf, learning rate 0.125"),
        ({"loss": math.nan, "grad_norm": 0.25, "learning_rate": 0.125}, "loss nan, gradient norm 0.25, learning rate 0.125"),
        ({"loss": -math.inf, "learning_rate": 0.125}, "loss -inf, gradient norm 0.0, learning rate 0.125"),
        ({"eval_loss": math.nan}, "loss nan, gradient norm 0.0, learning rate None"),
    ],
)
def test_no_number_stops_a_run_in_every_process(tmp_path, logs, numbers):
    log = StepLog(tmp_path / "log", 40, None)
    state = SimpleNamespace(is_world_process_zero=False, log_history=[], global_step=17)
    log.on_train_begin(None, state, None)
    log.on_log(None, state, None, logs={"loss": 1.0, "grad_norm": 2.0, "epoch": 0.1})  # numbers: it goes on
    log.on_log(None, state, None, logs=None)
    with pytest.raises(SystemExit) as stopped:
        log.on_log(None, state, None, logs=logs)
    remedy = "lower the learning rate or lengthen the warm-up"
    assert str(stopped.value) == f"training diverged at step 17: {numbers}; {remedy}"
    assert not (tmp_path / "log").exists()  # one process alone writes


@pytest.mark.parametrize("before", [2.0, 5.0, 8.0])
@pytest.mark.parametrize("called", ["on_save", "on_train_end"])
def test_a_policy_is_stopped_at_its_limit_and_not_just_below(monkeypatch, model_folder, called, before):
    """Of 260 tokens chance is log 260 = 5.56 nats; the limit is 99 percent of it, or a nat more than before training."""
    model, pairs = load_causal(model_folder), [TokenPair(**row, truncated=False) for row in PAIRS]
    chance = math.log(model.config.vocab_size)
    limit = {2.0: 0.99 * chance, 5.0: 6.0, 8.0: 9.0}[before]
    asked, found = [], iter([before, limit - 1e-6, limit, limit + 2])

    def nats(model, pairs):
        asked.append((model, pairs))
        return next(found)

    monkeypatch.setattr(preference_study.training.run, "nats_per_token", nats)
    check, trained = BetterThanChance(model, pairs), object()
    state, args = SimpleNamespace(global_step=21), SimpleNamespace(save_steps=9, learning_rate=0.5)
    getattr(check, called)(args, state, None, model=trained)
    for value in (limit, limit + 2):
        with pytest.raises(SystemExit) as stopped:
            getattr(check, called)(args, state, None, model=trained)
        assert "at step 21 or in the 9 before" in str(stopped.value)
        assert f"({value:.1f} nats a token, random ones {chance:.1f}), learning rate 0.5; lower" in str(stopped.value)
    assert asked == [(model, pairs)] + 3 * [(trained, pairs)]


def test_the_newest_whole_checkpoint_is_gone_on_from(tmp_path):
    assert last_complete(tmp_path) is None
    for step in (9, 10, 11):
        (tmp_path / f"checkpoint-{step}").mkdir()
        (tmp_path / f"checkpoint-{step}/trainer_state.json").write_text("{}")
        save_file({"a": torch.ones(3)}, tmp_path / f"checkpoint-{step}/model.safetensors")
    args = SimpleNamespace(output_dir=str(tmp_path))
    for step, first in ((9, True), (10, True), (11, False)):
        state = SimpleNamespace(global_step=step, is_world_process_zero=first)
        CompleteMark().on_save(args, state, None)
    assert last_complete(tmp_path).name == "checkpoint-10"


def test_a_checkpoint_is_on_the_disk_before_it_is_marked(tmp_path, monkeypatch):
    folder, flushed = tmp_path / "checkpoint-3", []
    (folder / "part").mkdir(parents=True)
    for name in ("trainer_state.json", "optimizer.pt", "part/weights"):
        (folder / name).write_text(name)
    monkeypatch.setattr(
        os,
        "fsync",
        lambda number: flushed.append((str(Path(f"/proc/self/fd/{number}").readlink()), (folder / COMPLETE).exists())),
    )
    state = SimpleNamespace(global_step=3, is_world_process_zero=True)
    CompleteMark().on_save(SimpleNamespace(output_dir=str(tmp_path)), state, None)
    assert set(flushed) == {(str(folder / name), False) for name in ("trainer_state.json", "optimizer.pt", "part/weights")}
    assert (folder / COMPLETE).exists()


@pytest.mark.parametrize("damage", [
    lambda folder: (folder / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:-4]),
    lambda folder: (folder / "model.safetensors").write_bytes(b"\xff" * len((folder / "model.safetensors").read_bytes())),
    lambda folder: (folder / "model.safetensors").unlink(),
    lambda folder: (folder / "trainer_state.json").write_text("["),
    lambda folder: (folder / COMPLETE).write_text(""),
])  # fmt: skip
def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(tmp_path, capsys, damage):
    args = SimpleNamespace(output_dir=str(tmp_path))
    for step in (2, 4):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        (folder / "trainer_state.json").write_text("{}")
        save_file({"a": torch.ones(3)}, folder / "model.safetensors")
        CompleteMark().on_save(args, SimpleNamespace(global_step=step, is_world_process_zero=True), None)
    damage(tmp_path / "checkpoint-4")
    assert last_complete(tmp_path).name == "checkpoint-2"
    assert "checkpoint-4 is damaged and passed over" in capsys.readouterr().out
    damage(tmp_path / "checkpoint-2")
    assert last_complete(tmp_path) is None  # training begins again


def test_the_counts_are_each_of_their_own_column():
    def pairs(whole: int, truncated: int) -> list[TokenPair]:
        return [TokenPair([1], [2], [3], place < truncated, 3 if place < truncated else 0) for place in range(whole + truncated)]

    model = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.Linear(2, 1, bias=False))
    model[1].requires_grad_(requires_grad=False)
    model.num_parameters = lambda only_trainable: sum(
        weights.numel() for weights in model.parameters() if weights.requires_grad or not only_trainable
    )
    trainer = SimpleNamespace(model=model, state=SimpleNamespace(global_step=31, max_steps=99))
    assert training_counts(trainer, {"train": pairs(10, 4), "val": pairs(3, 2)}) == {
        "train_pairs": 14, "train_pairs_truncated": 4, "val_pairs_truncated": 2, "train_turns_dropped": 12,
        "val_turns_dropped": 6, "trained_parameters": 8, "steps": 31,
    }  # fmt: skip


@pytest.mark.parametrize(("kind", "platform", "wanted"), [("cpu", "linux", 7168), ("cpu", "darwin", 7), ("cuda", "linux", 5)])
def test_the_most_memory_is_in_bytes_and_the_accelerators_where_there_is_one(monkeypatch, kind, platform, wanted):
    monkeypatch.setattr(preference_study.training.run, "device", lambda: torch.device(kind))
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(resource, "getrusage", lambda who: SimpleNamespace(ru_maxrss=7) if who == resource.RUSAGE_SELF else None)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda: 5)
    assert peak_memory() == wanted


def test_the_adapters_configuration_is_the_same_in_every_process(model_folder):
    """Python walks through a set in another order in every process, so none may be written."""
    for top in (None, 1):
        config = vars(lora(load_causal(model_folder), 4, top))
        assert [name for name, value in config.items() if isinstance(value, (set, frozenset))] == []


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
    pairs = [TokenPair(**p, truncated=False) for p in PAIRS]
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
def with_reference(ready, tmp_path_factory) -> Path:
    """A copy with what the methods need: the reference's log-probabilities and a reward model."""
    copy = tmp_path_factory.mktemp("referenced") / "run"
    shutil.copytree(ready, copy)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(copy)
        stages.reference_logps.main()
        stages.train_reward.main("standard")
    return copy


@pytest.fixture
def referenced(with_reference, tmp_path, monkeypatch) -> Path:
    """A copy of it, in which the test runs."""
    shutil.copytree(with_reference, tmp_path / "run")
    monkeypatch.chdir(tmp_path / "run")
    return tmp_path / "run"


@pytest.mark.parametrize("name", METHODS)
def test_every_method_trains_logs_and_counts(referenced, name):
    stages.judge_for.main(name)
    stages.train_policy.main(name)
    told = read_json(referenced / f"metrics/train_policy/{name}.json")
    seen = {"kto": 2 * 24 * 2, "rloo": 3 * 8 * 2}.get(name, 24 * 2)  # responses; sampled responses; pairs, twice
    assert told["examples"] == seen and told["steps"] == (3 if name == "rloo" else 6)
    tokenizer = load_tokenizer(referenced / "models/base")
    table = read_table(referenced / "data/prepared/train.parquet")
    pairs = encode_pairs(tokenizer, table[seen_by_policies(table, 24, 1)], 96)
    if name != "rloo":
        assert told["tokens"] == 2 * sum(2 * len(p.prompt_ids) + len(p.chosen_ids) + len(p.rejected_ids) for p in pairs)
    cost = read_json(referenced / f"metrics/train_cost/{name}.json")
    assert cost["seconds"] > 0 and cost["peak_memory_bytes"] > 1e8
    logged = {path.stem for path in (referenced / f"plots/train_policy/{name}").rglob("*.tsv")}
    assert {"loss", "learning_rate", "grad_norm", "examples"} <= logged
    assert name != "rloo" or {"reward", "kl", "completions_mean_length", "clip_ratio_region_mean"} <= logged
    before = dict(load_causal(referenced / "models/base").named_parameters())
    after = dict(load_causal(referenced / "models/base", referenced / f"models/policy/{name}").named_parameters())
    changed = {key for key in before if not torch.equal(before[key], after[key])}
    assert before.keys() == after.keys() and changed and all(".layers.1." in key for key in changed)
    assert told["trained_parameters"] == sum(w.numel() for w in load_weights(referenced / f"models/policy/{name}").values())
    assert len(read_json(referenced / f"data/logps/{name}/val.json")) == 20


@pytest.mark.parametrize("name", ["kto", "rloo"])
def test_a_killed_method_ends_where_an_unbroken_one_does(referenced, monkeypatch, name):
    rloo = yaml.safe_load((referenced / "params.yaml").read_text())["policy"]["rloo"]
    change(referenced, policy={"save_steps": 2, "rloo": rloo | {"steps": 4, "steps_per_generation": 2}})
    stages.judge_for.main(name)
    stages.train_policy.main(name)
    whole, whole_losses = load_weights(referenced / f"models/policy/{name}"), losses(referenced, f"train_policy/{name}")
    shutil.rmtree(referenced / "models/policy")
    log = StepLog.on_log

    def killed(self, args, state, control, **kwargs):
        if state.global_step == 3:
            raise KeyboardInterrupt
        log(self, args, state, control, **kwargs)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(StepLog, "on_log", killed)
        stages.train_policy.main(name)
    assert last_complete(referenced / f"checkpoints/train_policy/{name}").name == "checkpoint-2"
    stages.train_policy.main(name)
    assert losses(referenced, f"train_policy/{name}") == whole_losses
    again = load_weights(referenced / f"models/policy/{name}")
    assert all(torch.equal(whole[key], again[key]) for key in whole | again)
    # How long the whole of it took is not known.
    assert read_json(referenced / f"metrics/train_cost/{name}.json")["seconds"] is None


@pytest.mark.parametrize(("name", "epochs"), [("dpo", 2), ("dpo", 1.5), ("rloo", 1)])
def test_what_ends_badly_after_the_last_step_need_not_be_trained_again(referenced, monkeypatch, capsys, name, epochs):
    rloo = yaml.safe_load((referenced / "params.yaml").read_text())["policy"]["rloo"]
    change(referenced, policy={"epochs": epochs, "rloo": rloo | {"steps": 2}})  # two of an epoch's three
    stages.judge_for.main(name)
    stages.train_policy.main(name)
    assert not (referenced / f"checkpoints/train_policy/{name}").exists()
    told, weights = (
        read_json(referenced / f"metrics/train_policy/{name}.json"),
        load_weights(referenced / f"models/policy/{name}"),
    )
    logged = losses(referenced, f"train_policy/{name}")
    for place in ("models/policy", f"plots/train_policy/{name}", f"metrics/train_policy/{name}.json"):
        shutil.rmtree(referenced / place) if (referenced / place).is_dir() else (referenced / place).unlink()

    def killed(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(stages.train_policy, "pair_logps", killed)
        stages.train_policy.main(name)
    shutil.rmtree(referenced / "models/policy")  # as DVC does
    shutil.rmtree(referenced / f"plots/train_policy/{name}")
    with monkeypatch.context() as patch:
        patch.setattr(preference_study.training.run.Trainer, "training_step", lambda *_, **__: pytest.fail("one step more"))
        stages.train_policy.main(name)
    assert f"going on from checkpoints/train_policy/{name}/checkpoint-{told['steps']}" in capsys.readouterr().out
    assert read_json(referenced / f"metrics/train_policy/{name}.json") == told
    assert losses(referenced, f"train_policy/{name}") == logged
    again = load_weights(referenced / f"models/policy/{name}")
    assert all(torch.equal(weights[key], again[key]) for key in weights | again)
    assert not (referenced / f"checkpoints/train_policy/{name}").exists()


def test_a_training_that_ends_early_leaves_no_model(referenced, monkeypatch):
    monkeypatch.setattr(
        preference_study.training.run.Trainer, "train", lambda trainer, **_: setattr(trainer.state, "max_steps", 6)
    )
    with pytest.raises(SystemExit, match="training ended after 0 of 6 steps"):
        stages.train_policy.main("dpo")
    assert not (referenced / "models/policy").exists()


@pytest.mark.parametrize("name", METHODS)
def test_a_diverging_method_stops_and_leaves_no_model(referenced, name):
    own = yaml.safe_load((referenced / "params.yaml").read_text())["policy"][name]
    change(referenced, policy={name: own | {"learning_rate": 1e30}})
    stages.judge_for.main(name)
    with pytest.raises(SystemExit, match=r"diverged at step \d+: .*learning rate"):
        stages.train_policy.main(name)
    assert not (referenced / "models/policy").exists() and not (referenced / f"metrics/train_policy/{name}.json").exists()


def test_a_policy_that_unlearned_language_is_stopped(referenced, monkeypatch):
    """Adam's steps are bounded: on a real model no number becomes infinite at a rate of 1000, and the model is rubbish."""
    nats = iter([2.0, 4.0, 50.0])  # before training; at the checkpoints of steps 3 and 6
    monkeypatch.setattr(preference_study.training.run, "nats_per_token", lambda model, pairs: next(nats))
    stages.judge_for.main("kto")
    with pytest.raises(SystemExit, match=r"diverged at step 6 .*50\.0 nats.*learning rate 0\.0001"):
        stages.train_policy.main("kto")
    assert not (referenced / "models/policy").exists() and not (referenced / "metrics/train_policy/kto.json").exists()


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


@pytest.mark.parametrize("sharded", [True, False])
@pytest.mark.parametrize("before", [True, False])
def test_a_checkpoint_of_sharded_weights_is_gone_on_from_by_such_a_run_alone(tmp_path, sharded, before):
    checkpoints, there = tmp_path / "checkpoints", []

    def save(target, **_):
        Path(target).mkdir()

    trainer = SimpleNamespace(
        is_fsdp_enabled=sharded, train_dataset=[1], remove_callback=lambda _: None, add_callback=lambda _: None,
        args=SimpleNamespace(n_gpu=0),
        state=SimpleNamespace(global_step=1, max_steps=1),
        train=lambda resume_from_checkpoint: there.append((checkpoints / "a checkpoint").exists()), save_model=save,
        model=SimpleNamespace(all_tied_weights_keys={}, save_pretrained=save, named_modules=dict),
        is_world_process_zero=lambda: True,
        accelerator=SimpleNamespace(get_state_dict=lambda model: {}),
    )  # fmt: skip
    checkpoints.mkdir()
    (checkpoints / "run").write_text("the same run" + " sharded" * before)
    (checkpoints / "a checkpoint").touch()
    train(trainer, checkpoints, "the same run", tmp_path / "log", tmp_path / "model")
    assert there == [sharded == before]


def test_too_few_processes_are_noticed():
    with pytest.raises(SystemExit, match=r"launch\.processes is 2, but 1 run"):
        check_processes(2)
