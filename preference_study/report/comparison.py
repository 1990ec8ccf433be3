"""The page of two experiments side by side."""

from preference_study.report.figures import colour
from preference_study.report.page import cases, fill


def render_comparison(found: dict, rows: list[dict]) -> str:
    """The page, made of the report's parts: to them A is the policy that another, B, is held against.

    Args:
        found: what `preference_study.compare` writes as JSON.
        rows: the paired responses, of A in order and of B, whose `policy` is a or b.
    """
    against = {"against_base": found["b_against_a"]}
    return fill(
        "compare.html",
        found,
        methods=["B"],
        policies={"base": found["a"]["responses"], "B": found["b"]["responses"] | against},
        colours={"base": colour("base"), "B": colour("B", ["B"])},
        spelling={"base": "A", "B": "B"},
        runs={side: found[side] for side in ("a", "b")},
        selection=None,
        cases=cases([row | {"policy": "base" if row["policy"] == "a" else "B"} for row in rows]),
    )
