import pytest
import torch

from preference_study.data.prompts import choose_prompts
from preference_study.errors import BadInput
from preference_study.models.generation import respond
from preference_study.models.language_models import load_causal, prompt_text

PROMPTS = ["Hi", "A much longer prompt, for the sake of padding", "x", "Hello there"]


@pytest.fixture(scope="module")
def model(model_folder):
    return load_causal(model_folder, dtype=torch.float32)


def test_batches_response_as_one_prompt_at_a_time_does(model, tokenizer):
    together = respond(model, tokenizer, PROMPTS, max_new_tokens=12, batch_size=3)
    for prompt, [response] in zip(PROMPTS, together, strict=True):
        ids = tokenizer(prompt_text(tokenizer, prompt), return_tensors="pt", add_special_tokens=False)
        output = model.generate(**ids, do_sample=False, max_new_tokens=12)[0, ids["input_ids"].shape[1] :]
        alone = tokenizer.decode(output, skip_special_tokens=True).strip()
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
        [[ended]] = respond(biased, tokenizer, ["Hi"], max_new_tokens=5, batch_size=1)
        biased.lm_head.bias[tokenizer.eos_token_id] = -9.0
        [[cut]] = respond(biased, tokenizer, ["Hi"], max_new_tokens=5, batch_size=1)
    assert (ended.text, ended.tokens, ended.finished) == ("", 0, True)
    assert (cut.tokens, cut.finished) == (5, False)


def test_prompts_are_distinct_and_sampled_by_seed():
    import pandas as pd

    table = pd.DataFrame({"question": ["a", "b", "a", "c", "", None], "instruction": list("xyxzzz"), "other": 1})
    prompts = choose_prompts(table, None, 0, "t")
    assert list(prompts["prompt"]) == ["a", "b", "c"] and set(prompts) == {"id", "prompt", "instruction"}
    assert len(choose_prompts(table, 2, 0, "t")) == 2
    with pytest.raises(BadInput, match="'prompt'"):
        choose_prompts(pd.DataFrame({"text": ["a"]}), None, 0, "t")
