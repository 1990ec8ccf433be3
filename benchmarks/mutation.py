"""How many small faults in a module its own tests notice: mutation testing with mutmut, which it installs for itself.

python -m benchmarks.mutation analysis/policies data/pairs stages/compare_policies
python -m benchmarks.mutation analysis/verdicts --tests tests/analysis/test_policies.py
python -m benchmarks.mutation training/run --sample 120       a random sample of the mutants, the same each time

Per module: how many mutants (the module with one small change each, inside a function), how many made a test fail, and the change
of each that did not. A survivor is either a test that is missing or a change without effect. Beside mutmut's own changes, columns
are taken for their neighbours (chosen for rejected, words for repetition) and arguments for each other: the wiring.

Not seen: code outside functions, and functions that tests call only in another process; mutmut calls those "no tests".
"""

import argparse
import json
import os
import random
import shutil
import subprocess
import sysconfig
import tempfile
import venv
from collections import Counter
from pathlib import Path
from typing import Any

MUTMUT = "mutmut==3.8.1"
ROOT = Path(__file__).resolve().parent.parent
KEPT = ROOT / "experiments/results/mutation.json"
# The tool's own environment, which sees the project's packages: mutmut's dependencies are no part of requirements.txt.
ENVIRONMENT = Path(tempfile.gettempdir()) / f"{MUTMUT.replace('==', '-')}-for-{ROOT.name}"
CAUGHT = {"killed", "timeout", "segfault", "suspicious"}

TWINS = {
    "chosen": "rejected", "favoured": "other", "base": "policy", "low": "high", "first": "second", "wins": "losses",
}  # fmt: skip
RINGS = (
    ("reward", "words", "repetition", "reading_grade"),
    ("finished", "refuses", "letter", "gold"),
    ("paired_t", "wilcoxon"),
    ("statistic", "p", "p_holm"),
)  # fmt: skip


def neighbour(column: str) -> str | None:
    """The column that `column` could be taken for; None where there is none."""
    for ring in RINGS:
        if column in ring:
            return ring[(ring.index(column) + 1) % len(ring)]
    for one, other in TWINS.items():
        for name, twin in ((one, other), (other, one)):
            if column == name or column.startswith(f"{name}_"):
                return twin + column.removeprefix(name)
    return None


def mutate(limit: int | None) -> None:
    """Run mutmut in this folder, with the wiring's changes added to its own; runs in the tool's environment.

    Which mutants were tried stands in sample.json, at most `limit` of them.
    """
    import libcst as cst
    from mutmut import __main__ as program
    from mutmut.mutation.mutators import mutation_operators

    def other_column(node: cst.SimpleString):
        if isinstance(node, cst.SimpleString) and isinstance(node.evaluated_value, str):
            other = neighbour(node.evaluated_value)
            if other:
                yield node.with_changes(value=repr(other))

    def other_order(node: cst.Call):
        """Two neighbouring arguments given without names change places."""
        for i, (one, other) in enumerate(zip(node.args, node.args[1:], strict=False)):
            plain = not (one.keyword or other.keyword or one.star or other.star)
            if plain and not one.value.deep_equals(other.value):
                swapped = one.with_changes(value=other.value), other.with_changes(value=one.value)
                yield node.with_changes(args=[*node.args[:i], *swapped, *node.args[i + 2 :]])

    mutation_operators.extend([(cst.SimpleString, other_column), (cst.Call, other_order)])
    every = program.collect_source_file_mutation_data

    def sampled(*, mutant_names):
        mutants, files = every(mutant_names=mutant_names)
        if limit and limit < len(mutants):
            mutants = random.Random(0).sample(sorted(mutants, key=lambda mutant: mutant[1]), limit)
        Path("sample.json").write_text(json.dumps([name for _, name, _ in mutants]), encoding="utf-8")
        return mutants, files

    program.collect_source_file_mutation_data = sampled
    program._run([], max_children=1)


def environment() -> Path:
    """The Python that has mutmut, made where it is not there yet."""
    python = ENVIRONMENT / "bin/python"
    if not (ENVIRONMENT / "ready").exists():
        venv.create(ENVIRONMENT, clear=True)
        purelib = next(ENVIRONMENT.glob("lib/python*/site-packages"))
        (purelib / "project.pth").write_text(sysconfig.get_path("purelib") + "\n")
        subprocess.run([python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", MUTMUT], check=True)
        (ENVIRONMENT / "ready").touch()
    return python


def file_of(module: str) -> Path:
    """The file of a module named by its place: analysis/policies, or stages/generate."""
    module = module.removesuffix(".py").removeprefix("preference_study/")
    return Path(f"{module}.py" if module.startswith("stages/") else f"preference_study/{module}.py")


def known(module: str) -> str:
    """A module for the command line, whose file is there."""
    if not (ROOT / file_of(module)).is_file():
        raise argparse.ArgumentTypeError(f"there is no {file_of(module)}")
    return module


def tests_of(file: Path) -> list[str]:
    """Its own test file; where it has none, all tests of its room."""
    place = Path("tests") / file.relative_to("preference_study") if file.parts[0] == "preference_study" else Path("tests") / file
    own = place.with_name(f"test_{place.name}")
    return [str(own if (ROOT / own).exists() else own.parent)]


def copy_of_the_project(folder: Path) -> None:
    listed = ["git", "ls-files", "-co", "--exclude-standard"]
    for name in subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines():
        if (ROOT / name).is_file() and not name.startswith((".", "plots/")):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)


def measure(file: Path, tests: list[str], python: Path, limit: int | None) -> tuple[list[tuple[str, str, str]], int]:
    """Per mutant that was tried its name, its fate and its diff; and how many there are."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        copy_of_the_project(folder)
        others = [path.name for path in folder.iterdir() if path.name not in ("preference_study", "stages", "tests")]
        settings = {
            "source_paths": ["preference_study", "stages"],
            "only_mutate": [str(file)],
            "also_copy": others,
            "pytest_add_cli_args_test_selection": tests,
            "pytest_add_cli_args": ["-n0", "-p", "no:cacheprovider", "--durations=0", "-W", "ignore"],
        }
        lines = (f"{name} =\n" + "".join(f"    {value}\n" for value in values) for name, values in settings.items())
        (folder / "setup.cfg").write_text("[mutmut]\n" + "".join(lines))
        paths = os.pathsep.join([str(folder), str(Path(__file__).parent)])
        run = subprocess.run(
            [python, "-c", f"import mutation; mutation.mutate({limit})"],
            cwd=folder, env=os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        data = folder / "mutants" / f"{file}.meta"
        untested = "could not find any test case" in run.stdout  # and stops: every mutant lives
        if (run.returncode != 0 and not untested) or not data.exists():
            raise SystemExit(f"{file}: mutmut did not get through.\n{run.stdout[-3000:]}{run.stderr[-3000:]}")
        show = (
            "import json, sys; from mutmut.stats import status_by_exit_code as status\n"
            "from mutmut.mutation.diff_apply import get_diff_for_mutant as diff\n"
            "codes = json.load(open(sys.argv[1]))['exit_code_by_key'].items()\n"
            "fates = ((name, 'no tests' if code is None else status[code]) for name, code in codes)\n"
            "print(json.dumps([(name, fate, diff(name, path=sys.argv[2])) for name, fate in fates]))"
        )
        shown = subprocess.run(
            [python, "-c", show, str(data), str(file)], cwd=folder, capture_output=True, text=True, check=True
        ).stdout
        every = json.loads(shown)
        sample = folder / "sample.json"
        tried = set(json.loads(sample.read_text())) if sample.exists() else {name for name, *_ in every}
        return [mutant for mutant in every if mutant[0] in tried], len(every)


def changed_lines(diff: str) -> str:
    """The lines that a diff takes out and puts in, without those around them."""
    lines = (line for line in diff.splitlines() if line[:1] in ("-", "+") and not line.startswith(("---", "+++")))
    return "\n".join(f"    {line[0]} {line[1:].strip()}" for line in lines)


def keep(file: Path, found: dict[str, Any]) -> None:
    """Write what was found of a module beside what was found of others."""
    from preference_study.artifacts import whole_file  # here alone: mutmut must be the first to import the project

    kept = json.loads(KEPT.read_text(encoding="utf-8")) if KEPT.exists() else {}
    with whole_file(KEPT) as temporary:
        temporary.write_text(json.dumps(kept | {str(file): found}, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def main(modules: list[str], tests: list[str] | None, limit: int | None, kept: bool) -> None:
    python = environment()
    for module in modules:
        file = file_of(module)
        used = tests or tests_of(file)
        mutants, there = measure(file, used, python, limit)
        fates = Counter(fate for _, fate, _ in mutants)
        for name, fate, diff in mutants:
            if fate not in CAUGHT:
                print(f"{name}: {fate}\n{changed_lines(diff)}")
        caught = sum(fates[fate] for fate in CAUGHT)
        share = f"{caught / max(1, len(mutants)):.0%}"
        of = "" if len(mutants) == there else f" of {there}"
        print(f"{file} | {len(mutants)}{of} mutants | {caught} caught | {share} | {dict(fates)}", flush=True)
        if kept:
            keep(file, {"mutants": there, "tried": len(mutants), "caught": caught})


if __name__ == "__main__":
    from preference_study.plan import above

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("modules", type=known, nargs="+", help="analysis/policies, stages/generate")
    parser.add_argument("--tests", nargs="+", help="test files, in place of the module's own")
    parser.add_argument("--sample", type=above(int), help="so many mutants of a module, drawn at random (all)")
    parser.add_argument("--keep", action="store_true", help=f"write the shares to {KEPT.relative_to(ROOT)}")
    arguments = parser.parse_args()
    main(arguments.modules, arguments.tests, arguments.sample, arguments.keep)
