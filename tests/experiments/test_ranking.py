import numpy as np
import pandas as pd
import pytest

from experiments.rank import overlay, picture_names, table
from experiments.ranking import Run, by_value, conclusion, differing, distinct, on_same_pairs, rank
from preference_study.analysis.statistics import mcnemar, proportion

N = 300


def run(name: str, right: np.ndarray, rate: float, seed: int = 1, final: float = 0.5) -> Run:
    loss = pd.DataFrame({"examples": range(8, 168, 8), "loss": np.linspace(0.7, final, 20)}, index=range(1, 21))
    pairs = [f"pair {i}" for i in range(len(right))]
    params = {"seed": seed, "reward.learning_rate": rate, "reward.epochs": 1}
    return Run(name, params, pd.Series(right, index=pairs), pd.Series(pairs, index=pairs), loss)


def right(share: float, seed: int = 0) -> np.ndarray:
    return (np.random.default_rng(seed).random(N) < share).astype(float)


def test_the_best_is_told_from_the_worst_and_not_from_its_like():
    base = right(0.8)
    alike = base.copy()
    alike[:3] = 0
    runs = [run("worst", right(0.5, 1), 1e-3, final=0.2), run("best", base, 1e-4), run("alike", alike, 3e-4)]
    table = rank(runs)
    assert [names[0] for names in table["names"]] == ["best", "alike", "worst"]
    assert table["apart"].tolist() == [False, False, True]
    assert table["accuracy"][0] == proportion(base.sum(), N)
    # Paired: what is compared is the same pair under both settings.
    assert table["difference"][1] == mcnemar(base, alike)["difference"]
    words = conclusion(table, differing(runs))
    assert words.startswith("Best on validation: reward.learning_rate=0.0001") and f"n = {N} pairs" in words
    assert "cannot be told from: reward.learning_rate=0.0003." in words
    assert "Training loss alone would have chosen reward.learning_rate=0.001" in words and "worse on validation" in words


def test_null_is_a_value_as_others_are():
    runs = [run("all", right(0.5, 1), 1e-3), run("ten", right(0.8), 1e-3), run("two", right(0.7, 2), 1e-3)]
    for one, layers in zip(runs, (None, 10, 2), strict=True):
        one.params["reward.lora_layers"] = layers
    ranking = rank(runs)
    assert ranking["reward.lora_layers"].tolist() == [10, 2, None]
    assert conclusion(ranking, ["reward.lora_layers"]).startswith("Best on validation: reward.lora_layers=10, accuracy")
    assert table(ranking, ["reward.lora_layers"])["reward.lora_layers"].tolist() == ["10", "2", "null"]
    legend = overlay(runs, "reward.lora_layers").axes[0].get_legend().get_texts()
    assert [text.get_text() for text in legend] == ["null, training", "2, training", "10, training"]
    assert sorted([2, None, "a", 0.5, True], key=by_value) == [None, 0.5, True, 2, "a"]


def test_choosing_the_best_is_paid_for():
    # Of settings that are all alike, the best and the worst seen are told apart no oftener than one test may err.
    generator = np.random.default_rng(0)
    wrong = 0
    for _ in range(40):
        runs = [run(str(i), (generator.random(N) < 0.7).astype(float), rate=i) for i in range(6)]
        wrong += rank(runs)["apart"].any()
    assert wrong / 40 <= 0.05


def test_runs_that_differ_by_seed_are_one_setting():
    a, b = right(0.7, 1), right(0.7, 2)
    runs = [run("a1", a, 1e-4, seed=1), run("a2", b, 1e-4, seed=2), run("b1", right(0.6, 3), 1e-3, seed=1)]
    table = rank(runs)
    own = table[table["seeds"] == 2].iloc[0]
    assert own["names"] == ["a1", "a2"] and own["accuracy"]["value"] == pytest.approx((a.mean() + b.mean()) / 2)
    assert own["accuracy"]["n"] == N  # pairs, not pairs times seeds
    assert own["seeds_std"] == pytest.approx(np.std([a.mean(), b.mean()], ddof=1))
    assert differing(runs) == ["reward.learning_rate"]


def test_the_order_of_pairs_does_not_matter_and_their_identity_does():
    first = run("first", right(0.7), 1e-4)
    other_rate, mixed = first.params | {"reward.learning_rate": 1e-3}, first.right.sample(frac=1, random_state=0)
    shuffled = Run("second", other_rate, mixed, first.clusters, first.loss)
    assert rank([first, shuffled])["difference"][1]["value"] == 0
    other = run("other", right(0.7)[:-1], 1e-3)
    with pytest.raises(ValueError, match="different pairs"):
        rank([first, other])


def test_runs_on_other_pairs_than_most_are_left_out():
    """As those of a sweep on part of the validation pairs are ranked, whatever else was run."""
    runs = [run(name, right(0.7)[:n], 1e-4) for name, n in (("whole", N), ("a", 20), ("b", 20), ("other", 30), ("c", 20))]
    kept, others = on_same_pairs(runs)
    assert [one.name for one in kept] == ["a", "b", "c"] and others == ["whole", "other"]
    assert [one.name for one in on_same_pairs(runs[:2])[0]] == ["whole"]
    assert on_same_pairs(runs[1:3]) == (runs[1:3], [])


def test_the_final_loss_is_not_one_noisy_step():
    loss = pd.DataFrame({"loss": [1.0] * 90 + [0.5] * 9 + [0.1]})
    assert Run("x", {}, pd.Series([1.0]), pd.Series(["a"]), loss).final_loss == pytest.approx((0.5 * 9 + 0.1) / 10)


def test_it_says_so_where_training_loss_agrees():
    words = conclusion(rank([run("a", right(0.9), 1e-4, final=0.1), run("b", right(0.5, 2), 1e-3)]), ["reward.learning_rate"])
    assert "Training loss alone would have chosen the same." in words and "better than every other" in words


def test_a_reward_model_trained_twice_is_ranked_once():
    runs = [
        run("a", right(0.7), 1e-4),
        run("same", right(0.7), 1e-4),
        run("seed", right(0.6), 1e-4, seed=2),
        run("b", right(0.5), 1e-3),
    ]
    kept, left_out = distinct(runs)
    assert [one.name for one in kept] == ["a", "seed", "b"] and left_out == {"same": "a"}


def test_each_picture_has_a_file_of_its_own():
    assert picture_names(["reward.learning_rate", "policy.dpo.learning_rate", "reward.epochs"]) == {
        "reward.learning_rate": "sweep_reward_learning_rate.png",
        "policy.dpo.learning_rate": "sweep_policy_dpo_learning_rate.png",
        "reward.epochs": "sweep_epochs.png",
    }
