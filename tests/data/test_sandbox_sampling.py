import pytest
import torch

from data.sandbox.sampling import GROUP, _draw, sample
from preference_study.models.generation import respond
from preference_study.models.language_models import load_causal
from preference_study.models.tokens import encode_prompts
from tests.conftest import asked

PROMPTS = [asked(text) for text in ("Hi", "A much longer prompt, for the sake of padding", "x", "Hello there", "Who?")]


@pytest.fixture(scope="module")
def model(model_folder):
    return load_causal(model_folder, dtype=torch.float32)


@pytest.mark.parametrize("places", [2, 5, 40])
def test_the_likeliest_tokens_are_those_of_greedy_decoding(model, tokenizer, places):
    ids = [found for found, _ in encode_prompts(tokenizer, PROMPTS, None)]
    settings = {"samples": 2, "max_new_tokens": 12, "temperature": 0.7, "top_k": 1, "seed": 1, "places": places}
    found = dict(sample(model, tokenizer, ids, **settings))
    wanted = respond(model, tokenizer, PROMPTS, max_new_tokens=12, batch_size=3)
    # These texts are without special tokens.
    texts = [tokenizer.decode(r.ids, skip_special_tokens=True).strip() for [r] in wanted]
    assert found == {number: [(texts[number], r.tokens, r.finished)] * 2 for number, [r] in enumerate(wanted)}


def test_samples_differ_and_are_seeded(model, tokenizer):
    ids = [found for found, _ in encode_prompts(tokenizer, PROMPTS, None)]
    settings = {"samples": 4, "max_new_tokens": 8, "temperature": 1.0, "top_k": 50, "places": 8}
    one = list(sample(model, tokenizer, ids, seed=1, **settings))
    assert (
        one == list(sample(model, tokenizer, ids, seed=1, **settings)) != list(sample(model, tokenizer, ids, seed=2, **settings))
    )
    assert sorted(number for number, _ in one) == list(range(len(PROMPTS)))
    assert all(len(responses) == 4 and len({r.text for r in responses}) > 1 for _, responses in one)
    assert all(r.tokens <= 8 and (r.finished or r.tokens == 8) for _, responses in one for r in responses)


def test_tokens_are_drawn_from_the_top_by_their_probability():
    generator = torch.Generator().manual_seed(1)
    logits = torch.full((1, 3 * GROUP + 7), -9.0)
    for token, probability in ((5, 0.5), (GROUP + 3, 0.3), (3 * GROUP + 6, 0.2)):
        logits[0, token] = torch.tensor(probability).log()
    drawn = _draw(logits.repeat(20_000, 1), 1.0, 3, generator)
    shares = {int(token): float((drawn == token).float().mean()) for token in drawn.unique()}
    assert shares == pytest.approx({5: 0.5, GROUP + 3: 0.3, 3 * GROUP + 6: 0.2}, abs=0.015)
    assert set(_draw(logits.repeat(500, 1), 1.0, 2, generator).tolist()) == {5, GROUP + 3}
    sharper = _draw(logits.repeat(20_000, 1), 0.5, 3, generator)
    assert float((sharper == 5).float().mean()) == pytest.approx(0.25 / 0.38, abs=0.015)
