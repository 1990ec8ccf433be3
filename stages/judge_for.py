"""The reward model that a method trains against -> models/judge_for/<method>; a note where the method needs none.

python -m stages.judge_for rloo

So a change of the reward model trains those policies again that were trained against it, and no others.
"""

import os
import shutil
from pathlib import Path

from preference_study.aggregates import AGGREGATE, MEMBERS
from preference_study.artifacts import write_json
from preference_study.boundary import run
from preference_study.methods import METHODS
from preference_study.params import load_params


def link_or_copy(source: str, target: str) -> None:
    """A second name of the same file, or a copy where the file system has no such names."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def main(name: str) -> None:
    params = load_params()
    target = Path("models/judge_for") / name
    shutil.rmtree(target, ignore_errors=True)
    if METHODS[name].needs_reward_model:
        shutil.copytree(Path("models/reward") / params.reward.judge, target, copy_function=link_or_copy)
        if (target / MEMBERS).exists():
            write_json(target / AGGREGATE, params.reward.aggregate.model_dump())
    else:
        target.mkdir(parents=True)
        (target / "none.txt").write_text(f"{name} trains on preferences alone.\n", encoding="utf-8")


if __name__ == "__main__":
    run(main, METHODS)
