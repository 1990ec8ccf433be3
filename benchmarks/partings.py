"""Where an exported policy's greedy answers part from its own in batches of another size: rounding, and how far it goes.

python -m benchmarks.partings dpo        needs models/export/policy/dpo; minutes
"""

import argparse

from preference_study.artifacts import read_dicts
from preference_study.export.partings import parting_gaps
from preference_study.export.plain import PlainPolicy
from preference_study.methods import METHODS
from preference_study.params import load_params

PROMPTS, SIZES = 64, (1, 3, 16)


def main() -> None:
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("method", choices=METHODS, help="of the exported policy")
    method, params = made.parse_args().method, load_params()
    turns = [row["prompt"] for row in read_dicts("data/responses/generated/base.parquet")[:PROMPTS]]
    policy = PlainPolicy(f"models/export/policy/{method}")
    prompts, limit = policy.prompt_ids(turns), params.generate.max_new_tokens
    together = policy.answers(turns, limit, len(turns))
    for size in SIZES:
        answers = policy.answers(turns, limit, size)
        gaps = parting_gaps(policy.model, prompts, together, answers, **params.scoring.model_dump(), description="gaps")
        same = sum(a == b for a, b in zip(together, answers, strict=True))
        found = f"{min(gaps):.3f} to {max(gaps):.3f} nats" if gaps else "none"
        print(f"batches of {len(turns)} and of {size}: {same} of {len(turns)} answers are the same; gaps of the others: {found}")


if __name__ == "__main__":
    main()
