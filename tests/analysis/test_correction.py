import numpy as np
import pytest
from scipy import stats

from preference_study.analysis.correction import corrected, prediction_powered, rogan_gladen, tuned_weight
from preference_study.analysis.judges import labelled, with_labels
from preference_study.analysis.statistics import share

NAN = float("nan")
# Six cases with a label, of which the judge has three of the four wins and one of the two losses; five without, three taken.
JUDGED = np.array([1, 1, 1, 0, 1, 0, 1, 1, 1, 0, 0.0])
LABELS = np.array([1, 1, 1, 1, 0, 0, NAN, NAN, NAN, NAN, NAN])


def test_rogan_gladen_by_hand():
    """p = 3/5, s = 3/4, f = 1/2: (3/5 - 1/2) / (3/4 - 1/2) = 2/5; of so few nothing is shown."""
    assert rogan_gladen(JUDGED, LABELS) == {"value": None, "low": None, "high": None, "n": 11, "clusters": 11}
    found = rogan_gladen(np.tile(JUDGED, 100), np.tile(LABELS, 100), np.arange(1100) // 11)
    assert found["value"] == pytest.approx(0.4) and (found["n"], found["clusters"]) == (1100, 100)


def test_prediction_powered_by_hand():
    """3/5, and the mean of label minus judge: (0 + 0 + 0 + 1 - 1 + 0) / 6 = 0."""
    found = prediction_powered(JUDGED, LABELS)
    rectifier, others = np.array([0, 0, 0, 1, -1, 0]), JUDGED[6:]
    error = np.sqrt(rectifier.var(ddof=1) / 6 + others.var(ddof=1) / 5)
    assert found["value"] == pytest.approx(0.6)
    half = error * stats.t.ppf(0.975, 4)
    assert found["low"] == pytest.approx(max(0, 0.6 - half)) and found["high"] == pytest.approx(min(1, 0.6 + half))
    more = prediction_powered(JUDGED, np.where(np.arange(11) == 4, 1.0, LABELS))
    assert more["value"] == pytest.approx(0.6 + 1 / 6)


def test_fiellers_interval_is_what_is_not_contradicted():
    """Its ends solve |p - f - x (s - f)| = t times the error there, each error from its own rows."""
    rng = np.random.default_rng(0)
    truth = (rng.random(600) < 0.6).astype(float)
    judged = np.where(rng.random(600) < np.where(truth == 1, 0.85, 0.3), 1.0, 0.0)
    labels = np.where(np.arange(600) < 200, truth, NAN)
    found = rogan_gladen(judged, labels)
    known, t = np.isfinite(labels), stats.t.ppf(0.975, 199)
    wins, losses = (judged[known & (truth == value)] for value in (1, 0))
    s, f, p = wins.mean(), losses.mean(), judged[~known].mean()
    assert found["value"] == pytest.approx((p - f) / (s - f))
    of = lambda x, n: x.var() / n  # noqa: E731
    for end in (found["low"], found["high"]):
        variance = judged[~known].var(ddof=1) / 400
        variance += 200 / 199 * (end**2 * of(wins, len(wins)) + (1 - end) ** 2 * of(losses, len(losses)))
        assert abs(p - f - end * (s - f)) == pytest.approx(t * np.sqrt(variance))
    assert found["low"] < found["value"] < found["high"]


def test_a_judge_that_cannot_tell_corrects_nothing_by_its_errors():
    judged = np.tile([1.0, 0.0], 50)
    labels = np.where(np.arange(100) < 40, np.tile([1.0, 1.0, 0.0, 0.0], 25), NAN)
    labels[0] = 0.0  # nine of 19 wins are taken for such, and eleven of 21 losses
    found = corrected(judged, labels)
    assert found["prediction_powered"]["high"] < 1.0 and found["rogan_gladen"]["value"] is None
    same = rogan_gladen(np.ones(20), np.where(np.arange(20) < 10, np.arange(20) % 2, NAN))
    assert same["value"] is None
    one_kind = rogan_gladen(judged, np.where(np.arange(100) < 40, 1.0, NAN))
    assert (one_kind["value"], one_kind["low"], one_kind["n"]) == (None, None, 100)


@pytest.mark.parametrize("rows", [1, 3])
def test_corrected_rates_cover_the_truth_and_the_uncorrected_does_not(rows):
    """300 cases a sample, in clusters of so many; 100 labels; of truth a fifth are ties; the judge errs more for the policy."""
    names = ("rogan_gladen", "prediction_powered", "power_tuned", "labels_alone", "uncorrected")
    held, width, runs, truth = dict.fromkeys(names, 0), dict.fromkeys(names, 0.0), 600, 0.4 + 0.2 / 2
    for run in range(runs):
        rng = np.random.default_rng(run)
        units = 300 // rows
        clusters = np.repeat(np.arange(units), rows)
        # Alike in a cluster: one draw serves it all with probability one half.
        together = np.repeat(rng.random(units) < 0.5, rows)

        def drawn(alike=together, units=units, rng=rng):
            return np.where(alike, np.repeat(rng.random(units), rows), rng.random(300))

        place = drawn()
        labels = np.where(place < 0.4, 1.0, np.where(place < 0.6, 0.5, 0.0))
        chance = np.select([labels == 1, labels == 0.5], [0.85, 0.65], 0.35)
        judged = (drawn() < chance).astype(float)
        seen = labelled(clusters, seed=run)
        assert seen.sum() in (99, 100)
        found = with_labels(judged, np.where(seen, labels, NAN), clusters)
        for name in names:
            low, high = (0.0, 1.0) if found[name]["low"] is None else (found[name]["low"], found[name]["high"])
            held[name], width[name] = held[name] + (low <= truth <= high), width[name] + high - low
        assert found["labels"] == seen.sum() and found["uncorrected"] == share(judged, clusters)
    assert 0.93 <= held["prediction_powered"] / runs <= 0.97
    assert 0.93 <= held["rogan_gladen"] / runs <= 0.975
    assert 0.93 <= held["power_tuned"] / runs <= 0.97 and width["power_tuned"] < width["labels_alone"]
    assert 0.93 <= held["labels_alone"] / runs <= 0.975
    assert held["uncorrected"] / runs < 0.4


def test_labels_by_people():
    """Of all cases, or of none, there is nothing to correct; labels_alone is of those that are known."""
    clusters = np.array(list("aabbccddeef"))
    found = with_labels(JUDGED, LABELS, clusters)
    assert found["labels"] == 6 and found["labels_alone"]["value"] == 4 / 6 and found["labels_alone"]["clusters"] == 3
    assert found["prediction_powered"]["clusters"] == 6
    for labels in (np.full(11, NAN), np.ones(11)):
        found = with_labels(JUDGED, labels, clusters)
        assert found["rogan_gladen"] is found["prediction_powered"] is found["power_tuned"] is None
    assert found["labels_alone"]["value"] == 1.0


def test_labelled_prompts_are_whole_clusters():
    clusters = np.repeat(np.arange(90), 3)
    seen = labelled(clusters, seed=1)
    assert seen.sum() == 99 and set(clusters[seen]).isdisjoint(clusters[~seen])
    assert (seen != labelled(clusters, seed=2)).any()
    assert labelled(np.arange(30), seed=1).sum() == 15


def test_every_cluster_is_as_likely_to_be_labelled_however_large():
    """One of 200 and a hundred of one: a budget of a hundred cases is that of 33 clusters, the large one among them a third."""
    clusters = np.array(["large"] * 200 + [f"c{i}" for i in range(100)])
    drawn = [labelled(clusters, seed) for seed in range(300)]
    assert {len(set(clusters[seen])) for seen in drawn} == {100 * 101 // 300}
    assert 0.24 < np.mean([seen[0] for seen in drawn]) < 0.42
    assert not labelled(np.repeat(["a", "b", "c"], 50), seed=1).any()  # a single one would tell nothing


def test_labels_that_all_agree_with_the_judge_do_not_show_that_it_never_errs():
    """Two labels, both as the judge says: it may err in others by the rule of three, a variance of 3 / 2^2."""
    judged, labels = np.array([1, 1, 1, 0, 1, 0.0]), np.array([1, 1, NAN, NAN, NAN, NAN])
    found = corrected(judged, labels)
    assert (found["power_tuned"]["low"], found["power_tuned"]["high"]) == (0.0, 1.0)
    many = prediction_powered(np.tile([1.0, 0.0], 100), np.where(np.arange(200) < 100, np.tile([1.0, 0.0], 100), NAN))
    error = np.sqrt(0.25 * 100 / 99 / 100 + 3 / 100**2)
    assert many["high"] - many["value"] == pytest.approx(error * stats.t.ppf(0.975, 99))


@pytest.mark.parametrize(("labels", "hits"), [(10, 0.8), (20, 0.85)])
def test_a_judge_without_false_alarms_among_few_labels_may_have_some(labels, hits):
    """Each interval holds the truth in 93% and more of 200 draws."""
    held = dict.fromkeys(("rogan_gladen", "prediction_powered", "power_tuned"), 0)
    for draw in range(200):
        rng = np.random.default_rng(draw)
        truth = rng.random(300) < 0.5
        judged = truth & (rng.random(300) < hits)
        found = corrected(judged.astype(float), np.where(np.arange(300) < labels, truth, NAN))
        for name in held:
            one = found[name]
            held[name] += one["low"] is None or one["low"] <= 0.5 <= one["high"]
    assert min(held.values()) >= 186


def test_the_weight_of_a_judge_by_hand():
    """Six labels and five others: covariance 1/15 over the variance of all eleven judgements, over 1 + 6/5."""
    assert np.cov(LABELS[:6], JUDGED[:6])[0, 1] == pytest.approx(1 / 15)
    variance = JUDGED.var(ddof=1)
    assert tuned_weight(JUDGED, LABELS) == pytest.approx(1 / 15 / variance / (1 + 6 / 5))
    assert tuned_weight(1 - JUDGED, LABELS) == 0.0 and tuned_weight(np.ones(11), LABELS) == 0.0
    alone = prediction_powered(JUDGED, LABELS, weight=0.0)
    assert alone["value"] == pytest.approx(4 / 6)
    half = prediction_powered(JUDGED, LABELS, weight=0.5)
    assert half["value"] == pytest.approx(0.5 * 0.6 + np.mean(LABELS[:6] - 0.5 * JUDGED[:6]))
