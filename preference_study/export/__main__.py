"""Print the parameters that export all of the study's policies and its judge, as `dvc exp run` takes them: `make export`."""

import sys

from preference_study.export import not_exported
from preference_study.params import load_params

if __name__ == "__main__":
    params = load_params()
    judge = params.reward.judge
    if reason := not_exported(judge):
        print(f"the judge is left out: {reason}", file=sys.stderr)
    print("-S", f"export.policies=[{','.join(params.policy.methods)}]")
    print("-S", f"export.reward_models=[{'' if reason else judge}]")
