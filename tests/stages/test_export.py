"""Exporting: what comes out is the study's own model, for anybody; a wrong merge is noticed; what cannot be is refused."""

import io
import json
import subprocess
import sys

import pandas as pd
import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file

import stages.export_policy
import stages.export_reward
from preference_study import serve_check, talk
from preference_study.analysis import parity
from preference_study.artifacts import read_dicts, read_json, write_json, write_rows
from preference_study.errors import BadInput, BadModel
from preference_study.models.checks import with_system_prompt
from preference_study.models.generation import respond
from preference_study.models.language_models import load_causal, load_reward, load_tokenizer, new_reward_model, rewards
from preference_study.models.tokens import encode_pairs
from preference_study.params import load_params
from tests.conftest import asked
from tests.workspace import change, prepared, tiny_params

PROMPTS = [f"{word} {'na ' * number}?" for number, word in enumerate(("Hi", "Who", "When", "Why", "How", "So"), 1)]
# In a process of its own, which knows nothing of the project.
FRESH = """
import json, sys
import torch
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer
found = {}
for kind, folder, conversations in json.loads(sys.argv[1]):
    loader = AutoModelForCausalLM if kind == "policy" else AutoModelForSequenceClassification
    model = loader.from_pretrained(folder, trust_remote_code=False, use_safetensors=True)
    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    found[kind] = []
    for conversation in conversations:
        how = {"return_dict": True, "return_tensors": "pt", "add_generation_prompt": kind == "policy"}
        inputs = tokenizer.apply_chat_template(conversation, **how)
        with torch.inference_mode():
            if kind == "policy":
                written = model.generate(**inputs, max_new_tokens=8)[0, inputs["input_ids"].shape[1]:]
                found[kind].append(tokenizer.decode(written, skip_special_tokens=True).strip())
            else:
                found[kind].append(model(**inputs).logits[0, 0].item())
assert not [name for name in sys.modules if name.startswith("preference_study")]
print(json.dumps(found))
"""


def adapter(model, folder, task: str, head: bool) -> None:
    """A LoRA adapter that changes what the model says, as training leaves it."""
    kept = ["score"] if head else None
    layers = {"r": 4, "lora_alpha": 16, "target_modules": ["q_proj", "v_proj"]}
    trained = get_peft_model(model, LoraConfig(**layers, task_type=task, modules_to_save=kept))
    torch.manual_seed(7)
    with torch.no_grad():
        for name, weight in trained.named_parameters():
            if "lora_B" in name:
                weight.normal_(std=0.5)
    trained.save_pretrained(folder)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A study that has trained, answered and measured, as far as exporting can tell; its numbers are made up."""
    with pytest.MonkeyPatch.context() as patch:
        folder = prepared(tmp_path_factory.mktemp("finished"))
        patch.chdir(folder)
        change(
            folder, export={"policies": ["dpo"], "reward_models": ["standard"], "prompts": 5},
            policy={"methods": ["dpo"]}, generate={"temperature": 0.0},
        )  # fmt: skip
        adapter(load_causal("models/base", dtype=torch.float32), "models/policy/dpo", "CAUSAL_LM", False)
        adapter(new_reward_model("models/base", 3, dtype=torch.float32), "models/reward/product_of_experts", "SEQ_CLS", True)
        new_reward_model("models/base", 4, dtype=torch.float32).save_pretrained("models/reward/standard")
        # One prompt is too long for the reward model to see whole.
        prompts = [asked(prompt if number else prompt + " na" * 60) for number, prompt in enumerate(PROMPTS)]
        # And one response has a name in it that the study reads as letters, and other programs as the end of a turn.
        texts = [f"{'So ' * number}it is." for number, _ in enumerate(PROMPTS[:-1])] + ["So <|end|> it is."]
        write_rows("data/responses/generated/base.parquet", [
            {"id": str(number), "cluster": str(number), "prompt": prompt, "response": text, "prompt_truncated": False}
            for number, (prompt, text) in enumerate(zip(prompts, texts, strict=True))
        ])  # fmt: skip
        measures = ("gold_rate", "reward_mean", "words_mean", "finished", "repetition_mean", "refusals")
        one = {"value": 0.5, "low": 0.25, "high": 0.75, "n": 9, "clusters": 9}
        base = dict.fromkeys(measures, one)
        against = {"win_rate": one, "verdict": {"sentence": "Made up.", "price": []}}
        price = {"kl": None, "logps": {"chosen": {"nats_per_response": one, "fell": one}}}
        write_json("metrics/policies.json", {"base": base, "dpo": base | {"against_base": against, "price": price}})
        right = {"holds": True, "reasons": []}
        write_json("metrics/reward.json", {"accuracy": one, "baselines": {"longer": one}, "right_to_judge": right})
        write_json("metrics/variants.json", {})
        trained = {"train_pairs": 24, "steps": 6, "trained_parameters": 512, "needs_reward_model": False}
        for name in ("train_policy/dpo", "train_reward/standard", "train_reward/product_of_experts"):
            write_json(f"metrics/{name}.json", trained)
        stages.export_policy.main("dpo")
        stages.export_reward.main("standard")
    return folder


@pytest.fixture(scope="module")
def alone(exported) -> dict[str, list]:
    """What a fresh process, with transformers alone, gets from both folders: the policy's answers, the rewards of responses."""
    rows = read_dicts(exported / "data/responses/generated/base.parquet")[1:-1]
    scored = [[*row["prompt"], {"role": "assistant", "content": row["response"]}] for row in rows]
    jobs = [
        ("policy", str(exported / "models/export/policy/dpo"), [asked(prompt) for prompt in PROMPTS]),
        ("reward", str(exported / "models/export/reward/standard"), scored),
    ]
    command = [sys.executable, "-I", "-c", FRESH, json.dumps(jobs)]
    done = subprocess.run(command, cwd="/", capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture
def study(exported, monkeypatch):
    """It, to be left as it was found."""
    monkeypatch.chdir(exported)
    before = (exported / "params.yaml").read_text()
    yield exported
    (exported / "params.yaml").write_text(before)


def test_the_policy_answers_in_a_fresh_process_as_the_studys_own(study, alone):
    wanted = respond(load_causal("models/base", "models/policy/dpo"), load_tokenizer("models/base"), [asked(p) for p in PROMPTS],
                     max_new_tokens=8, batch_size=1)  # fmt: skip
    base = respond(load_causal("models/base"), load_tokenizer("models/base"), [asked(p) for p in PROMPTS],
                   max_new_tokens=8, batch_size=1)  # fmt: skip
    tokenizer = load_tokenizer("models/base")
    texts = [[tokenizer.decode(answer.ids, skip_special_tokens=True).strip() for [answer] in found] for found in (wanted, base)]
    assert alone["policy"] == texts[0] != texts[1]


def test_the_reward_model_scores_in_a_fresh_process_as_the_studys_own(study, alone):
    rows = read_dicts("data/responses/generated/base.parquet")[1:-1]
    table = pd.DataFrame(rows)
    table = table.assign(chosen=table["response"], rejected=table["response"])
    sequences = [p.prompt_ids + p.chosen_ids for p in encode_pairs(load_tokenizer("models/base"), table, 96)]
    own = load_reward("models/base", "models/reward/standard").float()
    wanted = rewards(own, sequences, max_batch=1, max_padded=99)
    found = alone["reward"]
    assert found == pytest.approx(wanted, abs=1e-4) and len(set(found)) == len(found)


def test_the_folders_hold_what_programs_look_for_and_no_pickle(study):
    for kind, name in (("policy", "dpo"), ("reward", "standard")):
        files = {path.name for path in (study / f"models/export/{kind}/{name}").iterdir()}
        assert {"model.safetensors", "config.json", "tokenizer.json", "chat_template.jinja", "README.md"} <= files
        assert not [file for file in files if file.endswith((".bin", ".pt", ".pkl")) or "adapter" in file]
        assert not list((study / f"models/export/{kind}").glob(".*"))
        assert read_json(f"metrics/export/{kind}/{name}.json")["bytes"].keys() == files
    config = read_json("models/export/reward/standard/config.json")
    assert (config["dtype"], config["problem_type"], config["id2label"]) == ("float32", "regression", {"0": "reward"})
    settings = read_json("models/export/policy/dpo/generation_config.json")
    assert settings["do_sample"] is False and settings["eos_token_id"] == 1 and "max_new_tokens" not in settings


def test_what_is_measured(study):
    policy, reward = (read_json(f"metrics/export/{name}.json") for name in ("policy/dpo", "reward/standard"))
    assert policy["n"] == 5 and policy["same_prompts"]["value"] == 1 and policy["logp_difference"] < 1e-5
    assert policy["same_answers"]["value"] == 1
    # The first prompt is too long, and the last response names a special token.
    assert reward["n"] == 4 and reward["same_tokens"]["value"] == 1 and reward["same_order"] >= 0.8
    assert reward["reward_std"] > 0 and reward["reward_difference"] <= reward["bounds"]["reward_difference"]
    # A tokenizer of bytes alone.
    assert "merges no bytes" in policy["no_gguf"]
    for name, number in (("policy/dpo", policy["logp_difference"]), ("reward/standard", reward["text_difference"])):
        assert f"{number:.3g}" in (study / f"models/export/{name}/README.md").read_text(), name
    assert "Made up." in (study / "models/export/policy/dpo/README.md").read_text()


def corrupted(write, change_weights):
    """Writes the folder as it should be, and then other weights into it."""

    def written(folder, *arguments):
        write(folder, *arguments)
        path = folder / "model.safetensors"
        weights = load_file(path)
        change_weights(weights)
        save_file(weights, path, metadata={"format": "pt"})

    return written


def scaled(name: str, factor: float):
    def change_weights(weights):
        weights[name] = weights[name] * factor

    return change_weights


@pytest.mark.parametrize("name", ["model.layers.1.self_attn.v_proj.weight", "model.layers.0.input_layernorm.weight"])
def test_a_corrupted_policy_is_an_error_and_leaves_what_was_there(study, monkeypatch, name):
    before = (study / "models/export/policy/dpo/README.md").read_text()
    monkeypatch.setattr(stages.export_policy, "write_policy", corrupted(stages.export_policy.write_policy, scaled(name, 1.05)))
    with pytest.raises(BadModel, match=r"dpo: the exported policy is not the study's own: logp_difference is 0\.\d+, at most"):
        stages.export_policy.main("dpo")
    assert (study / "models/export/policy/dpo/README.md").read_text() == before
    assert not list((study / "models/export/policy").glob(".*"))


def test_an_adapter_that_was_not_merged_is_an_error(study, monkeypatch):
    """The base model, written as if it were the policy."""
    write = stages.export_policy.write_policy
    monkeypatch.setattr(
        stages.export_policy, "write_policy", lambda folder, model, *others: write(folder, load_causal("models/base"), *others)
    )
    with pytest.raises(BadModel, match="logp_difference"):
        stages.export_policy.main("dpo")


def test_another_end_of_the_turn_is_an_error(study, monkeypatch):
    """Everything is said to end an answer: each is one token long, and so the beginning of the study's."""
    write = stages.export_policy.write_policy

    def ending_at_once(folder, model, *others):
        write(folder, model, *others)
        settings = read_json(folder / "generation_config.json")
        write_json(folder / "generation_config.json", settings | {"eos_token_id": list(range(1, model.config.vocab_size))})

    monkeypatch.setattr(stages.export_policy, "write_policy", ending_at_once)
    with pytest.raises(BadModel, match=r"going_on is [1-5], at most 0 is allowed"):
        stages.export_policy.main("dpo")


def test_answers_that_take_unlikely_turns_are_an_error(study, monkeypatch):
    answers = stages.export_policy.PlainPolicy.answers

    def unlikely(self, prompts, *limits):
        """The first token of each answer is the least likely one."""
        with torch.inference_mode():
            first = [int(self.model(torch.tensor([ids])).logits[0, -1].argmin()) for ids in self.prompt_ids(prompts)]
        return [[token, *ids[1:]] for token, ids in zip(first, answers(self, prompts, *limits), strict=True)]

    monkeypatch.setattr(stages.export_policy.PlainPolicy, "answers", unlikely)
    monkeypatch.setattr(parity, "GAP_BOUND", 0.25)  # to the tiny model no token is much likelier than another
    with pytest.raises(BadModel, match=r"parting_gap is \d+\.\d+, at most 0.25 is allowed"):
        stages.export_policy.main("dpo")


@pytest.mark.parametrize(("text", "truncated"), [("na " * 300, True), ("What ends a turn: <|end|>?", False)])
def test_prompts_that_the_study_reads_otherwise_are_not_compared(study, monkeypatch, text, truncated):
    """It shortens some, and reads the names of special tokens as letters."""
    long = [{"id": "x", "cluster": "x", "prompt": asked(text), "response": "", "prompt_truncated": truncated}]
    rows = long + read_dicts("data/responses/generated/base.parquet")
    monkeypatch.setattr(stages.export_policy, "read_dicts", lambda path: rows)
    folder = study / "models/export/policy/dpo"
    found = stages.export_policy.parity(load_params(), "dpo", folder)
    assert found["n"] == 5 and found["same_prompts"]["value"] == 1
    monkeypatch.setattr(stages.export_policy, "read_dicts", lambda path: long)
    with pytest.raises(BadInput, match=r"every prompt is longer than the model reads .* lower that, or take other prompts"):
        stages.export_policy.parity(load_params(), "dpo", folder)


def test_a_template_of_another_kind_is_an_error(study, monkeypatch):
    write = stages.export_policy.write_policy

    def other(folder, model, tokenizer, *others):
        tokenizer.chat_template = tokenizer.chat_template.replace("<|assistant|>", "<|user|>")
        write(folder, model, tokenizer, *others)

    monkeypatch.setattr(stages.export_policy, "write_policy", other)
    with pytest.raises(BadModel, match="same_prompts is 0, at least 1 is allowed"):
        stages.export_policy.main("dpo")


@pytest.mark.parametrize(
    "change_weights", [scaled("score.weight", 1.01), scaled("model.layers.0.mlp.up_proj.weight", 1.05)], ids=["head", "body"]
)
def test_a_corrupted_reward_model_is_an_error(study, monkeypatch, change_weights):
    monkeypatch.setattr(stages.export_reward, "write_reward", corrupted(stages.export_reward.write_reward, change_weights))
    with pytest.raises(BadModel, match="standard: the exported reward model is not the study's own: reward_difference is"):
        stages.export_reward.main("standard")


def test_a_reward_read_after_the_end_of_the_turn_is_an_error(study, monkeypatch):
    write = stages.export_reward.write_reward

    def going_on(folder, model, tokenizer):
        write(folder, model, tokenizer)
        path = folder / "chat_template.jinja"
        path.write_text(path.read_text() + "{{ ' and so on' }}")

    monkeypatch.setattr(stages.export_reward, "write_reward", going_on)
    with pytest.raises(BadModel, match="text_difference is"):
        stages.export_reward.main("standard")


def test_a_template_that_goes_on_after_the_turn_ends_with_it_in_the_reward_models_folder(study):
    """As most do: with a line break, at which no reward was trained."""
    path = study / "models/base/chat_template.jinja"
    before = path.read_text()
    try:
        path.write_text(with_system_prompt(before.replace("<|end|>", "<|end|>{{ '\\n' }}"), "Be brief"))
        stages.export_reward.main("standard")
        found = read_json("metrics/export/reward/standard.json")
        assert found["same_tokens"]["value"] == 1 and found["text_difference"] < 1e-4
        tokenizer = load_tokenizer(study / "models/export/reward/standard")
        turns = [*asked("Hi"), {"role": "assistant", "content": "Ho"}]
        wanted = "<|system|>Be brief<|end|>\n<|user|>Hi<|end|>\n<|assistant|>Ho<|end|>"
        assert tokenizer.apply_chat_template(turns, tokenize=False) == wanted
        asking = tokenizer.apply_chat_template(turns[:1], tokenize=False, add_generation_prompt=True)
        assert asking == "<|system|>Be brief<|end|>\n<|user|>Hi<|end|>\n<|assistant|>"
    finally:
        path.write_text(before)
        stages.export_reward.main("standard")


def test_product_of_experts_is_exported_as_its_main_expert(study):
    change(study, reward={"variants": ["standard", "product_of_experts"]})
    stages.export_reward.main("product_of_experts")
    found = read_json("metrics/export/reward/product_of_experts.json")
    assert found["reward_difference"] <= found["bounds"]["reward_difference"] and found["same_tokens"]["value"] == 1
    text = (study / "models/export/reward/product_of_experts/README.md").read_text()
    assert (
        "whether this one has the right to judge was not measured" in text and "`reward.product_of_experts.bias_weight`" in text
    )


def test_an_ensemble_is_refused_with_the_reason(study):
    with pytest.raises(BadModel, match="ensemble is several models, whose rewards"):
        stages.export_reward.main("ensemble")


def test_sampling_settings_of_the_study_come_along(study):
    change(study, generate={"temperature": 0.5, "top_p": 0.75})
    stages.export_policy.main("dpo")
    settings = read_json("models/export/policy/dpo/generation_config.json")
    assert (settings["do_sample"], settings["temperature"], settings["top_p"], settings["top_k"]) == (True, 0.5, 0.75, 0)
    assert read_json("metrics/export/policy/dpo.json")["same_answers"]["value"] == 1  # parity is greedy all the same


def test_talking(study, monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdin", io.StringIO("Hi na ?\n\nWho na na ?\n"))
    talk.main([])
    printed = capsys.readouterr().out
    assert printed.count("> ") >= 2 and printed.count("reward") == 4 and "DPO" in printed and "base" in printed
    own = load_causal("models/base", "models/policy/dpo")
    [[answer]] = respond(own, load_tokenizer("models/base"), [asked("Hi na ?")], max_new_tokens=8, batch_size=1)
    first = printed.split("> Who")[0]
    assert talk.printable(answer.text)[:10].strip() in first


def test_talking_in_a_folder_without_a_study(tmp_path, monkeypatch):
    tiny_params(tmp_path)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match="models/base is not there: run dvc repro"):
        talk.main(["dpo"])


def test_serving_is_skipped_with_a_word_where_the_package_is_not_installed(study, monkeypatch, capsys):
    monkeypatch.setattr(serve_check.importlib.util, "find_spec", lambda name: None)
    serve_check.main(["dpo"])
    assert "skipped: xllamacpp is not installed: pip install xllamacpp" in capsys.readouterr().out


def test_serving_a_policy_without_a_gguf_file(study, monkeypatch):
    monkeypatch.setattr(serve_check.importlib.util, "find_spec", lambda name: True)
    with pytest.raises(SystemExit, match=r"dpo.gguf is not there: it has no GGUF file"):
        serve_check.main(["dpo"])
    with pytest.raises(SystemExit, match=r"kto.gguf is not there: .*export.policies"):
        serve_check.main(["kto"])


def test_another_servers_answers_are_compared(study, tmp_path, capsys):
    tokenizer = load_tokenizer("models/base")
    asked_of = [row["prompt"] for row in read_dicts("data/responses/generated/base.parquet")[:5]]
    own = respond(load_causal("models/base", "models/policy/dpo"), tokenizer, asked_of, max_new_tokens=8, batch_size=1)
    rows = [{"prompt_ids": answer.prompt_ids, "ids": answer.ids} for [answer] in own]
    rows[2]["ids"] = [*rows[2]["ids"][:3], 77, 78]
    write_json(tmp_path / "served.json", rows)
    serve_check.main(["dpo", "--served", str(tmp_path / "served.json"), "--name", "other"])
    assert "other and transformers on 5 prompts: the same tokens of the prompt in 1.00" in capsys.readouterr().out
    found = read_json("metrics/export/other/dpo.json")
    assert (found["same_answers"]["value"], found["same_tokens_before"]) == (0.8, 3)
    rows[1]["prompt_ids"] = rows[1]["prompt_ids"][1:]
    write_json(tmp_path / "served.json", rows)
    with pytest.raises(BadModel, match=r"other reads 0.80 \[0.\d+, 0.\d+\] of the prompts as transformers does"):
        serve_check.main(["dpo", "--served", str(tmp_path / "served.json"), "--name", "other"])
    write_json(tmp_path / "served.json", rows[:4])
    with pytest.raises(SystemExit, match="5 rows of prompt_ids and ids are wanted, one a prompt; it holds 4"):
        serve_check.main(["dpo", "--served", str(tmp_path / "served.json"), "--name", "other"])
