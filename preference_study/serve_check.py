"""An exported policy in a server, against the same folder with transformers: the prompts' tokens and the greedy answers.

    python -m preference_study.serve_check dpo               # its GGUF file in llama.cpp's server; pip install xllamacpp
    python -m preference_study.serve_check dpo --prompts 8
    python -m preference_study.serve_check dpo --served build/vllm.json --name vllm

llama.cpp gets the turns, applies the file's own chat template, and answers one prompt at a time. Of another server, --served
names a JSON file of what it answered to the first of the generation prompts: a list of {prompt_ids, ids}, the tokens of prompt
and answer; benchmarks/vllm_answers.py writes it for vLLM. What is found goes to metrics/export/<name>/<method>.json, which no
stage reads.
"""

import argparse
import importlib
import importlib.util
import json
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from preference_study.analysis.parity import largest_gap, partings, same_before
from preference_study.analysis.statistics import share
from preference_study.artifacts import made_by, read_dicts, read_json, write_json
from preference_study.errors import BadInput, BadModel
from preference_study.export.partings import parting_gaps
from preference_study.export.plain import PlainPolicy
from preference_study.methods import METHODS
from preference_study.numbers import with_interval
from preference_study.params import load_params
from preference_study.plan import above

PACKAGE = "xllamacpp"
ANSWERED = "data/responses/generated/base.parquet"
POSITIONS = 8  # of the server, beyond what the longest prompt and its answer take

Tokens = list[list[int]]


class Server:
    """llama.cpp's server in this process, with one model.

    Args:
        path: the GGUF file.
        positions: most tokens of a prompt with its answer.
    """

    def __init__(self, path: Path, positions: int):
        package = importlib.import_module(PACKAGE)  # nothing else of the project needs it
        settings = package.CommonParams()
        settings.model.path = str(path)
        settings.n_ctx, settings.n_parallel, settings.verbosity, settings.warmup = positions, 1, 0, False
        settings.use_jinja = True
        settings.port = 0  # any that is free
        # Threads that wait for each other by turning in circles take one another's time where there are few cores.
        settings.cpuparams.n_threads = settings.cpuparams_batch.n_threads = 1
        self._server = package.Server(settings)

    def asked(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """What the server answers to a request."""
        address, kind = f"{self._server.listening_address}{path}", {"Content-Type": "application/json"}
        with urllib.request.urlopen(urllib.request.Request(address, json.dumps(body).encode(), kind)) as answer:
            return json.load(answer)

    def prompt_ids(self, turns: list[dict[str, str]]) -> list[int]:
        """The prompt's tokens by the file's own chat template and tokenizer."""
        text = self.asked("/apply-template", {"messages": turns})["prompt"]
        return self.asked("/tokenize", {"content": text, "add_special": False, "parse_special": True})["tokens"]

    def answer(self, ids: list[int], max_new_tokens: int) -> list[int]:
        """The tokens of the greedy answer, without the one that ended it."""
        settings = {"temperature": 0, "top_k": 1, "repeat_penalty": 1.0, "cache_prompt": False}
        found = self.asked("/completion", {"prompt": ids, "n_predict": max_new_tokens, "return_tokens": True} | settings)
        return found["tokens"]


def compared(
    prompts: Tokens, served_prompts: Tokens, answers: Tokens, exact: Tokens, served: Tokens, gaps: Sequence[float],
    clusters: Sequence[str],
) -> dict:  # fmt: skip
    """A served policy against the folder's.

    Args:
        prompts, served_prompts: each prompt's tokens by transformers and by the server.
        answers, exact, served: those of the answers, with the one that ended them: by transformers in the precision of the
            weights, by transformers in float32, and by the server.
        gaps: where `exact` and `served` part, by how much the former's token is likelier in float32, in nats.

    Returns:
        {n, same_prompts, same_answers, same_tokens_before, same_answers_exact, folder_exact, parting_gap, going_on}: the first
        four as `policy_parity` has them; the server's answers that are `exact`'s; the folder's that are, which is what the
        precision alone does; the last two as `policy_parity` has them, of `exact` and the server.
    """

    def same(one: Tokens, other: Tokens) -> dict:
        return share([a == b for a, b in zip(one, other, strict=True)], clusters)

    apart = [same_before(a, b) for a, b in zip(answers, served, strict=True) if a != b]
    return {
        "n": len(prompts),
        "same_prompts": same(prompts, served_prompts),
        "same_answers": same(answers, served),
        "same_tokens_before": sum(apart) / len(apart) if apart else None,
        "same_answers_exact": same(exact, served),
        "folder_exact": same(exact, answers),
        "parting_gap": largest_gap(gaps),
        "going_on": sum(a != b for a, b in zip(exact, served, strict=True)) - len(partings(exact, served)),
    }


def by_llama_cpp(file: Path, turns: list, prompts: Tokens, limit: int) -> tuple[Tokens, Tokens]:
    """The prompts' tokens and the answers of llama.cpp's server."""
    server = Server(file, max(map(len, prompts)) + limit + POSITIONS)
    own = [server.prompt_ids(prompt) for prompt in turns]
    return own, [server.answer(ids, limit) for ids in own]


def check(method: str, count: int | None = None, file: str | None = None, name: str = "llama_cpp") -> dict | None:
    """Compare a server's answers with those of models/export/policy/<method>; None, with a word, where there is no server.

    Args:
        count: prompts; None takes export.prompts.
        file: with another server's answers.
        name: the server's.

    Raises:
        BadInput: the policy was not exported, or without a GGUF file; the file does not hold an answer to each prompt.
        BadModel: the server reads a prompt otherwise than transformers does.
    """
    if file is None and importlib.util.find_spec(PACKAGE) is None:
        print(f"skipped: {PACKAGE} is not installed: pip install {PACKAGE}")
        return None
    params = load_params()
    folder = Path("models/export/policy") / method
    gguf = folder / f"{method}.gguf"
    if not folder.is_dir() or (file is None and not gguf.is_file()):
        why = "it has no GGUF file, and its metrics say why" if folder.is_dir() else made_by(str(folder))
        raise BadInput(f"{gguf} is not there: {why}; export.policies in params.yaml names the policies that are exported")
    asked = read_dicts(ANSWERED)[: count or params.export.prompts]
    turns, limit = [row["prompt"] for row in asked], params.generate.max_new_tokens
    plain = PlainPolicy(folder)
    prompts, ends = plain.prompt_ids(turns), plain.end_ids()
    answers = plain.answers(turns, limit, params.generate.batch_size)
    in_float32 = PlainPolicy(folder, torch.float32)
    exact = in_float32.answers(turns, limit, params.generate.batch_size)
    if file is None:
        served_prompts, served = by_llama_cpp(gguf, turns, prompts, limit)
    else:
        rows = read_json(file)
        if len(rows) != len(asked) or not all({"prompt_ids", "ids"} <= row.keys() for row in rows):
            raise BadInput(f"{file}: {len(asked)} rows of prompt_ids and ids are wanted, one a prompt; it holds {len(rows)}")
        served_prompts, served = [row["prompt_ids"] for row in rows], [row["ids"] for row in rows]
    # Some servers leave out the token that ended an answer: one that is shorter than it could be has ended.
    bare = [[[token for token in ids if token not in ends] for ids in side] for side in (answers, exact, served)]
    written = [[ids if len(ids) == limit else [*ids, ends[0]] for ids in side] for side in bare]
    limits = params.scoring.model_dump() | {"description": "where answers part"}
    gaps = parting_gaps(in_float32.model, prompts, *written[1:], **limits)
    found = compared(prompts, served_prompts, *written, gaps, [row["cluster"] for row in asked])
    write_json(f"metrics/export/{name}/{method}.json", found)
    if found["same_prompts"]["value"] < 1:
        raise BadModel(
            f"{folder}: {name} reads {with_interval(found['same_prompts'])} of the prompts as transformers does, and all should "
            "be: its tokenizer or chat template is not the folder's; do not serve it so"
        )
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("method", choices=METHODS, help="of the policy")
    parser.add_argument("--prompts", type=above(int), help="how many of the generation prompts (export.prompts of params.yaml)")
    parser.add_argument("--served", metavar="FILE", help="another server's answers")
    parser.add_argument("--name", default="llama_cpp", help="what the server is called (%(default)s)")
    given = parser.parse_args(arguments)
    if given.served and given.name == "llama_cpp":
        parser.error("--served is of another server: say which with --name")
    found = check(given.method, given.prompts, given.served, given.name)
    if found:
        before, gap = found["same_tokens_before"], found["parting_gap"]
        parted = "" if before is None else f"; the others part after {before:.0f} tokens on average"
        apart = "" if gap is None else f"; where they part, the tokens are {gap:.2g} nats apart at most"
        print(
            f"{given.name} and transformers on {found['n']} prompts: the same tokens of the prompt in "
            f"{with_interval(found['same_prompts'])}, the same greedy answer in {with_interval(found['same_answers'])}{parted}.\n"
            f"With transformers in float32 the same in {with_interval(found['same_answers_exact'])}{apart}.\n"
            f"Transformers in float32 and in the weights' own precision: {with_interval(found['folder_exact'])}"
        )


if __name__ == "__main__":
    main()
