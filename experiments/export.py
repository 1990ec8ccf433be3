"""Keep what exporting and serving measured, for docs/export.md -> experiments/results/export.json.

    python -m experiments.export        after make export, serve_check and, where there is one, another server's

metrics/export/ is the run's own: what its stages measured there is written over by the next run, and what serve_check or another
server's program measured when that is run again. Do so for a policy that was trained anew. What export in params.yaml does not
name is of an earlier run, and left out.
"""

import argparse
from pathlib import Path

from preference_study.artifacts import read_json, write_json
from preference_study.errors import BadInput
from preference_study.params import Export, load_params

MEASURED = Path("metrics/export")


def gathered(folder: Path, export: Export) -> dict[str, dict]:
    """What is measured of the exported models, by kind and name: policy/dpo, reward/standard, llama_cpp/dpo.

    Args:
        export: names them; all kinds but reward are of policies.

    Raises:
        BadInput: it names none, or one that nothing was measured of.
    """
    named = {f"policy/{name}" for name in export.policies} | {f"reward/{name}" for name in export.reward_models}
    if not named:
        raise BadInput("export.policies and export.reward_models of params.yaml name nothing: run make export first")
    files = {f"{path.parent.name}/{path.stem}": path for path in sorted(folder.glob("*/*.json"))}
    if missing := sorted(named - files.keys()):
        raise BadInput(f"{folder} has no {', '.join(missing)}, which params.yaml exports: run make export first")
    of_policies = {name for name in files if not name.startswith("reward/") and name.split("/")[1] in export.policies}
    return {name: read_json(path) for name, path in files.items() if name in named | of_policies}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("experiments/results/export.json"), help="(%(default)s)")
    given = parser.parse_args()
    write_json(given.output, gathered(MEASURED, load_params().export))
    print(f"{given.output}: then python -m experiments.documents")


if __name__ == "__main__":
    main()
