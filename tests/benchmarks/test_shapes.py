"""Benchmarks of every shape, hand-made: what is read of them, what is counted, and what is refused."""

from pathlib import Path

import pytest

from preference_study.benchmarks import SHAPES, read_benchmark
from preference_study.errors import BadInput
from tests.corpus.files import assistant, lines, user

PAIR = {"prompt": "Say yes!", "chosen": "yes", "rejected": "no"}
TALK = {"prompt": [user("Say yes!")], "chosen": [assistant("yes")], "rejected": [assistant("no")]}
REWARDBENCH = PAIR | {"chosen_model": "a", "rejected_model": "b", "subset": "math-prm", "id": 7}
FOUR = {
    "id": "17", "prompt": "2 + 2?", "chosen": ["4"], "rejected": ["5", "6", "7"], "num_correct": 1, "num_incorrect": 3,
    "subset": "Math",
}  # fmt: skip
TIED = FOUR | {"id": "tied:3", "chosen": ["red", "blue"], "rejected": ["dog"], "num_correct": 2, "subset": "Ties"}
REF = TIED | {"id": "ref:3", "prompt": "The colour of grass?", "chosen": ["green"], "num_correct": 1}
STYLES = {
    "id": 1, "prompt": "A fruit?", "chosen": ["apple", "An apple is one.", "**An apple** is one."],
    "rejected": ["car", "A car is one.", "**A car** is one."], "domain": "safety-refuse",
}  # fmt: skip
JUDGED = {
    "pair_id": "x", "source": "mmlu-pro-law", "question": "Why?", "response_model": "m", "response_A": "because",
    "response_B": "so", "label": "B>A",
}  # fmt: skip
AB = ["because", "so"]
BAR = {"input": "Add.", "output_1": "sum", "output_2": "product", "label": 2}


def written(folder: Path, *rows: dict, name: str = "bench.jsonl") -> str:
    (folder / name).write_bytes(lines(*rows))
    return str(folder / name)


@pytest.mark.parametrize(
    ("row", "shape", "responses", "correct", "subset", "section"),
    [
        (REWARDBENCH, "rewardbench", ["yes", "no"], [1, 0], "math-prm", "Reasoning"),
        (FOUR, "rewardbench2", ["4", "5", "6", "7"], [1, 0, 0, 0], "Math", "Math"),
        (TIED, "rewardbench2", ["red", "blue", "dog"], [1, 1, 0], "Ties", "Ties"),
        (STYLES, "rm_bench", [*STYLES["chosen"], *STYLES["rejected"]], [1, 1, 1, 0, 0, 0], "safety-refuse", "safety"),
        (JUDGED, "judgebench", AB, [0, 1], "mmlu-pro-law", "Knowledge"),
        (JUDGED | {"label": "A>B", "source": "livecodebench"}, "judgebench", AB, [1, 0], "livecodebench", "Coding"),
        (BAR, "llmbar", ["sum", "product"], [0, 1], "bench", "bench"),
        (BAR | {"label": "1"}, "llmbar", ["sum", "product"], [1, 0], "bench", "bench"),
        (PAIR | {"subset": "easy"}, "preferences", ["yes", "no"], [1, 0], "easy", "easy"),
        (PAIR, "preferences", ["yes", "no"], [1, 0], "bench", "bench"),
        (PAIR | {"domain": "law"}, "preferences", ["yes", "no"], [1, 0], "bench", "bench"),
        (TALK | {"domain": "law"}, "preferences", ["yes", "no"], [1, 0], "bench", "bench"),
        (FOUR | PAIR, "preferences", ["yes", "no"], [1, 0], "Math", "Math"),
        (
            {"question": "q", "response_1": "x", "response_2": "y", "overall_response": 2, "subset": 5},
            "preferences", ["y", "x"], [1, 0], "5", "5",
        ),
    ],
)  # fmt: skip
def test_a_row_of_each_shape(tmp_path, row, shape, responses, correct, subset, section):
    found, rows, dropped = read_benchmark(written(tmp_path, row))
    only = rows.iloc[0]
    assert (found, len(rows), dropped) == (shape, 1, {})
    assert (only["responses"], only["correct"]) == (responses, [bool(c) for c in correct])
    assert (only["subset"], only["section"], only["id"]) == (subset, section, "bench.jsonl:1")
    asked = next(row[name] for name in ("prompt", "question", "input") if name in row)
    assert only["prompt"] == (asked if isinstance(asked, list) else [user(asked)])


def test_one_list_among_texts_makes_no_other_shape(tmp_path):
    rows = [PAIR | {"domain": "law", "prompt": f"Say {n}!"} for n in range(3)]
    found = read_benchmark(written(tmp_path, *rows, rows[0] | {"chosen": ["yes"]}))
    assert found.shape == "preferences" and found.dropped == {"not_a_conversation": ["bench.jsonl:4"]}


def test_a_folder_of_files_each_a_subset(tmp_path):
    for subset, label in (("Natural", 1), ("Adversarial_GPTOut", 2), ("Manual", 2)):
        written(tmp_path, BAR | {"label": label, "input": f"Do {subset}."}, name=f"{subset}.json")
    (tmp_path / ".gitkeep").touch()
    shape, rows, _ = read_benchmark(str(tmp_path))
    assert shape == "llmbar" and rows["subset"].tolist() == ["Adversarial_GPTOut", "Manual", "Natural"]
    assert rows["section"].tolist() == ["Adversarial", "Adversarial", "Natural"]
    assert rows["id"].tolist() == ["Adversarial_GPTOut.json:1", "Manual.json:1", "Natural.json:1"]
    with pytest.raises(BadInput, match="holds no file"):
        (tmp_path / "empty").mkdir()
        read_benchmark(str(tmp_path / "empty"))
    written(tmp_path, PAIR, name="Other.json")
    with pytest.raises(
        BadInput, match=r"Other\.json: column 'input' is missing, and a benchmark of shape llmbar has input, output_1"
    ):
        read_benchmark(str(tmp_path))


def test_a_domain_by_itself_has_its_files_name(tmp_path):
    """As the repository of RM-Bench has them, without a column for the domain."""
    own = {name: cell for name, cell in STYLES.items() if name != "domain"}
    path = written(tmp_path, own, name="code_filtered.json")
    assert read_benchmark(path, "rm_bench").rows["section"].tolist() == ["code"]


def test_ties_by_themselves_have_their_files_name(tmp_path):
    """Without a column for the subset, or with an empty one."""
    own = [{name: cell for name, cell in row.items() if name != "subset"} for row in (TIED, REF)]
    for rows in (own, [row | {"subset": ""} for row in own]):
        found = read_benchmark(written(tmp_path, *rows, name="Ties.jsonl"), "rewardbench2").rows
        assert found["section"].tolist() == ["Ties", "Ties"] and found["part"].tolist() == ["tied", "ref"]
    with pytest.raises(BadInput, match=r"Math\.jsonl: row 1 has 2 responses in column 'chosen' and is of subset 'Math'"):
        read_benchmark(written(tmp_path, *own, name="Math.jsonl"), "rewardbench2")


def test_what_was_drawn_together(tmp_path):
    """Pairs on one question; and both prompts of a question of Ties."""
    rows = read_benchmark(written(tmp_path, JUDGED, JUDGED | {"response_A": "for"}, JUDGED | {"question": "How?"})).rows
    assert rows["cluster"][0] == rows["cluster"][1] != rows["cluster"][2]
    rows = read_benchmark(written(tmp_path, TIED, REF, REF | {"id": "ref:4"}, FOUR)).rows
    assert rows["cluster"][0] == rows["cluster"][1] != rows["cluster"][2] and rows["part"].tolist()[:3] == ["tied", "ref", "ref"]
    assert rows["cluster"].nunique() == 3


def test_rows_that_cannot_be_used_are_counted_by_reason(tmp_path):
    """Twenty good rows, so that one label out of order is a slip."""
    good = [JUDGED | {"question": f"Why {n}?"} for n in range(20)]
    bad = [
        JUDGED | {"label": "A=B"}, JUDGED | {"label": None}, JUDGED | {"response_B": "because"}, JUDGED | {"response_A": " "},
        JUDGED | {"question": ""}, JUDGED | {"image": "cat.png"}, JUDGED | {"response_B": "so\n[INST]"},
    ]  # fmt: skip
    _, rows, dropped = read_benchmark(written(tmp_path, *good, *bad))
    assert len(rows) == 20 and dropped == {
        "bad_preference": ["bench.jsonl:21", "bench.jsonl:22"],
        "equal_responses": ["bench.jsonl:23"],
        "empty_text": ["bench.jsonl:24", "bench.jsonl:25"],
        "not_text": ["bench.jsonl:26"],
        "turns_in_text": ["bench.jsonl:27"],
    }
    # Two right responses may be equal, a right and a wrong one may not.
    ties = [TIED | {"chosen": ["red", "red"]}, REF | {"rejected": ["dog", "green"]}]
    _, rows, dropped = read_benchmark(written(tmp_path, *ties))
    assert len(rows) == 1 and dropped == {"equal_responses": ["bench.jsonl:2"]}
    coded = [{"question": "?", "response_1": "a", "response_2": "b", "overall_response": n} for n in (1, 3)]
    with pytest.raises(
        BadInput, match=r"holds 1 \(1 rows\), 3 \(1 rows\).* write it with columns prompt, chosen and rejected"
    ) as told:
        read_benchmark(written(tmp_path, *coded), "preferences")
    assert "Say under data" not in str(told.value)
    with pytest.raises(
        BadInput, match=r"read as judgebench, no row can be used; 1 rows: empty_text \(bench.jsonl:1 is the first\)"
    ):
        read_benchmark(written(tmp_path, JUDGED | {"question": ""}))


@pytest.mark.parametrize(
    ("row", "shape", "wanted"),
    [
        (REWARDBENCH | {"subset": "poems"}, None, "row 2 is of subset 'poems', .* rewardbench does not have; .*preferences"),
        (FOUR | {"subset": "Poems"}, None, "row 2 is of subset 'Poems'"),
        (JUDGED | {"source": "arena"}, None, "row 2 is of subset 'arena'"),
        (STYLES | {"domain": "poems"}, None, "row 2 is of subset 'poems'"),
        (STYLES | {"chosen": ["a", "b"]}, None, "row 2, column 'chosen' holds a list of 2, where a list of 3 responses belongs"),
        (STYLES | {"rejected": "text"}, None, "row 2, column 'rejected' holds 'text', where a list of 3"),
        (FOUR | {"rejected": []}, None, r"row 2, column 'rejected' holds '\[\]', where a list of responses belongs"),
        (FOUR | {"num_correct": 2}, None, "row 2 has 1 responses in column 'chosen' and 2 in 'num_correct', .* mend the row$"),
        (FOUR | {"chosen": ["4", "four"], "num_correct": 2}, None, "row 2 has 2 .* subset 'Math', and only Ties has more"),
        (TIED | {"id": "3"}, None, "row 2 of the subset Ties has '3' in column 'id', where ref:<number>"),
        (BAR | {"label": 0}, None, r"column 'label' holds 0 \(1 rows\), where 1 means that 'output_1' is right"),
        ({"a": 1}, None, "columns a are of no known shape of a benchmark .*llmbar: input, output_1"),
        (PAIR, "judgebench", "column 'question' is missing, and a benchmark of shape judgebench has question, response_A"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_with_its_place(tmp_path, row, shape, wanted):
    good = {"rewardbench": REWARDBENCH, "math": FOUR, "source": JUDGED, "domain": STYLES, "input": BAR}
    first = next((own for own in good.values() if set(own) == set(row)), row)
    with pytest.raises(BadInput, match=rf"bench\.jsonl: {wanted}"):
        read_benchmark(written(tmp_path, first, row), shape)


def test_a_shape_that_is_named_is_not_guessed(tmp_path):
    path = written(tmp_path, REWARDBENCH | {"subset": "poems"})
    assert read_benchmark(path, "preferences").rows["section"].tolist() == ["poems"]


def test_every_shape_says_its_rule():
    assert all("tie" in shape.rule.lower() or "share the highest" in shape.rule for shape in SHAPES.values())


@pytest.mark.parametrize("rows", [[TIED, REF, REF], [TIED, TIED | {"chosen": ["red", "grey"]}, REF]])
def test_a_question_of_ties_that_is_there_twice_is_refused_before_anything_is_scored(tmp_path, rows):
    part = "ref" if rows[1] is REF else "tied"
    with pytest.raises(BadInput, match=rf"rows \S+:\d and \S+:\d are both the {part} prompt of Ties 3, of which there is one"):
        read_benchmark(written(tmp_path, *rows, FOUR))
