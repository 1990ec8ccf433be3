"""Write the numbers and tables of README.md and docs/ from the files that hold them, each between its marks.

python -m experiments.documents

A block begins with <!-- name --> and ends with <!-- /name -->; `BLOCKS` says what each is made from. No number there is typed.
"""

import re
import textwrap
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import yaml

from preference_study.analysis.statistics import mean
from preference_study.artifacts import read_json, whole_file
from preference_study.cost import GIB
from preference_study.errors import BadInput
from preference_study.methods import display_name
from preference_study.numbers import decimal, p_in_words, with_interval
from preference_study.texts.gold import with_truth

RESULTS = Path("experiments/results")
SHOWN = 420  # characters of a response
SHORT = 0.02  # of a run: stages that take less are summed up


def table(heads: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def of_default_run() -> dict:
    """metrics/policies.json, where it is of the default run.

    Raises:
        BadInput: it is of another study: of one of params/, without DPO, or of data without gold.
    """
    policies = read_json("metrics/policies.json")
    if Path("params.before.yaml").exists() or "gold_rate" not in policies["base"] or "dpo" not in policies:
        raise BadInput("metrics/ is of another study than the default one")
    return policies


def default_run() -> str:
    """Some numbers of the default run: the judge, the truth, the judge's preference, and what is not trained on."""
    reward, policies = read_json("metrics/reward.json"), of_default_run()
    new = read_json("metrics/transfer.json")["not_in_training"]
    of_new = {
        policy: f"gold {with_interval(found['gold_rate'])}, to the letter {with_interval(found['letter_rate'])}"
        for policy, found in new["policies"].items()
    }
    base, dpo = policies["base"], policies["dpo"]
    longer, tfidf, probe = (with_interval(reward["baselines"][name]) for name in ("longer", "tfidf", "probe"))
    against, gold = dpo["against_base"], dpo["against_base"]["gold"]
    rows = [
        [
            "How often is the reward model right?",
            f"{with_interval(reward['accuracy'])} of n = {reward['accuracy']['n']} validation pairs",
            f"“the longer wins” {longer}, TF-IDF {tfidf}, linear probe {probe}",
        ],
        [
            "How often does DPO answer, and do what the prompt asks (gold)?",
            f"{with_interval(dpo['gold_rate'])} of n = {dpo['gold_rate']['n']} prompts",
            f"base {with_interval(base['gold_rate'])}; {gold['gained']} gained, {gold['lost']} lost",
        ],
        [
            "How often does DPO obey to the letter?",
            f"{with_interval(dpo['letter_rate'])} of the same prompts",
            f"base {with_interval(base['letter_rate'])}",
        ],
        [
            "How often does the reward model prefer DPO to base?",
            f"{with_interval(against['win_rate'])} of the same prompts",
            f"at equal length {with_interval(against['win_rate_length_controlled'])}; "
            f"{with_interval(against['words_difference'], 1, signed=True)} words",
        ],
        [
            f"And on the {len(new['categories'])} kinds of instruction that no training pair has?",
            f"{of_new['dpo']} of n = {new['prompts']} prompts; preferred in {with_interval(new['policies']['dpo']['win_rate'])}",
            f"base {of_new['base']}; the reward model is right on {with_interval(new['judge'])} of {new['judge']['n']} pairs",
        ],
    ]
    return table(["", "default run, 95% intervals", "beside it"], rows)


def one_prompt() -> str:
    """The first prompt of the default run that DPO gained, with both responses, as they are."""
    if not of_default_run()["dpo"]["against_base"]["gold"]["gained"]:
        raise BadInput("DPO gained no prompt")
    scored = pd.DataFrame(read_json("data/responses/Response_of_DPO_n_Ori_val_with_rm.json"))
    scored = with_truth(scored)
    by_policy = {policy: scored[scored["policy"] == policy].set_index("id") for policy in ("base", "dpo")}
    base, dpo = by_policy["base"], by_policy["dpo"].loc[by_policy["base"].index]
    first = base.index[(dpo["gold"] & ~base["gold"]).to_numpy()][0]
    rows = [(turn["role"].replace("user", "prompt"), turn["content"]) for turn in base.loc[first, "prompt"]]
    rows += [
        (f"{display_name(policy)}, reward {decimal(rows_.loc[first, 'reward'], 1)}", rows_.loc[first, "response"])
        for policy, rows_ in (("base", base), ("dpo", dpo))
    ]
    quoted = [f"> **{who}**: {' '.join(text.split())[:SHOWN]}" for who, text in rows]
    return "\n>\n".join(quoted)


def stages() -> str:
    """What each stage does and writes, from dvc.yaml."""
    rows = []
    for name, stage in definition().items():
        written = [next(iter(out)) if isinstance(out, dict) else out for out in [*stage["outs"], *stage.get("metrics", [])]]
        written = [re.sub(r"\$\{item\.(\w+)(\.\w+)*\}", r"<\1>", path) for path in written]
        rows.append([f"`{name}`", stage["desc"], ", ".join(f"`{path}`" for path in written)])
    return table(["stage", "what it does", "what it writes"], rows)


def definition() -> dict[str, dict]:
    """The stages of dvc.yaml."""
    return yaml.load(Path("dvc.yaml").read_text(encoding="utf-8"), yaml.CSafeLoader)["stages"]


def resolved(path: str, params: dict) -> str:
    """A path in dvc.yaml with its parameters filled in; what a matrix fills in stands for anything."""
    for section, key in re.findall(r"\$\{(\w+)\.(\w+)\}", path):
        if section != "item":
            path = path.replace(f"${{{section}.{key}}}", str(params[section][key]))
    return path.split("/${")[0].removesuffix(".json")


def downstream(params: dict) -> dict[str, set[str]]:
    """Per stage the stages that read what it writes, directly or through others, and itself."""
    outs, deps = {}, {}
    for name, stage in definition().items():
        written = [*stage.get("outs", []), *stage.get("metrics", [])]
        outs[name] = [resolved(next(iter(o)) if isinstance(o, dict) else o, params) for o in written]
        deps[name] = [resolved(dep, params) for dep in stage["deps"] if not dep.endswith(".py")]

    def touches(a: str, b: str) -> bool:
        return a == b or a.startswith(f"{b}/") or b.startswith(f"{a}/")

    after = {a: {b for b in deps if any(touches(o, d) for o in outs[a] for d in deps[b])} | {a} for a in deps}
    for _ in deps:
        after = {a: set().union(*(after[b] for b in following)) for a, following in after.items()}
    return after


def reruns() -> str:
    """What runs again where a parameter is changed, parameters of the same response in one row."""
    params = yaml.safe_load(Path("params.yaml").read_text(encoding="utf-8"))
    after, found, defined = downstream(params), {}, definition()
    for section, values in params.items():
        for parameter in [f"{section}.{key}" for key in values] if isinstance(values, dict) else [section]:
            own = {f"{section}.${{item.method}}", f"{section}.${{item.variant}}"}
            nested = isinstance(values, dict) and isinstance(values[parameter.split(".")[1]], dict)
            of_entry = nested and parameter != "reward.aggregate"
            readers = [
                name
                for name, stage in defined.items()
                if parameter in stage["params"]
                or f"${{{parameter}}}" in stage["deps"]
                or (section in stage["params"] and name not in ("check", "report"))
                or (of_entry and own & set(stage["params"]))
            ]
            # What `check` writes is always the same, so that no stage runs again after it.
            again = set().union({"check", "report"}, *(after[name] for name in readers if name != "check"))
            found.setdefault(tuple(name for name in defined if name in again), []).append(parameter)
    rows = [
        [", ".join(f"`{name}`" for name in names), ", ".join(f"`{name}`" for name in again)] for again, names in found.items()
    ]
    return table(["parameter", "what runs again"], rows)


def methods_over_seeds(file: str = "stability.json") -> str:
    """Each method's numbers with each seed, from a file in experiments/results/ of stability.json's shape."""
    found = read_json(RESULTS / file)
    heads = {
        "gold_rate": "gold",
        "letter_rate": "letter",
        "finished": "ended its turn",
        "loops": "loops",
        "chosen_logp": "chosen, nats a response",
        "kl": "KL to base",
        "win_rate": "win rate",
        "win_rate_length_controlled": "at equal length",
        "words_mean": "words",
    }
    heads = {measure: head for measure, head in heads.items() if any(measure in found["methods"][m] for m in found["methods"])}
    ranked = [(display_name(method), found["methods"][method]) for method in by_gold(found)]
    rows = []
    for name, measures in [*ranked, ("base", found.get("base", {}))]:
        cells = []
        for measure in heads:
            places = 1 if measure in ("words_mean", "chosen_logp", "kl") else 2
            cells.append(", ".join(decimal(value, places) for value in measures.get(measure, [])))
        rows.append([name, *cells])
    seeds = ", ".join(map(str, found["seeds"]))
    return f"Seed{'s' * (len(found['seeds']) > 1)} {seeds}, a value each:\n\n{table(['method', *heads.values()], rows)}"


def methods_means() -> str:
    """Each method's means over seeds with Student's intervals, those that base has too minus base's of the same seed.

    Raises:
        BadInput: stability.json is of one seed.
    """
    found = read_json(RESULTS / "stability.json")
    if len(found["seeds"]) < 2:
        raise BadInput(f"{RESULTS / 'stability.json'} is of one seed, and one has no spread")
    heads = {"gold_rate": "gold", "letter_rate": "letter", "finished": "ended its turn", "words_mean": "words"}
    heads = {measure: head for measure, head in heads.items() if measure in found["base"]}  # no gold where there is no truth
    rows = []
    for method in by_gold(found):
        own, cells = found["methods"][method], []
        for measure in heads:
            change = mean(np.subtract(own[measure], found["base"][measure]))
            cells.append(with_interval(change, 1 if measure == "words_mean" else 2, signed=True))
        rows.append([display_name(method), *cells, with_interval(mean(own["win_rate"]))])
    return table(["method", *(f"{head} minus base" for head in heads.values()), "win rate"], rows)


def methods_gold() -> str:
    """Each method's gain in gold with each seed, tested, and its price, from experiments/results/stability.json.

    Raises:
        BadInput: it is of data without a truth.
    """
    found = read_json(RESULTS / "stability.json")
    if not all(test for tests in found["gold"].values() for test in tests):
        raise BadInput(f"{RESULTS / 'stability.json'} is of data without gold")
    rows = []
    for method in by_gold(found):
        for seed, test in zip(found["seeds"], found["gold"][method], strict=True):
            counts = [
                str(test["gained"]),
                str(test["lost"]),
                p_in_words(test["p_holm"], of="p").removeprefix("p = ").removeprefix("p "),
            ]
            told = [test["verdict"], "; ".join(test["price"]) or "nothing"]
            rows.append([display_name(method), str(seed), with_interval(test["difference"], signed=True), *counts, *told])
    heads = ["method", "seed", "gold minus base", "gained", "lost", "corrected p", "verdict", "shown to have got worse"]
    return table(heads, rows)


def methods_transfer() -> str:
    """Each method's changes from base where it was trained and where it was not, from experiments/results/stability.json.

    Raises:
        BadInput: it is of data without a truth, or every category of its prompts is trained on.
    """
    found = read_json(RESULTS / "stability.json")
    if not all("gold_difference" in parts.get("in_training", {}) for seeds in found["transfer"].values() for parts in seeds):
        raise BadInput(f"{RESULTS / 'stability.json'} is of data without gold, or without a category that is not trained on")
    rows = []
    for method in by_gold(found):
        for seed, parts in zip(found["seeds"], found["transfer"][method], strict=True):
            trained, others = parts["in_training"], parts["not_in_training"]
            gold = [with_interval(part["gold_difference"], signed=True) for part in (trained, others, parts["difference"])]
            letter = [with_interval(part["letter_difference"], signed=True) for part in (trained, others)]
            preferred = [with_interval(part["win_rate"]) for part in (trained, others)]
            rows.append([display_name(method), str(seed), *gold, *letter, *preferred])
    heads = ["gold, kinds trained on", "gold, the others", "difference", "letter, trained on", "letter, the others"]
    return table(["method", "seed", *heads, "win rate, trained on", "win rate, the others"], rows)


def by_gold(found: dict) -> list[str]:
    """The methods of stability.json, the most gold responses first."""
    return sorted(found["methods"], key=lambda method: -sum(found["methods"][method].get("gold_rate", [0])))


def sft_weight() -> str:
    """What the SFT term does to DPO, from experiments/results/sft.json."""
    heads = {
        "chosen_logp": "chosen, nats a response",
        "rejected_logp": "rejected",
        "kl": "KL to base",
        "finished": "ended its turn",
        "letter_rate": "letter",
        "gold_rate": "gold",
        "gold_difference": "gold, against base",
        "win_rate": "win rate",
    }
    nats, signed = ("chosen_logp", "rejected_logp", "kl"), ("chosen_logp", "rejected_logp", "gold_difference")
    rows = [
        [f"{row['sft_weight']:g}", str(row["seed"])]
        + [with_interval(row[name], 1 if name in nats else 2, signed=name in signed) for name in heads]
        for row in read_json(RESULTS / "sft.json")["rows"]
    ]
    return table(["`sft_weight`", "seed", *heads.values()], rows)


def length_cures(file: str) -> str:
    """What the cures of length bias do over seeds, from a file of experiments/results."""
    rows = []
    found = read_json(RESULTS / file)
    seeds = pd.DataFrame(found["rows"])
    for scorer, by_share in found["scorers"].items():
        numbers, own = by_share["0.0"], seeds[seeds["scorer"] == scorer]
        against = numbers.get("against_standard")
        cells = [", ".join(decimal(value) for value in own[name]) for name in ("accuracy", "shorter_chosen", "length")]
        minus = ("accuracy", "shorter_chosen", "length_shift", "length")
        cells += [with_interval(against[k], signed=True) if against else "" for k in minus]
        rows.append([f"`{scorer}`", *cells])
    told = ", ".join(map(str, sorted(seeds["seed"].unique())))
    heads = [
        "variant",
        f"accuracy, seeds {told}",
        "shorter chosen",
        "length correlation",
        "accuracy minus `standard`",
        "shorter chosen minus",
        "correlation minus",
        "absolute minus",
    ]
    return table(heads, rows)


def robustness() -> str:
    """The reward models plain, perturbed, and choosing among several responses over seeds, from
    experiments/results/robustness.json."""
    rows, found = [], read_json(RESULTS / "robustness.json")
    names = ("accuracy", "longer_chosen", "shorter_chosen", "length", "worst.accuracy", "best.gold")
    for scorer, numbers in found["scorers"].items():
        seeds, against = pd.json_normalize(numbers["seeds"]), numbers.get("against_standard")
        accuracy, *others = (", ".join(decimal(value) for value in seeds[f"{name}.value"]) for name in names)
        minus = [with_interval(against[name], signed=True) if against else "" for name in ("accuracy", "gold")]
        rows.append([f"`{scorer}`", accuracy, minus[0], *others, with_interval(numbers["gain"], signed=True), minus[1]])
    one = numbers["seeds"][0]  # the same number of pairs and responses for all
    heads = ["scorer", f"accuracy, seeds {', '.join(map(str, found['seeds']))}", "minus `standard`", "longer chosen"]
    heads += ["shorter chosen", "length correlation", f"worst perturbation, n = {one['perturbed_pairs']}"]
    heads += [f"gold, best of {one['best']['n']}", "minus one response", "gold minus `standard`"]
    return table(heads, rows)


def wrong_labels() -> str:
    """What wrong labels cost over seeds, from experiments/results/noise_*.json."""
    rows = []
    for loss in ("conservative", "unbiased"):
        found = read_json(RESULTS / f"noise_{loss}.json")
        seeds = pd.DataFrame(found["rows"])
        for flips, numbers in found["scorers"]["noise_robust"].items():
            cells = []
            for scorer in ("standard", "noise_robust"):
                own = seeds[(seeds["scorer"] == scorer) & (seeds["flipped"] == float(flips))]
                cells.append(", ".join(decimal(value) for value in own["accuracy"]))
            against = numbers["against_standard"]
            cells += [
                with_interval(against["accuracy"], signed=True),
                with_interval(against["lost"], signed=True) if "lost" in against else "",
            ]
            rows.append([loss, f"{float(flips):.0%}", *cells])
    seeds = ", ".join(map(str, sorted(seeds["seed"].unique())))
    heads = [
        "loss",
        "flipped",
        f"`standard`, seeds {seeds}",
        f"`noise_robust`, seeds {seeds}",
        "minus `standard`",
        "loses less by",
    ]
    return table(heads, rows)


def sweep() -> str:
    """The ranking that `make sweep` ends with, from experiments/results/sweep.json."""
    found = read_json(RESULTS / "sweep.json")
    heads = list(found["settings"][0])
    conclusion = "\n\n".join(wrapped(line) for line in found["conclusion"].splitlines())
    return f"{table(heads, [[row[head] for head in heads] for row in found['settings']])}\n\n{conclusion}"


def judge_settings(file: str = "judge.json") -> str:
    """Ways of training the judge on training pairs held out, from a file in experiments/results/ of judge.json's shape."""
    found = read_json(RESULTS / file)
    rows = []
    for name, numbers in sorted(found["settings"].items(), key=lambda item: -np.mean(item[1]["last"])):
        against = numbers.get("against_default")
        rows.append(
            [
                name,
                ", ".join(map(str, numbers["seeds"])),
                ", ".join(decimal(value, 3) for value in numbers["last"]),
                (with_interval(against, 3, signed=True) if against["n"] > 1 else decimal(against["value"], 3, signed=True))
                if against
                else "",
                ", ".join(decimal(value, 3) for value in numbers["averaged"]),
            ]
        )
    several = any("against_default" in numbers and len(numbers["seeds"]) > 1 for numbers in found["settings"].values())
    against = "minus the default" + (", the seed of choice left out where there are more" if several else "")
    heads = ["setting", "seeds", f"accuracy, n = {found['n_held_out']} pairs", against, "with averaged weights"]
    return table(heads, rows)


def judge_seeds(file: str = "judge.json") -> str:
    """The chosen judge on validation, one model and three, from a file in experiments/results/ of judge.json's shape."""
    found = read_json(RESULTS / file)
    val = found["val"]

    def row(name: str, values: list[float]) -> list[str]:
        spread = ""
        if len(values) > 2:
            spread = f"{decimal(min(values), 3)} to {decimal(max(values), 3)}, {decimal(np.std(values, ddof=1), 3)}"
        return [name, ", ".join(decimal(value, 3) for value in values), decimal(np.mean(values), 3), spread]

    rows = [row(f"one model, seeds {', '.join(map(str, val['seeds']))}", val["last"])]
    rows.append(row("the same with averaged weights", val["averaged"]))
    rows.append(row("mean of three models' rewards", val["mean_of_rewards"]))
    rows.append(row("mean of three models' weights", val["mean_of_weights"]))
    names = {"longer": "“the longer wins”", "tfidf": "TF-IDF", "probe": "linear probe"}
    rows += [[names[name], with_interval(share, 3), "", ""] for name, share in val["baselines"].items()]
    return table([f"n = {found['n_val']} validation pairs", "accuracy", "mean", "range, standard deviation"], rows)


def judge_rights() -> str:
    """Each seed's judge beside its baselines on the same pairs, from experiments/results/judge.json."""
    val = read_json(RESULTS / "judge.json")["val"]
    rows = []
    for seed, accuracy, right in zip(val["seeds"], val["last"], val["right_to_judge"], strict=True):
        against = [right["against"][name] for name in ("tfidf", "probe")]
        told = [
            f"{with_interval(row['difference'], signed=True)}, p "
            + ("< 0.001" if row["p_holm"] < 0.001 else f"= {decimal(row['p_holm'], 3)}")
            for row in against
        ]
        shorter = with_interval(right["shorter_chosen"])
        rows.append([str(seed), decimal(accuracy), shorter, *told, "yes" if right["holds"] else "no"])
    heads = ["seed", "accuracy", "where the shorter was chosen", "minus TF-IDF", "minus the linear probe", "right to judge"]
    return table(heads, rows)


LENGTHS = ["--params", "params/align_anything.yaml", "--val-pairs", "1000", "--prompt-tokens", "150", "--response-tokens", "300"]
SHARDED = ["--set", "launch.accelerate_config=params/fsdp.yaml"]
PLANS = {
    "plan-one-gpu": ["--gpus", "RTX4090", "--pairs", "30000", "--host-memory", "64"],
    "plan-8b": ["--gpus", "8xH100", "--pairs", "300000", "--host-memory", "1024", "--shape", "meta-llama/Llama-3.1-8B", *SHARDED],
    "plan-million": ["--gpus", "8xH100", "--pairs", "1000000", "--host-memory", "512"],
}


def wrapped(text: str) -> str:
    """A paragraph in lines as long as the docs'."""
    return "\n".join(textwrap.wrap(text, 120, break_long_words=False, break_on_hyphens=False))


def plan(name: str) -> str:
    """What a planned run costs, a row a stage: assumed lengths and data sheets, so that it is the same on every machine."""
    # Here, and not above: it takes seconds to load.
    from preference_study.plan import planned, what_does_not_fit

    found = planned([*LENGTHS, *PLANS[name]])
    rows = []
    for stage in found.stages:
        largest = max(stage.memory, key=stage.memory.get) if stage.memory else ""
        memory, machine = (f"{sum(parts.values()) / 2**30:.1f}" for parts in (stage.memory, stage.host))
        rows.append(
            [
                f"`{stage.name}`",
                f"{stage.tokens / 1e6:,.1f}",
                f"{stage.flops / 1e15:,.1f}",
                f"{stage.seconds / 3600:.2f}",
                memory,
                largest,
                machine,
                f"{sum(stage.disk.values()) / 1e9:.1f}",
            ]
        )
    hours = f"{sum(stage.seconds for stage in found.stages) / 3600:.2f}"
    rows.append(["all", "", f"{sum(stage.flops for stage in found.stages) / 1e15:,.1f}", hours, "", "", "", ""])
    heads = ["stage", "million tokens", "PFLOP", "hours", "GiB on a GPU", "most of it", "GiB of the machine", "GB of disk"]
    return f"{table(heads, rows)}\n\n{wrapped(what_does_not_fit(found.misfit, found.params))}"


def plan_measured() -> str:
    """Predicted over measured, a row a stage, from experiments/results/plan.json."""
    found = pd.DataFrame(read_json(RESULTS / "plan.json")["rows"])
    sizes, rows = sorted(found["pairs"].unique()), []
    for stage, of_stage in found.groupby("stage", sort=False):
        ratios = {row.pairs: row.ratios for row in of_stage.itertuples()}
        cells = [
            ", ".join(decimal(ratios[size][name]) if size in ratios else "–" for size in sizes)
            for name in ("clock", "processor", "memory")
        ]
        seconds = ", ".join(f"{took['processor']:.0f}" for took in of_stage.sort_values("pairs")["took"])
        rows.append([f"`{stage}`", seconds, *cells])
    pairs = ", ".join(map(str, sizes))
    heads = ["stage", "seconds measured", f"time, {pairs} pairs", "time of the processor", "memory"]
    names = {"clock": "time", "processor": "time of the processor", "memory": "memory"}
    outside = [
        f"{names[name]} of `{row.stage}` at {row.pairs} pairs {decimal(row.ratios[name])}"
        for row in found.itertuples()
        for name in names
        if not 0.7 <= row.ratios[name] <= 1.4
    ]
    told = f"Of {len(names) * len(found)} ratios {len(outside)} lie outside 0.7 to 1.4: {'; '.join(outside)}."
    return f"{table(heads, rows)}\n\n{wrapped(told)}"


def processes() -> str:
    """Largest differences of two processes to one, a row a training, from experiments/results/processes.json."""
    found: dict[tuple[str, str], dict[str, dict[str, dict[str, float]]]] = {}
    for row in read_json(RESULTS / "processes.json")["rows"]:
        found.setdefault((row["name"], "all" if row["full"] else "LoRA"), {})[row["dtype"]] = row["differences"]
    shown = [("float32", "loss"), ("float32", "weights"), ("bfloat16", "loss")]
    rows = [
        [f"`{name}`", trained, *(f"{of_each[dtype][how][what]:.0e}" for dtype, what in shown for how in ("torchrun", "FSDP2"))]
        for (name, trained), of_each in found.items()
    ]
    heads = [f"{what}, {dtype}, {how}" for dtype, what in shown for how in ("torchrun", "FSDP2")]
    return table(["", "trained", *heads], rows)


def memory_measured() -> str:
    """What stages took at each number of pairs, a row a stage, and their time's slope, from experiments/results/memory.json."""
    from benchmarks.memory import slope

    found = read_json(RESULTS / "memory.json")["rows"]
    rows = []
    for stage, own in pd.DataFrame(found).groupby("stage", sort=False):
        cells = [
            ", ".join(format_(value) for value in own[name])
            for name, format_ in (("pairs", "{:,}".format), ("seconds", "{:.0f}".format))
        ]
        memory = ", ".join(decimal(value / GIB) for value in own["peak_bytes"])
        steepness = slope(own.to_dict("records"))
        rows.append([f"`{stage}`", *cells, memory, "–" if steepness is None else decimal(steepness)])
    return table(["stage", "pairs", "seconds of the processor", "GiB at most", "slope of time"], rows)


def beside_stock() -> str:
    """How fast this project is beside TRL and transformers as they come, a row a way, from experiments/results/stock.json."""
    tasks = {"reward": "reward model, training", "dpo": "DPO, training", "scoring": "rewards", "responses": "greedy responses"}
    found = read_json(RESULTS / "stock.json")
    rows = []
    for row in found["rows"]:
        ratios = [row["ratio"], row["ratio_with_pass"]] if row["ratio"] != 1 else [None, None]
        cells = ["" if ratio is None else decimal(ratio) for ratio in ratios]
        own = f"{decimal(row['rate'])} {row['unit']}"
        own += f", {decimal(row['rate_with_pass'])} with the pass" if row["rate_with_pass"] else ""
        rows.append([tasks[row["task"]], row["way"], own, *cells, f"{row['of_limit']:.0%}" if row["of_limit"] else ""])
    limits = " and ".join(f"{rate:.0f} in {dtype}" for dtype, rate in found["gflops"].items())
    where = f"{found['threads']} cores of a {found['device'].upper()}"
    told = f"{where}, plain matrix products {limits} GFLOP/s; rounds: {found['rounds']}"
    heads = ["task", "way", "done a second", "this project is so many times as fast", "with the pass", "of the matrix limit"]
    return f"{told}\n\n{table(heads, rows)}"


def whole_run(file: str) -> str:
    """What each stage of the default run took, the longest first, from a file in experiments/results."""
    found = read_json(RESULTS / file)
    rows = sorted(found["rows"], key=lambda row: -row["clock"])
    total = sum(row["clock"] for row in rows)
    shown = [row for row in rows if row["clock"] >= SHORT * total]
    others = [row for row in rows if row["clock"] < SHORT * total]
    cells = [[f"`{row['stage']}`", row["clock"], row["processor"], row["peak_bytes"]] for row in shown]
    for name, group in ((f"{len(others)} others", others), ("all", rows)):
        summed = [sum(row[of] for row in group) for of in ("clock", "processor")]
        cells.append([name, *summed, max(row["peak_bytes"] for row in group)])
    told = f"{found['threads']} cores of a {found['device'].upper()}, plain matrix products {found['gflops']:.0f} GFLOP/s"
    table_rows = [[name, f"{clock:.0f}", f"{used:.0f}", decimal(peak / GIB)] for name, clock, used, peak in cells]
    return f"{told} in {found['dtype']}\n\n{table(['stage', 'seconds', 'of the processor', 'GiB at most'], table_rows)}"


def export_parity() -> str:
    """What exporting and serving measured, a row a measure, from experiments/results/export.json."""
    rows = []
    for name, found in read_json(RESULTS / "export.json").items():
        kind, model = name.split("/")
        # A policy's servers are held against its folder.
        who = f"`{model}`, {kind}" if kind in ("policy", "reward") else f"`{model}`, folder and {kind}"
        for measure, value in found.items():
            if isinstance(value, bool | str | None) or measure in ("n", "bounds", "bytes"):
                continue
            bound = found.get("bounds", {}).get(measure)
            shown = with_interval(value) if isinstance(value, dict) else f"{value:.3g}"
            rows.append([who, f"`{measure}`", shown, "" if bound is None else f"{bound:.3g}", str(found["n"])])
    return table(["", "measure", "value", "bound", "n"], rows)


def engines() -> str:
    """Transformers' greedy responses beside vLLM's, a row a precision, from experiments/results/engines.json."""
    rows = []
    for dtype, found in read_json(RESULTS / "engines.json").items():
        times = [
            f"{took['start']:.0f} + {took['writing']:.0f}, {found['tokens'][name] / took['writing']:.0f}"
            for name, took in found["seconds"].items()
        ]
        first, *gaps = (found[name] for name in ("first_difference", "gap_median", "gap_max"))
        shown = ["–" if value is None else f"{value:.2g}" for value in gaps]
        rows.append(
            [
                dtype,
                with_interval(found["same"]),
                "–" if first is None else f"{first:g}",
                ", ".join(shown),
                *times,
                str(found["n"]),
            ]
        )
    heads = ["", "the same to the last token", "tokens before the others part, median", "gap there in nats, median, most"]
    heads += [f"{name}: seconds to start + to write, tokens a second" for name in ("transformers", "vLLM")]
    return table([*heads, "n"], rows)


def judges() -> str:
    """Three judges of the default study's responses, from experiments/results/judges.json: a row a judge and policy."""
    found = read_json(RESULTS / "judges.json")
    rows = []
    for name, judge in found["judges"].items():
        pairs = judge["pairs"]
        for policy, compared in judge["policies"].items():
            said, corrected = compared["verdict"], compared["corrected"]
            rows.append(
                [
                    f"`{name}`, {judge['kind'].replace('_', ' ')}",
                    with_interval(pairs["accuracy"]),
                    with_interval(pairs["accuracy_shorter_chosen"]),
                    with_interval(pairs["position"]["first"]) if pairs["position"] else "",
                    "yes" if pairs["right_to_judge"]["holds"] else "no",
                    f"{display_name(policy)} {with_interval(compared['win_rate'])}",
                    said["reward"] + (f" ({said['reward_would_be']})" if said["reward_would_be"] else ""),
                    with_interval(compared["agrees_with_gold"]),
                    with_interval(corrected["truth"]),
                    with_interval(corrected["prediction_powered"]),
                    with_interval(corrected["power_tuned"]),
                ]
            )
    heads = [
        "judge",
        "right on validation",
        "where the shorter was chosen",
        "takes what stands first",
        "right to judge",
        "win rate against base",
        "verdict (what it would be)",
        "prefers the gold response",
        "win rate in truth",
        "by labels, prediction-powered",
        "power-tuned",
    ]
    of_pairs, of_responses = (found["agreement"][of]["all"] for of in ("pairs", "responses"))
    differ = found["disagreements"]
    told = (
        f"Krippendorff's alpha of all: {with_interval(of_pairs)} on {of_pairs['n']} validation pairs, "
        f"{with_interval(of_responses)} on {of_responses['n']} responses; on {differ['cases']} of {differ['of']} responses one "
        "judge is for the policy's and another for base's."
    )
    return f"{table(heads, rows)}\n\n{wrapped(told)}"


def mutants() -> str:
    """How many small faults in a module its own tests noticed."""
    rows = []
    for module, found in read_json(RESULTS / "mutation.json").items():
        caught = f"{found['caught']} of {found['tried']}"
        rows.append([f"`{module}`", f"{found['mutants']:,}", caught, f"{found['caught'] / found['tried']:.0%}"])
    return table(["module", "breaks there are", "noticed, of those tried", "share"], rows)


# Per block: the file it stands in, and what makes it.
BLOCKS: dict[str, tuple[str, Callable[[], str]]] = {
    "default-run": ("README.md", default_run),
    "one-prompt": ("README.md", one_prompt),
    "stages": ("docs/pipeline.md", stages),
    "reruns": ("docs/pipeline.md", reruns),
    "methods-over-seeds": ("docs/results/methods.md", methods_over_seeds),
    "methods-former-over-seeds": ("docs/results/methods.md", partial(methods_over_seeds, "stability_former.json")),
    "methods-means": ("docs/results/methods.md", methods_means),
    "methods-gold": ("docs/results/methods.md", methods_gold),
    "methods-transfer": ("docs/results/methods.md", methods_transfer),
    "sft-weight": ("docs/results/methods.md", sft_weight),
    "length-cures": ("docs/results/reward_models.md", partial(length_cures, "length.json")),
    "length-cures-real": ("docs/results/reward_models.md", partial(length_cures, "length_real.json")),
    "judge-seeds": ("docs/results/judge.md", judge_seeds),
    "judge-settings": ("docs/results/judge.md", judge_settings),
    "judge-epochs": ("docs/results/judge.md", partial(judge_settings, "judge_epochs.json")),
    "judge-former-seeds": ("docs/results/judge.md", partial(judge_seeds, "judge_former.json")),
    "judge-former-settings": ("docs/results/judge.md", partial(judge_settings, "judge_former.json")),
    "judge-rights": ("docs/results/judge.md", judge_rights),
    "sweep": ("docs/results/sweep.md", sweep),
    "robustness": ("docs/results/reward_models.md", robustness),
    "wrong-labels": ("docs/results/reward_models.md", wrong_labels),
    **{name: ("docs/full_size.md", partial(plan, name)) for name in PLANS},
    "plan-measured": ("docs/full_size.md", plan_measured),
    "processes": ("docs/full_size.md", processes),
    "engines": ("docs/full_size.md", engines),
    "memory-measured": ("docs/full_size.md", memory_measured),
    "stock": ("docs/results/speed.md", beside_stock),
    "whole-run": ("docs/results/speed.md", partial(whole_run, "whole_run.json")),
    "whole-run-float32": ("docs/results/speed.md", partial(whole_run, "whole_run_float32.json")),
    "judges": ("docs/judges.md", judges),
    "export-parity": ("docs/export.md", export_parity),
    "mutants": ("docs/extending.md", mutants),
}


def written(text: str, name: str, block: str) -> str:
    """A text with what stands between a block's marks replaced.

    Raises:
        ValueError: the marks are not there, or not once each.
    """
    start, end = f"<!-- {name} -->", f"<!-- /{name} -->"
    if text.count(start) != 1 or text.count(end) != 1:
        raise ValueError(f"the marks {start} and {end} must stand there once each")
    head, rest = text.split(start)
    return f"{head}{start}\n{block}\n{end}{rest.split(end)[1]}"


def main() -> None:
    for name, (file, make) in BLOCKS.items():
        try:
            block = make()
        except BadInput as error:
            print(f"{file}: {name} stays as it is: {error}")
            continue
        text = written(Path(file).read_text(encoding="utf-8"), name, block)
        with whole_file(file) as path:
            path.write_text(text, encoding="utf-8")
        print(f"{file}: {name}")


if __name__ == "__main__":
    main()
