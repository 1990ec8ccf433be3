"""The comparison with TRL and transformers as they come: its ratios by hand, and every way on the tiny study."""

import numpy as np
import pytest

from benchmarks import head, stock
from preference_study.artifacts import read_json, read_table, write_json

WAYS = [(task, way) for task, (_, ways) in stock.TASKS.items() for way in ways]


def test_ratios_by_hand():
    """Middles of three rounds, the way's own; the pass counts for this project alone."""
    own = [{"done": 8, "seconds": seconds, "before": 2.0} for seconds in (4.0, 2.0, 1.0)]  # 2, 4 and 8 a second
    other = [{"done": 6, "seconds": seconds} for seconds in (3.0, 6.0, 12.0)]  # 2, 1 and 0.5
    first, second = stock.summary("dpo", {stock.OWN: own, "other": other})
    assert (first["way"], first["unit"], first["rates"], first["rate"]) == (stock.OWN, "pairs", [2.0, 4.0, 8.0], 4.0)
    assert (first["ratio"], first["rate_with_pass"]) == (1.0, 2.0)  # 8 in 6, 4 and 3 seconds
    assert (second["rate"], second["ratio"], second["ratio_with_pass"], second["rate_with_pass"]) == (1.0, 4.0, 2.0, None)
    [_, rows] = stock.summary("dpo", {stock.OWN: own, stock.ROWS: [{"done": 4, "seconds": 2.0, "before": 6.0}]})
    assert (rows["ratio"], rows["rate_with_pass"], rows["ratio_with_pass"]) == (2.0, 0.5, 4.0)
    rows = stock.summary("scoring", {stock.OWN: [{"done": 9, "seconds": 3.0, "of_limit": of} for of in (0.5, 0.25, 0.125)]})
    assert [(row["unit"], row["rate"], row["of_limit"], row["ratio_with_pass"]) for row in rows] == [("tokens", 3.0, 0.25, None)]


@pytest.fixture
def small(folder, monkeypatch):
    for name, value in {
        "STEPS": 3,
        "WARM_UP": 1,
        "TEXTS": 6,
        "TEXTS_ALONE": 6,
        "PROMPTS": 3,
        "PROMPTS_ALONE": 3,
        "BATCH": 3,
    }.items():
        monkeypatch.setattr(stock, name, value)
    return folder


@pytest.mark.parametrize(("task", "way"), WAYS)
def test_every_way_runs(small, tmp_path, monkeypatch, task, way):
    packed = []
    monkeypatch.setattr(stock, "pack_rows", packed.append)
    found = stock.TASKS[task][1][way](tmp_path)
    assert found["seconds"] > 0
    if task in ("reward", "dpo"):
        assert found["done"] == 3 * 8  # steps, pairs in each
        assert ("before" in found) == (way in (stock.OWN, stock.ROWS))
        assert len(packed) == 2 * (way == stock.OWN)  # the pass before training, and training
    else:
        assert found["of_limit"] > 0
        assert found["done"] == {"scoring": sum(map(len, stock.sequences(6))), "responses": found["done"]}[task]


@pytest.mark.parametrize("task", ["scoring", "responses"])
def test_plain_batches_have_the_attention_that_transformers_takes_by_itself(small, tmp_path, monkeypatch, task):
    """On a CPU this project scores with another one."""
    models = []
    for name in ("of_scoring", "of_responses"):
        monkeypatch.setattr(stock, name, lambda model, *_: models.append(model))
    for run in stock.TASKS[task][1].values():
        run(tmp_path)
    itself = stock.AutoModelForCausalLM.from_pretrained("models/base").config._attn_implementation
    _, *plain = [model.config._attn_implementation for model in models]
    assert plain == [itself, itself] == ["sdpa", "sdpa"]


def test_tokens_of_responses_are_counted_alike(small, tmp_path, monkeypatch):
    counted = []
    monkeypatch.setattr(
        stock, "of_responses", lambda model, prompts, new, seconds: counted.append(sorted(zip(prompts, new, strict=True)))
    )
    monkeypatch.setattr(stock, "compute_dtype", lambda: stock.torch.float32)
    for run in stock.TASKS["responses"][1].values():
        run(tmp_path)
    assert len(counted) == 3 and len(counted[0]) == 3
    assert [prompt for prompt, _ in counted[0]] == [prompt for prompt, _ in counted[1]] == [prompt for prompt, _ in counted[2]]
    assert counted[1] == counted[2]  # both in float32


@pytest.mark.parametrize(("task", "way"), [(task, way) for task, way in WAYS if task in ("reward", "dpo")])
def test_every_pair_is_timed_once_whatever_the_order(small, tmp_path, monkeypatch, task, way):
    tokens, timed, trainers = [], [], []
    step, end, of_steps = stock.Trainer.training_step, stock.Times.on_step_end, stock.of_steps

    def training_step(self, model, inputs, *given, **named):
        tokens.append(int(inputs["attention_mask"].sum()))
        return step(self, model, inputs, *given, **named)

    def on_step_end(self, *given, **named):
        timed.append(tokens[-1])
        return end(self, *given, **named)

    monkeypatch.setattr(stock.Trainer, "training_step", training_step)
    monkeypatch.setattr(stock.Times, "on_step_end", on_step_end)
    monkeypatch.setattr(stock, "of_steps", lambda trainer, batch: trainers.append(trainer) or of_steps(trainer, batch))
    stock.TASKS[task][1][way](tmp_path)
    [trainer] = trainers
    whole = int(trainer.data_collator(list(trainer.train_dataset))["attention_mask"].sum())
    assert len(tokens) == 4 and len(timed) == 3 and sum(timed) == whole


@pytest.mark.parametrize("task", ["reward", "dpo"])
def test_the_same_weights_are_the_same(small, tmp_path, monkeypatch, task):
    trained = []

    def of_steps(trainer, batch):
        trained.append(sorted(tuple(weight.shape) for weight in trainer.model.parameters() if weight.requires_grad))
        assert (batch, len(trainer.train_dataset)) == (8, 24)
        return {}

    monkeypatch.setattr(stock, "of_steps", of_steps)
    for run in stock.TASKS[task][1].values():
        run(tmp_path / str(len(trained)))
    own, rows, same, other = trained
    assert own == rows == same != other and len(other) > len(own)


def test_trl_as_it_comes_has_its_own_head(small, tmp_path, monkeypatch):
    """This project's is in its place as soon as its trainers are imported."""
    calls = []
    apply = head.Head.apply
    monkeypatch.setattr(head.Head, "apply", lambda *given: calls.append(given) or apply(*given))
    called = {}
    for way, run in stock.TASKS["dpo"][1].items():
        run(tmp_path / str(len(called)))
        called[way], calls[:] = len(calls), []
    own, rows, same, other = called.values()
    assert own > 0 and rows > 0 and same == other == 0


def test_pairs_as_trl_documents_them(small):
    pairs = read_table("data/prepared/train.parquet")[:2]
    first, second = stock.conversations(pairs)
    assert first["prompt"] == pairs["prompt"][0]
    assert first["chosen"] == [{"role": "assistant", "content": pairs["chosen"][0]}]
    assert second["rejected"] == [{"role": "assistant", "content": pairs["rejected"][1]}]


def test_ways_take_turns_and_the_file_holds_every_rate(small, tmp_path, monkeypatch, capsys):
    asked = []

    def run_one(task, way):
        asked.append((task, way))
        return {"done": 10, "seconds": 1.0 + len(asked)} | ({"of_limit": 0.5} if task == "scoring" else {"before": 1.0})

    monkeypatch.setattr(stock, "run_one", run_one)
    monkeypatch.setattr(
        "sys.argv", ["stock", "--tasks", "dpo", "scoring", "--rounds", "2", "--output", str(tmp_path / "stock.json")]
    )
    stock.main()
    dpo, scoring = (list(stock.TASKS[task][1]) for task in ("dpo", "scoring"))
    assert asked == [*(("dpo", way) for way in 2 * dpo), *(("scoring", way) for way in 2 * scoring)]
    found = read_json(tmp_path / "stock.json")
    assert [row["rates"] for row in found["rows"]][:2] == [
        [5.0, pytest.approx(10 / 6)], [pytest.approx(10 / 3), pytest.approx(10 / 7)]
    ]  # fmt: skip
    assert found["rounds"] == 2 and all(rate > 0 for rate in found["gflops"].values())
    printed = capsys.readouterr().out
    assert "50% of the matrix limit" in printed and "with the pass" in printed


def test_a_missing_study_is_told(small, tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", ["stock"])
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match="dvc repro prepare_data prepare_model"):
        stock.main()


def test_a_way_that_fails_ends_all_with_what_it_said(small, monkeypatch):
    monkeypatch.setattr(stock.subprocess, "run", lambda *_, **__: stock.subprocess.CompletedProcess([], 3, "half", "no memory"))
    with pytest.raises(SystemExit, match=r"dpo, this project: failed\nhalfno memory"):
        stock.run_one("dpo", stock.OWN)
    made = {}

    def ran(command, env, **_):
        made[command[command.index("--one") + 2]] = stock.ALLOCATOR.keys() <= env.keys()
        write_json(command[-1], {"done": 1})
        return stock.subprocess.CompletedProcess(command, 0)

    monkeypatch.delenv("GLIBC_TUNABLES", raising=False)
    monkeypatch.setattr(stock.subprocess, "run", ran)
    for way in stock.TASKS["dpo"][1]:
        assert stock.run_one("dpo", way) == {"done": 1}
    assert list(made.values()) == [True, True, False, False]


def test_texts_are_spread_over_the_split(small):
    assert len(stock.sequences(6)) == 6
    every = stock.sequences(10**6)
    places = np.linspace(0, len(every) - 1, 6).astype(int)
    assert stock.sequences(6) == [every[place] for place in places]
