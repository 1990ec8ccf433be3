"""The stage's wiring: which column feeds which file, and which texts are told apart from which."""

import numpy as np
import pandas as pd
import pytest

import stages.analyse_reward
from preference_study.analysis.baselines import tfidf_margins
from preference_study.analysis.judge import right_to_judge
from preference_study.analysis.reward import reward_metrics, reward_row
from preference_study.analysis.statistics import mean
from preference_study.artifacts import read_json, write_array, write_rows, write_table
from preference_study.report import figures
from preference_study.texts import keywords
from preference_study.texts.keywords import keyword_table, log_odds, top_differences
from preference_study.texts.readability import reading_grades
from tests.conftest import asked
from tests.workspace import tiny_params

pytestmark = pytest.mark.usefixtures("few_resamples")

PLOTS = stages.analyse_reward.PLOTS
EASY = "The cat sat on the mat while it rained. Then we all went home to have hot tea and cake with {}."
HARD = "A considerable number of philosophical investigations were extraordinarily complicated, especially concerning {}."
# Pair by pair: the reward model is right, right, wrong, undecided, right. What it favours speaks of cats, the other of dogs.
SCORED = pd.DataFrame(
    {
        "id": list("abcde"),
        "cluster": list("pqpqr"),
        "prompt": [asked(f"question {i}") for i in range(5)],
        "chosen": [EASY.format("cats"), "cats cats", HARD.format("dogs"), "one", HARD.format("small cats")],
        "rejected": [HARD.format("old dogs"), EASY.format("dogs"), EASY.format("big cats"), "two", EASY.format("dogs, dogs")],
        "chosen_words": [22, 2, 12, 1, 13],
        "rejected_words": [13, 22, 23, 1, 24],
        "chosen_reward": [2.0, 1.5, -0.5, 0.7, 3.0],
        "rejected_reward": [1.0, -1.0, 0.25, 0.7, 0.5],
    }
)
# By hand: the favoured and the other text of the pairs that are no tie.
FAVOURED = [*SCORED["chosen"].iloc[:2], SCORED["rejected"][2], SCORED["chosen"][4]]
OTHER = [*SCORED["rejected"].iloc[:2], SCORED["chosen"][2], SCORED["rejected"][4]]
FAVOURED_WORDS, OTHER_WORDS = [22, 2, 23, 13], [13, 22, 12, 24]
TRAIN = pd.DataFrame(
    {
        "cluster": ["one", "two", "two"],
        "chosen": ["good cats", "good tea", "cats tea"],
        "rejected": ["bad dogs", "bad sand", "dogs sand"],
    }
)
# In training more of the first feature is preferred; on validation that is right, wrong, right, wrong, wrong.
FEATURES = {
    "train": np.array([[[2.0, 3.0], [1.0, 3.0]], [[0.0, 5.0], [-3.0, 5.0]], [[9.0, 1.0], [7.0, 1.0]]]),
    "val": np.array([[[one, 4.0], [0.5, 8.0]] for one in (1.0, 0.25, 0.75, 0.0, -2.0)]),
}


@pytest.fixture
def drawn(tmp_path, monkeypatch) -> dict[str, str]:
    """Run the stage; which pictures it wrote, by the name of their file without ending."""
    tiny_params(tmp_path)
    monkeypatch.chdir(tmp_path)
    write_rows("data/scores/pairs.parquet", SCORED.to_dict("records"))
    write_table("data/prepared/train.parquet", TRAIN)
    write_table("data/prepared/val.parquet", SCORED[["chosen", "rejected"]])
    for split, features in FEATURES.items():
        write_array(f"data/features/{split}.npy", features)
    pictures = {}
    monkeypatch.setattr(stages.analyse_reward, "write_png", lambda path, figure: pictures.update({path.stem: figure}))
    stages.analyse_reward.main()
    return pictures


def test_the_metrics_of_correctness_and_their_row(drawn):
    seed = 1
    probe = np.array([0.5, -0.25, 0.25, -0.5, -2.5])  # any weight above 0 gives the same accuracy
    baselines = {"tfidf": tfidf_margins(TRAIN, SCORED, seed), "probe": probe}
    wanted = reward_metrics(SCORED, baselines, seed) | {"right_to_judge": right_to_judge(SCORED, baselines)}
    assert read_json("metrics/reward.json") == wanted
    assert read_json("metrics/summary/reward.json") == reward_row(wanted)
    assert wanted["baselines"]["tfidf"]["value"] == 0.7  # the third pair is the wrong way about, the fourth a tie
    assert wanted["baselines"]["probe"]["value"] == 0.4


def test_the_probe_keeps_pairs_of_one_cluster_together(drawn, monkeypatch):
    asked_for = []
    monkeypatch.setattr(
        stages.analyse_reward, "linear_probe", lambda *told: asked_for.append(told) or (np.array([1.0, 10.0]), 0.1)
    )
    found = stages.analyse_reward.probe_margins(TRAIN["cluster"])
    assert found.tolist() == [0.5 - 40, -0.25 - 40, 0.25 - 40, -0.5 - 40, -2.5 - 40]
    [(features, clusters)] = asked_for
    assert np.array_equal(features, FEATURES["train"]) and clusters == ["one", "two", "two"]


def test_grades_and_words_are_of_their_own_side(drawn):
    found = read_json("metrics/reward_analysis.json")
    (favoured, _), (other, _) = reading_grades(FAVOURED), reading_grades(OTHER)
    readability = found["readability"]
    assert readability["favoured"] == mean(favoured[np.isfinite(favoured)], list("ppr")) and readability["favoured"]["n"] == 3
    assert readability["other"] == mean(other, list("pqpr"))
    assert readability["difference"] == mean((favoured - other)[np.isfinite(favoured)], list("ppr"))
    assert readability["left_out"] == {"empty": 0, "code": 0, "not English": 0, "too short": 1}
    length = found["length"]
    assert (length["favoured_words"], length["other_words"]) == (
        mean(FAVOURED_WORDS, list("pqpr")),
        mean(OTHER_WORDS, list("pqpr")),
    )
    assert (found["n"], found["clusters"]) == (5, 3)


def test_each_plot_is_of_its_own_columns(drawn):
    (favoured, _), (other, _) = reading_grades(FAVOURED), reading_grades(OTHER)
    wanted = {
        "score": {"correct": [2.0, 1.5, 3.0], "wrong": [0.25]},  # a tie is neither
        "reward": {"chosen": [2.0, 1.5, -0.5, 0.7, 3.0], "rejected": [1.0, -1.0, 0.25, 0.7, 0.5]},
        "margin": {"margin": [1.0, 2.5, -0.75, 0.0, 2.5]},
        "words": {"favoured": FAVOURED_WORDS, "other": OTHER_WORDS},
        "reading_grade": {"favoured": favoured, "other": other},
    }
    for name, groups in wanted.items():
        bins, points = (pd.read_csv(PLOTS / f"{name}_{kind}.csv") for kind in ("histogram", "kde"))
        pd.testing.assert_frame_equal(bins, figures.histogram_rows(groups), check_dtype=False)
        pd.testing.assert_frame_equal(points, figures.kde_rows(groups), check_dtype=False)
    assert set(drawn) == {*(f"{name}_{kind}" for name in wanted for kind in ("histogram", "kde")), "reliability"}


def test_titles_labels_and_units_of_the_pictures(drawn):
    words = drawn["words_histogram"].axes[0]
    assert "Length of responses" in words.get_title() and words.get_xlabel() == "words"
    assert words.get_ylabel() == "share of each group's pairs"
    assert drawn["score_histogram"].axes[0].get_ylabel() == "number of pairs"
    for kind in ("histogram", "kde"):
        for name, label in (("score", "reward"), ("reward", "reward"), ("margin", "reward"), ("reading_grade", "grade")):
            assert drawn[f"{name}_{kind}"].axes[0].get_xlabel().startswith(label)


def test_the_reliability_rows_are_the_bins_of_the_metrics(drawn):
    bins = read_json("metrics/reward_analysis.json")["calibration"]["bins"]
    rows = pd.read_csv(PLOTS / "reliability.csv").to_dict("records")
    assert rows == [{"predicted": b["predicted"], **b["observed"]} for b in bins] and len(rows) > 1
    assert "n = 5" in drawn["reliability"].axes[0].get_title()


def test_keywords_are_of_what_is_favoured_of_the_other_and_of_the_training_set(drawn):
    training = [*TRAIN["chosen"], *TRAIN["rejected"]]
    wanted = keyword_table({"favoured": FAVOURED, "other": OTHER, "training set": training})
    pd.testing.assert_frame_equal(pd.read_csv(PLOTS / "keywords.csv"), wanted, check_dtype=False)
    found = read_json("metrics/reward_analysis.json")["keywords"]
    lists = {group: rows["word"].tolist() for group, rows in wanted.groupby("group")}
    assert found["favoured"] == lists["favoured"] and found["training"] == lists["training set"]
    assert found["shared"] == [word for word in lists["favoured"] if word in lists["training set"]]
    assert "cats" in found["shared"] and "hot" not in found["shared"]
    differences = pd.read_csv(PLOTS / "log_odds.csv")
    assert differences["word"].iloc[0] == "cats" and differences["word"].iloc[-1] == "dogs"  # the favoured come first
    wanted = top_differences(log_odds(FAVOURED, OTHER, training), stages.analyse_reward.MOST_DIFFERENT)
    pd.testing.assert_frame_equal(
        differences, wanted.assign(comparison="favoured against other").reset_index(drop=True), check_dtype=False
    )


def test_the_words_of_a_large_training_set_are_of_some_pairs_of_it(drawn, monkeypatch):
    for most, wanted in ((2, {"cats", "tea", "good", "bad", "dogs", "sand"}), (1, {"cats", "good", "bad", "dogs"})):
        monkeypatch.setattr(keywords, "MOST_PAIRS", most)
        stages.analyse_reward.main()
        assert set(read_json("metrics/reward_analysis.json")["keywords"]["training"]) == wanted
