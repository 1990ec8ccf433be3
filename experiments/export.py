"""Keep what exporting and serving measured, for docs/export.md -> experiments/results/export.json.

    python -m experiments.export        after make export, serve_check and, where there is one, another server's

metrics/export/ is the run's own: what its stages measured there is written over by the next run, and what serve_check or
another server's program measured when that is run again. Do so for a policy that was trained anew.
"""

import argparse
from pathlib import Path

from preference_study.artifacts import read_json, write_json
from preference_study.errors import BadInput

MEASURED = Path("metrics/export")


def gathered(folder: Path) -> dict[str, dict]:
    """What is measured, by kind and name: policy/dpo, reward/standard, llama_cpp/dpo.

    Raises:
        BadInput: nothing is.
    """
    found = {f"{path.parent.name}/{path.stem}": read_json(path) for path in sorted(folder.glob("*/*.json"))}
    if not found:
        raise BadInput(f"{folder} holds nothing: run make export first")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("experiments/results/export.json"), help="(%(default)s)")
    given = parser.parse_args()
    write_json(given.output, gathered(MEASURED))
    print(f"{given.output}: then python -m experiments.documents")


if __name__ == "__main__":
    main()
