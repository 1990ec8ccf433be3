"""RLOO: sampled responses, scored by the reward model, each against the others' mean (Ahmadian et al. 2024, section 2.2)."""

from typing import Annotated, Any

from pydantic import Field

from preference_study.methods import Method, Recipe
from preference_study.sections import Count, MethodSection, Positive, Training


class RlooSection(MethodSection):
    """beta is of the KL divergence from base, taken off the reward; batch_size counts prompts in a step.

    clip_range is PPO's (Schulman et al. 2017, equation 7), on the ratio of a whole response's probabilities. In a generation's
    first step that is 1, for a step's responses are computed together both times; in later ones a response whose ratio has left
    1 - clip_range to 1 + clip_range, in the direction of its advantage, has no gradient.
    """

    steps: Count
    batch_size: Count
    steps_per_generation: Count
    clip_range: Positive
    generations: Annotated[int, Field(ge=2)]
    max_new_tokens: Count
    temperature: Positive
    missing_eos_penalty: Annotated[float, Field(ge=0)]


def recipe() -> Recipe:
    from trl import RLOOConfig

    from preference_study.training.trainers import RLOO, prompt_rows

    return Recipe(RLOO, RLOOConfig, prompt_rows)


def configure(policy: Training, own: RlooSection, processes: int) -> dict[str, Any]:
    return {
        "beta": own.beta,
        "max_steps": own.steps,
        "num_generations": own.generations,
        # Sampled together, for a few steps at a time: later ones are weighted by what the policy has moved since (TRL).
        "steps_per_generation": own.steps_per_generation * policy.gradient_accumulation_steps,
        "epsilon": own.clip_range,
        # As the other methods have it: with dropout the ratio would be of two different models.
        "disable_dropout": True,
        "max_completion_length": own.max_new_tokens,
        "temperature": own.temperature,
        "per_device_train_batch_size": own.batch_size * own.generations // processes,
        "eval_strategy": "no",  # there is no loss on validation pairs
        "eval_steps": None,
    }


def check(policy: Training, own: RlooSection) -> None:
    """Checkpoints must lie between generations."""
    if policy.save_steps % own.steps_per_generation:
        raise ValueError(
            f"save_steps {policy.save_steps} is no multiple of rloo.steps_per_generation {own.steps_per_generation}: "
            "a killed run could not go on where it was"
        )


METHOD = Method("RLOO", RlooSection, recipe, configure, check, needs_reference=True, needs_reward_model=True, needs_pairs=False)
