"""DPO: -log sigmoid(beta (log-ratio of chosen - of rejected)), ratios to the reference (Rafailov et al. 2023, eq. 7)."""

from typing import Any

from preference_study.methods import Method, Recipe
from preference_study.sections import MethodSection, Training


def recipe() -> Recipe:
    from trl import DPOConfig

    from preference_study.training.trainers import DPO, pair_rows

    return Recipe(DPO, DPOConfig, pair_rows)


def configure(policy: Training, own: MethodSection, processes: int) -> dict[str, Any]:
    return {"max_length": None, "loss_type": ["sigmoid"], "beta": own.beta, "precompute_ref_log_probs": True}


METHOD = Method("DPO", MethodSection, recipe, configure, needs_reference=True, given_reference=True)
