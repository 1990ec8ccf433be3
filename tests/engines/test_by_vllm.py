"""Responses by vLLM: what it is asked, what comes of its answers, and what is said where it fails; without vLLM."""

import json
import os
import signal
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch
from peft import LoraConfig, get_peft_model

from preference_study.artifacts import read_dicts, write_table
from preference_study.engines import by_vllm, check_vllm
from preference_study.errors import BadInput, StudyError
from preference_study.models import language_models
from preference_study.models.language_models import load_causal
from preference_study.models.tokens import encode_prompts
from preference_study.sections import Vllm
from stages import check, generate, sample_responses
from tests.conftest import asked
from tests.engines.fake import python_with_vllm
from tests.workspace import change

OWN = {"python": sys.executable, "tensor_parallel": 1, "data_parallel": 1, "options": {}}
END = 1  # of the tiny model

# It answers each row with its first prompt token and the row's seed, and an end; `spoilt` is a line that changes the rows.
PROGRAM = """
import json, os, sys
from pathlib import Path
import pyarrow as arrow, pyarrow.parquet as parquet
folder = Path(sys.argv[1])
rows = [{{"row": row["row"], "ids": [row["prompt_ids"][0], row["seed"], 1], "finish_reason": "stop"}}
        for row in parquet.read_table(folder / "asked.parquet").to_pylist()]
{spoilt}
settings = json.loads((folder / "settings.json").read_text())
(folder / "seconds.json").write_text(json.dumps({{"start": len(rows), "writing": 10 * len(rows)}}))
parquet.write_table(arrow.Table.from_pylist(rows), folder / "answered.parquet")
with Path("kept.jsonl").open("a") as file:
    seen = os.environ.get("CUDA_VISIBLE_DEVICES"), os.environ.get("PYTHONPATH")
    file.write(json.dumps({{"settings": settings, "rows": len(rows), "seen": seen}}) + "\\n")
"""


@pytest.fixture
def ask(tmp_path, monkeypatch):
    """Ask a program whose rows are `spoilt` for what it writes after some prompts."""
    monkeypatch.chdir(tmp_path)

    def asked_for(prompts, spoilt="", seed=0, limit=9, **own):
        (tmp_path / "program.py").write_text(PROGRAM.format(spoilt=spoilt))
        monkeypatch.setattr(by_vllm, "PROGRAM", tmp_path / "program.py")
        sampling = {"temperature": 0.5, "top_p": 0.75, "top_k": 0, "max_tokens": limit}
        return by_vllm.written(
            Path("model"), prompts, [END, 3], Vllm(**OWN | own),
            sampling=sampling, seed=seed, batch_size=7, dtype=torch.bfloat16,
        )  # fmt: skip

    return asked_for


def kept(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "kept.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("parallel", [1, 2])
def test_every_row_has_its_own_answer_however_many_programs_share_them(ask, tmp_path, parallel):
    prompts = [[10 + number] for number in range(5)]
    answers = ask(prompts, seed=2, data_parallel=parallel)
    assert answers.ids == [[10 + number, 2_000_006 + number, END] for number in range(5)]
    shares = sorted(program["rows"] for program in kept(tmp_path))
    assert shares == {1: [5], 2: [2, 3]}[parallel]
    assert (answers.start, answers.writing) == (shares[-1], 10 * shares[-1])
    assert not any(Path("build/vllm").iterdir())


def test_what_a_program_is_told(ask, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "elsewhere")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 6)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7,6,5,4,3,2")
    ask([[5], [6], [7]], seed=2, tensor_parallel=2, data_parallel=3, options={"gpu_memory_utilization": 0.5})
    assert sorted(program["seen"] for program in kept(tmp_path)) == [["3,2", None], ["5,4", None], ["7,6", None]]
    assert kept(tmp_path)[0]["settings"] == {
        "model": str(tmp_path / "model"),
        "dtype": "bfloat16",
        "max_num_seqs": 7,
        "options": {"tensor_parallel_size": 2, "gpu_memory_utilization": 0.5},
        "sampling": {"temperature": 0.5, "top_p": 0.75, "top_k": 0, "max_tokens": 9}
        | {"stop_token_ids": [END, 3], "ignore_eos": True},
    }
    kept_before = kept(tmp_path)
    with pytest.raises(BadInput, match=r"data_parallel 4 times tensor_parallel 2 GPUs are asked for, and 6 are there"):
        ask([[5]] * 4, tensor_parallel=2, data_parallel=4)
    assert kept(tmp_path) == kept_before


def test_a_program_that_fails_or_writes_nothing_leaves_nothing(ask):
    for spoilt, wanted in (("sys.exit(3)", "vLLM ended with status 3"), ("os._exit(0)", "was asked 2 rows and answered 0")):
        with pytest.raises(StudyError, match=wanted):
            ask([[5], [6]], spoilt, seed=2)
        assert not any(Path("build/vllm").iterdir())


GOOD = [(0, [8, END], "stop"), (1, [9, 8], "length")]


@pytest.mark.parametrize(
    ("rows", "wanted"),
    [
        (GOOD[:1], "was asked 2 rows and answered 1"),
        (GOOD[::-1], "was asked 2 rows and answered 2, or others"),
        ([(0, [8, END], "length"), GOOD[1]], "row 0 has 2 tokens of at most 2 and ended by 'length'"),
        ([(0, [8], "stop"), GOOD[1]], "row 0 has 1 tokens"),
        ([(0, [END, END], "stop"), GOOD[1]], "row 0 has 2 tokens"),
        ([GOOD[0], (1, [9, 8, 7], "length")], "row 1 has 3 tokens"),
        ([GOOD[0], (1, [9, 8, END], "stop")], "row 1 has 3 tokens"),
        ([GOOD[0], (1, [9], "length")], "row 1 has 1 tokens"),
        ([GOOD[0], (1, [9, 8], "abort")], "row 1 has 2 tokens .* 'abort'"),
        ([GOOD[0], (1, [], "stop")], "row 1 has 0 tokens"),
    ],
)
def test_answers_that_are_none_are_refused(tmp_path, rows, wanted):
    def answered(rows):
        write_table(tmp_path / "answered.parquet", pd.DataFrame(rows, columns=["row", "ids", "finish_reason"]))
        return by_vllm._answered(tmp_path, [{"row": 0}, {"row": 1}], [END, 3], 2)

    assert answered(GOOD) == {0: [8, END], 1: [9, 8]}
    assert answered([(0, [3], "stop"), (1, [8, 3], "stop")]) == {0: [3], 1: [8, 3]}
    with pytest.raises(StudyError, match=wanted):
        answered(rows)


def test_where_one_program_fails_the_others_are_ended(ask, tmp_path):
    spoilt = "import time; open(f'{os.getpid()}.pid', 'w'); sys.exit(1) if rows[0]['row'] == 0 else time.sleep(600)"
    with pytest.raises(StudyError, match="status 1"):
        ask([[5], [6]], spoilt, seed=2, data_parallel=2)
    for file in tmp_path.glob("*.pid"):
        assert not Path(f"/proc/{file.stem}").exists()


def test_a_program_that_fails_does_not_wait_for_those_before_it(ask, tmp_path):
    spoilt = "import time; sys.exit(4) if rows[0]['row'] == 1 else time.sleep(30); open('woke', 'w')"
    with pytest.raises(StudyError, match="status 4"):
        ask([[5], [6]], spoilt, seed=2, data_parallel=2)
    assert not (tmp_path / "woke").exists()


def test_where_the_stage_is_told_to_end_its_programs_end_too(ask, tmp_path):
    """As by `kill`, or by what a cluster does when the time is over."""
    told = "import signal, time; open('pid', 'w').write(str(os.getpid())); "
    spoilt = told + "os.kill(os.getppid(), signal.SIGTERM); time.sleep(600)"
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit, match="143"):
        ask([[5], [6]], spoilt, seed=2)
    assert not Path(f"/proc/{(tmp_path / 'pid').read_text()}").exists() and not any(Path("build/vllm").iterdir())
    assert signal.getsignal(signal.SIGTERM) == before


@pytest.mark.parametrize(
    ("python", "wanted"),
    [
        ("nowhere/python", "nowhere/python does not start .*No such file.*python3 -m venv .vllm && .*vllm-requirements.txt"),
        ("/bin/false", "/bin/false does not start"),
        (sys.executable, "has no vllm: make an environment"),
    ],
)
def test_an_environment_without_vllm_is_told_before_anything_runs(folder, python, wanted):
    with pytest.raises(BadInput, match=wanted):
        check_vllm(python)
    change(folder, generate={"engine": "vllm", "vllm": OWN | {"python": python}})
    with pytest.raises(BadInput, match=wanted):
        check.main()
    change(folder, generate={"engine": "transformers"})
    check.main()


@pytest.fixture
def study(folder, monkeypatch):
    """A study with a policy that LoRA trained, and a Python that has a vLLM."""
    monkeypatch.setattr(by_vllm, "compute_dtype", lambda: torch.float32)
    monkeypatch.setattr(language_models, "compute_dtype", lambda: torch.float32)
    torch.manual_seed(0)
    trained = get_peft_model(
        load_causal("models/base"), LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False, task_type="CAUSAL_LM")
    )
    trained.save_pretrained("models/policy/dpo")
    python = python_with_vllm(folder.parent / "a vllm")
    change(folder, generate={"temperature": 0.0, "max_new_tokens": 24, "vllm": OWN | {"python": str(python)}})
    return python.parent


def test_both_engines_write_the_same_greedy_responses(study, folder):
    """Of a policy that LoRA trained, by the stage: ids, texts, lengths, ends and prompts that were too long."""
    before = json.loads(Path("models/base/config.json").read_text())
    # Few positions, so that some prompts must be shortened.
    Path("models/base/config.json").write_text(json.dumps(before | {"max_position_embeddings": 60}))
    generate.main("dpo")
    wanted = read_dicts("data/responses/generated/dpo.parquet")
    change(folder, generate={"engine": "vllm"})
    generate.main("dpo")
    assert read_dicts("data/responses/generated/dpo.parquet") == wanted
    assert {row["prompt_truncated"] for row in wanted} == {True, False} and len({row["response"] for row in wanted}) > 6
    [program] = kept(study)
    assert program["given"]["dtype"] == "float32" and program["given"]["max_num_seqs"] == 100
    assert program["given"]["max_model_len"] == 60 and program["given"]["skip_tokenizer_init"]
    assert not Path(program["given"]["model"]).exists() and not any(Path("build/vllm").iterdir())
    assert {tuple(one["stop_token_ids"]) for one in program["sampling"]} == {(END,)}


def test_samples_are_drawn_each_from_its_own_seed(study, folder, tokenizer):
    change(folder, generate={"engine": "vllm"})
    sample_responses.main()
    rows = read_dicts("data/responses/samples.parquet")
    [program] = kept(study)
    prompts = [rows[place]["prompt"] for place in range(0, 24, 4)]
    assert [row["sample"] for row in rows] == [0, 1, 2, 3] * 6
    assert program["asked"] == [ids for ids, _ in encode_prompts(tokenizer, prompts, None) for _ in range(4)]
    assert [one["seed"] for one in program["sampling"]] == [1_000_003 + row for row in range(24)]
    assert {(one["temperature"], one["top_p"], one["top_k"], one["max_tokens"]) for one in program["sampling"]} == {
        (1.0, 1, 0, 24)
    }
    assert {row["finished"] for row in rows} == {True, False}
    assert all(row["tokens"] < 24 if row["finished"] else row["tokens"] == 24 for row in rows)
    change(folder, generate={"vllm": OWN | {"python": str(study / "python"), "data_parallel": 2}})
    sample_responses.main()
    assert read_dicts("data/responses/samples.parquet") == rows and len(kept(study)) == 3
    assert os.environ.get("CUDA_VISIBLE_DEVICES") is None


def test_more_samples_than_greedy_decoding_has_are_refused(tokenizer):
    with pytest.raises(ValueError, match="temperature"):
        by_vllm.respond("nowhere", None, tokenizer, [asked("Hi")], Vllm(**OWN), max_new_tokens=2, batch_size=1, samples=2)
