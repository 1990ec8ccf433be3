"""The whole study on one page that needs no server and no internet -> reports/index.html.

python -m stages.report
"""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import pandas as pd
import pyarrow as arrow
from pyarrow import compute

from preference_study.artifacts import PIECE, open_table, read_json, whole_file
from preference_study.boundary import run
from preference_study.params import load_params
from preference_study.report import page
from preference_study.report.machine import machine
from preference_study.report.origin import origin


def responses(file: Path, policies: list[str], most: int, seed: int) -> dict:
    """The responses that the page shows, and the rewards of all.

    Returns:
        all_rewards: per policy, an array; selection: as `page.some_prompts`; responses: the rows that are shown.
    """
    table = open_table(file).read(["id", "policy", "reward"]).to_pandas()
    by_policy = {policy: table[table["policy"] == policy].set_index("id")["reward"] for policy in policies}
    rewards = pd.DataFrame({policy: own[by_policy["base"].index] for policy, own in by_policy.items()})
    selection = page.some_prompts(rewards, most, seed)
    rows = []
    for batch in open_table(file).iter_batches(PIECE):
        shown = batch if selection is None else batch.filter(compute.is_in(batch["id"], arrow.array(selection["ids"])))
        rows += shown.to_pylist()
    all_rewards = {policy: own.to_numpy() for policy, own in by_policy.items()}
    return {"all_rewards": all_rewards, "selection": selection, "responses": rows}


def gather(
    folder: Path,
    methods: list[str],
    variant: str,
    benchmarks: Sequence[str] = (),
    people: Sequence[str] = (),
    max_cases: int = 2000,
    seed: int = 0,
) -> dict:
    """Everything the page shows of a study, but its parameters, the machine and the run.

    Args:
        folder: the project's root. The reward model's analysis, the methods' table, the perturbed responses',
            pictures and word tables may be missing.
        methods: the policies besides base.
        variant: the reward model that judged.
        benchmarks: the names of those that were asked for.
        people: the policies that people were asked about.
        max_cases: prompts whose responses are shown, at most.
        seed: of the sample of them.
    """

    def optional(name: str) -> Path | None:
        return folder / name if (folder / name).exists() else None

    def table(name: str) -> pd.DataFrame | None:
        return pd.read_csv(path, keep_default_na=False, dtype={"word": str}) if (path := optional(name)) else None

    def disagreements(path: Path) -> list[dict]:
        heads = pd.read_csv(path, nrows=0).columns
        texts = [head for head in heads if not head.startswith(("judge ", "gold_"))]
        # A response that is empty, or says "NA", is a text as well.
        read = pd.read_csv(
            path,
            keep_default_na=False,
            na_values={head: [""] for head in heads if head not in texts},
            dtype=dict.fromkeys(texts, str),
        )
        return page.furthest_apart(read)

    stress = read_json(path) if (path := optional("metrics/stress.json")) else {}
    study = {
        "methods": methods,
        "data": read_json(folder / "metrics/data.json"),
        "data_analysis": read_json(path) if (path := optional("metrics/data_analysis.json")) else None,
        "reward": read_json(folder / "metrics/reward.json"),
        "train_reward": read_json(folder / f"metrics/train_reward/{variant}.json"),
        "reward_training": read_json(folder / "metrics/reward_training.json")[variant],
        "train_policy": {method: read_json(folder / f"metrics/train_policy/{method}.json") for method in methods},
        "policies": read_json(folder / "metrics/policies.json"),
        "reward_analysis": read_json(path) if (path := optional("metrics/reward_analysis.json")) else None,
        "method_table": read_json(path) if (path := optional("metrics/methods.json")) else None,
        "method_cost": read_json(path) if (path := optional("metrics/methods_cost.json")) else None,
        "stress": stress.get("scorers", {}),
        "ensembles": stress.get("ensembles", {}),
        "variants": read_json(path) if (path := optional("metrics/variants.json")) else {},
        "groups": read_json(path) if (path := optional("metrics/groups.json")) else {},
        "transfer": read_json(path) if (path := optional("metrics/transfer.json")) else {},
        "best_of_n": read_json(path) if (path := optional("metrics/best_of_n.json")) else {},
        "benchmarks": {name: read_json(folder / f"metrics/benchmarks/{name}.json") for name in benchmarks},
        "judges": read_json(path) if (path := optional("metrics/judges.json")) else {},
        "disagreements": disagreements(path) if (path := optional("data/disagreements.csv")) else [],
        "people": {method: read_json(folder / f"metrics/people/{method}.json") for method in people},
        "figures": {},
        "keywords": {},
        "log_odds": {},
    } | responses(folder / "data/responses/scored.parquet", ["base", *methods], max_cases, seed)
    for part in ("reward", "policies", "groups", "methods", "stress", "variants", "best_of_n"):
        pictures = [path for path in sorted((folder / "plots" / part).glob("*.png")) if page.shown(path.stem)]
        study["figures"][part] = {picture.stem: page.data_uri(picture.read_bytes()) for picture in pictures}
        if (keywords := table(f"plots/{part}/keywords.csv")) is not None:
            study["keywords"][part] = page.keyword_columns(keywords)
        if (log_odds := table(f"plots/{part}/log_odds.csv")) is not None:
            study["log_odds"][part] = page.log_odds_sides(log_odds)
    return study


def main() -> None:
    params = load_params()
    names = [benchmark.name for benchmark in params.benchmarks]
    study = gather(
        Path(), params.policy.methods, params.reward.judge, names, params.people.methods, params.report.max_cases, params.seed
    )
    page.check_one_run(study)
    data = {"training pairs": params.data.train, "validation pairs": params.data.val, "prompts": params.generate.prompts}
    run_of = origin(Path(), data, params.seed, datetime.now().astimezone())
    html = page.render(study, params.model_dump(), machine(), run_of)
    with whole_file("reports/index.html") as path:
        path.write_text(html, encoding="utf-8")


if __name__ == "__main__":
    run(main)
