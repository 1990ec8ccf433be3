"""Rows computed as trees of tokens: the same outputs, losses and gradients, where it is less work, and of fewer tokens."""

from bisect import bisect
from itertools import accumulate
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, Gemma2Config
from transformers.models.llama import modeling_llama

from preference_study.models.batching import batches_by_length
from preference_study.models.frozen import keep_hidden_states, kept_in, last_features, skip_frozen_layers
from preference_study.models.language_models import load_causal, new_reward_model, padded, pair_logps, pair_rewards
from preference_study.models.packed import Packed, batches, pack_rows, trees_of, work
from preference_study.models.reward_models import Ensemble
from preference_study.models.token_pairs import BothSides
from preference_study.models.tokens import TokenPair
from tests.models.architectures import ARCHITECTURES
from tests.models.test_frozen import KEPT, LAYERS, SEQUENCES, TOP, keep, loss_and_gradients, made, spoil, trained_model
from tests.models.test_generation import ARCHITECTURES as OTHERS
from tests.models.test_generation import SIZES

PROMPT = [30 + i * 5 % 90 for i in range(11)]
PAIR = [[*PROMPT, 40, 41, 42, 43, 44, 45, 46], [*PROMPT, 40, 41, 50]]
# The positions of the first are counted from the padding, and the attention of the second is its own affair.
NO_TREES = {"bloom", "falcon"}


@pytest.fixture
def llama(tmp_path, monkeypatch) -> None:
    made("llama", tmp_path, monkeypatch)


def widths(model) -> list[tuple[int, int]]:
    """The sequences and tokens of each batch that the model's first layer is given from now on."""
    found = []
    layer = next(module for name, module in model.named_modules() if name.endswith(("layers.0", "h.0")))
    layer.register_forward_pre_hook(
        lambda _, args, named: found.append(tuple((args[0] if args else named["hidden_states"]).shape[:2])), with_kwargs=True
    )
    return found


CPU = torch.device("cpu")
WIDE = 10**6  # layers so wide that attention costs nothing, and any token less is worth it


def test_trees_by_hand():
    ids = torch.tensor([[5, 6, 7, 8], [6, 7, 8, 9], [5, 6, 9, 0]])
    found = Packed.of(ids, torch.tensor([[1, 1, 1, 1], [1, 1, 1, 1], [1, 1, 1, 0]]), 8)
    assert found.sizes == (5, 4)
    assert found.ids.tolist() == [[5, 6, 7, 8, 9, 6, 7, 8, 9]]
    assert found.positions.tolist() == [[0, 1, 2, 3, 2, 0, 1, 2, 3]]
    assert found.nodes.tolist() == [[0, 1, 2, 3], [5, 6, 7, 8], [0, 1, 4, 0]]
    assert found.first.tolist() == [[0, 1, 2, 3, 10, 4, 5, 6, 7]]
    own = [[0], [0, 1], [0, 1, 2], [0, 1, 2, 3], [0, 1, 4], [5], [5, 6], [5, 6, 7], [5, 6, 7, 8]]
    assert [row.nonzero().flatten().tolist() for row in found.seen[0]] == own


def test_padding_on_the_left_leaves_positions_as_they_were():
    ids = torch.tensor([[0, 0, 5, 6], [0, 5, 6, 7], [0, 5, 6, 8]])
    tree = Packed.of(ids, torch.tensor([[0, 0, 1, 1], [0, 1, 1, 1], [0, 1, 1, 1]]), WIDE)
    assert tree.ids.tolist() == [[5, 6, 5, 6, 7, 8]]  # at other positions the same tokens are others
    assert tree.positions.tolist() == [[2, 3, 1, 2, 3, 3]]
    assert tree.seen[0, 5].nonzero().flatten().tolist() == [2, 3, 5]


ROWS = st.lists(st.lists(st.integers(1, 3), min_size=1, max_size=7), min_size=1, max_size=6)


@given(ROWS, st.integers(1, 60))
def test_what_a_node_sees_is_its_row_up_to_it(rows, size):
    ids, mask = padded(rows, 0, CPU)
    found = Packed.of(ids, mask, size)
    ends = list(accumulate(found.sizes))
    assert found.ids.shape == (1, ends[-1])
    for row, nodes in zip(rows, found.nodes.tolist(), strict=True):
        assert len({bisect(ends, node) for node in nodes[: len(row)]}) == 1  # all in one tree
        for end in range(len(row)):
            seen = found.seen[0, nodes[end]].nonzero().flatten().tolist()
            assert sorted(seen, key=lambda node: found.positions[0, node]) == nodes[: end + 1]
            assert found.ids[0, nodes[: end + 1]].tolist() == row[: end + 1]
    states = ids[:, :, None].float()
    assert found.take(states).shape == (1, ends[-1], 1)
    given_back = found.give(found.take(states))
    assert torch.equal(given_back[mask.bool()], states[mask.bool()])


def numbered(rows: list[list[int]]) -> list[list[tuple[int, int]]]:
    return [list(enumerate(row)) for row in rows]


@given(ROWS, st.integers(1, 60))
def test_the_trees_are_no_more_work_than_one_a_row(rows, size):
    def tokens(group: list[int]) -> int:
        return len({tuple(rows[row][: end + 1]) for row in group for end in range(len(rows[row]))})

    def all_of(groups: list[list[int]]) -> int:
        return sum(work(tokens(group), size) for group in groups)

    found = trees_of(numbered(rows), size)
    assert sorted(row for group in found for row in group) == list(range(len(rows)))
    assert all(group == sorted(group) for group in found) and found == sorted(found)
    assert all_of(found) <= all_of([[row] for row in range(len(rows))])
    if len(rows) <= 2:
        assert all_of(found) <= work(tokens(list(range(len(rows)))), size)


def test_rows_come_together_where_they_begin_alike_for_long():
    """By hand, with a hidden size of 16: a token takes 192 by itself, and 5 for each token of its tree."""
    rows = [[1] * 30 + [2] * 5, [3] * 40, [1] * 30 + [4] * 5, [3, 5] * 20]
    # Of the first and third 40 tokens are 40 * (192 + 200) = 15,680, and twice 35 are 25,690; of the others, which have one in
    # common, 79 are 46,373 and twice 40 are 31,360.
    assert trees_of(numbered(rows), 16) == [[0, 2], [1], [3]]
    assert trees_of(numbered(rows), WIDE) == [[0, 2], [1, 3]]
    assert trees_of(numbered(rows[:1]), 16) == [[0]]


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("policy", [False, True])
@pytest.mark.parametrize("name", ["llama", "gpt2"])
@pytest.mark.parametrize("stored", [False, True])
def test_losses_and_gradients_are_those_of_rows(tmp_path, monkeypatch, name, policy, checkpointing, stored):
    monkeypatch.setattr("tests.models.test_frozen.SEQUENCES", [*SEQUENCES, *PAIR])
    made(name, tmp_path, monkeypatch)
    kept = keep() if stored else None
    wanted, gradients = loss_and_gradients(trained_model(policy, checkpointing), PAIR)
    model = trained_model(policy, checkpointing)
    if stored:
        assert skip_frozen_layers(model.get_base_model(), kept)
    assert pack_rows(model.get_base_model())
    if stored:
        spoil(model)
    seen = widths(model)
    found, from_tree = loss_and_gradients(model, PAIR)
    if not stored:
        assert set(seen) == {(1, len(PROMPT) + 7 + 1)}  # both responses begin with 40 and 41
    assert found == pytest.approx(wanted, abs=1e-6)
    assert from_tree.keys() == gradients.keys() and all(gradient.abs().max() > 1e-5 for gradient in gradients.values())
    for weight, gradient in gradients.items():
        torch.testing.assert_close(from_tree[weight], gradient, atol=1e-6, rtol=1e-4, msg=weight)


def test_attention_goes_over_one_tree_at_a_time(llama, monkeypatch):
    model = load_causal("models/base", dtype=torch.float32)
    assert pack_rows(model)
    own, found = modeling_llama.eager_attention_forward, []

    def plain(module, query, key, value, attention_mask, **named):
        found.append((query.shape[2], key.shape[2], attention_mask.shape[2:]))
        return own(module, query, key, value, attention_mask, **named)

    monkeypatch.setattr(modeling_llama, "eager_attention_forward", plain)
    last_hidden(model, [*PAIR, [20] * 9])
    assert found == [(19, 19, (19, 19)), (9, 9, (9, 9))] * LAYERS
    found.clear()
    last_hidden(model, [[20] * 9])  # rows as they are
    assert found == [(9, 9, (9, 9))] * LAYERS


def last_hidden(model, rows: list[list[int]]) -> torch.Tensor:
    """Of all tokens but padding."""
    ids, mask = padded(rows, 0, torch.device("cpu"))
    with torch.inference_mode():
        return model.get_decoder()(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state[mask.bool()]


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_an_architecture_gives_the_same_or_is_left_as_it_was(tmp_path, monkeypatch, name):
    made(name, tmp_path, monkeypatch)
    model = load_causal("models/base", dtype=torch.float32)
    wanted = last_hidden(model, PAIR)
    assert pack_rows(model) == (name not in NO_TREES)
    assert ("forward" in vars(model.get_decoder())) == (name not in NO_TREES)
    assert (model.config.get_text_config()._attn_implementation == "eager") == (name in NO_TREES)
    torch.testing.assert_close(last_hidden(model, PAIR), wanted, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", ["convolutions", "a state beside attention"])
def test_a_model_that_reads_step_by_step_is_left_as_it_was(name):
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(OTHERS[name]).float().eval()
    for weights in model.parameters():
        weights.data.mul_(3)
    rows = [[token % 60 for token in row] for row in PAIR]
    wanted = last_hidden(model, rows)
    assert not pack_rows(model)
    assert torch.equal(last_hidden(model, rows), wanted)


@pytest.mark.parametrize("why", ["an accelerator", "an attention of its own"])
def test_a_model_that_cannot_have_this_attention_is_left_as_it_was(llama, monkeypatch, why):
    model = load_causal("models/base", dtype=torch.float32)
    if why == "an accelerator":  # the model may stand on the CPU until a trainer moves it
        monkeypatch.setattr("preference_study.models.packed.PartialState", lambda: SimpleNamespace(device=torch.device("cuda")))
    else:
        monkeypatch.delattr(modeling_llama, "eager_attention_forward")
    assert not pack_rows(model) and not model.packs
    assert "forward" not in vars(model.get_decoder()) and model.config._attn_implementation == "eager"


def test_rows_longer_than_a_window_are_not_packed():
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(Gemma2Config(**SIZES, sliding_window=30), attn_implementation="eager").float().eval()
    inside = [[token % 60 for token in row] for row in PAIR]
    inside[0] += list(range(30 - len(inside[0])))
    across = [[*inside[0], 7], inside[1]]
    wanted = [last_hidden(model, rows) for rows in (inside, across)]
    assert pack_rows(model)
    seen = widths(model)
    torch.testing.assert_close(last_hidden(model, inside), wanted[0], atol=1e-5, rtol=1e-4)
    assert torch.equal(last_hidden(model, across), wanted[1])
    assert seen == [(1, 31), (2, 31)]


def test_a_batch_of_rows_after_a_tree_starts_from_its_own_kept_states(llama, monkeypatch):
    monkeypatch.setattr("tests.models.test_frozen.SEQUENCES", [*SEQUENCES, *PAIR])
    kept = keep()
    model = load_causal("models/base", dtype=torch.float32)
    wanted = [last_hidden(model, rows) for rows in (PAIR, SEQUENCES[:1])]
    assert skip_frozen_layers(model, kept) and pack_rows(model)
    spoil(model)
    for rows, states in zip((PAIR, SEQUENCES[:1]), wanted, strict=True):
        torch.testing.assert_close(last_hidden(model, rows), states, atol=1e-5, rtol=1e-4)


def test_in_bfloat16_nothing_but_rounding_differs(llama):
    model = load_causal("models/base", dtype=torch.bfloat16)
    wanted = last_hidden(model, PAIR).float()
    assert pack_rows(model)
    assert (last_hidden(model, PAIR).float() - wanted).norm() < 0.02 * wanted.norm()


def test_trees_are_taken_only_where_they_are_fewer_tokens(llama):
    model = load_causal("models/base", dtype=torch.float32)
    apart = [[20 + i] * 18 for i in range(6)]
    wanted = last_hidden(model, apart)
    assert pack_rows(model)
    seen = widths(model)
    assert torch.equal(last_hidden(model, apart), wanted)
    last_hidden(model, PAIR)
    last_hidden(model, [[20] * 18, [21] * 17])
    assert seen == [(6, 18), (1, 19), (1, 35)]


def test_generation_and_a_batch_without_a_mask_run_as_before(llama):
    model = load_causal("models/base", dtype=torch.float32)
    ids, mask = padded(PAIR, 0, torch.device("cpu"))
    options = {"max_new_tokens": 5, "do_sample": False, "eos_token_id": None, "pad_token_id": 0}
    wanted = model.generate(ids.flip(1), attention_mask=mask.flip(1), **options)
    plain = model(input_ids=ids, use_cache=False).logits
    assert pack_rows(model)
    seen = widths(model)
    assert torch.equal(model.generate(ids.flip(1), attention_mask=mask.flip(1), **options), wanted)
    assert torch.equal(model(input_ids=ids, use_cache=False).logits, plain)
    assert model(input_ids=ids, attention_mask=mask, use_cache=True).past_key_values.get_seq_length() == ids.shape[1]
    model(input_ids=ids, attention_mask=mask, position_ids=torch.arange(ids.shape[1])[None] + 1, use_cache=False)
    more = model(input_ids=ids, attention_mask=mask, use_cache=False, output_hidden_states=True, output_attentions=True)
    assert {states.shape[:2] for states in more.hidden_states} == {ids.shape}
    assert {of_heads.shape[2:] for of_heads in more.attentions} == {(ids.shape[1], ids.shape[1])}
    assert len(seen) > 5 and all(rows == 2 for rows, _ in seen)


def test_a_model_that_gives_more_than_its_last_states_is_left_as_it_was(llama):
    model = load_causal("models/base", dtype=torch.float32)
    model.config.output_hidden_states = True
    assert not pack_rows(model)
    assert "forward" not in vars(model.get_decoder())


def pairs_of(lengths: list[tuple[int, int, int]]) -> list[TokenPair]:
    """Pairs of so many tokens of prompt, chosen and rejected, in which no two responses begin alike."""
    return [
        TokenPair(
            [5 + (7 * number + i) % 60 for i in range(prompt)],
            [70 + (number + i) % 20 for i in range(chosen)],
            [95 + (number + i) % 20 for i in range(rejected)],
            False,
            0,
        )
        for number, (prompt, chosen, rejected) in enumerate(lengths)
    ]


class Size:
    """What `batches` asks of a model."""

    hidden_size = 16

    def __init__(self, packs: bool):
        self.packs, self.config = packs, self

    def get_text_config(self):
        return self


LENGTHS = st.lists(st.tuples(st.integers(1, 90), st.integers(1, 60), st.integers(1, 60)), min_size=1, max_size=30)


@given(LENGTHS, st.integers(1, 9), st.integers(1, 400), st.data())
def test_batches_of_pairs_hold_every_one_wanted_once_within_the_limits(lengths, max_batch, max_padded, data):
    texts = BothSides(pairs_of(lengths))
    places = sorted(data.draw(st.sets(st.integers(0, len(texts) - 1), min_size=1)))
    found = batches(Size(True), texts, max_batch, max_padded, places)
    assert sorted(index for batch in found for index in batch) == list(range(len(places)))
    longest = [max(texts.lengths[places[index]] for index in batch) for batch in found]
    assert longest == sorted(longest, reverse=True)
    for batch, long in zip(found, longest, strict=True):
        assert len(batch) <= max_batch and (long * len(batch) <= max_padded or len(batch) == 1)
    every = [texts.lengths[place] for place in places]
    rows = batches_by_length(every, max_batch, max_padded)
    assert batches(Size(False), texts, max_batch, max_padded, places) == rows
    assert batches(Size(True), [[1] * length for length in every], max_batch, max_padded) == rows


def test_pairs_come_together_where_their_tree_is_less_work():
    """By hand, with a hidden size of 16: a token takes 192 by itself, and 5 for each token of its sequence."""
    lengths = [(30, 3, 9), (2, 80, 80), (30, 5, 5), (40, 2, 2)]
    # Of the first pair 42 tokens of 192 + 5 * 42 are 16,884, and 33 of 192 + 5 * 33 with 39 of 192 + 5 * 39 are 26,874; of the
    # second 162 are 162,324, and twice 82 are 98,728.
    found = batches(Size(True), BothSides(pairs_of(lengths)), 8, 1000)
    assert found == [[2, 3], [6, 7, 0, 1], [4, 5]]
    assert batches(Size(True), BothSides(pairs_of(lengths)), 8, 1000, places=[0, 1, 3, 6]) == [[2, 3], [0, 1]]
    two = BothSides(pairs_of([(30, 3, 9), (40, 2, 2)]))
    assert batches(Size(True), two, 4, 1000) == [[2, 3, 0, 1]]
    assert batches(Size(True), two, 3, 1000) == batches(Size(True), two, 4, 150) == [[2, 3], [0, 1]]
    assert batches(Size(True), two, 1, 1000) == [[2], [3], [1], [0]]


def test_scoring_pairs_as_trees_gives_what_rows_give(llama):
    pairs, limits = pairs_of([(30, 3, 9), (20, 7, 7), (25, 6, 2)]), {"max_batch": 8, "max_padded": 500, "description": "t"}
    policy = load_causal("models/base", dtype=torch.float32)
    models = {name: new_reward_model("models/base", name, torch.float32).eval() for name in (1, 2)}
    judge = Ensemble({str(name): model for name, model in models.items()}, {"1": 0.1, "2": 0.2}, None)
    wanted = pair_logps(policy, pairs, **limits), pair_rewards(models[1], pairs, **limits)
    pack_rows(models[1])
    assert not judge.packs
    for model in (policy, models[2]):
        assert pack_rows(model)
    assert judge.packs
    seen, of_policy = widths(models[1]), widths(policy)
    for row, by_rows in zip(pair_logps(policy, pairs, **limits), wanted[0], strict=True):
        assert row == pytest.approx(by_rows, abs=1e-4)
    torch.testing.assert_close(
        torch.tensor(pair_rewards(models[1], pairs, **limits)), torch.tensor(wanted[1]), atol=1e-5, rtol=1e-4
    )
    assert of_policy == seen == [(1, 42 + 33), (1, 34)]


def test_hidden_states_kept_from_trees_are_those_of_rows(llama):
    texts, limits = (
        BothSides(pairs_of([(30, 3, 9), (20, 7, 7), (25, 6, 2)])),
        {"max_batch": 8, "max_padded": 500, "description": "t"},
    )
    found = []
    for trees in (False, True):
        model = load_causal("models/base", dtype=torch.float32)
        if trees:
            assert pack_rows(model)
        seen = widths(model)
        with keep_hidden_states(model, texts, LAYERS - TOP, f"kept_{trees}", **KEPT):
            features = last_features(model, texts, **limits)
        assert (seen == [(1, 42 + 33), (1, 34)]) == trees
        found.append((torch.from_numpy(features), kept_in(f"kept_{trees}")))
    for by_rows, by_trees in zip(*((features, kept.states) for features, kept in found), strict=True):
        assert by_rows.std() > 0.1
        torch.testing.assert_close(by_trees, by_rows, atol=1e-5, rtol=1e-4)
    assert found[0][1].rows == found[1][1].rows
