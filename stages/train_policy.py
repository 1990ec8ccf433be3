"""Preference pairs -> an aligned policy in models/policy/<method>, with TRL, and its log-probabilities on validation.

python -m stages.train_policy dpo

The methods are in preference_study/methods/.
"""

import shutil
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from datasets import Dataset
from transformers import PreTrainedTokenizerBase, Trainer

from preference_study.artifacts import open_table, read_json, write_json
from preference_study.boundary import run
from preference_study.data.sampling import seen_by_policies
from preference_study.errors import StudyError
from preference_study.methods import METHODS, Method, Recipe
from preference_study.models.frozen import kept_in, use_kept
from preference_study.models.language_models import compute_dtype, device, load_causal, load_tokenizer, pair_logps
from preference_study.models.packed import pack_rows
from preference_study.models.reward_models import load_judge
from preference_study.models.token_pairs import TokenPairs, encode_for_policies, numbers, token_folder
from preference_study.models.tokens import TokenPair, Turns, encode_prompts, fit
from preference_study.params import Params, PolicyTraining, load_params
from preference_study.processes import check_processes
from preference_study.training.run import (
    BetterThanChance,
    arguments,
    code_of,
    fingerprint,
    lora,
    peak_memory,
    train,
    training_counts,
)
from preference_study.training.trainers import eos_token_ids, judging

CHECKPOINTS = Path("checkpoints/train_policy")
PROBED = 8  # validation pairs looked at in training, to see that the policy still has a language


def prompts_alone(tokenizer: PreTrainedTokenizerBase, prompts: list[Turns], max_length: int) -> TokenPairs:
    """Training pairs with no responses, for a method that samples its own.

    The prompt of a pair that is too long makes room for the pair's responses, which such a method never reads.
    """
    whole = [ids for ids, _ in encode_prompts(tokenizer, prompts, None)]
    return TokenPairs.of([fit(tokenizer, prompt, ids, [], [], max_length) for prompt, ids in zip(prompts, whole, strict=True)])


def training_rows(
    method: Method, recipe: Recipe, section: PolicyTraining, seed: int, pairs: Sequence[TokenPair], ids: list[str], split: str
) -> Dataset:
    """A split as the method's trainer takes it, with the reference's log-probabilities where it takes those."""
    made = recipe.rows(pairs, section, seed)
    if not method.needs_reward_model and "tokens" not in made.column_names:  # else it would be missed when training is over
        raise StudyError(
            f"{recipe.rows.__module__}.{recipe.rows.__name__}: its rows have no column tokens; Recipe, in "
            "preference_study/methods/__init__.py, says what rows have"
        )
    if method.given_reference:
        logps = {row["id"]: (row["chosen_logp"], row["rejected_logp"]) for row in read_json(f"data/logps/base/{split}.json")}
        of_each = np.array([logps[id] for id in ids])
        for side, column in zip(("chosen", "rejected"), of_each.T, strict=True):
            made = made.add_column(f"ref_{side}_logps", column)
    return made


def method_facts(method: Method, section: PolicyTraining, name: str, trainer: Trainer) -> dict:
    """What the method needs, and how much it was trained on: examples and tokens, each counted as often as it was trained on.

    Examples are what a step's loss is made of: pairs, single responses or sampled ones. Tokens are those of prompts and
    responses, without padding and without the passes of a reference model.
    """
    state, dataset, own = trainer.state, trainer.train_dataset, section.own(name)
    if method.needs_reward_model:
        sampled = own.batch_size * section.gradient_accumulation_steps * own.generations
        seen = {"examples": state.global_step * sampled, "tokens": int(state.num_input_tokens_seen)}
    else:
        tokens = int(numbers(dataset, "tokens").sum())
        seen = {"examples": round(state.epoch * len(dataset)), "tokens": round(state.epoch * tokens)}
    return seen | {
        "needs_reference": method.needs_reference,
        "needs_reward_model": method.needs_reward_model,
        "needs_pairs": method.needs_pairs,
        "implicit_beta": own.beta if method.needs_reference else None,
    }


def train_policy(
    params: Params,
    name: str,
    processes: int,
    tokenizer: PreTrainedTokenizerBase,
    ids: dict[str, list[str]],
    encoded: dict[str, TokenPairs],
) -> tuple[dict, dict, list[dict]]:
    """Train one policy.

    Args:
        name: of its method.
        ids, encoded: the pairs' by split; of a method that samples its responses, prompts alone for training.

    Returns:
        What it was trained on, what that cost, and its log-probabilities of the validation pairs.
    """
    section, method, own = params.policy, METHODS[name], params.policy.own(name)
    recipe = method.recipe()
    splits = ["train", *(["val"] if section.evaluations and not method.needs_reward_model else [])]
    datasets = {split: training_rows(method, recipe, section, params.seed, encoded[split], ids[split], split) for split in splits}
    start = time.perf_counter()
    # Weights that are trained are kept in float32; what LoRA leaves frozen may as well be small.
    model = load_causal("models/base", dtype="float32" if section.lora_rank == 0 else None)
    kept = kept_in("data/frozen/policy")
    use_kept(model, kept)
    pack_rows(model)
    models, rewarded, judged = [model], {}, {}
    if method.needs_reward_model:
        models.append(load_judge("models/base", f"models/judge_for/{name}"))
        judged = getattr(models[-1], "settings", {})
        ends, limits = eos_token_ids(model, tokenizer.eos_token_id), params.scoring.model_dump()
        rewarded["reward_funcs"] = judging(models[-1], ends, own.missing_eos_penalty, **limits)
    checkpoints, target = CHECKPOINTS / name, Path("models/policy") / name
    settings = section.shared() | own.model_dump() | judged
    made_by = fingerprint(models, list(datasets.values()), settings, params.seed, code_of("methods", name))
    configuration = arguments(section, own.learning_rate, params.seed, checkpoints)
    trainer = recipe.trainer(
        model=model,
        args=recipe.config(**configuration | method.configure(section, own, processes)),
        train_dataset=datasets["train"],
        eval_dataset=datasets.get("val"),
        processing_class=tokenizer,
        peft_config=lora(model, section.lora_rank, section.lora_layers, task_type="CAUSAL_LM"),
        **rewarded,
    )
    trainer.add_callback(BetterThanChance(trainer.model, encoded["val"][:PROBED]))
    whole = train(trainer, checkpoints, made_by, Path("plots/train_policy") / name, target)
    cost = {
        "seconds": time.perf_counter() - start if whole else None,
        "peak_memory_bytes": peak_memory(),
        "device": device().type,
        "dtype": str(compute_dtype()).removeprefix("torch."),
    }

    # The policy as it was written, not the one in memory: what is measured is what is used later.
    policy = load_causal("models/base", target)
    use_kept(policy, kept)
    pack_rows(policy)
    logps = pair_logps(policy, encoded["val"], **params.scoring.model_dump(), description=f"{name} on validation")
    return training_counts(trainer, encoded) | method_facts(method, section, name, trainer), cost, logps


def main(name: str) -> None:
    params = load_params()
    state = check_processes(params.launch.processes)
    section = params.policy
    tokenizer = load_tokenizer("models/base")
    with token_folder(f"train_policy/{name}") as folder:
        table = open_table("data/prepared/train.parquet").read(["prompt", "chosen_words", "rejected_words"]).to_pandas()
        seen = seen_by_policies(table, section.max_train, params.data.seed)
        ids, encoded = encode_for_policies(tokenizer, seen, section.max_length, folder)
        if METHODS[name].needs_reward_model:
            encoded["train"] = prompts_alone(tokenizer, [list(prompt) for prompt in table["prompt"][seen]], section.max_length)
        counts, cost, logps = train_policy(params, name, state.num_processes, tokenizer, ids, encoded)
    if state.is_main_process:
        write_json(f"data/logps/{name}/val.json", [{"id": id} | row for id, row in zip(ids["val"], logps, strict=True)])
        write_json(f"metrics/train_policy/{name}.json", counts)
        write_json(f"metrics/train_cost/{name}.json", cost)
        shutil.rmtree(CHECKPOINTS / name, ignore_errors=True)


if __name__ == "__main__":
    run(main, METHODS)
