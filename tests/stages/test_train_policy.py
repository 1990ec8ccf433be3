"""What the stage hands to training, and which number it writes where; nothing is trained here."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from datasets import Dataset

import stages.reference_logps
import stages.train_policy
from preference_study.artifacts import read_json, read_table, write_json, write_rows
from preference_study.data.sampling import seen_by_policies
from preference_study.errors import StudyError
from preference_study.methods import METHODS
from preference_study.models.language_models import compute_dtype, load_causal, load_tokenizer, new_reward_model, pair_logps
from preference_study.models.tokens import encode_pairs, encode_prompts
from preference_study.params import load_params
from preference_study.training.run import BetterThanChance, code_of
from preference_study.training.trainers import pair_rows, prompt_rows, unpaired_rows
from stages.train_policy import method_facts, prompts_alone, training_rows
from tests.conftest import asked
from tests.stages.capture import change_top, without_training
from tests.workspace import alternative_params, change

POLICY = alternative_params("tiny").policy


@pytest.fixture
def referenced(folder):
    """With made-up log-probabilities of the reference, in an order that is not that of the pairs."""
    stages.reference_logps.main()
    for place, split in enumerate(("train", "val")):
        ids = list(encoded(split)[0]["id"])[:24]
        rows = [
            {"id": id, "chosen_logp": -100.0 * place - number, "rejected_logp": -100.0 * place - number - 0.5}
            for number, id in enumerate(ids)
        ]
        write_json(f"data/logps/base/{split}.json", rows[::-1])
    return folder


def encoded(split: str, max_length: int = 96):
    table = read_table(f"data/prepared/{split}.parquet")
    table = table[seen_by_policies(table, 24, load_params().data.seed)] if split == "train" else table
    return table, encode_pairs(load_tokenizer("models/base"), table, max_length)


def test_each_pair_gets_the_references_numbers_of_its_own_id(referenced):
    table, pairs = encoded("train")
    method, ids = METHODS["dpo"], list(table["id"])
    rows = list(training_rows(method, method.recipe(), POLICY, 1, pairs, ids, "train"))
    logps = [{"ref_chosen_logps": -1.0 * number, "ref_rejected_logps": -1.0 * number - 0.5} for number in range(24)]
    assert rows == [row | own for row, own in zip(pair_rows(pairs, POLICY, 1), logps, strict=True)]
    with pytest.raises(KeyError, match="stranger"):
        training_rows(method, method.recipe(), POLICY, 1, pairs, [*ids[:-1], "stranger"], "train")
    with pytest.raises(ValueError, match="the same number of rows"):
        training_rows(method, method.recipe(), POLICY, 1, pairs, ids[:-1], "train")


@pytest.mark.parametrize(
    ("name", "rows"), [("simpo", pair_rows), ("orpo", pair_rows), ("kto", unpaired_rows), ("rloo", prompt_rows)]
)
def test_other_methods_take_no_reference(folder, name, rows):
    table, pairs = encoded("train")
    method = METHODS[name]
    made = training_rows(method, method.recipe(), POLICY, 3, pairs, list(table["id"]), "train")
    assert list(made) == list(rows(pairs, POLICY, 3))


def test_rows_without_their_tokens_are_refused_before_training(folder):
    """They are counted when all is over."""
    table, pairs = encoded("train")
    method = METHODS["dpo"]
    bare = replace(method.recipe(), rows=lambda *given: pair_rows(*given).remove_columns("tokens"))
    with pytest.raises(StudyError, match="its rows have no column tokens; Recipe, in"):
        training_rows(method, bare, POLICY, 1, pairs, list(table["id"]), "train")


def test_prompts_alone_are_as_long_as_they_may_be(folder):
    table, _ = encoded("train")
    long = [f"Question: {'context ' * 24}{number // 2}" for number in range(24)]
    table["prompt"] = [asked(text) for text in long]
    table["chosen"] = ["ab " * (80 if number % 2 else 1) for number in range(24)]
    write_rows("data/prepared/train.parquet", table.to_dict("records"))
    tokenizer = load_tokenizer("models/base")
    made = prompts_alone(tokenizer, [asked(text) for text in long], 300)
    assert [ids for ids, _ in encode_prompts(tokenizer, [asked(text) for text in long], None)] == [p.prompt_ids for p in made]
    assert len(prompt_rows(made, POLICY, 1)) == 12 and not any(pair.truncated for pair in made)
    # As pairs they are shortened for the longer responses, so that one prompt is two.
    assert len(prompt_rows(encode_pairs(tokenizer, table, 300), POLICY, 1)) == 24
    short = prompts_alone(tokenizer, [asked(text) for text in long[:3]], 150)
    assert [len(pair.prompt_ids) for pair in short] == [150] * 3 and all(pair.truncated for pair in short)


@pytest.mark.parametrize(
    ("name", "needs", "beta"),
    [
        ("dpo", (True, False, True), 0.125),
        ("ipo", (True, False, True), 0.125),
        ("kto", (True, False, False), 0.125),
        ("simpo", (False, False, True), None),
        ("orpo", (False, False, True), None),
        ("rloo", (True, True, False), 0.125),
    ],
)
def test_what_a_method_needs_and_how_much_it_saw(name, needs, beta):
    own = POLICY.own(name).model_copy(update={"beta": 0.125})
    if name == "rloo":
        own = own.model_copy(update={"batch_size": 5, "generations": 3, "steps_per_generation": 7})
    section = POLICY.model_copy(update={name: own, "gradient_accumulation_steps": 2, "batch_size": 11, "epochs": 9})
    dataset = Dataset.from_list([{"tokens": tokens} for tokens in (10, 20, 30, 45)])
    state = SimpleNamespace(global_step=13, epoch=1.5, num_input_tokens_seen=torch.tensor(777), max_steps=99)
    told = method_facts(METHODS[name], section, name, SimpleNamespace(state=state, train_dataset=dataset))
    # Online: 13 steps of 5 prompts, 2 forward passes each, 3 responses; else one and a half times four rows of 105 tokens.
    seen = (390, 777) if name == "rloo" else (6, 158)
    assert (told["examples"], told["tokens"]) == seen
    assert (told["needs_reference"], told["needs_reward_model"], told["needs_pairs"]) == needs
    assert told["implicit_beta"] == beta and len(told) == 6


@pytest.mark.parametrize("whole", [True, False])
def test_what_an_offline_method_is_trained_with(referenced, monkeypatch, whole):
    change_top(referenced, seed=5)
    own = {"learning_rate": 0.125, "beta": 0.25, "sft_weight": 0.5}
    change(referenced, policy={"dpo": own, "lora_rank": 6, "max_length": 50})
    runs = without_training(monkeypatch, stages.train_policy, whole)
    monkeypatch.setattr(stages.train_policy, "peak_memory", lambda: 12345)
    stages.train_policy.main("dpo")
    [run] = runs
    section, trainer = load_params().policy, run.trainer
    (_, train), (val_table, val) = encoded("train", 50), encoded("val", 50)
    assert [row["prompt_ids"] for row in trainer.train_dataset] == [pair.prompt_ids for pair in train]
    assert trainer.train_dataset["ref_rejected_logps"] == [-number - 0.5 for number in range(24)]
    assert [row["rejected_ids"] for row in trainer.eval_dataset] == [pair.rejected_ids for pair in val]
    assert trainer.eval_dataset["ref_chosen_logps"] == [-100.0 - number for number in range(20)]
    args = trainer.args
    assert (args.seed, args.data_seed, run.seed, args.learning_rate, args.beta) == (5, 5, 5, 0.125, 0.25)
    assert (args.loss_type, args.loss_weights) == (["sigmoid", "sft"], [1.0, 0.5])
    assert run.settings == section.shared() | own and len(run.models) == 1
    assert [list(rows) for rows in run.datasets] == [list(trainer.train_dataset), list(trainer.eval_dataset)]
    places = [str(place) for place in (run.checkpoints, run.log, run.target)]
    assert places == [f"{top}/dpo" for top in ("checkpoints/train_policy", "plots/train_policy", "models/policy")]
    assert Path(args.output_dir) == run.checkpoints and run.untrained_loss is None
    adapter = trainer.model.peft_config["default"]
    assert (adapter.r, adapter.lora_alpha, adapter.task_type) == (6, 12, "CAUSAL_LM")
    assert all(".layers.1." in name for name in trainer.model.base_model.targeted_module_names)
    assert run.models[0].get_input_embeddings().weight.dtype == compute_dtype()
    [check] = [callback for callback in trainer.callback_handler.callbacks if isinstance(callback, BetterThanChance)]
    assert list(check.pairs) == val[:8]

    cost = read_json("metrics/train_cost/dpo.json")
    assert (cost["seconds"] is not None) == whole and cost["peak_memory_bytes"] == 12345 and cost["device"] == "cpu"
    assert cost["dtype"] == str(compute_dtype()).removeprefix("torch.")
    # A policy that was not trained is the base model.
    logps = pair_logps(load_causal("models/base"), val, max_batch=64, max_padded=2048, description="t")
    told = read_json("data/logps/dpo/val.json")
    assert [row["id"] for row in told] == list(val_table["id"])
    for side in ("chosen", "rejected"):
        assert [row[f"{side}_logp"] for row in told] == pytest.approx([row[f"{side}_logp"] for row in logps], abs=0.05)
        assert [row[f"{side}_tokens"] for row in told] == [len(getattr(pair, f"{side}_ids")) for pair in val]
    metrics = read_json("metrics/train_policy/dpo.json")
    truncated = [sum(pair.truncated for pair in pairs) for pairs in (train, val)]
    assert truncated[0] != truncated[1]
    counted = ("train_pairs", "train_pairs_truncated", "val_pairs_truncated", "steps", "implicit_beta")
    assert [metrics[name] for name in counted] == [24, *truncated, 0, 0.25]


def test_what_an_online_method_is_trained_with(folder, monkeypatch):
    change(folder, policy={"lora_rank": 0, "max_length": 64})
    write_json("data/frozen/policy/about.json", {"left_out": "every layer is trained"})
    runs = without_training(monkeypatch, stages.train_policy)
    judge, asked = new_reward_model("models/base", 3), []
    ends = read_json("models/base/generation_config.json") | {"eos_token_id": [1, 9]}
    write_json("models/base/generation_config.json", ends)
    judge.settings = {"means": {"a": 1.0}, "summed_up": None}
    monkeypatch.setattr(stages.train_policy, "load_judge", lambda *where: asked.append(where) or judge)

    def judging(*given, **limits):
        asked.append((*given, limits))
        return lambda **_: None

    monkeypatch.setattr(stages.train_policy, "judging", judging)
    stages.train_policy.main("rloo")
    [run] = runs
    section, eos = load_params().policy, load_tokenizer("models/base").eos_token_id
    assert asked == [("models/base", "models/judge_for/rloo"), (judge, [eos, 9], 1.0, load_params().scoring.model_dump())]
    assert run.models[1] is judge and run.models[0].dtype == torch.float32
    assert run.settings == section.shared() | section.rloo.model_dump() | judge.settings
    assert run.code == code_of("methods", "rloo") != code_of("methods", "dpo")
    alone = prompts_alone(load_tokenizer("models/base"), list(encoded("train")[0]["prompt"]), section.max_length)
    assert list(run.trainer.train_dataset) == list(prompt_rows(alone, section, 1))
    assert list(run.trainer.train_dataset) != list(prompt_rows(encoded("train", 64)[1], section, 1))  # as pairs they lose more
    assert run.trainer.eval_dataset is None and len(run.trainer.reward_funcs) == 1
    assert read_json("metrics/train_policy/rloo.json")["needs_reward_model"] is True


def test_without_evaluations_validation_stays_out_of_training(referenced, monkeypatch):
    change(referenced, policy={"evaluations": 0})
    runs, made, rows = without_training(monkeypatch, stages.train_policy), [], stages.train_policy.training_rows
    monkeypatch.setattr(stages.train_policy, "training_rows", lambda *given: made.append(given[-1]) or rows(*given))
    stages.train_policy.main("ipo")
    assert made == ["train"] and runs[0].trainer.eval_dataset is None and runs[0].trainer.args.loss_type == ["ipo"]


@pytest.mark.parametrize("name", ["dpo", "ipo", "simpo", "orpo"])
def test_training_starts_from_kept_states(referenced, monkeypatch, name):
    """Every batch of pairs, and the log-probabilities afterwards: a layer of NaN under the trained one is not seen."""
    spoilt, use_kept = [], stages.train_policy.use_kept

    def watched(model, kept):
        use_kept(model, kept)
        for weight in model.model.layers[0].parameters():
            weight.data.fill_(torch.nan)
        spoilt.append(model)

    monkeypatch.setattr(stages.train_policy, "use_kept", watched)
    change(referenced, policy={"methods": [name]})
    stages.train_policy.main(name)
    assert len(spoilt) == 2 and read_json(f"metrics/train_policy/{name}.json")["steps"] > 1
    rows = pd.DataFrame(read_json(f"data/logps/{name}/val.json"))
    assert np.isfinite(rows[["chosen_logp", "rejected_logp"]]).all(axis=None)
