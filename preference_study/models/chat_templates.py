"""Chat templates: which of several, what is fixed in it, whether it writes all that is said, and what ends a turn."""

import datetime
import json
import re
from collections.abc import Mapping
from typing import Any

from transformers import PreTrainedTokenizerBase

from preference_study.errors import BadModel

# What no model says of itself, and what a template that escapes or lowers its text would change.
SYSTEM, FIRST, ANSWER, SECOND, CLOSING = (f'Probe{n} <a & "b"> é{n}' for n in range(1, 6))
CODES = "aAbBdHIjmMpSUwWyYcxX"  # of strftime


def choose_template(where: str, templates: str | Mapping[str, str] | None, name: str | None) -> str:
    """The chat template to use.

    Args:
        where: what the messages call the model.
        templates: the tokenizer's `chat_template`: one, several by name, or none.
        name: of the one wanted; None takes the only one, or the one named default.

    Raises:
        BadModel: there is none, none of this name, or no default among several.
    """
    if not templates:
        raise BadModel(f"{where}: no chat template; take an instruct model, or put a chat_template.jinja in its folder")
    named = {"default": templates} if isinstance(templates, str) else templates
    if (name or "default") not in named:
        problem = f"no chat template named {name!r}" if name else "several chat templates and none of them named 'default'"
        raise BadModel(f"{where}: {problem}; set model.chat_template_name to one of: {', '.join(sorted(named))}")
    return named[name or "default"]


def _before(template: str, start: str) -> str:
    """A template that begins with `start`, a block. The line break keeps a template's own white space: the block takes it."""
    return start + ("\n" if template[:1].isspace() else "") + template


def with_system_prompt(template: str, text: str) -> str:
    """A chat template that begins with a system turn of this text wherever a conversation has none of its own."""
    turn = f"[{{'role': 'system', 'content': {json.dumps(text, ensure_ascii=False)}}}]"
    return _before(template, f"{{% if messages[0]['role'] != 'system' %}}{{% set messages = {turn} + messages %}}{{% endif %}}")


def with_variables(template: str, values: Mapping[str, Any]) -> str:
    """A chat template in which these variables have these values, whoever renders it."""
    for name, value in values.items():
        template = _before(template, f"{{% set {name} = {value!a} %}}")
    return template


def with_arguments(where: str, template: str, arguments: Mapping[str, Any]) -> str:
    """`with_variables` for those that a user chose.

    Raises:
        BadModel: the template does not have one of them.
    """
    for name in arguments:
        if not re.search(rf"\b{name}\b", template):
            raise BadModel(f"{where}: the chat template has no variable {name!r}; take it out of model.template_arguments")
    return with_variables(template, arguments)


def with_fixed_date(template: str, date: str) -> str:
    """A chat template for which today is this day, so that a run of tomorrow sees the same tokens.

    Templates ask for the date by the function `strftime_now`, which transformers offers them. One that does not is unchanged.
    """
    if "strftime_now" not in template:
        return template
    day = datetime.datetime.fromisoformat(date)
    # Those without leading zeros first: %-d before %d. A percent sign of its own comes last.
    codes = {f"%-{code}": day.strftime(f"%{code}").lstrip("0") or "0" for code in "dmHIMSjyY"}
    codes |= {f"%{code}": day.strftime(f"%{code}") for code in CODES}
    codes |= {"%z": "", "%Z": "", "%f": "000000", "%e": f"{day.day:2}", "%F": date, "%%": "%"}
    return _before(
        template,
        "{% macro strftime_now(format) %}{% set ns = namespace(text=format) %}"
        f"{{% for code, value in {codes!a}.items() %}}{{% set ns.text = ns.text.replace(code, value) %}}{{% endfor %}}"
        "{{ ns.text }}{% endmacro %}",
    )


def _render(where: str, tokenizer: PreTrainedTokenizerBase, turns: list[tuple[str, str]], **options: Any) -> str:
    messages = [{"role": role, "content": content} for role, content in turns]
    try:
        return tokenizer.apply_chat_template(messages, tokenize=False, **options)
    except Exception as error:  # a template is a program, and can fail in any way
        roles = ", ".join(role for role, _ in turns)
        raise BadModel(
            f"{where}: the chat template fails on turns of {roles}: {type(error).__name__}: {error}; "
            "mend chat_template.jinja, or take another model"
        ) from None


def check_template(where: str, tokenizer: PreTrainedTokenizerBase) -> None:
    """Refuse a chat template that fails, or does not write each turn of a conversation once and in its order.

    Raises:
        BadModel: so it is; the message names the turn.
    """
    turns = [("user", FIRST), ("assistant", ANSWER), ("user", SECOND)]
    open_ended = _render(where, tokenizer, turns, add_generation_prompt=True)
    closed = _render(where, tokenizer, [*turns, ("assistant", CLOSING)])
    for text, said in ((open_ended, turns), (closed, [*turns, ("assistant", CLOSING)])):
        for number, (role, content) in enumerate(said, 1):
            if (times := text.count(content)) != 1:
                problem = "drops or changes" if times == 0 else f"writes {times} times"
                raise BadModel(
                    f"{where}: the chat template {problem} what is said in turn {number} of {len(said)} (the {role}'s); "
                    "mend chat_template.jinja, or take another model"
                )
        if sorted(said, key=lambda turn: text.index(turn[1])) != said:
            raise BadModel(f"{where}: the chat template changes the order of turns; mend it, or take another model")


def takes_system_turn(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether the chat template writes a conversation's system turn; some fail on it, and some leave it out in silence."""
    try:
        text = _render("", tokenizer, [("system", SYSTEM), ("user", FIRST)])
    except BadModel:
        return False
    return text.count(SYSTEM) == 1 and text.count(FIRST) == 1


def end_of_turn(tokenizer: PreTrainedTokenizerBase) -> int | None:
    """The token that the chat template writes after the assistant's last turn; None where it writes none.

    It need not be the tokenizer's EOS: <|end|> of Phi-3 and <end_of_turn> of Gemma are not.
    """
    text = _render("the model", tokenizer, [("user", FIRST), ("assistant", CLOSING)])
    tail = text[text.index(CLOSING) + len(CLOSING) :]
    # Tokens added to the vocabulary, special or not; some tokenizers have runs of spaces among them.
    added = {id for id, token in tokenizer.added_tokens_decoder.items() if token.content.strip()} | set(tokenizer.all_special_ids)
    return next((id for id in tokenizer(tail, add_special_tokens=False)["input_ids"] if id in added), None)


def end_of_turn_ids(where: str, tokenizer: PreTrainedTokenizerBase, named: int | list[int] | None) -> list[int]:
    """All tokens at which a response ends: the chat template's, then those the model names, then the tokenizer's EOS.

    Args:
        where: what the messages call the model.
        named: `eos_token_id` of the model's generation settings.

    Raises:
        BadModel: there is none.
    """
    others = named if isinstance(named, list) else [named]
    ids = dict.fromkeys([end_of_turn(tokenizer), tokenizer.eos_token_id, *others])
    ends = [id for id in ids if id is not None]
    if not ends:
        raise BadModel(
            f"{where}: nothing ends the assistant's turn: no token in the chat template, no eos_token in tokenizer_config.json, "
            "no eos_token_id in generation_config.json; responses would never end, so name one"
        )
    return ends
