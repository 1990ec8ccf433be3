"""What the sections of params.yaml are made of: their base classes and the types that several of them use."""

import re
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

Count = Annotated[int, Field(gt=0)]
Limit = Annotated[int, Field(gt=0)] | None
Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
# Of vllm.LLM's arguments, those that the study gives.
SET_HERE = {
    "model", "tokenizer", "dtype", "max_num_seqs", "max_model_len", "tensor_parallel_size", "data_parallel_size", "seed",
    "skip_tokenizer_init", "generation_config", "trust_remote_code",
}  # fmt: skip


def as_word(value: Any) -> str:
    """A value that stands for a preference as a text: 1, 1.0, '1.00' and ' 1 ' are all '1'. True is 'True', and no number."""
    text = re.sub(r"\.0+\Z", "", str(value).strip())
    return "0" if text == "-0" else text


class Section(BaseModel):
    """A part of params.yaml; a name that it does not have is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def numbers_are_no_truth_values(cls, values: Any) -> Any:
        """YAML's true and yes would pass for 1."""
        for name, field in cls.model_fields.items():
            if isinstance(values, dict) and isinstance(values.get(name), bool) and "bool" not in str(field.annotation):
                raise ValueError(f"{name} is {str(values[name]).lower()}, where a number, a text or a list belongs")
        return values


class Columns(Section):
    """Which columns of a raw file hold what: chosen and rejected, or two responses and which was preferred."""

    prompt: str | None = None
    about: str | None = None  # a text that the prompt is about, which stands on the lines after it
    system: str | None = None
    chosen: str | None = None
    rejected: str | None = None
    responses: Annotated[list[str], Field(min_length=2, max_length=2)] | None = None
    preference: str | None = None
    coding: Annotated[list[int | str | bool], Field(min_length=2, max_length=2)] | None = None
    tie: list[int | str | bool] = []

    @model_validator(mode="after")
    def one_of_two_shapes(self):
        two_sides, by_preference = (self.chosen, self.rejected), (self.responses, self.preference, self.coding)
        if not ((all(two_sides) and not any(by_preference)) or (all(by_preference) and not any(two_sides))):
            raise ValueError("name either chosen and rejected, or responses, preference and coding")
        coding, ties = (list(map(as_word, values)) for values in (self.coding or [], self.tie))
        if "" in coding:
            raise ValueError("coding names an empty text, which is no preference")
        if len(set(coding)) < len(coding):
            raise ValueError(f"coding names {self.coding[0]!r} for both responses")
        if set(ties) & set(coding):
            raise ValueError("a value of coding stands under tie too")
        named = [self.prompt, self.about, self.system, self.chosen, self.rejected, self.preference, *(self.responses or [])]
        if twice := next((name for name in named if name is not None and named.count(name) > 1), None):
            raise ValueError(f"column {twice!r} is named twice")
        return self


class Training(Section):
    """What reward models and policies are trained with alike."""

    epochs: Positive
    batch_size: Count
    gradient_accumulation_steps: Count
    warmup: Annotated[float, Field(ge=0, lt=1)]  # a share of the steps; transformers takes 1 for a single one
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


class Vllm(Section):
    """generate.vllm: the environment that has it, and how it uses GPUs."""

    python: str
    tensor_parallel: Count
    data_parallel: Count
    options: dict[str, Any]

    @model_validator(mode="after")
    def options_are_others(self):
        if taken := self.options.keys() & SET_HERE:
            raise ValueError(f"options: {', '.join(sorted(taken))} is set by other parameters of the study; leave it out")
        return self
