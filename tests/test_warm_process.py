"""A stage that the warm process runs is as one that Python starts: its folder, arguments, environment, streams and end."""

import os
import subprocess
import sys

import pytest

from tests.warm_process import warm_start

STAGE = """
import json, os, sys
import torch
print(json.dumps([sys.argv[1:], os.getcwd(), os.environ["OF_ONE"], __name__, sys.stdin.read()]))
print("aside", file=sys.stderr)
END
"""


@pytest.mark.parametrize(
    ("end", "code", "said"),
    [
        ("", 0, ""),
        ("sys.exit(3)", 3, ""),
        ("raise SystemExit('a remedy')", 1, "a remedy"),
        ("raise KeyError('lost')", 1, "KeyError: 'lost'"),
        ("os.kill(os.getpid(), 9)", -9, ""),
    ],
)
def test_it_begins_and_ends_as_if_started_alone(tmp_path, end, code, said):
    (tmp_path / "stages").mkdir()
    (tmp_path / "stages/own.py").write_text(STAGE.replace("END", end))
    outputs = []
    for more in ({}, warm_start()):
        environment = os.environ | more | {"OF_ONE": "here", "PYTHONUNBUFFERED": "1"}
        command = [sys.executable, "-m", "stages.own", "first", "second word"]
        done = subprocess.run(command, cwd=tmp_path, env=environment, input="typed", capture_output=True, text=True, check=False)
        assert done.returncode == code and "aside" in done.stderr and said in done.stderr
        outputs.append(done.stdout)
    assert outputs[0] == outputs[1] or code == -9  # what is killed may leave its buffers
    assert "second word" in outputs[0]


def test_other_modules_start_by_themselves(tmp_path):
    """Nor does anything that is not asked for: the project's own modules are those of the folder."""
    (tmp_path / "other.py").write_text("import sys; print('torch' in sys.modules)")
    done = subprocess.run(
        [sys.executable, "-m", "other"], cwd=tmp_path, env=os.environ | warm_start(), capture_output=True, text=True, check=True
    )
    assert done.stdout == "False\n"
