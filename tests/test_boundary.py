"""One place where errors become messages, and what is checked before any work."""

import errno
import json
import subprocess
import sys

import numpy as np
import pytest
import yaml

import stages.check
from preference_study import beforehand, launch
from preference_study.artifacts import made_by, read_array, read_json, read_table, write_array
from preference_study.beforehand import check_disk, check_launch, check_sizes, disk_needed
from preference_study.boundary import REMEDY, run
from preference_study.errors import BadInput, BadModel, BadParams
from preference_study.params import Launch, checked_params, load_params
from tests.conftest import ROOT
from tests.workspace import change, tiny_params

ONE = {"processes": 1, "machines": 1, "accelerate_config": None}


def failing(error: BaseException):
    def main() -> None:
        raise error

    return main


@pytest.mark.parametrize(("error", "told", "traced"), [
    (BadInput("x.csv: row 3"), "x.csv: row 3", False),
    (OSError(errno.ENOSPC, "No space", "data/x"), "data/x: the disk is full; make room", False),
    (PermissionError(errno.EACCES, "Permission denied", "data/x"), "data/x: Permission denied; give", False),
    (OSError(errno.EROFS, "Read-only file system", "data/x"), "data/x: Read-only file system", False),
    (MemoryError("7 GB"), "too little memory (7 GB): in params.yaml lower batch_size", False),
    (MemoryError(), "too little memory: in params.yaml lower batch_size", False),
    (KeyboardInterrupt(), "interrupted; dvc repro goes on", False),
    (ZeroDivisionError("oh"), "ZeroDivisionError: a fault of the project's own", True),
    (FileNotFoundError(errno.ENOENT, "No such file", "x"), "FileNotFoundError: a fault of the project's own", True),
])  # fmt: skip
def test_an_error_is_one_message(monkeypatch, capsys, error, told, traced):
    monkeypatch.setattr(sys, "argv", ["stage"])
    with pytest.raises(SystemExit) as ended:
        run(failing(error))
    assert told in str(ended.value)
    assert ("Traceback" in capsys.readouterr().err) == traced


def test_arguments_are_those_that_a_stage_takes(monkeypatch, capsys):
    seen = []

    def main(name: str) -> None:
        """Not this."""
        seen.append(name)

    for arguments, told in (
        ([], "1 argument(s) wanted, 0 given"),
        (["a", "b"], "2 given"),
        (["c"], "'c' is none of those there are: a, b"),
    ):
        monkeypatch.setattr(sys, "argv", ["stage", *arguments])
        with pytest.raises(SystemExit, match=r".*") as ended:
            run(main, ["a", "b"])
        assert told in str(ended.value) and seen == []
    monkeypatch.setattr(sys, "argv", ["stage", "b"])
    run(main, ["a", "b"])
    assert seen == ["b"]
    monkeypatch.setattr(sys, "argv", ["stage", "--help"])
    run(main, ["a", "b"])
    assert "One place where errors become messages" in capsys.readouterr().out and seen == ["b"]


@pytest.mark.parametrize("arguments", [["train_rewards"], ["stress_reward", "other"], ["generate", "other"]])
def test_what_is_not_there_is_told_with_what_is(arguments):
    done = subprocess.run(
        [sys.executable, "-m", "preference_study.launch", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    wanted = {"train_rewards": "train_reward", "stress_reward": ", standard", "generate": "base, "}[arguments[0]]
    assert done.returncode == 1 and wanted in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize("name, of_memory", [("SIGKILL", True), ("SIGTERM", False)])
def test_a_stage_that_was_killed_ends_with_what_to_do(name, of_memory, monkeypatch):
    kill = [sys.executable, "-c", f"import os, signal; os.kill(os.getpid(), signal.{name})"]
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(launch, "command", lambda *_: kill)
    monkeypatch.setattr(sys, "argv", ["launch", "train_reward", "standard"])
    with pytest.raises(SystemExit) as ended:
        launch.main()
    told = str(ended.value)
    assert told.startswith(f"stage train_reward standard was killed ({name}). ") and told.endswith(f". {REMEDY}")
    assert ("runs out of memory" in told and "batch_size" in told) == of_memory


def test_a_stage_that_ends_by_itself_has_the_last_word(monkeypatch):
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "argv", ["launch", "train_reward", "standard"])
    for status in (0, 3):
        monkeypatch.setattr(launch, "command", lambda *_, status=status: [sys.executable, "-c", f"raise SystemExit({status})"])
        with pytest.raises(SystemExit) as ended:
            launch.main()
        assert ended.value.code == status


def test_every_stage_starts_at_the_boundary():
    files = [file for file in (ROOT / "stages").glob("*.py") if file.name != "__init__.py"]
    assert len(files) > 15
    for file in files:
        assert file.read_text().rstrip().splitlines()[-1].startswith("    run(main"), file


def test_a_spoilt_file_names_the_stage_that_writes_it(tmp_path, monkeypatch):
    (tmp_path / "dvc.yaml").write_text((ROOT / "dvc.yaml").read_text())
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data/prepared").mkdir(parents=True)
    (tmp_path / "data/prepared/val.parquet").write_bytes(b"PAR1")
    with pytest.raises(
        BadInput, match=r"val\.parquet cannot be read .*stage prepare_data writes it: delete it and run dvc repro"
    ):
        read_table("data/prepared/val.parquet")
    (tmp_path / "cut.json").write_text('{"a": ')
    with pytest.raises(BadInput, match=r"cut\.json cannot be read .*no stage writes it"):
        read_json("cut.json")
    with pytest.raises(BadInput, match=r"metrics/reward\.json is not there; stage analyse_reward writes it"):
        read_json("metrics/reward.json")
    write_array("data/features/val.npy", np.ones((3, 2)))
    assert read_array("data/features/val.npy").tolist() == [[1.0, 1.0]] * 3
    for spoilt in (b"", b"\x93NUMPY", (tmp_path / "data/features/val.npy").read_bytes()[:-1]):
        (tmp_path / "data/features/val.npy").write_bytes(spoilt)
        with pytest.raises(BadInput, match=r"val\.npy cannot be read .*stage frozen_layers writes it"):
            read_array("data/features/val.npy")
    wanted = {
        "data/logps/dpo/val.json": "train_policy", "data/logps/base/val.json": "reference_logps",
        "data/scores/stress/standard.json": "stress_reward", "models/reward/ensemble/members.json": "train_reward",
    }  # fmt: skip
    for path, stage in wanted.items():
        assert made_by(path).startswith(f"stage {stage} writes it"), path


@pytest.fixture
def folder(tmp_path, monkeypatch):
    tiny_params(tmp_path)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "prompts.csv").write_text("question\nq\n")
    change(tmp_path, generate={"prompts": "prompts.csv"}, model={"name": "some/where"})
    return tmp_path


def test_what_is_checked_is_always_the_same_file(folder):
    stages.check.main()
    before = (folder / "data/checked.json").read_bytes()
    change(folder, reward={"learning_rate": 0.5}, generate={"prompts": "data/prepared/val.parquet"})
    stages.check.main()
    assert (folder / "data/checked.json").read_bytes() == before


@pytest.mark.parametrize(("section", "values", "told"), [
    ("generate", {"prompts": "nowhere.csv"}, "nowhere.csv: there is no such file"),
    ("generate", {"prompts": "params.yaml"}, "cannot read .yaml"),
    ("generate", {"category": "topic"}, "generate.category names column 'topic', and prompts.csv has question to tell"),
    ("launch", ONE | {"processes": 2, "machines": 2}, "MASTER_ADDR"),
    ("launch", ONE | {"processes": 2, "machines": 2, "accelerate_config": str(ROOT / "params/fsdp.yaml")}, "MASTER_ADDR"),
    ("launch", ONE | {"processes": 2, "machines": 4}, "cannot be shared by launch.machines 4"),
    ("launch", ONE | {"accelerate_config": "nowhere.yaml"}, "no file nowhere.yaml"),
    ("reward", {"learning_rate": float("inf")}, "reward.learning_rate: .*finite"),
    ("policy", {"epochs": True}, "epochs is true, where a number"),
    ("reward", {"variants": ["standard", "standard"]}, "reward.variants: .*standard is there twice"),
    ("policy", {"methods": ["dpo", "dpo"]}, "policy.methods: .*dpo is there twice"),
    ("model", {"date": "yesterday"}, "model.date: "),
    ("judges", [{"name": "s", "kind": "language_model", "model": "base", "template": "judges/nope.txt"}],
     "judge s: there is no file judges/nope.txt"),
    ("judges", [{"name": "s", "kind": "language_model", "model": "base", "template": "judges/own.txt"}], "{first} is not in it"),
    ("judges", [{"name": "s", "kind": "cross_fitted"}], "judge s .* policy.max_train 1000 leaves none of the 2 of train.csv"),
])  # fmt: skip
def test_what_would_fail_late_fails_at_once(folder, monkeypatch, section, values, told):
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    if section == "judges":
        (folder / "judges").mkdir()
        (folder / "judges/own.txt").write_text("{prompt}: A or B?")
        (folder / "train.csv").write_text("question\na\nb\n")
        change(folder, data={"train": "train.csv"}, policy={"max_train": 1000})
    change(folder, **{section: values})
    with pytest.raises((BadInput, BadParams), match=told):
        stages.check.main()
    assert not (folder / "data").exists()


def test_a_prompts_file_without_prompts_is_refused_at_once(folder):
    (folder / "prompts.csv").write_text("text,more\nq,r\n")
    with pytest.raises(BadInput, match=r"generate\.prompts, prompts\.csv: columns text, more hold no prompt"):
        stages.check.main()


@pytest.mark.parametrize(("category", "told"), [
    ("topik", "generate.category names column 'topik', and tiny/val.csv has topic, instruction to tell prompts apart by: name"),
    ("chosen", "has topic, instruction to tell"), ("gold", "has topic, instruction"), ("topic", None), ("instruction", None),
    (None, None),
])  # fmt: skip
def test_a_category_that_prepared_prompts_will_not_have_is_refused_at_once(folder, category, told):
    (folder / "tiny").mkdir()
    (folder / "tiny/val.csv").write_text("prompt,chosen,rejected,topic,instruction,gold\np,a,b,tea,x,y\n")
    change(folder, data={"val": "tiny/val.csv"}, generate={"prompts": "data/prepared/val.parquet", "category": category})
    if told:
        with pytest.raises(BadInput, match=told):
            stages.check.main()
    else:
        stages.check.main()


def test_labels_that_cannot_be_written_are_refused_at_once(folder):
    rows = [{"prompt": "p", "kind": "x"}, {"prompt": "q", "kind": "\ud800"}]
    (folder / "own.jsonl").write_text("\n".join(map(json.dumps, rows)))
    change(folder, generate={"prompts": "own.jsonl", "category": "kind"})
    with pytest.raises(BadInput, match=r"generate\.prompts, own\.jsonl: row 2, column 'kind' holds half"):
        stages.check.main()


def test_a_key_that_is_not_there_yet_is_told(folder, monkeypatch, capsys):
    """Answers that were asked for before need none."""
    judge = {
        "name": "far",
        "kind": "endpoint",
        "base_url": "http://localhost:1/v1",
        "model": "m",
        "key": "FAR_KEY",
        "max_requests": 1,
    }
    (folder / "judges").mkdir()
    (folder / "judges/pairwise.txt").write_text((ROOT / "judges/pairwise.txt").read_text())
    change(folder, judges=[judge])
    for key in ("", "k"):
        monkeypatch.setenv("FAR_KEY", key)
        stages.check.main()
        assert ("judge far: the environment has no FAR_KEY" in capsys.readouterr().out) == (not key)


def test_gpus_that_stay_idle_are_told(folder, monkeypatch, capsys):
    monkeypatch.setattr(beforehand, "DEVICES", folder)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    for name in ("nvidia0", "nvidiactl", "nvidia-uvm"):
        (folder / name).touch()
    stages.check.main()
    assert "GPU" not in capsys.readouterr().out
    (folder / "nvidia1").touch()
    stages.check.main()
    assert "this machine has 2 GPUs, and stages use 1 of them: launch.processes in params.yaml" in capsys.readouterr().out
    change(folder, launch={"processes": 2})
    stages.check.main()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    change(folder, launch={"processes": 1})
    stages.check.main()
    assert "GPU" not in capsys.readouterr().out


@pytest.mark.parametrize(("new", "told"), [(96, True), (97, True), (95, False)])
def test_responses_that_the_reward_model_sees_in_part_are_told(folder, capsys, new, told):
    """Of 128 tokens a prompt keeps 32."""
    change(folder, reward={"max_length": 128}, generate={"max_new_tokens": new})
    stages.check.main()
    assert (f"generate.max_new_tokens is {new}, and the reward model reads 128 tokens" in capsys.readouterr().out) == told


def test_prompts_that_are_left_out_are_told(folder, capsys):
    rows = ["hello", "User: hi\nAssistant: yo\nUser: more", "hello", [{"role": "tool", "content": "x"}], ""]
    (folder / "own.jsonl").write_text("\n".join(json.dumps({"prompt": row}) for row in rows))
    change(folder, generate={"prompts": "own.jsonl", "category": None})
    stages.check.main()
    told = capsys.readouterr().out
    assert "1 distinct prompts of 5 rows; left out: 1 turns written into one text" in told and "(row 2)" in told
    assert "1 tool calls (row 4); 1 an empty text (row 5)" in told


def test_prompts_that_are_still_to_be_fetched_are_passed_over(folder):
    change(folder, data={"hub": [{"name": "x/y", "split": "train", "file": "fetched.parquet"}]})
    change(folder, generate={"prompts": "fetched.parquet", "category": "kind"})
    stages.check.main()


def test_a_key_given_twice_is_an_error():
    text = (ROOT / "params.yaml").read_text()
    checked_params(text, "x")
    with pytest.raises(BadParams, match=r"(?s)'seed' is there twice.*line"):
        checked_params(f"{text}\nseed: 2\n", "x")


def test_sizes_fit_the_model():
    params = load_params(ROOT / "params.yaml")  # 512 tokens, 10 layers
    check_sizes(params, {"max_position_embeddings": 512, "num_hidden_layers": 10})
    check_sizes(params, {"n_positions": 1024, "n_layer": 11})
    check_sizes(params, {"n_layer": 30})  # nothing limits its positions
    with pytest.raises(BadModel, match=r"reward\.max_length are 512 tokens, and the model has 511 positions"):
        check_sizes(params, {"n_positions": 511, "n_layer": 30})
    with pytest.raises(BadModel, match=r"_layers is \d+, and the model has 9 layers"):
        check_sizes(params, {"text_config": {"max_position_embeddings": 512, "num_hidden_layers": 9}})
    raw = yaml.safe_load((ROOT / "params.yaml").read_text())
    raw["policy"]["methods"] = ["dpo", "rloo"]
    online = checked_params(yaml.safe_dump(raw), "x")
    longest = online.policy.max_length + online.policy.rloo.max_new_tokens
    check_sizes(online, {"n_positions": max(512, longest)})
    with pytest.raises(BadModel, match=r"policy\.rloo\.max_new_tokens"):
        check_sizes(online, {"n_positions": max(512, longest) - 1} if longest > 512 else {"n_positions": longest - 1})


def test_a_run_that_would_fill_the_disk_is_refused():
    params = load_params(ROOT / "params.yaml")
    assert disk_needed(params, 1000) == 2000  # adapters are small
    raw = yaml.safe_load((ROOT / "params.yaml").read_text())
    raw["reward"]["lora_rank"] = 0
    full = checked_params(yaml.safe_dump(raw), "x")
    assert disk_needed(full, 1000) == 2000 + 28_000
    raw["reward"]["variants"] = ["standard", "ensemble"]
    raw["reward"]["ensemble"]["members"] = 5
    # Six models; of the checkpoints those of one training at a time.
    assert disk_needed(checked_params(yaml.safe_dump(raw), "x"), 1000) == 2000 + 6 * 4000 + 24_000
    raw["policy"] |= {"lora_rank": 0, "methods": ["dpo", "ipo"]}
    assert disk_needed(checked_params(yaml.safe_dump(raw), "x"), 1000) == 2000 + 8 * 4000 + 24_000
    check_disk(params, 1000)
    with pytest.raises(BadInput, match=r"the run writes about 3000000\.0 GB"):
        check_disk(full, 10**14)


def test_more_processes_than_gpus_are_refused(monkeypatch):
    """Two of one GPU end in NCCL's error, which no remedy fits."""
    monkeypatch.setattr("torch.cuda.device_count", lambda: 4)
    check_launch(Launch(**ONE | {"processes": 4}), {})
    check_launch(Launch(**ONE | {"processes": 8, "machines": 2}), {"MASTER_ADDR": "host"})
    with pytest.raises(BadInput, match=r"launch\.processes is 8, 8 of them on this machine, which has 4 GPUs.*set it to 4"):
        check_launch(Launch(**ONE | {"processes": 8}), {})
    with pytest.raises(BadInput, match=r"launch\.processes is 12, 6 of them .*set it to 8"):
        check_launch(Launch(**ONE | {"processes": 12, "machines": 2}), {"MASTER_ADDR": "host"})


def test_a_launch_that_can_start_is_let_through():
    check_launch(Launch(**ONE | {"processes": 4, "machines": 2}), {"MASTER_ADDR": "host"})
    check_launch(Launch(**ONE | {"accelerate_config": str(ROOT / "params/fsdp.yaml")}), {})
