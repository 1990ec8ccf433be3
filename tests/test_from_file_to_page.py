"""From a raw file of any shape, and a model of any architecture, to the page: the stages one after the other, in one process."""

import importlib
import json
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

import stages.prepare_data
from preference_study.artifacts import read_json, read_table
from tests.conftest import ROOT
from tests.corpus.files import SYSTEM, assistant, lines, user
from tests.models.architectures import ARCHITECTURES, write_architecture
from tests.tiny import tiny_model
from tests.workspace import change, tiny_params

STAGES = (
    "check", "prepare_data", "analyse_data", "prepare_model", "frozen_layers", "train_reward standard", "score_pairs",
    "analyse_reward", "compare_stress", "compare_variants", "sample_responses", "compare_best_of_n", "reference_logps",
    "judge_for dpo", "train_policy dpo", "generate base", "generate dpo", "measure_kl dpo", "score_responses",
    "compare_policies", "compare_groups", "compare_methods", "report",
)  # fmt: skip


def row(shape: str, n: int) -> dict[str, Any]:
    """A pair in one of the shapes; the response with an exclamation mark is preferred, and stands on either side."""
    question, good, bad, first = f"Question {n}?", "yes " * (1 + n % 4) + "!", "no " * (1 + n % 3) + ".", n % 2 == 0
    one, two = (good, bad) if first else (bad, good)
    chosen, rejected = [user(question), assistant(good)], [user(question), assistant(bad)]
    turns = [SYSTEM, user("hi"), assistant("hello"), user(question)]
    return {
        "study": {"question": question, "response_1": one, "response_2": two, "overall_response": 1 if first else 2},
        "trl explicit": {"prompt": question, "chosen": good, "rejected": bad},
        "trl implicit": {"chosen": chosen, "rejected": rejected},
        "ultrafeedback": {"prompt": question, "chosen": chosen, "rejected": rejected, "score_chosen": 7.0, "messages": chosen},
        "pku": {"prompt": question, "response_0": one, "response_1": two, "better_response_id": 0 if first else 1},
        "hh": {
            side: f"\n\nHuman: hi\n\nAssistant: hello\n\nHuman: {question}\n\nAssistant: {text}"
            for side, text in (("chosen", good), ("rejected", bad))
        },
        "sharegpt": {
            "conversations": [{"from": "human", "value": question}],
            "chosen": {"from": "gpt", "value": good}, "rejected": {"from": "gpt", "value": bad},
        },
        "argilla": {"system": "Be brief.", "question": question, "chosen": good, "rejected": bad, "score": None if n % 5 else 1},
        "orca": {"system": "Be brief.", "input": question, "chosen": good, "rejected": bad, "tags": ["a"]},
        "shp": {"history": question, "human_ref_A": one, "human_ref_B": two, "labels": 1 if first else 0},
        "helpsteer2": {"prompt": question, "response_1": one, "response_2": two, "preference_strength": -1 if first else 2},
        "helpsteer3": {"context": turns, "response1": one, "response2": two, "overall_preference": -3 if first else 1},
        "arena": {
            "conversation_a": [user(question), assistant(one)], "conversation_b": [user(question), assistant(two)],
            "winner": "model_a" if first else "model_b",
        },
        "arena 55k": {
            "prompt": json.dumps([question]), "response_a": json.dumps([one]), "response_b": json.dumps([two]),
            "winner_model_a": int(first), "winner_model_b": int(not first), "winner_tie": 0,
        },
        "nectar": {
            "prompt": question,
            "answers": [{"answer": bad, "rank": 3}, {"answer": good, "rank": 1}, {"answer": "x", "rank": 2}],
        },
        "mapped": {"ask": question, "a": one, "b": two, "won": "left" if first else "right"},
        "three turns": {"prompt": turns, "chosen": good, "rejected": bad},
        "chinese and arabic": {
            "prompt": f"问题{n}：说一种水果。" if first else f"سؤال {n}: سم فاكهة",
            "chosen": "苹果很好吃。" * (1 + n % 3) if first else "تفاحة حمراء !", "rejected": "汽车。" if first else "سيارة",
        },
    }[shape]  # fmt: skip


# These hold the same pairs, so that whatever comes after `prepare_data` is the same for all.
SAME = (
    "trl explicit", "trl implicit", "ultrafeedback", "pku", "sharegpt", "shp", "helpsteer2", "arena", "arena 55k", "nectar",
    "mapped",
)  # fmt: skip
OWN = ("study", "hh", "argilla", "orca", "helpsteer3", "three turns", "chinese and arabic")
MAPPING = {"prompt": "ask", "responses": ["a", "b"], "preference": "won", "coding": ["left", "right"]}


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """A study of few steps on the tiny model."""
    tiny_params(tmp_path)
    tiny_model(tmp_path / "tiny/model")
    few = {"epochs": 1, "evaluations": 0, "batch_size": 8, "max_length": 128}
    change(
        tmp_path, data={"max_train": None, "max_val": None}, reward=few | {"gradient_accumulation_steps": 1},
        policy=few | {"gradient_accumulation_steps": 1}, stress={"variants": []}, best_of_n={"variants": []},
        generate={"max_prompts": 6, "max_new_tokens": 6},
    )  # fmt: skip
    (tmp_path / "experiments/results").mkdir(parents=True)
    shutil.copy(ROOT / "experiments/results/stability.json", tmp_path / "experiments/results")
    (tmp_path / ".git").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(folder: Path, shape: str, train: int = 24, val: int = 8) -> None:
    """Both files in a shape."""
    (folder / "train.jsonl").write_bytes(lines(*(row(shape, n) for n in range(train))))
    (folder / "val.jsonl").write_bytes(lines(*(row(shape, n) for n in range(100, 100 + val))))
    change(folder, data={"train": "train.jsonl", "val": "val.jsonl", "columns": MAPPING if shape == "mapped" else None})


def go_through(folder: Path, stages: Iterable[str] = STAGES) -> list[dict]:
    """Run stages; the scored responses."""
    for stage in stages:
        name, *arguments = stage.split()
        importlib.import_module(f"stages.{name}").main(*arguments)
    val = read_table("data/prepared/val.parquet")
    scored = read_json("data/responses/Response_of_DPO_n_Ori_val_with_rm.json")
    asked = {prompt[-1]["content"] for prompt in val["prompt"]}
    assert {one["prompt"][-1]["content"] for one in scored} <= asked and len(scored) == 2 * min(6, len(asked))
    return scored


@pytest.mark.parametrize("shape", ["three turns", "argilla", "chinese and arabic"])
def test_a_shape_from_its_file_to_the_page(folder, shape):
    write(folder, shape)
    scored = go_through(folder)
    page = (folder / "reports/index.html").read_text()
    assert json.dumps(scored[0]["prompt"][-1]["content"])[1:-1].replace("'", "\\u0027") in page
    roles = {"three turns": ["system", "user", "assistant", "user"], "argilla": ["system", "user"]}.get(shape, ["user"])
    assert [turn["role"] for turn in scored[0]["prompt"]] == roles


def test_shapes_of_the_same_pairs_are_prepared_the_same(folder):
    tables, first = {}, {}
    for shape in ("study", *SAME, *OWN):
        write(folder, shape)
        stages.prepare_data.main()
        tables[shape] = {split: read_table(f"data/prepared/{split}.parquet") for split in ("train", "val")}
        assert [len(table) for table in tables[shape].values()] == [24, 8], shape
        first[shape] = read_json("metrics/data.json")["train"]["first_wins"]
    # In half of the rows the chosen response stands first, where a shape has two in an order of its own.
    ordered = {"study", "pku", "shp", "helpsteer2", "helpsteer3", "arena", "arena 55k", "mapped"}
    assert {shape: found and found["value"] for shape, found in first.items()} == {
        shape: 0.5 if shape in ordered else None for shape in first
    }
    columns = ["id", "prompt", "chosen", "rejected", "chosen_words", "rejected_words"]
    for shape in SAME:
        for split, table in tables[shape].items():
            assert table[columns].equals(tables["study"][split][columns]), shape
    for shape in set(OWN) - {"chinese and arabic"}:
        assert tables[shape]["train"][["chosen", "rejected"]].equals(tables["study"]["train"][["chosen", "rejected"]]), shape


@pytest.mark.parametrize(("train", "val"), [(1, 4), (2, 1)])
def test_a_handful_of_pairs_reaches_the_page(folder, train, val):
    write(folder, "trl explicit", train, val)
    go_through(folder)
    assert (folder / "reports/index.html").exists()


def test_validation_pairs_of_a_single_prompt_reach_the_page(folder):
    """And its responses are those to a single prompt, too few for any test."""
    write(folder, "trl explicit", val=2)
    two = [row("trl explicit", n) | {"prompt": "Say yes!"} for n in (100, 101)]
    (folder / "val.jsonl").write_bytes(lines(*two))
    assert len(go_through(folder)) == 2
    assert (folder / "reports/index.html").exists()


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_an_architecture_from_its_folder_to_scored_responses(folder, architecture):
    """What comes after that knows no model."""
    shutil.rmtree(folder / "tiny/model")
    write_architecture(architecture, folder / "tiny/model")
    change(folder, reward={"lora_rank": 4, "lora_layers": 1, "max_length": 256}, policy={"max_length": 256})
    write(folder, "study")
    go_through(folder, [stage for stage in STAGES if not stage.startswith(("analyse", "compare", "report"))])
