"""Where a model's layers are."""

import torch
from transformers import PreTrainedModel

from preference_study.errors import BadModel


def layer_list(model: PreTrainedModel) -> str:
    """The name, in the model, of the list of its decoder's layers.

    Raises:
        BadModel: there is no list of as many modules as the model has layers.
    """
    count = model.config.get_text_config().num_hidden_layers
    # In the decoder: a model that sees pictures too has other layers.
    decoder = set(model.get_decoder().modules()) if isinstance(model, PreTrainedModel) else set()
    lists = (name for name, module in model.named_modules() if isinstance(module, torch.nn.ModuleList) and module in decoder)
    stack = next((name for name in lists if len(model.get_submodule(name)) == count), None)
    if stack is None:
        raise BadModel(f"{type(model).__name__}: no list of {count} layers is found in it, so LoRA cannot tell its top layers")
    return stack


def frozen_layers(model: PreTrainedModel, rank: int, top_layers: int | None) -> int:
    """How many layers, from the first, LoRA leaves as they are; 0 where every weight is trained (rank 0)."""
    count = model.config.get_text_config().num_hidden_layers
    return 0 if rank == 0 or top_layers is None else max(0, count - top_layers)
