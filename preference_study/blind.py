"""A blind comparison by people: which cases they see, which response stands first, and what the page and its key hold of that.

The page holds texts and numbers of cases. Which response is whose stands in the key alone, a file that stays with the study.
"""

import json
import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from preference_study.analysis.statistics import half_ties
from preference_study.data.pairs import pair_id
from preference_study.errors import BadInput
from preference_study.judges import digest_of_texts

THIRD = 3  # of the page's cases one in three, at most, is shown again: the last third shows what the first third did


@dataclass(frozen=True)
class Drawing:
    """What was drawn.

    Attributes:
        study: 16 hexadecimal digits that depend on every text shown, its place, and the seed.
        page: {study, seed, cases}, all that the page knows: per case {case, prompt, responses}, both texts in the order shown.
        key: {study, seed, cases}: per case {case, id, first, again}: the prompt's id, whose response stands first, and the case
            that it shows a second time, null where it is the first time.
    """

    study: str
    page: dict
    key: dict


def opinions(
    own_judge: str, base: pd.DataFrame, policy: pd.DataFrame, judgements: Iterable[dict]
) -> tuple[pd.DataFrame, pd.Series]:
    """What judges and the truth say of a policy's responses, by prompt: 1 for the policy's, 0 for base's, one half for a tie.

    Args:
        own_judge: what the study's own reward model is called, reward.judge.
        base, policy: responses by id, to the same prompts: policy, reward and, where the truth is known, gold.
        judgements: of other judges, as `checked_judgement` returns them.

    Returns:
        A column a judge, the study's own first, NaN where it does not know the prompt; and the truth, NaN where both are gold or
        neither is.
    """
    votes = {own_judge: half_ties(policy["reward"] - base["reward"])}
    for judge in judgements:
        found = {row["id"]: row["preference"] for row in judge["responses"] if row["policy"] == policy["policy"].iloc[0]}
        votes[judge["name"]] = half_ties(base.index.to_series().map(found).astype(float) - 0.5)
    truth = pd.Series(np.nan, base.index)
    if "gold" in base:
        truth = half_ties(policy["gold"].astype(float) - base["gold"].astype(float)).replace(0.5, np.nan)
    return pd.DataFrame(votes), truth


def contested(votes: pd.DataFrame, truth: pd.Series) -> pd.Series:
    """Whether of a prompt's opinions, the truth among them, one is for the policy's response and one for base's."""
    said = votes.assign(**{"": truth})
    return said.eq(1).any(axis=1) & said.eq(0).any(axis=1)


def checked_judgement(found: object, source: str) -> dict:
    """A judge's opinions of responses, as they were read from a file: {name, responses: [{id, policy, preference}], texts}.

    `texts` says by policy which responses it saw, as `seen_texts` does; of a file that somebody else wrote it may be empty.

    Raises:
        BadInput: it is something else.
    """
    try:
        rows = [
            {"id": str(row["id"]), "policy": str(row["policy"]), "preference": float(row["preference"])}
            for row in found["responses"]
        ]
        wrong = next((place for place, row in enumerate(rows) if not 0 <= row["preference"] <= 1), None)
        if wrong is not None:
            raise BadInput(
                f"{source}, responses, row {wrong + 1}: preference is no share from 0 to 1; have the judge judge again"
            )
        texts = {str(policy): str(digest) for policy, digest in found.get("texts", {}).items()}
        return {"name": str(found["name"]), "responses": rows, "texts": texts}
    except (AttributeError, TypeError, KeyError, ValueError) as error:
        raise BadInput(
            f"{source}: it holds no judgements, name and responses of {{id, policy, preference}} ({type(error).__name__}: "
            f"{error}); have the judge judge again, or delete the file"
        ) from None


def other_judges(files: Mapping[str, object], own_judge: str) -> list[dict]:
    """What judges beside the study's own say, as `checked_judgement` returns it.

    Args:
        files: by path, what each holds.
        own_judge: what the study's own reward model is called, reward.judge.

    Raises:
        BadInput: as there; or a judge's name is the study's own judge's or another file's, and one would stand for the other.
    """
    names, found = {own_judge: "the study's own reward model (reward.judge)"}, []
    for file, held in files.items():
        judge = checked_judgement(held, file)
        if judge["name"] in names:
            other = names[judge["name"]]
            raise BadInput(f"{file}: name is {judge['name']!r}, and so is that of {other}; write another into it, or delete it")
        names[judge["name"]] = file
        found.append(judge)
    return found


def up_to_date(judgements: Iterable[dict], base: pd.DataFrame, policy: pd.DataFrame) -> list[dict]:
    """The judges but for those who saw other responses to these prompts, or none; of these it is said that they are left out.

    A judge that is taken out of `judges` leaves its file behind, and other responses may have come since.

    Args:
        judgements: as `checked_judgement` returns them.
        base, policy: responses by id, to the same prompts: policy, response.
    """
    kept, name = [], policy["policy"].iloc[0]
    for judge in judgements:
        ids = [row["id"] for row in judge["responses"] if row["policy"] == name]
        known = set(ids) <= set(policy.index)
        texts = [(id, policy.at[id, "response"], base.at[id, "response"]) for id in ids] if known else []
        if name in judge["texts"] and judge["texts"][name] != digest_of_texts(texts):
            print(
                f"judge {judge['name']} saw other responses of {name} and is left out: name it in judges of params.yaml, or "
                f"delete data/judgements/{judge['name']}.json"
            )
        elif not set(ids) & set(policy.index):
            print(
                f"judge {judge['name']} says nothing of {name}'s responses to these prompts and is left out: a row's policy must "
                f"be {name!r}, and its id a prompt's of data/responses/scored.parquet"
            )
        else:
            kept.append(judge)
    return kept


def candidates(votes: pd.DataFrame, truth: pd.Series, which: str) -> list[str]:
    """The ids of the prompts that people may be asked about.

    Args:
        votes, truth: from `opinions`.
        which: random, all of them; disagreement, those that are `contested`.

    Raises:
        BadInput: there is none.
    """
    if which == "random":
        return list(votes.index)
    found = list(votes.index[contested(votes, truth)])
    if not found:
        raise BadInput(
            "people.which is disagreement, and there is no prompt on which a judge and the truth, or two judges, disagree "
            f"(judges: {', '.join(votes)}; the truth is {'known' if truth.notna().any() else 'not known'}): "
            "set it to random in params.yaml"
        )
    return found


def draw(base: pd.DataFrame, policy: pd.DataFrame, ids: list[str], cases: int, repeats: int, seed: int) -> Drawing:
    """Draw cases, their order and their sides.

    The second showing of a case is among the last third of the page, the first showing among the first, and its responses stand
    the other way round: who always takes the first one does not agree with themselves.

    Args:
        base, policy: responses by id: prompt (turns) and response.
        ids: of the prompts drawn from.
        cases: how many of them, all where there are fewer.
        repeats: how many of these are shown twice, a third at most.
        seed: of the drawing. The responses have a part in it too, or who knows the seed could tell the sides from the page.
    """
    rng = random.Random(pair_id(str(seed), *base["response"], *policy["response"]))
    drawn = rng.sample(ids, min(cases, len(ids)))
    third = len(drawn) // THIRD
    twice = rng.sample(drawn[:third], min(repeats, third))
    tail = [(name, 2) for name in twice] + [(name, 1) for name in drawn[len(drawn) - third :]]
    rng.shuffle(tail)
    policy_first = {name: rng.random() < 0.5 for name in drawn}
    page, key = [], []
    for name, showing in [(name, 1) for name in drawn[: len(drawn) - third]] + tail:
        sides = [policy, base] if policy_first[name] == (showing == 1) else [base, policy]
        case = _case(seed, name, showing)
        page.append(
            {"case": case, "prompt": base.loc[name, "prompt"], "responses": [side.loc[name, "response"] for side in sides]}
        )
        again = None if showing == 1 else _case(seed, name, 1)
        key.append({"case": case, "id": name, "first": sides[0]["policy"].iloc[0], "again": again})
    study = pair_id(str(seed), json.dumps(page, ensure_ascii=False))
    head = {"study": study, "seed": seed}
    return Drawing(study, head | {"cases": page}, head | {"cases": key})


def _case(seed: int, name: str, showing: int) -> str:
    return pair_id(str(seed), name, str(showing))[:12]
