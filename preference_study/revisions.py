"""A study as it stands at a commit, a branch, a tag or a DVC experiment, or in the working tree."""

import hashlib
import json
import subprocess
from dataclasses import dataclass
from typing import Any

import yaml
from dvc.api import DVCFileSystem
from dvc.exceptions import DvcException

from preference_study.errors import BadInput

WORKSPACE = "workspace"
RESPONSES = "data/responses/Response_of_DPO_n_Ori_val_with_rm.json"
COLUMNS = ("id", "prompt", "policy", "response", "finished", "reward")


@dataclass(frozen=True)
class Study:
    """What a comparison reads of a study.

    Attributes:
        revision: as it was asked for.
        identity: {commit, date, names, changed}: the commit's hash and day (of the working tree the commit that it began from;
            None outside of git), the branches, tags and experiments that point to it, and whether tracked files differ from it.
        responses: rows by policy and prompt, with their rewards.
        params: all of params.yaml, nested, unchecked: another commit may have had other parameters.
        judge: what gave the rewards, as `preference_study.analysis.experiments.why_judges_differ` takes it.
        right_to_judge: of the judge; None where it was not measured.
    """

    revision: str
    identity: dict[str, Any]
    responses: list[dict]
    params: dict
    judge: dict
    right_to_judge: dict | None

    def policies(self) -> list[str]:
        """The policies that responded."""
        return list(dict.fromkeys(row["policy"] for row in self.responses))

    def of(self, policy: str) -> list[dict]:
        """One policy's responses."""
        return [row for row in self.responses if row["policy"] == policy]


def read_study(revision: str, folder: str = ".") -> Study:
    """Read a study from the git repository and DVC's cache or remote that `folder` is in.

    Args:
        revision: anything that git or DVC knows; `WORKSPACE` is what lies in the working tree.

    Raises:
        BadInput: there is no such revision, the study was not run there, or its files are neither in DVC's cache nor a remote.
    """
    try:
        files = DVCFileSystem(folder, rev=None if revision == WORKSPACE else revision)
        commit = None if revision == WORKSPACE else files.repo.get_rev()
    except DvcException as error:
        raise BadInput(
            f"{revision}: {error}; git log, git branch and dvc exp list --all name those there are, and {WORKSPACE} is what lies "
            "in the working tree"
        ) from None
    responses, rows = _read(files, revision, RESPONSES)
    params, lock, reward = (_read(files, revision, path)[1] for path in ("params.yaml", "dvc.lock", "metrics/reward.json"))
    if isinstance(rows, dict):
        raise BadInput(
            f"{revision}: {RESPONSES} leaves its rows out ({rows.get('left_out')}); studies are compared that have fewer: set "
            "generate.max_prompts and run dvc repro there"
        )
    if lacking := [name for name in COLUMNS if any(name not in row for row in rows)]:
        raise BadInput(f"{revision}: {RESPONSES} lacks {', '.join(lacking)} in some rows; run dvc repro there with this version")
    return Study(
        revision,
        _identity(folder, commit),
        rows,
        params,
        judge_of(lock, params, hashlib.md5(responses, usedforsecurity=False).hexdigest()),
        reward.get("right_to_judge"),
    )


def _read(files: DVCFileSystem, revision: str, path: str) -> tuple[bytes, Any]:
    """A file of JSON or YAML there, as it is and what it holds."""
    known = files.isfile(path) and "md5" in files.info(path)  # an output that was never made has none
    try:
        found = files.read_bytes(path)
        return found, (json.loads if path.endswith(".json") else yaml.safe_load)(found)
    except (ValueError, yaml.YAMLError) as error:
        raise BadInput(f"{revision}: {path} cannot be read ({str(error).splitlines()[0][:120]}); run dvc repro there") from None
    except (OSError, DvcException):
        again = "dvc repro" if revision == WORKSPACE else f"git checkout {revision} (of an experiment dvc exp apply), dvc repro"
        if known:
            told = f"is neither in DVC's cache here nor on a remote: dvc pull, where it was pushed, or {again}"
        else:
            told = f"is not there, for the study was not run as far as that: {again}"
        raise BadInput(f"{revision}: {path} {told}") from None


def judge_of(lock: dict, params: dict, md5: str) -> dict:
    """What gave the rewards, by what dvc.lock says that stage score_responses read.

    Args:
        lock: all of dvc.lock.
        params: all of params.yaml.
        md5: of the responses there are.
    """
    stage = lock.get("stages", {}).get("score_responses", {})
    read = {entry["path"]: entry.get("md5") for entry in stage.get("deps", [])}
    wrote = {entry["path"]: entry.get("md5") for entry in stage.get("outs", [])}
    given = stage.get("params", {}).get("params.yaml", {})
    name = given.get("reward.judge", params.get("reward", {}).get("judge"))
    return {
        "name": name,
        "reward_model": read.get(f"models/reward/{name}"),
        "base_model": read.get("models/base"),
        "max_length": given.get("reward.max_length"),
        "aggregate": given.get("reward.aggregate"),
        "stands": wrote.get(RESPONSES) == md5,
    }


def _identity(folder: str, commit: str | None) -> dict[str, Any]:
    """Of a commit, or of the working tree where there is none."""

    def git(*words: str) -> str:
        done = subprocess.run(["git", *words], cwd=folder, capture_output=True, text=True, check=False)
        return done.stdout.strip() if done.returncode == 0 else ""

    found = commit or git("rev-parse", "HEAD")
    places = ("refs/heads", "refs/tags", "refs/exps")
    names = git("for-each-ref", f"--points-at={found}", "--format=%(refname)", *places).splitlines() if found else []
    return {
        "commit": found or None,
        "date": (git("show", "-s", "--format=%cs", found) or None) if found else None,
        # refs/heads/a/branch, refs/exps/<the commit it began from, in two parts>/experiment
        "names": [name.split("/", 4 if name.startswith("refs/exps/") else 2)[-1] for name in names if "/exec/" not in name],
        "changed": commit is None and bool(git("status", "--porcelain", "--untracked-files=no")),
    }
