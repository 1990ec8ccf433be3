"""Conversations in whatever form data have them, as turns: a list of {role, content}, of system, user and assistant."""

import ast
import json
import re
import unicodedata
from collections.abc import Sequence
from typing import Any

Turns = list[dict[str, str]]

ROLES = {
    "user": "user", "human": "user", "prompter": "user",
    "assistant": "assistant", "ai": "assistant", "gpt": "assistant", "chatgpt": "assistant", "bot": "assistant",
    "model": "assistant",
    "system": "system", "developer": "system",
}  # fmt: skip
THOUGHTS = ("reasoning_content", "reasoning", "thinking")  # fields of a message beside its content
TOOLS = {"tool", "function", "function_call", "function_response", "observation", "ipython"}
# HH-RLHF's transcripts: an empty line stands before each turn, though the first may have lost it where a text was stripped.
_TRANSCRIPT = re.compile(r"\s*\n\n(?:Human|Assistant|System):", re.IGNORECASE)
_STRIPPED_TRANSCRIPT = re.compile(r"\s*(?:Human|System):.*\nAssistant:", re.IGNORECASE | re.DOTALL)
_SPEAKER = re.compile(r"(?:^|\n\n)(Human|Assistant|System):", re.IGNORECASE)
_CLOSE_SPEAKER = re.compile(r"(?:^|\n)(Human|Assistant|System):", re.IGNORECASE)
# A text that is meant to be a message or a list of them.
_MESSAGES = re.compile(r"""\s*(?:\[\s*)?\{\s*['"]\w+['"]\s*:.*""", re.DOTALL)
_ROLE = re.compile(r"""['"](?:role|from)['"]\s*:""")
_SAID = {"content", "value", "tool_calls", "function_call"}
# Marks of chat templates: those that nobody writes in a text, which a model's tokenizer may take for the end of a turn wherever
# they stand, and others that say so where a text begins or ends with them, as it also may with the place of a response.
_CONTROL = re.compile(
    r"<\|[A-Za-z]\w{1,30}\|>|\[\|[a-z]{3,30}\|\]|<s>\s*\[INST\]|<(?:start|end)_of_turn>|<\uff5c[^<>\n]{1,30}\uff5c>"
)
_MARK = r"\[/?INST\]|<<SYS>>|<[be]os>"
_BEGINS = re.compile(rf"\s*(?:{_MARK}|<s>)")
_ENDS = re.compile(
    rf"(?:{_MARK}|</s>|\sASSISTANT:|\n\s*(?:\#+\s*)?(?i:assistant|bot|ai|chatgpt)\s*:|\n\s*\#+\s*(?i:response)\s*:?)\s*\Z"
)
# Codes that Unicode keeps for no character; preference_study/models/tokens.py marks with two of them.
_NO_CHARACTER = re.compile("[\ufdd0-\ufdef\ufffe\uffff]")
_END = 60  # characters at a text's end that hold any of them
# A transcript of another form than HH-RLHF's: a speaker's name at its beginning, and one who answers in a later line or, as
# Vicuna has it, in capitals in the same. No two parts of it take the same spaces, or long runs of them would take for ever.
_ASKS = re.compile(r"\s*(?:\#+\s*)?(?i:user|human|prompter|h|question|q|instruction)\s*:")
_ANSWERS = re.compile(r"\n[ \t]*(?:\#+[ \t]*)?(?i:assistant|bot|ai|gpt|chatgpt|a|answer|response)[ \t]*:|\sASSISTANT:")
# A turn's label in it; not "Q:" and "A:" and the like, which a prompt has before its examples too.
_LABEL = re.compile(
    r"(?:\A|\n)[ \t]*(?:\#+[ \t]*)?"
    r"(?i:(?P<system>system)|(?P<user>user|human|prompter)|(?P<assistant>assistant|bot|ai|gpt|chatgpt))[ \t]*:"
    r"|(?<=\s)(?:(?P<USER>USER)|ASSISTANT):"
)


class Unusable(ValueError):
    """A row that cannot be used; `reason` is the one it is counted under."""

    def __init__(self, reason: str):
        super().__init__(reason)
        self.reason = reason


def is_missing(value: Any) -> bool:
    """Whether a cell holds nothing: None, or a number that is not a number."""
    return value is None or (isinstance(value, float) and value != value) or type(value).__name__ in ("NAType", "NaTType")


def is_transcript(text: Any) -> bool:
    """Whether a text is a transcript as HH-RLHF has them, with "Human:" or "Assistant:" at the beginning of its turns."""
    if not isinstance(text, str):
        return False
    text = _unix(text)
    return _TRANSCRIPT.match(text) is not None or _STRIPPED_TRANSCRIPT.match(text) is not None


def is_other_transcript(text: str) -> bool:
    """Whether a text is a transcript that is not read: "User:" and "Assistant:", "Q:" and "A:" and so on."""
    text = _unix(text)
    return not is_transcript(text) and _ASKS.match(text) is not None and _ANSWERS.search(text) is not None


def holds_turns(text: str) -> bool:
    """Whether a text is a transcript that is not read, in which an assistant has spoken: user's and assistant's labels take turns
    in it, from its beginning, where a system's may stand before them."""
    text = _unix(text).strip()
    if is_transcript(text) or not _LABEL.match(text):
        return False
    speakers = [(found.lastgroup or "assistant").lower() for found in _LABEL.finditer(text)]
    speakers = speakers[1:] if speakers[0] == "system" else speakers
    return len(speakers) > 1 and all(who == ("user", "assistant")[n % 2] for n, who in enumerate(speakers))


def _unix(text: str) -> str:
    """A text whose lines end as on Unix."""
    return text.replace("\r\n", "\n")


def looks_like_messages(text: str) -> bool:
    """Whether a text is meant to be a message or a list of messages, written in JSON or as Python prints them."""
    return _MESSAGES.fullmatch(text) is not None and _ROLE.search(text) is not None


def is_plain(text: str) -> bool:
    """Whether a text is nothing but a text: no transcript, and no messages written out."""
    return not is_transcript(text) and written_messages(text) is None and not _is_broken_list(text)


def written_messages(text: str) -> list[dict] | dict | None:
    """The message or messages that a text is, in JSON or as Python prints them; None where it is neither.

    Other JSON may have a "role" or "from" too: one message has nothing but these and its text, and a known role; of several that
    have more, one at least has a known role and something said.
    """
    found = _parsed(text) if looks_like_messages(text) else None
    if isinstance(found, dict):
        return found if _is_bare(found) and _is_known(found) else None
    if not isinstance(found, list) or not all(isinstance(one, dict) and {"role", "from"} & set(one) for one in found):
        return None
    return found if all(map(_is_bare, found)) or any(_is_known(one) and _SAID & set(one) for one in found) else None


def _is_bare(message: dict) -> bool:
    """Whether it holds who speaks and what, and nothing else, which other JSON with a "role" or "from" does."""
    return set(message) in ({"role", "content"}, {"from", "value"})


def _is_known(message: dict) -> bool:
    """Whether its speaker is one that messages have."""
    return _role(message) in {*ROLES, *TOOLS}


def _role(message: dict) -> str | None:
    role = message.get("from") if is_missing(message.get("role")) else message["role"]
    return role.strip().lower() if isinstance(role, str) else None


def _is_broken_list(text: str) -> bool:
    """Whether a text is a list of messages that was cut off, or is written in another way."""
    return looks_like_messages(text) and text.lstrip().startswith("[") and _parsed(text) is None


def _parsed(text: str) -> Any:
    """What a text is in JSON or as Python prints it; None where it is neither."""
    for parse in (json.loads, ast.literal_eval):
        try:
            return parse(text)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
    return None


def as_turns(value: Any, role: str) -> Turns:
    """A cell as turns.

    Args:
        value: a text, which is a turn of `role` unless it is a transcript or messages written out (`written_messages`); a
            message, {role, content} or {from, value}; or a list of messages, also as {messages} and, where empty, {tools}. A
            message's content is a text, or a list of parts {type: text, text}.
        role: whose turn a bare text is.

    Returns:
        Its turns, stripped of white space at both ends, lines ending as on Unix; none where the cell is missing. A last turn of a
        transcript that is the assistant's and empty is no turn, but the place of the response.

    Raises:
        Unusable: not_a_conversation, unknown_role, not_text (pictures, sounds), tool_calls, thoughts (in a field of their own).
    """
    if is_missing(value):
        return []
    if is_transcript(value):
        text = _unix(value)
        # An empty line stands before each turn; only where none does, a line is enough.
        close = _TRANSCRIPT.match(text) is None and "\n\nassistant:" not in text.lower()
        _, *parts = (_CLOSE_SPEAKER if close else _SPEAKER).split(text.strip())
        turns = [{"role": ROLES[who.lower()], "content": said.strip()} for who, said in zip(parts[::2], parts[1::2], strict=True)]
        return turns[:-1] if turns[-1] == {"role": "assistant", "content": ""} else turns
    if isinstance(value, str):
        if (messages := written_messages(value)) is not None:
            return as_turns(messages, role)
        if _is_broken_list(value):
            raise Unusable("not_a_conversation")
        return [{"role": role, "content": _unix(value).strip()}]
    if isinstance(value, dict):
        if "messages" not in value or "role" in value:
            return [_turn(value)]
        if _holds(value.get("tools")):
            raise Unusable("tool_calls")
        return as_turns(value["messages"], role)
    if isinstance(value, (list, tuple)) or hasattr(value, "tolist"):
        return [_turn(message) for message in value]
    raise Unusable("not_a_conversation")


def _turn(message: Any) -> dict[str, str]:
    if not isinstance(message, dict):
        raise Unusable("not_a_conversation")
    role = _role(message)
    called = any(_holds(message.get(name)) for name in ("tool_calls", "function_call", "tool_call_id"))
    if called or role in TOOLS:
        raise Unusable("tool_calls")
    if role not in ROLES:
        raise Unusable("unknown_role")
    if any(_holds(message.get(name)) for name in THOUGHTS):
        raise Unusable("thoughts")
    content = message.get("value") if is_missing(message.get("content")) else message["content"]
    return {"role": ROLES[role], "content": _unix(_text(content)).strip()}


def _holds(value: Any) -> bool:
    return not is_missing(value) and (len(value) > 0 if hasattr(value, "__len__") else bool(value))


def _text(content: Any) -> str:
    """The text of a message's content; of several parts, one after the other."""
    if is_missing(content):
        return ""
    if isinstance(content, str):
        return content
    if isinstance(content, (list, tuple)) or hasattr(content, "tolist"):
        texts = [part if isinstance(part, str) else _part(part) for part in content]
        return "".join(texts)
    raise Unusable("not_text")


def _part(part: Any) -> str:
    if isinstance(part, dict) and part.get("type", "text") == "text" and isinstance(part.get("text"), str):
        return part["text"]
    raise Unusable("not_text")


def pair_of(prompt: Any, chosen: Any, rejected: Any, system: Any = None) -> tuple[Turns, str, str]:
    """A row's prompt as turns that end with the user's, and the texts of both responses.

    Args:
        prompt: a cell as `as_turns` takes it; missing where both conversations hold it.
        chosen, rejected: a response as a text or a message, or the whole conversation that ends with it.
        system: the text of a system turn that stands in a column of its own.

    Raises:
        Unusable: as `prompt_of`; or not_the_assistants (a conversation's last turn is not the assistant's), conversations_differ
            (before that turn).
    """
    both = sides_of(chosen, rejected)
    if not all(both):
        raise Unusable("empty_text")
    if any(turns[-1]["role"] != "assistant" for turns in both):
        raise Unusable("not_the_assistants")
    before, other = (turns[:-1] for turns in both)
    if before != other:
        raise Unusable("conversations_differ")
    turns = prompt_of(prompt, before, system)
    texts = [one[-1]["content"] for one in both]
    _check_texts(texts)
    return turns, *texts


def sides_of(chosen: Any, rejected: Any) -> list[Turns]:
    """Both sides as turns, a text by itself as the assistant's; raises `Unusable` as `as_turns`."""
    return [as_turns(cell, "assistant") for cell in _alike(chosen, rejected)]


def _alike(*sides: Any) -> list[Any]:
    """Both responses; one message written out beside another text is an answer in JSON, which is kept as it is."""
    written = [written_messages(side) if isinstance(side, str) else side for side in sides]
    if not any(isinstance(side, str) and found is None for side, found in zip(sides, written, strict=True)):
        return list(sides)
    return [
        {"role": "assistant", "content": side} if isinstance(side, str) and isinstance(found, dict) else side
        for side, found in zip(sides, written, strict=True)
    ]


def prompt_of(prompt: Any, before: Turns = (), system: Any = None) -> Turns:
    """A prompt as turns that end with the user's.

    Args:
        prompt: a cell as `as_turns` takes it.
        before: the turns that a conversation has before its last one, of which the prompt is all or a part.
        system: the text of a system turn that stands in a column of its own.

    Raises:
        Unusable: as `as_turns`; or prompt_contradicts (the prompt is no part of the conversation, or begins with another system
            turn than `system`), no_user_turn, not_the_users_turn (it ends with another's), empty_text, turns_in_text (the marks
            of a chat template or of another transcript, or all of one), broken_text (half of a
            pair of UTF-16 surrogates, or a code of no character).
    """
    turns = _whole_prompt(as_turns(prompt, "user"), list(before))
    if isinstance(prompt, str) and not before and holds_turns(prompt):
        raise Unusable("turns_in_text")
    own, turns = _without_blank_systems(as_turns(system, "system")), _without_blank_systems(turns)
    if own and own == turns[: len(own)]:
        own = []
    elif own and turns and turns[0]["role"] == "system":
        raise Unusable("prompt_contradicts")
    turns = [*own, *turns]
    if not turns and prompt is not None:
        raise Unusable("empty_text")
    if not any(turn["role"] == "user" for turn in turns):
        raise Unusable("no_user_turn")
    if turns[-1]["role"] != "user":
        raise Unusable("not_the_users_turn")
    _check_texts([turn["content"] for turn in turns])
    return turns


def _whole_prompt(prompt: Turns, before: Turns) -> Turns:
    """The conversation before the response: the prompt, or, where the responses come with theirs, that, of which it is a part."""
    if not before or prompt == before or [turn for turn in prompt if turn["role"] != "system"] == before:
        return prompt
    prompt = [turn for turn in prompt if turn["content"]]
    parts = [before[start : start + len(prompt)] for start in range(len(before) - len(prompt) + 1)]
    if prompt and prompt not in parts:
        raise Unusable("prompt_contradicts")
    return before


def _without_blank_systems(turns: Turns) -> Turns:
    return [turn for turn in turns if turn["role"] != "system" or not _is_blank(turn["content"])]


def _check_texts(texts: Sequence[str]) -> None:
    if any(map(_is_blank, texts)):
        raise Unusable("empty_text")
    if any(_CONTROL.search(text) or _BEGINS.match(text) or _ENDS.search(text[-_END:]) for text in texts):
        raise Unusable("turns_in_text")
    if not all(map(is_whole, texts)) or any(map(_NO_CHARACTER.search, texts)):
        raise Unusable("broken_text")


def _is_blank(text: str) -> bool:
    """Whether a text shows nothing: white space, marks of direction and of byte order, and spaces of no width alone."""
    return all(char.isspace() or unicodedata.category(char) in ("Cc", "Cf") for char in text)


def is_whole(text: str) -> bool:
    """Whether a text can be written as UTF-8: no half of a pair of UTF-16 surrogates is in it."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def prompt_key(prompt: Sequence[dict[str, str]]) -> str:
    """A text that stands for a prompt: of a single turn of the user's its content, else the turns as JSON."""
    if len(prompt) == 1 and prompt[0]["role"] == "user":
        return prompt[0]["content"]
    return json.dumps([{"role": turn["role"], "content": turn["content"]} for turn in prompt], ensure_ascii=False)


def spoken(prompt: Turns) -> str:
    """What user and assistant say in a prompt, in small letters, with single spaces; a system turn is the same for many."""
    return " ".join(" ".join(turn["content"] for turn in prompt if turn["role"] != "system").casefold().split())
