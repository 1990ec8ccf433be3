"""A model's shape from its configuration alone: no weights are loaded, its parameters are counted on PyTorch's meta device."""

import json
from pathlib import Path

import torch
from transformers import AutoConfig, AutoModelForCausalLM, PretrainedConfig

from preference_study.cost import Shape
from preference_study.errors import BadModel
from preference_study.models.layers import layer_list

# Published configurations of models that are often studied, for planning without the internet: the keys of config.json at
# huggingface.co/<name> that decide the shape; and the embedded model's, whose file takes long to read.
KNOWN: dict[str, dict] = json.loads(Path(__file__).with_name("known_shapes.json").read_text(encoding="utf-8"))


def config_of(name: str, revision: str | None = None) -> tuple[PretrainedConfig, str]:
    """The configuration of a model, and where it is from.

    Args:
        name: `embedded`, a folder, or a hub name; with or without -Instruct for one that is known here.

    Raises:
        BadModel: it is neither here nor known.
    """
    known = {key.lower(): values for key, values in KNOWN.items()}
    key = name.lower().removesuffix("-instruct")
    if not Path(name).is_dir() and key in known:
        return AutoConfig.for_model(**known[key]), "its published configuration"
    try:
        return AutoConfig.from_pretrained(name, revision=revision, trust_remote_code=False), "its own configuration"
    except Exception as error:  # files that others wrote, read by a library that raises what it likes
        raise BadModel(
            f"the configuration of model.name {name!r} cannot be read ({str(error).splitlines()[0][:160]}): name a folder with a "
            f"config.json, or by --shape one that is known: {', '.join(KNOWN)}"
        ) from None


def shape_of(config: PretrainedConfig) -> Shape:
    """What of a configuration decides the costs, counted on a model without storage.

    Raises:
        BadModel: a mixture of experts, of which each token sees a few; or no list of layers is found.
    """
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    layers = model.get_submodule(layer_list(model))
    if any(weight.dim() == 3 for weight in layers.parameters()):
        raise BadModel(f"{type(model).__name__}: a mixture of experts, whose costs are not worked out here")
    text = config.get_text_config()
    maps = [module for module in layers.modules() if isinstance(module, torch.nn.Linear)]
    width = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    head, embeddings = model.get_output_embeddings().weight, model.get_input_embeddings().weight
    return Shape(
        parameters=model.num_parameters(),
        layers=len(layers),
        hidden=text.hidden_size,
        heads=text.num_attention_heads,
        intermediate=getattr(text, "intermediate_size", 4 * text.hidden_size),
        attention=text.num_attention_heads * width,
        keys=(getattr(text, "num_key_value_heads", None) or text.num_attention_heads) * width,
        layer_linear=sum(map_.weight.numel() for map_ in maps) // len(layers),
        layer_maps=sum(map_.in_features + map_.out_features for map_ in maps) // len(layers),
        vocabulary=head.shape[0],
        own_head=0 if head is embeddings else head.numel(),
    )
