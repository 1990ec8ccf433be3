"""An exported policy's GGUF file in a llama.cpp server, against the same folder with transformers: prompts' tokens and answers.

    python -m preference_study.serve_check dpo               # needs: pip install xllamacpp
    python -m preference_study.serve_check dpo --prompts 8

The server gets the turns and applies the file's own chat template. It answers greedily, one prompt at a time. What is found goes
to metrics/export/llama_cpp/<method>.json, which no stage reads.
"""

import argparse
import importlib
import importlib.util
import json
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from preference_study.analysis.parity import same_before
from preference_study.analysis.statistics import share
from preference_study.artifacts import made_by, read_json, write_json
from preference_study.errors import BadInput, BadModel
from preference_study.export.plain import PlainPolicy
from preference_study.methods import METHODS
from preference_study.numbers import with_interval
from preference_study.params import load_params

PACKAGE = "xllamacpp"
ANSWERED = "data/responses/generated/base.json"
POSITIONS = 8  # of the server, beyond what the longest prompt and its answer take


class Server:
    """llama.cpp's server in this process, with one model.

    Args:
        path: the GGUF file.
        positions: most tokens of a prompt with its answer.
    """

    def __init__(self, path: Path, positions: int):
        package = importlib.import_module(PACKAGE)  # no other part of the project needs it
        settings = package.CommonParams()
        settings.model.path = str(path)
        settings.n_ctx, settings.n_parallel, settings.verbosity, settings.warmup = positions, 1, 0, False
        settings.use_jinja = True
        # Threads that wait for each other by turning in circles take one another's time where there are few cores.
        settings.cpuparams.n_threads = settings.cpuparams_batch.n_threads = 1
        self._server = package.Server(settings)

    def asked(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """What the server answers to a request."""
        request = urllib.request.Request(
            f"{self._server.listening_address}{path}", json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request) as answer:
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
    prompts: Sequence[list[int]], served_prompts: Sequence[list[int]], answers: Sequence[list[int]],
    served: Sequence[list[int]], clusters: Sequence[str],
) -> dict:  # fmt: skip
    """A served policy against the folder's.

    Args:
        prompts, served_prompts: each prompt's tokens by transformers and by the server.
        answers, served: those of the answers, without the one that ended them.

    Returns:
        {n, same_prompts, same_answers, same_tokens_before}, as `policy_parity` has them.
    """
    apart = [same_before(a, b) for a, b in zip(answers, served, strict=True) if a != b]
    return {
        "n": len(prompts),
        "same_prompts": share([a == b for a, b in zip(prompts, served_prompts, strict=True)], clusters),
        "same_answers": share([a == b for a, b in zip(answers, served, strict=True)], clusters),
        "same_tokens_before": sum(apart) / len(apart) if apart else None,
    }


def check(method: str, count: int | None = None) -> dict | None:
    """Serve models/export/policy/<method> and compare it; None, with a word, where the package that serves is not installed.

    Raises:
        BadInput: the policy was not exported, or without a GGUF file.
        BadModel: the server reads a prompt otherwise than transformers does.
    """
    if importlib.util.find_spec(PACKAGE) is None:
        print(f"skipped: {PACKAGE} is not installed: pip install {PACKAGE}")
        return None
    params = load_params()
    folder = Path("models/export/policy") / method
    file = folder / f"{method}.gguf"
    if not file.is_file():
        why = "it has no GGUF file, and its metrics say why" if folder.is_dir() else made_by(str(folder))
        raise BadInput(f"{file} is not there: {why}; export.policies in params.yaml names the policies that are exported")
    asked = read_json(ANSWERED)[: count or params.export.prompts]
    turns, limit = [row["prompt"] for row in asked], params.generate.max_new_tokens
    plain = PlainPolicy(folder)
    prompts, ends = plain.prompt_ids(turns), plain.end_ids()
    answers = [ids[: len(ids) - (ids[-1] in ends)] for ids in plain.answers(turns, limit, params.generate.batch_size)]
    server = Server(file, max(map(len, prompts)) + limit + POSITIONS)
    served_prompts = [server.prompt_ids(prompt) for prompt in turns]
    served = [[token for token in server.answer(ids, limit) if token not in ends] for ids in served_prompts]
    found = compared(prompts, served_prompts, answers, served, [row["cluster"] for row in asked])
    write_json(f"metrics/export/llama_cpp/{method}.json", found)
    if found["same_prompts"]["value"] < 1:
        raise BadModel(
            f"{file}: llama.cpp reads {with_interval(found['same_prompts'])} of the prompts as transformers does, and all should "
            "be: its tokenizer or chat template is not the folder's; do not serve it"
        )
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("method", choices=METHODS, help="of the policy")
    parser.add_argument("--prompts", type=int, help="how many of the generation prompts (export.prompts of params.yaml)")
    given = parser.parse_args(arguments)
    found = check(given.method, given.prompts)
    if found:
        before = found["same_tokens_before"]
        parted = "" if before is None else f"; the others part after {before:.0f} tokens on average"
        print(
            f"llama.cpp and transformers on {found['n']} prompts: the same tokens of the prompt in "
            f"{with_interval(found['same_prompts'])}, the same greedy answer in {with_interval(found['same_answers'])}{parted}"
        )


if __name__ == "__main__":
    main()
