"""The stage's wiring: what was logged in training, with the examples seen by then."""

import pandas as pd
import pytest

import stages.compare_variants
from preference_study.artifacts import read_json, write_json, write_table
from tests.workspace import change, tiny_params

pytestmark = pytest.mark.usefixtures("few_resamples")

LOGGED = {
    "loss": [(1, 0.7), (2, 0.6), (3, 0.4)],
    "examples": [(1, 2), (2, 4), (3, 6)],
    "validation_loss": [(0, 0.65), (3, 0.55)],
    "validation_examples": [(0, 0), (3, 6)],
}


def test_losses_in_training_are_written_and_drawn(tmp_path, monkeypatch):
    tiny_params(tmp_path)
    change(tmp_path, reward={"variants": ["standard"]}, stress={"variants": []})
    for name, rows in LOGGED.items():
        path = tmp_path / f"plots/train_reward/standard/plots/metrics/{name}.tsv"
        path.parent.mkdir(parents=True, exist_ok=True)
        pd.DataFrame(rows, columns=["step", name]).to_csv(path, sep="\t", index=False)
    pairs = pd.DataFrame({"id": list("ab"), "prompt": [[]] * 2, "cluster": list("ab"), "chosen_words": 3, "rejected_words": 4})
    write_table(tmp_path / "data/prepared/val.parquet", pairs)
    untrained = [{"chosen_reward": 1.0, "rejected_reward": 0.0}, {"chosen_reward": 0.0, "rejected_reward": 1.0}]
    write_json(tmp_path / "data/scores/training/standard.json", {"untrained": untrained})
    monkeypatch.chdir(tmp_path)
    pictures = {}
    monkeypatch.setattr(stages.compare_variants, "write_png", lambda path, figure: pictures.update({path.stem: figure}))
    stages.compare_variants.main()
    for name, rows in {"training": [(2, 0.7), (4, 0.6), (6, 0.4)], "validation": [(0, 0.65), (6, 0.55)]}.items():
        found = pd.read_csv(f"plots/variants/{name}_loss.csv")
        assert list(found[["group", "examples", "loss"]].itertuples(index=False, name=None)) == [
            ("standard", *row) for row in rows
        ]
    assert set(pictures) == {"training"} and read_json("metrics/variants.json") == {}
    drawn = {axes.get_title(): list(axes.lines[0].get_ydata()) for axes in pictures["training"].axes if axes.axison}
    assert drawn == {"training loss (nats a pair)": [0.7, 0.6, 0.4], "validation loss (nats a pair)": [0.65, 0.55]}
    assert read_json("metrics/reward_training.json")["standard"]["untrained_accuracy"]["value"] == 0.5
