"""Made-up inputs of the report, hostile texts among them; the metrics come from the functions that make the real ones.

python -m tests.report.example folder
"""

import atexit
import random
import shutil
import sys
import tempfile
from functools import cache
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pandas as pd

from preference_study.analysis import statistics
from preference_study.analysis.best_of_n import compare_best_of_n
from preference_study.analysis.groups import compare_groups, compare_transfer
from preference_study.analysis.judge import right_to_judge
from preference_study.analysis.judges import compare_judges, disagreements
from preference_study.analysis.methods import compare_methods, pair_matrix, training_costs
from preference_study.analysis.people import analyse_people, answers_of
from preference_study.analysis.policies import compare_policies
from preference_study.analysis.price import add_to_verdict, correct_prices, policy_price
from preference_study.analysis.reward import analyse_reward, favoured_and_other
from preference_study.analysis.scorers import members, scorers
from preference_study.analysis.statistics import estimate, mean, proportion
from preference_study.analysis.stress import compare_stress, ensemble_on_perturbations
from preference_study.analysis.variants import compare_variants
from preference_study.annotations import COLUMNS
from preference_study.artifacts import read_json, read_rows, write_csv, write_json, write_png, write_rows
from preference_study.blind import draw, opinions
from preference_study.judges import own_judgement
from preference_study.methods import display_name
from preference_study.report import figures
from preference_study.texts.gold import with_truth
from preference_study.texts.instructions import INSTRUCTIONS
from preference_study.texts.perturbations import PERTURBATIONS
from preference_study.texts.words import words
from tests.conftest import asked

HOSTILE = (
    "</script><script>window.injected = 1; alert(1)</script>",
    "<img src=x onerror=\"window.injected = 1; alert('img')\"><svg onload=alert(2)>",
    "<!-- <script> {{ 7 * 7 }} {% raw %} &lt;b&gt; \u2028 \\u003c/script>",
    "",
    "x" * 3000,
    "\u202eשלום עולם\u202c مرحبا 👩‍👩‍👧‍👦 🏳️‍🌈 Z̸a̷l̴g̵o̶",
)
TOPICS = ("rain", "old maps", "the cinema", "chickens", "city parks", "a choir", "the dentist", "breakfast")
SIDES = ("chosen", "rejected")
FILLER = words("people enjoy it because a short walk in the fresh morning air can help you think and rest well")

EARLIER = [
    {"role": "system", "content": "Be <b>brief</b>."},
    {"role": "user", "content": "Do hedgehogs knit?"},
    {"role": "assistant", "content": "<img src=x onerror=alert(1)> Rarely."},
]


def responses(policies: list[str], prompts: int, sandbox: bool, seed: int = 3) -> list[dict]:
    """Scored responses to made-up prompts; the second policy's first responses are `HOSTILE`, and every seventh is a tie.

    Every third response is an answer, as far as its instruction goes; some of a policy's loop, and some echo their prompt.
    """
    rng = random.Random(seed)
    kinds = list(INSTRUCTIONS)
    questions = [(rng.choice(TOPICS), kinds[i % len(kinds)]) for i in range(prompts)]
    rows, base = [], {}
    for place, policy in enumerate(policies):
        for i, (topic, kind) in enumerate(questions):
            text = " ".join(rng.choices(FILLER, k=rng.randint(4, 30) + 3 * place)).capitalize() + "."
            if place and i % 11 == 3:
                text = "because " * 20
            elif place and i % 11 == 5:
                text = f"Say something about {topic}, number {i}."
            elif (i + place) % 3 == 0:
                text = f"I like {topic} because it is as calm as you are."
            reward = rng.gauss(1 + 0.6 * place, 1.5)
            if place == 0:
                base[i] = (text, reward)
            elif i % 7 == 6:
                text, reward = base[i]
            elif place == 1 and i < len(HOSTILE):
                text = HOSTILE[i]
            elif place == 1 and i == 8:
                reward = base[i][1] + 0.5  # gold, and the judge says so too
            turns = [*(EARLIER if i == 4 else []), *asked(f"Say something about {topic}, number {i}. {INSTRUCTIONS[kind].text}")]
            row = {"prompt": turns, "id": f"{i:016x}", "cluster": f"{i // 2:016x}", "policy": policy, "response": text}
            row |= {"tokens": 1 + len(text) // 4, "finished": rng.random() < 0.7, "reward": reward}
            rows.append(row | ({"instruction": kind} if sandbox else {}))
    return rows


def policies_metrics(rows: list[dict], methods: list[str], rng: np.random.Generator) -> dict:
    """metrics/policies.json of such responses."""
    table = pd.DataFrame(rows)
    table["words"] = [len(words(text)) for text in table["response"]]
    table["headings"], table["list_items"], table["bold"] = 0, rng.integers(0, 3, len(table)), rng.integers(0, 2, len(table))
    table["reading_grade"] = np.where(table["words"] > 5, rng.normal(6, 2, len(table)), np.nan)
    table["repetition"], table["refuses"] = rng.uniform(0, 0.3, len(table)), rng.random(len(table)) < 0.05
    table["loops"], table["echoes"] = rng.random(len(table)) < 0.1 * (table["policy"] != "base"), rng.random(len(table)) < 0.05
    table = with_truth(table)
    policies = ["base", *methods]
    by_policy = {policy: table[table["policy"] == policy].set_index("id") for policy in policies}
    logps = {policy: pd.DataFrame(rng.normal(-50, 9, (40, 2)), columns=["chosen_logp", "rejected_logp"]) for policy in policies}
    logps = {policy: rows.assign(cluster=np.arange(40) // 2) for policy, rows in logps.items()}
    smallest, right = {"win_rate": 0.1, "gold_rate": 0.1}, {"holds": True, "reasons": []}
    metrics = compare_policies(by_policy, logps, dict.fromkeys(methods, 0.1), 1, smallest, right)
    for place, method in enumerate(methods, start=1):
        pairs = {policy: rows.assign(chosen_tokens=20, rejected_tokens=25) for policy, rows in logps.items()}
        pairs[method]["chosen_logp"] -= 15
        kl = [{"cluster": i, "policy_logps": [-1.0] * 9, "base_logps": (-1 - rng.random(9) * place).tolist()} for i in range(30)]
        metrics[method]["price"] = policy_price(by_policy["base"], by_policy[method], pairs["base"], pairs[method], kl, seed=1)
    correct_prices({method: metrics[method]["price"] for method in methods})
    for method in methods:
        add_to_verdict(metrics[method]["against_base"]["verdict"], metrics[method]["price"], display_name(method))
    return metrics


NEEDS = {  # reference, reward model, pairs
    "dpo": (True, False, True), "ipo": (True, False, True), "kto": (True, False, False),
    "simpo": (False, False, True), "orpo": (False, False, True), "rloo": (True, True, False),
}  # fmt: skip
STABILITY = {
    "params": {"model.name": "tiny/model"},
    "seeds": [1, 2, 3],
    "methods": {"dpo": {"gold_rate": [0.5, 0.6, 0.55], "letter_rate": [0.7, 0.8, 0.75], "words_mean": [30.0, 31.5, 30.6]}},
}


def methods_inputs(folder: Path, methods: list[str], training: dict) -> None:
    """Per method what training came to and what it took, and the spread over seeds."""
    for place, method in enumerate(methods):
        needs = dict(zip(("needs_reference", "needs_reward_model", "needs_pairs"), NEEDS[method], strict=True))
        examples = training["train_pairs"] * (1 if needs["needs_pairs"] else 2)
        trained = training | {"examples": examples, "tokens": 200 * examples} | needs
        trained["implicit_beta"] = 0.1 if needs["needs_reference"] else None
        write_json(folder / f"metrics/train_policy/{method}.json", trained)
        cost = {"seconds": 120.0 + 30 * place, "peak_memory_bytes": (3 + place) * 2**30, "device": "cpu", "dtype": "bfloat16"}
        write_json(folder / f"metrics/train_cost/{method}.json", cost)
    write_json(folder / "experiments/results/stability.json", STABILITY)


def methods_outputs(folder: Path, methods: list[str], rows: list[dict]) -> None:
    """metrics/methods.json, metrics/methods_cost.json and plots/methods/ of what `methods_inputs` and the others wrote."""
    table = pd.DataFrame(rows)
    table = with_truth(table)
    responses = {policy: table[table["policy"] == policy].set_index("id") for policy in (*methods, "base")}
    training = {method: read_json(folder / f"metrics/train_policy/{method}.json") for method in methods}
    measured = {method: read_json(folder / f"metrics/train_cost/{method}.json") for method in methods}
    policies = read_json(folder / "metrics/policies.json")
    made = compare_methods(responses, policies, training, STABILITY, {"model": {"name": "tiny/model"}})
    write_json(folder / "metrics/methods.json", made)
    write_json(folder / "metrics/methods_cost.json", training_costs(measured, {m: training[m]["tokens"] for m in methods}))
    plots = folder / "plots/methods"
    write_png(plots / "methods.png", figures.method_shares(figures.method_rows(policies, methods)))
    steps = pd.DataFrame({"examples": range(60), "value": np.linspace(0, -9, 60)})
    losses = figures.training_rows({methods[0]: steps}, "loss", methods)
    write_png(plots / "training.png", figures.training([("loss", "loss", losses)]))
    write_png(plots / "training_logps.png", figures.logps(figures.logps_rows({(methods[0], "chosen"): steps}, methods)))
    write_png(plots / "plane.png", figures.plane(figures.plane_rows(policies, {}, {}, methods)))
    write_png(plots / "pairwise.png", figures.win_matrix(pair_matrix(made["pairs"], ["base", *methods], "reward")))


def groups_outputs(folder: Path, methods: list[str], rows: list[dict], scored: pd.DataFrame) -> None:
    """metrics/groups.json, metrics/transfer.json and plots/groups/ by the instruction of such responses and pairs; of those whose
    name begins with a letter after o no training pair is."""
    table = with_truth(pd.DataFrame(rows))
    table["category"] = table["instruction"]
    responses = {policy: table[table["policy"] == policy].set_index("id") for policy in ("base", *methods)}
    pairs = scored.assign(category=scored["instruction"])
    trained = pd.DataFrame({"category": [name for name in pairs["category"] if name < "p"] * 3}, dtype=object)
    metrics = compare_groups(responses, pairs, trained)
    write_json(folder / "metrics/groups.json", metrics)
    write_json(folder / "metrics/transfer.json", compare_transfer(responses, pairs, set(trained["category"])))
    write_png(folder / "plots/groups/groups.png", figures.groups(figures.group_rows(metrics, methods)))


def scored_pairs(rng: np.random.Generator, pairs: int = 40) -> pd.DataFrame:
    """Validation pairs with rewards, as analyse_reward takes them."""
    scored = pd.DataFrame(rng.normal([1.6, 0.6], 1.4, (pairs, 2)), columns=["chosen_reward", "rejected_reward"])
    scored["cluster"] = np.arange(pairs) // 2
    scored["chosen"], scored["rejected"], scored["instruction"] = "a", "b", rng.choice(list(INSTRUCTIONS)[:5], pairs)
    scored["chosen_words"], scored["rejected_words"] = rng.integers(5, 60, (2, pairs))
    return scored


def judges_outputs(folder: Path, methods: list[str], rows: list[dict], scored: pd.DataFrame, rng: np.random.Generator) -> None:
    """metrics/judges.json and data/disagreements.csv of such responses: the study's own judge, one that guesses, and an endpoint
    that mostly takes what stands first, was asked about some of them alone, and left many of the first method's unanswered."""
    table = pd.DataFrame(rows)
    table = with_truth(table.assign(words=[len(words(text)) for text in table["response"]]))
    answers = {policy: table[table["policy"] == policy].set_index("id") for policy in ("base", *methods)}
    pairs = scored.assign(id=[f"v{n}" for n in range(len(scored))])
    own = own_judgement("standard", table, pairs, methods)

    def other(name: str, kind: str, orders: bool, share: float, **counts: object) -> dict:
        made = {"name": name, "kind": kind, **counts}
        for of in ("responses", "pairs"):
            made[of] = [{key: row[key] for key in row if key != "preference"} for row in own[of] if rng.random() < share]
            for row in made[of]:
                first, second = rng.uniform(0.45, 1), rng.uniform(0, 0.55)
                row["preference"] = (first + second) / 2 if orders else rng.random()
                row |= {"as_first": first, "as_second": second} if orders else {}
        return made

    judged = [own, other("guesses", "cross_fitted", False, 1, shortened=3, train_pairs=17)]
    unanswered = {"responses": {methods[-1]: 1} | {methods[0]: 9}, "pairs": 2}
    judged.append(other("asked", "endpoint", True, 0.8, questions=96, no_label=15, cut_off=4, unanswered=unanswered))
    margins = {"tfidf": -scored["chosen_words"].to_numpy(), "probe": np.zeros(len(scored))}
    write_json(folder / "metrics/judges.json", compare_judges(judged, pairs.set_index("id"), answers, margins, 0.1, seed=1))
    write_csv(folder / "data/disagreements.csv", disagreements(judged, answers))


def stress_outputs(folder: Path, scored: pd.DataFrame, rng: np.random.Generator) -> None:
    """metrics/stress.json and plots/stress/ of pairs whose rewards each perturbation changes a little, the last one much."""
    rewards = scored[["cluster", "chosen_reward", "rejected_reward"]].assign(id=[str(i) for i in range(len(scored))])
    tables = []
    for name in ("none", *PERTURBATIONS):
        size = {"none": 0, list(PERTURBATIONS)[-1]: 9}.get(name, 0.3)
        noise = rng.normal(0, 1, (2, len(scored)))
        table = rewards.assign(perturbation=name, chosen_changed=size > 0, rejected_changed=size > 1, truth_kept=True)
        table.loc[: 3 * (name == "truncation"), "truth_kept"] = name != "truncation"
        tables.append(table.assign(**{f"{s}_reward": table[f"{s}_reward"] + size * noise[i] for i, s in enumerate(SIDES)}))
    whole = pd.concat(tables, ignore_index=True)
    metrics = compare_stress({"standard": whole}, seed=1)
    lists = whole.assign(**{f"{s}_reward": [[r, r - 1, -r] for r in whole[f"{s}_reward"]] for s in SIDES})
    columns = ["chosen_reward", "rejected_reward"]
    ensembles = {"ensemble": ensemble_on_perturbations(scorers("ensemble", lists, columns, 1.0), members(lists, columns), seed=1)}
    write_json(folder / "metrics/stress.json", {"scorers": metrics, "ensembles": ensembles})
    write_png(folder / "plots/stress/accuracy.png", figures.stress(figures.stress_rows(metrics)))


def variants_outputs(folder: Path, scored: pd.DataFrame, rng: np.random.Generator) -> None:
    """metrics/variants.json, metrics/best_of_n.json and their plots, of two reward models."""
    other = scored.assign(chosen_reward=scored["chosen_reward"] + rng.normal(0, 1, len(scored)))
    learned = {"accuracy": proportion(25, 40), "length_correlation": mean(rng.normal(0.9, 0.1, 40))}
    metrics = compare_variants({"standard": scored, "product_of_experts": other}, {"product_of_experts": learned}, seed=1)
    write_json(folder / "metrics/variants.json", metrics)
    write_png(folder / "plots/variants/accuracy.png", figures.variants(figures.variant_rows(metrics)))
    steps = figures.training_rows({"standard": pd.DataFrame({"examples": range(60), "value": 0.5})}, "loss", ["standard"])
    write_png(folder / "plots/variants/training.png", figures.training([("training loss", "loss", steps)]))
    samples = pd.DataFrame({"id": np.repeat([str(i) for i in range(20)], 8), "sample": list(range(8)) * 20})
    samples["cluster"] = samples["id"]
    samples["words"], samples["gold"] = rng.integers(5, 60, 160), rng.random(160) < 0.4
    scored = {name: samples[["id", "sample"]].assign(reward=rng.normal(size=160)) for name in ("standard", "ensemble (worst)")}
    best = compare_best_of_n(samples, scored, "standard", seed=1)
    write_json(folder / "metrics/best_of_n.json", best)
    write_png(folder / "plots/best_of_n/curves.png", figures.best_of_n(figures.best_of_n_rows(best)))


def people_outputs(folder: Path, method: str) -> None:
    """metrics/people/<method>.json of two people, one of whom has a hostile name, beside two judges; after `write_example`."""
    table = with_truth(read_rows(folder / "data/responses/scored.parquet"))
    base, policy = (table[table["policy"] == name].set_index("id") for name in ("base", method))
    other = [{"id": name, "policy": method, "preference": i % 3 / 2} for i, name in enumerate(base.index)]
    votes, truth = opinions("standard", base, policy, [{"name": "other <judge>", "responses": other}])
    key = draw(base, policy, list(base.index), 30, 6, seed=1).key | {"which": "random"}
    rng = random.Random(3)
    said = [
        (name, 1, key["study"], case["case"], rng.choice(["1", "2", "2", "tie"]), place == 4, HOSTILE[0] * (place == 4), None)
        for name, most in ((HOSTILE[1], 36), ("Bob", 30))
        for place, case in enumerate(key["cases"][:most])
    ]
    answers = answers_of(pd.DataFrame(said, columns=COLUMNS), key, method, base["cluster"])
    reward = read_json(folder / "metrics/policies.json")[method]["against_base"]["verdict"]["reward"]
    found = analyse_people({method: answers}, method, key, votes, truth, base["cluster"], reward, 0.1, seed=1)
    write_json(folder / f"metrics/people/{method}.json", found)


def word_tables(folder: Path, groups: list[str], comparison: str) -> None:
    """keywords.csv and log_odds.csv; "null" is a word like any other."""
    keywords = [
        {"group": group, "rank": rank, "word": word, "weight": 0.2 / rank}
        for place, group in enumerate(groups)
        for rank, word in enumerate([*FILLER[place : place + 9], "null"], 1)
    ]
    odds = [
        {"comparison": comparison, "word": word, "count_a": 9 + z, "count_b": 9 - z, "log_odds": z / 4, "z": float(z)}
        for z, word in zip(range(8, -9, -1), FILLER, strict=False)
    ]
    write_csv(folder / "keywords.csv", pd.DataFrame(keywords))
    write_csv(folder / "log_odds.csv", pd.DataFrame(odds))


def write_example(folder: Path, methods: list[str], prompts: int = 40, sandbox: bool = True, whole: bool = True) -> None:
    """Write the report's inputs below `folder`: a copy, where those of the same arguments were written before.

    Args:
        whole: also what may be missing: the reward model's analysis, the methods' table, the perturbed responses, pictures and
            word tables.
    """
    shutil.copytree(_example(tuple(methods), prompts, sandbox, whole), folder, dirs_exist_ok=True)


@cache
@patch.object(statistics, "RESAMPLES", 200)
def _example(names: tuple[str, ...], prompts: int, sandbox: bool, whole: bool) -> Path:
    methods, folder = list(names), Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    rng = np.random.default_rng(5)
    share, length = proportion(31, 40), mean(rng.normal(30, 9, 40))
    half = estimate(27.0, 25.0, 29.0, 40)
    split = {
        "shape": "study",
        "columns_left_out": [],
        "rows_in": 44,
        "dropped": {"duplicate": 3, "empty_text": 1},
        "not_sampled": 0,
        "rows_out": 40,
        "clusters": 20,
    }
    split |= {"chosen_words": length, "rejected_words": length, "longer_wins": share, "first_wins": share}
    split |= {"chosen_words_median": half, "rejected_words_median": half}
    training = {
        "train_pairs": 1234,
        "train_pairs_truncated": 5,
        "val_pairs_truncated": 0,
        "train_turns_dropped": 0,
        "val_turns_dropped": 0,
        "trained_parameters": 10**6,
        "steps": 60,
    }
    rows, scored = responses(["base", *methods], prompts, sandbox), scored_pairs(rng)
    reward = {key: share for key in ("accuracy", "accuracy_longer_chosen", "reward_mean", "reward_std", "length_correlation")}
    reward["reward_median"] = half
    write_json(folder / "metrics/data.json", {"train": split, "val": split | {"first_wins": None}, "shared_prompts": 0})
    labelled = {"pairs": 40, "opposite_labels": 3, "in_cycles": 4, "words_accuracy": share, "doubted": share}
    looked_at = {"train": labelled, "val": {"pairs": 40, "opposite_labels": 5, "in_cycles": 6}}
    looked_at["prompts"] = {"similarity": 0.8, "across": {"prompts": 21, "near_duplicates": 2}}
    looked_at["prompts"] |= {"train": {"prompts": 23, "near_duplicates": 7}, "val": {"prompts": 21, "near_duplicates": 8}}
    write_json(folder / "metrics/data_analysis.json", looked_at | {"responses": {"responses": 79, "shared": 9}})
    write_json(
        folder / "metrics/reward.json",
        reward
        | {"accuracy_shorter_chosen": None, "baselines": dict.fromkeys(("longer", "tfidf", "probe"), share)}
        | {"right_to_judge": right_to_judge(scored, {"tfidf": -scored["chosen_words"].to_numpy(), "probe": np.zeros(40)})},
    )
    write_json(folder / "metrics/train_reward/standard.json", training)
    write_json(folder / "metrics/reward_training.json", {"standard": {"untrained_accuracy": share}})
    methods_inputs(folder, methods, training)
    write_json(folder / "metrics/policies.json", policies_metrics(rows, methods, rng))
    write_rows(folder / "data/responses/scored.parquet", rows)
    if whole:
        methods_outputs(folder, methods, rows)
        if sandbox:
            groups_outputs(folder, methods, rows, scored)
        sides = favoured_and_other(scored).assign(favoured_grade=rng.normal(6, 1, len(scored)), other_grade=5.0)
        analysis = analyse_reward(scored, sides, {"too short": 2, "code": 0}, seed=1)
        analysis["keywords"] = {"favoured": FILLER[:9], "training": FILLER[2:11], "shared": FILLER[2:9]}
        write_json(folder / "metrics/reward_analysis.json", analysis)
        stress_outputs(folder, scored, np.random.default_rng(6))
        judges_outputs(folder, methods, rows, scored, np.random.default_rng(8))
        variants_outputs(folder, scored, np.random.default_rng(7))
        word_tables(folder / "plots/reward", ["favoured", "other", "training set"], "favoured against other")
        word_tables(folder / "plots/policies", ["base", *methods, "training set"], f"{display_name(methods[0])} against base")
        points = figures.kde_rows({"chosen": scored["chosen_reward"], "rejected": scored["rejected_reward"]})
        shown = (
            "reward/score_histogram",
            "reward/words_histogram",
            "reward/reliability",
            "policies/shares",
            "policies/a_new_picture",
        )
        for name in (*shown, "reward/score_kde", "policies/words_kde"):
            write_png(folder / f"plots/{name}.png", figures.kde(points, "Made up", "reward"))
    return folder


if __name__ == "__main__":
    write_example(Path(sys.argv[1]), sys.argv[2:] or ["dpo"])
