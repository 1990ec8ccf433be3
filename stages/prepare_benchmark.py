"""A benchmark of reward models -> data/benchmarks/<name>.parquet, and what was read and dropped -> data/benchmarks/<name>.json.

    python -m stages.prepare_benchmark llmbar

What to read is the entry of benchmarks in params.yaml of that name.
"""

from preference_study.artifacts import write_json, write_table
from preference_study.benchmarks import read_benchmark
from preference_study.boundary import run
from preference_study.params import load_params


def main(name: str) -> None:
    params = load_params()
    entry = next(entry for entry in params.benchmarks if entry.name == name)
    shape, rows, dropped = read_benchmark(entry.file, entry.shape)
    print(f"{entry.file}: read as {shape}, {len(rows)} rows")
    for reason, ids in dropped.items():
        print(f"{entry.file}: dropped {len(ids)} rows: {reason} ({', '.join(ids[:5])}{', ...' if len(ids) > 5 else ''})")
    counts = {reason: len(ids) for reason, ids in dropped.items()}
    write_table(f"data/benchmarks/{name}.parquet", rows)
    write_json(f"data/benchmarks/{name}.json", {"shape": shape, "rows_in": len(rows) + sum(counts.values()), "dropped": counts})


if __name__ == "__main__":
    run(main)
