"""Hidden states that are kept stand for the layers that they come out of: the same outputs, losses and gradients."""

import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from peft import get_peft_model
from torch.nn.functional import logsigmoid
from transformers import PreTrainedModel
from trl.trainer.utils import disable_dropout_in_model

import stages.prepare_model
from preference_study.artifacts import read_json
from preference_study.errors import BadInput, BadModel
from preference_study.models import frozen
from preference_study.models.frozen import (
    ABOUT,
    STATES,
    HiddenStates,
    keep_hidden_states,
    kept_in,
    last_features,
    skip_frozen_layers,
    use_kept,
)
from preference_study.models.language_models import load_causal, load_reward, new_reward_model, padded, rewards
from preference_study.models.layers import layer_list
from preference_study.training.run import lora
from tests.models.architectures import ARCHITECTURES, write_architecture
from tests.workspace import change, tiny_params

SEQUENCES = [[30 + i * n % 90 for i in range(n)] for n in (5, 9, 12, 17)]
LAYERS, TOP = 4, 2
KEPT = {"max_gib": 1.0, "spread": False}
LIMITS = {"max_batch": 3, "max_padded": 40, "description": "t"}


def made(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A prepared model of this architecture with four layers, in models/base; the folder is entered."""
    tiny_params(folder)
    monkeypatch.chdir(folder)
    own = ARCHITECTURES[name]
    layers = "n_layer" if "n_layer" in own.sizes else "num_hidden_layers"
    monkeypatch.setitem(ARCHITECTURES, name, replace(own, sizes=own.sizes | {layers: LAYERS}))
    write_architecture(name, folder / "made")
    change(folder, model={"name": "made", "watched": "made"})
    stages.prepare_model.main()


def keep(depth: int = LAYERS - TOP, dtype=torch.float32) -> HiddenStates:
    """The hidden states of the sequences, each computed alone."""
    model = load_causal("models/base", dtype=dtype)
    with keep_hidden_states(model, SEQUENCES, depth, "kept", **KEPT):
        last_features(model, SEQUENCES, max_batch=1, max_padded=99, description="t")
    return kept_in("kept")


@pytest.fixture
def llama(tmp_path, monkeypatch) -> None:
    made("llama", tmp_path, monkeypatch)


def trained_model(policy: bool = False, checkpointing: bool = False) -> PreTrainedModel:
    """A reward model, or a policy, with LoRA on its top layers, drawn at random throughout."""
    model = load_causal("models/base", dtype=torch.float32) if policy else new_reward_model("models/base", 1, torch.float32)
    disable_dropout_in_model(model)  # as TRL's trainers do
    task = {"task_type": "CAUSAL_LM"} if policy else {"task_type": "SEQ_CLS", "modules_to_save": ["score"]}
    torch.manual_seed(3)
    adapted = get_peft_model(model, lora(model, 4, TOP, **task))
    with torch.no_grad():
        for name, weight in adapted.named_parameters():
            if "lora_B" in name:
                weight.normal_(std=0.1)
    if checkpointing:
        adapted.gradient_checkpointing_enable()
        adapted.enable_input_require_grads()
    return adapted.train()


def spoil(model: PreTrainedModel) -> None:
    """Make every weight of the frozen layers NaN: where they are run, nothing is left."""
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    for layer in base.get_submodule(layer_list(base))[: LAYERS - TOP]:
        for weight in layer.parameters():
            weight.data.fill_(torch.nan)


def loss_and_gradients(model: PreTrainedModel, sequences: list[list[int]]) -> tuple[float, dict[str, torch.Tensor]]:
    """Bradley-Terry's loss on rewards, or on a policy's log-probabilities: the first half of the sequences are chosen."""
    ids, mask = padded(sequences, model.config.pad_token_id, model.device)
    found = model(input_ids=ids, attention_mask=mask, use_cache=False).logits
    if found.dim() == 3:
        logps = found[:, :-1].log_softmax(-1).gather(2, ids[:, 1:, None]).squeeze(-1)
        found = (logps * mask[:, 1:]).sum(dim=1, keepdim=True)
    found = found.squeeze(-1)
    loss = -logsigmoid(0.1 * (found[: len(found) // 2] - found[len(found) // 2 :])).mean()
    loss.backward()
    return loss.item(), {name: weight.grad for name, weight in model.named_parameters() if weight.requires_grad}


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("policy", [False, True])
@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_losses_and_gradients_are_those_without_the_store(tmp_path, monkeypatch, name, policy, checkpointing):
    made(name, tmp_path, monkeypatch)
    kept = keep()
    wanted, gradients = loss_and_gradients(trained_model(policy, checkpointing), SEQUENCES)
    model = trained_model(policy, checkpointing)
    assert skip_frozen_layers(model.get_base_model(), kept)
    spoil(model)
    found, from_kept = loss_and_gradients(model, SEQUENCES)
    assert found == pytest.approx(wanted, abs=1e-6)
    assert from_kept.keys() == gradients.keys() and all(gradient.abs().max() > 1e-5 for gradient in gradients.values())
    for weight, gradient in gradients.items():
        torch.testing.assert_close(from_kept[weight], gradient, atol=1e-6, rtol=1e-4, msg=weight)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_architecture_scores_from_kept_states_and_a_head_reads_the_features(tmp_path, monkeypatch, name):
    made(name, tmp_path, monkeypatch)
    kept = keep()
    end = load_causal("models/base").generation_config.eos_token_id
    ended = [[*ids, end[0] if isinstance(end, list) else end] for ids in SEQUENCES]
    model = new_reward_model("models/base", 1, torch.float32).eval()
    wanted = rewards(model, SEQUENCES, **LIMITS)
    features = last_features(load_causal("models/base", dtype=torch.float32), ended + ended[:1], **LIMITS)
    read = features @ model.score.weight.detach().numpy()[0]
    assert read == pytest.approx([*rewards(model, ended, **LIMITS), read[0]], abs=1e-5) and np.ptp(read) > 1e-2
    assert skip_frozen_layers(model, kept)
    spoil(model)
    assert rewards(model, SEQUENCES, **LIMITS) == pytest.approx(wanted, abs=1e-5)


def test_in_bfloat16_nothing_but_rounding_differs(llama):
    kept = keep(dtype=torch.bfloat16)
    model = new_reward_model("models/base", 1).eval()
    assert kept.states.dtype == torch.bfloat16
    wanted = rewards(model, SEQUENCES, **LIMITS)
    assert skip_frozen_layers(model, kept)
    assert rewards(model, SEQUENCES, **LIMITS) == pytest.approx(wanted, abs=0.05)


def test_a_batch_with_an_unknown_sequence_runs_as_before(llama):
    kept = keep()
    model = new_reward_model("models/base", 1, torch.float32).eval()
    unknown = [SEQUENCES[0], SEQUENCES[1][:-1]]
    wanted = rewards(model, unknown, **LIMITS)
    assert skip_frozen_layers(model, kept)
    assert rewards(model, unknown, **LIMITS) == wanted
    spoil(model)
    assert np.isnan(rewards(model, unknown, **LIMITS)).all()
    assert np.isfinite(rewards(model, SEQUENCES, **LIMITS)).all()  # and the next one starts from the states again


def test_generation_runs_as_before(llama):
    kept = keep()
    model = load_causal("models/base", dtype=torch.float32)
    ids = torch.tensor([SEQUENCES[2]])
    options = {"max_new_tokens": 6, "do_sample": False, "eos_token_id": None}
    wanted = model.generate(ids, attention_mask=torch.ones_like(ids), **options)
    assert skip_frozen_layers(model, kept)
    assert torch.equal(model.generate(ids, attention_mask=torch.ones_like(ids), **options), wanted)


def test_states_of_another_model_are_not_used(llama, capsys):
    kept = keep()
    kept.states.neg_()
    model = new_reward_model("models/base", 1, torch.float32).eval()
    wanted = rewards(model, SEQUENCES, **LIMITS)
    use_kept(model, kept)
    assert "LlamaForSequenceClassification gives other outputs from kept hidden states" in capsys.readouterr().out
    assert rewards(model, SEQUENCES, **LIMITS) == wanted
    assert not any("forward" in vars(layer) for layer in model.model.layers)
    use_kept(model, None)
    assert rewards(model, SEQUENCES, **LIMITS) == wanted


def test_a_model_of_another_precision_runs_all_of_its_layers(llama):
    kept = keep(dtype=torch.bfloat16)
    model = new_reward_model("models/base", 1, torch.float32).eval()
    wanted = rewards(model, SEQUENCES, **LIMITS)
    use_kept(model, kept)
    assert rewards(model, SEQUENCES, **LIMITS) == wanted and not any("forward" in vars(layer) for layer in model.model.layers)
    small = new_reward_model("models/base", 1, torch.bfloat16)
    use_kept(small, kept)
    assert "forward" in vars(small.model.layers[0])


def test_what_is_kept_is_what_the_next_layer_is_given(llama):
    model = load_causal("models/base", dtype=torch.float32)
    kept = keep(depth=3)
    assert kept.depth == 3 and len(kept.rows) == len(SEQUENCES) and kept.shortest == SEQUENCES[0]
    for ids in SEQUENCES:
        inside = model.model(input_ids=torch.tensor([ids]), output_hidden_states=True, use_cache=False).hidden_states[3]
        torch.testing.assert_close(kept.of(torch.tensor([ids]), None), inside)


def test_a_batch_by_hand():
    states = torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    kept = HiddenStates([[7, 8], [7]], 1, states)
    ids = torch.tensor([[7, 9, 9], [7, 8, 9]])
    found = kept.of(ids, torch.tensor([[1, 0, 0], [1, 1, 0]]))
    assert found.tolist() == [[[5, 6], [0, 0], [0, 0]], [[1, 2], [3, 4], [0, 0]]]
    assert kept.of(ids, torch.tensor([[1, 0, 0], [1, 1, 1]])) is None
    assert kept.of(ids, None) is None
    assert kept.of(torch.tensor([[7, 8]]), None).tolist() == [[[1, 2], [3, 4]]]
    # Padded on the left it is another sequence, whatever its mask counts.
    assert kept.of(torch.tensor([[9, 7]]), torch.tensor([[0, 1]])) is None


@pytest.mark.parametrize(
    ("depth", "max_gib", "spread", "free", "why"),
    [
        (0, 1.0, False, 2**40, "every layer is trained"),
        (2, 1.0, True, 2**40, "spread over several places"),
        (2, 0.0, False, 2**40, r"0\.0 GiB, and frozen\.max_gib is 0"),
        # 43 tokens of 32 float32
        (2, 43 * 128 / 2**30 * 0.999, False, 2**40, r"frozen\.max_gib"),
        (2, 1.0, False, 2 * 43 * 128 - 1, r"twice, and 0\.0 GiB of the disk are free"),
        (2, 43 * 128 / 2**30, False, 2 * 43 * 128, None),
    ],
)
def test_they_are_left_out_with_a_word_beforehand(llama, monkeypatch, capsys, depth, max_gib, spread, free, why):
    monkeypatch.setattr(frozen.shutil, "disk_usage", lambda folder: SimpleNamespace(free=free))
    model = load_causal("models/base", dtype=torch.float32)
    with keep_hidden_states(model, [*SEQUENCES, SEQUENCES[0]], depth, "kept", max_gib=max_gib, spread=spread):
        said = capsys.readouterr().out
        last_features(model, SEQUENCES, **LIMITS)
    if why is None:
        assert "keeping hidden states of 43 tokens" in said and kept_in("kept") is not None
        assert Path("kept", STATES).stat().st_size == 43 * 128
    else:
        with pytest.raises(AssertionError, match=why):
            raise AssertionError(said)
        assert read_json(Path("kept", ABOUT))["left_out"] in said and kept_in("kept") is None
        assert [path.name for path in Path("kept").iterdir()] == [ABOUT]


def test_a_killed_pass_leaves_no_states_and_a_damaged_folder_is_named(llama):
    def killed() -> None:
        with keep_hidden_states(load_causal("models/base"), SEQUENCES, 2, "data/frozen/reward", **KEPT):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        killed()
    shutil.copy(Path(__file__).resolve().parents[2] / "dvc.yaml", "dvc.yaml")
    with pytest.raises(BadInput, match=r"data/frozen/reward/about\.json is not there; stage frozen_layers writes it"):
        kept_in("data/frozen/reward")
    keep()
    with Path("kept", STATES).open("r+b") as file:
        file.truncate(100)
    with pytest.raises(BadModel, match="kept is not whole"):
        kept_in("kept")


def test_a_merged_adapter_scores_from_kept_states(llama):
    kept = keep()
    trained_model().save_pretrained("trained")
    model = load_reward("models/base", "trained", torch.float32)
    wanted = rewards(model, SEQUENCES, **LIMITS)
    use_kept(model, kept)
    spoil(model)
    assert rewards(model, SEQUENCES, **LIMITS) == pytest.approx(wanted, abs=1e-5)
