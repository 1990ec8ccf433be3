"""Sampling many responses from a Llama model on few cores: where a response ends, the next begins in its place.

`generate` of transformers goes on with a batch until its last response ends, reads each prompt once per sample, and draws from
the whole vocabulary: for tens of thousands of short responses on a CPU this takes several times as long.
"""

from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple

import torch
import torch.nn.functional as F
from transformers import LlamaForCausalLM
from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

GROUP = 128  # of the vocabulary, in looking for the likeliest tokens


class Sampled(NamedTuple):
    """One response: its text without special tokens, its length in tokens, EOS not counted, and whether it ended its turn."""

    text: str
    tokens: int
    finished: bool


class _Cache:
    """Keys and values of the places in which responses are written, [layers, places, heads, positions, head size]."""

    def __init__(self, model: LlamaForCausalLM, places: int, positions: int):
        config = model.config
        shape = (config.num_hidden_layers, places, config.num_key_value_heads, positions, config.head_dim)
        self.keys, self.values = (torch.zeros(shape, dtype=model.dtype) for _ in range(2))

    def copy(self, source: "_Cache", rows: torch.Tensor, places: torch.Tensor, length: int) -> None:
        self.keys[:, places, :, :length] = source.keys[:, rows, :, :length]
        self.values[:, places, :, :length] = source.values[:, rows, :, :length]


def _forward(model: LlamaForCausalLM, cache: _Cache, ids: torch.Tensor, starts: torch.Tensor, last: torch.Tensor) -> torch.Tensor:
    """Read tokens into the cache.

    Args:
        ids: [places, n], the next tokens of each place.
        starts: [places], how many tokens each place holds already.
        last: [places], which of the n tokens is each place's last.

    Returns:
        [places, vocabulary], the logits of what follows the last token.
    """
    config, rows, n = model.config, len(ids), ids.shape[1]
    groups = config.num_attention_heads // config.num_key_value_heads
    positions = starts[:, None] + torch.arange(n)
    reach = int(positions.max()) + 1
    hidden = model.model.embed_tokens(ids)
    cos, sin = model.model.rotary_emb(hidden, positions)
    seen = torch.arange(reach) <= positions[:, :, None]
    # The query heads that share a key head stand beside one another as further queries: no key is copied.
    mask = torch.zeros(seen.shape, dtype=model.dtype).masked_fill(~seen, -torch.inf).repeat(1, groups, 1)[:, None]
    place = torch.arange(rows)[:, None]
    for keys, values, layer in zip(cache.keys, cache.values, model.model.layers, strict=True):
        attention, normed = layer.self_attn, layer.input_layernorm(hidden)
        query, key, value = (
            project(normed).view(rows, n, -1, config.head_dim).transpose(1, 2)
            for project in (attention.q_proj, attention.k_proj, attention.v_proj)
        )
        query, key = apply_rotary_pos_emb(query, key, cos, sin)
        keys[place, :, positions], values[place, :, positions] = key.transpose(1, 2), value.transpose(1, 2)
        query = query.reshape(rows, config.num_key_value_heads, groups * n, config.head_dim)
        found = F.scaled_dot_product_attention(query, keys[:rows, :, :reach], values[:rows, :, :reach], mask)
        found = found.reshape(rows, config.num_attention_heads, n, config.head_dim).transpose(1, 2).reshape(rows, n, -1)
        hidden = hidden + attention.o_proj(found)
        hidden = hidden + layer.mlp(layer.post_attention_layernorm(hidden))
    return model.lm_head(model.model.norm(hidden[torch.arange(rows), last]))


def _draw(logits: torch.Tensor, temperature: float, top_k: int, generator: torch.Generator) -> torch.Tensor:
    """One token for each row of logits, from softmax(logits / temperature) of the top k."""
    grouped = F.pad(logits, (0, -logits.shape[1] % GROUP), value=-torch.inf).unflatten(1, (-1, GROUP))
    # The k likeliest tokens stand in the k groups whose likeliest tokens are the likeliest.
    groups = grouped.amax(dim=2).topk(min(top_k, grouped.shape[1])).indices
    values, within = grouped.gather(1, groups[:, :, None].expand(-1, -1, GROUP)).flatten(1).topk(min(top_k, logits.shape[1]))
    drawn = torch.multinomial((values.float() / temperature).softmax(dim=1), 1, generator=generator)
    at = within.gather(1, drawn)
    return (groups.gather(1, at // GROUP) * GROUP + at % GROUP).squeeze(1)


@torch.inference_mode()
def sample(
    model: LlamaForCausalLM,
    tokenizer,
    prompts: list[list[int]],
    *,
    samples: int,
    max_new_tokens: int,
    temperature: float,
    top_k: int,
    seed: int,
    places: int = 192,
) -> Iterator[tuple[int, list[Sampled]]]:
    """Sample responses to prompts, many at a time.

    Args:
        prompts: token ids.
        samples: responses per prompt.
        max_new_tokens: a response longer than this is cut.
        temperature, top_k: as of `preference_study.models.generation.respond`.
        seed: of the draws; what is drawn also depends on `places` and the prompts before.
        places: responses written at a time, at least `samples`.

    Yields:
        (index of the prompt, its responses), each prompt once, in the order in which they are done.
    """
    generator = torch.Generator().manual_seed(seed)
    stop = model.generation_config.eos_token_id
    longest = max(map(len, prompts))
    cache = _Cache(model, places, longest + max_new_tokens)
    batch = max(1, places // (4 * samples))  # prompts read at a time
    prompt_cache = _Cache(model, batch, longest)
    waiting, written = iter(enumerate(prompts)), {}
    prompt_of = torch.full((places,), -1)  # -1: a free place
    lengths, tokens = torch.zeros(places, dtype=torch.long), torch.zeros(places, dtype=torch.long)
    texts: list[list[int]] = [[] for _ in range(places)]

    def settle(place: int) -> tuple[int, list[Sampled]] | None:
        """Take in the token drawn for a place; free it where its response ends, and return what is complete by that."""
        number, token = int(prompt_of[place]), int(tokens[place])
        finished = token == stop
        if not finished:
            texts[place].append(token)
        if not finished and len(texts[place]) < max_new_tokens:
            return None
        text = tokenizer.decode(texts[place], skip_special_tokens=True).strip()
        written.setdefault(number, []).append(Sampled(text, len(texts[place]), finished))
        prompt_of[place], texts[place] = -1, []
        return (number, written.pop(number)) if len(written[number]) == samples else None

    more = True
    while True:
        free = (prompt_of < 0).nonzero().squeeze(1)
        while more and len(free) >= batch * samples:
            new = list(islice(waiting, batch))
            more = len(new) == batch
            if not new:
                break
            ends = torch.tensor([len(ids) for _, ids in new])
            padded = torch.nn.utils.rnn.pad_sequence([torch.tensor(ids) for _, ids in new], batch_first=True)
            logits = _forward(model, prompt_cache, padded, torch.zeros(len(new), dtype=torch.long), ends - 1)
            rows = torch.arange(len(new)).repeat_interleave(samples)
            taken, free = free[: len(rows)], free[len(rows) :]
            cache.copy(prompt_cache, rows, taken, padded.shape[1])
            prompt_of[taken] = torch.tensor([number for number, _ in new])[rows]
            lengths[taken] = ends[rows]
            tokens[taken] = _draw(logits[rows], temperature, top_k, generator)
            yield from filter(None, map(settle, taken.tolist()))
            free = (prompt_of < 0).nonzero().squeeze(1)
        busy = (prompt_of >= 0).nonzero().squeeze(1)
        if not len(busy):
            return
        # All places up to the last busy one are computed, so that keys need not be gathered.
        rows = int(busy[-1]) + 1
        lengths[prompt_of < 0] = 0
        logits = _forward(model, cache, tokens[:rows, None], lengths[:rows], torch.zeros(rows, dtype=torch.long))
        lengths[busy] += 1
        tokens[busy] = _draw(logits[busy], temperature, top_k, generator)
        yield from filter(None, map(settle, busy.tolist()))
