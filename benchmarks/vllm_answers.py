"""Greedy answers of an exported policy by vLLM, for `python -m preference_study.serve_check dpo --served FILE`.

    /path/to/python/with/vllm benchmarks/vllm_answers.py dpo build/vllm.json

vLLM pins packages that this project pins otherwise, so it has an environment of its own; nothing of the project is imported here.
"""

import json
import sys
from pathlib import Path

import yaml
from pyarrow import parquet
from vllm import LLM, SamplingParams


def main(method: str, target: str) -> None:
    params = yaml.safe_load(Path("params.yaml").read_text(encoding="utf-8"))
    rows = parquet.read_table("data/responses/generated/base.parquet").to_pylist()[: params["export"]["prompts"]]
    model = LLM(model=f"models/export/policy/{method}", max_model_len=2048, enforce_eager=True, trust_remote_code=False)
    settings = SamplingParams(temperature=0, max_tokens=params["generate"]["max_new_tokens"])
    answers = model.chat([row["prompt"] for row in rows], settings)
    found = [{"prompt_ids": list(answer.prompt_token_ids), "ids": list(answer.outputs[0].token_ids)} for answer in answers]
    Path(target).parent.mkdir(parents=True, exist_ok=True)
    Path(target).write_text(json.dumps(found) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
