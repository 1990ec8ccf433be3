"""How likely a policy's own responses are to it and to base, token by token -> data/kl/<method>.json; the estimates come later.

python -m stages.measure_kl dpo

Responses are sampled at temperature 1, whatever `generate.temperature` is: the KL divergence is of the trained distribution.
"""

from preference_study.artifacts import write_json
from preference_study.boundary import run
from preference_study.data.prompts import prompts_of_file
from preference_study.models.generation import respond
from preference_study.models.language_models import for_generating, load_causal, load_tokenizer, token_logps
from preference_study.params import Params, load_params
from preference_study.processes import check_processes

DECIMALS = 6  # of a log-probability: bfloat16 knows fewer


def sampled_logps(params: Params, method: str) -> list[dict]:
    """Rows of id, cluster, response, tokens (with EOS), finished, policy_logps and base_logps: one number a token, in nats."""
    settings = params.generate
    data = params.data
    prompts = prompts_of_file(settings.prompts, settings.kl_prompts, data.seed, data.cluster, columns=data.columns)
    tokenizer = load_tokenizer("models/base")
    sampled = respond(
        for_generating(load_causal("models/base", f"models/policy/{method}")), tokenizer, list(prompts["prompt"]),
        max_new_tokens=settings.max_new_tokens, batch_size=settings.batch_size, temperature=1.0, seed=params.seed,
        description=f"{method}, sampled",
    )  # fmt: skip
    responses = [response for [response] in sampled]
    asked, answered = [r.prompt_ids for r in responses], [r.ids for r in responses]
    logps = {
        # Both in one way, so that rounding does not tell them apart: a policy that is base is at no distance from it.
        name: token_logps(
            load_causal("models/base", adapter), asked, answered, **params.scoring.model_dump(), description=f"{method} by {name}"
        )
        for name, adapter in (("policy", f"models/policy/{method}"), ("base", None))
    }
    return [
        {"id": id, "cluster": cluster, "response": r.text, "tokens": len(r.ids), "finished": r.finished}
        | {f"{name}_logps": [round(logp, DECIMALS) for logp in logps[name][place].tolist()] for name in logps}
        for place, (id, cluster, r) in enumerate(zip(prompts["id"], prompts["cluster"], responses, strict=True))
    ]


def main(method: str) -> None:
    params = load_params()
    state = check_processes(params.launch.processes)
    rows = sampled_logps(params, method) if params.generate.kl_prompts != 0 else []
    if state.is_main_process:
        write_json(f"data/kl/{method}.json", rows)


if __name__ == "__main__":
    run(main)
