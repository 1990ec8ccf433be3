"""The schema of params.yaml: every parameter, its type and its range."""

import datetime
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import Field, StrictBool, StrictInt, StrictStr, ValidationError, create_model, field_validator, model_validator

from preference_study.aggregates import AGGREGATES
from preference_study.methods import METHODS
from preference_study.sections import Count, Limit, MethodSection, Positive, Section, Training
from preference_study.variants import VARIANTS

AggregateName = Literal[tuple(AGGREGATES)]
MethodName = Literal[tuple(METHODS)]
VariantName = Literal[tuple(VARIANTS)]
VariableName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]


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
    watched: str
    system_prompt: str | None
    chat_template_name: str | None
    template_arguments: dict[VariableName, StrictBool | StrictInt | StrictStr | None]
    date: str

    @field_validator("template_arguments")
    @classmethod
    def the_conversation_is_no_argument(cls, value):
        if taken := {"messages", "add_generation_prompt"} & set(value):
            raise ValueError(f"{', '.join(sorted(taken))}: the study itself gives the template these")
        return value

    @field_validator("date", mode="before")
    @classmethod
    def a_day_as_text(cls, value):
        try:
            datetime.date.fromisoformat(value)
        except (TypeError, ValueError):
            raise ValueError(f'a day in quotes is wanted, such as "2025-01-31", but it is {value!r}') from None
        return value

    @model_validator(mode="after")
    def folders_are_watched(self):
        if Path(self.name).is_dir() and Path(self.name) != Path(self.watched):
            raise ValueError(f"name {self.name!r} is a folder: write it under model.watched too, so that new weights are noticed")
        return self


class Aggregation(Section):
    by: AggregateName
    spread_weight: Annotated[float, Field(ge=0)]


class RewardTraining(Training):
    """The reward section but for the variants' own: each has one of its name."""

    learning_rate: Positive
    variants: Annotated[list[VariantName], Field(min_length=1)]
    judge: VariantName
    flipped: Annotated[float, Field(ge=0, lt=0.5)]
    aggregate: Aggregation

    @model_validator(mode="after")
    def judge_is_trained(self):
        if self.judge not in self.variants:
            raise ValueError(f"judge {self.judge!r} is not one of reward.variants {self.variants}")
        return self

    def own(self, variant: str) -> Section:
        """The parameters of one variant."""
        return getattr(self, variant)


class PolicyTraining(Training):
    """The policy section but for the methods' own: each has one of its name."""

    methods: Annotated[list[MethodName], Field(min_length=1)]
    max_train: Limit

    @model_validator(mode="after")
    def methods_go_with_the_section(self):
        for method in self.methods:
            METHODS[method].check(self, self.own(method))
        return self

    def own(self, method: str) -> MethodSection:
        """The parameters of one method."""
        return getattr(self, method)

    def shared(self) -> dict:
        """The parameters that every method has."""
        return self.model_dump(exclude={"methods", *METHODS})


Reward = create_model("Reward", __base__=RewardTraining, **{name: variant.section for name, variant in VARIANTS.items()})
Policy = create_model("Policy", __base__=PolicyTraining, **{name: method.section for name, method in METHODS.items()})


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
        sections = {"reward": self.reward, "policy": self.policy}
        sections |= {f"policy.{method}": self.policy.own(method) for method in METHODS}
        for name, section in sections.items():
            if getattr(section, "batch_size", 0) % self.launch.processes:
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
    return checked_params(Path(path).read_text(encoding="utf-8"), str(path))


def checked_params(text: str, source: str) -> Params:
    """The parameters in a text, checked as by `load_params`; `source` is what an error calls it."""
    try:
        return Params.model_validate(yaml.safe_load(text))
    except ValidationError as error:
        lines = [
            f"  {'.'.join(map(str, e['loc'])) or 'file'}: {e['msg']}"
            + ("" if e["type"] in ("missing", "value_error") else f", but it is {e['input']!r}")
            for e in error.errors()
        ]
        raise SystemExit(f"{source} is not right; nothing was run:\n" + "\n".join(lines)) from None
    except yaml.YAMLError as error:
        raise SystemExit(f"{source} is not valid YAML; nothing was run: {error}") from None
