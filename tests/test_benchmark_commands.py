"""The command lines of benchmarks/: each says what it does, and what cannot be is refused before anything is measured."""

import ast
import runpy
import subprocess
import sys

import pytest

from tests.conftest import ROOT

PROGRAMS = sorted(file.stem for file in (ROOT / "benchmarks").glob("*.py") if "__main__" in file.read_text())


@pytest.fixture
def asked(tmp_path, monkeypatch, capsys):
    """What a program prints before it ends, and its status, in a folder where there is nothing to measure."""
    monkeypatch.chdir(tmp_path)  # without models, data or parameters

    def started(*_, **__):
        raise AssertionError("a process was started")

    monkeypatch.setattr(subprocess, "Popen", started)
    monkeypatch.setattr("os.execve", started)
    monkeypatch.setattr("os.fork", started)

    def ask(name: str, *arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", [name, *arguments])
        with pytest.raises(SystemExit) as ended:
            runpy.run_path(str(ROOT / f"benchmarks/{name}.py"), run_name="__main__")
        return ended.value.code, *capsys.readouterr()

    return ask


@pytest.mark.parametrize("name", PROGRAMS)
def test_help_says_what_a_program_does_and_measures_nothing(asked, name):
    status, printed, _ = asked(name, "--help")
    told = ast.get_docstring(ast.parse((ROOT / f"benchmarks/{name}.py").read_text()))
    assert status == 0 and told.splitlines()[0] in printed


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("allocator twice", "unrecognized arguments: twice"),
        ("attention twice", "unrecognized arguments: twice"),
        ("engines --dtypes float33", "'float33' (choose from"),
        ("engines --prompts 0", "0 is not above 0"),
        ("gpu --seconds 0", "0 is not above 0"),
        ("head twice", "unrecognized arguments: twice"),
        ("memory --stages foo", "'foo' (choose from"),
        ("memory --pairs -1", "-1 is not above 0"),
        ("mutation analysis/nothing", "there is no preference_study/analysis/nothing.py"),
        ("mutation analysis/policies --sample 0", "0 is not above 0"),
        ("partings", "arguments are required: method"),
        ("partings foo", "'foo' (choose from"),
        ("plan --sizes 0", "0 is not above 0"),
        ("plan --stages foo", "'foo' (choose from"),
        ("precision twice", "unrecognized arguments: twice"),
        ("processes --only foo", "'foo' (choose from"),
        ("stock --rounds 0", "0 is not above 0"),
        ("stock --tasks dpo sleeping", "'sleeping' (choose from"),
        ("vllm_answers dpo", "arguments are required: target"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_measured(asked, line, told):
    status, _, complained = asked(*line.split())
    assert status == 2 and told in complained
