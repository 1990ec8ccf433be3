"""A model's responses to the generation prompts -> data/responses/generated/<policy>.parquet.

python -m stages.generate base
python -m stages.generate dpo
"""

import os

from preference_study.artifacts import write_rows
from preference_study.boundary import run
from preference_study.data.prompts import prompts_of_file
from preference_study.engines.choice import responses
from preference_study.params import load_params

FACTS = ("tokens", "finished", "prompt_truncated")


def main(policy: str) -> None:
    params = load_params()
    settings = params.generate
    data = params.data
    prompts = prompts_of_file(
        settings.prompts, settings.max_prompts, data.seed, data.cluster, category=settings.category, columns=data.columns
    )
    found = responses(
        None if policy == "base" else policy, list(prompts["prompt"]), engine=settings.engine, vllm=settings.vllm,
        processes=params.launch.processes, max_new_tokens=settings.max_new_tokens, batch_size=settings.batch_size,
        temperature=settings.temperature, top_p=settings.top_p, seed=params.seed, description=policy,
    )  # fmt: skip
    if os.environ.get("RANK", "0") == "0":  # of several processes, as torchrun numbers them
        rows = [
            row | {"policy": policy, "response": r.text} | {name: getattr(r, name) for name in FACTS}
            for row, [r] in zip(prompts.to_dict("records"), found, strict=True)
        ]
        write_rows(f"data/responses/generated/{policy}.parquet", rows)


if __name__ == "__main__":
    run(main)
