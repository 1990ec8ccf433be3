"""Runs that are compared: reading them from experiments, branches or commits, and seeing that they differ by what they should."""

import json
from collections.abc import Callable, Sequence

import dvc.api
from dvc.exceptions import DvcException
from tqdm.auto import tqdm

from preference_study.analysis.methods import flat

Run = tuple[str, dict, dict]  # name, parameters by dotted name, metrics


def load(revision: str, file: str, stage: str) -> Run:
    """An experiment's name, its parameters by dotted name, and a metrics file.

    Raises:
        SystemExit: it has no such file; `stage` is the one that writes it.
    """
    try:
        params = flat(dvc.api.params_show("params.yaml", rev=revision))
        return revision, params, json.loads(dvc.api.read(file, rev=revision))
    except (DvcException, FileNotFoundError) as error:
        raise SystemExit(f"{revision}: {error}; run the experiment as far as {stage}") from None


def collected(collect: Callable[[list[Run]], dict], names: Sequence[str], file: str, stage: str) -> dict:
    """What `collect` makes of those runs, read as `load` does.

    Raises:
        SystemExit: as `load` does; or `collect` refuses them, by a ValueError.
    """
    runs = [load(name, file, stage) for name in tqdm(names, desc="reading", unit="experiment", leave=False)]
    try:
        return collect(runs)
    except ValueError as error:
        raise SystemExit(str(error)) from None


def shared_parameters(runs: list[Run], varied: dict[str, str]) -> dict:
    """The parameters of all runs but for those that vary.

    Args:
        varied: parameters that may differ, and what each is called.

    Raises:
        ValueError: two differ by another one.
    """
    name, params, _ = runs[0]
    first = {key: value for key, value in params.items() if key not in varied}
    for other_name, other_params, _ in runs[1:]:
        other = {key: value for key, value in other_params.items() if key not in varied}
        differing = sorted(key for key in first | other if first.get(key) != other.get(key))
        if differing:
            told = " and ".join(varied.values())
            raise ValueError(
                f"{other_name} and {name} differ by more than {told}: {', '.join(differing)}; name those to be taken"
            )
    return first
