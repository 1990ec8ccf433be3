"""Judges that run here: reward models of any origin, and language models that are asked which of two responses is better."""

from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from preference_study.artifacts import read_json
from preference_study.errors import BadInput, BadModel
from preference_study.judges import by_rewards
from preference_study.judges.pairwise import LABELS, both_orders, questions
from preference_study.models.batching import batches_by_length, map_batches
from preference_study.models.checks import HEAD, check_files, check_loaded, chosen_template, fixed_template, rendered
from preference_study.models.language_models import compute_dtype, device, loading, padded, positions_of, rewards
from preference_study.models.tokens import Turns, _ids, _marked, encode_pairs


def load(kind: type, settings: dict[str, Any]) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """A judge's model by one of transformers' classes and its tokenizer with a chat template that is the same every day.

    Args:
        settings: of the judge: name, model (a hub name or folder), revision, date, template_arguments.

    Raises:
        BadModel: it cannot be loaded, weights are missing, it has no chat template or, as a reward model, not one label.
    """
    name, where = settings["model"], {"revision": settings["revision"], "trust_remote_code": False}
    problem = f"judge {settings['name']}, model {name!r} (revision {settings['revision']})"
    try:
        if (folder := Path(name)).is_dir():
            indices = folder.glob("*.safetensors.index.json")
            shards = {index.name: read_json(index).get("weight_map", {}).values() for index in indices}
            check_files(folder, {file.name for file in folder.iterdir()}, shards)
        config = AutoConfig.from_pretrained(name, **where)
        if kind is AutoModelForSequenceClassification and config.num_labels != 1:
            raise BadModel(f"it has {config.num_labels} labels, and a reward model has one: take another, or kind language_model")
        tokenizer = AutoTokenizer.from_pretrained(name, **where)
        options = loading() | {"dtype": compute_dtype(), "revision": settings["revision"], "output_loading_info": True}
        model, info = kind.from_pretrained(name, **options)
        check_loaded(name, info)
        tokenizer.chat_template = fixed_template(
            chosen_template(tokenizer, None), date.fromisoformat(settings["date"]), settings["template_arguments"]
        )
    except (Exception, BadModel) as error:  # files that others wrote, read by libraries that raise what they like
        raise BadModel(f"{problem}: {error or type(error).__name__}") from None
    return model.to(device()).eval(), tokenizer


def load_reward_model(settings: dict[str, Any]) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """A reward model with one label, whose linear head, if it has one, computes in float32: in bfloat16 rewards would tie."""
    model, tokenizer = load(AutoModelForSequenceClassification, settings)
    head = getattr(model, HEAD, None)
    if isinstance(head, torch.nn.Linear):
        head.float()
        head.register_forward_pre_hook(lambda head, inputs: (inputs[0].float(),))
    return model, tokenizer


def load_language_model(settings: dict[str, Any]) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """A language model to ask."""
    return load(AutoModelForCausalLM, settings)


def encode_cases(
    tokenizer: PreTrainedTokenizerBase, table: pd.DataFrame, max_length: int, until: str
) -> tuple[list[list[int]], list[list[int]], int]:
    """Both responses of each case as a reward model reads them.

    Args:
        until: "eos": up to the token that ends the turn, as this study trains its own; "template": all that the chat template
            writes of the conversation, as most public ones are used.

    Returns:
        The sequences of the responses and of the others, and in how many cases something had to be shortened: those are written
        as this study writes its own.
    """
    texts = {"chosen": table["response"], "rejected": table["other"]}
    if until == "template":
        whole = {side: _whole(tokenizer, table, text) for side, text in texts.items()}
        too_long = [len(one) > max_length or len(two) > max_length for one, two in zip(*whole.values(), strict=True)]
        shortened = np.array(too_long, dtype=bool)
    else:
        whole, shortened = None, np.zeros(len(table), dtype=bool)
    of_pairs = (table["set"] == "pairs").to_numpy()
    found = {side: np.empty(len(table), dtype=object) for side in texts}
    # A pair's prompt is shortened so that both have room. A policy's response and base's are read each by itself, as the study's
    # own judge reads them.
    for rows, sides in ((of_pairs, tuple(texts)), (~of_pairs, ("chosen",)), (~of_pairs, ("rejected",))):
        some = table[rows].assign(chosen=texts[sides[0]][rows], rejected=texts[sides[-1]][rows])
        encoded = encode_pairs(tokenizer, some, max_length)
        if until == "eos":
            # Of no rows, where cases are all of one set, numpy would make numbers.
            shortened[rows] |= np.array([pair.truncated for pair in encoded], dtype=bool)
        for side in sides:
            found[side][rows] = _objects([pair.prompt_ids + getattr(pair, f"{side}_ids") for pair in encoded])
    if whole is not None:
        for side in texts:
            found[side][~shortened] = _objects([ids for ids, short in zip(whole[side], shortened, strict=True) if not short])
    return list(found["chosen"]), list(found["rejected"]), int(shortened.sum())


def _objects(sequences: list[list[int]]) -> np.ndarray:
    """An array of lists, which numpy would make a matrix of where they are as long."""
    array = np.empty(len(sequences), dtype=object)
    array[:] = sequences
    return array


def _whole(tokenizer: PreTrainedTokenizerBase, table: pd.DataFrame, texts: pd.Series) -> list[list[int]]:
    conversations = zip(table["prompt"], texts, strict=True)
    return _written(tokenizer, [[*prompt, {"role": "assistant", "content": text}] for prompt, text in conversations])


def _written(tokenizer: PreTrainedTokenizerBase, conversations: list[Turns], **options: Any) -> list[list[int]]:
    """The tokens of conversations as the chat template writes them, those of special tokens' names in what was said as letters.

    Else a policy's response could end its turn, and answer in the judge's place.
    """
    return _ids(tokenizer, [rendered(tokenizer, _marked(tokenizer, turns), **options) for turns in conversations])


def judge_by_rewards(
    model: Any, tokenizer: PreTrainedTokenizerBase, table: pd.DataFrame, max_length: int, until: str, **batching: Any
) -> tuple[pd.DataFrame, int]:
    """The cases with the preference of a reward model, and in how many something had to be shortened.

    Args:
        batching: max_batch, max_padded and description, as `rewards` takes them.
    """
    if (positions := positions_of(model.config)) is not None:
        max_length = min(max_length, positions)
    chosen, rejected, shortened = encode_cases(tokenizer, table, max_length, until)
    sequences = chosen + rejected
    if model.config.pad_token_id is None:  # then the reward is read at the last token, which no padding may be
        model.config.pad_token_id = unused_token(sequences, len(tokenizer))
    own, other = np.split(np.array(rewards(model, sequences, **batching)), 2)
    if bad := table["id"][~(np.isfinite(own) & np.isfinite(other))].tolist():
        raise BadModel(f"the reward of a response to {bad[0]} is no number, and of {len(bad) - 1} more: take another model")
    return table.assign(preference=by_rewards(own, other)), shortened


def unused_token(sequences: list[tuple[int, ...]], vocabulary: int) -> int:
    """A token that no sequence holds."""
    used = set().union(*sequences)
    return next(token for token in range(vocabulary) if token not in used)


def label_tokens(tokenizer: PreTrainedTokenizerBase, start: str) -> list[int]:
    """The token that each label is, where an answer begins.

    Args:
        start: a question as the chat template writes it, up to where the answer begins.

    Raises:
        BadModel: a label is no single token there.
    """
    before = tokenizer(start, add_special_tokens=False)["input_ids"]
    tokens = []
    for label in LABELS:
        ids = tokenizer(start + label, add_special_tokens=False)["input_ids"]
        if len(ids) != len(before) + 1 or ids[:-1] != before:
            raise BadModel(f"to the tokenizer {label!r} is no single token at the beginning of an answer: ask another model")
        tokens.append(ids[-1])
    return tokens


def label_logps(
    model: PreTrainedModel, sequences: list[list[int]], tokens: list[int], *, max_batch: int, max_padded: int, description: str
) -> list[list[float]]:
    """log pi(token | sequence) of some tokens after each sequence, in nats, in the order given."""

    def run(number: int, indices: list[int]) -> list[list[float]]:
        ids, mask = padded([sequences[i] for i in indices], 0, model.device)
        rows, last = torch.arange(len(indices), device=ids.device), mask.sum(dim=1) - 1
        # Logits after the last token alone: the vocabulary makes them the largest tensor here.
        head = model.get_output_embeddings()
        hook = head.register_forward_pre_hook(lambda head, inputs: (inputs[0][rows, last][:, None],))
        try:
            with torch.inference_mode():
                logits = model(input_ids=ids, attention_mask=mask, use_cache=False).logits[:, 0].float()
        finally:
            hook.remove()
        return torch.log_softmax(logits, dim=-1)[:, tokens].tolist()

    return map_batches(run, batches_by_length([len(s) for s in sequences], max_batch, max_padded), description=description)


def judge_by_labels(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    table: pd.DataFrame,
    template: str,
    max_length: int,
    *,
    description: str,
    **batching: Any,
) -> tuple[pd.DataFrame, dict[str, float | None]]:
    """The cases with both orders' preferences, and what is told of how it judged.

    Args:
        template: of the question.
        description: the judge's name.
        batching: as in `judge_by_rewards`.

    Returns:
        The table, and {too_long, label_probability}: how many cases are longer than the model can read and are left out, and the
        mean probability that it gives to both labels together; what is compared is their shares of that.

    Raises:
        BadInput: of the validation pairs, or of a policy's responses, all are longer than the model can read; nothing is asked.
    """
    asked = questions(template, table)
    conversations = [[{"role": "user", "content": text}] for text in asked["question"]]
    sequences = _written(tokenizer, conversations, add_generation_prompt=True)
    positions = positions_of(model.config)
    limit = min(max_length, positions or max_length)
    needed = pd.Series([len(ids) for ids in sequences], dtype=int).groupby(asked["case"]).max()
    needed = needed.reindex(range(len(table)), fill_value=0).set_axis(table.index)  # nothing is asked where responses are equal
    for policy, tokens in needed.groupby(table["policy"].fillna("")).min().items():
        if tokens > limit:
            raise BadInput(
                f"judge {description} can read not one {f'response of {policy}' if policy else 'validation pair'}: the shortest "
                f"question about one has {tokens} tokens, its max_length is {max_length}, and the model has "
                f"{positions or 'any number of'} positions: raise max_length, or ask a model with more positions"
            )
    fits = [number for number, ids in enumerate(sequences) if len(ids) <= limit]
    for_first, probability = np.full(len(asked), np.nan), None
    if fits:
        tokens = label_tokens(tokenizer, rendered(tokenizer, conversations[fits[0]], add_generation_prompt=True))
        logps = np.array(label_logps(model, [sequences[number] for number in fits], tokens, description=description, **batching))
        both = np.logaddexp(logps[:, 0], logps[:, 1])
        for_first[fits], probability = np.exp(logps[:, 0] - both), float(np.exp(both).mean())
    judged = both_orders(table, asked, for_first)
    return judged, {"too_long": int(judged["preference"].isna().sum()), "label_probability": probability}
