"""Every method's loss against its paper's equation, worked out by hand, so that a release of TRL that changes one is noticed."""

import math
from pathlib import Path
from types import SimpleNamespace
from typing import get_args

import pytest
import torch
import trl
from datasets import Dataset
from transformers import GenerationConfig

from preference_study.errors import BadInput
from preference_study.methods import METHODS
from preference_study.models.language_models import batch_rewards, load_causal, new_reward_model, pair_logps, rewards
from preference_study.models.tokens import TokenPair
from preference_study.params import MethodName
from preference_study.training import trainers
from preference_study.training.run import EpochSampler, arguments, lora
from preference_study.training.trainers import (
    RLOO,
    EpochPrompts,
    SimPO,
    eos_token_ids,
    judging,
    pair_rows,
    prompt_rows,
    unpaired_rows,
)
from tests.workspace import alternative_params

PAIRS = [
    TokenPair([2, 10, 11, 1, 3], [20, 21, 1], [30, 1], truncated=False),
    TokenPair([2, 12, 1, 3], [22, 1], [31, 32, 33, 1], truncated=False),
]
POLICY = alternative_params("tiny").policy.model_copy(update={"batch_size": 2, "max_length": 64})


def with_own(name: str, **own) -> object:
    return POLICY.model_copy(update={name: POLICY.own(name).model_copy(update=own)})


def trainer(name: str, rows: list[dict], folder: Path, model, tokenizer, policy=POLICY, **extra):
    method = METHODS[name]
    recipe = method.recipe()
    settings = {"output_dir": str(folder), "use_cpu": True, "bf16": False, "report_to": "none", "remove_unused_columns": False}
    settings |= {"per_device_train_batch_size": 2, "train_sampling_strategy": "random"} | method.configure(
        policy, policy.own(name), 1
    )
    return recipe.trainer(
        model=model, args=recipe.config(**settings), train_dataset=Dataset.from_list(rows), processing_class=tokenizer, **extra
    )


def loss(trainer, rows: list[dict]) -> float:
    trainer.model.train()
    return trainer.compute_loss(trainer.model, trainer.data_collator(rows)).item()


def logps(model, pairs=PAIRS) -> list[tuple[float, float]]:
    rows = pair_logps(model, pairs, max_batch=4, max_padded=99, description="t")
    return [(row["chosen_logp"], row["rejected_logp"]) for row in rows]


def log_sigmoid(x: float) -> float:
    return -math.log1p(math.exp(-x))


@pytest.fixture
def model(model_folder):
    return load_causal(model_folder, dtype=torch.float32)


REFERENCE = [(-18.0, -9.0), (-14.0, -25.0)]


def given(rows: list[dict]) -> list[dict]:
    return [row | {"ref_chosen_logps": c, "ref_rejected_logps": r} for row, (c, r) in zip(rows, REFERENCE, strict=True)]


def test_every_method_of_the_parameters_is_there():
    assert set(get_args(MethodName)) == set(METHODS)


def test_dpo(model, tokenizer, tmp_path):
    """-log sigmoid(beta [(log pi - log ref)(chosen) - (log pi - log ref)(rejected)]) (Rafailov et al. 2023, eq. 7)."""
    by_hand = 0.0
    for (chosen, rejected), (ref_chosen, ref_rejected) in zip(logps(model), REFERENCE, strict=True):
        by_hand -= log_sigmoid(0.3 * ((chosen - ref_chosen) - (rejected - ref_rejected))) / 2
    policy, rows = with_own("dpo", beta=0.3), given(list(pair_rows(PAIRS, POLICY, 1)))
    made = trainer("dpo", rows, tmp_path, model, tokenizer, policy)
    assert loss(made, rows) == pytest.approx(by_hand, abs=1e-3)
    assert abs(by_hand - math.log(2)) > 0.05
    # The rows are trained on as they are given, with the reference's numbers.
    assert list(made.train_dataset) == rows


def test_dpo_with_an_sft_term(model, tokenizer, tmp_path):
    """DPO's loss and alpha times -log pi(chosen), over all tokens of the batch's chosen responses (Pang et al. 2024, eq. 1)."""
    rows, found = given(list(pair_rows(PAIRS, POLICY, 1))), {}
    for weight in (0.0, 0.75):
        made = trainer("dpo", rows, tmp_path, model, tokenizer, with_own("dpo", beta=0.3, sft_weight=weight))
        found[weight] = loss(made, rows)
    nll = -sum(chosen for chosen, _ in logps(model)) / sum(len(pair.chosen_ids) for pair in PAIRS)
    assert found[0.75] == pytest.approx(found[0.0] + 0.75 * nll, abs=1e-3) and nll > 1


def test_ipo(model, tokenizer, tmp_path):
    """(h - 1 / (2 tau))^2 (Azar et al. 2023, eq. 17), h per token of each response, as TRL's authors settled with the paper's."""
    by_hand = 0.0
    for pair, (chosen, rejected), (ref_chosen, ref_rejected) in zip(PAIRS, logps(model), REFERENCE, strict=True):
        h = (chosen - ref_chosen) / len(pair.chosen_ids) - (rejected - ref_rejected) / len(pair.rejected_ids)
        by_hand += (h - 1 / (2 * 0.3)) ** 2 / 2
    policy, rows = with_own("ipo", beta=0.3), given(list(pair_rows(PAIRS, POLICY, 1)))
    assert loss(trainer("ipo", rows, tmp_path, model, tokenizer, policy), rows) == pytest.approx(by_hand, abs=1e-3)


@pytest.mark.parametrize(("mismatched", "z0"), [([2.5, -1.0, 3.0, 3.5], 2.0), ([-2.5, 1.0, -3.0, -3.5], 0.0)])
def test_kto(model, tokenizer, tmp_path, mismatched, z0):
    """w_D (1 - sigmoid(beta (r - z0))) for acceptable ones, w_U (1 - sigmoid(beta (z0 - r))) for others, r = log pi - log ref,
    z0 the batch's mean of r over prompts with another row's response, at least 0 (Ethayarajh et al. 2024, eq. 8)."""
    rows = list(unpaired_rows(PAIRS, POLICY, 1))
    own = [TokenPair(row["prompt_ids"], row["completion_ids"], row["KL_completion_ids"], truncated=False) for row in rows]
    # A reference that differs from the policy by so much that no sigmoid is near 0 or 1: weights, beta and z0 can all be seen.
    margins = [1.5, -0.5, 2.75, 0.25]
    by_hand = 0.0
    for row, margin in zip(rows, margins, strict=True):
        weight, sign = (1.5, 1) if row["label"] else (0.5, -1)
        by_hand += weight * (1 - 1 / (1 + math.exp(-0.3 * sign * (margin - z0)))) / 4
    policy = with_own("kto", beta=0.3, desirable_weight=1.5, undesirable_weight=0.5)
    made = trainer("kto", rows, tmp_path, model, tokenizer, policy)
    batch = [
        row | {"ref_logps": logp - margin, "ref_KL_logps": kl_logp - kl_margin}
        for row, (logp, kl_logp), margin, kl_margin in zip(rows, logps(model, own), margins, mismatched, strict=True)
    ]
    assert loss(made, batch) == pytest.approx(by_hand, abs=1e-3)
    # What TRL computes by itself as the reference is the model before training.
    assert made.train_dataset["ref_logps"] == pytest.approx([logp for logp, _ in logps(model, own)], abs=1e-3)
    assert made.train_dataset["ref_KL_logps"] == pytest.approx([kl for _, kl in logps(model, own)], abs=1e-3)


def test_kto_rows_are_single_responses_with_another_ones_for_z0():
    pairs = [TokenPair([2, i], [100 + i] * (i + 1), [200 + i], truncated=False) for i in range(6)]
    rows = list(unpaired_rows(pairs, POLICY, 1))
    assert sorted(row["completion_ids"] for row in rows) == sorted(
        [p.chosen_ids for p in pairs] + [p.rejected_ids for p in pairs]
    )
    assert all(row["label"] == (row["completion_ids"][0] < 200) for row in rows)
    for start in range(0, 12, 4):
        batch = rows[start : start + 4]
        assert all(row["KL_completion_ids"] != row["completion_ids"] for row in batch)
        assert sorted(r["KL_completion_ids"] for r in batch) == sorted(r["completion_ids"] for r in batch)


def others_by_hand(batch: list[dict]) -> list[list[int]]:
    """The responses of a batch as many rows before as give the fewest rows one to their own prompt, one row at least."""
    shifted = [batch[-n:] + batch[:-n] for n in range(1, len(batch))]
    own = [sum(row["prompt_ids"] == other["prompt_ids"] for row, other in zip(batch, each, strict=True)) for each in shifted]
    return [row["completion_ids"] for row in shifted[own.index(min(own))]]


def test_z0_is_of_responses_to_other_prompts_where_there_are_some():
    """A prompt of two pairs, whose four responses can come one after another."""
    pairs = [TokenPair([2, i // 2], [100 + i] * (i + 1), [200 + i] * (i + 1), truncated=False) for i in range(6)]
    policy = POLICY.model_copy(update={"batch_size": 6})  # all twelve responses, four to each prompt
    rows = list(unpaired_rows(pairs, policy, 1))
    prompt_of = {row["completion_ids"][0]: row["prompt_ids"] for row in rows}
    same = sum(prompt_of[row["KL_completion_ids"][0]] == row["prompt_ids"] for row in rows)
    before = sum(prompt_of[rows[i - 1]["completion_ids"][0]] == row["prompt_ids"] for i, row in enumerate(rows))
    assert same == 0 < before and others_by_hand(rows) == [row["KL_completion_ids"] for row in rows]


def test_kto_rows_in_the_order_of_training_with_a_row_before_for_z0():
    pairs = [
        TokenPair([2] * (i + 1), [100 + i] * (7 * i % 5 + 1), [200 + i] * (3 * i % 4 + 1), truncated=False) for i in range(9)
    ]
    responses = [(p.prompt_ids, ids, label) for p in pairs for ids, label in ((p.chosen_ids, True), (p.rejected_ids, False))]
    lengths = [len(prompt) + len(ids) for prompt, ids, _ in responses]
    orders = []
    for seed in (1, 2):
        rows = list(unpaired_rows(pairs, POLICY, seed))
        order = list(EpochSampler(4, lengths, seed))  # a batch of 2 pairs is 4 responses
        orders.append(order)
        assert [(row["prompt_ids"], row["completion_ids"], row["label"]) for row in rows] == [responses[i] for i in order]
        assert [row["tokens"] for row in rows] == [lengths[i] for i in order]
        for batch in (rows[start : start + 4] for start in range(0, 18, 4)):
            assert others_by_hand(batch) == [row["KL_completion_ids"] for row in batch]
    assert orders[0] != orders[1]


def test_pairs_as_rows():
    pair = TokenPair([1, 2, 3], [4, 5], [6, 7, 8, 9, 10], truncated=True)
    wanted = {"prompt_ids": [1, 2, 3], "chosen_ids": [4, 5], "rejected_ids": [6, 7, 8, 9, 10], "length": 8, "tokens": 13}
    assert list(pair_rows([pair], POLICY, 1)) == [wanted]
    turned = TokenPair([1, 2, 3], pair.rejected_ids, pair.chosen_ids, truncated=False)
    assert [(row["length"], row["tokens"]) for row in list(pair_rows([turned, pair], POLICY, 1))] == [(8, 13)] * 2


def test_prompts_as_rows_are_each_there_once_in_order():
    pairs = [TokenPair(prompt, [9, i], [8, i], truncated=False) for i, prompt in enumerate(([5, 6], [7], [5, 6], [6, 5], [7]))]
    assert list(prompt_rows(pairs, POLICY, 1)) == [{"prompt": [5, 6]}, {"prompt": [7]}, {"prompt": [6, 5]}]


def test_a_pair_as_trls_older_trainers_take_it():
    row = {"prompt_ids": [1, 2, 3], "chosen_ids": [4, 5], "rejected_ids": [6]}
    assert SimPO.tokenize_row(None, row) == {
        "prompt_input_ids": [1, 2, 3],
        "prompt_attention_mask": [1, 1, 1],
        "chosen_input_ids": [1, 2, 3, 4, 5],
        "chosen_attention_mask": [1, 1, 1, 1, 1],
        "chosen_labels": [-100, -100, -100, 4, 5],
        "rejected_input_ids": [1, 2, 3, 6],
        "rejected_attention_mask": [1, 1, 1, 1],
        "rejected_labels": [-100, -100, -100, 6],
    }


def configuration(name: str, policy=POLICY) -> dict:
    """TRL's configuration of a method as a stage makes it, on one process."""
    method = METHODS[name]
    own = policy.own(name)
    settings = arguments(policy, own.learning_rate, 7, Path("somewhere")) | method.configure(policy, own, 1)
    return method.recipe().config(**settings).to_dict()


LOSS_TYPES = {"dpo": ["sigmoid"], "ipo": ["ipo"], "kto": "kto", "simpo": "simpo"}


@pytest.mark.parametrize(
    ("name", "own", "wanted"),
    [
        *[(name, {"beta": 0.77}, {"beta": 0.77}) for name in METHODS],
        ("dpo", {"sft_weight": 0.5}, {"loss_type": ["sigmoid", "sft"], "loss_weights": [1.0, 0.5]}),
        ("simpo", {"gamma": 0.9}, {"simpo_gamma": 0.9}),
        ("kto", {"desirable_weight": 1.7}, {"desirable_weight": 1.7}),
        ("kto", {"undesirable_weight": 0.6}, {"undesirable_weight": 0.6}),
        ("rloo", {"steps": 17}, {"max_steps": 17}),
        ("rloo", {"temperature": 0.6}, {"temperature": 0.6}),
        ("rloo", {"max_new_tokens": 11}, {"max_completion_length": 11}),
        ("rloo", {"clip_range": 0.3}, {"epsilon": 0.3}),
        ("rloo", {"missing_eos_penalty": 3.0}, {}),  # the reward function has it
        ("rloo", {"generations": 4}, {"num_generations": 4, "per_device_train_batch_size": 8, "generation_batch_size": 8}),
        ("rloo", {"batch_size": 3}, {"per_device_train_batch_size": 6, "generation_batch_size": 6}),
        ("rloo", {"steps_per_generation": 3}, {"steps_per_generation": 3, "generation_batch_size": 12}),
    ],
)
def test_each_parameter_of_a_method_reaches_its_trainer_and_nothing_else(name, own, wanted):
    policy = with_own("rloo", batch_size=2, generations=2, steps_per_generation=1)
    changed = policy.model_copy(update={name: policy.own(name).model_copy(update=own)})
    before, after = configuration(name, policy), configuration(name, changed)
    assert {key: after[key] for key in after if after[key] != before[key]} == wanted


@pytest.mark.parametrize("name", METHODS)
def test_what_a_methods_trainer_is_told_besides(name):
    policy = POLICY.model_copy(update={"batch_size": 6, "max_length": 48, "evaluations": 4})
    found = configuration(name, policy)
    assert found["learning_rate"] == policy.own(name).learning_rate and found["disable_dropout"] is True
    if name in LOSS_TYPES:
        assert found["loss_type"] == LOSS_TYPES[name]
    if name in ("dpo", "ipo", "kto"):
        assert found["max_length"] is None and found["precompute_ref_log_probs"]
    if name in ("simpo", "orpo"):
        assert found["max_length"] == 48
    if name == "simpo":
        assert found["cpo_alpha"] == 0.0
    if name == "kto":  # responses, two to a pair, in the order of the rows
        assert found["train_sampling_strategy"] == "sequential"
        assert (found["per_device_train_batch_size"], found["per_device_eval_batch_size"]) == (12, 12)
    elif name != "rloo":
        assert (found["per_device_train_batch_size"], found["per_device_eval_batch_size"]) == (6, 6)
    cadence = ("no", None) if name == "rloo" else ("steps", 0.25)
    assert (found["eval_strategy"], found["eval_steps"]) == cadence


def test_processes_share_a_methods_batch():
    policy = with_own("rloo", batch_size=6, generations=4).model_copy(update={"batch_size": 9})
    kto = METHODS["kto"].configure(policy, policy.kto, 3)
    assert (kto["per_device_train_batch_size"], kto["per_device_eval_batch_size"]) == (6, 6)
    assert METHODS["rloo"].configure(policy, policy.rloo, 3)["per_device_train_batch_size"] == 8


def test_responses_are_sampled_for_whole_steps():
    policy = with_own("rloo", steps_per_generation=2).model_copy(update={"gradient_accumulation_steps": 3})
    assert METHODS["rloo"].configure(policy, policy.rloo, 1)["steps_per_generation"] == 6


@pytest.mark.parametrize(("every", "fits"), [(2, True), (3, True), (4, False), (6, True), (7, False)])
def test_checkpoints_lie_between_generations(every, fits):
    policy = with_own("rloo", steps_per_generation=every).model_copy(update={"save_steps": 6})
    if fits:
        METHODS["rloo"].check(policy, policy.rloo)
    else:
        with pytest.raises(ValueError, match=rf"save_steps 6 is no multiple of rloo.steps_per_generation {every}:"):
            METHODS["rloo"].check(policy, policy.rloo)


@pytest.fixture
def rloo(model, tokenizer, tmp_path):
    """A trainer of seven prompts, two responses to each, two prompts to a step, whose responses are sampled for three steps."""
    policy = with_own("rloo", temperature=0.6, max_new_tokens=5, generations=2, batch_size=2, steps_per_generation=3)
    rows = [{"prompt": [2, 10 + i, 3]} for i in range(7)]
    adapter = lora(model, 4, None, task_type="CAUSAL_LM")
    return trainer("rloo", rows, tmp_path, model, tokenizer, policy, reward_funcs=lambda **_: None, peft_config=adapter)


def test_rloo_samples_as_its_parameters_say(rloo, monkeypatch):
    asked = []

    def generate(self, generation_config: GenerationConfig, input_ids: torch.Tensor, **_) -> torch.Tensor:
        asked.append((generation_config, input_ids.tolist()))
        return torch.cat([input_ids, torch.tensor([[20, 1], [21, 22]])], dim=1)

    monkeypatch.setattr(type(rloo.model), "generate", generate)
    found = rloo._generate_single_turn([[2, 10, 3], [2, 11, 3]], None, {})
    [(config, prompts)] = asked
    assert prompts == [[2, 10, 3], [2, 11, 3]] and found == [[20, 1], [21, 22]]
    assert (config.do_sample, config.temperature, config.max_new_tokens) == (True, 0.6, 5)
    assert (config.top_p, config.top_k, config.min_p, config.repetition_penalty) == (1.0, 0, None, 1.0)  # all off
    assert rloo.temperature == 0.6 and rloo._tokenize_prompts([[2, 10, 3]]) == ([[2, 10, 3]], None, {})


def test_rloo_samples_with_the_rows_of_a_batch_as_one_matrix(rloo, monkeypatch):
    """Rows that lie apart are multiplied one by one, with a copy of a head that is not trained for each."""
    head, seen = rloo.model.get_output_embeddings(), []
    forward = head.forward
    monkeypatch.setattr(head, "forward", lambda hidden: seen.append(hidden.is_contiguous()) or forward(hidden))
    rloo._generate_single_turn([[2, 10, 3], [2, 11, 3]], None, {})
    assert len(seen) >= 1 and all(seen)
    assert not head._forward_pre_hooks


def test_rloo_trains_on_the_batches_whose_probabilities_it_took_at_sampling(model, tokenizer, tmp_path, monkeypatch):
    """In bfloat16 a response's log-probability differs with those beside it, and its ratio to another's is clipped by chance."""
    policy = with_own("rloo", max_new_tokens=5, generations=2, batch_size=2, steps_per_generation=3, steps=6)
    rows = [{"prompt": [2, 10 + i, 3]} for i in range(7)]
    adapter, given = (
        lora(model, 4, None, task_type="CAUSAL_LM"),
        dict(reward_funcs=lambda completion_ids, **_: [*map(len, completion_ids)]),
    )
    made = trainer("rloo", rows, tmp_path, model, tokenizer, policy, peft_config=adapter, **given)
    taken, trained = [], []
    take = type(made)._get_per_token_logps_and_entropies

    def watch(self, model, input_ids, *arguments, **named):
        batches = input_ids.split(4) if not torch.is_grad_enabled() else (input_ids,)
        (trained if torch.is_grad_enabled() else taken).extend(batch.tolist() for batch in batches)
        return take(self, model, input_ids, *arguments, **named)

    monkeypatch.setattr(type(made), "_get_per_token_logps_and_entropies", watch)
    made.train()
    # The policy's at sampling and the reference's, of two generations of three steps.
    assert len(trained) == 6 and len(taken) == 12
    assert trained == taken[:3] + taken[6:9] and taken[:3] == taken[3:6]


def test_the_order_of_prompts_depends_on_seed_and_epoch_alone(rloo):
    def order(seed: int, epoch: int) -> list[int]:
        rloo.args.seed = seed
        sampler = rloo._get_train_sampler()
        assert isinstance(sampler, EpochPrompts)
        sampler.set_epoch(epoch)
        torch.manual_seed(epoch)
        found = list(sampler)
        assert list(sampler) == found  # whatever was drawn before
        return found

    first = order(1, 0)
    # Six of the seven prompts make a generation of three steps; each twice, and all of it again for each of the steps.
    assert len(first) == 36 and first[::2] == first[1::2] and first[:12] == first[12:24] == first[24:]
    assert len(set(first)) == 6
    assert order(1, 0) == first
    orders = [tuple(order(seed, epoch)) for seed, epoch in ((1, 0), (1, 1), (1, 2), (2, 0), (2, 1))]
    assert len(set(orders)) == 5


def test_too_few_prompts_for_a_generation_are_refused(rloo):
    rloo.train_dataset = rloo.train_dataset.select(range(6))
    assert len(list(rloo._get_train_sampler())) == 36
    rloo.train_dataset = rloo.train_dataset.select(range(5))
    with pytest.raises(BadInput, match=r"responses to 6 different prompts at a time .* the training pairs have 5: lower one"):
        rloo.train()


def test_training_goes_by_another_order_in_each_epoch(model, tokenizer, tmp_path):
    """The samplers are told the epoch: were they not, all epochs would have the first one's order."""
    rows = list(pair_rows([TokenPair([2, 10 + i, 3], [20, 1], [30, 31, 1], truncated=False) for i in range(8)], POLICY, 1))
    made = trainer("simpo", rows, tmp_path, model, tokenizer)
    made.args.num_train_epochs, made.args.save_strategy, seen = 3, "no", []
    collate = made.data_collator
    made.data_collator = lambda batch: seen.extend(row["prompt_ids"][1] for row in batch) or collate(batch)
    made.train()
    epochs = [tuple(seen[start : start + 8]) for start in (0, 8, 16)]
    assert len(seen) == 24 and all(sorted(epoch) == list(range(10, 18)) for epoch in epochs) and len(set(epochs)) == 3
    for number, epoch in enumerate(epochs):
        sampler = EpochSampler(2, [6] * 8, made.args.seed)
        sampler.set_epoch(number)
        assert epoch == tuple(10 + i for i in sampler)


@pytest.mark.parametrize(("said", "stops"), [("probability tensor contains either `inf`", True), ("out of memory", False)])
def test_probabilities_that_are_no_numbers_stop_a_run_and_other_errors_stay(rloo, monkeypatch, said, stops):
    def failing(*_):
        raise RuntimeError(said)

    monkeypatch.setattr(trl.RLOOTrainer, "_generate_single_turn", failing)
    rloo.state.global_step, rloo.args.learning_rate = 13, 0.125
    with pytest.raises(
        SystemExit if stops else RuntimeError, match=r"step 13: .*rate 0\.125; lower" if stops else "out of memory"
    ):
        rloo._generate_single_turn([[2, 3]], None, {})


def test_simpo(model, tokenizer, tmp_path):
    """-log sigmoid(beta / |chosen| log pi(chosen) - beta / |rejected| log pi(rejected) - gamma) (Meng et al. 2024, eq. 6)."""
    by_hand = 0.0
    for pair, (chosen, rejected) in zip(PAIRS, logps(model), strict=True):
        margin = 2.5 * (chosen / len(pair.chosen_ids) - rejected / len(pair.rejected_ids))
        by_hand -= log_sigmoid(margin - 0.7) / 2
    policy, rows = with_own("simpo", beta=2.5, gamma=0.7), list(pair_rows(PAIRS, POLICY, 1))
    made = trainer("simpo", rows, tmp_path, model, tokenizer, policy)
    assert loss(made, list(made.train_dataset)) == pytest.approx(by_hand, abs=1e-3)


def test_orpo(model, tokenizer, tmp_path):
    """Negative log-likelihood of the chosen, minus lambda log sigmoid(log odds(chosen) / odds(rejected)), odds = p / (1 - p),
    log p a response's mean token log-probability (Hong et al. 2024, eq. 4 to 7). TRL's likelihood is of prompt and response."""
    odds_part, negative, tokens = 0.0, 0.0, 0
    for pair, (chosen, rejected) in zip(PAIRS, logps(model), strict=True):
        p, q = (math.exp(logp / len(ids)) for logp, ids in ((chosen, pair.chosen_ids), (rejected, pair.rejected_ids)))
        odds_part -= log_sigmoid(math.log(p / (1 - p)) - math.log(q / (1 - q))) / 2
        ids = torch.tensor([pair.prompt_ids + pair.chosen_ids])
        with torch.no_grad():
            log_p = model(input_ids=ids).logits[0, :-1].log_softmax(-1)
        negative -= log_p.gather(1, ids[0, 1:, None]).sum().item()
        tokens += ids.shape[1] - 1
    policy, rows = with_own("orpo", beta=0.4), list(pair_rows(PAIRS, POLICY, 1))
    made = trainer("orpo", rows, tmp_path, model, tokenizer, policy)
    assert loss(made, list(made.train_dataset)) == pytest.approx(negative / tokens + 0.4 * odds_part, abs=1e-3)


def test_rloo(model, tokenizer, tmp_path, monkeypatch):
    """The gradient is that of -mean(A log pi(response)), A = (r - beta KL) minus its mean over the prompt's other responses
    (Ahmadian et al. 2024, eq. 9); KL is log pi - log ref summed over the response."""
    responses = [[20, 21, 1], [30, 1], [22, 23, 24, 25], [31, 1]]
    scores = [1.0, -0.5, 2.0, 0.25]
    prompts = [PAIRS[0].prompt_ids] * 2 + [PAIRS[1].prompt_ids] * 2
    monkeypatch.setattr(RLOO, "_generate_single_turn", lambda self, *_: responses)
    policy = with_own("rloo", beta=0.5, generations=2, batch_size=2)
    made = trainer(
        "rloo", list(prompt_rows(PAIRS, POLICY, 1)), tmp_path, model, tokenizer, policy,
        reward_funcs=lambda **_: scores, peft_config=lora(model, 4, None, task_type="CAUSAL_LM"),
    )  # fmt: skip
    model = made.model
    torch.manual_seed(0)
    with torch.no_grad():  # a policy that has left its reference
        for name, weights in model.named_parameters():
            if "lora_B" in name:
                weights.normal_(std=0.2)
    model.train()
    inputs = made._generate_and_score_completions([{"prompt": ids} for ids in prompts])
    made.current_gradient_accumulation_steps = 1
    made.compute_loss(model, inputs).backward()
    found = {name: weights.grad.clone() for name, weights in model.named_parameters() if weights.grad is not None}
    model.zero_grad()

    def log_pi() -> torch.Tensor:
        sums = []
        for prompt, response in zip(prompts, responses, strict=True):
            ids = torch.tensor([prompt + response])
            log_p = model(input_ids=ids).logits[0, :-1].log_softmax(-1).gather(1, ids[0, 1:, None])[:, 0]
            sums.append(log_p[len(prompt) - 1 :].sum())
        return torch.stack(sums)

    ours = log_pi()
    with model.disable_adapter(), torch.no_grad():
        kl = ours.detach() - log_pi()
    value = torch.tensor(scores) - 0.5 * kl
    advantage = value - value[[1, 0, 3, 2]]
    assert inputs["advantages"].tolist() == pytest.approx(advantage.tolist(), abs=1e-3) and kl.abs().max() > 0.1
    (-(advantage * ours).mean()).backward()
    for name, gradient in found.items():
        assert torch.allclose(gradient, model.get_parameter(name).grad, atol=1e-4), name
    assert max(gradient.abs().max() for gradient in found.values()) > 1e-3


def test_the_judge_scores_sampled_responses_as_ended(model_folder):
    reward_model = new_reward_model(model_folder, seed=1, dtype=torch.float32).eval()
    score = judging(reward_model, ends=[1], missing_eos_penalty=0.0, max_batch=64, max_padded=8192)
    found = score(prompts=[[2, 10, 3], [2, 3]], completion_ids=[[20, 1], [21, 22]], trainer_state=None)
    wanted = rewards(reward_model, [[2, 10, 3, 20, 1], [2, 3, 21, 22, 1]], max_batch=1, max_padded=9)
    assert found == pytest.approx(wanted, abs=1e-5)
    score = judging(reward_model, ends=[1], missing_eos_penalty=2.0, max_batch=64, max_padded=8192)
    found = score(prompts=[[2, 10, 3], [2, 3]], completion_ids=[[20, 1], [21, 22]], trainer_state=None)
    assert found == pytest.approx([wanted[0], wanted[1] - 2.0], abs=1e-5)
    # The end of the turn is the one given, and the last token counts: an empty response, or one that goes on, is cut off.
    other = judging(reward_model, ends=[7], missing_eos_penalty=2.0, max_batch=64, max_padded=8192)
    found = other(prompts=[[2, 3]] * 4, completion_ids=[[20, 1], [7], [], [7, 20]])
    wanted = rewards(reward_model, [[2, 3, 20, 1, 7], [2, 3, 7], [2, 3, 7], [2, 3, 7, 20, 7]], max_batch=1, max_padded=9)
    assert found == pytest.approx([wanted[0] - 2.0, wanted[1], wanted[2] - 2.0, wanted[3] - 2.0], abs=1e-5)


def test_the_judge_of_samples_keeps_to_what_a_pass_may_take(model_folder, monkeypatch):
    reward_model = new_reward_model(model_folder, seed=1, dtype=torch.float32).eval()
    prompts, answers = [[2] * n for n in (2, 20, 3, 9, 20)], [[20, 1], [21], [22, 23, 24], [], [25, 1]]
    whole = judging(reward_model, ends=[1], missing_eos_penalty=1.5, max_batch=64, max_padded=8192)(prompts, answers)
    passes = []
    kept = lambda model, texts: passes.append(list(map(len, texts))) or batch_rewards(model, texts)  # noqa: E731
    monkeypatch.setattr(trainers, "batch_rewards", kept)
    found = judging(reward_model, ends=[1], missing_eos_penalty=1.5, max_batch=3, max_padded=44)(prompts, answers)
    assert passes == [[22, 22], [10, 7, 4]] and found == pytest.approx(whole, abs=1e-5) and len(set(found)) == 5


def test_an_response_that_ends_with_another_of_the_models_ends_is_not_cut_off(model_folder, rloo):
    """Many models name several: sampling stops at each, and so no response that stopped at one may be penalised."""
    reward_model = new_reward_model(model_folder, seed=1, dtype=torch.float32).eval()
    score = judging(reward_model, ends=[1, 8], missing_eos_penalty=2.0, max_batch=64, max_padded=8192)
    wanted = rewards(reward_model, [[2, 3, 20, 1], [2, 3, 1], [2, 3, 8, 20, 1]], max_batch=1, max_padded=9)
    found = score(prompts=[[2, 3]] * 3, completion_ids=[[20, 8], [8], [8, 20]])
    assert found == pytest.approx([wanted[0], wanted[1], wanted[2] - 2.0], abs=1e-5)
    for named, ends in ((None, [1]), (1, [1]), (8, [1, 8]), ([8, 1, 9], [1, 8, 9])):
        assert eos_token_ids(SimpleNamespace(generation_config=SimpleNamespace(eos_token_id=named)), 1) == ends
    assert set(eos_token_ids(rloo.model, 1)) == set(rloo.eos_token_ids)  # those at which TRL stops


@pytest.mark.parametrize("name", ["simpo", "orpo"])
def test_no_reference_is_loaded_where_none_is_needed(name, model, tokenizer, tmp_path):
    assert not METHODS[name].needs_reference and not METHODS[name].given_reference
    made = trainer(name, list(pair_rows(PAIRS, POLICY, 1)), tmp_path, model, tokenizer)
    assert getattr(made, "ref_model", None) is None
    calls = []
    model.register_forward_hook(lambda *_: calls.append(1))
    loss(made, list(made.train_dataset))
    assert calls == [1]  # one pass of one model, over both sides at once


def test_the_vocabulary_is_worked_through_for_responses_alone(model, tokenizer, tmp_path, monkeypatch):
    rows = given(list(pair_rows(PAIRS, POLICY, 1)))
    made = trainer("dpo", rows, tmp_path, model, tokenizer)
    positions = []

    class Watched(trl.trainer.utils._ChunkedLogProbFunction):
        @classmethod
        def apply(cls, hidden, *rest):
            positions.append(len(hidden))
            return super().apply(hidden, *rest)

    monkeypatch.setattr(trl.trainer.utils, "_ChunkedLogProbFunction", Watched)
    loss(made, rows)
    assert positions == [sum(len(p.chosen_ids) + len(p.rejected_ids) for p in PAIRS)]


def test_the_online_methods_are_those_that_need_a_reward_model():
    assert {name for name, method in METHODS.items() if method.needs_reward_model} == {"rloo"}
