"""A page on which people judge a policy's responses beside base's -> reports/blind/<method>.html, data/blind/<method>.json.

    python -m stages.draw_blind dpo

Which response is whose stands in the second file alone, the key.
"""

from pathlib import Path

from preference_study.artifacts import read_json, read_rows, whole_file, write_json
from preference_study.blind import candidates, draw, opinions, other_judges, up_to_date
from preference_study.boundary import run
from preference_study.params import load_params
from preference_study.report.blind import render
from preference_study.texts.gold import with_truth


def main(method: str) -> None:
    params = load_params()
    scored = with_truth(read_rows("data/responses/scored.parquet"))
    base, policy = (scored[scored["policy"] == name].set_index("id") for name in ("base", method))
    files = {str(file): read_json(file) for file in sorted(Path("data/judgements").glob("*.json"))}
    judges = other_judges(files, params.reward.judge)
    policy = policy.loc[base.index]
    ids = candidates(*opinions(params.reward.judge, base, policy, up_to_date(judges, base, policy)), params.people.which)
    drawn = draw(base, policy, ids, params.people.cases, params.people.repeats, params.seed)
    shown = len(drawn.page["cases"])
    cases = min(len(ids), params.people.cases)
    print(f"{method}: {cases} of {len(ids)} prompts, {shown - cases} of them shown twice; study {drawn.study}")
    with whole_file(f"reports/blind/{method}.html") as path:
        path.write_text(render(drawn.page), encoding="utf-8")
    write_json(f"data/blind/{method}.json", {"method": method, "which": params.people.which} | drawn.key)


if __name__ == "__main__":
    run(main)
