"""Every method's loss against its paper's equation, worked out by hand, so that a release of TRL that changes one is noticed."""

import math
from pathlib import Path
from typing import get_args

import pytest
import torch
import trl
from datasets import Dataset

from preference_study.methods import METHODS
from preference_study.models.language_models import TokenPair, load_causal, new_reward_model, pair_logps, rewards
from preference_study.params import MethodName
from preference_study.training.run import lora
from preference_study.training.trainers import RLOO, judging, pair_rows, prompt_rows, unpaired_rows
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
    policy, rows = with_own("dpo", beta=0.3), given(pair_rows(PAIRS, POLICY, 1))
    assert loss(trainer("dpo", rows, tmp_path, model, tokenizer, policy), rows) == pytest.approx(by_hand, abs=1e-3)
    assert abs(by_hand - math.log(2)) > 0.05


def test_ipo(model, tokenizer, tmp_path):
    """(h - 1 / (2 tau))^2 (Azar et al. 2023, eq. 17), h per token of each response, as TRL's authors settled with the paper's."""
    by_hand = 0.0
    for pair, (chosen, rejected), (ref_chosen, ref_rejected) in zip(PAIRS, logps(model), REFERENCE, strict=True):
        h = (chosen - ref_chosen) / len(pair.chosen_ids) - (rejected - ref_rejected) / len(pair.rejected_ids)
        by_hand += (h - 1 / (2 * 0.3)) ** 2 / 2
    policy, rows = with_own("ipo", beta=0.3), given(pair_rows(PAIRS, POLICY, 1))
    assert loss(trainer("ipo", rows, tmp_path, model, tokenizer, policy), rows) == pytest.approx(by_hand, abs=1e-3)


def test_kto(model, tokenizer, tmp_path):
    """w_D (1 - sigmoid(beta (r - z0))) for acceptable ones, w_U (1 - sigmoid(beta (z0 - r))) for others, r = log pi - log ref,
    z0 the batch's mean of r over prompts with another row's response, at least 0 (Ethayarajh et al. 2024, eq. 8)."""
    rows = unpaired_rows(PAIRS, POLICY, 1)
    own = [TokenPair(row["prompt_ids"], row["completion_ids"], row["KL_completion_ids"], truncated=False) for row in rows]
    # Log-probabilities of a reference that thinks less of the mismatched responses, so that z0 is above 0.
    references = [(-15.0 - i, -40.0 + i) for i in range(4)]
    r, r_mismatched = zip(
        *[(logp - ref, kl - kl_ref) for (logp, kl), (ref, kl_ref) in zip(logps(model, own), references, strict=True)], strict=True
    )
    z0 = sum(r_mismatched) / 4
    by_hand = 0.0
    for row, margin in zip(rows, r, strict=True):
        weight, sign = (1.5, 1) if row["label"] else (0.5, -1)
        by_hand += weight * (1 - 1 / (1 + math.exp(-0.3 * sign * (margin - z0)))) / 4
    assert z0 > 1
    policy = with_own("kto", beta=0.3, desirable_weight=1.5, undesirable_weight=0.5)
    made = trainer("kto", rows, tmp_path, model, tokenizer, policy)
    batch = [row | {"ref_logps": ref, "ref_KL_logps": kl} for row, (ref, kl) in zip(rows, references, strict=True)]
    assert loss(made, batch) == pytest.approx(by_hand, abs=1e-3)
    # What TRL computes by itself as the reference is the model before training.
    assert made.train_dataset["ref_logps"] == pytest.approx([logp for logp, _ in logps(model, own)], abs=1e-3)


def test_kto_rows_are_single_responses_with_another_ones_for_z0():
    pairs = [TokenPair([2, i], [100 + i] * (i + 1), [200 + i], truncated=False) for i in range(6)]
    rows = unpaired_rows(pairs, POLICY, 1)
    assert sorted(row["completion_ids"] for row in rows) == sorted(
        [p.chosen_ids for p in pairs] + [p.rejected_ids for p in pairs]
    )
    assert all(row["label"] == (row["completion_ids"][0] < 200) for row in rows)
    for start in range(0, 12, 4):
        batch = rows[start : start + 4]
        assert all(row["KL_completion_ids"] != row["completion_ids"] for row in batch)
        assert sorted(r["KL_completion_ids"] for r in batch) == sorted(r["completion_ids"] for r in batch)


def test_simpo(model, tokenizer, tmp_path):
    """-log sigmoid(beta / |chosen| log pi(chosen) - beta / |rejected| log pi(rejected) - gamma) (Meng et al. 2024, eq. 6)."""
    by_hand = 0.0
    for pair, (chosen, rejected) in zip(PAIRS, logps(model), strict=True):
        margin = 2.5 * (chosen / len(pair.chosen_ids) - rejected / len(pair.rejected_ids))
        by_hand -= log_sigmoid(margin - 0.7) / 2
    policy, rows = with_own("simpo", beta=2.5, gamma=0.7), pair_rows(PAIRS, POLICY, 1)
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
    policy, rows = with_own("orpo", beta=0.4), pair_rows(PAIRS, POLICY, 1)
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
        "rloo", prompt_rows(PAIRS, POLICY, 1), tmp_path, model, tokenizer, policy,
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
    score = judging(reward_model, eos_token_id=1, missing_eos_penalty=0.0)
    found = score(prompts=[[2, 10, 3], [2, 3]], completion_ids=[[20, 1], [21, 22]], trainer_state=None)
    wanted = rewards(reward_model, [[2, 10, 3, 20, 1], [2, 3, 21, 22, 1]], max_batch=1, max_padded=9)
    assert found == pytest.approx(wanted, abs=1e-5)
    score = judging(reward_model, eos_token_id=1, missing_eos_penalty=2.0)
    found = score(prompts=[[2, 10, 3], [2, 3]], completion_ids=[[20, 1], [21, 22]], trainer_state=None)
    assert found == pytest.approx([wanted[0], wanted[1] - 2.0], abs=1e-5)


@pytest.mark.parametrize("name", ["simpo", "orpo"])
def test_no_reference_is_loaded_where_none_is_needed(name, model, tokenizer, tmp_path):
    assert not METHODS[name].needs_reference and not METHODS[name].given_reference
    made = trainer(name, pair_rows(PAIRS, POLICY, 1), tmp_path, model, tokenizer)
    assert getattr(made, "ref_model", None) is None
    calls = []
    model.register_forward_hook(lambda *_: calls.append(1))
    loss(made, list(made.train_dataset))
    assert calls == [1]  # one pass of one model, over both sides at once


def test_the_vocabulary_is_worked_through_for_responses_alone(model, tokenizer, tmp_path, monkeypatch):
    rows = given(pair_rows(PAIRS, POLICY, 1))
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
