"""Taking a policy or a reward model along: a folder that other programs load as it is."""

from preference_study.variants import VARIANTS


def not_exported(variant: str) -> str | None:
    """Why a reward model of this variant cannot be exported; None where it can.

    What a variant changes in training leaves nothing behind: product_of_experts is its main expert alone, as it scores here.
    """
    if VARIANTS[variant].members is None:
        return None
    return (
        f"{variant} is several models, whose rewards reward.aggregate sums up, and no class of transformers does that: "
        "export a variant that is one model"
    )
