"""Writing conversations as the tokens a model reads, the same ones for training, scoring and generating.

What a text says is letters, whatever it is: where it holds the name of a special token, such as "</s>", that neither ends a turn
nor begins one. Only the template writes special tokens.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from itertools import repeat

import pandas as pd
from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase

from preference_study.errors import BadInput

Turns = list[dict[str, str]]
NAMED = 20  # of the prompts that a template refuses, those that an error names
WORDS = ["Hello", "The", "I", "1"]  # that a response may begin with
# Characters that stand for none, and are in no text, around a special token's name in what somebody said.
OPEN, CLOSE = "\ufdd0", "\ufdd1"
_SAID = re.compile(f"{OPEN}([^{OPEN}{CLOSE}]*){CLOSE}")


@dataclass(frozen=True)
class TokenPair:
    """A preference pair as tokens: the prompt up to where the response begins, and both responses with their EOS.

    Attributes:
        truncated: whether any of them had to be shortened.
        turns_dropped: how many of the prompt's turns were left out for that.
    """

    prompt_ids: list[int]
    chosen_ids: list[int]
    rejected_ids: list[int]
    truncated: bool
    turns_dropped: int = 0


def encode_pairs(tokenizer: PreTrainedTokenizerBase, pairs: pd.DataFrame, max_length: int) -> list[TokenPair]:
    """Write the columns prompt (turns), chosen and rejected as tokens, at most `max_length` for prompt and response together.

    Of a pair that is too long first the prompt is shortened by the rule of `shortened`, down to a quarter of `max_length`; a
    response that still does not fit loses its end. Both responses see the same prompt.

    Raises:
        BadInput: as `shortened`.
    """
    prompts = [_marked(tokenizer, prompt) for prompt in pairs["prompt"]]
    starts = [_template(tokenizer, prompt) for prompt in prompts]
    prompt_ids = _ids(tokenizer, starts)
    response_ids = [
        _after(tokenizer, starts, prompt_ids, list(map(_response, repeat(tokenizer), prompts, starts, pairs[side])))
        for side in ("chosen", "rejected")
    ]
    return [fit(tokenizer, *texts, max_length) for texts in zip(pairs["prompt"], prompt_ids, *response_ids, strict=True)]


def fit(
    tokenizer: PreTrainedTokenizerBase,
    prompt: Turns,
    prompt_ids: list[int],
    chosen: list[int],
    rejected: list[int],
    max_length: int,
) -> TokenPair:
    """Shorten a pair by the rule of `encode_pairs`."""
    longest = max(len(chosen), len(rejected))
    room = max(max_length - longest, max_length // 4)
    kept, dropped = (prompt_ids, 0) if len(prompt_ids) <= room else shortened(tokenizer, prompt, room)
    left = max_length - len(kept)
    return TokenPair(kept, chosen[:left], rejected[:left], len(prompt_ids) > room or longest > left, dropped)


def shortened(tokenizer: PreTrainedTokenizerBase, prompt: Turns, room: int) -> tuple[list[int], int]:
    """The prompt in at most `room` tokens, and how many of its turns were left out.

    The oldest turns go first, whole, up to where the user speaks again, so that what is left begins with the user; system turns
    stay. Where the last turn alone is too long, it loses its beginning, and keeps what the template writes before it.

    Raises:
        BadInput: what must stay, the system turn and what the template writes, leaves no room for the user's last turn.
    """
    turns = prompt
    while (ids := _ids(tokenizer, [prompt_text(tokenizer, turns)])[0]) and len(ids) > room:
        said = [place for place, turn in enumerate(turns) if turn["role"] == "user"]
        if len(said) < 2:
            ids = _without_beginning(tokenizer, turns, room)
            break
        turns = [turn for turn in turns[: said[1]] if turn["role"] == "system"] + turns[said[1] :]
    return ids, len(prompt) - len(turns)


def _without_beginning(tokenizer: PreTrainedTokenizerBase, turns: Turns, room: int) -> list[int]:
    marked = _marked(tokenizer, turns)
    text = _template(tokenizer, marked)
    place = text.rfind(marked[-1]["content"].strip())
    before, rest = _ids(tokenizer, [text[: max(place, 0)], text[max(place, 0) :]])
    if len(before) < room:
        return before + rest[-(room - len(before)) :]
    if any(turn["role"] == "system" for turn in turns):
        raise BadInput(
            f"a prompt's system turn takes {len(before)} tokens, and {room} are left for the whole prompt: raise max_length, "
            f"lower max_new_tokens, or shorten the system turn, which begins {turns[0]['content'][:60]!r}"
        )
    return (before + rest)[-room:]


def encode_prompts(tokenizer: PreTrainedTokenizerBase, prompts: list[Turns], room: int | None) -> list[tuple[list[int], bool]]:
    """Each prompt's tokens, up to where the response begins, and whether it had to be shortened to at most `room` of them.

    Args:
        room: None where nothing limits a prompt.

    Raises:
        BadInput: as `shortened`; of prompts that the template refuses, all are named.
    """
    texts, refused = [], {}
    for number, prompt in enumerate(prompts, start=1):
        try:
            texts.append(prompt_text(tokenizer, prompt))
        except BadInput as error:
            refused[number] = str(error)
    if told := of_refused(refused, "prompt", len(prompts)):
        raise BadInput(told)
    encoded = _ids(tokenizer, texts)
    return [
        (ids, False) if room is None or len(ids) <= room else (shortened(tokenizer, prompt, room)[0], True)
        for prompt, ids in zip(prompts, encoded, strict=True)
    ]


def of_refused(refused: dict[int, str], kind: str, n: int) -> str | None:
    """What to tell of all prompts that the template refuses, by their numbers; None where there are none.

    Args:
        kind: what the numbers are of, "row" or such.
        n: how many there are in all.
    """
    if not refused:
        return None
    numbers, more = [*map(str, refused)][:NAMED], len(refused) - NAMED
    which = ", ".join(numbers) + (f" and {more} more" if more > 0 else "")
    return f"{kind} {which}: {len(refused)} of {n} prompts that cannot be written. The first is {next(iter(refused.values()))}"


def prompt_text(tokenizer: PreTrainedTokenizerBase, prompt: Turns) -> str:
    """The prompt as the chat template writes it, up to where the assistant's response begins; special tokens' names in what was
    said stand between `OPEN` and `CLOSE`.

    Raises:
        BadInput: the template refuses it, as some do system turns or two turns of one speaker, or leaves a turn out.
    """
    return _template(tokenizer, _marked(tokenizer, prompt))


@lru_cache(maxsize=8)
def _special(tokenizer: PreTrainedTokenizerBase) -> re.Pattern:
    """A pattern of the names of the tokenizer's special tokens."""
    names = {str(token) for token in tokenizer.added_tokens_decoder.values() if token.special} | {*tokenizer.all_special_tokens}
    return re.compile("|".join(map(re.escape, sorted(names, key=len, reverse=True))))


def names_special(tokenizer: PreTrainedTokenizerBase, texts: Iterable[str]) -> bool:
    """Whether one of the texts holds the name of a special token, which other programs may take for the token."""
    return any(_special(tokenizer).search(text) for text in texts)


def _marked(tokenizer: PreTrainedTokenizerBase, prompt: Turns) -> Turns:
    """The turns with the names of special tokens marked."""
    return [turn | {"content": _mark(tokenizer, turn["content"])} for turn in prompt]


def _mark(tokenizer: PreTrainedTokenizerBase, text: str) -> str:
    return _special(tokenizer).sub(rf"{OPEN}\g<0>{CLOSE}", _unmarked(text))


def _unmarked(text: str) -> str:
    return text.replace(OPEN, "").replace(CLOSE, "")


def _template(tokenizer: PreTrainedTokenizerBase, prompt: Turns) -> str:
    """`prompt_text` of turns in which special tokens' names are marked."""
    roles = ", ".join(turn["role"] for turn in prompt)
    where = f"a prompt of the turns {roles}, which ends {_unmarked(prompt[-1]['content'])[-60:]!r}"
    try:
        text = tokenizer.apply_chat_template(prompt, tokenize=False, add_generation_prompt=True)
    except TemplateError as error:
        raise BadInput(f"{where}: the model's chat template refuses it ({error}); take such rows out, or another model") from None
    for turn in prompt:
        # Templates may take an assistant's earlier thoughts out.
        if turn["content"].strip() not in text and "<think>" not in turn["content"]:
            said = _unmarked(turn["content"])[:60]
            raise BadInput(f"{where}: the model's chat template leaves out the {turn['role']}'s turn {said!r}")
    return text


def _response(tokenizer: PreTrainedTokenizerBase, prompt: Turns, start: str, text: str) -> str:
    """A response as the template writes it after `start`, up to and with EOS; names of special tokens in it are marked."""
    text = _mark(tokenizer, text)
    whole = tokenizer.apply_chat_template([*prompt, {"role": "assistant", "content": text}], tokenize=False)
    if not whole.startswith(start):  # templates that write earlier turns differently
        return text + tokenizer.eos_token
    response = whole[len(start) :]
    end = _SAID.sub(lambda said: " " * len(said[0]), response).rfind(tokenizer.eos_token)
    return response[: end + len(tokenizer.eos_token)] if end >= 0 else response + tokenizer.eos_token


def _after(
    tokenizer: PreTrainedTokenizerBase, starts: list[str], prompt_ids: list[list[int]], texts: list[str]
) -> list[list[int]]:
    """The tokens of texts that follow others: as those of both together end, where they begin with the first one's.

    By itself a text may be written otherwise: some tokenizers put a space before whatever they are given. Where a tokenizer
    writes a few words the same both ways, it is asked once.
    """
    alone = _ids(tokenizer, texts)
    together, words = _ids(tokenizer, [start + word for start in starts[:1] for word in WORDS]), _ids(tokenizer, WORDS)
    if together == [before + word for before in prompt_ids[:1] for word in words]:
        return alone
    whole = _ids(tokenizer, [start + text for start, text in zip(starts, texts, strict=True)])
    return [
        ids[len(before) :] if ids[: len(before)] == before else own
        for ids, before, own in zip(whole, prompt_ids, alone, strict=True)
    ]


def _ids(tokenizer: PreTrainedTokenizerBase, texts: list[str]) -> list[list[int]]:
    """The tokens of each text; what is marked in it, as letters."""
    ids = tokenizer(texts, add_special_tokens=False)["input_ids"] if texts else []
    for place, text in enumerate(texts):
        if OPEN in text or CLOSE in text:
            ids[place] = _letters(tokenizer, text)
    return ids


def _letters(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """The tokens of a text in which special tokens' names are marked, each part by itself, as they are after a word."""
    ids: list[int] = []
    for place, part in enumerate(_SAID.split(text)):
        # A template may have taken a part of a turn out, and left half of the marks.
        bare, options = _unmarked(part), {"add_special_tokens": False, "split_special_tokens": place % 2 == 1}
        word, alone, both = tokenizer([WORDS[0], bare, WORDS[0] + bare], **options)["input_ids"]
        ids += both[len(word) :] if ids and both[: len(word)] == word else alone
    return ids
