"""Bradley-Terry's loss on the pairs as they are."""

from preference_study.variants import RewardVariant

VARIANT = RewardVariant()
