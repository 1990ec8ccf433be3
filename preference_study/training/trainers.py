"""TRL's trainers of policies, made to take tokens, and the rows they train on."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from datasets import Dataset, Features, List, Value, concatenate_datasets
from torch.utils.data import DataLoader
from tqdm.auto import tqdm
from transformers import PreTrainedModel
from trl import DPOTrainer, KTOTrainer, RLOOTrainer
from trl.experimental.cpo import CPOTrainer
from trl.experimental.orpo import ORPOTrainer
from trl.trainer import rloo_trainer
from trl.trainer.utils import RepeatSampler

from preference_study.errors import BadInput
from preference_study.models.batching import batches_by_length
from preference_study.models.head_rows import rows_together
from preference_study.models.language_models import batch_rewards
from preference_study.models.token_pairs import BothSides, TokenPairs, distinct, written
from preference_study.models.tokens import TokenPair
from preference_study.sections import Training
from preference_study.training.head import cheaper_head
from preference_study.training.run import REMEDY, EpochSampler, PairedByLength

cheaper_head()
# TRL shuffles what it has sampled before it trains on it. In bfloat16 a response's log-probability differs with those computed
# beside it: its ratio to that at sampling would not be 1 where nothing has changed, and it could be clipped for that.
rloo_trainer.shuffle_sequence_dict = lambda rows: rows

UNPAIRED = Features(
    {name: List(Value("int32")) for name in ("prompt_ids", "completion_ids", "KL_completion_ids")}
    | {"label": Value("bool"), "tokens": Value("int32")}
)


def share_of_tokens(accelerator: Accelerator, tokens: torch.Tensor) -> torch.Tensor | float:
    """What a process's mean over its tokens is multiplied with, so that the processes' mean is that over the tokens of all.

    Processes have as many pairs each, and not as many tokens: the plain mean of their means is another loss than one process's.

    Args:
        tokens: how many this process's mean is over, a tensor of one number.
    """
    state = accelerator.gradient_state
    repeated = state.end_of_dataloader and state.remainder > 0  # accelerate fills the last batch up with pairs that were there
    if accelerator.num_processes == 1 or repeated:
        return 1.0
    return tokens * accelerator.num_processes / accelerator.reduce(tokens.clone(), reduction="sum")


class DPO(PairedByLength, DPOTrainer):
    """TRL's DPO trainer on tokens, batched by length, with the reference's log-probabilities given."""

    def _precompute_ref_logps(self, dataset: Dataset, *_) -> Dataset:
        return dataset

    def _compute_loss(self, model: Any, inputs: dict[str, torch.Tensor], return_outputs: bool) -> Any:
        weights = self.loss_weights
        if "sft" in self.loss_types:
            chosen, _ = inputs["completion_mask"][:, 1:].chunk(2)
            share = share_of_tokens(self.accelerator, chosen.sum())
            of_each = zip(self.loss_types, weights, strict=True)
            self.loss_weights = [weight * share if name == "sft" else weight for name, weight in of_each]
        try:
            return super()._compute_loss(model, inputs, return_outputs)
        finally:
            self.loss_weights = weights


class KTO(KTOTrainer):
    """TRL's KTO trainer on tokens; batches are the rows in the order of `unpaired_rows`."""

    def _prepare_dataset(self, dataset: Dataset, *_: Any) -> Dataset:
        return dataset

    def _precompute_ref_logps(self, dataset: Dataset, name: str, batch_size: int) -> Dataset:
        """As TRL's, but that the numbers stay in memory: TRL hands them from the first process to the others in a file, and of
        rows in memory each process looks for it in a temporary folder of its own."""
        loader = self.accelerator.prepare(DataLoader(dataset, batch_size=batch_size, collate_fn=self.data_collator))
        model = self.ref_model or self.model
        found = []
        with tqdm(total=len(dataset), desc="reference", disable=not self.accelerator.is_main_process) as bar:
            for batch in loader:
                found.append(self.accelerator.gather_for_metrics(self.compute_ref_log_probs(model, batch)))
                bar.update(len(found[-1][0]))
        columns = zip(("ref_logps", "ref_KL_logps"), zip(*found, strict=True), strict=True)
        made = Dataset.from_dict({name: torch.cat(parts).float().cpu().numpy() for name, parts in columns})
        return concatenate_datasets([dataset, made], axis=1)


class _Concatenated(PairedByLength):
    """For TRL's older trainers, which write pairs as tokens row by row."""

    def tokenize_row(self, row: dict, model: Any = None) -> dict:
        prompt = row["prompt_ids"]
        written = {"prompt_input_ids": prompt, "prompt_attention_mask": [1] * len(prompt)}
        for side in ("chosen", "rejected"):
            response = row[f"{side}_ids"]
            written[f"{side}_input_ids"] = prompt + response
            written[f"{side}_attention_mask"] = [1] * (len(prompt) + len(response))
            written[f"{side}_labels"] = [-100] * len(prompt) + response
        return written


class SimPO(_Concatenated, CPOTrainer):
    """TRL's CPO trainer, whose loss can be SimPO's, on tokens, batched by length."""


class ORPO(_Concatenated, ORPOTrainer):
    """TRL's ORPO trainer on tokens, batched by length."""

    def concatenated_forward(self, model: Any, batch: dict[str, Any]) -> tuple:
        found = list(super().concatenated_forward(model, batch))
        found[4] = found[4] * share_of_tokens(self.accelerator, batch["chosen_attention_mask"][:, 1:].sum())  # of all its tokens
        return tuple(found)


class EpochPrompts(RepeatSampler):
    """TRL's order of prompts, shuffled anew each epoch by seed and epoch alone, so that a continued run sees the same order."""

    epoch = 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __iter__(self):
        self.generator.manual_seed(self.seed + 1_000_003 * self.epoch)
        return super().__iter__()


class RLOO(RLOOTrainer):
    """TRL's RLOO trainer on prompts that are tokens already."""

    def _get_train_sampler(self, dataset: Dataset | None = None) -> EpochPrompts:
        made = super()._get_train_sampler(dataset)
        if made.num_samples < made.batch_size:  # the sampler would give none, and training end at once
            raise BadInput(
                f"rloo samples responses to {made.batch_size} different prompts at a time (policy.rloo.batch_size x "
                "policy.rloo.steps_per_generation x policy.gradient_accumulation_steps), and the training pairs have "
                f"{made.num_samples}: lower one of these, or train on more prompts (policy.max_train)"
            )
        return EpochPrompts(
            made.data_source, made.mini_repeat_count, made.batch_size, made.repeat_count, shuffle=made.shuffle, seed=made.seed
        )

    def _tokenize_prompts(self, prompts: list[list[int]]) -> tuple[list[list[int]], None, dict]:
        return prompts, None, {}

    def _generate_single_turn(self, *arguments: Any) -> list[list[int]]:
        try:
            with rows_together(self.accelerator.unwrap_model(self.model)):
                return super()._generate_single_turn(*arguments)
        except RuntimeError as error:
            if "probability tensor" not in str(error):
                raise
            raise SystemExit(
                f"training diverged at step {self.state.global_step}: the policy's probabilities are no numbers any more, "
                f"learning rate {self.args.learning_rate}; {REMEDY}"
            ) from None


def pair_rows(pairs: Sequence[TokenPair], section: Training, seed: int) -> Dataset:
    """{prompt_ids, chosen_ids, rejected_ids, length, tokens} per pair, what the paired methods train on."""
    return TokenPairs.of(pairs).rows.select_columns(["prompt_ids", "chosen_ids", "rejected_ids", "length", "tokens"])


def unpaired_rows(pairs: Sequence[TokenPair], section: Training, seed: int) -> Dataset:
    """{prompt_ids, completion_ids, label, KL_completion_ids, tokens} per response; label: whether it was the chosen one.

    The rows stand in the order they are trained in, batches of similar length as `EpochSampler` has them. KTO's z_0 (Ethayarajh
    et al. 2024, section 4.1) is estimated from each prompt with the response to another one of its batch, `KL_completion_ids`
    (to the same one where the batch has no other); over the whole batch, so that the number of processes does not change it.
    """
    pairs, batch = TokenPairs.of(pairs), 2 * section.batch_size
    order = tuple(EpochSampler(batch, BothSides(pairs).lengths, seed))
    return written("unpaired", pairs.folder, UNPAIRED, _unpaired, pairs=pairs, order=order, batch=batch)


def _unpaired(pairs: TokenPairs, order: Sequence[int], batch: int) -> Iterator[dict[str, Any]]:
    """The rows of `unpaired_rows`, a batch at a time; in the order 2 i is pair i's chosen response, and 2 i + 1 its rejected."""
    for start in range(0, len(order), batch):
        places = order[start : start + batch]
        own = pairs.some([place // 2 for place in places])
        responses = [p.rejected_ids if place % 2 else p.chosen_ids for p, place in zip(own, places, strict=True)]
        prompts = [p.prompt_ids for p in own]
        # As many rows on as give the fewest a response to their own prompt.
        back = min(range(1, len(own)), key=lambda n: sum(p == prompts[i - n] for i, p in enumerate(prompts)), default=0)
        others = [responses[i - back] for i in range(len(own))]
        for p, place, ids, other in zip(own, places, responses, others, strict=True):
            yield {
                "prompt_ids": p.prompt_ids,
                "completion_ids": ids,
                "label": place % 2 == 0,
                "tokens": len(p.prompt_ids) + len(ids),
                "KL_completion_ids": other,
            }


def prompt_rows(pairs: Sequence[TokenPair], section: Training, seed: int) -> Dataset:
    """{prompt} per different prompt, as tokens: the policy makes its own responses.

    Args:
        pairs: with whole prompts, as `stages.train_policy.prompts_alone` makes them.
    """
    pairs = TokenPairs.of(pairs)
    first, _ = distinct(p.prompt_ids for p in pairs)
    return pairs.rows.select(first).select_columns(["prompt_ids"]).rename_column("prompt_ids", "prompt")


def eos_token_ids(model: PreTrainedModel, eos_token_id: int) -> list[int]:
    """The tokens at which RLOO's sampled responses end: the chat template's end of turn, then others that the model names."""
    named = model.generation_config.eos_token_id
    others = named if isinstance(named, list) else [named]
    return [eos_token_id, *(token for token in others if token not in (None, eos_token_id))]


def judging(
    model: PreTrainedModel, ends: Sequence[int], missing_eos_penalty: float, max_batch: int, max_padded: int
) -> Callable[..., list[float]]:
    """A reward function as RLOO calls it: the reward model's reward of each sampled response.

    A response that was cut off is scored as if it had ended there, like every other one in this project, and then loses
    `missing_eos_penalty`, in the reward model's units: no reward model sees that it would have gone on (the "EOS trick" of
    Huang et al. 2024, "The N+ Implementation Details of RLHF with PPO").

    Args:
        ends: the tokens that end a response. Every response is scored with the first of them, the chat template's, at its end.
        max_batch, max_padded: what a forward pass may take, as `batches_by_length` has them; each process scores its own.
    """

    def reward(prompts: list[list[int]], completion_ids: list[list[int]], **_: Any) -> list[float]:
        cut_off = [not ids or ids[-1] not in ends for ids in completion_ids]
        ended = [[*(ids if cut else ids[:-1]), ends[0]] for ids, cut in zip(completion_ids, cut_off, strict=True)]
        texts, scores = [prompt + ids for prompt, ids in zip(prompts, ended, strict=True)], np.zeros(len(ended))
        for batch in batches_by_length(list(map(len, texts)), max_batch, max_padded):
            scores[batch] = batch_rewards(model, [texts[i] for i in batch])
        return (scores - missing_eos_penalty * np.array(cut_off)).tolist()

    return reward
