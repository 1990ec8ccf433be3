"""Several models that differ by seed and order of the data (Coste et al. 2023)."""

from typing import Annotated

from pydantic import Field

from preference_study.sections import Section
from preference_study.variants import RewardVariant


class EnsembleSection(Section):
    """members: how many."""

    members: Annotated[int, Field(ge=2)]


VARIANT = RewardVariant(EnsembleSection, members=lambda own: own.members)
