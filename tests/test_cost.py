"""Costs against values by hand, against what PyTorch counts, and against what the libraries hold."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from peft import get_peft_model
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoModelForCausalLM, LlamaConfig, Qwen2Config

from preference_study.cost import (
    Assumptions,
    Device,
    Load,
    Part,
    Shape,
    decoding,
    decoding_load,
    decoding_memory,
    forward,
    load,
    saved,
    scoring_memory,
    seconds,
    training,
    training_memory,
)
from preference_study.models.frozen import HiddenStates, skip_frozen_layers
from preference_study.models.shapes import KNOWN, config_of, shape_of
from preference_study.training.run import lora

SIZES = {"vocab_size": 96, "hidden_size": 32, "intermediate_size": 80, "num_attention_heads": 4, "num_key_value_heads": 2}
LLAMA = LlamaConfig(**SIZES, num_hidden_layers=4, tie_word_embeddings=True, pad_token_id=0)
UNTIED = LlamaConfig(**SIZES, num_hidden_layers=3, tie_word_embeddings=False)
QWEN = Qwen2Config(**SIZES, num_hidden_layers=2, tie_word_embeddings=True)
SHAPE = Shape(
    parameters=1000, layers=4, hidden=8, heads=2, intermediate=20, attention=8, keys=4, layer_linear=672, layer_maps=132,
    vocabulary=50, own_head=0,
)  # fmt: skip
CPU = Device("cpu", 1, 8e9, 1e11, 1e10, 4, 8e9, None, shared=True)
GPU = Device("gpu", 1, 8e9, 1e14, 1e12, 2, None, None)
ASSUMED = Assumptions(forward=0.5, training=0.25, decoding=0.5, reading=0.5, layer_seconds=0.0, start_seconds=0.0, usable=0.9)


def model_of(config):
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(config, attn_implementation="eager")


@pytest.mark.parametrize("config", [LLAMA, UNTIED, QWEN], ids=["llama", "untied", "qwen2"])
def test_parameters_are_those_of_the_model(config):
    model, shape = model_of(config), shape_of(config)
    assert shape.parameters == sum(weight.numel() for weight in model.parameters())
    layer = model.model.layers[0]
    assert shape.layer_linear == sum(m.weight.numel() for m in layer.modules() if isinstance(m, torch.nn.Linear))
    # Queries and output, keys and values, and three of the gated layer.
    assert shape.layer_linear == 2 * 32 * 32 + 2 * 32 * 16 + 3 * 32 * 80
    assert (shape.layers, shape.hidden, shape.heads, shape.intermediate) == (config.num_hidden_layers, 32, 4, 80)
    assert (shape.attention, shape.keys, shape.vocabulary) == (32, 16, 96)
    assert shape.own_head == (0 if config.tie_word_embeddings else 96 * 32)


def test_published_parameter_counts():
    """As the safetensors files on the hub count them."""
    published = {
        "embedded": 134_515_008,
        "Qwen/Qwen2.5-0.5B": 494_032_768,
        "Qwen/Qwen2.5-1.5B": 1_543_714_304,
        "Qwen/Qwen2.5-7B": 7_615_616_512,
        "Qwen/Qwen3-8B": 8_190_735_360,
        "meta-llama/Llama-3.1-8B": 8_030_261_248,
        "HuggingFaceTB/SmolLM2-360M": 361_821_120,
        "HuggingFaceTB/SmolLM2-1.7B": 1_711_376_384,
    }
    assert {name: shape_of(config_of(name)[0]).parameters for name in KNOWN} == published


@pytest.mark.parametrize("layers", [2, None])
def test_lora_has_the_parameters_that_peft_makes(layers):
    model = model_of(LLAMA)
    adapted = get_peft_model(model, lora(model, 3, layers, task_type="CAUSAL_LM"))
    assert shape_of(LLAMA).lora(3, layers or 4) == adapted.num_parameters(only_trainable=True)


def counted(run) -> int:
    with FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops()


def test_forward_operations_are_those_that_pytorch_counts():
    model, shape = model_of(LLAMA), shape_of(LLAMA)
    ids = torch.randint(1, 96, (3, 11))
    work = Load(passes=1, tokens=33, squares=3 * 121, scored=33)
    with torch.no_grad():
        assert counted(lambda: model(input_ids=ids, use_cache=False)) == forward(shape, work, logits=True)
        assert counted(lambda: model.model(input_ids=ids, use_cache=False)) == forward(shape, work)


def test_training_every_weight_takes_three_times_a_forward_pass():
    model, shape = model_of(LLAMA), shape_of(LLAMA)
    ids = torch.randint(1, 96, (2, 9))
    work = Load(passes=1, tokens=18, squares=2 * 81, scored=18)
    how = {"rank": 0, "trained": 4, "kept": False, "logits": True, "head_products": 3}
    found = counted(lambda: model(input_ids=ids, use_cache=False).logits.sum().backward())
    assert found == training(shape, work, checkpointing=False, **how)
    # The rule of thumb of Kaplan et al. 2020: 6 for each weight of a product and token, attention aside.
    products = 4 * shape.layer_linear + 96 * 32
    assert training(shape, replace(work, squares=0), checkpointing=False, **how) == 6 * products * 18
    again = training(shape, work, checkpointing=True, **how) - training(shape, work, checkpointing=False, **how)
    assert again == forward(shape, work)


@pytest.mark.parametrize("kept", [False, True])
def test_lora_training_operations_with_and_without_kept_layers(kept):
    model, shape = model_of(LLAMA), shape_of(LLAMA)
    ids = torch.randint(1, 96, (1, 9))
    states = model.model(input_ids=ids, output_hidden_states=True).hidden_states[2][0].detach()
    adapted = get_peft_model(model, lora(model, 3, 2, task_type="CAUSAL_LM"))
    if kept:
        assert skip_frozen_layers(model, HiddenStates([ids[0].tolist()], 2, states))
    found = counted(lambda: adapted(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False).logits.sum().backward())
    work = Load(passes=1, tokens=9, squares=81, scored=9)
    how = {"rank": 3, "trained": 2, "checkpointing": False, "logits": True, "head_products": 2}
    # The lowest trained layer's own input needs no gradient: queries, keys and values, and what of their adapters reads it.
    unneeded = 2 * 9 * (32 * 32 + 2 * 32 * 16) + 3 * 2 * 9 * 3 * 32
    assert found == training(shape, work, kept=kept, **how) - unneeded


def test_cache_has_the_bytes_of_transformers():
    model, shape = model_of(UNTIED), shape_of(UNTIED)
    cache = model(input_ids=torch.randint(1, 96, (5, 7)), use_cache=True).past_key_values
    held = sum(layer.keys.nbytes + layer.values.nbytes for layer in cache.layers)
    assert shape.cache(5 * 7, 4) == held


def kept_by_autograd(model, ids) -> int:
    """Bytes of what autograd keeps that is no weight of the model's, storages that are shared counted once."""
    weights = {weight.untyped_storage().data_ptr() for weight in [*model.parameters(), *model.buffers()]}
    held = {}

    def pack(tensor):
        place = tensor.untyped_storage()
        if place.data_ptr() not in weights:
            held[place.data_ptr()] = place.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        output = model(input_ids=ids, use_cache=False).last_hidden_state
    assert output.requires_grad
    return sum(held.values())


@pytest.mark.parametrize("full", [True, False])
def test_activations_are_about_those_that_autograd_keeps(full):
    """Of one more layer, so that what is not of a layer falls out."""
    found = []
    for layers in (2, 3):
        model = model_of(LlamaConfig(**SIZES, num_hidden_layers=layers))
        if not full:
            model = get_peft_model(model, lora(model, 2, None, task_type="CAUSAL_LM")).base_model.model
            model.get_input_embeddings().register_forward_hook(lambda module, inputs, output: output.requires_grad_(True))
        found.append(kept_by_autograd(model.model, torch.randint(1, 96, (2, 40))))
    assert 80 * saved(shape_of(LLAMA), 40, 4, full, True, 2) == pytest.approx(found[1] - found[0], rel=0.12)


def test_memory_of_training_by_hand():
    work = Load(passes=1, tokens=60, squares=600, scored=30, rows=6, length=10, largest_scored=30)
    how = {"checkpointing": False, "logits": False, "whole": False}
    full = training_memory(SHAPE, GPU, work, rank=0, trained=4, processes=1, sharded=False, **how)
    # Float32, and the copies in bfloat16; one gradient; two averages.
    assert full["weights"] == 4 * 1000 + 2 * 672 * 4 and full["gradients"] == 4000 and full["optimiser"] == 8000
    assert full["activations"] == 5 * 60 * saved(SHAPE, 10, 2, True, False) and full["logits"] == 0
    several = training_memory(SHAPE, GPU, work, rank=0, trained=4, processes=2, sharded=False, **how)
    assert several["gradients"] == 8000 and several["weights"] == full["weights"]
    sharded = training_memory(SHAPE, GPU, work, rank=0, trained=4, processes=2, sharded=True, **how)
    assert (sharded["gradients"], sharded["optimiser"], sharded["weights"]) == (2000, 4000, 2000 + 2 * 672)
    adapters = training_memory(SHAPE, GPU, work, rank=2, trained=3, processes=1, sharded=False, **how)
    count = 2 * 132 * 3
    assert (adapters["weights"], adapters["gradients"], adapters["optimiser"]) == (2000 + 4 * count, 4 * count, 8 * count)
    again = training_memory(
        SHAPE, GPU, work, rank=0, trained=4, processes=1, sharded=False, checkpointing=True, logits=False, whole=False
    )
    assert again["activations"] == 4 * 60 * 8 * 4 + 2 * 60 * saved(SHAPE, 10, 2, True, False)


def test_logits_by_hand():
    work = Load(passes=1, tokens=60, squares=600, scored=30, rows=6, length=10, largest_scored=30)
    # In bfloat16, in float32 and as logarithms of probabilities; where float32 is computed in, the last two.
    assert scoring_memory(SHAPE, GPU, work, True)["logits"] == (2 + 4 + 4) * 50 * 30
    assert scoring_memory(SHAPE, CPU, work, True)["logits"] == (4 + 4) * 50 * 30
    assert scoring_memory(SHAPE, GPU, work, False)["logits"] == 0
    how = {"rank": 2, "trained": 2, "checkpointing": False, "logits": True, "processes": 1, "sharded": False}
    assert training_memory(SHAPE, GPU, work, whole=True, **how)["logits"] == (2 + 12) * 60 * 50
    assert training_memory(SHAPE, CPU, work, whole=False, **how)["logits"] == 256 * 50 * 16 + 30 * 8 * 8


def test_a_load_counts_padding():
    work = load(np.array([5, 3, 4, 2]), np.array([2, 1, 3, 1]), [[0, 2], [1, 3]])
    assert work == Load(passes=2, tokens=2 * 5 + 2 * 3, squares=2 * 25 + 2 * 9, scored=7, rows=2, length=5, largest_scored=5)
    assert work.times(3) == Load(passes=6, tokens=48, squares=204, scored=21, rows=2, length=5, largest_scored=5)
    assert load(np.array([]), np.array([]), []) == Load()


def test_decoding_by_hand():
    work = decoding_load(np.array([4, 6, 5]), 2, 3.0, 8)
    assert work.prompts == Load(passes=2, tokens=2 * 6 + 4, squares=2 * 36 + 16, rows=2, length=6)
    assert work.steps == 2 * 8 and work.tokens == 9
    # Each new token reads the prompt and, on the average, half of what was written.
    assert work.read == 2 * 3 * (6 + 1.5) + 3 * (4 + 1.5)
    once = 2 * 672 * 4 * 9 + 4 * 8 * 4 * work.read
    assert decoding(SHAPE, work) == forward(SHAPE, work.prompts) + once + 2 * 8 * 50 * (9 + 2)
    memory = decoding_memory(SHAPE, GPU, 2, 6, 8)
    assert memory["cache"] == 2 * 4 * 4 * 2 * 2 * 14 * 1.25 and memory["weights"] == 2000


def test_seconds_by_hand():
    part = Part("training", flops=1e12, layers=10)
    assert seconds(part, CPU, ASSUMED, 1) == pytest.approx(1e12 / (1e11 * 0.25))
    assert seconds(part, CPU, ASSUMED, 4) == pytest.approx(10)
    slow = replace(ASSUMED, layer_seconds=5.0)
    assert seconds(part, CPU, slow, 1) == pytest.approx(40 + 50)  # one after the other
    assert seconds(part, GPU, slow, 1) == pytest.approx(50)  # side by side
    reading = Part("decoding", flops=1e9, layers=0, read=1e12)
    assert seconds(reading, CPU, ASSUMED, 1) == pytest.approx(1e12 / 5e9 + 1e9 / 5e10)
    assert seconds(reading, GPU, ASSUMED, 1) == pytest.approx(1e12 / 5e11)
    assert seconds(replace(part, kind="forward"), CPU, ASSUMED, 1) == pytest.approx(20)


LENGTHS = st.lists(st.integers(1, 300), min_size=2, max_size=20)


@given(LENGTHS, st.integers(1, 50))
def test_longer_texts_never_cost_less(lengths, more):
    one, longer = np.array(lengths), np.array(lengths) + more
    batches = [list(range(start, min(start + 4, len(one)))) for start in range(0, len(one), 4)]
    less, greater = load(one, one // 2, batches), load(longer, longer // 2, batches)
    assert forward(SHAPE, less, logits=True) < forward(SHAPE, greater, logits=True)
    how = {"rank": 4, "trained": 2, "kept": True, "checkpointing": False, "logits": True, "head_products": 2}
    assert training(SHAPE, less, **how) < training(SHAPE, greater, **how)
    memory = {"rank": 4, "trained": 2, "checkpointing": False, "logits": True, "whole": False, "processes": 1, "sharded": False}
    # As one batch: of several the largest, by its tokens, can become another one.
    whole = [load(tokens, tokens // 2, [list(range(len(one)))]) for tokens in (one, longer)]
    for where in (CPU, GPU):
        small, large = (training_memory(SHAPE, where, work, **memory) for work in whole)
        assert all(small[name] <= large[name] for name in small) and small["activations"] < large["activations"]


@given(st.integers(1, 4), st.booleans())
def test_fewer_trained_layers_cost_no_more_and_kept_ones_less(trained, checkpointing):
    work = Load(passes=2, tokens=100, squares=2000, scored=40, rows=4, length=20, largest_scored=30)
    how = {"rank": 4, "checkpointing": checkpointing, "logits": True, "head_products": 2}
    by_kept = [training(SHAPE, work, trained=trained, kept=kept, **how) for kept in (True, False)]
    assert by_kept[0] < by_kept[1] or trained == 4
    assert training(SHAPE, work, trained=1, kept=False, **how) <= by_kept[1]


@given(st.integers(1, 200), st.integers(1, 500), st.integers(1, 500))
def test_the_cache_grows_with_rows_and_tokens(rows, prompt, new):
    memory = decoding_memory(SHAPE, GPU, rows, prompt, new)["cache"]
    assert memory < decoding_memory(SHAPE, GPU, rows + 1, prompt, new)["cache"]
    assert memory < decoding_memory(SHAPE, GPU, rows, prompt + 1, new)["cache"]


@given(st.floats(0.05, 1), st.floats(0.05, 1))
def test_a_better_utilisation_never_takes_longer(one, other):
    part = Part("forward", flops=1e12, layers=5)
    low, high = sorted((one, other))
    assert seconds(part, GPU, replace(ASSUMED, forward=high), 1) <= seconds(part, GPU, replace(ASSUMED, forward=low), 1)
