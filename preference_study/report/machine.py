"""What a page was made on and with."""

import os
import platform
import sys
from importlib.metadata import version
from pathlib import Path

import psutil
import pynvml

PACKAGES = (
    "accelerate", "datasets", "dvc", "numpy", "pandas", "peft", "scikit-learn", "scipy", "statsmodels", "textstat",
    "tokenizers", "torch", "transformers", "trl",
)  # fmt: skip


def machine() -> dict[str, str]:
    """What this page was made on and with."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return {
        "processor": f"{(names or [platform.processor() or platform.machine()])[0]}, {os.cpu_count()} logical cores",
        "memory": f"{psutil.virtual_memory().total / 2**30:.0f} GiB",
        "GPU": ", ".join(gpus()) or "none",
        "system": platform.platform(),
        "Python": sys.version.split()[0],
    } | {package: version(package) for package in PACKAGES}


def gpus() -> list[str]:
    """The names of the NVIDIA GPUs here."""
    try:
        pynvml.nvmlInit()
        return [pynvml.nvmlDeviceGetName(pynvml.nvmlDeviceGetHandleByIndex(i)) for i in range(pynvml.nvmlDeviceGetCount())]
    except pynvml.NVMLError:
        return []
