"""Loading models, and computing rewards and log-probabilities with them."""

import errno
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import torch
from peft import PeftModel, get_peft_model_state_dict
from peft.tuners.lora.layer import LoraLayer, ParamWrapper
from safetensors import SafetensorError, safe_open
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging

from preference_study.artifacts import made_by, read_json
from preference_study.errors import BadModel
from preference_study.models.batching import map_batches
from preference_study.models.checks import HEAD, check_files, check_loaded
from preference_study.models.packed import batches
from preference_study.models.token_pairs import BothSides, distinct, some
from preference_study.models.tokens import TokenPair

ADAPTER = "adapter_config.json"
KEPT = 0.95  # of what an adapter learned, the least that merging it may leave
T = TypeVar("T")
# A model's: None for `compute_dtype()`.
Dtype = torch.dtype | str | None


# MKL, which computes these functions in PyTorch's CPU builds, chooses a function's kernel in its first call. Made by several
# threads at once, that call can take an imprecise one in one of them (pytorch/pytorch#188792), and half of a process's first
# batch comes out a little different from run to run. A single number is one thread's work.
for _name in ("cos", "sin", "exp", "log", "log1p", "expm1", "sqrt", "tanh", "erf"):
    for _dtype in (torch.float32, torch.float64):
        getattr(torch, _name)(torch.ones(1, dtype=_dtype))


def device() -> torch.device:
    """The accelerator of this process where there is one, else the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda", torch.cuda.current_device())
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def compute_dtype() -> torch.dtype:
    """What models compute in here: bfloat16 where the machine multiplies it at speed, else float32.

    A CPU without instructions for it (most laptops' are) takes many times as long in bfloat16 as in float32:
    `benchmarks/precision.py`.
    """
    kind = device().type
    if kind == "cpu":
        able = torch.cpu.get_capabilities()
        fast = any(able.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16"))  # Intel's and AMD's; Intel's; ARM's
    else:
        fast = kind != "cuda" or torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.bfloat16 if fast else torch.float32


def loading() -> dict[str, Any]:
    """How every model is loaded: safetensors alone, no code of the model's own, and attention that suits the machine.

    On a CPU plain matrix products beat PyTorch's fused attention in training on short texts, and lose to it somewhere from 256
    tokens on: `benchmarks/attention.py`.
    """
    # Weights of another shape come as the model's own random ones, and are named: `check_loaded` refuses them.
    safe = {"use_safetensors": True, "trust_remote_code": False, "ignore_mismatched_sizes": True}
    return safe | ({"attn_implementation": "eager"} if device().type == "cpu" else {})


def positions_of(config: PretrainedConfig) -> int | None:
    """How many tokens a model can take at most; None where nothing limits them, as with BLOOM's positions (ALiBi)."""
    return getattr(config.get_text_config(), "max_position_embeddings", None)


def for_generating(model: PreTrainedModel) -> PreTrainedModel:
    """The model with PyTorch's fused attention, where its architecture can have it (Gemma 2 cannot).

    For one new token at a time that is faster than plain attention, on a CPU too: `benchmarks/attention.py`.
    """
    if model._supports_sdpa:
        model.set_attn_implementation("sdpa")
    return model


@contextmanager
def _reading(folder: str | Path, what: str = "cannot be loaded") -> Iterator[None]:
    """Make what transformers and PEFT raise of a folder's files one message; the machine's own errors are left as they are."""
    try:
        yield
    except (OSError, KeyError, TypeError, ValueError, SafetensorError) as error:
        if isinstance(error, OSError) and error.errno not in (None, errno.ENOENT):
            raise
        raise BadModel(f"{folder} {what} ({error}); {made_by(str(folder))}") from None


def load_tokenizer(folder: str | Path) -> PreTrainedTokenizerBase:
    """The tokenizer of a model folder.

    Raises:
        BadModel: it is not there, or not whole.
    """
    with _reading(folder, "holds no tokenizer that can be loaded"):
        return AutoTokenizer.from_pretrained(folder, trust_remote_code=False)


def _load(kind: type, folder: str | Path, dtype: Dtype, new: tuple[str, ...] = (), **options: Any) -> PreTrainedModel:
    """A model by one of transformers' classes, whose every weight, but those that begin with `new`, comes from the folder."""
    path = Path(folder)
    if path.is_dir():
        indices = path.glob("*.safetensors.index.json")
        shards = {index.name: read_json(index).get("weight_map", {}).values() for index in indices}
        check_files(folder, {file.name for file in path.iterdir()}, shards)
    options |= {"dtype": compute_dtype() if dtype is None else dtype}
    with _reading(folder):
        model, info = kind.from_pretrained(folder, output_loading_info=True, **options, **loading())
    check_loaded(folder, info, new, unused=bool(new))
    return model


def load_causal(
    base: str | Path, adapter: str | Path | None = None, *, revision: str | None = None, dtype: Dtype = None
) -> PreTrainedModel:
    """A language model for use: `base` itself, with the LoRA adapter in `adapter` merged into it, or the full model there.

    An adapter that stays apart takes more than half of the time of generation on a CPU. Where merging rounds away what it
    learned (`rounded_away`), that is said: in float32 the policy would be held against a base that rounds otherwise.

    Raises:
        BadModel: weights are missing, of another shape, or others than the model's.
    """
    folder = base if adapter is None or (Path(adapter) / ADAPTER).exists() else adapter
    model = _load(AutoModelForCausalLM, folder, dtype, revision=revision)
    if adapter is not None and folder is base:
        model = with_adapter(model, adapter)
        rounded_away(model, adapter, "what is studied and exported is that: train it longer, or at a higher rate")
        model = model.merge_and_unload(safe_merge=True)
    return model.to(device()).eval()


def rounded_away(model: PeftModel, folder: str | Path, so: str) -> bool:
    """Whether merging an adapter into weights of the model's precision loses more of it than `KEPT` allows; it is said.

    In bfloat16 a weight moves in steps of 1/256 to 1/128 of itself: one that training changed by less than half of a step is
    where it was, and a policy that was trained for a few steps or at a low rate is base again. Training does not see that, for
    its adapter stands beside the weights.
    """
    kept = kept_by_merging(model)
    if kept >= KEPT:
        return False
    precision = str(model.dtype).removeprefix("torch.")
    print(f"{folder}: merged into {precision} weights, {kept:.0%} of what the adapter learned is left; {so}")
    return True


@torch.no_grad()
def kept_by_merging(model: PeftModel) -> float:
    """What is left of a LoRA adapter's update where it is merged into weights of the model's precision.

    Returns:
        The projection of the weights' change on the update, over all layers: 1 where nothing is lost, 0 where no weight moves.
    """
    kept = whole = 0.0
    for layer in model.modules():
        if isinstance(layer, LoraLayer) and layer.lora_A:
            weight = layer.get_param() if isinstance(layer, ParamWrapper) else layer.get_base_layer().weight
            update = layer.get_delta_weight(model.active_adapter)
            change = (weight + update.to(weight.dtype)).float() - weight.float()
            kept += (change * update.float()).sum().item()
            whole += update.float().square().sum().item()
    return kept / whole if whole else 1.0


def with_adapter(model: PreTrainedModel | PeftModel, folder: str | Path, name: str = "default") -> PeftModel:
    """A model with a LoRA adapter of this name beside it, and beside those it has.

    Raises:
        BadModel: the adapter is another model's, or the folder does not hold its every weight; PEFT would leave it as it was
            drawn.
    """
    problem = "holds no adapter of the model"
    try:
        with _reading(folder, problem):
            if isinstance(model, PeftModel):
                model.load_adapter(folder, adapter_name=name)
            else:
                model = PeftModel.from_pretrained(model, folder, adapter_name=name)
    except RuntimeError as error:  # PyTorch's, of weights of another shape; but too little memory is one as well
        if "size mismatch" not in str(error):
            raise
        raise BadModel(f"{folder} {problem} ({error}); {made_by(str(folder))}") from None
    needed, held = set(get_peft_model_state_dict(model, adapter_name=name)), _names(Path(folder).glob("*.safetensors"))
    check_loaded(folder, {"missing_keys": needed - held, "unexpected_keys": held - needed, "mismatched_keys": []})
    return model


def _names(files: Iterable[Path]) -> set[str]:
    """The names of the weights in safetensors files."""
    names = set()
    for path in files:
        with _reading(path), safe_open(path, framework="pt") as file:
            names.update(file.keys())
    return names


def new_reward_model(base: str | Path, seed: int, dtype: Dtype = None) -> PreTrainedModel:
    """The base model with an untrained head of one output, drawn from `seed`, kept in float32.

    Raises:
        BadModel: weights of the base model are missing or of another shape.
    """
    torch.manual_seed(seed)
    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()  # it would report that the head is new, as it is meant to be
    try:
        model = _load(AutoModelForSequenceClassification, base, dtype, new=(f"{HEAD}.",), num_labels=1)
    finally:
        logging.set_verbosity(verbosity)
    return _exact_head(model)


def load_reward(base: str | Path, folder: str | Path, dtype: Dtype = None) -> PreTrainedModel:
    """A trained reward model for use: a full model in `folder`, or its adapter, merged into `base`, and its head.

    Args:
        dtype: None takes `compute_dtype`, and float32 where that would lose the adapter.

    Raises:
        BadModel: the folder's weights hold no head, so that one would be made up at random, or lack others.
    """
    folder = Path(folder)
    files = list(folder.glob("*.safetensors"))
    if not files:
        raise BadModel(f"{folder}: no safetensors weights; train the reward model again")
    names = _names(files)
    if not any(f"{HEAD}." in name for name in names):
        raise BadModel(f"{folder}: the weights hold no reward head (score.weight); scoring with a random one would be nonsense")
    if (folder / ADAPTER).exists():
        model = with_adapter(new_reward_model(base, 0, dtype), folder)
        if dtype is None and rounded_away(model, folder, "it computes in float32, which takes longer"):
            return load_reward(base, folder, torch.float32)
        model = model.merge_and_unload(safe_merge=True)
    else:
        model = _exact_head(_load(AutoModelForSequenceClassification, folder, dtype, num_labels=1))
    return model.to(device()).eval()


def _exact_head(model: PreTrainedModel) -> PreTrainedModel:
    """Compute the head in float32: bfloat16 has three decimal digits, and rewards would tie."""
    model.score.float()
    # FSDP gathers weights in the dtype that training computes in, the head's too; autocast does as much without it.
    model.score.register_forward_pre_hook(lambda head, inputs: (inputs[0].to(head.weight.dtype),))
    return model


def padded(sequences: list[list[int]], padding: int, where: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    tensors = [torch.tensor(ids) for ids in sequences]
    ids = torch.nn.utils.rnn.pad_sequence(tensors, batch_first=True, padding_value=padding)
    lengths = torch.tensor([len(t) for t in tensors])
    return ids.to(where), (torch.arange(ids.shape[1])[None, :] < lengths[:, None]).long().to(where)


def rewards(
    model: PreTrainedModel, sequences: Sequence[list[int]], *, max_batch: int, max_padded: int, description: str = "scoring"
) -> list[float]:
    """A reward model's score of each sequence of tokens (prompt and response), batched by length, in the order given.

    Equal sequences are scored once: in two batches their rewards would differ in the last digits, and be no tie.
    """
    places, which = distinct(sequences)

    def run(number: int, indices: list[int]) -> list[float]:
        return batch_rewards(model, some(sequences, places[indices]))

    scores = map_batches(run, batches(model, sequences, max_batch, max_padded, places), description=description)
    return [scores[i] for i in which]


def batch_rewards(model: PreTrainedModel, sequences: list[list[int]]) -> list[float]:
    """The same in one forward pass, on this process alone."""
    ids, mask = padded(sequences, model.config.pad_token_id, model.device)
    with torch.inference_mode():
        return model(input_ids=ids, attention_mask=mask, use_cache=False).logits.squeeze(-1).float().tolist()


def pair_rewards(
    model: PreTrainedModel, pairs: Sequence[TokenPair], *, max_batch: int, max_padded: int, description: str
) -> list[tuple[float, float]]:
    """A reward model's (chosen, rejected) rewards of each pair, in the order given."""
    scores = rewards(model, BothSides(pairs), max_batch=max_batch, max_padded=max_padded, description=description)
    return list(zip(scores[::2], scores[1::2], strict=True))


def token_logps(
    model: PreTrainedModel,
    prompts: list[list[int]],
    responses: list[list[int]],
    *,
    max_batch: int,
    max_padded: int,
    description: str,
) -> list[torch.Tensor]:
    """log pi(token | prompt, earlier tokens) of each token of each response, batched by length.

    Returns:
        Per response, in the order given, a tensor [tokens], in nats, on the CPU.
    """
    sequences = [prompt + response for prompt, response in zip(prompts, responses, strict=True)]
    limits = {"max_batch": max_batch, "max_padded": max_padded, "description": description}
    # Copies: a part by itself would take its whole batch along to another process.
    return _logps(model, sequences, [len(prompt) for prompt in prompts], torch.clone, **limits)


def _logps(
    model: PreTrainedModel,
    sequences: Sequence[list[int]],
    prompts: Sequence[int],
    made: Callable[[torch.Tensor], T],
    *,
    max_batch: int,
    max_padded: int,
    description: str,
) -> list[T]:
    """What is made of the log-probabilities of each sequence's tokens but for the prompt's, of which there are so many."""

    def run(number: int, indices: list[int]) -> list[T]:
        ids, mask = padded(some(sequences, indices), model.config.pad_token_id, model.device)
        first = torch.tensor([prompts[i] for i in indices], device=ids.device)[:, None]
        position = torch.arange(1, ids.shape[1], device=ids.device)[None, :]
        wanted = (position >= first) & mask[:, 1:].bool()
        # Logits of the responses' tokens alone: the vocabulary makes them the largest tensor here.
        head = model.get_output_embeddings()
        hook = head.register_forward_pre_hook(lambda head, inputs: (inputs[0][:, :-1][wanted],))
        try:
            with torch.inference_mode():
                logits = model(input_ids=ids, attention_mask=mask, use_cache=False).logits
                logps = -torch.nn.functional.cross_entropy(logits.float(), ids[:, 1:][wanted], reduction="none")
        finally:
            hook.remove()
        return list(map(made, logps.cpu().split(wanted.sum(dim=1).tolist())))

    return map_batches(run, batches(model, sequences, max_batch, max_padded), description=description)


def pair_logps(
    model: PreTrainedModel, pairs: Sequence[TokenPair], *, max_batch: int, max_padded: int, description: str
) -> list[dict[str, float]]:
    """log pi(response | prompt), summed over the response's tokens, of both responses of each pair.

    Returns:
        Per pair, in the order given, {chosen_logp, rejected_logp, chosen_tokens, rejected_tokens}: in nats, and over how many
        tokens, EOS among them.
    """
    sequences = BothSides(pairs)
    limits = {"max_batch": max_batch, "max_padded": max_padded, "description": description}
    found = _logps(model, sequences, sequences.prompts, lambda logps: (logps.clone().sum().item(), len(logps)), **limits)
    return [
        {"chosen_logp": chosen, "rejected_logp": rejected, "chosen_tokens": of_chosen, "rejected_tokens": of_rejected}
        for (chosen, of_chosen), (rejected, of_rejected) in zip(found[::2], found[1::2], strict=True)
    ]
