"""Make the sandbox: preference pairs whose truth is known.

The embedded model answers prompts that end in a checkable instruction, several times each. Of two responses to one prompt,
the one that obeys is preferred. Run from the root of the project:

    python -m data.sandbox.make_sandbox

Responses are kept in checkpoints/sandbox as they come, so a killed run goes on where it was.
"""

import json
import random
import re
from itertools import product
from pathlib import Path

import pandas as pd
import yaml
from tqdm.auto import tqdm
from transformers import AutoModelForCausalLM, AutoTokenizer

from preference_study.models.generation import respond
from preference_study.texts.instructions import INSTRUCTIONS, REQUESTS, obeys
from preference_study.texts.words import words

HERE = Path("data/sandbox")
MODEL = Path("models/base")
RESPONSES = Path("checkpoints/sandbox/responses.jsonl")


def split_prompts(topics: list[str], params: dict) -> dict[str, list[dict]]:
    """All prompts of the three splits, shuffled: {split: [{question, instruction}]}.

    Training uses the seen topics without the kept-out combinations of instruction and topic; validation and generation use
    those combinations and the unseen topics, and share no prompt with each other.
    """
    rng = random.Random(params["seed"])
    topics = rng.sample(topics, len(topics))
    unseen, seen = topics[: params["unseen_topics"]], topics[params["unseen_topics"] :]
    seen_combinations = list(product(INSTRUCTIONS, seen))
    rng.shuffle(seen_combinations)
    kept_out = round(params["unseen_combinations"] * len(seen_combinations))
    combinations = {
        "train": seen_combinations[kept_out:],
        "val": seen_combinations[:kept_out] + list(product(INSTRUCTIONS, unseen)),
    }
    prompts = {}
    for split, pairs in combinations.items():
        rows = [
            {"question": f"{request.format(topic=topic)} {INSTRUCTIONS[kind].text}", "instruction": kind}
            for (kind, topic), request in product(pairs, REQUESTS)
        ]
        prompts[split] = rng.sample(rows, len(rows))
    per_kind = params["generation_prompts"] // len(INSTRUCTIONS) + 1
    chosen = pd.DataFrame(prompts["val"]).groupby("instruction", sort=False).head(per_kind)
    generation = chosen.head(params["generation_prompts"]).to_dict("records")
    taken = {row["question"] for row in generation}
    return {
        "train": prompts["train"][: params["prompts"]["train"]],
        "val": [row for row in prompts["val"] if row["question"] not in taken][: params["prompts"]["val"]],
        "generate": generation,
    }


def respond_to(prompts: list[dict], params: dict) -> None:
    """Append the model's responses to each prompt to `RESPONSES`, going on after the prompts that are there."""
    RESPONSES.parent.mkdir(parents=True, exist_ok=True)
    done = len(RESPONSES.read_text().splitlines()) if RESPONSES.exists() else 0
    tokenizer = AutoTokenizer.from_pretrained(MODEL)
    model = AutoModelForCausalLM.from_pretrained(MODEL, dtype="bfloat16").eval()
    size = params["batch_size"]
    for start in tqdm(range(done, len(prompts), size), desc="responding", unit="batch"):
        rows = prompts[start : start + size]
        responses = respond(
            model, tokenizer, [[{"role": "user", "content": row["question"]}] for row in rows],
            max_new_tokens=params["max_new_tokens"], batch_size=size, temperature=params["temperature"],
            top_k=params["top_k"], samples=params["samples"], seed=params["seed"] + start, description="batch",
        )  # fmt: skip
        lines = [json.dumps(row | {"responses": [r.text for r in several]}) for row, several in zip(rows, responses, strict=True)]
        with RESPONSES.open("a") as file:
            file.write("\n".join(lines) + "\n")


def whole(text: str) -> str:
    """A text that was cut off, without its last sentence or line, which is not all there; empty where nothing is.

    Taken for whole, cut-off responses would teach a policy to end its turn in mid-sentence, and not to end it where it should.
    """
    ends = [match.end() for match in re.finditer(r"[.!?][\"'”’)*_]*(?=\s)|(?<=\S)(?=\n)", text)]
    kept = text[: ends[-1]].rstrip() if ends else ""
    return re.sub(r"\s*(?:^|\n)\s*(?:\d+[.)]|[-*•])\s*$", "", kept)  # the number of a list's next item is no line


def without_cut_ends(rows: list[dict], lengths: list[list[int]], limit: int) -> list[dict]:
    """The rows with responses that reached the limit made `whole`.

    Args:
        rows: with `responses`.
        lengths: of the responses in tokens. One token below the limit counts as reaching it, for a text need not be written as
            the tokens it came from.
        limit: tokens after which a response was cut off.
    """
    return [
        row | {"responses": [text if n < limit - 1 else whole(text) for text, n in zip(row["responses"], counts, strict=True)]}
        for row, counts in zip(rows, lengths, strict=True)
    ]


def candidate_pairs(rows: list[dict]) -> pd.DataFrame:
    """Every (obedient, disobedient) pair of responses to one prompt: question, instruction, chosen, rejected, longer.

    `longer` is whether the chosen response has more words; pairs of equal length are left out, for there neither is.
    """
    pairs = []
    for row in rows:
        responses = [text for text in dict.fromkeys(row["responses"]) if words(text)]
        obedient = {text: obeys(row["instruction"], text) for text in responses}
        for chosen, rejected in product(responses, responses):
            difference = len(words(chosen)) - len(words(rejected))
            if obedient[chosen] and not obedient[rejected] and difference:
                pairs.append(
                    {k: row[k] for k in ("question", "instruction")}
                    | {"chosen": chosen, "rejected": rejected, "longer": difference > 0}
                )
    return pd.DataFrame(pairs)


def choose_pairs(candidates: pd.DataFrame, n: int, longer_wins: float, per_prompt: int, seed: int) -> pd.DataFrame:
    """`n` pairs, at most `per_prompt` a prompt; the stated share has a longer chosen response, and sides are drawn at random.

    Within each of the two groups the kinds of instruction are kept as even as the candidates allow.

    Raises:
        ValueError: there are too few candidates of one group.
    """
    candidates = candidates.sample(frac=1, random_state=seed)
    wanted = {True: round(longer_wins * n), False: n - round(longer_wins * n)}
    # The scarcer group picks first, or prompts that offer both would be used up by the other.
    scarce = min(wanted, key=lambda longer: (candidates["longer"] == longer).sum() / wanted[longer])
    kept = []
    for longer in (scarce, not scarce):
        group = candidates[candidates["longer"] == longer]
        group = group[group.groupby("question").cumcount() < per_prompt]
        rank = group.groupby("instruction").cumcount()
        group = group.loc[rank.sort_values(kind="stable").index].head(wanted[longer])
        if len(group) < wanted[longer]:
            raise ValueError(f"only {len(group)} of {wanted[longer]} pairs where longer={longer}: answer more prompts")
        kept.append(group)
        candidates = candidates[~candidates["question"].isin(group["question"])]
    pairs = pd.concat(kept).sample(frac=1, random_state=seed).reset_index(drop=True)
    preferred = pd.Series(random.Random(seed).choices((1, 2), k=n))
    return pd.DataFrame(
        {
            "question": pairs["question"],
            "response_1": pairs["chosen"].where(preferred == 1, pairs["rejected"]),
            "response_2": pairs["chosen"].where(preferred == 2, pairs["rejected"]),
            "overall_response": preferred,
            "instruction": pairs["instruction"],
        }
    )


def main() -> None:
    params = yaml.safe_load((HERE / "params.yaml").read_text())
    prompts = split_prompts((HERE / "topics.txt").read_text().splitlines(), params)
    # Shuffled together, so that what is there of a run that was killed is a fair sample of both splits.
    asked = [row | {"split": split} for split in ("train", "val") for row in prompts[split]]
    respond_to(random.Random(params["seed"]).sample(asked, len(asked)), params)
    answered = [json.loads(line) for line in RESPONSES.read_text().splitlines()]
    tokenizer = AutoTokenizer.from_pretrained(MODEL)
    lengths = [[len(ids) for ids in tokenizer(row["responses"], add_special_tokens=False)["input_ids"]] for row in answered]
    answered = without_cut_ends(answered, lengths, params["max_new_tokens"])
    for number, split in enumerate(("train", "val")):
        candidates = candidate_pairs([row for row in answered if row["split"] == split])
        pairs = choose_pairs(
            candidates,
            params["pairs"][split],
            params["longer_wins"][split],
            params["pairs_per_prompt"][split],
            params["seed"] + number,
        )
        pairs.to_parquet(HERE / f"{split}.parquet", index=False)
        print(f"{split}: {len(pairs)} pairs of {candidates['question'].nunique()} prompts with a pair")
    pd.DataFrame(prompts["generate"]).to_parquet(HERE / "prompts.parquet", index=False)


if __name__ == "__main__":
    main()
