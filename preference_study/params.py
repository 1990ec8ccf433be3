"""The schema of params.yaml: every parameter, its type and its range."""

from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

Count = Annotated[int, Field(gt=0)]
Limit = Annotated[int, Field(gt=0)] | None
Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
Aggregate = Literal["mean", "worst", "mean_minus_spread"]
MethodName = Literal["dpo", "ipo", "kto", "simpo", "orpo", "rloo"]
ONLINE = ("rloo",)  # methods that train against the reward model
VariantName = Literal["standard", "product_of_experts", "length_margin", "ensemble", "noise_robust"]


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class HubSource(Section):
    name: str
    config: str | None = None
    split: str
    revision: str | None = None
    file: str


class Data(Section):
    train: str
    val: str
    max_train: Limit
    max_val: Limit
    hub: list[HubSource]


class Model(Section):
    name: str
    revision: str | None
    system_prompt: str | None


class Training(Section):
    epochs: Positive
    batch_size: Count
    gradient_accumulation_steps: Count
    warmup: Share
    max_length: Annotated[int, Field(ge=8)]
    lora_rank: Annotated[int, Field(ge=0)]
    lora_layers: Limit
    gradient_checkpointing: bool
    save_steps: Count
    evaluations: Annotated[int, Field(ge=0)]


class Standard(Section):
    """Nothing of its own."""


class ProductOfExperts(Section):
    loss: Literal["difference", "likelihood"]
    bias_weight: Positive


class LengthMargin(Section):
    weight: Positive


class EnsembleSize(Section):
    members: Annotated[int, Field(ge=2)]


class NoiseRobust(Section):
    loss: Literal["conservative", "unbiased"]
    flip_rate: Annotated[float, Field(ge=0, lt=0.5)]


class Aggregation(Section):
    by: Aggregate
    spread_weight: Annotated[float, Field(ge=0)]


class Reward(Training):
    learning_rate: Positive
    variants: Annotated[list[VariantName], Field(min_length=1)]
    judge: VariantName
    flipped: Annotated[float, Field(ge=0, lt=0.5)]
    aggregate: Aggregation
    standard: Standard
    product_of_experts: ProductOfExperts
    length_margin: LengthMargin
    ensemble: EnsembleSize
    noise_robust: NoiseRobust

    @model_validator(mode="after")
    def judge_is_trained(self):
        if self.judge not in self.variants:
            raise ValueError(f"judge {self.judge!r} is not one of reward.variants {self.variants}")
        return self


class Aligning(Section):
    """The parameters of one method."""

    learning_rate: Positive
    beta: Positive


class Kto(Aligning):
    desirable_weight: Positive
    undesirable_weight: Positive


class Simpo(Aligning):
    gamma: Annotated[float, Field(ge=0)]


class Rloo(Aligning):
    steps: Count
    batch_size: Count
    steps_per_generation: Count
    generations: Annotated[int, Field(ge=2)]
    max_new_tokens: Count
    temperature: Positive
    missing_eos_penalty: Annotated[float, Field(ge=0)]


class Policy(Training):
    methods: Annotated[list[MethodName], Field(min_length=1)]
    max_train: Limit
    dpo: Aligning
    ipo: Aligning
    kto: Kto
    simpo: Simpo
    orpo: Aligning
    rloo: Rloo

    @model_validator(mode="after")
    def checkpoints_lie_between_generations(self):
        if "rloo" in self.methods and self.save_steps % self.rloo.steps_per_generation:
            raise ValueError(
                f"save_steps {self.save_steps} is no multiple of rloo.steps_per_generation {self.rloo.steps_per_generation}: "
                "a killed run could not go on where it was"
            )
        return self

    def own(self, method: str) -> Aligning:
        """The parameters of one method."""
        return getattr(self, method)

    def shared(self) -> dict:
        """The parameters that every method has."""
        return self.model_dump(exclude={"methods", "dpo", "ipo", "kto", "simpo", "orpo", "rloo"})


class Generate(Section):
    prompts: str
    max_prompts: Limit
    max_new_tokens: Count
    batch_size: Count
    temperature: Annotated[float, Field(ge=0)]
    top_p: Annotated[float, Field(gt=0, le=1)]


class Scoring(Section):
    max_batch: Count
    max_padded: Count


class Stress(Section):
    variants: list[VariantName]
    max_pairs: Annotated[int, Field(ge=0)] | None


class BestOfN(Section):
    variants: list[VariantName]
    max_prompts: Limit
    samples: Literal[2, 4, 8, 16, 32, 64]
    temperature: Positive


class Launch(Section):
    processes: Count
    machines: Count
    accelerate_config: str | None


class Params(Section):
    """All of params.yaml; see the comments there."""

    seed: Annotated[int, Field(ge=0, lt=2**31)]
    data: Data
    model: Model
    reward: Reward
    policy: Policy
    generate: Generate
    stress: Stress
    best_of_n: BestOfN
    scoring: Scoring
    launch: Launch

    @model_validator(mode="after")
    def measured_variants_are_trained(self):
        for name, section in (("stress", self.stress), ("best_of_n", self.best_of_n)):
            if missing := set(section.variants) - set(self.reward.variants):
                raise ValueError(f"{name}.variants: {', '.join(sorted(missing))} not in reward.variants {self.reward.variants}")
        return self

    @model_validator(mode="after")
    def batches_divide(self):
        sections = (("reward", self.reward), ("policy", self.policy), ("policy.rloo", self.policy.rloo))
        for name, section in sections:
            if section.batch_size % self.launch.processes:
                raise ValueError(
                    f"{name}.batch_size {section.batch_size} cannot be shared by launch.processes "
                    f"{self.launch.processes}: make it a multiple"
                )
        return self


def load_params(path: str | Path = "params.yaml") -> Params:
    """Read and check a parameter file.

    Raises:
        SystemExit: a parameter is missing, unknown or out of range; the message names it, its value and what is allowed.
    """
    try:
        return Params.model_validate(yaml.safe_load(Path(path).read_text(encoding="utf-8")))
    except ValidationError as error:
        lines = [
            f"  {'.'.join(map(str, e['loc'])) or 'file'}: {e['msg']}"
            + ("" if e["type"] in ("missing", "value_error") else f", but it is {e['input']!r}")
            for e in error.errors()
        ]
        raise SystemExit(f"{path} is not right; nothing was run:\n" + "\n".join(lines)) from None
    except yaml.YAMLError as error:
        raise SystemExit(f"{path} is not valid YAML; nothing was run: {error}") from None
