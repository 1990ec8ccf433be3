import copy
import math
from collections import Counter
from types import SimpleNamespace
from unittest.mock import Mock

import pytest
import torch
from transformers import AutoModelForCausalLM, FalconH1Config, Gemma2Config, Lfm2Config, LlamaConfig

from preference_study.models import generation
from preference_study.models.generation import respond
from preference_study.models.language_models import load_causal
from preference_study.models.tokens import prompt_text
from tests.conftest import asked

PROMPTS = [asked(text) for text in ("Hi", "A much longer prompt, for the sake of padding", "x", "Hello there")]


@pytest.fixture(scope="module")
def model(model_folder):
    return load_causal(model_folder, dtype=torch.float32)


def test_batches_response_as_one_prompt_at_a_time_does(model, tokenizer):
    together = respond(model, tokenizer, PROMPTS, max_new_tokens=12, batch_size=3)
    for prompt, [response] in zip(PROMPTS, together, strict=True):
        ids = tokenizer(prompt_text(tokenizer, prompt), return_tensors="pt", add_special_tokens=False)
        output = model.generate(**ids, do_sample=False, max_new_tokens=12)[0, ids["input_ids"].shape[1] :]
        assert (response.prompt_ids, response.ids) == (ids["input_ids"][0].tolist(), output.tolist())
        alone = tokenizer.decode([token for token in output.tolist() if token != tokenizer.eos_token_id]).strip()
        assert response.text == alone
        assert response.finished == (tokenizer.eos_token_id in output.tolist())


def test_sampling_is_seeded_and_independent_of_neighbours_order(model, tokenizer):
    settings = {"max_new_tokens": 6, "batch_size": 2, "temperature": 1.0, "samples": 3}
    one = respond(model, tokenizer, PROMPTS, seed=1, **settings)
    assert [len(responses) for responses in one] == [3] * 4
    assert one == respond(model, tokenizer, PROMPTS, seed=1, **settings)
    assert one != respond(model, tokenizer, PROMPTS, seed=2, **settings)
    with pytest.raises(ValueError, match="temperature"):
        respond(model, tokenizer, PROMPTS, max_new_tokens=6, batch_size=2, samples=2)


def test_a_response_ends_at_its_end_of_turn(model, tokenizer):
    """With a head that always, or never, wants to end the turn, lengths and flags are known."""
    with torch.no_grad():
        biased = load_causal(model.config._name_or_path, dtype=torch.float32)
        biased.lm_head = torch.nn.Linear(biased.config.hidden_size, biased.config.vocab_size)
        biased.lm_head.weight.zero_()
        biased.lm_head.bias.zero_()
        biased.lm_head.bias[tokenizer.eos_token_id] = 9.0
        [[ended]] = respond(biased, tokenizer, [asked("Hi")], max_new_tokens=5, batch_size=1)
        [second] = tokenizer.encode("x", add_special_tokens=False)
        biased.lm_head.bias[tokenizer.eos_token_id], biased.lm_head.bias[second] = -9.0, 9.0
        biased.generation_config.eos_token_id = [tokenizer.eos_token_id, second]  # as of models that can end a turn in two ways
        [[either]] = respond(biased, tokenizer, [asked("Hi")], max_new_tokens=5, batch_size=1)
        biased.generation_config.eos_token_id = tokenizer.eos_token_id
        [[cut]] = respond(biased, tokenizer, [asked("Hi")], max_new_tokens=5, batch_size=1)
    assert (ended.text, ended.tokens, ended.finished) == (either.text, either.tokens, either.finished) == ("", 0, True)
    assert (ended.ids, either.ids) == ([tokenizer.eos_token_id], [second])
    assert (cut.tokens, cut.finished, len(cut.ids)) == (5, False, 5)


def says(model, tokenizer, after: dict[str, dict[str, float]]):
    """A copy of the model that looks at the last token alone: after = {token: {next token: probability}}."""
    made = copy.deepcopy(model)
    number = tokenizer.convert_tokens_to_ids
    with torch.no_grad():
        for layer in made.model.layers:  # so that what leaves the layers is the embedding that came in
            layer.self_attn.o_proj.weight.zero_()
            layer.mlp.down_proj.weight.zero_()
        size = made.config.hidden_size
        made.model.embed_tokens.weight.zero_()
        made.lm_head = torch.nn.Linear(size, made.config.vocab_size)
        made.lm_head.weight.zero_()
        made.lm_head.bias.fill_(-1e4)
        for place, (token, following) in enumerate(after.items()):
            made.model.embed_tokens.weight[number(token), place] = 1.0
            for following_token, probability in following.items():
                made.lm_head.bias[number(following_token)] = 0.0
                # The norm before the head makes the length of a vector the root of its size.
                made.lm_head.weight[number(following_token), place] = math.log(probability) / math.sqrt(size)
            for other in set().union(*after.values()) - set(following):
                made.lm_head.weight[number(other), place] = -1e4
    return made


ASSISTANT, END = "<|assistant|>", "<|end|>"
FOUR = {"a": 0.5, "b": 0.3, "c": 0.15, "d": 0.05}


def frequencies(model, tokenizer, **settings) -> dict[str, float]:
    """Of responses of one token."""
    samples = 2000 if settings.get("temperature") else 1
    [responses] = respond(model, tokenizer, [asked("Hi")], max_new_tokens=1, batch_size=1, samples=samples, **settings)
    return {text: count / samples for text, count in Counter(response.text for response in responses).items()}


def shares(**weights: float) -> dict[str, float]:
    return {token: weight / sum(weights.values()) for token, weight in weights.items()}


@pytest.mark.parametrize(
    ("settings", "wanted"),
    [
        ({"temperature": 0.0}, {"a": 1.0}),
        ({"temperature": 0.0, "top_p": 0.9, "top_k": 3, "seed": 5}, {"a": 1.0}),
        ({"temperature": 1.0}, FOUR),
        ({"temperature": 2.0}, shares(**{token: share**0.5 for token, share in FOUR.items()})),
        ({"temperature": 0.5}, shares(**{token: share**2 for token, share in FOUR.items()})),
        ({"temperature": 50.0}, shares(**{token: share**0.02 for token, share in FOUR.items()})),
        ({"temperature": 1.0, "top_k": 1}, {"a": 1.0}),
        ({"temperature": 1.0, "top_k": 2}, shares(a=0.5, b=0.3)),
        ({"temperature": 1.0, "top_p": 0.45}, {"a": 1.0}),
        ({"temperature": 1.0, "top_p": 0.78}, shares(a=0.5, b=0.3)),
        ({"temperature": 1.0, "top_p": 0.82}, shares(a=0.5, b=0.3, c=0.15)),
        ({"temperature": 1.0, "top_p": 0.82, "top_k": 2}, shares(a=0.5, b=0.3)),
    ],
)
def test_responses_are_sampled_from_what_the_settings_leave(model, tokenizer, settings, wanted):
    found = frequencies(says(model, tokenizer, {ASSISTANT: FOUR}), tokenizer, **settings)
    assert found.keys() == wanted.keys()
    for token, share in wanted.items():
        assert found[token] == pytest.approx(share, abs=4.5 * math.sqrt(share * (1 - share) / 2000)), token


def test_nothing_is_left_out_unless_asked_for(model, tokenizer):
    """Transformers itself leaves out all but the 50 likeliest tokens."""
    tokens = [chr(code) for code in range(ord("!"), ord("~") + 1)]
    nearly_even = says(model, tokenizer, {ASSISTANT: {token: 0.012 - 0.00002 * place for place, token in enumerate(tokens)}})
    assert len(frequencies(nearly_even, tokenizer, temperature=1.0)) > 85


AB = {ASSISTANT: {"a": 1.0}, "a": {"b": 1.0}, "b": {END: 1.0}}


@pytest.mark.parametrize(
    ("limit", "wanted"), [(1, ("a", 1, False)), (2, ("ab", 2, False)), (3, ("ab", 2, True)), (9, ("ab", 2, True))]
)
def test_a_response_is_cut_at_the_limit_and_its_end_is_no_token_of_it(model, tokenizer, limit, wanted):
    [[response]] = respond(says(model, tokenizer, AB), tokenizer, [asked("Hi")], max_new_tokens=limit, batch_size=1)
    assert (response.text, response.tokens, response.finished) == wanted


@pytest.mark.parametrize(
    ("ends", "wanted"),
    [
        (["b", END], ("a", 1, True)),
        ([END, "b"], ("a", 1, True)),
        (["a"], ("", 0, True)),
        (["q"], ("ab" + 7 * END, 9, False)),  # its own ends alone count: that of the turn is a token as any other, and is seen
        ([], ("ab", 2, True)),  # it names none: the tokenizer's
    ],
)
def test_any_end_that_the_model_names_ends_a_response(model, tokenizer, ends, wanted):
    chain = says(model, tokenizer, AB | {END: {END: 1.0}})
    numbers = tokenizer.convert_tokens_to_ids(ends)
    chain.generation_config.eos_token_id = (numbers[0] if len(numbers) == 1 else numbers) or None
    [[response]] = respond(chain, tokenizer, [asked("Hi")], max_new_tokens=9, batch_size=1)
    assert (response.text, response.tokens, response.finished) == wanted


def test_responses_of_one_batch_end_each_at_their_own_place(model, tokenizer):
    chain = says(model, tokenizer, {ASSISTANT: {"a": 1.0}, "a": {"a": 0.6, END: 0.4}})
    together = respond(chain, tokenizer, PROMPTS, max_new_tokens=4, batch_size=4, temperature=1.0, samples=20)
    responses = [response for own in together for response in own]
    assert {(a.text, a.tokens, a.finished) for a in responses} == {
        ("a", 1, True), ("aa", 2, True), ("aaa", 3, True), ("aaaa", 4, False)
    }  # fmt: skip


class Watched:
    """A model that notes how many rows it is given at a time, and how many tokens it may write after them."""

    def __init__(self, model):
        self.model, self.calls = model, []

    def __getattr__(self, name):
        return getattr(self.model, name)

    def generate(self, input_ids, *, generation_config, **others):
        self.calls.append((len(input_ids), generation_config.max_new_tokens))
        return self.model.generate(input_ids, generation_config=generation_config, **others)


@pytest.mark.parametrize("stretch", [1, 3, 100])
def test_rows_that_have_ended_leave_the_batch_and_change_nothing(model, tokenizer, monkeypatch, stretch):
    chain = says(model, tokenizer, {ASSISTANT: {"a": 0.9, "b": 0.1}, "a": {"a": 0.6, END: 0.4}, "b": {"b": 1.0}})
    monkeypatch.setattr(generation, "STRETCH", stretch)
    watched = Watched(chain)
    settings = {"max_new_tokens": 7, "batch_size": 40, "temperature": 1.0, "samples": 40}
    [responses] = respond(watched, tokenizer, [asked("Hi")], **settings)
    assert all(r.text in {"a" * r.tokens, "b" * 7} and r.finished == (r.tokens < 7) for r in responses)
    assert [limit for _, limit in watched.calls] == {1: [1] * 7, 3: [3, 3, 1], 100: [7]}[stretch]
    going = [sum(r.tokens >= written for r in responses) for written in range(0, 7, stretch)]
    assert [rows for rows, _ in watched.calls] == going and going == sorted(going, reverse=True)


def test_stretches_write_what_one_piece_does(model, tokenizer, monkeypatch):
    found = []
    for stretch in (1, 5, 100):
        monkeypatch.setattr(generation, "STRETCH", stretch)
        found.append(respond(model, tokenizer, PROMPTS, max_new_tokens=12, batch_size=4))
    assert found[0] == found[1] == found[2]


SIZES = {
    "vocab_size": 60, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 4, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": 200,
}  # fmt: skip
ARCHITECTURES = {
    "sliding windows": Gemma2Config(**SIZES, sliding_window=8),
    "convolutions": Lfm2Config(**SIZES, layer_types=["conv", "full_attention"] * 2),
    "a state beside attention": FalconH1Config(
        **SIZES, mamba_d_ssm=32, mamba_n_heads=4, mamba_d_head=8, mamba_d_state=8, mamba_n_groups=1
    ),
}


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_what_is_written_in_stretches_is_what_generate_writes(architecture, monkeypatch):
    """Whatever layers remember; where rows cannot leave, it is one stretch."""
    monkeypatch.setattr(generation, "STRETCH", 3)
    torch.manual_seed(0)
    made = AutoModelForCausalLM.from_config(ARCHITECTURES[architecture]).float().eval()
    for weights in made.parameters():
        weights.data.mul_(3)  # drawn as small as they are, all tokens are alike
    ids, ends = torch.randint(5, 60, (12, 9)), list(range(5, 60, 6))
    mask = torch.ones_like(ids)
    mask[::2, :4], ids[::2, :4] = 0, 0
    options = {"do_sample": False, "eos_token_id": ends, "pad_token_id": 0}
    whole = made.generate(ids, attention_mask=mask, max_new_tokens=24, **options)[:, 9:].tolist()
    wanted = [row[: next((i + 1 for i, token in enumerate(row) if token in ends), 24)] for row in whole]
    assert generation._written(made, ids, mask, 24, options) == wanted
    assert len({len(row) for row in wanted}) > 2  # some leave before others


def test_every_batch_draws_from_a_stream_of_its_own(model, tokenizer):
    even = says(model, tokenizer, {token: dict.fromkeys("abcd", 0.25) for token in (ASSISTANT, *"abcd")})
    settings = {"max_new_tokens": 20, "batch_size": 1, "temperature": 1.0}
    one = [responses[0].text for responses in respond(even, tokenizer, [asked("Hi")] * 4, seed=1, **settings)]
    torch.manual_seed(9)  # whoever drew before does not matter
    assert [responses[0].text for responses in respond(even, tokenizer, [asked("Hi")] * 4, seed=1, **settings)] == one
    other = [responses[0].text for responses in respond(even, tokenizer, [asked("Hi")] * 4, seed=2, **settings)]
    # Neither batches of a seed nor batches of neighbouring seeds are alike; nor samples of a batch.
    assert len({*one, *other}) == 8
    [samples] = respond(even, tokenizer, [asked("Hi")], samples=5, **settings)
    assert len({response.text for response in samples}) == 5
    # The default seed is 0.
    assert respond(even, tokenizer, [asked("Hi")], **settings) == respond(even, tokenizer, [asked("Hi")], seed=0, **settings)


class Echo:
    """In place of a model: says the first letter of what the user said, and the number of the sample, and ends its turn."""

    device = torch.device("cpu")

    def __init__(self, tokenizer):
        self.tokenizer = tokenizer
        self.generation_config = SimpleNamespace(eos_token_id=tokenizer.eos_token_id)
        self.config = LlamaConfig(max_position_embeddings=60)
        self.batches = []

    def get_output_embeddings(self):
        return torch.nn.Identity()

    def generate(self, input_ids, attention_mask, past_key_values, generation_config):
        assert past_key_values is None and generation_config.return_dict_in_generate
        texts = [self.tokenizer.decode(ids[mask.bool()]) for ids, mask in zip(input_ids, attention_mask, strict=True)]
        assert all(text.startswith("<|user|>") and text.endswith(ASSISTANT) for text in texts)  # padded on the left
        said = [text.removeprefix("<|user|>").removesuffix(END + ASSISTANT) for text in texts]
        self.batches.append(list(dict.fromkeys(said)))
        rows = []
        for row, (prompt, text) in enumerate(zip(input_ids.tolist(), said, strict=True)):
            sample = said[:row].count(text)
            rows.append(prompt + self.tokenizer(f" {text[0]}{sample} ")["input_ids"] + [self.tokenizer.eos_token_id, 0])
        return SimpleNamespace(sequences=torch.tensor(rows), past_key_values=Mock())


@pytest.mark.parametrize("batch_size", [1, 2, 3, 9])
def test_responses_come_back_to_their_own_prompts(tokenizer, batch_size):
    prompts = ["k", "a long one, the longest", "zz", "middling", "b"]
    settings = {"max_new_tokens": 9, "batch_size": batch_size, "temperature": 1.0, "samples": 3}
    model = Echo(tokenizer)
    found = respond(model, tokenizer, [asked(text) for text in prompts], **settings)
    assert [[response.text for response in responses] for responses in found] == [
        [f"{p[0]}{s}" for s in range(3)] for p in prompts
    ]
    # The space before it is a token of it, though not of its text.
    assert {(response.tokens, response.finished) for responses in found for response in responses} == {(4, True)}
    sizes = {1: [1, 1, 1, 1, 1], 2: [2, 2, 1], 3: [3, 2], 9: [5]}[batch_size]
    assert [len(batch) for batch in model.batches] == sizes
    lengths = [len(text) for batch in model.batches for text in batch]
    assert lengths == sorted(lengths, reverse=True)
    assert respond(model, tokenizer, [], **settings) == []


def test_prompt_and_response_stay_within_the_positions(tokenizer):
    """Of 60 positions 9 are the response's; the template takes 4 tokens."""
    echo = Echo(tokenizer)
    [[fits], [long]] = respond(
        echo, tokenizer, [asked("f" * 48), [*asked("early"), {"role": "assistant", "content": "x" * 40}, *asked("late")]],
        max_new_tokens=9, batch_size=2,
    )  # fmt: skip
    assert (fits.text, fits.prompt_truncated, long.text, long.prompt_truncated) == ("f0", False, "l0", True)
    [[cut]] = respond(echo, tokenizer, [asked("a" * 10 + "b" * 48)], max_new_tokens=9, batch_size=2)
    assert (cut.text, cut.prompt_truncated) == ("b0", True) and echo.batches[-1] == ["b" * 48]


def test_a_model_without_a_limit_on_positions_reads_whole_prompts(model, tokenizer, monkeypatch):
    prompts = [asked("one"), asked("and two words")]
    wanted = respond(model, tokenizer, prompts, max_new_tokens=3, batch_size=2)
    monkeypatch.setattr(generation, "positions_of", lambda config: None)
    assert respond(model, tokenizer, prompts, max_new_tokens=3, batch_size=2) == wanted


def test_the_head_reads_the_rows_of_a_batch_as_one_matrix(model, tokenizer, monkeypatch):
    """Rows that lie apart are multiplied one by one, with a copy of a head that is not trained for each."""
    head, seen = model.get_output_embeddings(), []
    forward = head.forward
    monkeypatch.setattr(head, "forward", lambda hidden: seen.append(hidden.is_contiguous()) or forward(hidden))
    respond(model, tokenizer, [asked("one"), asked("and two words")], max_new_tokens=3, batch_size=2)
    assert len(seen) >= 1 and all(seen)
    assert not head._forward_pre_hooks
