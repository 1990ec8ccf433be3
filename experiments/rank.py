"""Rank DVC experiments by the reward model's accuracy on the validation pairs, with intervals, and draw their losses.

python -m experiments.rank                      every experiment of the current commit that was validated on the same pairs
python -m experiments.rank NAME [NAME ...]      these experiments, branches or commits
python -m experiments.rank --pictures docs      also draw loss overlays, one picture per parameter that differs
"""

import argparse
import io
import json
import subprocess
from pathlib import Path

import dvc.api
import pandas as pd
from dvc.exceptions import DvcException
from matplotlib.figure import Figure
from tqdm.auto import tqdm

from experiments.ranking import Run, by_value, conclusion, differing, distinct, on_same_pairs, rank, told
from preference_study.analysis.methods import bears_on_judge, flat
from preference_study.analysis.statistics import half_ties
from preference_study.artifacts import write_json, write_png
from preference_study.numbers import decimal, with_interval
from preference_study.report.figures import PALETTE
from preference_study.variants import VARIANTS

SCORES = "data/scores/Rm_model_mark_on_val_1k.json"
SERIES = ("loss", "examples", "validation_loss", "validation_examples")


def current() -> list[str]:
    """The names of the current commit's experiments."""
    return subprocess.run(["dvc", "exp", "list", "--name-only"], capture_output=True, text=True, check=True).stdout.split()


def load(revision: str) -> Run:
    """An experiment from git and DVC's cache.

    Raises:
        SystemExit: it has no scored pairs, because it was not run as far as `score_pairs` or its outputs were not pulled.
    """
    try:
        every = flat(dvc.api.params_show("params.yaml", rev=revision))
        judge = every["reward.judge"]
        params = {name: value for name, value in every.items() if name == "seed" or bears_on_judge(name, judge)}
        rows = json.loads(dvc.api.read(SCORES, rev=revision))
        if isinstance(rows, dict):
            raise SystemExit(
                f"{revision}: {SCORES} leaves its rows out ({rows.get('left_out')}); experiments are ranked that have fewer: set "
                "data.max_val and run them again"
            )
        scored = pd.DataFrame(rows)
        folder = f"plots/train_reward/{judge}{'/member_1' if VARIANTS[judge].members else ''}/plots/metrics"
        columns = {}
        for name in SERIES:
            if name.startswith("validation") and not params["reward.evaluations"]:
                continue
            table = pd.read_csv(io.StringIO(dvc.api.read(f"{folder}/{name}.tsv", rev=revision)), sep="\t")
            columns[name] = table.set_index("step")[name]
    except (DvcException, FileNotFoundError) as error:
        raise SystemExit(f"{revision}: {error}; run the experiment as far as score_pairs, or dvc pull its outputs") from None
    right = pd.Series(half_ties((scored["chosen_reward"] - scored["rejected_reward"]).to_numpy()), index=scored["id"])
    return Run(revision, params, right, scored.set_index("id")["cluster"], pd.DataFrame(columns))


def overlay(runs: list[Run], name: str) -> Figure:
    """Training loss (smoothed) and validation loss (with points) against pairs seen, one colour per value of `name`.

    Of runs that differ in other parameters too, those are shown whose other parameters are the commonest.
    """
    others = [other for other in differing(runs, but=()) if other != name]
    common = pd.Series([repr([run.params.get(o) for o in others]) for run in runs])
    for wanted in common.value_counts().index:
        shown = [run for run, found in zip(runs, common, strict=True) if found == wanted]
        if len({repr(run.params.get(name)) for run in shown}) > 1:
            break
    figure = Figure(figsize=(7.6, 3.8), layout="constrained")
    axes = figure.subplots()
    for place, run in enumerate(sorted(shown, key=lambda run: by_value(run.params.get(name)))):
        line = PALETTE[place % len(PALETTE)]
        loss = run.loss.dropna(subset=["loss"])
        window = max(1, len(loss) // 10)
        smooth = loss["loss"].rolling(window, min_periods=1, center=True).mean()
        axes.plot(loss["examples"], smooth, color=line, linewidth=1, alpha=0.7, label=f"{told(run.params.get(name))}, training")
        if "validation_loss" in run.loss:
            checked = run.loss.dropna(subset=["validation_loss"])
            label = f"{told(run.params.get(name))}, validation"
            axes.plot(checked["validation_examples"], checked["validation_loss"], "o-", color=line, linewidth=2, label=label)
    axes.set(
        xlabel="training pairs seen",
        ylabel="loss",
    )
    axes.set_title(f"{name}\n{len(shown)} runs, n = {len(shown[0].right)} validation pairs", fontsize="medium")
    axes.legend(fontsize="small", loc="upper left", bbox_to_anchor=(1, 1))
    return figure


def table(ranking: pd.DataFrame, names: list[str]) -> pd.DataFrame:
    """The ranking with its numbers as people read them."""
    return pd.DataFrame(
        {name: [told(value) for value in ranking[name]] for name in names}
        | {
            "seeds": ranking["seeds"],
            "accuracy": [with_interval(accuracy, 3) for accuracy in ranking["accuracy"]],
            "std over seeds": [decimal(std, 3) if pd.notna(std) else "-" for std in ranking["seeds_std"]],
            "minus best": [with_interval(found, 3, signed=True) if found else "-" for found in ranking["difference"]],
            "corrected p": [decimal(p, 3) if pd.notna(p) else "-" for p in ranking["p"]],
            "training loss": [decimal(loss, 3) for loss in ranking["final_loss"]],
        }
    )


def picture_names(parameters: list[str]) -> dict[str, str]:
    """A file name for each parameter: its last part, or its whole name where two have the same last part."""
    last = [name.rsplit(".", 1)[-1] for name in parameters]
    return {
        name: f"sweep_{short if last.count(short) == 1 else name.replace('.', '_')}.png"
        for name, short in zip(parameters, last, strict=True)
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="experiments, branches or commits; by default every experiment of this commit")
    parser.add_argument("--pictures", type=Path, help="folder for the loss overlays, as sweep_<parameter>.png")
    parser.add_argument("--output", type=Path, help="file for the ranking, as JSON")
    arguments = parser.parse_args()
    names = arguments.names or current()
    if len(names) < 2:
        raise SystemExit("fewer than two experiments to rank; dvc exp run --queue -S ... and dvc exp run --run-all make some")
    runs, left_out = distinct([load(name) for name in tqdm(names, desc="reading", unit="experiment", leave=False)])
    for name, same in left_out.items():
        print(f"{name}: left out, for its reward model is that of {same}")
    if not arguments.names:
        runs, others = on_same_pairs(runs)
        for name in others:
            print(f"{name}: left out, for it was validated on other pairs than most")
    if len(runs) < 2:
        raise SystemExit("fewer than two reward models to rank: the experiments differ by what does not touch them")
    try:
        ranking = rank(runs)
    except ValueError as error:
        raise SystemExit(str(error)) from None
    parameters = differing(runs)
    print(f"{table(ranking, parameters).to_string(index=False)}\n\n{conclusion(ranking, parameters)}")
    if arguments.output:
        rows = table(ranking, parameters)
        found = {"parameters": parameters, "n": ranking["accuracy"][0]["n"], "conclusion": conclusion(ranking, parameters)}
        write_json(arguments.output, found | {"settings": rows.astype(str).to_dict("records"), "params": runs[0].params})
    for name, file in picture_names(parameters).items() if arguments.pictures else []:
        write_png(arguments.pictures / file, overlay(runs, name))
        print(f"drawn: {arguments.pictures / file}")


if __name__ == "__main__":
    main()
