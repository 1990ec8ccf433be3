"""What a study of a planned size could see, before it is run; the smallest differences that matter are those of params.yaml.

python -m preference_study.power --prompts 300
python -m preference_study.power --prompts 600 --rows-per-cluster 4 --alike 0.2 --methods 2 --differ 0.3
"""

import argparse
import math
from collections.abc import Sequence

from preference_study.analysis.evidence import POWER, detectable, fewest_clusters, needed
from preference_study.analysis.verdicts import RATES
from preference_study.numbers import decimal
from preference_study.params import load_params

TESTS = {"with gold": 3, "without": 2}  # of verdicts, a method: reward, the same at equal length, gold


def planned(prompts: float, rows_per_cluster: float, alike: float, differ: float) -> dict[str, dict]:
    """What will be known of a win rate near one half without ties, and of a difference of gold rates near none.

    Args:
        prompts: how many are answered.
        rows_per_cluster: prompts drawn together, 1 where each is drawn by itself.
        alike: the correlation of such prompts' outcomes, the intra-cluster correlation.
        differ: the share of prompts on which one policy is gold and the other is not.

    Returns:
        Per outcome what `detectable` takes.
    """
    rows = prompts / (1 + (rows_per_cluster - 1) * alike)
    known = {"rows": rows, "n": prompts, "clusters": max(1, round(prompts / rows_per_cluster))}
    return {
        "win_rate": known | {"error": 0.5 / math.sqrt(rows), "most": RATES["reward"][2]},
        "gold_rate": known | {"error": math.sqrt(differ / rows), "most": RATES["gold"][2]},
    }


def table(
    prompts: int, rows_per_cluster: float, alike: float, differ: float, methods: int, gold: bool, smallest: dict[str, float]
) -> list[dict]:
    """What could be seen, and what it takes, by outcome.

    Returns:
        {outcome, detectable, smallest, prompts, clusters, fewest} each: the smallest difference seen with 80% power, corrected
        for as many verdicts, null where so few clusters can show nothing; the one that matters; how many prompts, in how many
        clusters, it takes to see that; of how many clusters any can be seen.

    Args:
        prompts, rows_per_cluster, alike, differ: as `planned` takes them.
        methods: how many policies are held against base.
        gold: whether the truth is known.
        smallest: win_rate and gold_rate.
    """
    tests = methods * TESTS["with gold" if gold else "without"]
    rows, of_one = [], planned(rows_per_cluster, rows_per_cluster, alike, differ)
    for outcome, known in planned(prompts, rows_per_cluster, alike, differ).items():
        if outcome == "win_rate" or gold:
            enough = needed(of_one[outcome], smallest[outcome], tests)
            row = {"outcome": outcome, "detectable": detectable(known, tests), "smallest": smallest[outcome]}
            row |= {"prompts": math.ceil(enough * rows_per_cluster), "clusters": enough}
            rows.append(row | {"fewest": fewest_clusters(known, tests)})
    return rows


def in_words(rows: list[dict]) -> list[str]:
    """A line an outcome."""
    told = []
    for row in rows:
        what, most = {
            "win_rate": ("a win rate that differs from one half", RATES["reward"][2]),
            "gold_rate": ("a gold rate that differs from base's", RATES["gold"][2]),
        }[row["outcome"]]
        seen = f"nothing: of fewer than {row['fewest']} clusters no corrected p can be below 0.05"
        if row["detectable"] is not None:
            seen = f"by {decimal(row['detectable'], 3)}" if row["detectable"] <= most else "nothing, however much it differs"
        clusters = "" if row["clusters"] == row["prompts"] else f" in {row['clusters']:,} clusters"
        told.append(
            f"{what}: seen with {POWER:.0%} power {seen}; {decimal(row['smallest'], 3)}, which matters, takes "
            f"{row['prompts']:,} prompts{clusters}"
        )
    return told


def _share(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not a share from 0 to 1")
    return value


def _some(text: str) -> float:
    if _share(text) == 0:
        raise argparse.ArgumentTypeError("where gold never is another, there is nothing to be seen: give a share above 0")
    return float(text)


def _at_least_one(kind: type) -> type:
    def checked(text: str):
        value = kind(text)
        if not 1 <= value < math.inf:
            raise argparse.ArgumentTypeError(f"{text} is not 1 or more")
        return value

    checked.__name__ = "number"
    return checked


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", type=_at_least_one(int), help="how many are answered (generate.max_prompts of params.yaml)")
    parser.add_argument("--rows-per-cluster", type=_at_least_one(float), default=1.0, help="prompts drawn together (%(default)s)")
    parser.add_argument("--alike", type=_share, default=0.2, help="correlation of their outcomes, from 0 to 1 (%(default)s)")
    parser.add_argument("--differ", type=_some, default=0.4, help="share of prompts where gold is another (%(default)s)")
    parser.add_argument("--methods", type=_at_least_one(int), help="policies held against base (as many as policy.methods)")
    parser.add_argument("--no-gold", action="store_true", help="there is no truth that code can check")
    given, params = parser.parse_args(arguments), load_params()
    prompts = given.prompts or params.generate.max_prompts
    if prompts is None:
        parser.error("generate.max_prompts is null, all there are: say how many with --prompts")
    smallest = params.verdict.smallest_difference.model_dump()
    methods = given.methods or len(params.policy.methods)
    rows = table(prompts, given.rows_per_cluster, given.alike, given.differ, methods, not given.no_gold, smallest)
    clusters = max(1, round(prompts / given.rows_per_cluster))
    print(f"{prompts:,} prompts in {clusters:,} clusters, {methods} against base, corrected at 0.05:")
    print("\n".join(in_words(rows)))


if __name__ == "__main__":
    main()
