"""The base model -> models/base, one folder of safetensors with tokenizer and chat template.

python -m stages.prepare_model
"""

import json
import shutil
from pathlib import Path

from jinja2 import TemplateError
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from preference_study.models.embedded import load_embedded
from preference_study.models.language_models import load_causal
from preference_study.params import load_params

TARGET = Path("models/base")


def separate_padding(tokenizer: PreTrainedTokenizerBase) -> None:
    """Give the tokenizer a padding token that is not its EOS, where it has one to spare.

    A reward is read at the last token that is not padding: were the two the same, the end of the turn would not be seen.
    """
    if tokenizer.pad_token is None or tokenizer.pad_token == tokenizer.eos_token:
        spare = tokenizer.unk_token if tokenizer.unk_token != tokenizer.eos_token else None
        tokenizer.pad_token = spare or tokenizer.eos_token


def with_system_prompt(template: str, text: str) -> str:
    """A chat template that begins with a system turn of this text wherever a conversation has none of its own."""
    turn = f"[{{'role': 'system', 'content': {json.dumps(text, ensure_ascii=False)}}}]"
    return f"{{% if messages[0]['role'] != 'system' %}}{{% set messages = {turn} + messages %}}{{% endif %}}{template}"


def main() -> None:
    params = load_params()
    name = params.model.name
    if name == "embedded":
        model, tokenizer = load_embedded()
    else:
        try:
            tokenizer = AutoTokenizer.from_pretrained(name, revision=params.model.revision, trust_remote_code=False)
            model = load_causal(name, revision=params.model.revision)
        except (OSError, ValueError) as error:
            raise SystemExit(
                f"model.name {name!r} (revision {params.model.revision}) cannot be loaded: {error}\n"
                "It must be 'embedded', a folder, or a hub name, with safetensors weights and no code of its own."
            ) from None
    if not tokenizer.chat_template:
        raise SystemExit(
            f"model.name {name!r} has no chat template; take an instruct model, or put a chat_template.jinja in its folder"
        )
    if params.model.system_prompt is not None:
        tokenizer.chat_template = with_system_prompt(tokenizer.chat_template, params.model.system_prompt)
        try:
            tokenizer.apply_chat_template([{"role": "user", "content": "Hello"}], tokenize=False)
        except TemplateError as error:
            raise SystemExit(f"model.name {name!r} takes no system turn ({error}); set model.system_prompt to null") from None
    separate_padding(tokenizer)
    model.config.pad_token_id = model.generation_config.pad_token_id = tokenizer.pad_token_id
    shutil.rmtree(TARGET, ignore_errors=True)
    # Nothing samples unless params.yaml says so: the model's own generation settings keep only its special tokens.
    for setting in ("temperature", "top_p", "top_k", "repetition_penalty"):
        setattr(model.generation_config, setting, None)
    model.generation_config.do_sample = False
    model.save_pretrained(TARGET)
    tokenizer.save_pretrained(TARGET)
    print(f"{TARGET}: {name}, {model.num_parameters():,} parameters, {model.dtype}")


if __name__ == "__main__":
    main()
