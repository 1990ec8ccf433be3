"""What a model must be to be studied, and what is made of its tokenizer and chat template so that all stages see the same."""

import json
import re
from collections.abc import Collection, Iterable, Mapping
from datetime import date
from typing import Any

import torch
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from preference_study.errors import BadModel

SHOWN = 4
HEAD = "score"  # transformers' name of a classifier's linear map, the reward
# Turns whose texts no template holds by itself, and that one which lowers or escapes what is said would change.
PROBE = [
    {"role": role, "content": f'Zebra {number} <a & "b"> é{number}'}
    for number, role in enumerate(("user", "assistant", "user", "assistant"), 1)
]
SYSTEM = {"role": "system", "content": 'Zebra 0 <a & "b"> é0'}
PICKLED = (".bin", ".pt", ".pth", ".ckpt", ".h5", ".msgpack")
_THOUGHT = re.compile(r"[<\[](?:think|thinking|thoughts?|reasoning|scratchpad)[>\]]", re.IGNORECASE)
_NOW = re.compile(r"strftime_now\(\s*(['\"])(.*?)\1\s*\)")


def shown(names: Iterable[Any]) -> str:
    """The names for a message, sorted, and where they are many the first of them and how many more."""
    names = sorted(map(str, names))
    more = len(names) - SHOWN
    return ", ".join(names[:SHOWN]) + (f" and {more} more" if more > 0 else "")


def check_files(folder: Any, names: Collection[str], shards: Mapping[str, Collection[str]]) -> None:
    """Raise `BadModel` for a model folder whose weights are not all there as safetensors.

    Args:
        names: of its files.
        shards: by index of sharded weights, the files that it names.
    """
    if "adapter_config.json" in names:
        raise BadModel(f"{folder} holds an adapter: merge it into its base model, and name the folder of the merged one")
    for index, wanted in shards.items():
        if missing := set(wanted) - set(names):
            raise BadModel(f"{folder}: {index} names weights that are not there: {shown(missing)}; fetch the model again")
    pickled = [name for name in names if name.endswith(PICKLED)]
    if pickled and not any(name.endswith(".safetensors") for name in names):
        raise BadModel(
            f"{folder}: no safetensors weights, only {shown(pickled)}, which can run code; if you trust them, load them with "
            "transformers and save them with save_pretrained, which writes safetensors"
        )


def check_config(config: PretrainedConfig) -> None:
    """Raise `BadModel` for an architecture that cannot be trained as a policy and as a reward model."""
    name = (config.architectures or [type(config).__name__])[0]
    if config.is_encoder_decoder:
        raise BadModel(f"{name} is an encoder-decoder model; take a decoder-only one")
    if getattr(config, "quantization_config", None):
        raise BadModel(f"{name}'s weights are quantised and cannot be trained; take the unquantised model")
    if type(config) not in AutoModelForCausalLM._model_mapping:
        raise BadModel(f"{name} is no language model that writes; take a decoder-only one")
    if type(config) not in AutoModelForSequenceClassification._model_mapping:
        raise BadModel(f"{name} has no class for sequence classification in transformers, so there is no reward model of it")
    text = config.get_text_config()
    if (pad := getattr(text, "pad_token_id", None)) is not None and not -text.vocab_size <= pad < text.vocab_size:
        raise BadModel(f"pad_token_id {pad} in config.json is outside the model's {text.vocab_size} embeddings; mend it there")
    with torch.device("meta"):  # no weights, only the shape of the model
        head = getattr(AutoModelForSequenceClassification.from_config(config), HEAD, None)
    if not isinstance(head, torch.nn.Linear):
        raise BadModel(f"{name}'s classifier has no linear map named {HEAD} to give rewards by; take another architecture")


def check_loaded(folder: Any, info: dict[str, Any], new: tuple[str, ...] = (), unused: bool = False) -> None:
    """Raise `BadModel` where a model's weights and its files' are not the same.

    Args:
        info: as `from_pretrained(..., output_loading_info=True)` gives it.
        new: beginnings of the names of weights that no file need hold, a new head's.
        unused: whether the files may hold weights that the model has no use for.
    """
    missing = sorted(name for name in info["missing_keys"] if not name.startswith(new or ("\n",)))
    misshapen = sorted(str(entry[0] if isinstance(entry, (tuple, list)) else entry) for entry in info["mismatched_keys"])
    extra = [] if unused else sorted(info["unexpected_keys"])
    for what, names in (
        ("lacks weights", missing),
        ("holds weights of another shape", misshapen),
        ("holds weights it has no use for", extra),
    ):
        if names:
            raise BadModel(
                f"{folder}: the model {what}: {shown(names)}; fetch or save it again, with the config.json that belongs to it"
            )


def check_finite(model: PreTrainedModel) -> None:
    """Raise `BadModel` where weights are no numbers."""
    if broken := [name for name, weight in model.named_parameters() if not torch.isfinite(weight).all()]:
        raise BadModel(f"weights hold NaN or infinity: {shown(broken)}; fetch the model again")


def check_tokenizer(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """Raise `BadModel` where the tokenizer has tokens that the model has no embeddings of."""
    rows = model.get_input_embeddings().num_embeddings
    if outside := {token: id for token, id in tokenizer.get_vocab().items() if id >= rows}:
        # The padding token is named by itself: it is what a mended tokenizer_config.json most often gets wrong.
        of_all = [tokenizer.pad_token] if tokenizer.pad_token in outside else outside
        raise BadModel(
            f"the model has {rows} embeddings, and the tokenizer tokens above them: "
            f"{shown(f'{token} ({outside[token]})' for token in of_all)}; take its own tokenizer, or resize the embeddings"
        )


def chosen_template(tokenizer: PreTrainedTokenizerBase, name: str | None) -> str:
    """The chat template: the only one, or of several the one of that name, by default "default".

    Raises:
        BadModel: there is none, or none of that name.
    """
    templates = tokenizer.chat_template
    if not templates:
        raise BadModel("the model has no chat template; take an instruct model, or put a chat_template.jinja in its folder")
    if isinstance(templates, str):
        if name not in (None, "default"):
            raise BadModel(f"the model has one chat template, and none named {name!r}; set model.chat_template to null")
        return templates
    if (name or "default") not in templates:
        raise BadModel(f"the chat templates are {', '.join(sorted(templates))}; name one of them in model.chat_template")
    return templates[name or "default"]


def fixed_template(template: str, day: date, arguments: dict[str, Any]) -> str:
    """A chat template that writes the same text every day, with values of its own variables set.

    Args:
        day: what it takes for today.
        arguments: its variables' values, such as {enable_thinking: False}.

    Raises:
        BadModel: it does not know one of the variables, or asks for the date in a way that cannot be fixed.
    """
    for name in arguments:
        if name in ("messages", "add_generation_prompt"):
            raise BadModel(f"the study itself gives the chat template {name!r}: take it out of model.template_arguments")
        if not re.search(rf"\b{re.escape(name)}\b", template):
            raise BadModel(f"the chat template has no variable {name!r}: take it out of model.template_arguments")
    template = _NOW.sub(lambda found: json.dumps(day.strftime(found.group(2))), template)
    if "strftime_now(" in template:
        raise BadModel("the chat template writes today's date in a format of its own making; write a fixed one into it")
    values = {True: "true", False: "false", None: "none"}
    written = [
        f"{{% set {name} = {values[value] if value is None or isinstance(value, bool) else json.dumps(value)} %}}"
        for name, value in arguments.items()
    ]
    return before(template, "".join(written))


def before(template: str, blocks: str) -> str:
    """A chat template after these blocks. The line break, which Jinja takes away, keeps the template's own white space."""
    return blocks + ("\n" if blocks and template[:1].isspace() else "") + template


def with_system_prompt(template: str, text: str) -> str:
    """A chat template that begins with a system turn of this text wherever a conversation has none of its own."""
    turn = f"[{{'role': 'system', 'content': {json.dumps(text, ensure_ascii=False)}}}]"
    return before(template, f"{{% if messages[0]['role'] != 'system' %}}{{% set messages = {turn} + messages %}}{{% endif %}}")


def rendered(tokenizer: PreTrainedTokenizerBase, turns: list[dict[str, str]], **options: Any) -> str:
    """A conversation as the chat template writes it.

    Raises:
        BadModel: the template fails on it.
    """
    try:
        return tokenizer.apply_chat_template(turns, tokenize=False, **options)
    except Exception as error:  # a template is a program, and can fail in any way
        roles = ", ".join(turn["role"] for turn in turns)
        raise BadModel(f"the chat template fails on the turns {roles}: {type(error).__name__}: {error}") from None


def check_template(tokenizer: PreTrainedTokenizerBase) -> None:
    """Raise `BadModel` for a chat template that fails on a conversation, does not write each of its turns once, in order, or asks
    for a response inside of a thought."""
    for said in (PROBE[:1], PROBE[:3], PROBE):
        text = rendered(tokenizer, said, add_generation_prompt=said[-1]["role"] == "user")
        for number, turn in enumerate(said, 1):
            if (times := text.count(turn["content"])) != 1:
                how = "leaves out or changes" if times == 0 else f"writes {times} times"
                raise BadModel(f"the chat template {how} the {turn['role']}'s turn, the {number}. of {len(said)}; mend it")
        if sorted(said, key=lambda turn: text.index(turn["content"])) != said:
            raise BadModel("the chat template changes the order of turns; mend it")
    asked, answered = rendered(tokenizer, PROBE[:1], add_generation_prompt=True), rendered(tokenizer, PROBE[:2])
    opened = "" if answered.startswith(asked) else asked.split(PROBE[0]["content"])[1]
    if thought := next((tag for tag in _THOUGHT.findall(opened) if f"/{tag[1:]}" not in opened), None):
        raise BadModel(
            f"the chat template opens a thought ({thought}) before each response, and writes the responses of the data without "
            "one: trained on them the model would answer inside of its thoughts; set its variable for that under "
            "model.template_arguments, if it has one, as {enable_thinking: false}, or take that beginning out of the template in "
            "the model's folder"
        )


def check_system_turn(tokenizer: PreTrainedTokenizerBase) -> None:
    """Raise `BadModel` where the chat template takes no system turn: some fail on it, and some leave it out in silence."""
    try:
        text, problem = rendered(tokenizer, [SYSTEM, PROBE[0]]), "it leaves it out"
    except BadModel as error:
        text, problem = "", str(error)
    if SYSTEM["content"] not in text:
        raise BadModel(f"the chat template takes no system turn ({problem}); set model.system_prompt to null")


def end_of_turn(tokenizer: PreTrainedTokenizerBase) -> str | None:
    """The special token that the chat template writes after the assistant's text; None where it writes none."""
    text = rendered(tokenizer, PROBE[:2])
    after = text[text.rindex(PROBE[1]["content"]) + len(PROBE[1]["content"]) :]
    special = [*tokenizer.all_special_tokens, *(str(token) for token in tokenizer.added_tokens_decoder.values())]
    return max((token for token in special if token and after.lstrip().startswith(token)), key=len, default=None)


def name_ends(tokenizer: PreTrainedTokenizerBase, named: int | list[int] | None) -> list[int]:
    """Make the token that ends a turn in the chat template the tokenizer's EOS, and return all tokens that end a response.

    Some models' EOS ends a document, and another token a turn: trained and sampled responses must end with that one. The
    template goes on writing what it wrote, the former EOS too.

    Args:
        named: the model's `eos_token_id`.

    Returns:
        The template's first, then the tokenizer's, then others that the model names.

    Raises:
        BadModel: there is none.
    """
    before_that, template = tokenizer.eos_token, tokenizer.chat_template
    others = [tokenizer.eos_token_id, *(named if isinstance(named, list) else [named])]
    last = end_of_turn(tokenizer)
    # A number that the tokenizer has no token for, such as a class's default, can end nothing.
    ends = [token for token in others if token is not None and tokenizer.convert_ids_to_tokens(token) is not None]
    if last is None and not ends:
        raise BadModel(
            "nothing ends a response: no token in the chat template, no EOS (eos_token) in tokenizer_config.json and no "
            "eos_token_id in generation_config.json; name one there"
        )
    tokenizer.eos_token = last or tokenizer.convert_ids_to_tokens(ends[0])
    if before_that not in (None, tokenizer.eos_token) and "eos_token" in template:
        tokenizer.chat_template = before(template, f"{{% set eos_token = {json.dumps(before_that)} %}}")
    return list(dict.fromkeys([tokenizer.eos_token_id, *ends]))


def separate_padding(tokenizer: PreTrainedTokenizerBase, ends: Collection[int] = ()) -> None:
    """Give the tokenizer a padding token that is not its EOS, where it has one to spare.

    A reward is read at the last token that is not padding: were the two the same, the end of the turn would not be seen.

    Args:
        ends: other tokens that end a response, which are no good for padding either.
    """
    if tokenizer.pad_token is None or tokenizer.pad_token == tokenizer.eos_token:
        special = [str(token) for id, token in tokenizer.added_tokens_decoder.items() if token.special and id not in ends]
        # Best one that nothing else uses, as Llama 3's reserved ones are; else any other.
        unused = [token for token in special if token != tokenizer.bos_token and token not in tokenizer.chat_template]
        spare = (token for token in [tokenizer.unk_token, *unused, *special] if token not in (None, tokenizer.eos_token))
        tokenizer.pad_token = next(spare, tokenizer.eos_token)
