"""The methods that align a policy, one file each.

A new method is a file here with an entry `METHOD`, and its section under `policy` in params.yaml. The schema of the parameters,
the colours, the names on the page and `make methods` follow from that; docs/extending.md has an example.
"""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from preference_study.registry import entries
from preference_study.sections import MethodSection, Training

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import Trainer, TrainingArguments

    from preference_study.models.tokens import TokenPair


@dataclass(frozen=True)
class Recipe:
    """What trains a method.

    Attributes:
        trainer, config: TRL's, or a thin class over it.
        rows: (training pairs, policy section, seed) -> the rows it trains on: what the trainer takes; length, of a row's longest
            sequence in tokens, where the trainer makes batches by it; and tokens, of all sequences of a row, unless the method
            samples its responses.
    """

    trainer: "type[Trainer]"
    config: "type[TrainingArguments]"
    rows: "Callable[[Sequence[TokenPair], Training, int], Dataset]"


@dataclass(frozen=True)
class Method:
    """How a policy is aligned. The method's name, in parameters and file names, is its file's.

    Attributes:
        display: its name where people read it.
        section: the schema of policy.<name>.
        recipe: imports TRL and gives what trains it; called in training alone, for that import takes seconds.
        configure: (policy section, own section, processes) -> the method's part of the recipe's `config`.
        check: (policy section, own section) -> raises ValueError where they do not go together.
        needs_reference: whether the loss has a reference model. Where it has, beta (log pi - log pi_ref) is its implicit reward.
        given_reference: whether its rows take the log-probabilities of data/logps/base; the others' trainers make what they need.
        needs_reward_model: whether it is online: responses are sampled in training and a reward model scores them.
        needs_pairs: whether chosen and rejected must be responses to the same prompt.
    """

    display: str
    section: type[MethodSection]
    recipe: Callable[[], Recipe]
    configure: Callable[[Training, Any, int], dict[str, Any]]
    check: Callable[[Training, Any], None] = lambda policy, own: None
    needs_reference: bool = False
    given_reference: bool = False
    needs_reward_model: bool = False
    needs_pairs: bool = True


METHODS: dict[str, Method] = entries(sys.modules[__name__], "METHOD")


def display_name(policy: str) -> str:
    """A policy's name where people read it: a method's own; base is called base."""
    return METHODS[policy].display if policy in METHODS else policy


def named(of_policies: dict[str, Any]) -> dict[str, Any]:
    """What is known of some policies, by their names where people read them."""
    return {display_name(policy): found for policy, found in of_policies.items()}
