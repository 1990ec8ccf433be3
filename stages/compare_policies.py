"""What alignment changed, per policy and against base -> metrics/policies.json and plots/policies/.

python -m stages.compare_policies
"""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from preference_study.analysis.policies import compare_policies
from preference_study.analysis.price import add_to_verdict, correct_prices, policy_price
from preference_study.artifacts import PIECE, open_table, read_json, read_pieces, write_csv, write_json, write_png
from preference_study.boundary import run
from preference_study.data.conversations import prompt_key
from preference_study.data.pairs import pair_id
from preference_study.methods import display_name, named
from preference_study.params import load_params
from preference_study.report import figures
from preference_study.texts.keywords import keyword_table, log_odds, standing_for, top_differences
from preference_study.texts.measures import measured

PLOTS = Path("plots/policies")
MOST_DIFFERENT = 20


def draw_policies(responses: dict[str, pd.DataFrame], metrics: dict, methods: list[str]) -> None:
    """Write the figures of the responses and the rows they are drawn from."""
    responses, metrics, methods = named(responses), named(metrics), list(map(display_name, methods))
    rewards = {policy: rows["reward"] for policy, rows in responses.items()}
    differences = {method: rewards[method] - rewards["base"] for method in methods}
    reward, unit = "reward (reward model's units)", "responses"
    for name, groups, title, label, counted in (
        ("reward", rewards, "Rewards of responses", reward, unit),
        ("reward_differences", differences, "Reward minus base's, same prompt", reward, "prompts"),
        ("words", {p: rows["words"] for p, rows in responses.items()}, "Length of responses", "words", unit),
        ("reading_grade", {p: r["reading_grade"] for p, r in responses.items()}, "Flesch-Kincaid grade", "grade", unit),
    ):
        bins, points = figures.histogram_rows(groups, methods), figures.kde_rows(groups, methods)
        write_csv(PLOTS / f"{name}_histogram.csv", bins)
        write_csv(PLOTS / f"{name}_kde.csv", figures.or_not_measured(points))
        write_png(PLOTS / f"{name}_histogram.png", figures.histogram(bins, title, label, counted))
        write_png(PLOTS / f"{name}_kde.png", figures.kde(points, title, label))
    write_png(PLOTS / "reward_scatter.png", figures.scatter(rewards["base"], {m: rewards[m] for m in methods}, methods))
    shares = figures.share_rows(metrics, methods)
    write_csv(PLOTS / "shares.csv", figures.or_not_measured(shares))
    write_png(PLOTS / "shares.png", figures.shares(shares))


def write_keywords(responses: dict[str, pd.DataFrame], training: list[str]) -> None:
    """Write the study's TF-IDF lists, and the words that really differ between each method's responses and base's."""
    texts = {policy: rows["response"].tolist() for policy, rows in named(responses).items()}
    write_csv(PLOTS / "keywords.csv", keyword_table(texts | {"training set": training}))
    tables = [
        top_differences(log_odds(texts[method], texts["base"], training), MOST_DIFFERENT).assign(
            comparison=f"{method} against base"
        )
        for method in texts
        if method != "base"
    ]
    write_csv(PLOTS / "log_odds.csv", pd.concat(tables))


def policies_row(metrics: dict, methods: list[str]) -> dict:
    """The few numbers of metrics/policies.json that stand in a row of `dvc exp show`: {method: {measure: value}}."""
    rows = {}
    for method in methods:
        found = metrics[method] | metrics[method]["against_base"]
        measures = (
            "win_rate",
            "win_rate_length_controlled",
            "win_rate_style_controlled",
            "gold_rate",
            "letter_rate",
            "words_difference",
            "finished",
            "refusals",
        )
        rows[method] = {measure: found[measure]["value"] for measure in measures if measure in found}
        form = {row["outcome"]: row for row in found["price"]["form"]}
        rows[method] |= {"loops": form["loops"]["policy"]["value"], "price": len(found["verdict"]["price"])}
        rows[method] |= {f"verdict_by_{by}": found["verdict"][by] for by in ("reward", "gold") if found["verdict"][by]}
    return rows


def measured_responses(
    pieces: Iterable[pd.DataFrame], policies: list[str]
) -> tuple[dict[str, pd.DataFrame], dict[str, dict[str, int]]]:
    """What is measured of each policy's responses, piece by piece: a prompt is held no longer than its piece.

    Args:
        pieces: of the scored responses, as `read_pieces` gives them.

    Returns:
        Per policy the rows of `measured` by id, in base's order and without their prompts; and how many have no reading grade, by
        reason.
    """
    found: dict[str, list[pd.DataFrame]] = {policy: [] for policy in policies}
    left_out: dict[str, Counter] = {policy: Counter() for policy in policies}
    for piece in pieces:
        for policy in policies:
            rows = piece[piece["policy"] == policy].set_index("id")
            if len(rows):
                measures, reasons = measured(rows)
                found[policy].append(measures.drop(columns="prompt"))
                left_out[policy].update(reasons)
    # The truth is known where it is known of all of a policy's responses.
    tables = {policy: pd.concat(own, join="inner") for policy, own in found.items()}
    ids = tables["base"].index
    return {policy: table.loc[ids] for policy, table in tables.items()}, {policy: dict(own) for policy, own in left_out.items()}


def in_training(ids: Iterable[str]) -> int:
    """How many of the prompts that were answered, by their ids, stand in the training pairs too."""
    wanted, found = set(ids), set()
    for batch in open_table("data/prepared/train.parquet").iter_batches(PIECE, columns=["prompt"]):
        found |= wanted.intersection(pair_id(prompt_key(prompt)) for prompt in batch["prompt"].to_pylist())
    return len(found)


def main() -> None:
    params = load_params()
    methods = params.policy.methods
    responses, left_out = measured_responses(read_pieces("data/responses/scored.parquet"), ["base", *methods])
    logps = {policy: pd.DataFrame(read_json(f"data/logps/{policy}/val.json")).set_index("id") for policy in responses}
    clusters = open_table("data/prepared/val.parquet").read(["id", "cluster"]).to_pandas().set_index("id")["cluster"]
    logps = {policy: rows.loc[logps["base"].index].join(clusters) for policy, rows in logps.items()}
    betas = {method: read_json(f"metrics/train_policy/{method}.json")["implicit_beta"] for method in methods}
    right, smallest = read_json("metrics/reward.json")["right_to_judge"], params.verdict.smallest_difference.model_dump()
    metrics = compare_policies(responses, logps, betas, params.seed, smallest, right)
    prices = {
        method: policy_price(
            responses["base"], responses[method], logps["base"], logps[method], read_json(f"data/kl/{method}.json"), params.seed
        )
        for method in methods
    }
    correct_prices(prices)
    for method, price in prices.items():
        metrics[method]["price"] = price
        add_to_verdict(metrics[method]["against_base"]["verdict"], price, display_name(method))
    for policy, reasons in left_out.items():
        metrics[policy]["reading_grade_left_out"] = reasons
        metrics[policy]["prompts_truncated"] = int(responses[policy]["prompt_truncated"].sum())
        metrics[policy]["truncated_for_reward"] = int(responses[policy]["truncated"].sum())
    metrics["base"]["prompts_in_training"] = in_training(responses["base"].index)
    train = open_table("data/prepared/train.parquet").read(["chosen", "rejected"])
    train = train.take(standing_for(len(train)))
    draw_policies(responses, metrics, methods)
    write_keywords(responses, [text for side in ("chosen", "rejected") for text in train[side].to_pylist()])
    write_json("metrics/policies.json", metrics)
    write_json("metrics/summary/policies.json", policies_row(metrics, methods))


if __name__ == "__main__":
    run(main)
