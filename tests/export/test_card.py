"""Model cards: every number from its own place in the metrics. Each number here is another one."""

import re
from itertools import count

import pytest
import yaml

from preference_study.export.card import escaped, policy_card, reward_card
from preference_study.numbers import with_interval

MODEL = {"name": "someone/base_model", "revision": "abc1"}
RUN = {
    "code": "commit 123456789abc, without uncommitted changes",
    "experiment": None,
    "made": "2026-01-02 03:04:05+00:00",
    "seed": "17",
    "data": [{"what": "training pairs", "file": "data/my|train.parquet", "md5": "0f" * 16}],
}
DATA = {
    "train": {"rows_in": 901, "dropped": {"tie": 5, "duplicate": 6}, "rows_out": 890},
    "val": {"rows_in": 801, "dropped": {"tie": 7, "duplicate": 8}, "rows_out": 786},
}
TRAINED = {"train_pairs": 655, "steps": 321, "trained_parameters": 1234567, "needs_reward_model": False}


def estimates(*names: str, start: int) -> dict:
    """Per name an estimate whose ends and n are its own too."""
    numbers = count(start)
    return {
        name: {"value": k / 100, "low": (k - 1) / 100, "high": (k + 1) / 100, "n": 10 * k, "clusters": 10 * k}
        for name, k in zip(names, (3 * number for number in numbers), strict=False)
    }


shown = with_interval


MEASURES = ("gold_rate", "letter_rate", "reward_mean", "words_mean", "finished", "repetition_mean", "refusals")
BASE, OWN = estimates(*MEASURES, start=1), estimates(*MEASURES, start=10)
WIN = ("win_rate", "win_rate_length_controlled", "win_rate_style_controlled")
AGAINST = estimates(*WIN, start=20)
GOLD = estimates("difference", start=25)["difference"]
KL, CHOSEN, FELL = (estimates("x", start=start)["x"] for start in (27, 28, 29))
REWARD = estimates("accuracy", "accuracy_longer_chosen", "accuracy_shorter_chosen", "length_correlation", start=100)
REWARD["baselines"] = estimates("longer", "tfidf", "probe", start=110)
PARITY = {
    "n": 31,
    "same_answers": estimates("x", start=31)["x"],
    "logp_difference": 0.00042,
    "same_tokens_before": None,
    "bounds": {"same_answers": 0.57, "logp_difference": 0.0013},
}


def card(holds: bool = True, price: tuple[str, ...] = (), **changed) -> str:
    verdict = {"sentence": "It is better than base (0.999).", "price": list(price)}
    own = OWN | {
        "against_base": AGAINST | {"gold": {"difference": GOLD, "gained": 641, "lost": 642}, "verdict": verdict},
        "price": {"kl": {"nats_per_response": KL}, "logps": {"chosen": {"nats_per_response": CHOSEN, "fell": FELL}}},
    }
    right = {"holds": holds, "reasons": [] if holds else ["it is no better than words"]}
    given = {
        "method": "kto", "display": "KTO!", "model": MODEL, "licence": "apache-2.0", "run_of": RUN, "data": DATA,
        "parameters": {"policy.kto.beta": 0.171}, "trained": TRAINED, "policies": {"base": BASE, "kto": own}, "judge": "twin",
        "reward": REWARD | {"right_to_judge": right}, "limit": 83, "parity": PARITY, "files": ["kto.gguf", "Modelfile"],
    }  # fmt: skip
    return policy_card(**given | changed)


def row(text: str, begins: str) -> list[str]:
    """The cells after the first of the table's row that begins so."""
    [found] = [line for line in text.splitlines() if line.startswith(f"| {begins}")]
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", found)[2:-1]]


def test_a_policys_numbers_are_the_metrics():
    text = card()
    places = {"reward_mean": 1, "words_mean": 1}
    heads = ["gold: does", "obeys the", "mean reward", "words a", "ended its", "three-word", "refusals"]
    for name, head in zip(MEASURES, heads, strict=True):
        assert row(text, head) == [shown(side[name], places.get(name, 2)) for side in (BASE, OWN)], name
    for name, head in zip(WIN, ("the judge prefers", "the same at equal length", "the same at equal style"), strict=True):
        assert row(text, head) == ["", shown(AGAINST[name])], name
    assert row(text, "gold, change") == ["", f"+{shown(GOLD)}; 641 gained, 642 lost"]
    assert f"KL divergence from base: {shown(KL, 1)} nats" in text
    assert f"+{shown(CHOSEN, 1)} nats a response; it fell in {shown(FELL)} of the pairs" in text
    assert f"n = {BASE['words_mean']['n']} prompts" in text and "It is better than base (0.999)." in text
    assert f"`twin` of the same study. It ranks {shown(REWARD['accuracy'])} of n = {REWARD['accuracy']['n']}" in text
    for name, said in (("longer", "“the longer response wins”"), ("tfidf", "TF-IDF"), ("probe", "base model")):
        assert f"{said} {shown(REWARD['baselines'][name])}" in text
    assert row(text, "training |") == ["901", "11", "890"] and row(text, "validation |") == ["801", "15", "786"]
    assert "655 of these pairs, in 321 steps, 1,234,567 parameters" in text and "at most 83 tokens" in text
    assert row(text, "`policy.kto.beta`") == ["0.171"] and "seed 17" in text and "commit 123456789abc" in text
    assert row(text, "training pairs") == [r"data/my\|train.parquet", "0f" * 16]
    assert row(text, "`same_answers`") == [shown(PARITY["same_answers"]), "at least 0.57"]
    assert "# KTO! policy" in text and "| base | KTO! |" in text
    assert row(text, "`logp_difference`") == ["0.00042", "at most 0.0013"] and "on 31 prompts" in text
    assert "same_tokens_before" not in text and "`kto.gguf`, `Modelfile`" in text


def test_what_programs_read_first():
    facts = yaml.safe_load(card().split("---\n")[1])
    assert facts == {
        "license": "apache-2.0", "base_model": "someone/base_model", "library_name": "transformers",
        "pipeline_tag": "text-generation", "tags": ["preference-study", "kto"],
    }  # fmt: skip
    unknown = card(licence=None, model={"name": "embedded", "revision": None})
    assert "license" not in yaml.safe_load(unknown.split("---\n")[1]) and "base_model" not in unknown.split("---\n")[1]
    assert "look it up before you pass this on" in unknown and "SmolLM2-135M-Instruct" in unknown


def test_a_judge_without_the_right_to_judge_and_a_price_are_said():
    text = card(holds=False, price=("it repeats itself",))
    assert "**It has not earned the right to judge**: it is no better than words." in text and "- it repeats itself" in text
    text = card()
    assert "has the right to judge" in text and "No change for the worse was found" in text


def test_of_a_policy_that_was_trained_against_the_judge_it_is_said():
    said = "**This policy was trained against it**"
    assert said in card(trained=TRAINED | {"needs_reward_model": True}) and said not in card()


def test_data_without_a_truth():
    bare = {name: value for name, value in OWN.items() if name not in ("gold_rate", "letter_rate")}
    verdict = {"sentence": "S.", "price": []}
    price = {"kl": None, "logps": {"chosen": {"nats_per_response": CHOSEN, "fell": FELL}}}
    policies = {
        "base": {"words_mean": BASE["words_mean"]},
        "kto": bare | {"against_base": AGAINST | {"verdict": verdict}, "price": price},
    }
    text = card(policies=policies)
    assert "gold" not in text and "KL" not in text


def test_texts_of_others_are_no_marks():
    assert escaped("a|b <img>\n# [x](y) `z`") == r"a\|b \<img\> \# \[x\](y) \`z\`"
    text = card(model={"name": "<script>x</script>", "revision": None})
    assert "<script>" not in text.split("---\n", 2)[2]


def reward(variant: str, of_variant: dict | None = None, holds: bool = True) -> str:
    right = {"holds": holds, "reasons": ["it is no better than words"]}
    parity = {"n": 30, "reward_difference": 0.00017, "bounds": {"reward_difference": 0.0019}}
    return reward_card(
        variant=variant, model=MODEL, licence="mit", run_of=RUN, data=DATA, parameters={"reward.epochs": 7}, trained=TRAINED,
        judge="standard", reward=REWARD | {"right_to_judge": right}, of_variant=of_variant, max_length=479, parity=parity,
    )  # fmt: skip


def test_a_reward_models_numbers_are_the_metrics():
    text = reward("standard")
    names = ("accuracy", "accuracy_longer_chosen", "accuracy_shorter_chosen", "length_correlation")
    for name, head in zip(names, ("right on", "of them, where", "where it is", "rank corr"), strict=True):
        assert row(text, head) == [shown(REWARD[name])], name
    for name, head in (("longer", "“the longer"), ("tfidf", "TF-IDF"), ("probe", "a linear probe")):
        assert row(text, head) == [shown(REWARD["baselines"][name])]
    assert f"n = {REWARD['accuracy']['n']}, 95%" in text and "and so has the right to judge" in text and "479 tokens" in text
    assert row(text, "`reward_difference`") == ["0.00017", "at most 0.0019"] and "655 pairs, in 321 steps" in text
    assert "**It has not earned the right to judge**" in reward("standard", holds=False)


@pytest.mark.parametrize("there", [True, False])
def test_another_reward_model_than_the_judge_has_its_own_numbers_or_none(there):
    own = estimates("accuracy", "accuracy_longer_chosen", "accuracy_shorter_chosen", start=200)
    text = reward("length_margin", own if there else None)
    assert "whether this one has the right to judge was not measured" in text and shown(REWARD["accuracy"]) not in text
    assert (shown(own["accuracy"]) in text) == there and ("Its accuracy was not measured" in text) != there
