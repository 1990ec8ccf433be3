"""What people said of a policy's responses beside base's -> metrics/people/<method>.json.

    python -m stages.analyse_people dpo

People's answers are the files data/annotations/*.jsonl, as the pages of reports/blind/ export them.
"""

from pathlib import Path

from preference_study.analysis.people import analyse_people, answers_of
from preference_study.annotations import read_annotations
from preference_study.artifacts import read_json, read_rows, write_json
from preference_study.blind import opinions, other_judges, up_to_date
from preference_study.boundary import run
from preference_study.errors import BadInput
from preference_study.params import load_params
from preference_study.texts.gold import with_truth


def exported(folder: Path) -> dict[str, str]:
    """What each file of annotations holds, by path; those whose name begins with a dot are passed over.

    Raises:
        BadInput: one is no text, or is called otherwise than an export, or is a folder.
    """
    found = {}
    for file in sorted(file for file in folder.glob("*") if not file.name.startswith(".")):
        if file.is_dir():
            raise BadInput(f"{file}: a folder, and answers in it would not count: move its files into {folder}, or it elsewhere")
        if file.suffix != ".jsonl":
            raise BadInput(
                f"{file}: answers in it would not count: rename it to end in .jsonl, or, where it is no export, move it elsewhere"
            )
        try:
            found[str(file)] = file.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise BadInput(f"{file}: byte {error.start + 1} is not UTF-8: export it from the page again") from None
    return found


def main(method: str) -> None:
    params = load_params()
    keys = {name: read_json(f"data/blind/{name}.json") for name in params.people.methods}
    annotations = read_annotations(exported(Path("data/annotations")), keys)
    scored = with_truth(read_rows("data/responses/scored.parquet"))
    base, policy = (scored[scored["policy"] == name].set_index("id") for name in ("base", method))
    files = {str(file): read_json(file) for file in sorted(Path("data/judgements").glob("*.json"))}
    judges = other_judges(files, params.reward.judge)
    policy = policy.loc[base.index]
    votes, truth = opinions(params.reward.judge, base, policy, up_to_date(judges, base, policy))
    rows = {name: answers_of(annotations, key, name, base["cluster"]) for name, key in keys.items()}
    reward = read_json("metrics/policies.json")[method]["against_base"]["verdict"]["reward"]
    smallest = params.verdict.smallest_difference.win_rate
    found = analyse_people(rows, method, keys[method], votes, truth, base["cluster"], reward, smallest, params.seed)
    if not found["annotators"]:
        print(f"{method}: nobody has answered; people's exports go into data/annotations/")
    write_json(f"metrics/people/{method}.json", found)


if __name__ == "__main__":
    run(main)
