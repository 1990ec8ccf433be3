import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, normalizers, trainers
from transformers import PreTrainedTokenizerFast

from preference_study.errors import BadInput
from preference_study.models.tokens import encode_pairs, encode_prompts, fit, prompt_text, shortened
from tests.conftest import asked

SYSTEM = {"role": "system", "content": "Be brief."}
TURNS = [
    SYSTEM,
    {"role": "user", "content": "Name a fruit."},
    {"role": "assistant", "content": "Apple."},
    {"role": "user", "content": "Another?"},
    {"role": "assistant", "content": "Pear."},
    {"role": "user", "content": "And a third?"},
]


def pairs(prompt: list[dict], chosen: str = "yes", rejected: str = "no no no") -> pd.DataFrame:
    return pd.DataFrame({"prompt": [prompt], "chosen": [chosen], "rejected": [rejected]})


def test_pairs_are_written_by_the_template(tokenizer):
    [first] = encode_pairs(tokenizer, pairs(asked("Hi")), 100)
    assert tokenizer.decode(first.prompt_ids) == "<|user|>Hi<|end|><|assistant|>"
    assert tokenizer.decode(first.chosen_ids) == "yes<|end|>"
    assert tokenizer.decode(first.rejected_ids) == "no no no<|end|>"
    assert not first.truncated and first.turns_dropped == 0


def test_every_turn_is_written_in_its_role(tokenizer):
    [pair] = encode_pairs(tokenizer, pairs(TURNS), 1000)
    assert tokenizer.decode(pair.prompt_ids) == (
        "<|system|>Be brief.<|end|><|user|>Name a fruit.<|end|><|assistant|>Apple.<|end|>"
        "<|user|>Another?<|end|><|assistant|>Pear.<|end|><|user|>And a third?<|end|><|assistant|>"
    )


@pytest.mark.parametrize("prompt", [asked("Hi"), TURNS, TURNS[1:]])
def test_training_scoring_and_generating_see_the_same_tokens(tokenizer, prompt):
    whole = tokenizer.apply_chat_template([*prompt, {"role": "assistant", "content": "yes"}], tokenize=True, return_dict=False)
    [pair] = encode_pairs(tokenizer, pairs(prompt), 1000)
    [(generated_from, _)] = encode_prompts(tokenizer, [prompt], None)
    assert pair.prompt_ids + pair.chosen_ids == whole and generated_from == pair.prompt_ids


def test_a_long_conversation_loses_its_oldest_turns_and_never_the_system_turn(tokenizer):
    whole, kept = len(tokenizer(prompt_text(tokenizer, TURNS))["input_ids"]), TURNS
    for dropped, left in ((0, TURNS), (2, [SYSTEM, *TURNS[3:]]), (4, [SYSTEM, TURNS[5]])):
        wanted = tokenizer(prompt_text(tokenizer, left))["input_ids"]
        # As soon as one token is too many, and not before.
        assert shortened(tokenizer, TURNS, len(wanted)) == (wanted, dropped)
        kept = len(wanted)
    ids, dropped = shortened(tokenizer, TURNS, kept - 4)
    assert dropped == 4 and tokenizer.decode(ids) == "<|system|>Be brief.<|end|><|user|>a third?<|end|><|assistant|>"
    [pair] = encode_pairs(tokenizer, pairs(TURNS), whole - 1)
    assert (pair.turns_dropped, pair.truncated) == (2, True)
    assert encode_prompts(tokenizer, [TURNS, asked("Hi")], whole - 1) == [
        (shortened(tokenizer, TURNS, whole - 1)[0], True),
        (tokenizer("<|user|>Hi<|end|><|assistant|>")["input_ids"], False),
    ]


def test_what_the_assistant_said_first_goes_with_the_oldest_turns(tokenizer):
    ids, dropped = shortened(tokenizer, [{"role": "assistant", "content": "Hello."}, *TURNS[1:4]], 40)
    assert dropped == 3 and tokenizer.decode(ids) == "<|user|>Another?<|end|><|assistant|>"


def test_a_system_turn_that_leaves_no_room_is_an_error(tokenizer):
    with pytest.raises(BadInput, match=r"system turn takes .* tokens.*raise max_length.*begins 'Be brief"):
        shortened(tokenizer, [SYSTEM, *asked("Hi")], 10)


TEXT = st.text(alphabet="ab ?", min_size=1, max_size=30).map(lambda text: f"x{text}x")
CONVERSATION = st.builds(
    lambda system, said, last: [
        *([{"role": "system", "content": system}] if system else []),
        *({"role": role, "content": text} for both in said for role, text in zip(("user", "assistant"), both, strict=True)),
        *asked(last),
    ],
    st.sampled_from(["", "s"]), st.lists(st.tuples(TEXT, TEXT), max_size=4), TEXT,
)  # fmt: skip


@given(CONVERSATION, TEXT, TEXT, st.integers(80, 200))
def test_whatever_is_too_long_is_made_to_fit(tokenizer, prompt, chosen, rejected, limit):
    [pair] = encode_pairs(tokenizer, pairs(prompt, chosen, rejected), limit)
    assert len(pair.prompt_ids) + max(len(pair.chosen_ids), len(pair.rejected_ids)) <= limit
    written = prompt_text(tokenizer, prompt)
    whole = len(tokenizer(written)["input_ids"]) + max(len(chosen), len(rejected)) + 1 <= limit
    assert pair.truncated == (not whole) and (whole <= (pair.turns_dropped == 0))
    text = tokenizer.decode(pair.prompt_ids)
    # What is kept is the end of the conversation; where there is a system turn, it stands before that.
    start = "<|system|>s<|end|>" if prompt[0]["role"] == "system" else ""
    assert text.startswith(start + "<|user|>") and written.endswith(text.removeprefix(start).removeprefix("<|user|>"))


TOKENS = st.lists(st.integers(5, 9), min_size=1, max_size=30)


@given(TEXT, TOKENS, TOKENS, st.integers(24, 60))
def test_too_long_pairs_lose_the_prompts_start_then_the_responses_end(tokenizer, text, chosen, rejected, limit):
    prompt = tokenizer(prompt_text(tokenizer, asked(text)))["input_ids"]
    pair = fit(tokenizer, asked(text), prompt, chosen, rejected, limit)
    assert len(pair.prompt_ids) + max(len(pair.chosen_ids), len(pair.rejected_ids)) <= limit
    assert pair.prompt_ids == prompt[:1] + prompt[len(prompt) - len(pair.prompt_ids) + 1 :]  # the user's mark stays
    assert chosen[: len(pair.chosen_ids)] == pair.chosen_ids and rejected[: len(pair.rejected_ids)] == pair.rejected_ids
    assert len(pair.prompt_ids) >= min(len(prompt), limit // 4)
    whole = (prompt, chosen, rejected) == (pair.prompt_ids, pair.chosen_ids, pair.rejected_ids)
    assert pair.truncated == (not whole)
    assert whole == (len(prompt) + max(len(chosen), len(rejected)) <= limit)


def test_a_response_is_written_as_after_its_prompt_where_a_tokenizer_begins_texts_with_a_space():
    """As Llama 2's do: by itself "Hello" would be " Hello", which generation from the same prompt never writes."""
    made = Tokenizer(models.BPE(unk_token="<unk>"))
    made.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    made.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    learned = trainers.BpeTrainer(vocab_size=400, special_tokens=["<unk>", "<s>", "</s>"], show_progress=False)
    made.train_from_iterator(["Hello there how are you\n<|user|>\n<|assistant|>\nHello Sure Hello the city park"] * 50, learned)
    spaced = PreTrainedTokenizerFast(tokenizer_object=made, eos_token="</s>", bos_token="<s>", unk_token="<unk>")
    spaced.chat_template = (
        "{% for m in messages %}{{ '<|' + m['role'] + '|>\n' + m['content'] + eos_token + '\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}"
    )
    table = pd.concat([pairs(asked("how are you"), "Hello there", "Sure"), pairs(asked("you"), "the park", "Hello")])
    for pair, row in zip(encode_pairs(spaced, table, 100), table.itertuples(), strict=True):
        for ids, text in ((pair.chosen_ids, row.chosen), (pair.rejected_ids, row.rejected)):
            turns = [*row.prompt, {"role": "assistant", "content": text}]
            whole = spaced.apply_chat_template(turns, tokenize=True, return_dict=False)
            assert spaced.decode(pair.prompt_ids + ids).endswith(f"<|assistant|>\n{text}</s>")
            assert whole[: len(pair.prompt_ids + ids)] == pair.prompt_ids + ids
