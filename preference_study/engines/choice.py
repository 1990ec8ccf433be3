"""Responses of base or a policy by the engine that the parameters name."""

from typing import Any

from preference_study.engines.by_vllm import respond as respond_by_vllm
from preference_study.models.generation import Response, respond
from preference_study.models.language_models import for_generating, load_causal, load_tokenizer
from preference_study.models.tokens import Turns
from preference_study.processes import check_processes
from preference_study.sections import Vllm


def responses(
    policy: str | None,
    prompts: list[Turns],
    *,
    engine: str,
    vllm: Vllm,
    processes: int,
    batch_size: int,
    samples: int = 1,
    description: str,
    **settings: Any,
) -> list[list[Response]]:
    """Responses to each prompt by the model in models/base or, where `policy` names one, by that policy.

    Args:
        engine: transformers, in as many processes as the launcher has started; or vllm, which shares its work out itself.
        processes: that there should be.
        batch_size: most sequences at a time.
        settings: as `respond` takes them.

    Returns:
        Per prompt, in the order given, its responses, in every process.
    """
    adapter = None if policy is None else f"models/policy/{policy}"
    tokenizer = load_tokenizer("models/base")
    if engine == "vllm":
        return respond_by_vllm(
            "models/base", adapter, tokenizer, prompts, vllm, batch_size=batch_size, samples=samples, **settings
        )
    check_processes(processes)
    model = for_generating(load_causal("models/base", adapter))
    return respond(
        model, tokenizer, prompts, batch_size=max(1, batch_size // samples), samples=samples, description=description, **settings
    )
