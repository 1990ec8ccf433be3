import pytest
from transformers import Gemma3Config, Gemma3ForConditionalGeneration, LlamaConfig, LlamaForCausalLM

from preference_study.models.layers import frozen_layers, layer_list

SIZES = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 4, "num_attention_heads": 4}


@pytest.mark.parametrize(("rank", "top", "frozen"), [(4, 1, 3), (4, 4, 0), (4, 9, 0), (4, None, 0), (0, 1, 0)])
def test_how_many_layers_are_frozen(rank, top, frozen):
    assert frozen_layers(LlamaForCausalLM(LlamaConfig(**SIZES, vocab_size=9)), rank, top) == frozen


def test_the_layers_of_a_model_that_sees_pictures_are_its_decoders():
    text = SIZES | {"vocab_size": 99, "num_key_value_heads": 2, "head_dim": 8, "pad_token_id": 0}
    config = Gemma3Config(text_config=text, vision_config=SIZES | {"image_size": 32, "patch_size": 16}, mm_tokens_per_image=1)
    model = Gemma3ForConditionalGeneration(config)
    assert layer_list(model) == "model.language_model.layers" and frozen_layers(model, 4, 3) == 1
