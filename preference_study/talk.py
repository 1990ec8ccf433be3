"""Ask base and a policy the same and read both answers, with the judge's rewards beneath: on a finished study's folder.

    python -m preference_study.talk                       # the first of policy.methods against base
    python -m preference_study.talk kto --temperature 0.7
    echo "Say hello." | python -m preference_study.talk   # a line a prompt, from a file or a program

Every line is a prompt by itself. An empty line, or the end of the input, ends it.
"""

import argparse
import io
import math
import shutil
import sys
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from contextlib import redirect_stderr
from itertools import zip_longest
from pathlib import Path

import pandas as pd

from preference_study.errors import BadInput
from preference_study.methods import METHODS, display_name
from preference_study.models.generation import Response, respond
from preference_study.models.language_models import for_generating, load_causal, load_tokenizer, rewards
from preference_study.models.reward_models import encode_responses, load_judge
from preference_study.numbers import decimal
from preference_study.params import load_params

GAP = " | "
NARROWEST = 24  # characters of a column, below which the answers stand one under the other


def printable(text: str) -> str:
    """A model's text without what a terminal would take for commands; line breaks stay, and tabs become spaces."""
    return "".join(sign if sign.isprintable() or sign == "\n" else " " if sign == "\t" else "\ufffd" for sign in text)


def beside(columns: Sequence[tuple[str, str, str]], width: int) -> str:
    """Answers side by side.

    Args:
        columns: of each answer its head, its text and what stands beneath.
        width: characters of a line; where it is too small for columns they stand one under the other.
    """
    each = (width - len(GAP) * (len(columns) - 1)) // len(columns)
    if each < NARROWEST:
        return "\n\n".join(f"{head}\n{printable(text)}\n{foot}" for head, text, foot in columns)
    blocks = []
    for head, text, foot in columns:
        lines = [piece for line in printable(text).split("\n") for piece in textwrap.wrap(line, each) or [""]]
        blocks.append((head, lines, foot))
    depth = max(len(lines) for _, lines, _ in blocks)
    rows = zip_longest(*([head, "-" * each, *lines, *[""] * (depth - len(lines)), "", foot] for head, lines, foot in blocks))
    return "\n".join(GAP.join(cell.ljust(each) for cell in row).rstrip() for row in rows)


def typed(lines: Iterable[str], asked: bool) -> Iterator[str]:
    """The prompts among the lines.

    Args:
        asked: whether a person types them: an empty line ends it then, and is passed over else.
    """
    for line in lines:
        if prompt := line.strip():
            yield prompt
        elif asked:
            return


def asking() -> Iterator[str]:
    """What a person types, line by line."""
    while True:
        try:
            yield input("> ")
        except EOFError:
            return


def foot(answer: Response, reward: float) -> str:
    """What stands beneath an answer."""
    return f"reward {decimal(reward)}, {answer.tokens} tokens{'' if answer.finished else ', cut off'}"


class Pair:
    """Base, a policy and the judge of the study in this folder.

    Args:
        method: of the policy.
        temperature: 0 is greedy.
        seed: of the sampling.

    Raises:
        BadInput: the policy or the judge is not there.
    """

    def __init__(self, method: str, temperature: float, seed: int):
        self.params = load_params()
        judge = self.params.reward.judge
        for folder in ("models/base", f"models/policy/{method}", f"models/reward/{judge}"):
            if not Path(folder).is_dir():
                raise BadInput(f"{folder} is not there: run dvc repro, or dvc pull, first, in the folder {Path.cwd()}")
        self.tokenizer = load_tokenizer("models/base")
        folders = {"base": None, method: f"models/policy/{method}"}
        self.models = {name: for_generating(load_causal("models/base", path)) for name, path in folders.items()}
        self.judge = load_judge("models/base", f"models/reward/{judge}", self.params.reward.aggregate.model_dump())
        self.temperature, self.seed = temperature, seed

    def answers(self, prompt: str) -> list[tuple[str, str, str]]:
        """Both answers to a prompt, as `beside` takes them."""
        settings, turns = self.params.generate, [{"role": "user", "content": prompt}]
        found = {}
        for name, model in self.models.items():
            [[found[name]]] = respond(
                model, self.tokenizer, [turns], max_new_tokens=settings.max_new_tokens, batch_size=1,
                temperature=self.temperature, top_p=settings.top_p, seed=self.seed, description=name,
            )  # fmt: skip
        table = pd.DataFrame({"prompt": [turns] * len(found), "response": [answer.text for answer in found.values()]})
        sequences, _ = encode_responses(self.tokenizer, table, self.params.reward.max_length)
        scores = rewards(self.judge, sequences, **self.params.scoring.model_dump(), description="judge")
        return [
            (display_name(name), answer.text, foot(answer, reward))
            for (name, answer), reward in zip(found.items(), scores, strict=True)
        ]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("method", nargs="?", choices=METHODS, help="of the policy (the first of policy.methods)")
    parser.add_argument("--temperature", type=float, default=0.0, help="0, the default, is greedy")
    parser.add_argument("--seed", type=int, default=1, help="of the sampling (%(default)s)")
    given = parser.parse_args(arguments)
    if not (math.isfinite(given.temperature) and given.temperature >= 0):
        parser.error("--temperature is a number of at least 0")
    person = sys.stdin.isatty()
    pair = Pair(given.method or load_params().policy.methods[0], given.temperature, given.seed)
    for prompt in typed(asking() if person else sys.stdin, person):
        if not person:
            print(f"> {printable(prompt)}")
        with redirect_stderr(io.StringIO()):  # progress bars of single answers
            answers = pair.answers(prompt)
        print(f"\n{beside(answers, shutil.get_terminal_size().columns)}\n", flush=True)


if __name__ == "__main__":
    main()
