"""What the sections of params.yaml are made of: their base classes and the types that several of them use."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Count = Annotated[int, Field(gt=0)]
Limit = Annotated[int, Field(gt=0)] | None
Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]


class Section(BaseModel):
    """A part of params.yaml; a name that it does not have is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Training(Section):
    """What reward models and policies are trained with alike."""

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


class MethodSection(Section):
    """The parameters of one method, policy.<method>."""

    learning_rate: Positive
    beta: Positive
