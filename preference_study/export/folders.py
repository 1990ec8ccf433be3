"""Writing the folders: weights, tokenizer, chat template and generation settings, in which nothing is left to be merged."""

import json
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from preference_study.models.checks import PROBE, before, rendered


def write_policy(
    folder: str | Path, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, temperature: float, top_p: float
) -> None:
    """Write a policy with the weights that the study used, in the precision that it used them in.

    Args:
        model: as `load_causal` gives it: the adapter is merged.
        temperature, top_p: how the study sampled its responses; 0 is greedy. How long a response may be is left to who asks:
            some servers would take it for their limit.
    """
    settings = model.generation_config
    settings.do_sample = temperature > 0
    if temperature > 0:
        settings.temperature, settings.top_p, settings.top_k = temperature, top_p, 0
    model.save_pretrained(folder)
    _write_tokenizer(folder, tokenizer, "left")  # as generating in batches needs it


def write_reward(folder: str | Path, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """Write a reward model in float32.

    The study computes its head in float32, whatever the rest is in. A folder has one precision for all, and in bfloat16 rewards
    would be rounded to three digits, and tie.

    Args:
        model: as `load_reward` gives it: the adapter is merged. It is in float32 afterwards.
    """
    model.float()
    model.config.dtype = "float32"
    model.config.problem_type = "regression"  # or a pipeline would squeeze the reward into 0 to 1
    model.config.id2label, model.config.label2id = {0: "reward"}, {"reward": 0}
    tokenizer.chat_template = ending_with_the_turn(tokenizer)
    model.save_pretrained(folder)
    _write_tokenizer(folder, tokenizer, "right")


def _write_tokenizer(folder: str | Path, tokenizer: PreTrainedTokenizerBase, padding_side: str) -> None:
    # What is written is what a tokenizer was made with, not what was set since.
    tokenizer.padding_side = tokenizer.init_kwargs["padding_side"] = padding_side
    tokenizer.save_pretrained(folder)


def ending_with_the_turn(tokenizer: PreTrainedTokenizerBase) -> str:
    """The chat template, made to write nothing after the EOS of the assistant's last turn.

    The study reads a reward at that EOS. Most templates go on with a line break, at which nobody was trained.
    """
    template, end = tokenizer.chat_template, tokenizer.eos_token
    if rendered(tokenizer, PROBE[:2]).endswith(end):
        return template
    literal = json.dumps(end, ensure_ascii=False)
    return (
        f"{before(template, '{% set written %}').removesuffix(chr(10))}{{% endset %}}"
        "{% if messages[-1]['role'] == 'assistant' and not (add_generation_prompt is defined and add_generation_prompt) %}"
        f"{{% if {literal} in written %}}{{{{ written.rpartition({literal})[0] + {literal} }}}}"
        f"{{% else %}}{{{{ written + {literal} }}}}{{% endif %}}"
        "{% else %}{{ written }}{% endif %}"
    )


def sizes(folder: str | Path) -> dict[str, Any]:
    """The bytes of each file in a folder, by name."""
    return {path.name: path.stat().st_size for path in sorted(Path(folder).iterdir()) if path.is_file()}
