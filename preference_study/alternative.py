"""Write an alternative's parameters into params.yaml: those that it names, and no others; comments stay.

    python -m preference_study.alternative params/quick.yaml

params.before.yaml keeps what was there: mv params.before.yaml params.yaml undoes it. Until then no other alternative is
taken, as its study would be a mixture of both. A section in the alternative is merged, a list or a value takes the place of the
old one.
"""

import argparse
import io
import shutil
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from preference_study.artifacts import whole_file
from preference_study.params import checked_params, load_params, read_yaml

PARAMS = Path("params.yaml")


def merge(params: dict, alternative: dict, prefix: str = "") -> list[tuple[str, Any, Any]]:
    """Change `params` in place to what the alternative says.

    Returns:
        Per changed parameter its dotted name, what it was and what it is; what it was is None where it was not there.
    """
    changed = []
    for key, value in alternative.items():
        if isinstance(value, dict) and isinstance(params.get(key), dict):
            changed += merge(params[key], value, f"{prefix}{key}.")
        elif key not in params or params[key] != value:
            changed.append((f"{prefix}{key}", params.get(key), value))
            params[key] = value
    return changed


def with_alternative(params: Path, alternative: Path) -> tuple[str, list[tuple[str, Any, Any]]]:
    """A parameter file's text with an alternative merged into it, comments kept, and what `merge` returns.

    Raises:
        SystemExit: the alternative is not there, no YAML or no mapping, or the parameter file is not right.
    """
    if not alternative.is_file():
        raise SystemExit(f"{alternative}: there is no such file; params/ has some")
    wanted = read_yaml(alternative.read_text(encoding="utf-8"), str(alternative))
    if not isinstance(wanted, dict):
        raise SystemExit(f"{alternative}: no parameters in it; it must look like params.yaml, with the parameters that differ")
    round_trip = YAML()
    round_trip.preserve_quotes = True
    round_trip.width = 4096
    round_trip.representer.add_representer(
        type(None), lambda representer, _: representer.represent_scalar("tag:yaml.org,2002:null", "null")
    )
    load_params(params)  # what is wrong there already is said first
    values = round_trip.load(params.read_text(encoding="utf-8"))
    changed = merge(values, wanted)
    text = io.StringIO()
    round_trip.dump(values, text)
    return text.getvalue(), changed


def apply(alternative: Path, params: Path = PARAMS) -> list[tuple[str, Any, Any]]:
    """Write an alternative into a parameter file, keep the old one beside it, and return what `merge` does.

    Raises:
        SystemExit: as `with_alternative`; or what comes out is not right; or there is an alternative in the file already. It
            stays as it was.
    """
    text, changed = with_alternative(params, alternative)
    checked_params(text, f"{params} with {alternative}")
    if changed:
        before = params.with_stem(f"{params.stem}.before")
        if before.exists() and before.read_bytes() != params.read_bytes():
            raise SystemExit(
                f"{params} has an alternative in it already, and {before} what was there before.\nTo go back to that first: "
                f"mv {before} {params}. To put {alternative} on top of what is there now: rm {before}. Then again."
            )
        shutil.copyfile(params, before)
        with whole_file(params) as path:
            path.write_text(text, encoding="utf-8")
    return changed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("alternative", type=Path, help="a file in params/, or one of your own")
    arguments = parser.parse_args()
    changed = apply(arguments.alternative)
    for name, before, after in changed:
        print(f"{name}: {before} -> {after}")
    undo = f"{len(changed)} parameters changed; mv params.before.yaml {PARAMS} undoes it"
    print(f"{PARAMS}: {undo if changed else 'nothing to change'}")


if __name__ == "__main__":
    main()
