"""A model that cannot be studied is refused by name where it is prepared or loaded, with what is wrong with it."""

import json
import math
import shutil
from collections.abc import Callable
from datetime import date
from pathlib import Path

import pandas as pd
import pytest
import torch
from peft import get_peft_model
from safetensors.torch import load_file, save_file
from transformers import BertConfig, BertLMHeadModel, GPT2Config, LlamaForCausalLM, T5Config, T5ForConditionalGeneration

import stages.prepare_model
from preference_study.errors import BadModel
from preference_study.models.checks import before, end_of_turn, fixed_template, name_ends, separate_padding, with_system_prompt
from preference_study.models.language_models import load_causal, load_reward, load_tokenizer, new_reward_model
from preference_study.models.reward_models import load_judge
from preference_study.models.tokens import encode_pairs
from preference_study.training.run import lora
from tests.conftest import asked
from tests.models.architectures import CHATML, PHI3, byte_tokenizer
from tests.tiny import SPECIAL, TEMPLATE
from tests.workspace import change, tiny_params

DAY = date(2026, 3, 1)


def weights(change_them: Callable[[dict], None]) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        held = load_file(folder / "model.safetensors")
        change_them(held)
        save_file(held, folder / "model.safetensors", metadata={"format": "pt"})

    return spoil


def file(name: str, **entries) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        path = folder / name
        path.write_text(json.dumps({k: v for k, v in (json.loads(path.read_text()) | entries).items() if v != "gone"}))

    return spoil


def template(text: str) -> Callable[[Path], None]:
    return lambda folder: (folder / "chat_template.jinja").write_text(text) and None


def pickled(folder: Path) -> None:
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


def in_shards(folder: Path) -> None:
    LlamaForCausalLM.from_pretrained(folder).save_pretrained(folder / "shards", max_shard_size="20KB")
    (folder / "model.safetensors").unlink()
    for shard in (folder / "shards").glob("model*"):
        shard.rename(folder / shard.name)
    sorted(folder.glob("model-*.safetensors"))[0].unlink()


def translator(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    T5ForConditionalGeneration(T5Config(vocab_size=300, d_model=16, num_layers=1, num_heads=2, d_ff=16)).save_pretrained(folder)


def endless(folder: Path) -> None:
    """No EOS anywhere, and a template whose turns end with a line."""
    file("tokenizer_config.json", eos_token=None)(folder)
    file("config.json", eos_token_id=None)(folder)
    file("generation_config.json", eos_token_id="gone")(folder)
    template(TEMPLATE.replace("<|end|>", "\n"))(folder)


def adapter(folder: Path) -> None:
    model = load_causal(folder)
    get_peft_model(model, lora(model, 4, 1, task_type="CAUSAL_LM")).save_pretrained(folder)


def two_sided(folder: Path) -> None:
    """BERT can be made to write, and its classifier reads another way."""
    (folder / "model.safetensors").unlink()
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    BertLMHeadModel(BertConfig(vocab_size=300, is_decoder=True, **sizes)).save_pretrained(folder)


LAYER = "model.layers.1.mlp.up_proj.weight"
SPOILT = {
    "a layer is missing": (weights(lambda held: held.pop(LAYER)), [f"lacks weights: {LAYER}"]),
    "a weight of another shape": (weights(lambda held: held.update({LAYER: torch.zeros(3, 3)})), [LAYER]),
    "a weight too many": (weights(lambda held: held.update({"model.more.weight": torch.zeros(1)})), ["no use for: model.more.weight"]),
    "another number of layers": (file("config.json", num_hidden_layers=3), ["lacks weights: model.layers.2."]),
    "half a file": (lambda f: (f / "model.safetensors").write_bytes((f / "model.safetensors").read_bytes()[:999]) and None, ["cannot be loaded", "header"]),
    "pickled weights": (pickled, ["no safetensors weights, only pytorch_model.bin", "save_pretrained"]),
    "a missing shard": (in_shards, ["model.safetensors.index.json names weights that are not there: model-00001"]),
    "no configuration": (lambda folder: (folder / "config.json").unlink(), ["cannot be loaded"]),
    "no tokenizer": (lambda folder: [path.unlink() for path in folder.glob("tokenizer*")] and None, ["cannot be loaded"]),
    "encoder and decoder": (translator, ["encoder-decoder"]),
    "quantised weights": (file("config.json", quantization_config={"quant_method": "gptq", "bits": 4}), ["quantised"]),
    "no class for rewards": (file("config.json", model_type="codegen", architectures=["CodeGenForCausalLM"]), ["no class for sequence classification"]),
    "code of its own": (file("config.json", model_type="mine", auto_map={"AutoConfig": "mine.Mine"}), ["cannot be loaded", "no code of its own"]),
    "nothing that ends a turn": (endless, ["nothing ends a response", "eos_token"]),
    "too few embeddings": (file("tokenizer_config.json", extra_special_tokens=["<more>"]), ["260 embeddings", "<more> (260)"]),
    "padding outside": (file("tokenizer_config.json", pad_token="<new>", additional_special_tokens=["<more>"]), ["260 embeddings", ": <new> ("]),
    "a number for padding outside": (file("config.json", pad_token_id=999), ["pad_token_id 999", "260 embeddings"]),
    "a weight that is no number": (weights(lambda held: held[LAYER].fill_(math.nan)), [f"NaN or infinity: {LAYER}"]),
    "an adapter": (adapter, ["adapter", "merge it"]),
    "a text in place of weights": (lambda f: (f / "model.safetensors").write_text("version https://git-lfs") and None, ["cannot be loaded", "header"]),
    "a classifier of another kind": (two_sided, ["no linear map named score"]),
    "a configuration that contradicts itself": (file("config.json", hidden_size=30), ["cannot be loaded"]),
    "a tokenizer cut short": (lambda f: (f / "tokenizer.json").write_text((f / "tokenizer.json").read_text()[:300]) and None, ["cannot be loaded"]),
    "no template": (lambda folder: (folder / "chat_template.jinja").unlink(), ["no chat template"]),
    "a template that fails": (template("{{ messages[0]['text']['x'] }}"), ["fails on the turns user", "UndefinedError"]),
    "a template that adds numbers": (template("{{ messages[0]['content'] + 1 }}"), ["fails on the turns user", "TypeError"]),
    "a template that ends too soon": (template("{% for m in messages %}"), ["fails on the turns user", "endfor"]),
    "a template that lowers": (template(TEMPLATE.replace("m['content']", "m['content'] | lower")), ["leaves out or changes the user's turn"]),
    "a template that escapes": (template(TEMPLATE.replace("m['content']", "m['content'] | e")), ["leaves out or changes the user's turn"]),
    "a template that quotes": (template(TEMPLATE.replace("m['content']", "m['content'] | tojson")), ["leaves out or changes the user's turn"]),
    "a template for parts": (template(TEMPLATE.replace("m['content']", "m['content'][0]['text']")), ["leaves out or changes the user's turn"]),
    "a template that doubles": (template(TEMPLATE.replace("}}<|end|>", "}}{{ m['content'] }}<|end|>")), ["writes 2 times the user's turn"]),
    "a template that reverses": (template(TEMPLATE.replace("in messages", "in messages | reverse")), ["changes the order"]),
    "a template that drops the answer": (template(TEMPLATE.replace("{{ m['content'] }}", "{{ m['content'] if m['role'] == 'user' or not loop.last else '' }}")), ["assistant's turn, the 4. of 4"]),

    "a template of one turn": (template("{% if messages|length > 1 %}{{ raise_exception('one turn') }}{% endif %}" + TEMPLATE), ["user, assistant", "one turn"]),
    "a template that drops the assistant": (
        template("{% for m in messages if m['role'] == 'user' %}<|user|>{{ m['content'] }}<|end|>{% endfor %}<|assistant|>"),
        ["leaves out or changes the assistant's turn, the 2. of 3"],
    ),
    "a template that drops earlier turns": (template("<|user|>{{ messages[-1]['content'] }}<|end|><|assistant|>"), ["leaves out or changes the user's turn, the 1. of 3"]),
    "a template that opens a thought": (template(TEMPLATE.replace("assistant|>{%", "assistant|><think>\n{%")), ["opens a thought (<think>)", "template_arguments"]),
    "a template that opens a thought otherwise than answers": (
        template(TEMPLATE.replace("assistant|>{%", "assistant|><think>\n{%").replace("{{ m['content'] }}", "{{ '<think></think>' if m['role'] == 'assistant' else '' }}{{ m['content'] }}")),
        ["opens a thought (<think>)"],
    ),
    "a template that opens a thought in brackets": (template(TEMPLATE.replace("assistant|>{%", "assistant|>[THINK]{%")), ["opens a thought ([THINK])"]),
    "a template with a date of its own making": (template("{{ strftime_now(f) }}" + TEMPLATE), ["date", "fixed one"]),
}  # fmt: skip


@pytest.fixture
def spoilt(tmp_path, monkeypatch, model_folder) -> Path:
    """A study with a model folder to be spoilt, and a base model of before."""
    tiny_params(tmp_path)
    shutil.copytree(model_folder, tmp_path / "mine")
    (tmp_path / "models/base").mkdir(parents=True)
    (tmp_path / "models/base/kept").write_text("of before")
    change(tmp_path, model={"name": "mine", "watched": "mine"})
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("kind", SPOILT)
def test_a_spoilt_model_is_refused_by_name(spoilt, kind):
    spoil, told = SPOILT[kind]
    spoil(spoilt / "mine")
    with pytest.raises(BadModel) as error:
        stages.prepare_model.main()
    assert all(part in str(error.value) for part in ["mine", *told]), error.value
    assert (spoilt / "models/base/kept").read_text() == "of before"


@pytest.mark.parametrize(("settings", "told"), [
    ({"system_prompt": "Be brief."}, "takes no system turn"),
    ({"template_arguments": {"enable_thinking": False}}, "no variable 'enable_thinking'"),
    ({"template_arguments": {"messages": "Hi"}}, "the study itself gives the chat template 'messages'"),
    ({"template_arguments": {"add_generation_prompt": False}}, "the study itself gives the chat template 'add_generation_prompt'"),
    ({"chat_template": "tools"}, "none named 'tools'"),
])  # fmt: skip
def test_settings_that_the_template_does_not_take(spoilt, settings, told):
    strict = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system') }}{% endif %}" + TEMPLATE
    template(strict)(spoilt / "mine")
    change(spoilt, model=settings)
    with pytest.raises(BadModel, match=told):
        stages.prepare_model.main()


def test_a_system_prompt_that_is_passed_over_is_refused(spoilt):
    template("{% for m in messages if m['role'] != 'system' %}<|{{ m['role'] }}|>{{ m['content'] }}<|end|>{% endfor %}")(
        spoilt / "mine"
    )
    for text in ("Be brief.", ""):
        change(spoilt, model={"system_prompt": text})
        with pytest.raises(BadModel, match=r"takes no system turn \(it leaves it out\); set model\.system_prompt to null"):
            stages.prepare_model.main()


@pytest.mark.parametrize("thought", ["<think>\n\n</think>\n\n", "[THINK][/THINK]", " ", "<turn>\n", "<think>\n"])
def test_a_template_may_close_the_thought_or_write_it_before_the_answers_of_the_data_too(spoilt, thought):
    asked = TEMPLATE.replace("assistant|>{%", f"assistant|>{thought}{{%")
    assert asked != TEMPLATE
    if thought == "<think>\n":
        asked = asked.replace(
            "{{ m['content'] }}", "{{ '<think>\n\n</think>\n' if m['role'] == 'assistant' else '' }}{{ m['content'] }}"
        )
    template(asked)(spoilt / "mine")
    stages.prepare_model.main()
    tokenizer = load_tokenizer("models/base")
    text = tokenizer.apply_chat_template([{"role": "user", "content": "Hi"}], tokenize=False, add_generation_prompt=True)
    assert text == f"<|user|>Hi<|end|><|assistant|>{thought}"


def test_one_of_several_templates_is_chosen_by_name(spoilt):
    tokenizer = load_tokenizer("mine")
    tokenizer.chat_template = {"default": TEMPLATE, "tools": "T" + TEMPLATE}
    tokenizer.save_pretrained("mine")
    written = []
    for name in (None, "tools"):
        change(spoilt, model={"chat_template": name})
        stages.prepare_model.main()
        written.append(load_tokenizer("models/base").apply_chat_template([{"role": "user", "content": "Hi"}], tokenize=False))
    assert written == ["<|user|>Hi<|end|>", "T<|user|>Hi<|end|>"]
    change(spoilt, model={"chat_template": "rag"})
    with pytest.raises(BadModel, match="the chat templates are default, tools"):
        stages.prepare_model.main()


def test_a_template_writes_one_day_and_the_variables_set(spoilt):
    text = fixed_template("{{ strftime_now('%d %b %Y') }} {{ strftime_now(\"%Y\") }}{{ think }}", DAY, {"think": False})
    assert text == '{% set think = false %}{{ "01 Mar 2026" }} {{ "2026" }}{{ think }}'
    template("{% if thinking is defined and not thinking %}quiet {% endif %}{{ strftime_now('%Y-%m-%d') }}" + TEMPLATE)(
        spoilt / "mine"
    )
    change(spoilt, model={"template_arguments": {"thinking": False}, "date": "2025-06-07"})
    stages.prepare_model.main()
    written = load_tokenizer("models/base").apply_chat_template([{"role": "user", "content": "Hi"}], tokenize=False)
    assert written == "quiet 2025-06-07<|user|>Hi<|end|>"


def test_the_end_of_a_turn_is_what_the_template_writes(spoilt):
    tokenizer = load_tokenizer("mine")
    assert end_of_turn(tokenizer) == "<|end|>"
    tokenizer.chat_template = TEMPLATE.replace("<|end|>", "\n" + SPECIAL[2])
    assert end_of_turn(tokenizer) == SPECIAL[2]
    tokenizer.chat_template = TEMPLATE.replace("<|end|>", "\n")
    assert end_of_turn(tokenizer) is None
    # A template whose turns end with a token of their own: it becomes the EOS, and the model's own stays one.
    template(TEMPLATE.replace("<|end|>", SPECIAL[2]))(spoilt / "mine")
    stages.prepare_model.main()
    assert load_tokenizer("models/base").eos_token == SPECIAL[2]
    assert load_causal("models/base").generation_config.eos_token_id == [2, 1]


def test_an_adapter_with_half_its_weights_is_refused(tmp_path, model_folder):
    model = new_reward_model(model_folder, 1)
    get_peft_model(model, lora(model, 4, None, task_type="SEQ_CLS", modules_to_save=["score"])).save_pretrained(tmp_path)
    load_reward(model_folder, tmp_path)
    whole = load_file(tmp_path / "adapter_model.safetensors")
    for left_out, told in (("lora_B", "lacks weights"), ("layers.1", "lacks weights")):
        held = {name: weight for name, weight in whole.items() if left_out not in name}
        save_file(held, tmp_path / "adapter_model.safetensors", metadata={"format": "pt"})
        with pytest.raises(BadModel, match=f"{tmp_path}.*{told}"):
            load_judge(model_folder, tmp_path)
    held = whole | {"base_model.model.more.weight": torch.zeros(1)}
    save_file(held, tmp_path / "adapter_model.safetensors", metadata={"format": "pt"})
    with pytest.raises(BadModel, match="no use for"):
        load_judge(model_folder, tmp_path)


def test_a_policy_adapter_with_half_its_weights_is_refused(tmp_path, model_folder):
    model = load_causal(model_folder)
    get_peft_model(model, lora(model, 4, 1, task_type="CAUSAL_LM")).save_pretrained(tmp_path)
    held = load_file(tmp_path / "adapter_model.safetensors")
    held.pop(next(name for name in held if "lora_A" in name))
    save_file(held, tmp_path / "adapter_model.safetensors", metadata={"format": "pt"})
    with pytest.raises(BadModel, match="lacks weights"):
        load_causal(model_folder, tmp_path)


def test_a_model_whose_layers_are_not_found_is_named():
    model = torch.nn.Linear(2, 2)
    model.config = GPT2Config(n_layer=3)
    with pytest.raises(BadModel, match="Linear: no list of 3 layers"):
        lora(model, 4, 1)


def test_what_a_template_wrote_as_its_eos_it_goes_on_writing():
    """Phi 3 ends a turn with <|end|>, and a conversation that nobody goes on with by its EOS."""
    tokenizer = byte_tokenizer(
        {"eos": "<|endoftext|>", "pad": "<|endoftext|>", "more": ["<|user|>", "<|assistant|>", "<|end|>"]}, PHI3
    )
    turns = [*asked("Hi"), {"role": "assistant", "content": "Yes."}]
    wanted = "<|user|>\nHi<|end|>\n<|assistant|>\nYes.<|end|>\n<|endoftext|>"
    assert tokenizer.apply_chat_template(turns, tokenize=False) == wanted
    ends = name_ends(tokenizer, None)
    assert tokenizer.convert_ids_to_tokens(ends) == ["<|end|>", "<|endoftext|>"] and tokenizer.eos_token == "<|end|>"
    assert tokenizer.apply_chat_template(turns, tokenize=False) == wanted
    pair = encode_pairs(tokenizer, pd.DataFrame({"prompt": [asked("Hi")], "chosen": ["Yes."], "rejected": ["No."]}), 99)[0]
    assert tokenizer.decode(pair.chosen_ids) == "Yes.<|end|>"


@pytest.mark.parametrize(
    ("specials", "named", "wanted"),
    [
        ({"eos": "<|im_end|>"}, None, ["<|im_end|>"]),
        ({"eos": "<eos>", "more": ["<|im_end|>"]}, None, ["<|im_end|>", "<eos>"]),
        ({"eos": "<eos>", "more": ["<|im_end|>", "<stop>"]}, [2, 0, 1], ["<|im_end|>", "<eos>", "<stop>"]),
        ({"more": ["<|im_end|>"]}, None, ["<|im_end|>"]),  # the tokenizer has no EOS, and its template does
        ({"eos": "<|im_end|>"}, [0, 50256], ["<|im_end|>"]),  # a class's default, of which there is no token
        ({"eos": "<eos>"}, None, ["<eos>"]),  # <|im_end|> is plain text
        ({"more": ["<stop>"]}, 0, ["<stop>"]),  # neither has one, and the model does
    ],
)
def test_all_that_ends_a_response(specials, named, wanted):
    tokenizer = byte_tokenizer(specials, CHATML)
    ends = name_ends(tokenizer, named)
    assert tokenizer.convert_ids_to_tokens(ends) == wanted and tokenizer.eos_token_id == ends[0]


@pytest.mark.parametrize(
    ("specials", "ends", "wanted"),
    [
        ({"eos": "<e>", "pad": "<p>", "unk": "<u>"}, (), "<p>"),
        ({"eos": "<e>", "pad": "<e>", "unk": "<u>"}, (), "<u>"),
        ({"eos": "<e>", "bos": "<b>", "more": ["<|im_start|>", "<r>"]}, (), "<r>"),  # what nothing else uses
        ({"eos": "<e>", "bos": "<b>", "more": ["<stop>", "<r>"]}, (2,), "<r>"),
        ({"eos": "<e>", "unk": "<e>", "bos": "<b>"}, (), "<b>"),
        ({"eos": "<e>", "unk": "<e>", "bos": "<e>"}, (), "<e>"),
    ],
)
def test_padding_is_a_token_that_ends_nothing(specials, ends, wanted):
    tokenizer = byte_tokenizer(specials, CHATML)
    separate_padding(tokenizer, ends)
    assert tokenizer.pad_token == wanted


@pytest.mark.parametrize(
    "template", ["\nA{{ messages[0]['content'] }}", "  {% if x %}{% endif %}B", "{{ messages[0]['content'] }}\n", "C"]
)
def test_what_is_put_before_a_template_keeps_its_white_space(template):
    tokenizer = byte_tokenizer({"eos": "<e>"}, template)
    wanted = tokenizer.apply_chat_template(asked("Hi"), tokenize=False)
    tokenizer.chat_template = before(
        with_system_prompt(template, "Brief.").replace("+ messages", "+ messages if false else messages"), "{% set y = 1 %}"
    )
    assert tokenizer.apply_chat_template(asked("Hi"), tokenize=False) == wanted


def test_an_adapter_of_another_model_is_named(tmp_path, model_folder):
    base = new_reward_model(model_folder, 1)
    get_peft_model(base, lora(base, 4, 1, task_type="SEQ_CLS", modules_to_save=["score"])).save_pretrained(tmp_path)
    held = load_file(tmp_path / "adapter_model.safetensors")
    for broken in (
        {name: weight[:, :3].contiguous() if "lora_A" in name else weight for name, weight in held.items()},
        {name: weight[:, :16].contiguous() if "score" in name else weight for name, weight in held.items()},
    ):
        save_file(broken, tmp_path / "adapter_model.safetensors", metadata={"format": "pt"})
        with pytest.raises(BadModel, match=f"{tmp_path}.*holds no adapter of the model"):
            load_reward(model_folder, tmp_path)
    save_file(held, tmp_path / "adapter_model.safetensors", metadata={"format": "pt"})
    configuration = tmp_path / "adapter_config.json"
    configuration.write_text(json.dumps(json.loads(configuration.read_text()) | {"target_modules": "nothing"}))
    with pytest.raises(BadModel, match=f"{tmp_path}.*holds no adapter of the model"):
        load_reward(model_folder, tmp_path)


def test_a_models_own_settings_for_sampling_are_left_out(spoilt):
    file("generation_config.json", do_sample=True, min_new_tokens=7, no_repeat_ngram_size=2, suppress_tokens=[9], top_k=3)(
        spoilt / "mine"
    )
    stages.prepare_model.main()
    written = json.loads((spoilt / "models/base/generation_config.json").read_text())
    assert not {"min_new_tokens", "no_repeat_ngram_size", "suppress_tokens", "top_k"} & set(written) and not written["do_sample"]


STAGES = "stages:\n  prepare_model:\n    outs: [models/base]\n  train_reward:\n    outs: ['models/reward/${item.variant}']\n"


@pytest.mark.parametrize(
    ("name", "spoil", "stage"),
    [
        ("base/model.safetensors", lambda path: path.write_bytes(path.read_bytes()[:500]), "prepare_model"),
        ("base/model.safetensors", Path.unlink, "prepare_model"),
        ("base/config.json", lambda path: path.write_text("{"), "prepare_model"),
        ("base/config.json", Path.unlink, "prepare_model"),
        ("base/tokenizer.json", lambda path: path.write_bytes(path.read_bytes()[:500]), "prepare_model"),
        ("reward/one/adapter_model.safetensors", lambda path: path.write_bytes(path.read_bytes()[:500]), "train_reward"),
        ("reward/one/adapter_config.json", lambda path: path.write_text("{}"), "train_reward"),
        ("reward/one/adapter_config.json", Path.unlink, "train_reward"),
    ],
)
def test_a_spoilt_model_of_the_studys_own_names_the_stage_that_makes_it(tmp_path, monkeypatch, model_folder, name, spoil, stage):
    monkeypatch.chdir(tmp_path)
    Path("dvc.yaml").write_text(STAGES)
    shutil.copytree(model_folder, "models/base")
    model = new_reward_model("models/base", 1)
    get_peft_model(model, lora(model, 4, 1, task_type="SEQ_CLS", modules_to_save=["score"])).save_pretrained("models/reward/one")
    spoil(Path("models") / name)
    with pytest.raises(BadModel, match=f"stage {stage} writes it: delete it and run dvc repro"):
        load_tokenizer("models/base")
        load_judge("models/base", "models/reward/one")
