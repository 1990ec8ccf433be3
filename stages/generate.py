"""A model's responses to the generation prompts -> data/responses/generated/<policy>.json.

python -m stages.generate base
python -m stages.generate dpo
"""

from preference_study.artifacts import write_json
from preference_study.boundary import run
from preference_study.data.files import read_table_file
from preference_study.data.prompts import choose_prompts
from preference_study.models.generation import respond
from preference_study.models.language_models import for_generating, load_causal, load_tokenizer
from preference_study.params import load_params
from preference_study.processes import check_processes

FACTS = ("tokens", "finished", "prompt_truncated")


def main(policy: str) -> None:
    params = load_params()
    settings = params.generate
    state = check_processes(params.launch.processes)
    prompts = choose_prompts(
        read_table_file(settings.prompts),
        settings.max_prompts,
        params.seed,
        settings.prompts,
        params.data.cluster,
        settings.category,
    )
    model = for_generating(load_causal("models/base", None if policy == "base" else f"models/policy/{policy}"))
    responses = respond(
        model, load_tokenizer("models/base"), list(prompts["prompt"]),
        max_new_tokens=settings.max_new_tokens, batch_size=settings.batch_size,
        temperature=settings.temperature, top_p=settings.top_p, seed=params.seed, description=policy,
    )  # fmt: skip
    if state.is_main_process:
        rows = [
            row | {"policy": policy, "response": r.text} | {name: getattr(r, name) for name in FACTS}
            for row, [r] in zip(prompts.to_dict("records"), responses, strict=True)
        ]
        write_json(f"data/responses/generated/{policy}.json", rows)


if __name__ == "__main__":
    run(main)
