"""KTO: single responses, desirable or not, by a value function of prospect theory (Ethayarajh et al. 2024, eq. 8).

Of several epochs each has the same batches in the same order: with a response go those that its z_0 is estimated from.
"""

from typing import Any

from preference_study.methods import Method, Recipe
from preference_study.sections import MethodSection, Positive, Training


class KtoSection(MethodSection):
    """Weights of desirable and undesirable responses (lambda_D, lambda_U)."""

    desirable_weight: Positive
    undesirable_weight: Positive


def recipe() -> Recipe:
    from trl import KTOConfig

    from preference_study.training.trainers import KTO, unpaired_rows

    return Recipe(KTO, KTOConfig, unpaired_rows)


def configure(policy: Training, own: KtoSection, processes: int) -> dict[str, Any]:
    rows = 2 * policy.batch_size // processes
    return {
        "max_length": None,
        "beta": own.beta,
        "desirable_weight": own.desirable_weight,
        "undesirable_weight": own.undesirable_weight,
        "precompute_ref_log_probs": True,
        "train_sampling_strategy": "sequential",
        "per_device_train_batch_size": rows,
        "per_device_eval_batch_size": rows,
    }


METHOD = Method("KTO", KtoSection, recipe, configure, needs_reference=True, needs_pairs=False)
