"""Letting a language model answer prompts."""

from dataclasses import dataclass
from typing import Any

import torch
from transformers import DynamicCache, GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase
from transformers.cache_utils import DynamicLayer, LinearAttentionLayer

from preference_study.models.batching import batches_by_length, map_batches
from preference_study.models.head_rows import rows_together
from preference_study.models.language_models import positions_of
from preference_study.models.tokens import Turns, encode_prompts

SEED_STEP = 1_000_003  # from one seed's streams to the next one's
STRETCH = 16  # tokens written before the rows that have ended leave the batch


@dataclass(frozen=True)
class Response:
    """One response of a model.

    Attributes:
        text: the response without the token that ended it; other special tokens that the model wrote stand in it by their names.
        tokens: its length in tokens, EOS not counted.
        finished: whether the model ended its turn; False where the limit on new tokens cut it off.
        prompt_truncated: whether its prompt had to be shortened to fit the model's positions.
        prompt_ids, ids: the tokens of the prompt as the model saw it, and of the response, with the one that ended it.
    """

    text: str
    tokens: int
    finished: bool
    prompt_truncated: bool
    prompt_ids: list[int]
    ids: list[int]


def ends_of(settings: GenerationConfig, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """The tokens that end a response, by the model's settings for generation, or the tokenizer's EOS where they name none."""
    stop = settings.eos_token_id or tokenizer.eos_token_id
    return stop if isinstance(stop, list) else [stop]


def check_samples(samples: int, temperature: float) -> None:
    """Raise `ValueError` where more than one response to a prompt is asked for from greedy decoding."""
    if samples > 1 and temperature == 0:
        raise ValueError(f"{samples} samples per prompt need a temperature above 0: greedy decoding has one response")


def response_of(
    tokenizer: PreTrainedTokenizerBase, prompt: list[int], prompt_truncated: bool, ids: list[int], ends: list[int]
) -> Response:
    """What a model wrote after a prompt, as a response.

    Args:
        prompt: its tokens, as the model saw them.
        ids: what it wrote, with the token that ended it, if one did.
        ends: as from `ends_of`.
    """
    done = ids[-1] in ends
    text = tokenizer.decode(ids[: len(ids) - done]).strip()
    return Response(text, len(ids) - done, done, prompt_truncated, prompt, ids)


@torch.inference_mode()
def _written(
    model: PreTrainedModel, ids: torch.Tensor, mask: torch.Tensor, limit: int, options: dict[str, Any]
) -> list[list[int]]:
    """The tokens that the model writes after each row, up to the one that ends it, or to the limit.

    `generate` goes on with all rows until the last one has ended. Here it writes a stretch at a time, from the cache of the one
    before, and the rows that have ended leave.

    Args:
        ids, mask: [rows, tokens], padded on the left.
        options: of `GenerationConfig`.
    """
    # Of layers that are no plain attention, such as LFM2's convolutions, rows cannot be taken out of the cache.
    layers = DynamicCache(config=model.config).layers
    selectable = all(isinstance(layer, DynamicLayer) and not isinstance(layer, LinearAttentionLayer) for layer in layers)
    stretch = STRETCH if selectable else limit
    read, rows, cache = ids.shape[1], list(range(len(ids))), None
    written: list[list[int]] = [[] for _ in rows]
    ends = torch.tensor(options["eos_token_id"], device=model.device)
    while rows:
        limited = {"max_new_tokens": min(stretch, read + limit - ids.shape[1]), "return_dict_in_generate": True}
        output = model.generate(
            ids, attention_mask=mask, past_key_values=cache, generation_config=GenerationConfig(**options, **limited)
        )
        ids, cache = output.sequences, output.past_key_values
        is_end = torch.isin(ids[:, read:], ends)
        lengths = torch.where(is_end.any(dim=1), is_end.int().argmax(dim=1) + 1, ids.shape[1] - read).tolist()
        going = ~is_end.any(dim=1) & (ids.shape[1] - read < limit)
        for row, new, length in zip(rows, ids[:, read:].tolist(), lengths, strict=True):
            written[row] = new[:length]
        rows = [row for row, on in zip(rows, going.tolist(), strict=True) if on]
        mask = torch.nn.functional.pad(mask, (0, ids.shape[1] - mask.shape[1]), value=1)[going]
        ids = ids[going]
        if rows and not going.all():
            cache.batch_select_indices(going.nonzero().squeeze(1))
    return written


def respond(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: list[Turns],
    *,
    max_new_tokens: int,
    batch_size: int,
    temperature: float = 0.0,
    top_p: float = 1.0,
    top_k: int = 0,
    samples: int = 1,
    seed: int = 0,
    description: str = "generating",
) -> list[list[Response]]:
    """Respond to each prompt, in batches of prompts of similar length padded on the left.

    Args:
        prompts: conversations whose last turn is the user's. Those that leave no room for `max_new_tokens` among the model's
            positions are shortened by the rule of `preference_study.models.tokens.shortened`.
        max_new_tokens: a response longer than this is cut.
        batch_size: most prompts at a time.
        temperature: 0 decodes greedily; above 0 responses are sampled from softmax(logits / temperature).
        top_p: sample from the smallest set of tokens that holds this probability; 1 switches it off.
        top_k: sample from the k likeliest tokens; 0 switches it off.
        samples: responses per prompt; more than 1 needs a temperature.
        seed: every batch draws from its own stream, made from the seed and the batch's number.

    Returns:
        Per prompt, in the order given, its responses.

    Raises:
        ValueError: more than one sample asked for from greedy decoding.
        BadInput: a prompt cannot be shortened enough.
    """
    check_samples(samples, temperature)
    tokenizer.padding_side = "left"
    positions = positions_of(model.config)
    encoded = encode_prompts(tokenizer, prompts, None if positions is None else positions - max_new_tokens)
    ends = ends_of(model.generation_config, tokenizer)
    sampling = {"temperature": temperature, "top_p": top_p, "top_k": top_k} if temperature > 0 else {}
    options = {"do_sample": temperature > 0, "eos_token_id": ends, "pad_token_id": tokenizer.pad_token_id, **sampling}

    def run(number: int, indices: list[int]) -> list[list[Response]]:
        asked = [encoded[i] for i in indices for _ in range(samples)]
        batch = tokenizer.pad({"input_ids": [ids for ids, _ in asked]}, return_tensors="pt").to(model.device)
        torch.manual_seed(seed * SEED_STEP + number)
        written = _written(model, batch["input_ids"], batch["attention_mask"], max_new_tokens, options)
        responses = [
            response_of(tokenizer, prompt, short, ids, ends) for ids, (prompt, short) in zip(written, asked, strict=True)
        ]
        return [responses[i : i + samples] for i in range(0, len(responses), samples)]

    with rows_together(model):
        return map_batches(run, batches_by_length([len(ids) for ids, _ in encoded], batch_size), description=description)
