"""The base model -> models/base, one folder of safetensors with tokenizer and chat template.

python -m stages.prepare_model
"""

import shutil
from datetime import date
from pathlib import Path

from safetensors import SafetensorError
from transformers import AutoConfig, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from preference_study.boundary import run
from preference_study.errors import BadModel
from preference_study.models.checks import (
    check_config,
    check_template,
    check_tokenizer,
    chosen_template,
    end_of_turn,
    fixed_template,
    with_system_prompt,
)
from preference_study.models.embedded import load_embedded
from preference_study.models.language_models import load_causal
from preference_study.params import Model, load_params

TARGET = Path("models/base")


def separate_padding(tokenizer: PreTrainedTokenizerBase) -> None:
    """Give the tokenizer a padding token that is not its EOS, where it has one to spare.

    A reward is read at the last token that is not padding: were the two the same, the end of the turn would not be seen.
    """
    if tokenizer.pad_token is None or tokenizer.pad_token == tokenizer.eos_token:
        spare = tokenizer.unk_token if tokenizer.unk_token != tokenizer.eos_token else None
        tokenizer.pad_token = spare or tokenizer.eos_token


def name_ends(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """Make the token that ends a turn in the chat template the tokenizer's EOS, and have the model name all of them.

    Some models' EOS ends a document, and another token a turn: trained and sampled responses must end with that one.
    """
    named = model.generation_config.eos_token_id
    ends = [tokenizer.eos_token_id, *(named if isinstance(named, list) else [named])]
    tokenizer.eos_token = end_of_turn(tokenizer) or tokenizer.eos_token
    ends = list(dict.fromkeys(token for token in (tokenizer.eos_token_id, *ends) if token is not None))
    model.generation_config.eos_token_id = ends if len(ends) > 1 else ends[0]


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
        return load_causal(name, revision=revision), tokenizer
    except (OSError, ValueError, RuntimeError, KeyError, SafetensorError) as error:
        raise BadModel(
            f"model.name {name!r} (revision {revision}) cannot be loaded: {error}\n"
            "It must be 'embedded', a folder, or a hub name, with safetensors weights and no code of its own."
        ) from None


def main() -> None:
    params = load_params()
    settings = params.model
    name = settings.name
    try:
        model, tokenizer = load(settings)
        check_tokenizer(model, tokenizer)
        template = fixed_template(
            chosen_template(tokenizer, settings.chat_template), date.fromisoformat(settings.date), settings.template_arguments
        )
        if settings.system_prompt is not None:
            template = with_system_prompt(template, settings.system_prompt)
        tokenizer.chat_template = template
        check_template(tokenizer, settings.system_prompt)
    except BadModel as error:
        raise BadModel(str(error) if name in str(error) else f"model.name {name!r}: {error}") from None
    name_ends(model, tokenizer)
    separate_padding(tokenizer)
    model.config.pad_token_id = model.generation_config.pad_token_id = tokenizer.pad_token_id
    # Nothing samples unless params.yaml says so: the model's own generation settings keep only its special tokens.
    for setting in ("temperature", "top_p", "top_k", "repetition_penalty"):
        setattr(model.generation_config, setting, None)
    model.generation_config.do_sample = False
    made = TARGET.with_name(".base.part")
    shutil.rmtree(made, ignore_errors=True)
    model.save_pretrained(made)
    tokenizer.save_pretrained(made)
    shutil.rmtree(TARGET, ignore_errors=True)
    made.rename(TARGET)
    print(f"{TARGET}: {name}, {model.num_parameters():,} parameters, {model.dtype}")


if __name__ == "__main__":
    run(main)
