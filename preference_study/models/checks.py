"""What a model must be to be studied, and what is made of its tokenizer and chat template so that all stages see the same."""

import json
import re
from datetime import date
from typing import Any

from jinja2 import TemplateError
from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase
from transformers.models.auto.modeling_auto import MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING

from preference_study.errors import BadModel

SHOWN = 4
# Turns whose texts no template holds by itself.
PROBE = [
    {"role": "user", "content": "zebra one"},
    {"role": "assistant", "content": "zebra two"},
    {"role": "user", "content": "zebra three"},
]
_NOW = re.compile(r"strftime_now\(\s*(['\"])(.*?)\1\s*\)")


def check_config(config: PretrainedConfig) -> None:
    """Raise `BadModel` for an architecture that cannot be trained as a policy and as a reward model."""
    name = (config.architectures or [type(config).__name__])[0]
    if config.is_encoder_decoder:
        raise BadModel(f"{name} is an encoder-decoder model; take a decoder-only one")
    if getattr(config, "quantization_config", None):
        raise BadModel(f"{name}'s weights are quantised and cannot be trained; take the unquantised model")
    if type(config) not in MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING:
        raise BadModel(f"{name} has no class for sequence classification in transformers, so there is no reward model of it")


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
            shown = ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")
            raise BadModel(
                f"{folder}: the model {what}: {shown}; fetch or save it again, with the config.json that belongs to it"
            )


def check_tokenizer(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """Raise `BadModel` where the tokenizer does not fit the model: no EOS, or tokens that it has no embeddings of."""
    rows = model.get_input_embeddings().num_embeddings
    if tokenizer.eos_token_id is None:
        raise BadModel("the tokenizer has no EOS (eos_token): no response could end; set it in tokenizer_config.json")
    if len(tokenizer) > rows:
        raise BadModel(
            f"the tokenizer has {len(tokenizer)} tokens, and the model embeddings of {rows}: they do not belong together"
        )
    if tokenizer.pad_token_id is not None and tokenizer.pad_token_id >= rows:
        raise BadModel(
            f"pad_token {tokenizer.pad_token!r} is token {tokenizer.pad_token_id}, and the model has {rows} embeddings"
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
    return "".join(written) + template


def with_system_prompt(template: str, text: str) -> str:
    """A chat template that begins with a system turn of this text wherever a conversation has none of its own."""
    turn = f"[{{'role': 'system', 'content': {json.dumps(text, ensure_ascii=False)}}}]"
    return f"{{% if messages[0]['role'] != 'system' %}}{{% set messages = {turn} + messages %}}{{% endif %}}{template}"


def check_template(tokenizer: PreTrainedTokenizerBase, system_prompt: str | None) -> None:
    """Raise `BadModel` for a chat template that fails on a plain conversation, or leaves out what is said in it."""
    try:
        tokenizer.apply_chat_template(PROBE[:1], tokenize=False)
    except TemplateError as error:
        if system_prompt is not None:
            raise BadModel(f"the chat template takes no system turn ({error}); set model.system_prompt to null") from None
        raise BadModel(f"the chat template fails on a user's turn: {error}") from None
    try:
        text = tokenizer.apply_chat_template(PROBE, tokenize=False, add_generation_prompt=True)
    except TemplateError as error:
        raise BadModel(f"the chat template fails on a conversation of three turns: {error}") from None
    for turn in PROBE:
        if turn["content"] not in text:
            raise BadModel(f"the chat template leaves out the {turn['role']}'s turn {turn['content']!r} of {PROBE}")
    if system_prompt and system_prompt.strip() not in text:
        raise BadModel("the chat template leaves out the system turn; set model.system_prompt to null")


def end_of_turn(tokenizer: PreTrainedTokenizerBase) -> str | None:
    """The special token that the chat template writes after the assistant's text; None where it writes none."""
    text = tokenizer.apply_chat_template(PROBE[:2], tokenize=False)
    after = text[text.rindex(PROBE[1]["content"]) + len(PROBE[1]["content"]) :]
    special = [*tokenizer.all_special_tokens, *(str(token) for token in tokenizer.added_tokens_decoder.values())]
    return max((token for token in special if token and after.lstrip().startswith(token)), key=len, default=None)
