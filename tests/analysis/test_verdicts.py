"""The rules of the verdict at their boundaries, and what the sentence says of which number."""

import pytest

from preference_study.analysis.evidence import detectable, needed
from preference_study.analysis.verdicts import at_equal_length, could_have_been_seen, direction, judged, right_over, verdict

BETTER, WORSE, NO_EVIDENCE, AS_GOOD, INCONCLUSIVE = "better", "worse", "no evidence of a difference", "as good", "inconclusive"
RIGHT = {"holds": True, "reasons": []}


def estimate(low: float | None, high: float | None, value: float = 0.5, n: int = 200, clusters: int | None = None) -> dict:
    return {"value": value, "low": low, "high": high, "n": n, "clusters": clusters or n}


@pytest.mark.parametrize(
    ("p", "difference", "expected"),
    [
        (0.0499, 3, BETTER),
        (0.0499, -3, WORSE),
        (0.05, 3, NO_EVIDENCE),  # at the level it is none
        (0.05, -3, NO_EVIDENCE),
        (0.0499, 0, NO_EVIDENCE),
        (None, 3, NO_EVIDENCE),
        (0.0, 1, BETTER),
    ],
)
def test_the_corrected_p_decides_and_the_sign_says_which_way(p, difference, expected):
    assert direction(p, difference) == expected
    assert judged(p, difference, 0.05) == (INCONCLUSIVE if expected == NO_EVIDENCE else expected)
    assert judged(p, difference, 0.0499) == AS_GOOD  # a difference that is smaller than matters


@pytest.mark.parametrize(
    ("reward", "p", "win_rate", "words", "expected"),
    [
        (BETTER, 0.0499, 0.55, (1, 2), "gained at equal length"),
        (BETTER, 0.05, 0.55, (-1, 2), "not shown at equal length"),
        (BETTER, 0.0499, 0.45, (1, 2), "lost at equal length"),
        (BETTER, 0.05, 0.45, (0.0001, 2), "only longer"),
        (BETTER, None, 0.55, (0.0001, 2), "only longer"),
        (BETTER, 0.05, 0.55, (0, 2), "not shown at equal length"),
        (BETTER, 0.05, 0.55, (None, None), "only longer"),  # by the same number of words everywhere
        (WORSE, 0.05, 0.55, (1, 2), "not shown at equal length"),  # only longer needs better
        (WORSE, 0.01, 0.55, (1, 2), "gained at equal length"),
        (WORSE, 0.01, 0.45, (1, 2), "lost at equal length"),
        (INCONCLUSIVE, 0.01, 0.55, (1, 2), None),  # said only where reward differs
        (AS_GOOD, 0.01, 0.55, (1, 2), None),
    ],
)
def test_what_is_left_at_equal_length(reward, p, win_rate, words, expected):
    assert at_equal_length(reward, p, estimate(0.4, 0.6, win_rate), estimate(*words)) == expected
    if words[0] is None:  # of a single cluster that says nothing
        alone = estimate(*words, clusters=1)
        assert at_equal_length(reward, p, estimate(0.4, 0.6, win_rate), alone) == "not shown at equal length"


def comparison(
    p=0.01, wins=120, losses=70, length=(0.02, 0.59), words=(-1, 1), n=200, clusters=None, gold=None, same=1.0, gold_same=1.0,
    error=0.03,
) -> dict:  # fmt: skip
    tests = [
        {"outcome": "reward", "test": "sign", "p_holm": p, "p": 0.9},
        {"outcome": "reward", "test": "paired t", "p_holm": 0.8, "p": 0.7},
        {"outcome": "reward at equal length", "test": "score", "p_holm": length[0], "p": 0.5},
        {"outcome": "gold", "test": "McNemar", "p_holm": gold and gold[0], "p": 0.6},
    ]
    found = {"tests": tests, "tests_of_verdicts": 3, "wins": wins, "losses": losses}
    found |= {"words_difference": estimate(*words, value=0.0), "win_rate": estimate(0.55, 0.69, 0.625, n, clusters)}
    found["win_rate_length_controlled"] = estimate(0.52, 0.66, length[1])
    size = {"n": n, "rows": n, "most": 0.5, "clusters": clusters or n}
    found["evidence"] = {"reward": {"smallest": 0.1, "p_equivalent_holm": same, "error": error, **size}}
    if gold:
        found["evidence"]["gold"] = {"smallest": 0.2, "p_equivalent_holm": gold_same, "error": 2 * error, **size, "most": 1.0}
        found["gold"] = {"difference": estimate(*gold[1]), "before": 0.3, "after": 0.3 + gold[1][2]}
    return found


def test_each_part_comes_from_its_own_test_and_number():
    case = comparison(gold=(0.04, (0.03, 0.2, 0.12)))
    found = verdict("kto", case, RIGHT)
    seen = found.pop("seen")
    assert found == {
        "reward": BETTER,
        "reward_would_be": None,
        "length": "gained at equal length",
        "gold": BETTER,
        "sentence": "The reward model prefers KTO's responses to base's (win rate 0.63 [0.55, 0.69], n = 200 prompts, corrected "
        "p = 0.010); at equal length it still prefers them (0.59 [0.52, 0.66], corrected p = 0.020). In truth it is better: more "
        "of KTO's responses are gold than of base's (+0.12 [0.03, 0.20], from 0.30 to 0.42, corrected "
        "p = 0.040).",
    }
    assert seen == {outcome: could_have_been_seen(case["evidence"][outcome], 3) for outcome in ("reward", "gold")}
    assert seen["gold"]["difference"] == pytest.approx(2 * seen["reward"]["difference"])


LENGTH = (0.5, 0.5)


@pytest.mark.parametrize(
    ("case", "said"),
    [
        ({"p": 0.2}, "By the reward model it is inconclusive whether DPO is better or worse than base (win rate 0.63 ["),
        ({"p": 0.2, "same": 0.01}, "By the reward model DPO is as good as base, to within 0.10 (win rate 0.63"),
        ({"p": 0.01, "same": 0.01}, "DPO is as good as base, to within 0.10: it is better by less than that (win rate 0.63"),
        ({"p": 0.2, "same": 0.03}, "n = 200 prompts, corrected p of equivalence = 0.030)."),
        ({"p": 0.01, "same": 0.0003}, "n = 200 prompts, corrected p of equivalence < 0.001, of a difference = 0.010)."),
        (
            {"p": 0.2, "error": 0.17, "n": 9},
            "for no difference, however large, could have been seen with 80% power; to see one of",
        ),
        ({"gold": (0.06, (-0.2, 0.03, -0.12)), "error": 0.17, "n": 9}, "for no difference, however large, could have been seen"),
        ({"gold": (0.06, (-0.2, 0.03, -0.12)), "error": 0.15}, "for only a difference of 0.97 could have been seen"),
        (
            {"gold": (0.06, (-0.1, 0.03, -0.02)), "gold_same": 0.02},
            "(-0.02 [-0.10, 0.03], from 0.30 to 0.28, corrected p of equivalence = 0.020).",
        ),
        ({"gold": (0.04, (0.01, 0.1, 0.05)), "gold_same": 0.02}, "equivalence = 0.020, of a difference = 0.040)."),
        ({"p": 0.01, "same": 0.01, "wins": 70, "losses": 120}, "to within 0.10: it is worse by less than that (win rate"),
        ({"wins": 70, "losses": 120, "length": (0.01, 0.35)}, "The reward model prefers base's responses to DPO's (win rate"),
        ({"wins": 70, "losses": 120, "length": (0.01, 0.35)}, "; at equal length it still prefers them (0.35 ["),
        ({"wins": 70, "losses": 120}, "; at equal length it prefers DPO's (0.59"),
        ({"length": (0.01, 0.35)}, "; at equal length it prefers base's responses to DPO's (0.35"),
        (
            {"length": LENGTH, "words": (2, 5)},
            "; at equal length no difference is shown: what is shown is that the responses are longer (0.50 [",
        ),
        ({"length": LENGTH}, "; at equal length no difference is shown (0.50 ["),
        ({"p": None}, "n = 200 prompts, no test possible)"),
        ({"p": 0.0009}, "corrected p < 0.001)"),
        ({"p": 0.001}, "corrected p = 0.001)"),
        (
            {"p": 0.2, "n": 600, "clusters": 6},
            "too few clusters to show anything: of so few no p of this test can be below 0.05 once corrected for all tests; "
            "to see a difference of 0.10 with 80% power takes 1,000 prompts in 10 clusters.",
        ),
        ({"p": 0.2, "n": 6, "clusters": 1, "error": None}, "p = 0.200): prompts of one cluster tell nothing of others."),
        ({"n": 600, "clusters": 150}, "n = 600 prompts in 150 clusters, corrected"),
        ({"gold": (0.04, (-0.2, -0.03, -0.12))}, "In truth it is worse: fewer of DPO's responses are gold than of base's (-0.12"),
        ({"gold": (0.06, (-0.2, -0.03, -0.12))}, "In truth it is inconclusive whether DPO is better or worse than base (-0.12"),
        ({"gold": (0.06, (-0.1, 0.03, -0.02)), "gold_same": 0.01}, "In truth DPO is as good as base, to within 0.20 (-0.02"),
        ({"gold": (0.04, (0.01, 0.1, 0.05)), "gold_same": 0.01}, "to within 0.20: it is better by less than that (+0.05"),
        ({"gold": (0.04, (-0.1, -0.01, -0.05)), "gold_same": 0.01}, "to within 0.20: it is worse by less than that (-0.05"),
    ],
)
def test_the_sentence_says_what_was_found(case, said):
    assert said in verdict("dpo", comparison(**case), RIGHT)["sentence"]


def test_too_few_prompts_read_otherwise_than_no_difference_that_matters():
    few = verdict("dpo", comparison(p=0.2, error=0.05, n=100), RIGHT)
    evidence = {"error": 0.05, "rows": 100, "most": 0.5, "n": 100, "clusters": 100}
    seen, takes = detectable(evidence, 3), needed(evidence, 0.1, 3)
    of_gold = evidence | {"error": 0.1, "most": 1.0}
    assert seen > 0.1 and few["seen"]["reward"] == {
        "power": 0.8,
        "difference": pytest.approx(seen),
        "smallest": 0.1,
        "prompts": takes,
        "clusters": takes,
    }
    assert few["sentence"].endswith(
        f"): too few prompts to tell, for only a difference of {seen:.2f} from one half could have been seen with 80% power; to "
        f"see one of 0.10 takes {takes} prompts."
    )
    enough = verdict("dpo", comparison(p=0.2, error=0.02, n=600, clusters=150), RIGHT)
    assert "too few" not in enough["sentence"] and enough["sentence"].endswith(
        "a win rate that differs by 0.10 from one half would have been seen with 80% power, and after correction for the number "
        "of tests neither that much nor none can be ruled out."
    )
    assert verdict("dpo", comparison(p=0.2, error=None), RIGHT)["sentence"].endswith("tell nothing of others.")
    truth = verdict("dpo", comparison(gold=(0.06, (-0.2, 0.03, -0.12)), error=0.05, n=100), RIGHT)
    assert truth["sentence"].endswith(
        f": too few prompts to tell, for only a difference of {detectable(of_gold, 3):.2f} could have been seen with 80% power; "
        f"to see one of 0.20 takes {needed(of_gold, 0.2, 3)} prompts."
    )
    clustered = verdict("dpo", comparison(p=0.2, error=0.05, n=600, clusters=150), RIGHT)["seen"]["reward"]
    assert clustered["prompts"] == 4 * clustered["clusters"]
    same = verdict("dpo", comparison(p=0.2, same=0.01, error=0.05), RIGHT)["sentence"]
    assert "too few" not in same and "as good" in same


def test_a_judge_without_the_right_to_it_gives_no_verdict():
    why = {"holds": False, "reasons": ["it is a length meter", "it is wrong"]}
    found = verdict("dpo", comparison(gold=(0.04, (0.03, 0.2, 0.12))), why)
    assert (found["reward"], found["reward_would_be"], found["length"], found["gold"]) == ("withheld", BETTER, None, BETTER)
    assert found["sentence"].startswith(
        "The verdict by reward is withheld, for the reward model has not earned it: it is a length meter; it is wrong. What it "
        "would have said: the reward model prefers DPO's responses to base's (win rate 0.63"
    )
    assert " In truth it is better:" in found["sentence"]


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [(0.06, 0.0, "from 0.06 to 0.00, "), (0.0, 0.06, "from 0.00 to 0.06, "), (0.0, 0.0, "neither is ever gold, ")],
)
def test_the_change_in_gold_is_said_with_both_rates(before, after, said):
    case = comparison(gold=(1.0, (-0.01, 0.01, after - before)), gold_same=0.01)
    case["gold"] |= {"before": before, "after": after}
    assert f"[-0.01, 0.01], {said}corrected" in verdict("dpo", case, RIGHT)["sentence"]


def test_of_a_policy_that_was_trained_against_it_the_judge_gives_no_verdict():
    case = comparison(gold=(0.04, (0.03, 0.2, 0.12)))
    assert right_over(RIGHT, {"DPO": "dpo", "base": "base"})["trained_against"] == []
    found = verdict("rloo", case, right_over(RIGHT, {"RLOO": "rloo"}))
    assert (found["reward"], found["reward_would_be"], found["length"], found["gold"]) == ("withheld", BETTER, None, BETTER)
    assert found["sentence"].startswith(
        "The verdict by reward is withheld, for RLOO was trained against this reward model, so what it prefers is what was "
        "optimised, and another judge or people must say (docs/judges.md). What it would have said: the reward model prefers RLOO"
    )
    why = right_over({"holds": False, "reasons": ["it is wrong"]}, {"A": "rloo", "B": "rloo"})
    told = verdict("B", case, why, "A")["sentence"]
    assert "has not earned it: it is wrong; and A and B were trained against this reward model" in told


def test_without_a_known_truth_there_is_no_word_about_it():
    found = verdict("dpo", comparison(), RIGHT)
    assert found["gold"] is None and "truth" not in found["sentence"] and set(found["seen"]) == {"reward"}


@pytest.mark.parametrize("case", [{}, {"p": 0.01, "wins": 70, "losses": 120}, {"p": 0.2}, {"p": 0.2, "same": 0.01}])
def test_whom_a_policy_is_held_against_is_named(case):
    gold = (case.get("p", 0.01), (-0.2, 0.2, 0.1))
    of_base = verdict("B", comparison(**case, gold=gold), RIGHT)
    of_a = verdict("B", comparison(**case, gold=gold), RIGHT, reference="A")
    assert of_a["sentence"] == of_base["sentence"].replace("base", "A") != of_base["sentence"]
    assert of_a | {"sentence": ""} == of_base | {"sentence": ""}


def test_where_rewards_are_not_compared_the_truth_alone_is_said():
    case = comparison(gold=(0.04, (0.03, 0.2, 0.12)))
    with_reward = verdict("kto", case, RIGHT)
    del case["evidence"]["reward"]
    found = verdict("kto", case, RIGHT)
    assert found["reward"] is found["reward_would_be"] is found["length"] is None and found["gold"] == BETTER
    assert with_reward["sentence"].endswith(found["sentence"]) and found["sentence"].startswith("In truth it is better")
    del case["gold"]
    assert verdict("kto", case, RIGHT)["sentence"] == ""
