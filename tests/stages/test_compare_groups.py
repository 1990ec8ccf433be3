"""The stage's wiring: responses joined by id, pairs by the column that the parameter names."""

import pandas as pd
import pytest

import stages.compare_groups
from preference_study.artifacts import read_json, read_rows, write_rows
from tests.conftest import asked
from tests.workspace import change, tiny_params


@pytest.fixture
def folder(tmp_path, monkeypatch):
    tiny_params(tmp_path)
    change(tmp_path, generate={"category": "topic"})
    rows = [
        {
            "id": id,
            "cluster": id,
            "prompt": asked("p"),
            "policy": policy,
            "response": "r",
            "category": category,
            "reward": reward,
            "finished": True,
        }
        for policy, order in (("base", "abc"), ("dpo", "cab"))
        for id, category, reward in [
            (i, {"a": "tea", "b": "tea", "c": None}[i], ord(i) * (1 if policy == "base" else 1.5)) for i in order
        ]
    ]
    write_rows(tmp_path / "data/responses/scored.parquet", rows)
    pairs = [{"cluster": "d", "topic": "tea", "instruction": "x", "chosen_reward": 1.0, "rejected_reward": 2.0}]
    write_rows(tmp_path / "data/scores/pairs.parquet", pairs)
    write_rows(tmp_path / "data/prepared/train.parquet", [{"topic": "tea"}])
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_policies_and_judge_by_the_named_column(folder):
    stages.compare_groups.main()
    found = read_json("metrics/groups.json")
    assert list(found) == ["tea"] and found["tea"]["prompts"] == 2
    assert found["tea"]["policies"]["dpo"]["win_rate"]["value"] == 1 and found["tea"]["judge"]["value"] == 0
    assert found["tea"]["training_pairs"] == 1 and read_json("metrics/transfer.json") == {}
    rows = pd.read_csv("plots/groups/groups.csv")
    assert rows["label"].tolist() == ["tea: base", "tea: DPO"] and rows["value"].tolist() == [0.5, 1.0]
    assert (folder / "plots/groups/groups.png").stat().st_size > 1000


def test_categories_that_no_training_pair_has_are_told_apart(folder):
    path, scored = "data/responses/scored.parquet", read_rows("data/responses/scored.parquet")
    category = pd.Series(["1", "tea", None, None, "1", "tea"], dtype=object)
    write_rows(path, scored.assign(category=category).to_dict("records"))
    pair = {"cluster": "d", "chosen_reward": 1.0, "rejected_reward": 2.0}
    write_rows("data/scores/pairs.parquet", [pair | {"topic": 1.0}])
    train = "data/prepared/train.parquet"
    for topics, new in (([None, 1.0], "tea"), ([" tea ", "milk"], "1")):
        write_rows(train, [{"topic": topic} for topic in topics])
        stages.compare_groups.main()
        found = read_json("metrics/transfer.json")
        assert found["not_in_training"]["categories"] == [new] and found["in_training"]["prompts"] == 1
        assert (found["in_training"]["judge"] is None) == (new == "1")
        assert read_json("metrics/groups.json")[new]["training_pairs"] == 0
        assert read_json("metrics/summary/transfer.json") == {}  # no truth is known
    found["not_in_training"]["policies"]["dpo"]["gold_rate"] = {"value": 0.25}
    assert stages.compare_groups.transfer_row(found, ["dpo"]) == {"dpo": {"gold_rate_not_in_training": 0.25}}
    write_rows(train, [{"prompt": "p"}])
    stages.compare_groups.main()
    assert read_json("metrics/transfer.json") == {} and read_json("metrics/groups.json")["tea"]["training_pairs"] is None


def test_a_category_is_the_same_text_of_prompts_and_pairs(folder, capsys):
    """Whole numbers beside a gap are read as fractions, and texts may have spaces around them."""
    path, scored = "data/responses/scored.parquet", read_rows("data/responses/scored.parquet")
    pair = {"cluster": "d", "chosen_reward": 1.0, "rejected_reward": 2.0}
    for category, cells in (("1", [1, None, 0]), ("math", [" math ", None, "x"]), ("True", [True, None, False])):
        write_rows(path, scored.assign(category=category).to_dict("records"))
        write_rows("data/scores/pairs.parquet", [pair | {"topic": cell} for cell in cells])
        stages.compare_groups.main()
        found = read_json("metrics/groups.json")
        assert list(found) == [category] and found[category]["judge"]["n"] == 1
    assert capsys.readouterr().out == ""
    write_rows("data/scores/pairs.parquet", [pair])
    stages.compare_groups.main()
    assert read_json("metrics/groups.json")[category]["judge"] is None
    assert "the validation pairs have no column 'topic'" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["correct", "cluster"])
def test_a_category_is_no_column_that_a_stage_added_to_the_pairs(folder, capsys, name):
    change(folder, generate={"category": name})
    write_rows("data/scores/pairs.parquet", [{"cluster": "tea", "correct": "tea", "chosen_reward": 1.0, "rejected_reward": 2.0}])
    write_rows("data/prepared/train.parquet", [{"cluster": "tea", "correct": "tea"}])
    stages.compare_groups.main()
    found = read_json("metrics/groups.json")["tea"]
    assert found["judge"] is None and found["training_pairs"] is None and read_json("metrics/transfer.json") == {}
    assert f"the validation pairs have no column {name!r}" in capsys.readouterr().out


def test_a_category_is_no_markup_of_the_plots_page_and_no_formula(folder):
    """DVC writes what the tables hold into its page as it stands; matplotlib takes what stands between "$" for mathematics."""
    path, scored = "data/responses/scored.parquet", read_rows("data/responses/scored.parquet")
    name = r"</script><script>alert(1)</script> $\frac$"
    write_rows(path, scored.assign(category=name).to_dict("records"))
    stages.compare_groups.main()
    assert list(read_json("metrics/groups.json")) == [name]
    rows = pd.read_csv("plots/groups/groups.csv")
    assert set(rows["category"]) == {name.replace("<", "‹")} and rows["label"].str.startswith("‹/script>").all()
    assert "<" not in (folder / "plots/groups/groups.csv").read_text()


def test_instructions_of_ones_own_are_no_categories(folder):
    """Where the instruction is the prompt each would be a group by itself."""
    path, scored = "data/responses/scored.parquet", read_rows("data/responses/scored.parquet")
    change(folder, generate={"category": "instruction"})
    for kind, wanted in (("Name a fruit.", []), ("ends_with_question", ["ends_with_question"])):
        write_rows(path, scored.assign(category=kind, instruction=kind).to_dict("records"))
        stages.compare_groups.main()
        assert list(read_json("metrics/groups.json")) == wanted


def test_without_categories_that_is_said(folder, capsys):
    path = "data/responses/scored.parquet"
    write_rows(path, read_rows(path).drop(columns="category").to_dict("records"))
    stages.compare_groups.main()
    assert read_json("metrics/groups.json") == {}
    assert "the prompts have no column 'topic', which generate.category names" in capsys.readouterr().out
    assert pd.read_csv("plots/groups/groups.csv")["label"].tolist() == ["not measured"]
