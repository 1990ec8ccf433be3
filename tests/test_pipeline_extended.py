"""A method and a variant more, in the finished study: the last to run there, for it changes the study's files."""

import json
import sys

from tests.workspace import change, run, stages_run

HINGE = """
from preference_study.methods import Method, Recipe
from preference_study.sections import MethodSection


def recipe():
    from trl import DPOConfig

    from preference_study.training.trainers import DPO, pair_rows

    return Recipe(DPO, DPOConfig, pair_rows)


def configure(policy, own, processes):
    return {"max_length": None, "loss_type": ["hinge"], "beta": own.beta, "precompute_ref_log_probs": True}


METHOD = Method("Hinge", MethodSection, recipe, configure, needs_reference=True, given_reference=True)
"""
TWINS = """
from preference_study.variants import RewardVariant

VARIANT = RewardVariant(members=lambda own: 2)
"""


def test_a_method_and_a_variant_more_are_a_file_and_a_section_each(finished):
    """Those of docs/extending.md; and RLOO, because it needs the reward model besides: every stage has to bring its part."""
    repository = finished.folder
    (repository / "preference_study/methods/hinge.py").write_text(HINGE)
    (repository / "preference_study/variants/twins.py").write_text(TWINS)
    change(repository, policy={"methods": ["dpo", "rloo", "hinge"], "hinge": {"learning_rate": 1e-4, "beta": 0.1}})
    measured = ["standard", "twins"]
    change(repository, reward={"variants": measured, "twins": {}}, stress={"variants": measured})
    ran = stages_run(run(repository, "dvc", "repro"))
    alone = {
        f"{stage}@{method}" for stage in ("judge_for", "train_policy", "measure_kl", "generate") for method in ("rloo", "hinge")
    }
    alone |= {"check", "train_reward@twins", "stress_reward@twins", "compare_stress", "compare_variants", "score_responses"}
    assert ran == alone | {
        "compare_policies",
        "compare_methods",
        "compare_groups",
        "report",
    }  # and no model that was there is trained again
    table = json.loads((repository / "metrics/methods.json").read_text())
    assert list(table["methods"]) == ["dpo", "rloo", "hinge"] and len(table["pairs"]) == 6
    assert table["methods"]["rloo"]["needs_reward_model"] and not table["methods"]["dpo"]["needs_reward_model"]
    assert set(json.loads((repository / "metrics/variants.json").read_text())) == {
        "standard", "twins (mean)", "twins (worst)", "twins (mean minus spread)",
    }  # fmt: skip
    page = (repository / "reports/index.html").read_text()
    assert "Hinge" in page and "twins (worst)" in page
    listed = run(repository, sys.executable, "-m", "preference_study.methods")
    assert listed.strip() == "[dpo,hinge,ipo,kto,orpo,rloo,simpo]"
