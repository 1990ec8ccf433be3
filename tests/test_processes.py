"""Several processes do what one does, a killed one ends all with one message, and a run goes on where it was.

Two launches train several methods and kinds of reward model each, by benchmarks/processes.py, for a start takes most of the time;
what that program measures of all of them is in docs/full_size.md.
"""

import importlib
import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import yaml
from accelerate.utils import DistributedType
from torch.distributed.elastic.multiprocessing.errors import ProcessFailure

from benchmarks.processes import Case, complete, copy_for, here, largest, start, train
from preference_study.artifacts import read_dicts, read_json
from preference_study.beforehand import check_launch
from preference_study.boundary import LOST, of_the_machine
from preference_study.errors import BadInput
from preference_study.params import Launch
from preference_study.processes import check_processes
from preference_study.together import what_failed
from tests.conftest import ROOT
from tests.warm_process import warm_start
from tests.workspace import change, stage

DPO, KTO, ORPO, RLOO = (Case("policy", name, full=True) for name in ("dpo", "kto", "orpo", "rloo"))
EXPERTS, BFLOAT = Case("reward", "product_of_experts", full=True), Case("reward", "standard", dtype="bfloat16")
KILLED = Case("policy", "dpo", full=True, killed=3, folder="killed")


@pytest.fixture(scope="module")
def study(ready, tmp_path_factory) -> Path:
    """The tiny study, ready for every training, of two steps an epoch."""
    folder = tmp_path_factory.mktemp("processes") / "study"
    shutil.copytree(ready, folder)
    complete(folder)
    change(folder, policy={"max_train": 16}, data={"max_train": 32})
    return folder


def free_port() -> str:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return str(found.getsockname()[1])


@pytest.fixture(scope="module")
def launched(study) -> dict[str, tuple[int, str]]:
    """The status and what was printed: by torchrun, of two machines with a process each, and in FSDP2, of one with two.

    All run at the same time, and one process beside them.
    """
    top, warm, machine = study.parent, warm_start(), {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port()}
    warm = warm | {"PYTHONPATH": f"{warm['PYTHONPATH']}{os.pathsep}{ROOT}"}
    running = {
        f"torchrun {rank}": start(
            study, top / "torchrun", "torchrun", [DPO, KTO, ORPO, RLOO, KILLED], machines=2, NODE_RANK=rank, **machine | warm
        )
        for rank in "01"
    }
    interrupted = Case(**vars(DPO) | {"stopped": 3})
    running["FSDP2"] = start(study, top / "FSDP2", "FSDP2", [interrupted, KTO, RLOO, EXPERTS, BFLOAT], **warm)
    for case in (DPO, KTO, ORPO, RLOO, EXPERTS, BFLOAT):
        copy_for(case, study, top / "one", "one")
        alone(top / "one", case)
    return {how: (process.communicate()[0], process.returncode)[::-1] for how, process in running.items()}


def alone(into: Path, case: Case) -> None:
    """Train in this process."""
    with here(into / case.place, case.dtype):
        if case.kind == "policy":
            importlib.import_module("stages.judge_for").main(case.name)
        train(case, 0)


@pytest.mark.parametrize(
    ("how", "case"),
    [*(("torchrun", case) for case in (DPO, KTO, ORPO, RLOO)), *(("FSDP2", case) for case in (DPO, KTO, RLOO, EXPERTS))],
    ids=lambda value: value if isinstance(value, str) else value.name,
)
def test_two_processes_end_where_one_does(study, launched, how, case):
    """In float32; DPO in FSDP2 was interrupted on its way, and went on from a sharded checkpoint."""
    found = largest(study.parent / "one" / case.place, study.parent / how / case.place, case)
    # z_0 of KTO is a batch's, and accelerate fills the last validation batch of several processes up.
    assert found.pop("validation_loss") < (0.01 if case is KTO else 1e-5)
    assert found.pop("logps", 0) < 1e-3 and found.pop("grad_norm") < 1e-4
    assert max(found.values()) < 1e-5 and len(found) == 2


def test_sharded_weights_train_in_bfloat16(study, launched):
    """The reward model's head, of float32 elsewhere, is gathered in bfloat16."""
    status, printed = launched["FSDP2"]
    assert status == 0, printed
    assert f"{DPO.place}: interrupted" in printed
    found = largest(study.parent / "one" / BFLOAT.place, study.parent / "FSDP2" / BFLOAT.place, BFLOAT)
    assert found["loss"] < 0.02 and found["weights"] < 0.02


def test_a_killed_process_ends_all_with_one_message_and_another_number_of_them_goes_on(study, launched, capfd):
    (first, waited), (second, killed) = launched["torchrun 0"], launched["torchrun 1"]
    assert (first, second) == (1, 1)
    assert killed.count("was killed (SIGKILL). A system that runs out of memory") == 1
    assert "process 1 of 2, counted from 0, was killed" in killed
    assert "goes on from the last whole checkpoint" in killed and waited.count(LOST) == 1
    for printed in (waited, killed):
        assert "Traceback" not in printed and "torch/distributed" not in printed
    folder = study.parent / "torchrun"
    assert not (folder / "killed/models/policy").exists()
    case = Case(**vars(KILLED) | {"killed": 0})
    change(folder / "killed", launch={"processes": 1})
    alone(folder, case)
    assert capfd.readouterr().out.count("going on from checkpoints/train_policy/dpo/checkpoint-2") == 1
    found = largest(study.parent / "one" / DPO.place, folder / "killed", case)
    assert max(found.values()) < 1e-4 and found["weights"] < 1e-5


def failure(folder: Path, status: int, told: str | None = None, when: int = 5) -> ProcessFailure:
    file = folder / f"{status}_{when}.json"
    if told is not None:
        file.write_text(json.dumps({"message": told, "timestamp": when}))
    return ProcessFailure(local_rank=0, pid=1, exitcode=status, error_file=str(file))


def test_the_message_is_that_of_the_process_that_failed_by_itself(tmp_path):
    diverged, lost = failure(tmp_path, 1, "it diverged", 7), failure(tmp_path, 1, LOST, 5)
    told = what_failed({0: lost, 1: diverged}, "train_reward standard", "4")
    assert told == "it diverged\n(stage train_reward standard, process 1 of 4, counted from 0; the others were ended)"
    ended, killed = failure(tmp_path, -15), failure(tmp_path, -9)
    told = what_failed({0: lost, 1: ended, 2: killed}, "s", "4")
    assert "process 2 of 4" in told and "(SIGKILL)" in told and "out of memory" in told
    assert LOST in what_failed({0: lost}, "s", "4")
    assert "status 3 and no message" in what_failed({0: failure(tmp_path, 3)}, "s", "4")


def test_the_end_of_another_process_is_told_as_such():
    gone = RuntimeError("[/pytorch/third_party/gloo/gloo/transport/tcp/pair.cc:553] Connection closed by peer")
    assert of_the_machine(gone) == LOST and of_the_machine(RuntimeError("other")) is None


def test_sharding_on_cpus_is_refused_where_it_would_not_be_done(monkeypatch):
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    state = SimpleNamespace(num_processes=2, distributed_type=DistributedType.MULTI_CPU)
    monkeypatch.setattr("preference_study.processes.PartialState", lambda cpu: state)
    with pytest.raises(BadInput, match=r"shards weights \(FSDP\).*Set launch\.accelerate_config to null"):
        check_processes(2)
    state.distributed_type = DistributedType.MULTI_GPU
    assert check_processes(2) is state


def test_a_launcher_that_does_not_find_the_others_says_what_to_set(tmp_path):
    (tmp_path / "none.py").write_text("from torch.distributed import DistNetworkError\nraise DistNetworkError('no port')\n")
    command = [sys.executable, "-m", "preference_study.together", "none", "-m", "stages.train_reward", "standard"]
    environment = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{tmp_path}"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and done.stderr.startswith("stage train_reward standard: the processes do not find one another")
    assert "MASTER_PORT" in done.stderr and "Traceback" not in done.stderr


STAGE = """
from preference_study.boundary import run

def main(how):
    print("a line")
    if how == "fault":
        raise ValueError("what")
    if how == "told":
        raise SystemExit("what to do")

run(main)
"""


@pytest.mark.parametrize(("how", "told"), [("fault", "ValueError: what\nValueError: a fault of"), ("told", "what to do")])
def test_of_several_processes_the_first_prints_and_the_launcher_is_told(tmp_path, how, told):
    for rank in "01":
        file = tmp_path / rank
        environment = os.environ | {"LOCAL_RANK": rank, "TORCHELASTIC_ERROR_FILE": str(file), "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-c", STAGE, how]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (1, "") and done.stdout == ("a line\n" if rank == "0" else "")
        assert told in json.loads(file.read_text())["message"]


@pytest.mark.parametrize(
    ("name", "value"),
    [("fsdp_version", 1), ("fsdp_state_dict_type", "SHARDED_STATE_DICT"), ("fsdp_cpu_ram_efficient_loading", None)],
)
def test_sharding_that_would_write_no_model_or_another_is_refused(tmp_path, name, value):
    settings = yaml.safe_load((ROOT / "params/fsdp.yaml").read_text())
    settings["fsdp_config"][name] = value
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(settings))
    launch = Launch(processes=2, machines=1, accelerate_config=str(tmp_path / "own.yaml"))
    with pytest.raises(BadInput, match=rf"own\.yaml: fsdp_config\.{name} is {value!r} and must be"):
        check_launch(launch, {})
    (tmp_path / "own.yaml").write_text("distributed_type: MULTI_GPU\n")
    check_launch(launch, {})
    for wrong in ("a list\n", "[x: \n"):
        (tmp_path / "own.yaml").write_text(wrong)
        with pytest.raises(BadInput, match="no configuration of accelerate"):
            check_launch(launch, {})


def test_two_processes_do_what_one_does(folder):
    """With the reward model that asks most of several processes: a part of it works outside the model's forward pass."""
    variant = "product_of_experts"
    lora = {"lora_rank": 4, "lora_layers": 1}
    change(folder, generate={"temperature": 0.0, "batch_size": 4}, reward=lora | {"variants": [variant], "judge": variant})
    change(folder, stress={"variants": []}, best_of_n={"variants": []})
    commands = (["frozen_layers"], ["train_reward", variant], ["score_pairs"], ["generate", "base"])

    def results() -> tuple:
        return (
            list(pd.read_csv(f"plots/train_reward/{variant}/plots/metrics/loss.tsv", sep="\t")["loss"]),
            pd.DataFrame(read_json(folder / "data/scores/Rm_model_mark_on_val_1k.json")),
            pd.DataFrame(read_dicts(folder / "data/responses/generated/base.parquet")),
        )

    for module, *names in commands:
        importlib.import_module(f"stages.{module}").main(*names)
    one_losses, one_marks, one_responses = results()
    shutil.rmtree(folder / "data/scores")
    shutil.rmtree(folder / "data/responses")

    change(folder, launch={"processes": 2})
    for command in commands:
        stage(folder, *command)
    two_losses, two_marks, two_responses = results()
    assert two_losses == pytest.approx(one_losses, abs=2e-3)
    assert list(two_marks["id"]) == list(one_marks["id"]) and len(two_marks) == 20
    rounding = 0.02 * np.ptp(one_marks["chosen_reward"])  # bfloat16's
    assert list(two_marks["chosen_reward"]) == pytest.approx(list(one_marks["chosen_reward"]), abs=rounding)
    assert two_responses.equals(one_responses) and len(two_responses) == 12
