"""Sampled responses of base to each prompt -> data/responses/samples.parquet; none where no reward model is to pick among them.

python -m preference_study.launch sample_responses
"""

import os

from preference_study.artifacts import write_rows
from preference_study.boundary import run
from preference_study.data.prompts import prompts_of_file
from preference_study.params import Params, load_params


def sample(params: Params) -> list[dict]:
    """Rows of id, prompt, sample, response, tokens, finished and what else the prompts have."""
    # Here, and not above: it takes seconds to load, and most runs sample nothing.
    from preference_study.engines.choice import responses

    settings = params.best_of_n
    generate = params.generate
    data = params.data
    prompts = prompts_of_file(generate.prompts, settings.max_prompts, data.seed, data.cluster, columns=data.columns)
    sampled = responses(
        None, list(prompts["prompt"]), engine=generate.engine, vllm=generate.vllm, processes=params.launch.processes,
        max_new_tokens=generate.max_new_tokens, batch_size=generate.batch_size, temperature=settings.temperature,
        samples=settings.samples, seed=params.seed, description="samples of base",
    )  # fmt: skip
    return [
        prompt | {"sample": number, "response": r.text, "tokens": r.tokens, "finished": r.finished}
        for prompt, several in zip(prompts.to_dict("records"), sampled, strict=True)
        for number, r in enumerate(several)
    ]


def main() -> None:
    params = load_params()
    rows = sample(params) if params.best_of_n.variants else []
    if os.environ.get("RANK", "0") == "0":  # of several processes, as torchrun numbers them
        write_rows("data/responses/samples.parquet", rows)


if __name__ == "__main__":
    run(main)
