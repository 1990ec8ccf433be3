import pandas as pd
import pytest
import yaml

from data.sandbox.make_sandbox import (
    HERE,
    answered,
    candidate_pairs,
    choose_pairs,
    evenly,
    split_prompts,
    texts_of,
    whole,
)
from preference_study.artifacts import TableAside
from preference_study.data.sampling import sample_pairs
from preference_study.params import load_params
from preference_study.texts.gold import flaw
from preference_study.texts.instructions import INSTRUCTIONS, obeys
from preference_study.texts.words import words
from stages.prepare_data import split_summary, usable
from tests.conftest import ROOT

PARAMS = yaml.safe_load((ROOT / HERE / "params.yaml").read_text())
TOPICS = (ROOT / HERE / "topics.txt").read_text().splitlines()
FILES = {name: pd.read_parquet(ROOT / HERE / f"{name}.parquet") for name in ("train", "val", "prompts")}


def sides(table: pd.DataFrame) -> pd.DataFrame:
    """The pairs with chosen, rejected and whether chosen has more words."""
    first = table["overall_response"] == 1
    chosen = table["response_1"].where(first, table["response_2"])
    rejected = table["response_2"].where(first, table["response_1"])
    longer = chosen.map(lambda text: len(words(text))) > rejected.map(lambda text: len(words(text)))
    return table.assign(chosen=chosen, rejected=rejected, longer=longer)


def topic_of(question: str) -> str:
    return max((topic for topic in TOPICS if f" {topic}" in question), key=len)


@pytest.mark.parametrize("split", ["train", "val"])
def test_the_preferred_response_is_gold_and_the_other_is_not(split):
    table = sides(FILES[split])
    assert len(table) == PARAMS["pairs"][split]
    for row in table.itertuples():
        assert flaw(row.instruction, row.chosen, row.question, True) is None
        assert flaw(row.instruction, row.rejected, row.question, True) == row.rejected_flaw is not None
    assert 0.4 < (table["overall_response"] == 1).mean() < 0.6
    assert table["question"].value_counts().max() <= PARAMS["pairs_per_prompt"][split]


@pytest.mark.parametrize("split", ["train", "val"])
def test_length_and_letter_win_as_often_as_stated_and_do_not_go_together(split):
    table = sides(FILES[split])
    letter = pd.Series([obeys(*row) for row in zip(table["instruction"], table["rejected"], strict=True)])
    assert table["longer"].mean() == pytest.approx(PARAMS["longer_wins"][split], abs=0.001)
    for longer in (True, False):
        assert letter[table["longer"] == longer].mean() == pytest.approx(PARAMS["rejected_letter"][split], abs=0.002)


@pytest.mark.parametrize("split", ["train", "val"])
def test_any_first_rows_are_as_balanced_as_all(split):
    longer = sides(FILES[split])["longer"].cumsum()
    wanted = PARAMS["longer_wins"][split] * pd.Series(range(1, len(longer) + 1))
    assert (longer - wanted).abs().max() <= 2


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_sample_of_the_validation_pairs_is_as_balanced(tmp_path, seed):
    split = usable(str(ROOT / HERE / "val.parquet"), load_params(ROOT / "params.yaml").data, TableAside(tmp_path))
    pairs = sample_pairs(split.usable, 300, seed)
    wins = split_summary(split, pairs)["longer_wins"]["value"]
    assert len(pairs) == 300 and wins == pytest.approx(PARAMS["longer_wins"]["val"], abs=0.004)


def test_no_prompt_is_shared_between_the_splits():
    questions = {name: set(table["question"]) for name, table in FILES.items()}
    assert not questions["train"] & questions["val"]
    assert not questions["train"] & questions["prompts"]
    assert not questions["val"] & questions["prompts"]


def test_some_combinations_are_only_in_validation():
    combinations = {n: set(zip(t["instruction"], t["question"].map(topic_of), strict=True)) for n, t in FILES.items()}
    assert not combinations["train"] & combinations["val"]
    trained_topics = {topic for _, topic in combinations["train"]}
    assert {topic for _, topic in combinations["val"]} & trained_topics  # seen topics with unseen instructions
    assert {topic for _, topic in combinations["val"]} - trained_topics  # and unseen topics


def test_it_is_as_wide_and_as_small_as_stated():
    assert len(INSTRUCTIONS) >= 12 and len(set(TOPICS)) == len(TOPICS) >= 100
    assert set(FILES["val"]["instruction"]) == set(FILES["prompts"]["instruction"]) == set(INSTRUCTIONS)
    assert (
        set(FILES["train"]["instruction"]) == set(INSTRUCTIONS) - set(PARAMS["unseen_kinds"]) and len(PARAMS["unseen_kinds"]) == 3
    )
    assert len(FILES["prompts"]) == FILES["prompts"]["question"].nunique() == 300
    wanted = {kind: PARAMS["generation_prompts"]["unseen" if kind in PARAMS["unseen_kinds"] else "seen"] for kind in INSTRUCTIONS}
    assert FILES["prompts"]["instruction"].value_counts().to_dict() == wanted
    assert sum(file.stat().st_size for file in (ROOT / HERE).iterdir() if file.is_file()) < 3_000_000


def test_the_prompts_are_those_the_script_makes():
    prompts = split_prompts(TOPICS, PARAMS)
    assert [row["question"] for row in prompts["generate"]] == list(FILES["prompts"]["question"])
    for split in ("train", "val"):
        assert set(FILES[split]["question"]) <= {row["question"] for row in prompts[split]}


@pytest.mark.parametrize(
    ("cut", "left"),
    [
        ("It rains. We stay in. Then the", "It rains. We stay in."),
        ('He said "Go!" and then he', 'He said "Go!"'),
        ("1. Buy bread\n2. Eat it\n3. Wash the", "1. Buy bread\n2. Eat it"),
        ("Do this:\n- Buy bread.\n- Eat", "Do this:\n- Buy bread."),
        ("1. Buy bread. 2. Eat\n3. Wash it. Then", "1. Buy bread. 2. Eat\n3. Wash it."),
        ("An endless sentence that goes on and", ""),
        ("1. A single item that never", ""),
        ("1. Buy bread. 2. Eat it. 3. Wash", "1. Buy bread. 2. Eat it."),
    ],
)
def test_what_was_cut_off_ends_with_a_whole_sentence_or_line(cut, left):
    assert whole(cut) == left


QUESTION = f"Say something short about drinking tea. {INSTRUCTIONS['with_because'].text}"
ROW = {"question": QUESTION, "instruction": "with_because"}
GOLD = ("I drink tea because it keeps me awake.", "Tea is good because it warms my cold hands in winter.")


def row(*responses: tuple[str, bool], number: int = 0) -> dict:
    asked = ROW | {"question": QUESTION if not number else QUESTION.replace("tea", f"tea {number}")}
    return asked | {"responses": [{"text": text, "tokens": 9, "finished": finished} for text, finished in responses]}


def test_what_was_cut_off_is_made_whole_and_may_be_rejected_as_it_is():
    long = f"{GOLD[0]} It is warm and it does not cost much and I"
    found = {text["text"]: (text["letter"], text["flaw"]) for text in texts_of(row((long, False), ("Tea", True), ("", True)))}
    assert found == {GOLD[0]: (True, None), long: (True, "breaks off"), "Tea": (False, "does not obey")}
    (finished,) = texts_of(row((long.removesuffix(" and I"), True)))
    assert finished["flaw"] == "breaks off"
    # What has another fault, or none that can be seen, is not rejected for having been cut off.
    assert [text["text"] for text in texts_of(row(("Tea is warm because", False), (f"{GOLD[0]} Tea", False)))] == [GOLD[0]]


def test_candidates_are_all_pairs_of_gold_and_not_gold():
    short, long = GOLD
    texts = (short, long, "Tea.", "because because", "I like tea more than milk in May", short)
    pairs = candidate_pairs([row(*((text, True) for text in texts))])
    found = {(p.chosen, p.rejected): (p.rejected_flaw, p.letter, p.longer) for p in pairs.itertuples()}
    assert found == {
        (short, "Tea."): ("does not obey", False, True),
        (long, "Tea."): ("does not obey", False, True),
        (short, "because because"): ("loops", True, True),
        (long, "because because"): ("loops", True, True),
        (long, "I like tea more than milk in May"): ("does not obey", False, True),
    }  # eight words against eight: neither is longer


def test_pairs_are_chosen_by_length_letter_and_prompt():
    longer = "I like tea more than anything that I have ever had"
    trap = "because because because because because because because because because"
    rows = [row(*((text, True) for text in (GOLD[0], "Tea.", "because", longer, trap)), number=i) for i in range(1, 41)]
    candidates = candidate_pairs(rows)
    pairs = choose_pairs(candidates, 40, 0.6, 0.25, 2, seed=0)
    found = sides(pairs)
    letter = found["rejected"].str.startswith("because")
    assert len(pairs) == 40 and found["longer"].sum() == 24 and letter.sum() == 10 and letter[found["longer"]].sum() == 6
    assert pairs["question"].value_counts().max() <= 2
    assert choose_pairs(candidates, 40, 0.6, 0.25, 1, seed=0)["question"].is_unique
    with pytest.raises(ValueError, match=r"longer=.*, letter=.*: answer more prompts"):
        choose_pairs(candidates, 60, 0.5, 0.5, 1, seed=0)


def test_the_kinds_of_instruction_take_turns():
    rows = [{"instruction": kind, "question": f"{kind}{i}"} for kind, n in (("a", 3), ("b", 1), ("c", 2)) for i in range(n)]
    assert [found["question"] for found in evenly(rows)] == ["a0", "b0", "c0", "a1", "c1", "a2"]


def test_a_line_that_was_not_written_to_its_end_is_answered_again(tmp_path, monkeypatch):
    path = tmp_path / "responses.jsonl"
    monkeypatch.setattr("data.sandbox.make_sandbox.RESPONSES", path)
    assert answered() == []
    path.write_text('{"question": "a"}\n{"question": "b')
    assert answered() == [{"question": "a"}] == answered() and path.read_text() == '{"question": "a"}\n'
