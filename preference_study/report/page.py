"""What the report page shows of a study's numbers and texts, and how they are written."""

import base64
import hashlib
import io
import json
import math
import re
from collections import defaultdict
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from PIL import Image

from preference_study.analysis.methods import flat, pair_matrix
from preference_study.analysis.statistics import ENOUGH, proportion
from preference_study.data.pairs import REASONS
from preference_study.methods import display_name
from preference_study.numbers import decimal, with_interval
from preference_study.report.figures import colour
from preference_study.texts.gold import loops, with_truth
from preference_study.texts.instructions import checkable
from preference_study.texts.responses import echoes, repetition
from preference_study.texts.words import words

HERE = Path(__file__).parent
LOG_ODDS_SHOWN = 10  # words a side
DISAGREEMENTS_SHOWN = 10


def decimals(estimate: dict) -> int:
    """How many decimals an estimate is shown with: two; one from 10 on; three where the interval is narrower than 0.04."""
    if estimate["low"] is not None and 0 < estimate["high"] - estimate["low"] < 0.04:
        return 3
    return 1 if abs(estimate["value"]) >= 10 else 2


def number(value: float | None, places: int = 2, signed: bool = False) -> str:
    """A number in text, with a true minus sign, or a dash where there is none."""
    if value is None:
        return "–"
    if isinstance(value, int):
        return f"{value:{'+' if signed else ''},}".replace("-", "−")
    return decimal(value, places, signed).replace("-", "−")


def p_value(p: float | None) -> str:
    """A p-value to two significant digits: 0.017, 4.8×10⁻⁵; a dash where there were too few to test."""
    if p is None:
        return "–"
    if p >= 0.001:
        return decimal(p, 2 if p >= 0.1 else 3 if p >= 0.01 else 4).rstrip("0").rstrip(".")
    if p < 1e-99:
        return "<10⁻⁹⁹"
    mantissa, exponent = f"{p:.1e}".split("e-")
    return f"{mantissa}×10⁻{exponent.lstrip('0').translate(str.maketrans('0123456789', '⁰¹²³⁴⁵⁶⁷⁸⁹'))}"


def statistic(value: float | None) -> str:
    """A test statistic: counts and sums of ranks as whole numbers, or halves of them."""
    if value is not None and float(value).is_integer():
        return number(int(value))
    return number(value) if value is None or abs(value) < 1000 else f"{value:,.1f}".replace("-", "−")


def in_words(estimate: dict, places: int = 2, signed: bool = False) -> str:
    """An estimate with its interval in a sentence, with true minus signs: +0.4 [−0.4, 1.1]."""
    return with_interval(estimate, places, signed).replace("-", "−")


def asides(sentence: str) -> list[str]:
    """A sentence cut at its brackets: every second part is one, with the brackets."""
    return re.split(r"(\([^()]*\))", sentence)


def scale(estimate: dict, share: bool) -> dict[str, float]:
    """Where an interval is drawn on a scale from 0 to 1: of a share as it is, of a difference with zero in the middle.

    Returns:
        {low, value, high}; low and high are the value's own where the interval is null.
    """
    ends = {key: estimate["value"] if estimate[key] is None else estimate[key] for key in ("low", "value", "high")}
    if share:
        return ends
    widest = 1.1 * max(map(abs, ends.values())) or 1.0
    return {key: 0.5 + end / widest / 2 for key, end in ends.items()}


def shown(picture: str) -> bool:
    """Whether a picture of that name is on the page; all are in plots/.

    Of the same values plots/ has a histogram and a density, as the original study has. The page shows the histogram: it counts
    what is there, while a density smooths over bounds such as zero words, and over the peak where responses are cut off.
    """
    return not picture.endswith("_kde")


def data_uri(png: bytes) -> str:
    """A picture as an address that holds it, in 128 colours: drawings look the same, and the page is half as large."""
    small = io.BytesIO()
    Image.open(io.BytesIO(png)).convert("RGB").quantize(128, dither=Image.Dither.NONE).save(small, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(small.getvalue()).decode("ascii")


def lookup(metrics: Any, path: str) -> Any:
    """What stands at a dotted path, or None.

    In a list, `outcome=reward&test=paired t` takes the first entry with these values.
    """
    for step in path.split("."):
        if isinstance(metrics, list):
            wanted = dict(pair.split("=") for pair in step.split("&"))
            metrics = next((entry for entry in metrics if wanted.items() <= entry.items()), None)
        elif isinstance(metrics, dict):
            metrics = metrics.get(step)
        else:
            return None
    return metrics


def beside_original(original: list[dict], metrics: dict) -> list[dict]:
    """The original study's numbers with ours.

    Args:
        original: original_study.json beside this file: `row` of the study's list, `what`, `reported` as it was printed, `n`
            where it is known, `right` where the number is a share of n, `ours` (a path into `metrics`) and what it is `of`.
        metrics: the metrics by file, and `params`.

    Returns:
        The same rows with `ours` looked up, and the Wilson interval that the original study did not give for a share.
    """
    return [
        entry
        | {
            "interval": proportion(entry["right"], entry["n"]) if "right" in entry else None,
            "ours": lookup(metrics, entry["ours"]),
        }
        for entry in original
    ]


def keyword_columns(table: pd.DataFrame) -> dict:
    """Keywords side by side.

    Args:
        table: group, rank, word, weight.

    Returns:
        {groups, rows, alone}: rows of one word per group, by rank; `alone` are the words that only one group has.
    """
    columns = {group: rows.sort_values("rank")["word"].tolist() for group, rows in table.groupby("group", sort=False)}
    counts = table["word"].value_counts()
    longest = max(map(len, columns.values()), default=0)
    return {
        "groups": list(columns),
        "rows": [[column[rank] if rank < len(column) else "" for column in columns.values()] for rank in range(longest)],
        "alone": set(counts[counts == 1].index),
    }


def log_odds_sides(table: pd.DataFrame) -> dict[str, dict[str, list[dict]]]:
    """The words that tell two groups of responses apart most, per comparison: {comparison: {a: rows, b: rows}}.

    Args:
        table: comparison, word, count_a, count_b, log_odds, z; z is positive where a uses the word more.
    """
    return {
        comparison: {
            "a": rows[rows["z"] > 0].nlargest(LOG_ODDS_SHOWN, "z").to_dict("records"),
            "b": rows[rows["z"] < 0].nsmallest(LOG_ODDS_SHOWN, "z").to_dict("records"),
        }
        for comparison, rows in table.groupby("comparison", sort=False)
    }


def furthest_apart(table: pd.DataFrame) -> list[dict]:
    """The first of the cases on which judges disagree, as many as the page shows.

    Args:
        table: data/disagreements.csv: texts as they are, and each judge's preference, of which a missing one becomes None.
    """
    some = table.head(DISAGREEMENTS_SHOWN).astype(object)
    return some.where(some.notna(), None).to_dict("records")


def some_prompts(rewards: pd.DataFrame, most: int, seed: int) -> dict | None:
    """Which prompts the page shows where there are too many: of each policy those on which its reward is furthest above base's
    and furthest below, a third of them each, and a sample of the others.

    Args:
        rewards: by prompt, a column a policy.
        most: prompts that may be shown.
        seed: of the sample.

    Returns:
        {ids, of, furthest, sampled}: which in their order, of how many, how many furthest above, and as many below, a policy, and
        how many were sampled; None where all are shown.
    """
    if len(rewards) <= most:
        return None
    differences = rewards.drop(columns="base").sub(rewards["base"], axis=0)
    furthest = most // (3 * differences.shape[1])
    picked = pd.Series(False, index=rewards.index)
    for name in differences:
        order = differences[name].sort_values(kind="stable").index
        picked[order[:furthest]] = picked[order[len(order) - furthest :]] = True
    sampled = most - int(picked.sum())
    picked[picked[~picked].sample(sampled, random_state=seed).index] = True
    return {"ids": picked.index[picked].tolist(), "of": len(rewards), "furthest": furthest, "sampled": sampled}


def cases(rows: list[dict]) -> list[dict]:
    """The responses by prompt, in the order of the base model's: what the case browser shows.

    Args:
        rows: the scored responses; with an `instruction` that can be checked, each response also says letter, gold and flaw.

    Returns:
        Per prompt {prompt, category, responses}: its turns, {role, content} each, its category or else its kind of instruction,
        None where it has neither, and by policy the response with what is shown beside it.
    """
    responses: dict[str, dict[str, dict]] = defaultdict(dict)
    table = with_truth(pd.DataFrame(rows))
    kinds = checkable(table)
    for row in table.to_dict("records"):
        text = row["response"]
        response = {"text": text, "words": len(words(text)), "repetition": round(repetition(text), 4), "loops": loops(text)}
        response["echoes"] = echoes(text, "\n".join(turn["content"] for turn in row["prompt"]))
        responses[row["id"]][row["policy"]] = response | {
            key: row[key] for key in ("reward", "finished", "letter", "gold", "flaw") if key in row
        }
    return [
        {"prompt": row["prompt"], "category": _category(row, kinds), "responses": responses[row["id"]]}
        for row in rows
        if row["policy"] == "base"
    ]


def _category(row: dict, kinds: bool) -> str | None:
    """Its category; an instruction that is of no kind that can be checked is none, for each would be another."""
    instruction = row.get("instruction")
    found = row.get("category", instruction)
    none = found is None or found != found or (found == instruction and not kinds)
    return None if none else str(found)


def check_one_run(study: dict) -> None:
    """Refuse inputs that cannot come from one run: a page that mixes two would contradict itself.

    Raises:
        SystemExit: numbers of validation pairs differ, a policy's mean reward is not that of its responses, or the methods' table
            is not of these methods and win rates.
    """
    sizes = {"metrics/data.json": study["data"]["val"]["rows_out"], "metrics/reward.json": study["reward"]["accuracy"]["n"]}
    sizes |= {
        f"metrics/policies.json, {policy}": study["policies"][policy]["implicit_accuracy"]["n"] for policy in study["methods"]
    }
    if study["reward_analysis"]:
        sizes["metrics/reward_analysis.json"] = study["reward_analysis"]["n"]
    if len(set(sizes.values())) > 1:
        found = "; ".join(f"{name}: {n}" for name, n in sizes.items())
        raise SystemExit(f"inputs of different runs, by their numbers of validation pairs ({found}); run dvc repro")
    for policy in ("base", *study["methods"]):
        rewards = study["all_rewards"][policy]
        told, seen = study["policies"][policy]["reward_mean"], rewards.mean() if len(rewards) else 0.0
        if told["n"] != len(rewards) or not math.isclose(told["value"], seen, rel_tol=1e-6, abs_tol=1e-6):
            raise SystemExit(
                f"inputs of different runs: metrics/policies.json gives {policy} a mean reward of {told['value']:.4f} "
                f"(n = {told['n']}), its responses have {seen:.4f} (n = {len(rewards)}); run dvc repro"
            )
    if study["method_table"]:
        told = {method: row["win_rate"] for method, row in study["method_table"]["methods"].items()}
        if told != {method: study["policies"][method]["against_base"]["win_rate"] for method in study["methods"]}:
            raise SystemExit(
                "inputs of different runs: metrics/methods.json and metrics/policies.json differ in win rates; run dvc repro"
            )


@cache
def templates() -> Environment:
    """The page's templates and what they call; every text of a model or of the data is escaped."""
    environment = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters = (number, p_value, decimals, statistic, in_words, asides, scale, lookup)
    environment.filters |= {function.__name__: function for function in filters}
    environment.globals["enough_clusters"] = ENOUGH
    return environment


def fill(template: str, study: dict, **values: Any) -> str:
    """A page from its template and what it shows, with the script that browses cases; no script but the page's own can run."""
    environment = templates()
    script = environment.get_template("report.js").render()
    # A browser runs the script with this digest and no other, whatever a response holds.
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return environment.get_template(template).render(study, **values, script_digest=digest)


def render(study: dict, params: dict, made_on: dict[str, str], run_of: dict) -> str:
    """The page of a study.

    Args:
        study: from `gather`.
        params: all parameters, by section.
        made_on: from `machine`.
        run_of: from `origin`.
    """
    original = json.loads((HERE / "original_study.json").read_text(encoding="utf-8"))
    policies = ["base", *study["methods"]]
    pairs = study["method_table"]["pairs"] if study["method_table"] else []
    outcomes = [outcome for outcome in ("gold", "reward") if pairs and f"{outcome}_p" in pairs[0]]
    metrics = {key: study[key] for key in ("data", "reward", "train_reward", "policies", "reward_analysis")}
    return fill(
        "report.html",
        study,
        params=params,
        settings={"all stages": {k: v for k, v in params.items() if not isinstance(v, dict)}}
        | {section: flat(values) for section, values in params.items() if isinstance(values, dict)},
        machine=made_on,
        origin=run_of,
        colours={policy: colour(policy, study["methods"]) for policy in policies},
        with_reference=[policy for policy in study["methods"] if study["train_policy"][policy]["needs_reference"]],
        spelling={policy: display_name(policy) for policy in policies},
        matrices={outcome: pair_matrix(pairs, policies, outcome) for outcome in outcomes},
        cases=cases(study["responses"]),
        case_of={row["id"]: n for n, row in enumerate((r for r in study["responses"] if r["policy"] == "base"), start=1)},
        reasons=REASONS,
        original=beside_original(original, metrics | {"params": params}),
    )
