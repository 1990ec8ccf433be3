import os

os.environ["HF_HUB_OFFLINE"] = "1"  # read when the libraries are imported: nothing here may need the internet

from pathlib import Path

import pytest

from tests.tiny import tiny_model

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory) -> Path:
    """A tiny untrained model with tokenizer and chat template."""
    folder = tmp_path_factory.mktemp("tiny") / "model"
    tiny_model(folder)
    return folder


@pytest.fixture(scope="session")
def tokenizer(model_folder):
    from stages.lib.language_models import load_tokenizer

    return load_tokenizer(model_folder)
