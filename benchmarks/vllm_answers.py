"""Greedy answers of an exported policy by vLLM, for `python -m preference_study.serve_check dpo --served FILE`.

    /path/to/python/with/vllm benchmarks/vllm_answers.py dpo build/vllm.json

vLLM pins packages that this project pins otherwise, so it has an environment of its own; nothing of the project is imported here.
"""

import argparse
import json
from pathlib import Path

import yaml
from pyarrow import parquet


def main() -> None:
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("method", help="of the policy in models/export/policy")
    made.add_argument("target", type=Path, help="the file for its answers")
    given = made.parse_args()
    from vllm import LLM, SamplingParams  # seconds, which --help need not wait for

    params = yaml.safe_load(Path("params.yaml").read_text(encoding="utf-8"))
    rows = parquet.read_table("data/responses/generated/base.parquet").to_pylist()[: params["export"]["prompts"]]
    model = LLM(model=f"models/export/policy/{given.method}", max_model_len=2048, enforce_eager=True, trust_remote_code=False)
    settings = SamplingParams(temperature=0, max_tokens=params["generate"]["max_new_tokens"])
    answers = model.chat([row["prompt"] for row in rows], settings)
    found = [{"prompt_ids": list(answer.prompt_token_ids), "ids": list(answer.outputs[0].token_ids)} for answer in answers]
    given.target.parent.mkdir(parents=True, exist_ok=True)
    given.target.write_text(json.dumps(found) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
