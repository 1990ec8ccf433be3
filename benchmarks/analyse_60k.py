"""How long the analysis of 60,000 texts takes, and how much memory: 30,000 pairs of the size of the original study's.

python -m benchmarks.analyse_60k
"""

import resource
import tempfile
import time
from contextlib import chdir
from pathlib import Path

import numpy as np
import pandas as pd

from preference_study.artifacts import write_json, write_table
from stages import analyse_reward

PAIRS = 30_000
ROOT = Path(__file__).resolve().parent.parent


def made_up(rng: np.random.Generator, sentences: list[str]) -> list[str]:
    """Responses of 20 to 140 words or so, drawn from real sentences, hardly any two alike."""
    return [" ".join(rng.choice(sentences, rng.integers(2, 12))) for _ in range(PAIRS)]


def main() -> None:
    sandbox = pd.read_parquet(ROOT / "data/sandbox/train.parquet")
    responses = pd.concat([sandbox["response_1"], sandbox["response_2"]])
    sentences = sorted({part.strip() + "." for text in responses for part in text.split(".") if 5 < len(part.split()) < 30})
    rng = np.random.default_rng(0)
    pairs = pd.DataFrame({"prompt": "?", "chosen": made_up(rng, sentences), "rejected": made_up(rng, sentences)})
    pairs["id"] = [str(number) for number in range(PAIRS)]
    scored = pairs.assign(
        chosen_words=pairs["chosen"].str.split().str.len(),
        rejected_words=pairs["rejected"].str.split().str.len(),
        chosen_reward=rng.normal(0.5, 1, PAIRS),
        rejected_reward=rng.normal(0, 1, PAIRS),
        topic=rng.choice(["a", "b", "c"], PAIRS),
    )
    with tempfile.TemporaryDirectory() as folder, chdir(folder):
        Path("params.yaml").write_text((ROOT / "params.yaml").read_text())
        write_table("data/prepared/train.parquet", pairs)
        write_json("data/scores/Rm_model_mark_on_val_1k.json", scored.to_dict("records"))
        start = time.perf_counter()
        analyse_reward.main()
        seconds = time.perf_counter() - start
    mean_words = (scored["chosen_words"].mean() + scored["rejected_words"].mean()) / 2
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"{2 * PAIRS} texts of {mean_words:.0f} words: {seconds:.0f} s, {peak:.2f} GiB at most")


if __name__ == "__main__":
    main()
