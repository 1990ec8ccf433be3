"""ORPO: supervised fine-tuning with an odds-ratio term, in one stage and without a reference (Hong et al. 2024, eq. 6)."""

from typing import Any

from preference_study.methods import Method, Recipe
from preference_study.sections import MethodSection, Training


def recipe() -> Recipe:
    from trl.experimental.orpo import ORPOConfig

    from preference_study.training.trainers import ORPO, pair_rows

    return Recipe(ORPO, ORPOConfig, pair_rows)


def configure(policy: Training, own: MethodSection, processes: int) -> dict[str, Any]:
    return {"max_length": policy.max_length, "beta": own.beta}


METHOD = Method("ORPO", MethodSection, recipe, configure)
