"""SimPO: the mean log-probability of a token as the reward, without a reference, and a margin (Meng et al. 2024, eq. 6)."""

from typing import Annotated, Any

from pydantic import Field

from preference_study.methods import Method, Recipe
from preference_study.sections import MethodSection, Training


class SimpoSection(MethodSection):
    """gamma: the margin aimed at between the rewards, beta already in it."""

    gamma: Annotated[float, Field(ge=0)]


def recipe() -> Recipe:
    from trl.experimental.cpo import CPOConfig

    from preference_study.training.trainers import SimPO, pair_rows

    return Recipe(SimPO, CPOConfig, pair_rows)


def configure(policy: Training, own: SimpoSection, processes: int) -> dict[str, Any]:
    return {
        "max_length": policy.max_length,
        "loss_type": "simpo",
        "cpo_alpha": 0.0,
        "beta": own.beta,
        # TRL's gamma is the paper's: the target margin between rewards, already multiplied by beta.
        "simpo_gamma": own.gamma,
    }


METHOD = Method("SimPO", SimpoSection, recipe, configure)
