"""Which stages there are, what they are run over, and which parameter is named when one does not fit."""

from dataclasses import replace

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from preference_study.cost import GIB, PAIR_NOTES, TOKEN_MAPPED, Assumptions, Device, Shape, forward, scoring_memory, total
from preference_study.stage_costs import (
    Lengths,
    answers_load,
    candidates,
    changed,
    first_misfit,
    fitted,
    pairs_used,
    scoring_load,
    stages,
    training_activations,
    training_load,
)
from preference_study.texts.perturbations import PERTURBATIONS
from tests.conftest import ROOT
from tests.workspace import alternative_params

SHAPE = Shape(
    parameters=134_515_008, layers=30, hidden=576, heads=9, intermediate=1536, attention=576, keys=192, layer_linear=3_538_944,
    layer_maps=10176, vocabulary=49152, own_head=0,
)  # fmt: skip
LARGE = Shape(
    parameters=8_030_261_248, layers=32, hidden=4096, heads=32, intermediate=14336, attention=4096, keys=1024,
    layer_linear=218_103_808, layer_maps=81920, vocabulary=128256, own_head=525_336_576,
)  # fmt: skip
CARD = Device("card", 1, 24 * GIB, 1e14, 1e12, 2, None, None)
ASSUMED = Assumptions(forward=0.5, training=0.5, decoding=0.5, reading=0.5, layer_seconds=0.0, start_seconds=10.0, usable=1.0)
LENGTHS = Lengths(
    np.array([10, 20, 30, 40]), np.array([50, 60, 70, 80]), np.array([5, 15, 25, 35]), {"train": 4000, "val": 400}, True,
    np.array([10, 20]), 50, 30.0,
)  # fmt: skip


@pytest.fixture(scope="module")
def params():
    return changed(alternative_params("small"), {"reward.epochs": 1, "reward.batch_size": 2})


def by_name(params, shape=SHAPE, lengths=LENGTHS, device=CARD):
    return {stage.name: stage for stage in stages(params, shape, lengths, device, ASSUMED)}


def test_on_a_cpu_libraries_hold_memory_in_each_stage_that_runs_the_model(params):
    everything = changed(params, {"best_of_n.variants": ["standard"], "policy.methods": ["dpo", "rloo"]})
    held = {
        name: {
            stage.name: stage.memory.get("libraries", 0.0) / GIB for stage in stages(everything, SHAPE, LENGTHS, device, ASSUMED)
        }
        for name, device in (("card", CARD), ("cpu", replace(CARD, shared=True)))
    }
    assert set(held["card"].values()) == {0.0}
    wanted = dict.fromkeys(held["cpu"], 0.15) | {"prepare_model": 0.0}
    assert held["cpu"] == pytest.approx(wanted)


def test_on_a_cpu_what_sampling_held_lies_beside_what_scoring_its_responses_takes(params):
    shared = replace(CARD, shared=True)
    found = {stage.name: stage.memory for stage in stages(params, SHAPE, LENGTHS, shared, ASSUMED)}
    kl, sampling = found["measure_kl@dpo"], found["generate@dpo"]
    longest = int(LENGTHS.asked.max()) + params.generate.max_new_tokens
    scoring = scoring_memory(SHAPE, shared, answers_load(LENGTHS, longest, params.scoring, 1), logits=True)
    assert kl["logits"] == scoring["logits"] != sampling["logits"]
    # The same batches of prompts as elsewhere, fewer of them.
    assert 0 < kl["cache"] <= sampling["cache"]


def test_every_stage_that_runs_the_model_is_there_in_the_order_of_dvc(params):
    everything = changed(
        params,
        {"reward.variants": ["standard", "ensemble"], "stress.variants": ["standard"], "best_of_n.variants": ["ensemble"],
         "policy.methods": ["dpo", "kto", "rloo", "orpo"]},
    )  # fmt: skip
    found = [stage.name.split("@")[0] for stage in stages(everything, SHAPE, LENGTHS, CARD, ASSUMED)]
    definition = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    launched = [
        name for name, stage in definition.items() if "preference_study.launch" in stage["cmd"] or name == "prepare_model"
    ]
    # The plan says of these that they are not counted.
    launched = [name for name in launched if name not in ("score_benchmarks", "train_judge", "ask_judge")]
    assert list(dict.fromkeys(found)) == launched
    names = by_name(everything)
    for name in (
        "train_reward@ensemble",
        "stress_reward@standard",
        "score_samples@ensemble",
        "train_policy@rloo",
        "generate@kto",
    ):
        assert name in names


def test_lengths_are_shortened_as_the_study_shortens_them():
    """A prompt gives way down to a quarter; then the response loses its end."""
    found = fitted(replace(LENGTHS, prompts=np.array([10, 90]), chosen=np.array([20, 95]), rejected=np.array([5, 10])), 40)
    assert found.prompts.tolist() == [10, 10] and found.chosen.tolist() == [20, 30] and found.rejected.tolist() == [5, 10]
    assert found.sequences.tolist() == [30, 15, 40, 20] and found.responses.tolist() == [20, 5, 30, 10]


def test_an_epoch_is_of_pairs_padded_to_their_batch():
    work = training_load(LENGTHS, 512, 2, 400)
    # The longest two pairs, 120 and 100, and the others, 80 and 60; two sequences each, a hundred times.
    assert (work.tokens, work.passes) == (100 * 4 * (120 + 80), 200) and (work.rows, work.length) == (4, 120)
    assert work.squares == 100 * 4 * (120**2 + 80**2)
    assert work.scored == 100 * (50 + 60 + 70 + 80 + 5 + 15 + 25 + 35)
    of_sample = training_load(replace(LENGTHS, whole=False), 512, 2, 400)
    assert (of_sample.rows, of_sample.length, of_sample.tokens) == (4, 512, work.tokens)


def test_scoring_is_batched_by_length(params):
    scoring = params.scoring.model_copy(update={"max_batch": 3, "max_padded": 1000})
    work = scoring_load(LENGTHS, 512, scoring, 4)
    # 120, 100, 80 | 75, 60, 55 | 35, 15
    assert work.tokens == 3 * 120 + 3 * 75 + 2 * 35 and work.passes == 3 and (work.rows, work.length) == (3, 120)


def test_pairs_are_those_that_the_parameters_take(params):
    assert pairs_used(params, LENGTHS) == {"reward": 600, "policy": 300, "val": 200}
    assert pairs_used(changed(params, {"data.max_train": None, "policy.max_train": None}), LENGTHS)["policy"] == 4000
    assert pairs_used(params, replace(LENGTHS, pairs={"train": 100, "val": 30})) == {"reward": 100, "policy": 100, "val": 30}


def test_kept_hidden_states_save_the_layers_under_them(params):
    kept, anew = by_name(params), by_name(changed(params, {"frozen.max_gib": 0}))
    assert kept["frozen_layers"].disk["frozen store"] == pytest.approx(
        75 * 2 * 600 * 576 * 2 * (800 / 600) * (540 / 600), rel=0.2
    )
    assert kept["frozen_layers"].flops == anew["frozen_layers"].flops and anew["frozen_layers"].disk["frozen store"] == 0
    work = training_load(LENGTHS, 512, 2, 600)
    below = anew["train_reward@standard"].flops - kept["train_reward@standard"].flops
    assert below == pytest.approx(forward(SHAPE, work, 20))
    for name in ("score_pairs", "reference_logps", "train_policy@dpo"):
        assert kept[name].flops < anew[name].flops, name
    for name in ("score_responses", "generate@dpo", "measure_kl@dpo"):
        assert kept[name].flops == anew[name].flops, name
    # Deeper for the policy than for the reward model: those are no use to it.
    deeper = by_name(changed(params, {"policy.lora_layers": 20}))
    assert deeper["reference_logps"].flops == anew["reference_logps"].flops


def test_what_is_asked_for_more_often_costs_as_many_times(params):
    one = by_name(params)
    ensemble = {"reward.variants": ["ensemble"], "reward.judge": "ensemble", "reward.ensemble.members": 3}
    three = by_name(changed(params, ensemble))
    assert three["score_pairs"].flops == pytest.approx(3 * one["score_pairs"].flops)
    assert three["train_reward@ensemble"].flops > 3 * one["train_reward@standard"].flops
    twice = by_name(changed(params, {"reward.epochs": 2, "generate.max_prompts": 25}))
    assert twice["train_reward@standard"].flops == pytest.approx(2 * one["train_reward@standard"].flops)
    assert twice["generate@dpo"].flops == pytest.approx(one["generate@dpo"].flops / 2, rel=0.05)
    evaluated = by_name(changed(params, {"policy.evaluations": 5}))
    assert evaluated["train_policy@dpo"].flops > one["train_policy@dpo"].flops
    assert evaluated["train_reward@standard"].flops == one["train_reward@standard"].flops
    stressed = by_name(changed(params, {"stress.variants": ["standard"]}))["stress_reward@standard"]
    work = scoring_load(LENGTHS, 512, params.scoring, 200 * (1 + len(PERTURBATIONS)))
    assert stressed.flops == pytest.approx(forward(SHAPE, work))
    none = by_name(changed(params, {"generate.kl_prompts": 0}))["measure_kl@dpo"]
    assert none.flops == 0 and none.seconds == ASSUMED.start_seconds


def test_processes_share_the_time_and_the_tokens_and_each_notes_the_rows(params):
    one, two = by_name(params), by_name(changed(params, {"launch.processes": 2}))
    for name in ("frozen_layers", "generate@dpo"):
        assert two[name].seconds - 10 == pytest.approx((one[name].seconds - 10) / 2), name
    # Of 600 and of 300 pairs, and 200 of validation; 25 tokens of prompt, 65 and 20 of responses in the mean.
    mean = 110
    for name, pairs in (("train_reward@standard", 800), ("train_policy@dpo", 500)):
        assert one[name].host["rows"] == pytest.approx((TOKEN_MAPPED * mean + PAIR_NOTES) * pairs)
        assert two[name].host["rows"] == pytest.approx((TOKEN_MAPPED * mean + 2 * PAIR_NOTES) * pairs)
    name = "train_reward@standard"
    assert two[name].memory["activations"] == pytest.approx(one[name].memory["activations"] / 2)


def test_a_policy_is_scored_with_while_the_trained_one_is_there(params):
    wide = changed(params, {"scoring.max_padded": 32768, "scoring.max_batch": 512, "policy.gradient_checkpointing": True})
    many = replace(LENGTHS, **{name: np.tile(getattr(LENGTHS, name), 200) for name in ("prompts", "chosen", "rejected")})
    found = by_name(wide, lengths=many)
    memory, scoring = found["train_policy@dpo"].memory, found["reference_logps"].memory
    assert memory["logits"] == pytest.approx(scoring["logits"]) and memory["other models"] == 2 * SHAPE.parameters
    assert memory["weights"] > 2 * SHAPE.parameters and memory["optimiser"] == 8 * SHAPE.lora(16, 10)
    misfit = first_misfit(wide, SHAPE, many, replace(CARD, memory=just_under(found["train_policy@dpo"])), ASSUMED)
    assert misfit.stage == "train_policy@dpo" and misfit.remedies == {"scoring.max_padded": 16384}
    # By themselves, whichever of the two takes most.
    activations = [
        training_activations(changed(wide, {"policy.gradient_checkpointing": on}), SHAPE, many, CARD, ASSUMED, "policy")
        for on in (False, True)
    ]
    assert activations[0] > 2 * activations[1] > 0


def fits_after(params, misfit, shape, lengths, device) -> bool:
    again = changed(params, misfit.remedies)
    later = first_misfit(again, shape, lengths, device, ASSUMED)
    order = [stage.name for stage in stages(params, shape, lengths, device, ASSUMED)]
    return later is None or order.index(later.stage) > order.index(misfit.stage)


def just_under(stage, part=0.99) -> float:
    return total(stage.memory) * part


def test_what_fits_is_not_named(params):
    assert first_misfit(params, SHAPE, LENGTHS, CARD, ASSUMED) is None


def test_training_that_does_not_fit_names_checkpointing_then_the_batch(params):
    small = changed(params, {"reward.batch_size": 4, "policy.batch_size": 2})
    device = replace(CARD, memory=just_under(by_name(small)["train_reward@standard"]))
    misfit = first_misfit(small, SHAPE, LENGTHS, device, ASSUMED)
    assert (misfit.stage, misfit.what, misfit.largest) == ("train_reward@standard", "device memory", "activations")
    assert misfit.remedies == {"reward.gradient_checkpointing": True} and fits_after(small, misfit, SHAPE, LENGTHS, device)
    already = changed(small, {"reward.gradient_checkpointing": True})
    device = replace(CARD, memory=just_under(by_name(already)["train_reward@standard"]))
    misfit = first_misfit(already, SHAPE, LENGTHS, device, ASSUMED)
    # The same step of as many pairs.
    assert misfit.remedies == {"reward.batch_size": 2, "reward.gradient_accumulation_steps": 2}
    assert fits_after(already, misfit, SHAPE, LENGTHS, device)


def test_logits_that_do_not_fit_name_the_padded_tokens(params):
    wide = changed(params, {"scoring.max_padded": 32768, "scoring.max_batch": 512})
    many = replace(LENGTHS, **{name: np.tile(getattr(LENGTHS, name), 200) for name in ("prompts", "chosen", "rejected")})
    device = replace(CARD, memory=just_under(by_name(wide, lengths=many)["reference_logps"]))
    misfit = first_misfit(wide, SHAPE, many, device, ASSUMED)
    assert (misfit.stage, misfit.largest) == ("reference_logps", "logits")
    assert misfit.remedies == {"scoring.max_padded": 16384} and fits_after(wide, misfit, SHAPE, many, device)


def test_a_cache_that_does_not_fit_names_the_batch_of_answers(params):
    many = changed(params, {"generate.batch_size": 512, "generate.max_prompts": None, "generate.max_new_tokens": 4096})
    lengths = replace(LENGTHS, answered=512)
    device = replace(CARD, memory=just_under(by_name(many, lengths=lengths)["generate_base"]))
    misfit = first_misfit(many, SHAPE, lengths, device, ASSUMED)
    assert (misfit.stage, misfit.largest, misfit.remedies) == ("generate_base", "cache", {"generate.batch_size": 256})


def test_a_batch_of_answers_need_not_halve_exactly(params):
    many = changed(params, {"generate.batch_size": 100, "generate.max_prompts": None, "generate.max_new_tokens": 4096})
    lengths = replace(LENGTHS, answered=100)
    small = by_name(changed(many, {"generate.batch_size": 12}), lengths=lengths)["generate_base"]
    misfit = first_misfit(many, SHAPE, lengths, replace(CARD, memory=1.001 * total(small.memory) / ASSUMED.usable), ASSUMED)
    assert (misfit.stage, misfit.remedies) == ("generate_base", {"generate.batch_size": 12})


def test_weights_that_do_not_fit_name_sharding_or_lora(params):
    full = changed(params, {"reward.lora_rank": 0, "reward.gradient_checkpointing": True, "reward.batch_size": 8})
    card = replace(CARD, memory=80 * GIB)
    assert all("launch.accelerate_config" not in change for change in candidates(full, "train_reward@standard", "", "optimiser"))
    alone = first_misfit(full, LARGE, LENGTHS, card, ASSUMED)
    assert alone.stage == "train_reward@standard" and alone.largest == "optimiser"
    assert alone.remedies == {"reward.lora_rank": 16} and fits_after(full, alone, LARGE, LENGTHS, card)
    four = changed(full, {"launch.processes": 4, "policy.batch_size": 8})
    several = first_misfit(four, LARGE, LENGTHS, card, ASSUMED)
    assert several.remedies == {"launch.accelerate_config": "params/fsdp.yaml"}
    assert fits_after(four, several, LARGE, LENGTHS, card)
    none = first_misfit(full, LARGE, LENGTHS, replace(CARD, memory=GIB), ASSUMED)
    assert none.remedies == {}


def test_rows_and_features_that_do_not_fit_name_fewer_pairs(params):
    everything = changed(params, {"data.max_train": None, "policy.max_train": None})
    million = replace(LENGTHS, pairs={"train": 1_000_000, "val": 400})
    found = by_name(everything, lengths=million)["frozen_layers"]
    device = replace(CARD, host=total(found.host) * 0.9)
    misfit = first_misfit(everything, SHAPE, million, device, ASSUMED)
    assert (misfit.stage, misfit.what) == ("frozen_layers", "memory of the machine")
    assert list(misfit.remedies) == ["data.max_train"] and fits_after(everything, misfit, SHAPE, million, device)


def test_a_full_disk_names_what_fills_it(params):
    found = by_name(params)
    before = total(found["prepare_model"].disk) + total(found["frozen_layers"].disk)
    misfit = first_misfit(params, SHAPE, LENGTHS, replace(CARD, disk=before * 0.99), ASSUMED)
    assert (misfit.stage, misfit.what) == ("frozen_layers", "disk")
    # Of the two the weights are larger; without the states all has room.
    store = changed(params, {"data.max_train": 4000, "data.max_val": 400})
    found = by_name(store)
    before = total(found["prepare_model"].disk) + total(found["frozen_layers"].disk)
    misfit = first_misfit(store, SHAPE, LENGTHS, replace(CARD, disk=before * 0.99), ASSUMED)
    assert misfit.largest == "frozen store" and misfit.remedies == {"frozen.max_gib": 0}


@settings(max_examples=20)
@given(st.integers(1, 400), st.integers(1, 3))
def test_more_pairs_never_take_less(pairs, times):
    params = alternative_params("small")
    few, more = (changed(params, {"data.max_train": n, "policy.max_train": n}) for n in (pairs, times * pairs))
    one, other = by_name(few), by_name(more)
    for name in one:
        assert one[name].seconds <= other[name].seconds and total(one[name].disk) <= total(other[name].disk), name
