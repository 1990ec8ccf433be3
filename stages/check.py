"""What can be known before any work, in the first seconds of a run -> data/checked.json.

python -m stages.check

Every other stage waits for it. What it writes is always the same, so that a parameter reruns those stages alone that read it.
"""

import json
import os
from pathlib import Path

from preference_study.artifacts import write_json
from preference_study.beforehand import (
    check_disk,
    check_engine,
    check_files,
    check_judges,
    check_launch,
    check_sizes,
    short_of_responses,
    unused_gpus,
)
from preference_study.boundary import run
from preference_study.params import load_params

EMBEDDED = {"max_position_embeddings": 8192, "num_hidden_layers": 30}
EMBEDDED_WEIGHTS = 134_515_008


def main() -> None:
    params = load_params()
    check_launch(params.launch, dict(os.environ))
    check_engine(params.generate)
    check_files(params)
    environment = dict(os.environ)
    for line in [*check_judges(params, environment), *unused_gpus(params.launch, environment), *short_of_responses(params)]:
        print(line)
    folder = Path(params.model.name)
    if params.model.name == "embedded":
        check_sizes(params, EMBEDDED)
        check_disk(params, EMBEDDED_WEIGHTS)
    elif (folder / "config.json").is_file():
        check_sizes(params, json.loads((folder / "config.json").read_text()))
        check_disk(params, sum(file.stat().st_size for file in folder.glob("*.safetensors")) // 2)
    write_json("data/checked.json", {"checked": "parameters, files, sizes, launch and disk"})


if __name__ == "__main__":
    run(main)
