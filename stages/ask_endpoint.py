"""What an endpoint answers when it is asked which of two responses is better -> data/asked/<judge>.jsonl; nothing for others.

    python -m stages.ask_endpoint provider

The file is kept from run to run, and what stands in it is not asked again.
"""

import os
from pathlib import Path

from preference_study.artifacts import read_dicts, read_json, read_table
from preference_study.boundary import run
from preference_study.judges import cases, some_cases
from preference_study.judges.endpoint import ask_all, asker, read_key
from preference_study.judges.pairwise import questions
from preference_study.params import load_params


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
    counts = ask_all(questions(settings["question"], table)["question"], settings, path, asker(settings, key), key)
    print(f"{name}: {counts['asked']:,} requests made, {counts['kept']:,} had been answered before")


if __name__ == "__main__":
    run(main)
