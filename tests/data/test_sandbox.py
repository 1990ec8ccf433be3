import pandas as pd
import pytest
import yaml

from data.sandbox.make_sandbox import HERE, candidate_pairs, choose_pairs, split_prompts, whole, without_cut_ends
from preference_study.texts.instructions import INSTRUCTIONS, obeys
from preference_study.texts.words import words
from tests.conftest import ROOT

PARAMS = yaml.safe_load((ROOT / HERE / "params.yaml").read_text())
TOPICS = (ROOT / HERE / "topics.txt").read_text().splitlines()
FILES = {name: pd.read_parquet(ROOT / HERE / f"{name}.parquet") for name in ("train", "val", "prompts")}


def chosen_rejected(table: pd.DataFrame) -> list[tuple[str, str, str]]:
    first = table["overall_response"] == 1
    chosen = table["response_1"].where(first, table["response_2"])
    rejected = table["response_2"].where(first, table["response_1"])
    return list(zip(table["instruction"], chosen, rejected, strict=True))


def topic_of(question: str) -> str:
    return max((topic for topic in TOPICS if f" {topic}" in question), key=len)


@pytest.mark.parametrize("split", ["train", "val"])
def test_the_preferred_response_obeys_and_the_other_does_not(split):
    table = FILES[split]
    assert len(table) == PARAMS["pairs"][split]
    for kind, chosen, rejected in chosen_rejected(table):
        assert obeys(kind, chosen) and not obeys(kind, rejected)
    assert 0.4 < (table["overall_response"] == 1).mean() < 0.6


@pytest.mark.parametrize("split", ["train", "val"])
def test_the_longer_response_wins_as_often_as_stated(split):
    longer = [len(words(chosen)) > len(words(rejected)) for _, chosen, rejected in chosen_rejected(FILES[split])]
    assert sum(longer) / len(longer) == pytest.approx(
        PARAMS["longer_wins"][split], abs=0.003
    )  # the count of a word has changed a little since


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
    assert set(FILES["train"]["instruction"]) == set(FILES["prompts"]["instruction"]) == set(INSTRUCTIONS)
    assert len(FILES["prompts"]) == FILES["prompts"]["question"].nunique() == PARAMS["generation_prompts"]
    assert sum(file.stat().st_size for file in (ROOT / HERE).iterdir() if file.is_file()) < 2_000_000


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
    ],
)
def test_what_was_cut_off_ends_with_a_whole_sentence_or_line(cut, left):
    assert whole(cut) == left


def test_only_responses_at_the_limit_are_shortened():
    rows = [{"question": "q", "responses": ["One. Two and", "One. Two and"]}]
    assert without_cut_ends(rows, [[54, 55]], 56)[0]["responses"] == ["One. Two and", "One."]


ROW = {"question": "q", "instruction": "ends_with_question"}


def test_candidates_are_all_pairs_of_unlike_responses():
    pairs = candidate_pairs([ROW | {"responses": ["a b?", "c", "c", "d e.", ""]}])
    assert set(zip(pairs["chosen"], pairs["rejected"], pairs["longer"], strict=True)) == {("a b?", "c", True)}


def test_pairs_are_chosen_by_length_and_prompt():
    rows = [ROW | {"question": f"q{i}", "responses": ["a?", "b c", "d e f", "g h i j?"]} for i in range(40)]
    pairs = choose_pairs(candidate_pairs(rows), 20, 0.6, 1, seed=0)
    assert pairs["question"].is_unique and len(pairs) == 20
    longer = [len(words(chosen)) > len(words(rejected)) for _, chosen, rejected in chosen_rejected(pairs)]
    assert sum(longer) == 12
    assert choose_pairs(candidate_pairs(rows), 60, 0.5, 2, seed=0)["question"].value_counts().max() == 2
    with pytest.raises(ValueError, match=r"longer=.*: answer more prompts"):
        choose_pairs(candidate_pairs(rows), 60, 0.5, 1, seed=0)
