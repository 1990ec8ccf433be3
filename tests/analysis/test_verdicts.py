"""The rules of the verdict at their boundaries, and what the sentence says of which number."""

import pytest

from preference_study.analysis.verdicts import FEW, at_equal_length, direction, verdict

BETTER, WORSE, NO_EVIDENCE = "better", "worse", "no evidence of a difference"


def estimate(low: float | None, high: float | None, value: float = 0.5, n: int = 200) -> dict:
    return {"value": value, "low": low, "high": high, "n": n}


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


@pytest.mark.parametrize(
    ("reward", "win_rate", "words", "expected"),
    [
        (BETTER, (0.5001, 0.6), (1, 2), "gained at equal length"),
        (BETTER, (0.5, 0.6), (-1, 2), "no evidence at equal length"),  # the interval's end on one half shows nothing
        (BETTER, (0.4, 0.4999), (1, 2), "lost at equal length"),
        (BETTER, (0.4, 0.5), (-1, 2), "no evidence at equal length"),
        (BETTER, (0.4, 0.6), (0.0001, 2), "only longer"),
        (BETTER, (0.4, 0.6), (0, 2), "no evidence at equal length"),
        (BETTER, (0.4, 0.6), (None, None), "no evidence at equal length"),
        (NO_EVIDENCE, (0.4, 0.6), (1, 2), "no evidence at equal length"),  # only longer needs better
        (WORSE, (0.4, 0.6), (1, 2), "no evidence at equal length"),
        (WORSE, (0.51, 0.6), (1, 2), "gained at equal length"),
        (BETTER, (None, None), (1, 2), "only longer"),
    ],
)
def test_what_is_left_at_equal_length(reward, win_rate, words, expected):
    assert at_equal_length(reward, estimate(*win_rate), estimate(*words)) == expected


def comparison(p=0.01, wins=120, losses=70, controlled=(0.52, 0.66, 0.59), words=(-1, 1), n=200, gold=None) -> dict:
    tests = [
        {"outcome": "reward", "test": "sign", "p_holm": p, "p": 0.9},
        {"outcome": "reward", "test": "paired t", "p_holm": 0.8, "p": 0.7},
        {"outcome": "gold", "test": "McNemar", "p_holm": gold and gold[0], "p": 0.6},
    ]
    found = {"tests": tests, "wins": wins, "losses": losses, "words_difference": estimate(*words, value=0.0)}
    found["win_rate"] = estimate(0.55, 0.69, 0.625, n)
    found["win_rate_length_controlled"] = estimate(*controlled)
    return found | ({"gold": {"difference": estimate(*gold[1])}} if gold else {})


def test_each_part_comes_from_its_own_test_and_number():
    found = verdict("kto", comparison(gold=(0.04, (0.03, 0.2, 0.12))))
    assert found == {
        "reward": BETTER,
        "length": "gained at equal length",
        "gold": BETTER,
        "sentence": "The reward model prefers KTO's responses to base's (win rate 0.63 [0.55, 0.69], n = 200 prompts, corrected "
        "p = 0.010); at equal length it still prefers them (0.59 [0.52, 0.66]). In truth it is better: more of "
        "KTO's responses are gold than of base's (+0.12 [0.03, 0.20], corrected p = 0.040).",
    }


@pytest.mark.parametrize(
    ("case", "said"),
    [
        ({"p": 0.2, "controlled": (0.4, 0.6, 0.5)}, "shows no evidence of a difference between DPO and base"),
        ({"p": 0.2, "controlled": (0.4, 0.6, 0.5)}, "at equal length there is none either (0.50 [0.40, 0.60])."),
        ({"wins": 70, "losses": 120, "controlled": (0.3, 0.4, 0.35)}, "prefers base's responses to DPO's (win rate"),
        ({"wins": 70, "losses": 120, "controlled": (0.3, 0.4, 0.35)}, "at equal length it prefers base's responses to DPO's"),
        ({"wins": 70, "losses": 120}, "at equal length it prefers DPO's (0.59"),
        (
            {"controlled": (0.4, 0.6, 0.5), "words": (2, 5)},
            "; at equal length no difference is left to be seen: what can be shown is that the responses are longer (0.50 [",
        ),
        ({"controlled": (0.4, 0.6, 0.5)}, "; at equal length no difference can be shown (0.50 ["),
        ({"p": None, "controlled": (0.4, 0.6, 0.5)}, "n = 200 prompts, no test possible)"),
        ({"p": 0.0009}, "corrected p < 0.001)"),
        ({"p": 0.001}, "corrected p = 0.001)"),
        (
            {"gold": (0.04, (-0.2, -0.03, -0.12))},
            "In truth it is worse: fewer of DPO's responses are gold than of base's (-0.12 [",
        ),
        ({"gold": (0.06, (-0.2, -0.03, -0.12))}, "In truth there is no evidence that more or fewer of DPO's responses are gold"),
    ],
)
def test_the_sentence_says_what_was_found(case, said):
    assert said in verdict("dpo", comparison(**case))["sentence"]


def test_without_a_known_truth_there_is_no_word_about_it():
    found = verdict("dpo", comparison())
    assert found["gold"] is None and "truth" not in found["sentence"] and found["sentence"].endswith("0.66]).")


def test_few_prompts_are_a_first_look():
    enough, few = (verdict("dpo", comparison(n=n, gold=(0.04, (0.03, 0.2, 0.12)))) for n in (FEW, FEW - 1))
    assert "first look" not in enough["sentence"]
    first_look = " With n = 99 prompts this is a first look: too few to tell."
    assert few["sentence"] == enough["sentence"].replace("n = 100", "n = 99") + first_look
    assert {key: few[key] for key in ("reward", "length", "gold")} == {key: enough[key] for key in ("reward", "length", "gold")}
