"""The whole study on one page that needs no server and no internet -> reports/index.html.

python -m stages.report
"""

import base64
import hashlib
import os
import platform
import sys
from importlib.metadata import version
from pathlib import Path

import pandas as pd
import psutil
import pynvml
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from stages.lib import page
from stages.lib.artifacts import read_json, whole_file
from stages.lib.figures import colour
from stages.lib.method_table import matrix
from stages.lib.params import load_params
from stages.lib.verdicts import NAMES

HERE = Path(__file__).parent
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


def gather(folder: Path, methods: list[str], variant: str) -> dict:
    """Everything the page shows of a study, but its parameters and the machine.

    Args:
        folder: the project's root. The reward model's analysis, the methods' table, the perturbed answers',
            pictures and word tables may be missing.
        methods: the policies besides base.
        variant: the reward model that judged.
    """

    def optional(name: str) -> Path | None:
        return folder / name if (folder / name).exists() else None

    def table(name: str) -> pd.DataFrame | None:
        return pd.read_csv(path, keep_default_na=False, dtype={"word": str}) if (path := optional(name)) else None

    stress = read_json(path) if (path := optional("metrics/stress.json")) else {}
    study = {
        "methods": methods,
        "data": read_json(folder / "metrics/data.json"),
        "reward": read_json(folder / "metrics/reward.json"),
        "train_reward": read_json(folder / f"metrics/train_reward/{variant}.json"),
        "train_policy": {method: read_json(folder / f"metrics/train_policy/{method}.json") for method in methods},
        "policies": read_json(folder / "metrics/policies.json"),
        "reward_analysis": read_json(path) if (path := optional("metrics/reward_analysis.json")) else None,
        "method_table": read_json(path) if (path := optional("metrics/methods.json")) else None,
        "method_cost": read_json(path) if (path := optional("metrics/methods_cost.json")) else None,
        "stress": stress.get("scorers", {}),
        "ensembles": stress.get("ensembles", {}),
        "variants": read_json(path) if (path := optional("metrics/variants.json")) else {},
        "best_of_n": read_json(path) if (path := optional("metrics/best_of_n.json")) else {},
        "responses": read_json(folder / "data/responses/Response_of_DPO_n_Ori_val_with_rm.json"),
        "figures": {},
        "keywords": {},
        "log_odds": {},
    }
    for part in ("reward", "policies", "methods", "stress", "variants", "best_of_n"):
        pictures = sorted((folder / "plots" / part).glob("*.png"))
        study["figures"][part] = {picture.stem: page.data_uri(picture.read_bytes()) for picture in pictures}
        if (keywords := table(f"plots/{part}/keywords.csv")) is not None:
            study["keywords"][part] = page.keyword_columns(keywords)
        if (log_odds := table(f"plots/{part}/log_odds.csv")) is not None:
            study["log_odds"][part] = page.log_odds_sides(log_odds)
    return study


def render(study: dict, params: dict, made_on: dict[str, str]) -> str:
    """The page.

    Args:
        study: from `gather`.
        params: all parameters, by section.
        made_on: from `machine`.
    """
    environment = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters = (page.number, page.p_value, page.decimals, page.statistic, page.asides, page.scale, page.lookup)
    environment.filters |= {function.__name__: function for function in filters}
    policies = ["base", *study["methods"]]
    script = environment.get_template("report.js").render()
    pairs = study["method_table"]["pairs"] if study["method_table"] else []
    outcomes = [outcome for outcome in ("gold", "reward") if pairs and f"{outcome}_p" in pairs[0]]
    metrics = {key: study[key] for key in ("data", "reward", "train_reward", "policies", "reward_analysis")}
    return environment.get_template("report.html").render(
        study,
        params=params,
        machine=made_on,
        colours={policy: colour(policy, study["methods"]) for policy in policies},
        spelling=NAMES,
        matrices={outcome: matrix(pairs, policies, outcome) for outcome in outcomes},
        cases=page.cases(study["responses"]),
        original=page.beside_original(read_json(HERE / "lib/original_study.json"), metrics | {"params": params}),
        # A browser runs the script with this digest and no other, whatever a response holds.
        script_digest=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )


def main() -> None:
    params = load_params()
    study = gather(Path(), params.policy.methods, params.reward.judge)
    page.check_one_run(study)
    html = render(study, params.model_dump(), machine())
    with whole_file("reports/index.html") as path:
        path.write_text(html, encoding="utf-8")


if __name__ == "__main__":
    main()
