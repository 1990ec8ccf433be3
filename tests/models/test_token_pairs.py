"""Pairs as tokens in files: the same as in memory, whatever part of them is looked at."""

import numpy as np
import pandas as pd
import pytest

from preference_study.artifacts import write_table
from preference_study.errors import BadInput
from preference_study.models import token_pairs, tokens
from preference_study.models.token_pairs import BothSides, TokenPairs, encode_file, lengths, numbers, some, token_folder
from preference_study.models.tokens import TokenPair, encode_pairs, encode_prompts
from tests.conftest import asked

PAIRS = [TokenPair([1], [2], [3, 4], False), TokenPair([5, 6], [7, 8, 9], [8], True, 2)]


def table(count: int) -> pd.DataFrame:
    """Pairs of which every one is another, with prompts and responses of other lengths."""
    numbers = range(count)
    return pd.DataFrame(
        {
            "prompt": [asked(f"{n} " * (n % 7 + 1)) for n in numbers],
            "chosen": [f"yes {n} " * (n % 3 + 1) for n in numbers],
            "rejected": [f"no {n} " * (n % 5 + 1) for n in numbers],
        }
    )


@pytest.fixture
def file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    table(23).to_parquet("pairs.parquet", row_group_size=6)
    return "pairs.parquet"


def test_pairs_in_memory():
    pairs = TokenPairs.of(PAIRS)
    assert TokenPairs.of(pairs) is pairs and len(pairs) == 2
    assert list(pairs) == [pairs[0], pairs[-1]] == pairs.some([0, 1]) == PAIRS
    assert list(pairs[1:]) == PAIRS[1:] and pairs.some([1, 0, 1]) == [PAIRS[1], PAIRS[0], PAIRS[1]]
    assert pairs.rows[1] == {
        "prompt_ids": [5, 6], "chosen_ids": [7, 8, 9], "rejected_ids": [8], "truncated": True, "turns_dropped": 2,
        "chosen_tokens": 3, "rejected_tokens": 1, "length": 5, "tokens": 8,
    }  # fmt: skip
    assert pairs.column("chosen_tokens").tolist() == [1, 3] and numbers(pairs[1:].rows, "tokens").tolist() == [8]


def test_both_sides_of_pairs_in_order():
    sides, wanted = BothSides(PAIRS), [[1, 2], [1, 3, 4], [5, 6, 7, 8, 9], [5, 6, 8]]
    assert list(sides) == [sides[place] for place in range(4)] == wanted and len(sides) == 4
    assert some(sides, [3, 0]) == [wanted[3], wanted[0]] == some(wanted, [3, 0])
    assert lengths(sides) == [2, 3, 5, 3] == lengths(wanted) and sides.prompts == [1, 1, 2, 2]


@pytest.mark.parametrize("processes", [1, 2])
def test_a_file_is_written_as_its_table_is(file, tokenizer, monkeypatch, processes):
    monkeypatch.setattr(token_pairs, "READ", 4)
    monkeypatch.setattr(token_pairs, "MANY", 20 if processes > 1 else 99)
    monkeypatch.setattr(token_pairs.os, "cpu_count", lambda: processes)
    wanted = encode_pairs(tokenizer, table(23), 40)
    assert len({pair.truncated for pair in wanted}) == 2
    with token_folder("t") as folder:
        pairs = encode_file(tokenizer, file, 40, folder)
        files = list(folder.rglob("*.arrow"))
        assert len(files) == processes and list(pairs) == wanted and pairs.folder == folder / "pairs"
    assert not folder.exists()
    assert pairs.some([22, 3]) == [wanted[22], wanted[3]]  # mapped files outlive their names


def test_some_pairs_of_a_file_and_some_turned_round(file, tokenizer):
    kept, turned = np.arange(23) % 3 > 0, np.arange(15) % 4 == 1
    rows = table(23)[kept]
    rows.loc[turned, ["chosen", "rejected"]] = rows.loc[turned, ["rejected", "chosen"]].to_numpy()
    with token_folder("t") as folder:
        assert list(encode_file(tokenizer, file, 40, folder, kept=kept, turned=turned)) == encode_pairs(tokenizer, rows, 40)


def test_what_a_killed_run_left_is_not_taken(file, tokenizer):
    with pytest.raises(KeyError), token_folder("t") as folder:
        encode_file(tokenizer, file, 40, folder)
        kept = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        raise KeyError
    assert not folder.exists()
    for path, content in kept.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    with token_folder("t") as folder:
        assert max(map(len, BothSides(encode_file(tokenizer, file, 20, folder)))) <= 20


@pytest.mark.parametrize("many", [1, 99])
def test_what_cannot_be_written_is_told_as_of_a_table(tmp_path, monkeypatch, tokenizer, many):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(token_pairs, "MANY", many)
    rows = table(8)
    rows.at[5, "prompt"] = [{"role": "system", "content": "Be brief. " * 20}, *asked("Hi")]
    rows.to_parquet("pairs.parquet", row_group_size=2)
    with pytest.raises(BadInput) as wanted:
        encode_pairs(tokenizer, rows, 60)
    with pytest.raises(BadInput) as told, token_folder("t") as folder:
        encode_file(tokenizer, "pairs.parquet", 60, folder)
    assert str(told.value) == str(wanted.value) and not folder.exists()


def test_all_prompts_that_the_template_refuses_are_named(file, tokenizer, monkeypatch):
    """Not one a run: rows 3, 8 and 23, of which one is not asked for; and of generation prompts likewise."""
    monkeypatch.setattr(token_pairs, "READ", 4)
    refuses = "{% if messages[0]['content'].strip() in ('2 2 2', '7', '22 22') %}{{ raise_exception('no') }}{% endif %}"
    monkeypatch.setattr(tokenizer, "chat_template", refuses + tokenizer.chat_template)
    kept = np.arange(23) != 7
    with (
        token_folder("test") as folder,
        pytest.raises(BadInput, match=r"^pairs\.parquet: row 3, 23: 2 of 22 prompts .*'2 2 2 '.*refuses it \(no\)"),
    ):
        encode_file(tokenizer, file, 1000, folder, kept=kept)
    with pytest.raises(BadInput, match=r"^prompt 3, 8, 23: 3 of 23 prompts"):
        encode_prompts(tokenizer, list(table(23)["prompt"]), None)
    monkeypatch.setattr(tokens, "NAMED", 2)
    with pytest.raises(BadInput, match=r"^prompt 3, 8 and 1 more: 3 of 23"):
        encode_prompts(tokenizer, list(table(23)["prompt"]), None)


def test_a_file_that_is_not_whole(tmp_path, monkeypatch, tokenizer):
    monkeypatch.chdir(tmp_path)
    write_table("data/prepared/train.parquet", table(3))
    with pytest.raises(BadInput, match=r"other\.parquet is not there"), token_folder("t") as folder:
        encode_file(tokenizer, "other.parquet", 60, folder)
