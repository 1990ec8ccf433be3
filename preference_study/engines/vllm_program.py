"""Responses by vLLM. It runs in an environment with other versions than the project pins, and imports nothing of the project.

    /path/to/python/with/vllm vllm_program.py FOLDER

FOLDER holds settings.json:

    model            folder of the model, all of its weights in it
    dtype            that it computes in
    max_num_seqs     most sequences at a time
    options          further arguments of vllm.LLM, by name
    sampling         arguments of vllm.SamplingParams, by name, for all rows

and asked.parquet, a row a response: row (a number), prompt_ids (tokens), seed. It writes answered.parquet: row, ids (tokens, with
the one that ended it), finish_reason (stop or length), in the same order; and seconds.json: {start, writing}.
"""

import json
import sys
import time
from pathlib import Path

import pyarrow as arrow
import pyarrow.parquet as parquet
from vllm import LLM, SamplingParams


def main(folder: Path) -> None:
    began = time.perf_counter()
    settings = json.loads((folder / "settings.json").read_text(encoding="utf-8"))
    asked, sampling = parquet.read_table(folder / "asked.parquet").to_pylist(), settings["sampling"]
    longest = max(len(row["prompt_ids"]) for row in asked) + sampling["max_tokens"]
    model = LLM(
        model=settings["model"],
        dtype=settings["dtype"],
        max_num_seqs=settings["max_num_seqs"],
        max_model_len=longest,
        skip_tokenizer_init=True,  # both sides speak tokens
        generation_config="vllm",  # nothing of the model's own that was not asked for
        trust_remote_code=False,
        **settings["options"],
    )
    started = time.perf_counter()
    answers = model.generate(
        [{"prompt_token_ids": row["prompt_ids"]} for row in asked],
        [SamplingParams(seed=row["seed"], detokenize=False, **sampling) for row in asked],
    )
    seconds = {"start": started - began, "writing": time.perf_counter() - started}
    written = [
        {"row": row["row"], "ids": list(answer.outputs[0].token_ids), "finish_reason": answer.outputs[0].finish_reason}
        for row, answer in zip(asked, answers, strict=True)
    ]
    (folder / "seconds.json").write_text(json.dumps(seconds), encoding="utf-8")
    parquet.write_table(arrow.Table.from_pylist(written), folder / "answered.parquet")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
