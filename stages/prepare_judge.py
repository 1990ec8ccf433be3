"""A judge's settings, with its question and a digest of its folder -> data/judges/<name>.json.

    python -m stages.prepare_judge skywork

So a change of one judge has that one judge again, and no other.
"""

from pathlib import Path

from preference_study.artifacts import write_json
from preference_study.boundary import run
from preference_study.errors import BadInput
from preference_study.judges.settings import BASE, digest, question_of, resolved
from preference_study.params import load_params


def main(name: str) -> None:
    params = load_params()
    entry = next((judge for judge in params.judges if judge.name == name), None)
    if entry is None:
        raise BadInput(f"judges in params.yaml has none named {name!r}")
    own = {"variant": params.reward.judge, "max_length": params.reward.max_length}
    own["aggregate"] = params.reward.aggregate.model_dump()
    settings = resolved(entry, question_of(entry), params.seed, params.model.date, own)
    # The base model is a stage's output, which DVC watches by itself.
    if entry.kind in ("reward_model", "language_model") and settings["model"] != BASE and Path(entry.model).is_dir():
        settings["folder"] = digest(entry.model)
    write_json(f"data/judges/{name}.json", settings)


if __name__ == "__main__":
    run(main)
