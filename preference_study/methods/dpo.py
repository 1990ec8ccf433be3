"""DPO: -log sigmoid(beta (log-ratio of chosen - of rejected)), ratios to the reference (Rafailov et al. 2023, eq. 7).

The loss looks at the difference alone, so both responses can become less likely. `sft_weight` times -log pi(chosen) a token is
added where it is above 0, as in RPO (Pang et al. 2024, "Iterative Reasoning Preference Optimization", eq. 1, alpha there). TRL
takes the mean over all chosen tokens of a batch, the paper that of each response, so long ones weigh more here.
"""

from typing import Annotated, Any

from pydantic import Field

from preference_study.methods import Method, Recipe
from preference_study.sections import MethodSection, Training


class DPOSection(MethodSection):
    sft_weight: Annotated[float, Field(ge=0)]


def recipe() -> Recipe:
    from trl import DPOConfig

    from preference_study.training.trainers import DPO, pair_rows

    return Recipe(DPO, DPOConfig, pair_rows)


def configure(policy: Training, own: DPOSection, processes: int) -> dict[str, Any]:
    losses = {"sigmoid": 1.0} | ({"sft": own.sft_weight} if own.sft_weight else {})
    return {
        "max_length": None,
        "loss_type": list(losses),
        "loss_weights": list(losses.values()),
        "beta": own.beta,
        "precompute_ref_log_probs": True,
    }


METHOD = Method("DPO", DPOSection, recipe, configure, needs_reference=True, given_reference=True)
