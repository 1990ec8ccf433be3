"""What an endpoint answers when it is asked which of two responses is better -> data/asked/<judge>.jsonl; nothing for others.

    python -m stages.ask_endpoint provider

The file is kept from run to run, and what stands in it is not asked again. So is what stands in data/asked/kept/<judge>.jsonl,
which DVC does not know: where another commit's file is checked out in the place of this one, nothing is paid for twice.
"""

import os
from pathlib import Path

from preference_study.artifacts import read_dicts, read_json, read_table
from preference_study.boundary import run
from preference_study.judges import cases, some_cases
from preference_study.judges.endpoint import append, ask_all, asker, read_asked, read_key
from preference_study.judges.pairwise import questions
from preference_study.params import load_params


def copy_missing(source: Path, target: Path, key: str | None) -> None:
    """Add to a file of answers those that another one has besides."""
    known = read_asked(target)
    if missing := [row for digest, row in read_asked(source).items() if digest not in known]:
        append(target, missing, key)


def main(name: str) -> None:
    params = load_params()
    settings, path = read_json(f"data/judges/{name}.json"), Path(f"data/asked/{name}.jsonl")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    if settings["kind"] != "endpoint":
        return
    answered = {policy: read_dicts(f"data/responses/generated/{policy}.parquet") for policy in ("base", *params.policy.methods)}
    table = cases(answered, read_table("data/prepared/val.parquet"))
    table = some_cases(table, settings["max_prompts"], settings["max_pairs"], settings["seed"])
    key = read_key(settings["key"], dict(os.environ))
    kept = Path("data/asked/kept") / path.name
    copy_missing(kept, path, key)
    try:
        counts = ask_all(questions(settings["question"], table)["question"], settings, path, asker(settings, key), key)
    finally:
        copy_missing(path, kept, key)
    print(f"{name}: {counts['asked']:,} requests made, {counts['kept']:,} had been answered before")


if __name__ == "__main__":
    run(main)
