"""Make the sandbox: preference pairs whose truth is known.

The embedded model answers prompts that end in a checkable instruction, several times each. Of two responses to one prompt,
the one that is gold is preferred. Run from the root of the project:

    python -m data.sandbox.make_sandbox

Responses are kept in checkpoints/sandbox as they come, so a killed run goes on where it was.
"""

import json
import random
import re
from collections import Counter
from itertools import product
from pathlib import Path

import pandas as pd
import yaml
from tqdm.auto import tqdm
from transformers import AutoModelForCausalLM, AutoTokenizer

from data.sandbox.sampling import sample
from preference_study.models.tokens import encode_prompts
from preference_study.texts.gold import flaw
from preference_study.texts.instructions import INSTRUCTIONS, REQUESTS, obeys
from preference_study.texts.words import words

HERE = Path("data/sandbox")
MODEL = Path("models/base")
RESPONSES = Path("checkpoints/sandbox/responses.jsonl")


def evenly(rows: list[dict]) -> list[dict]:
    """The rows in an order in which the kinds of instruction take turns, so that the first n hold them as evenly as there are."""
    table = pd.DataFrame(rows)
    return [rows[i] for i in table.groupby("instruction").cumcount().sort_values(kind="stable").index]


def split_prompts(topics: list[str], params: dict) -> dict[str, list[dict]]:
    """The prompts of the three splits: {train, val, generate: [{question, instruction}]}.

    Training uses the seen topics and kinds of instruction without the kept-out combinations of the two; validation and
    generation use what training does not, and share no prompt with each other.
    """
    rng = random.Random(params["seed"])
    topics = rng.sample(topics, len(topics))
    unseen, seen = topics[: params["unseen_topics"]], topics[params["unseen_topics"] :]
    kinds = [kind for kind in INSTRUCTIONS if kind not in params["unseen_kinds"]]
    seen_combinations = list(product(kinds, seen))
    rng.shuffle(seen_combinations)
    kept_out = round(params["unseen_combinations"] * len(seen_combinations))
    combinations = {
        "train": seen_combinations[kept_out:],
        "val": [*seen_combinations[:kept_out], *product(kinds, unseen), *product(params["unseen_kinds"], topics)],
    }
    prompts = {}
    for split, pairs in combinations.items():
        rows = [
            {"question": f"{request.format(topic=topic)} {INSTRUCTIONS[kind].text}", "instruction": kind}
            for (kind, topic), request in product(pairs, REQUESTS)
        ]
        prompts[split] = evenly(rng.sample(rows, len(rows)))
    wanted = {kind: params["generation_prompts"]["unseen" if kind in params["unseen_kinds"] else "seen"] for kind in INSTRUCTIONS}
    table = pd.DataFrame(prompts["val"])
    chosen = table.groupby("instruction").cumcount() < table["instruction"].map(wanted)
    return {
        "train": prompts["train"][: params["prompts"]["train"]],
        "val": table[~chosen].to_dict("records")[: params["prompts"]["val"]],
        "generate": rng.sample(table[chosen].to_dict("records"), int(chosen.sum())),
    }


def answered() -> list[dict]:
    """What is in `RESPONSES`; a last line that was not written to its end is taken away."""
    text = RESPONSES.read_text() if RESPONSES.exists() else ""
    if not text.endswith("\n") and text:
        text = text[: text.rfind("\n") + 1]
        RESPONSES.write_text(text)
    return [json.loads(line) for line in text.splitlines()]


def respond_to(prompts: list[dict], params: dict) -> None:
    """Append the model's responses to each prompt to `RESPONSES`, but for the prompts that are there."""
    RESPONSES.parent.mkdir(parents=True, exist_ok=True)
    done = {row["question"] for row in answered()}
    waiting = [row for row in prompts if row["question"] not in done]
    if not waiting:
        return
    tokenizer = AutoTokenizer.from_pretrained(MODEL)
    model = AutoModelForCausalLM.from_pretrained(MODEL, dtype="bfloat16").eval()
    turns = [[{"role": "user", "content": row["question"]}] for row in waiting]
    responses = sample(
        model, tokenizer, [ids for ids, _ in encode_prompts(tokenizer, turns, None)],
        samples=params["samples"], max_new_tokens=params["max_new_tokens"], temperature=params["temperature"],
        top_k=params["top_k"], seed=params["seed"] + len(done), places=params["places"],
    )  # fmt: skip
    with RESPONSES.open("a") as file, tqdm(desc="responding", unit="prompt", initial=len(done), total=len(prompts)) as bar:
        for index, several in responses:
            facts = [{"text": r.text, "tokens": r.tokens, "finished": r.finished} for r in several]
            file.write(json.dumps(waiting[index] | {"responses": facts}) + "\n")
            file.flush()
            bar.update()


def whole(text: str) -> str:
    """A text that was cut off, without its last sentence or line, which is not all there; empty where nothing is.

    Taken for whole, cut-off responses would teach a policy to end its turn in mid-sentence, and not to end it where it should.
    """
    ends = [match.end() for match in re.finditer(r"[.!?][\"'”’)*_]*(?=\s)|(?<=\S)(?=\n)", text)]
    kept = text[: ends[-1]].rstrip() if ends else ""
    return re.sub(r"\s*(?:^|(?<=[.!?])[ \t]+|\n)\s*(?:\d+[.)]|[-*•])\s*$", "", kept)  # the number of a next item is no sentence


def texts_of(row: dict) -> list[dict]:
    """What can stand in a pair, of the responses to one prompt: {text, letter, flaw} each.

    Responses that were cut off are made `whole`. As they are they can be rejected, where nothing but that is wrong with them.
    """
    kind, prompt = row["instruction"], row["question"]
    found = {r["text"] if r["finished"] else whole(r["text"]): None for r in row["responses"]}
    cut = {r["text"] for r in row["responses"] if not r["finished"] and flaw(kind, r["text"], prompt, True) == "breaks off"}
    return [
        {"text": text, "letter": obeys(kind, text), "flaw": flaw(kind, text, prompt, True)}
        for text in [*found, *cut]
        if words(text)
    ]


def candidate_pairs(rows: list[dict]) -> pd.DataFrame:
    """Every pair of a gold response and one that is not, to one prompt.

    Returns:
        question, instruction, chosen, rejected, rejected_flaw (why it is not gold), letter (whether the rejected response obeys
        all the same), and longer: whether the chosen response has more words. Pairs of equal length are left out: neither is.
    """
    pairs = []
    for row in rows:
        texts = texts_of(row)
        for chosen, rejected in product(texts, texts):
            difference = len(words(chosen["text"])) - len(words(rejected["text"]))
            if chosen["flaw"] is None and rejected["flaw"] is not None and difference:
                pairs.append(
                    {key: row[key] for key in ("question", "instruction")}
                    | {"chosen": chosen["text"], "rejected": rejected["text"], "rejected_flaw": rejected["flaw"]}
                    | {"letter": rejected["letter"], "longer": difference > 0}
                )
    return pd.DataFrame(pairs)


def choose_pairs(
    candidates: pd.DataFrame, n: int, longer_wins: float, rejected_letter: float, per_prompt: int, seed: int
) -> pd.DataFrame:
    """`n` pairs, at most `per_prompt` a prompt, in an order in which the first m are about as balanced as all; sides are drawn.

    Args:
        longer_wins: share of the pairs with a longer chosen response.
        rejected_letter: share, among these and among the others, of pairs whose rejected response obeys to the letter.

    Within each of the four groups the kinds of instruction are kept as even as the candidates allow.

    Raises:
        ValueError: there are too few candidates of one group.
    """
    candidates = candidates.sample(frac=1, random_state=seed)
    n_longer = round(longer_wins * n)
    wanted = {}
    for longer, size in ((True, n_longer), (False, n - n_longer)):
        wanted[longer, True] = round(rejected_letter * size)
        wanted[longer, False] = size - wanted[longer, True]
    groups = dict(list(candidates.groupby(["longer", "letter"])))
    taken: Counter[str] = Counter()
    kept = []
    # The scarcest group picks first, or prompts that offer several would be used up by the others.
    for group in sorted(wanted, key=lambda group: len(groups.get(group, ())) / max(1, wanted[group])):
        rows = groups.get(group, candidates.head(0))
        rows = rows[rows["question"].map(taken) + rows.groupby("question").cumcount() < per_prompt]
        rank = rows.groupby("instruction").cumcount()
        rows = rows.loc[rank.sort_values(kind="stable").index].head(wanted[group])
        if len(rows) < wanted[group]:
            longer, letter = group
            raise ValueError(
                f"only {len(rows)} of {wanted[group]} pairs where longer={longer}, letter={letter}: answer more prompts"
            )
        taken.update(rows["question"])
        rows = rows.sample(frac=1, random_state=seed)
        kept.append(rows.assign(place=(pd.Series(range(len(rows)), rows.index) + 0.5) / max(1, len(rows))))
    pairs = pd.concat(kept).sort_values("place", kind="stable").reset_index(drop=True)
    preferred = pd.Series(random.Random(seed).choices((1, 2), k=n))
    return pd.DataFrame(
        {
            "question": pairs["question"],
            "response_1": pairs["chosen"].where(preferred == 1, pairs["rejected"]),
            "response_2": pairs["chosen"].where(preferred == 2, pairs["rejected"]),
            "overall_response": preferred,
            "instruction": pairs["instruction"],
            "rejected_flaw": pairs["rejected_flaw"],
        }
    )


def main() -> None:
    params = yaml.safe_load((HERE / "params.yaml").read_text())
    prompts = split_prompts((HERE / "topics.txt").read_text().splitlines(), params)
    # In turn, so that what is there of a run that was killed is a fair sample of both splits.
    asked = [row | {"split": split} for split in ("train", "val") for row in prompts[split]]
    place = [(i + 0.5) / len(prompts[split]) for split in ("train", "val") for i in range(len(prompts[split]))]
    respond_to([asked[i] for i in sorted(range(len(asked)), key=place.__getitem__)], params)
    wanted = {row["question"] for row in asked}
    # They come in the order in which they were done, and may be more than are asked now.
    given = sorted((row for row in answered() if row["question"] in wanted), key=lambda row: row["question"])
    for number, split in enumerate(("train", "val")):
        candidates = candidate_pairs([row for row in given if row["split"] == split])
        pairs = choose_pairs(
            candidates,
            params["pairs"][split],
            params["longer_wins"][split],
            params["rejected_letter"][split],
            params["pairs_per_prompt"][split],
            params["seed"] + number,
        )
        pairs.to_parquet(HERE / f"{split}.parquet", index=False)
        print(f"{split}: {len(pairs)} pairs of {candidates['question'].nunique()} prompts with a pair")
    pd.DataFrame(prompts["generate"]).to_parquet(HERE / "prompts.parquet", index=False)


if __name__ == "__main__":
    main()
