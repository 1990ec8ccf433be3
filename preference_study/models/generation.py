"""Letting a language model answer prompts."""

from dataclasses import dataclass

import torch
from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase

from preference_study.models.batching import batches_by_length, map_batches
from preference_study.models.language_models import positions_of
from preference_study.models.tokens import Turns, encode_prompts


@dataclass(frozen=True)
class Response:
    """One response of a model.

    Attributes:
        text: the response without special tokens.
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
    if samples > 1 and temperature == 0:
        raise ValueError(f"{samples} samples per prompt need a temperature above 0: greedy decoding has one response")
    tokenizer.padding_side = "left"
    positions = positions_of(model)
    encoded = encode_prompts(tokenizer, prompts, None if positions is None else positions - max_new_tokens)
    stop = model.generation_config.eos_token_id or tokenizer.eos_token_id
    stops = torch.tensor(stop if isinstance(stop, list) else [stop], device=model.device)
    sampling = {"temperature": temperature, "top_p": top_p, "top_k": top_k} if temperature > 0 else {}
    config = GenerationConfig(
        do_sample=temperature > 0,
        max_new_tokens=max_new_tokens,
        num_return_sequences=samples,
        eos_token_id=stop,
        pad_token_id=tokenizer.pad_token_id,
        **sampling,
    )

    def run(number: int, indices: list[int]) -> list[list[Response]]:
        batch = tokenizer.pad({"input_ids": [encoded[i][0] for i in indices]}, return_tensors="pt")
        batch = batch.to(model.device)
        torch.manual_seed(seed * 1_000_003 + number)
        with torch.inference_mode():
            output = model.generate(
                input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], generation_config=config
            )
        new = output[:, batch["input_ids"].shape[1] :]
        ends = torch.isin(new, stops)
        finished = ends.any(dim=1)
        tokens = torch.where(finished, ends.int().argmax(dim=1), new.shape[1]).tolist()
        asked = [encoded[i] for i in indices for _ in range(samples)]
        responses = []
        for ids, length, done, (prompt, short) in zip(new.tolist(), tokens, finished.tolist(), asked, strict=True):
            text = tokenizer.decode(ids[:length], skip_special_tokens=True).strip()
            responses.append(Response(text, length, done, short, prompt, ids[: length + done]))
        return [responses[i : i + samples] for i in range(0, len(responses), samples)]

    return map_batches(run, batches_by_length([len(ids) for ids, _ in encoded], batch_size), description=description)
