"""The command: parameters, lengths and devices from the command line, and what it prints."""

import argparse
import json
import shutil
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from transformers import AutoTokenizer

from preference_study import plan
from preference_study.cost import GIB, Stage
from preference_study.errors import BadInput, BadModel, BadParams
from preference_study.models.rate import Rate, matrix_rate, read_rate
from preference_study.models.shapes import config_of
from preference_study.models.tokens import encode_pairs
from preference_study.params import load_params
from preference_study.plan import (
    GPUS,
    aligned,
    assumed_lengths,
    gpus,
    main,
    parser,
    planned,
    table,
    token_lengths,
    what_does_not_fit,
)
from preference_study.stage_costs import Misfit
from tests.conftest import ROOT, asked
from tests.shell import commands
from tests.workspace import change


def test_the_plan_of_the_tiny_study_against_what_its_stages_left(folder, capsys):
    main(["--json"])
    found = json.loads(capsys.readouterr().out)
    stages = {stage["name"]: stage for stage in found["stages"]}
    tables = {split: pd.read_parquet(f"data/prepared/{split}.parquet") for split in ("train", "val")}
    assert found["pairs"] == {"reward": 40, "policy": 24, "val": 20}
    assert found["pairs"]["reward"] == len(tables["train"]) and found["pairs"]["val"] == len(tables["val"])
    features = [np.load(f"data/features/{split}.npy").nbytes for split in ("train", "val")]
    assert stages["frozen_layers"]["disk"]["features"] == sum(features)
    weights = sum(file.stat().st_size for file in (folder / "models/base").glob("*.safetensors"))
    assert stages["prepare_model"]["disk"]["models"] == pytest.approx(weights, rel=0.2)  # a header of names, besides
    tokenizer = AutoTokenizer.from_pretrained("models/base")
    pairs = [pair for split in tables.values() for pair in encode_pairs(tokenizer, split, 96)]
    tokens = sum(2 * len(p.prompt_ids) + len(p.chosen_ids) + len(p.rejected_ids) for p in pairs)
    assert tokens <= stages["frozen_layers"]["tokens"] < 1.35 * tokens  # padding
    # Two epochs of 40 pairs; every weight is trained.
    assert stages["train_reward@standard"]["tokens"] > 2 * tokens * 40 / 60 * 0.95
    assert stages["train_reward@standard"]["memory"]["optimiser"] == 8 * stages_parameters(found)
    assert found["device"]["shared"] and found["device"]["rate"] > 1e9 and found["misfit"] is None
    assert found["told"]["lengths"] == "40 pairs of tiny/train.parquet, with the model's tokenizer"


def stages_parameters(found: dict) -> int:
    return found["shape"]["parameters"] - found["shape"]["own_head"]


def test_what_it_prints(folder, capsys):
    main(["--gpus", "H100", "--set", "launch.processes=1"])
    printed = capsys.readouterr().out
    assert "model: tiny/model" in printed and "1 x H100, 80 GiB, 989 TFLOP/s in 16 bits, 3,350 GB/s; processes: 1" in printed
    for name in ("frozen_layers", "train_reward@standard", "stress_reward@standard", "train_policy@dpo", "measure_kl@dpo"):
        assert f"\n{name} " in printed
    assert "train_policy: activations 0.0 GiB without gradient_checkpointing, 0.0 with" in printed
    assert printed.endswith("Everything fits.\n")
    main(["--gpus", "H100", "--set", "benchmarks=[{name: b, file: tiny/val.parquet, shape: preferences}]"])
    assert "\nNot counted: score_benchmarks.\n" in capsys.readouterr().out
    main(["--gpus", "H100", "--set", "judges=[{name: b, kind: cross_fitted}]"])
    assert "\nNot counted: train_judge and ask_judge.\n" in capsys.readouterr().out


def test_the_documented_commands(folder, capsys):
    (folder / "params").mkdir(exist_ok=True)
    shutil.copy(ROOT / "params/align_anything.yaml", folder / "params")
    plain, other, usage, of_table = [line for line in commands("docs/full_size.md") if "preference_study.plan" in line]
    assert usage == "python -m preference_study.plan --help"
    with pytest.raises(SystemExit):
        main(["--help"])
    assert "8xH100" in capsys.readouterr().out
    for line in (of_table, plain, other):
        main(line.split()[3:])
        printed = capsys.readouterr().out
        assert "train_policy@dpo" in printed and printed.endswith("Everything fits.\n")
    assert "Qwen/Qwen2.5-0.5B-Instruct, 494,032,768 parameters" in printed and "pairs: 40 for reward models" in printed


def test_options_change_what_is_planned(folder):
    one = planned(
        ["--gpus", "8xH100", "--set", "generate.max_new_tokens=4", "--pairs", "30", "--host-memory", "7", "--disk", "5"]
    )
    assert one.device.count == 8 and one.params.launch.processes == 8 and one.params.generate.max_new_tokens == 4
    assert one.lengths.pairs["train"] == 30 and one.device.host == 7 * GIB and one.device.disk == 5e9
    assert one.lengths.written == 4  # no answer is longer than it may be
    shown = planned(["--gpus", "T4", "--generated-tokens", "3", "--forward", "0.01", "--val-pairs", "7"])
    assert shown.device.item == 4 and shown.lengths.written == 3 and shown.lengths.pairs["val"] == 7
    assert shown.assumed.forward == 0.01 and shown.assumed.training == 0.3
    slow, fast = (planned(["--gpus", "T4", "--start-seconds", seconds]).stages[0].seconds for seconds in ("50", "2"))
    assert (slow, fast) == (50, 2)


def test_lengths_from_characters_and_assumed_ones(folder):
    other = planned(["--gpus", "H100", "--shape", "Qwen/Qwen2.5-0.5B", "--characters-per-token", "2"])
    assert "at 2 characters a token" in other.told["lengths"] and not other.lengths.whole
    assert other.shape.parameters == 494_032_768
    (folder / "tiny/train.parquet").unlink()
    assert "assumed too" not in planned(["--gpus", "H100", "--pairs", "30000"]).told["lengths"]
    none = planned(["--gpus", "H100", "--prompt-tokens", "40"])
    assert "1,000 training pairs assumed too, as tiny/train.parquet is not there: --pairs says" in none.told["lengths"]
    assert none.told["lengths"].startswith("assumed, means of 40 tokens a prompt and 300 a response")
    assert none.lengths.prompts.mean() == pytest.approx(40, rel=0.02) and none.lengths.pairs["train"] == 1000


def test_tokens_are_counted_or_estimated(tokenizer):
    pairs = pd.DataFrame({"prompt": [asked("four")], "chosen": ["123456789"], "rejected": ["1"]})
    [pair] = encode_pairs(tokenizer, pairs, 1000)
    counted = token_lengths(pairs, tokenizer, 4)
    assert counted == {"prompts": [len(pair.prompt_ids)], "chosen": [len(pair.chosen_ids)], "rejected": [len(pair.rejected_ids)]}
    # Rounded up, and the EOS.
    assert token_lengths(pairs, None, 4) == {"prompts": [2], "chosen": [4], "rejected": [2]}


def test_assumed_lengths_have_the_means_that_are_asked_for():
    found = assumed_lengths(150, 300)
    assert found["prompts"].mean() == pytest.approx(150, rel=0.01) and found["chosen"].mean() == pytest.approx(300, rel=0.01)
    assert not (found["chosen"] == found["rejected"]).all() and sorted(found["chosen"]) == sorted(found["rejected"])
    assert np.log(found["chosen"]).std() == pytest.approx(0.6, rel=0.02)


def test_mistakes_are_told_in_a_sentence(folder):
    for text in ("8xH1000", "0xH100", "xH100", "many"):
        with pytest.raises(argparse.ArgumentTypeError, match="known are H200"):
            gpus(text)
    assert gpus("8xh100") == (8, "H100") and gpus("A100-40") == (1, "A100-40")
    with pytest.raises(BadParams, match="must be name=value"):
        planned(["--set", "seed"])
    with pytest.raises(BadParams, match="there is no such parameter"):
        planned(["--set", "policy.nothing.beta=1"])
    with pytest.raises(BadParams, match="batch_size"):
        planned(["--set", "policy.batch_size=0"])
    with pytest.raises(BadModel, match=r"reward\.max_length are 20000 tokens, and the model has \d+ positions"):
        planned(["--set", "reward.max_length=20000"])
    with pytest.raises(BadParams, match=r"batch_size 8 cannot be shared by launch.processes 3") as refused:
        planned(["--gpus", "3xA100"])
    assert "pydantic" not in str(refused.value) and "input_value" not in str(refused.value)
    with pytest.raises(BadParams, match=r"--set a=\[: what follows = is not YAML"):
        planned(["--set", "a=["])
    with pytest.raises(BadModel, match="one that is known: embedded"):
        planned(["--shape", "nobody/knows"])
    (folder / "tiny/train.parquet").write_bytes(b"PAR1")
    with pytest.raises(BadInput, match=r"tiny/train.parquet"):
        planned(["--gpus", "H100"])


@pytest.mark.parametrize("option", [
    "--pairs=0", "--pairs=-5", "--val-pairs=-1", "--prompt-tokens=0", "--response-tokens=nan", "--generated-tokens=0",
    "--characters-per-token=0", "--sample=0", "--host-memory=-1", "--disk=0", "--forward=0", "--training=1.5", "--usable=2",
    "--decoding=inf", "--reading=-0.1", "--start-seconds=inf", "--layer-seconds=nan",
])  # fmt: skip
def test_numbers_that_cannot_be_are_refused(option, capsys):
    with pytest.raises(SystemExit):
        parser().parse_args([option])
    assert f"argument {option.split('=')[0]}: {option.split('=')[1]} is not above 0" in capsys.readouterr().err


def test_a_folder_is_read_before_a_name_that_is_known(folder):
    assert config_of("tiny/model")[0].hidden_size == 32
    assert config_of("qwen/qwen2.5-0.5B-Instruct")[0].hidden_size == 896


def test_an_alternative_is_merged(folder):
    (folder / "other.yaml").write_text("policy: {epochs: 5}\n")
    assert planned(["--gpus", "H100", "--params", "other.yaml"]).params.policy.epochs == 5
    assert load_params().policy.epochs == 2


def test_each_number_stands_in_its_own_column():
    memory = {
        "weights": 1,
        "gradients": 2,
        "optimiser": 3,
        "activations": 4,
        "logits": 5,
        "cache": 6,
        "other models": 10,
        "loading": 20,
    }
    part = SimpleNamespace(flops=7e15, tokens=1234.0)
    stage = Stage(
        "train_policy@dpo", (part,), {name: size * GIB for name, size in memory.items()}, {"store": 30 * GIB, "rows": 40 * GIB},
        {"models": 8e9, "checkpoints": 90e9}, 2 * 3600.0,
    )  # fmt: skip
    heads, row, sums = table([stage])
    assert dict(zip(heads, row, strict=True)) == {
        "stage": "train_policy@dpo", "tokens": "1,234", "PFLOP": "7.00", "hours": "2.00", "memory": "51.0", "weights": "11.0",
        "gradients": "2.0", "optimiser": "3.0", "activations": "4.0", "logits": "5.0", "cache": "6.0", "store": "30.0",
        "machine": "70.0", "disk": "98.0",
    }  # fmt: skip
    # Checkpoints go when a training ends.
    assert sums[:5] == ["all", "1,234", "7.00", "2.00", "51.0"] and sums[-1] == "8.0"
    lines = aligned([["a", "1"], ["long", "100"]]).split("\n")
    assert lines == ["a       1", "long  100"]


def test_a_sentence_on_what_does_not_fit(folder):
    params = load_params()
    assert what_does_not_fit(None, params) == "Everything fits."
    misfit = Misfit(
        "train_policy@dpo", "device memory", 30 * GIB, 20 * GIB, "activations", {"policy.gradient_checkpointing": True}
    )
    told = what_does_not_fit(misfit, params)
    assert "train_policy@dpo does not fit: it needs 30.0 GiB of device memory, and 20.0 are there" in told
    assert told.endswith("most of it is for activations. Change policy.gradient_checkpointing: false -> true.")
    hopeless = Misfit("prepare_model", "device memory", 2 * GIB, GIB, "weights", {})
    assert "a smaller model (model.name)" in what_does_not_fit(hopeless, params)


def test_a_card_too_small_is_said_to_be(folder, capsys):
    change(folder, policy={"batch_size": 64})
    main(["--gpus", "T4", "--shape", "meta-llama/Llama-3.1-8B"])
    printed = capsys.readouterr().out
    assert "frozen_layers does not fit" in printed and "most of it is for weights" in printed


def test_this_machine_is_measured():
    found = matrix_rate(64, 128, torch.float32, torch.device("cpu"), 0.05)
    assert found.by_clock > 1e8 and found.by_processor > 1e8
    assert read_rate(torch.device("cpu"), 0.05).by_clock > 1e8


def test_the_memory_that_is_named_is_the_cpus(monkeypatch):
    monkeypatch.setattr(plan, "matrix_rate", lambda *_: Rate(1e11, 1e11))
    monkeypatch.setattr(plan, "read_rate", lambda *_: Rate(1e10, 1e10))
    given = parser().parse_args(["--host-memory", "2"])
    found = plan.device_of(given, SimpleNamespace(hidden=64, intermediate=128))
    assert found.shared == (not torch.cuda.is_available()) and found.host == 2 * GIB
    assert not found.shared or found.memory == 2 * GIB


def test_cards_are_as_their_data_sheets_say():
    """Dense rates, without the sparsity that data sheets put first."""
    assert GPUS["H100"] == (80, 989e12, 3.35e12, 2) and GPUS["RTX4090"] == (24, 165.2e12, 1.008e12, 2)
    for memory, rate, bandwidth, item in GPUS.values():
        assert 16 <= memory <= 141 and 8e12 <= rate <= 989e12 and 0.3e12 <= bandwidth <= 4.8e12 and item in (2, 4)
