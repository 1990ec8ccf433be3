"""A reward model's rewards of the validation responses, plain and perturbed -> data/scores/stress/<variant>.json.

python -m preference_study.launch stress_reward standard
"""

import random

import pandas as pd
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from preference_study.artifacts import read_table, write_json
from preference_study.boundary import run
from preference_study.models.language_models import load_tokenizer, rewards
from preference_study.models.reward_models import Ensemble, load_judge
from preference_study.models.tokens import encode_pairs
from preference_study.params import load_params
from preference_study.processes import check_processes
from preference_study.texts.gold import flaw
from preference_study.texts.instructions import checkable
from preference_study.texts.perturbations import PERTURBATIONS, Perturbation

SIDES = ("chosen", "rejected")


def perturbed(pairs: pd.DataFrame, perturbation: Perturbation, seed: int) -> pd.DataFrame:
    """The pairs with both responses perturbed; what is left to chance depends on the seed, the pair and the side alone."""
    texts = {
        side: [perturbation.apply(text, random.Random(f"{seed} {id} {side}")) for id, text in pairs[["id", side]].to_numpy()]
        for side in SIDES
    }
    return pairs.assign(**texts)


def truth_kept(pairs: pd.DataFrame, version: pd.DataFrame) -> list[bool]:
    """Per pair, whether each response is gold after a perturbation as it was before; all are taken for finished.

    True where the truth is not known, because there is no instruction that can be checked.
    """
    if not checkable(pairs):
        return [True] * len(pairs)
    gold, after = (
        [
            tuple(flaw(row.instruction, getattr(row, side), row.prompt[-1]["content"], True) is None for side in SIDES)
            for row in table.itertuples()
        ]
        for table in (pairs, version)
    )
    return [one == other for one, other in zip(gold, after, strict=True)]


def stress_scores(
    model: PreTrainedModel | Ensemble,
    tokenizer: PreTrainedTokenizerBase,
    pairs: pd.DataFrame,
    *,
    max_pairs: int | None,
    max_length: int,
    seed: int,
    **batching,
) -> list[dict]:
    """Score every pair plain, and some or all under each perturbation; a response that stays the same keeps its plain reward.

    In bfloat16 a reward depends a little on the texts in its batch, so the plain ones can differ from those of `score_pairs` by a
    rounding error, and shifts as small as that mean nothing.

    Args:
        pairs: id, cluster, prompt, chosen, rejected and, on the sandbox, instruction.
        max_pairs: how many are perturbed, a seeded sample; None for all.
        max_length: tokens of prompt and response, as in `encode_pairs`.
        seed: of the perturbations.
        batching: max_batch, max_padded and description, as `rewards` takes them.

    Returns:
        Per perturbation, "none" first, and pair: {id, cluster, perturbation, chosen_reward, rejected_reward, chosen_changed,
        rejected_changed, truth_kept}. A reward is a number; an ensemble's a list, a number a member.
    """
    some = pairs if max_pairs is None or max_pairs >= len(pairs) else pairs.sample(max_pairs, random_state=seed).sort_index()
    versions = {"none": pairs} | {name: perturbed(some, found, seed) for name, found in PERTURBATIONS.items()}
    rows = {name: version[["id", "cluster", *SIDES]].to_dict("records") for name, version in versions.items()}
    sequences: dict[tuple[str, str, str], list[int]] = {}
    for name, version in versions.items():
        for row, tokens in zip(rows[name], encode_pairs(tokenizer, version, max_length), strict=True):
            for side, ids in (("chosen", tokens.chosen_ids), ("rejected", tokens.rejected_ids)):
                # The first stays, the plain response's: a longer partner may have cost a later one more of its prompt.
                sequences.setdefault((row["id"], side, row[side]), tokens.prompt_ids + ids)
    scores = dict(zip(sequences, rewards(model, list(sequences.values()), **batching), strict=True))
    plain = {row["id"]: row for row in rows["none"]}
    return [
        {"id": row["id"], "cluster": row["cluster"], "perturbation": name}
        | {f"{side}_reward": scores[row["id"], side, row[side]] for side in SIDES}
        | {f"{side}_changed": row[side] != plain[row["id"]][side] for side in SIDES}
        | {"truth_kept": kept}
        for name, version in versions.items()
        for row, kept in zip(rows[name], truth_kept(pairs.loc[version.index], version), strict=True)
    ]


def main(variant: str) -> None:
    params = load_params()
    state = check_processes(params.launch.processes)
    pairs = read_table("data/prepared/val.parquet")
    model = load_judge("models/base", f"models/reward/{variant}")
    batching = params.scoring.model_dump() | {"description": f"perturbed responses, {variant}"}
    tokenizer = load_tokenizer("models/base")
    scored = stress_scores(
        model, tokenizer, pairs,
        max_pairs=params.stress.max_pairs, max_length=params.reward.max_length, seed=params.seed, **batching,
    )  # fmt: skip
    if state.is_main_process:
        write_json(f"data/scores/stress/{variant}.json", scored)


if __name__ == "__main__":
    run(main)
