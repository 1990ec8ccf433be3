import os

# Two workers run the tests: a core each. Read when the libraries are imported, as the next one is.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["HF_HUB_OFFLINE"] = "1"  # nothing here may need the internet

import gc
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from xdist.remote import Producer
from xdist.scheduler import LoadFileScheduling

from tests.browser import PATIENCE, started
from tests.tiny import tiny_model

# How long an example takes says something of the machine, and nothing of the code.
settings.register_profile("study", deadline=None)
settings.load_profile("study")
ROOT = Path(__file__).resolve().parent.parent


def asked(text: str) -> list[dict[str, str]]:
    """A prompt of one user turn."""
    return [{"role": "user", "content": text}]


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory) -> Path:
    """A tiny untrained model with tokenizer and chat template."""
    folder = tmp_path_factory.mktemp("tiny") / "model"
    tiny_model(folder)
    return folder


@pytest.fixture(scope="session")
def tokenizer(model_folder):
    from preference_study.models.language_models import load_tokenizer

    return load_tokenizer(model_folder)


@pytest.fixture(scope="session")
def ready(tmp_path_factory) -> Iterator[Path]:
    """A study on the tiny model, as far as `frozen_layers`; nobody may change it, for others copy it."""
    from tests.workspace import prepared

    made = prepared(tmp_path_factory.mktemp("ready"))

    def files() -> dict[Path, int]:
        return {path: path.stat().st_mtime_ns for path in made.rglob("*") if path.is_file() and "__pycache__" not in path.parts}

    before = files()
    yield made
    assert files() == before


@pytest.fixture(scope="module", autouse=True)
def imported_is_no_garbage() -> None:
    """statsmodels collects garbage at every correction of p-values: a second, in a process that has imported all libraries."""
    gc.freeze()


@pytest.fixture
def few_resamples(monkeypatch) -> None:
    """For tests of which number stands where, not of how wide an interval is."""
    from preference_study.analysis import statistics

    monkeypatch.setattr(statistics, "RESAMPLES", 200)


@pytest.fixture
def folder(ready, tmp_path, monkeypatch) -> Path:
    """A copy of it, in which the test runs."""
    shutil.copytree(ready, tmp_path / "run")
    monkeypatch.chdir(tmp_path / "run")
    return tmp_path / "run"


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """The tiny study, run from nothing and committed as README says: tests.shell.Finished; who changes it changes it back."""
    from tests.shell import followed

    return followed(tmp_path_factory.mktemp("finished"))


# These share one finished study, hence a worker: the longest, so they begin; the last changes it.
ON_FINISHED = ("test_pipeline.py", "test_documented_commands.py", "test_people.py", "test_pipeline_extended.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: ON_FINISHED.index(item.path.name) if item.path.name in ON_FINISHED else len(ON_FINISHED))


@pytest.fixture(scope="module")
def browser():
    """Chromium; a test that asks for it is skipped where there is none."""
    with started() as found:
        yield found


@pytest.fixture(scope="session")
def expect():
    """Playwright's assertions, which wait: a string given to `wait_for_function` is refused by the page's own policy."""
    found = pytest.importorskip("playwright.sync_api", reason="the Python package playwright is not installed").expect
    found.set_options(timeout=PATIENCE)
    return found


class ByFile(LoadFileScheduling):
    """A file's tests stay with one worker, and so do those on the finished study."""

    def _split_scope(self, nodeid: str) -> str:
        file = super()._split_scope(nodeid)
        return "finished" if Path(file).name in ON_FINISHED else file


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> ByFile:
    return ByFile(config, log)
