"""What a model must be before anything is trained on it; each function returns nothing or raises BadModel with the remedy."""

from collections.abc import Collection, Iterable, Mapping
from typing import Any

import torch
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from preference_study.errors import BadModel

NAMED = 4  # of a long list, how many a message names
PICKLED = (".bin", ".pt", ".pth", ".ckpt", ".h5", ".msgpack")


def some(names: Iterable[Any]) -> str:
    """A sorted list for a message, and where it is long its beginning and how many more there are."""
    names = sorted(map(str, names))
    more = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {more} more" if more > 0 else "")


def check_files(where: str, names: Collection[str], shards: Mapping[str, Collection[str]]) -> None:
    """Refuse a folder whose weights are not there in full as safetensors.

    Args:
        where: what the messages call the folder.
        names: of its files.
        shards: by index file of sharded weights, the files it names.
    """
    if "adapter_config.json" in names:
        raise BadModel(f"{where}: this is an adapter; merge it into its base model, save the whole, and name that folder")
    for index, wanted in shards.items():
        if missing := set(wanted) - set(names):
            raise BadModel(f"{where}: {index} names weights that are not there: {some(missing)}; download the model again")
    if any(name.endswith(".safetensors") for name in names):
        return
    if pickled := [name for name in names if name.endswith(PICKLED)]:
        raise BadModel(
            f"{where}: the weights are not safetensors but {some(pickled)}, and pickled weights can run code; where you "
            "trust them, load the model with transformers and save it by save_pretrained, which writes safetensors"
        )
    raise BadModel(f"{where}: there are no safetensors weights; a model folder holds config.json, tokenizer and *.safetensors")


def check_config(where: str, config: PreTrainedConfig) -> None:
    """Refuse what cannot be trained here as both a policy and a reward model, before any weights are read."""
    kind = config.model_type
    if config.is_encoder_decoder:
        raise BadModel(f"{where}: {kind} is an encoder with a decoder; the study needs a decoder alone, such as Llama or Qwen")
    if getattr(config, "quantization_config", None) is not None:
        raise BadModel(
            f"{where}: the weights are quantised (quantization_config in config.json), which the study does not train; "
            "take the model's bfloat16 weights"
        )
    for auto, needed in ((AutoModelForCausalLM, "a language model"), (AutoModelForSequenceClassification, "a reward model")):
        if type(config) not in auto._model_mapping:
            raise BadModel(
                f"{where}: transformers has no class of {kind} for {needed} ({auto.__name__}); take another architecture"
            )
    text = config.get_text_config()
    pad, rows = getattr(text, "pad_token_id", None), text.vocab_size
    if pad is not None and not -rows <= pad < rows:
        raise BadModel(f"{where}: pad_token_id {pad} in config.json is outside the model's {rows} embeddings; mend it there")


def check_loaded(
    where: str, info: Mapping[str, Collection], new: Collection[str] = (), unused: Collection[str] | None = None
) -> None:
    """Refuse weights that are missing, left over or of another shape: transformers would make missing ones up at random.

    Args:
        where: what the messages call the folder.
        info: transformers' `output_loading_info`; tied weights and what a class says it ignores are not in it.
        new: modules whose weights may be missing, such as an untrained head.
        unused: modules whose weights may be there without use, such as the head of a language model.
    """
    missing = {name for name in info["missing_keys"] if not _in(name, new)}
    if missing:
        raise BadModel(f"{where}: weights are missing: {some(missing)}; they would be random, so get the model again")
    if info["mismatched_keys"]:
        wrong = (f"{name} is {list(found)} and should be {list(wanted)}" for name, found, wanted in info["mismatched_keys"])
        raise BadModel(f"{where}: weights have another shape than config.json says: {some(wrong)}")
    if extra := {name for name in info["unexpected_keys"] if not _in(name, unused or ())}:
        raise BadModel(
            f"{where}: the weights hold what the model has no place for: {some(extra)}; config.json is of another model"
        )


def _in(name: str, modules: Collection[str]) -> bool:
    return any(name.startswith(f"{module}.") for module in modules)


def check_adapter(where: str, wanted: Collection[str], found: Collection[str]) -> None:
    """Refuse an adapter that lacks weights which its configuration calls for, or holds others: PEFT would go on without them.

    Args:
        where: what the messages call the folder.
        wanted: names of the adapter's weights in the model.
        found: names in its file.
    """
    if missing := set(wanted) - set(found):
        raise BadModel(f"{where}: the adapter's weights are missing: {some(missing)}; train it again")
    if extra := set(found) - set(wanted):
        raise BadModel(f"{where}: the adapter holds what the model has no place for: {some(extra)}; it belongs to another model")


def check_finite(where: str, model: PreTrainedModel) -> None:
    """Refuse weights that are no numbers."""
    if broken := [name for name, weight in model.named_parameters() if not torch.isfinite(weight).all()]:
        raise BadModel(f"{where}: weights hold NaN or infinity: {some(broken)}; get the model again")


def check_tokens(where: str, tokenizer: PreTrainedTokenizerBase, rows: int) -> None:
    """Refuse a tokenizer that writes tokens for which the model has no embedding.

    Args:
        rows: of the model's input embeddings.
    """
    outside = {token: id for token, id in tokenizer.get_vocab().items() if id >= rows}
    if tokenizer.pad_token in outside:
        raise BadModel(
            f"{where}: the padding token {tokenizer.pad_token!r} ({tokenizer.pad_token_id}) is outside the model's {rows} "
            "embeddings; name another one in tokenizer_config.json, or resize the model's embeddings"
        )
    if outside:
        raise BadModel(
            f"{where}: the tokenizer has tokens outside the model's {rows} embeddings: "
            f"{some(f'{token} ({id})' for token, id in outside.items())}; take its own tokenizer, or resize the embeddings"
        )
