"""The base model -> models/base, one folder of safetensors with tokenizer and chat template.

python -m stages.prepare_model
"""

import shutil
from datetime import date
from pathlib import Path

import torch
from transformers import AutoConfig, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from preference_study.boundary import run
from preference_study.errors import BadModel
from preference_study.models.checks import (
    check_config,
    check_finite,
    check_system_turn,
    check_template,
    check_tokenizer,
    chosen_template,
    fixed_template,
    name_ends,
    separate_padding,
    with_system_prompt,
)
from preference_study.models.embedded import load_embedded
from preference_study.models.language_models import compute_dtype, load_causal
from preference_study.params import Model, load_params

TARGET = Path("models/base")
# Of the model's settings for generation.
KEPT = {"bos_token_id", "eos_token_id", "pad_token_id", "use_cache", "output_attentions", "output_hidden_states"}
KEPT |= {"transformers_version", "_from_model_config"}


def load(settings: Model) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The model and its tokenizer.

    Raises:
        BadModel: it cannot be loaded, or is none that can be studied.
    """
    name, revision = settings.name, settings.revision
    if name == "embedded":
        return load_embedded()
    try:
        check_config(AutoConfig.from_pretrained(name, revision=revision, trust_remote_code=False))
        tokenizer = AutoTokenizer.from_pretrained(name, revision=revision, trust_remote_code=False)
        # In one form on every machine, whatever the later stages compute in.
        return load_causal(name, revision=revision, dtype=torch.bfloat16), tokenizer
    except Exception as error:  # files that others wrote, read by libraries that raise what they like
        raise BadModel(
            f"model.name {name!r} (revision {revision}) cannot be loaded: {error or type(error).__name__}\n"
            "It must be 'embedded', a folder, or a hub name, with safetensors weights and no code of its own."
        ) from None


def said_of(dtype: torch.dtype) -> str:
    """What a user should know of the precision that this machine computes in."""
    if dtype == torch.bfloat16:
        return "this machine computes in bfloat16"
    return (
        "this machine computes in float32, having no instructions for bfloat16: with two CPU cores the whole default study takes "
        "more than an hour, and a quarter of it, params/small.yaml, less than half an hour"
    )


def main() -> None:
    params = load_params()
    settings = params.model
    name = settings.name
    try:
        model, tokenizer = load(settings)
        check_finite(model)
        check_tokenizer(model, tokenizer)
        template = fixed_template(
            chosen_template(tokenizer, settings.chat_template), date.fromisoformat(settings.date), settings.template_arguments
        )
        tokenizer.chat_template = template
        check_template(tokenizer)
        if settings.system_prompt is not None:
            check_system_turn(tokenizer)
            tokenizer.chat_template = with_system_prompt(template, settings.system_prompt)
        ends = name_ends(tokenizer, model.generation_config.eos_token_id)
    except BadModel as error:
        raise BadModel(str(error) if str(error).startswith(("model.name", name)) else f"model.name {name!r}: {error}") from None
    separate_padding(tokenizer, ends)
    model.generation_config.eos_token_id = ends if len(ends) > 1 else ends[0]
    model.config.pad_token_id = model.generation_config.pad_token_id = tokenizer.pad_token_id
    # Nothing samples unless params.yaml says so: the model's own generation settings keep only its special tokens.
    for setting in set(model.generation_config.to_diff_dict()) - KEPT:
        setattr(model.generation_config, setting, None)
    model.generation_config.do_sample = False
    # Whether the internet was there when it was loaded (HF_HUB_OFFLINE) is no part of a model: DVC would take it for another.
    tokenizer.init_kwargs["local_files_only"] = False
    made = TARGET.with_name(".base.part")
    shutil.rmtree(made, ignore_errors=True)
    try:
        model.save_pretrained(made)
        tokenizer.save_pretrained(made)
        shutil.rmtree(TARGET, ignore_errors=True)  # its successor is whole
        made.rename(TARGET)
    finally:
        shutil.rmtree(made, ignore_errors=True)
    print(f"{TARGET}: {name}, {model.num_parameters():,} parameters; {said_of(compute_dtype())}")


if __name__ == "__main__":
    run(main)
