"""The base model -> models/base, one folder of safetensors with tokenizer and chat template.

python -m stages.prepare_model
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from transformers import AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from preference_study.errors import BadModel
from preference_study.models.chat_templates import (
    check_template,
    choose_template,
    end_of_turn_ids,
    takes_system_turn,
    with_arguments,
    with_fixed_date,
    with_system_prompt,
    with_variables,
)
from preference_study.models.checks import check_finite, check_tokens
from preference_study.models.embedded import load_embedded
from preference_study.models.language_models import load_causal, new_reward_model
from preference_study.params import Model, load_params

TARGET = Path("models/base")
# Of the model's settings for generation; what samples is in params.yaml.
KEPT = {"bos_token_id", "eos_token_id", "pad_token_id", "use_cache", "output_attentions", "output_hidden_states"}
KEPT |= {"transformers_version", "_from_model_config"}


@contextmanager
def whole_folder(target: Path) -> Iterator[Path]:
    """A folder beside `target` that takes its place when the block ends well; else `target` stays as it was."""
    new, old = (target.with_name(f".{target.name}.{state}") for state in ("part", "old"))
    for leftover in (new, old):
        shutil.rmtree(leftover, ignore_errors=True)
    new.mkdir(parents=True)
    try:
        yield new
        if target.exists():
            target.rename(old)
        new.rename(target)
    finally:
        for leftover in (new, old):
            shutil.rmtree(leftover, ignore_errors=True)


def load(section: Model) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The model that the parameters name, and its tokenizer.

    Raises:
        BadModel: it cannot be loaded.
    """
    if section.name == "embedded":
        return load_embedded()
    try:
        tokenizer = AutoTokenizer.from_pretrained(section.name, revision=section.revision, trust_remote_code=False)
        return load_causal(section.name, revision=section.revision), tokenizer
    except Exception as error:  # files that others wrote are read by other libraries: what they raise is not known
        raise BadModel(
            f"model.name {section.name!r} (revision {section.revision}) cannot be loaded: {error or type(error).__name__}\n"
            "It must be 'embedded', a folder, or a hub name, with safetensors weights and no code of its own."
        ) from None


def set_template(where: str, tokenizer: PreTrainedTokenizerBase, section: Model) -> None:
    """Give the tokenizer the chat template that the parameters ask for, which must write all that is said.

    Raises:
        BadModel: it has none such.
    """
    template = choose_template(where, tokenizer.chat_template, section.chat_template_name)
    tokenizer.chat_template = with_fixed_date(with_arguments(where, template, section.template_arguments), section.date)
    check_template(where, tokenizer)
    if section.system_prompt is not None:
        if not takes_system_turn(tokenizer):
            raise BadModel(
                f"{where} takes no system turn (its chat template fails on it, or leaves it out); set model.system_prompt to null"
            )
        tokenizer.chat_template = with_system_prompt(tokenizer.chat_template, section.system_prompt)


def set_ends(tokenizer: PreTrainedTokenizerBase, ends: list[int]) -> None:
    """Make the chat template's end of turn, the first of `ends`, the tokenizer's EOS; the template writes what it wrote."""
    before = tokenizer.eos_token
    if ends[0] == tokenizer.eos_token_id:
        return
    if before is not None and "eos_token" in tokenizer.chat_template:
        tokenizer.chat_template = with_variables(tokenizer.chat_template, {"eos_token": before})
    tokenizer.eos_token = tokenizer.convert_ids_to_tokens(ends[0])


def separate_padding(tokenizer: PreTrainedTokenizerBase) -> None:
    """Give the tokenizer a padding token that is not its EOS, where it has one to spare.

    A reward is read at the last token that is not padding: were the two the same, the end of the turn would not be seen.
    """
    if tokenizer.pad_token is None or tokenizer.pad_token == tokenizer.eos_token:
        spare = [tokenizer.unk_token, *(token for token in tokenizer.all_special_tokens if token not in tokenizer.chat_template)]
        free = (token for token in [*spare, *tokenizer.all_special_tokens] if token not in (None, tokenizer.eos_token))
        tokenizer.pad_token = next(free, tokenizer.eos_token)


def main() -> None:
    params = load_params()
    section = params.model
    where = f"model.name {section.name!r}"
    model, tokenizer = load(section)
    check_tokens(where, tokenizer, model.get_input_embeddings().num_embeddings)
    check_finite(where, model)
    set_template(where, tokenizer, section)
    settings = model.generation_config
    ends = end_of_turn_ids(where, tokenizer, settings.eos_token_id)
    set_ends(tokenizer, ends)
    separate_padding(tokenizer)
    model.config.pad_token_id = settings.pad_token_id = tokenizer.pad_token_id
    settings.eos_token_id = ends if len(ends) > 1 else ends[0]
    # Nothing samples unless params.yaml says so: the model's own generation settings keep only its special tokens.
    for name in set(settings.to_diff_dict()) - KEPT:
        setattr(settings, name, None)
    settings.do_sample = False
    with whole_folder(TARGET) as folder:
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        told = f"{TARGET}: {section.name}, {model.num_parameters():,} parameters, {model.dtype}"
        del model
        new_reward_model(folder, 0)  # what cannot be trained as a reward model is known now
    print(told)


if __name__ == "__main__":
    main()
