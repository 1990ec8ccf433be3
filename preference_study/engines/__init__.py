"""What writes responses: transformers in the stage itself, or vLLM in an environment of its own."""

import os
import subprocess

from preference_study.errors import BadInput

NEEDED = ("vllm", "pyarrow")
# What is set for this project's own Python, or by its launcher, and is wrong for another one.
NOT_PASSED_ON = ("PYTHONPATH", "PYTHONHOME", "PYTHONWARNINGS", "GLIBC_TUNABLES")
# In one process, what shares a batch does not depend on the clock.
FOR_VLLM = {"VLLM_ENABLE_V1_MULTIPROCESSING": "0", "VLLM_NO_USAGE_STATS": "1"}
INSTALL = "python3 -m venv .vllm && .vllm/bin/pip install -r params/vllm-requirements.txt"


def environment(own: dict[str, str]) -> dict[str, str]:
    """The environment variables for a program of vLLM's Python, from this one's."""
    return FOR_VLLM | {name: value for name, value in own.items() if name not in NOT_PASSED_ON}


def check_vllm(python: str) -> None:
    """Raise `BadInput` where the Python that generate.vllm.python names does not start, or has no vLLM; it says how to get it."""
    remedy = (
        f"make an environment for vLLM (several GB) with {INSTALL}, and name its Python, .vllm/bin/python, there, or set "
        "generate.engine: transformers; docs/full_size.md"
    )
    lacking = f"import importlib.util as u; print(*(name for name in {NEEDED} if u.find_spec(name) is None))"
    try:
        done = subprocess.run(
            [python, "-c", lacking], env=environment(dict(os.environ)), capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError) as error:
        said = (getattr(error, "stderr", None) or str(error)).strip()[-200:]
        raise BadInput(f"generate.vllm.python: {python} does not start ({said}): {remedy}") from None
    if names := done.stdout.split():
        raise BadInput(f"generate.vllm.python: {python} has no {' and no '.join(names)}: {remedy}")
