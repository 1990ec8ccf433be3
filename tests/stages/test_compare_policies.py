"""The stage's wiring: rows joined by id and not by place, each policy's own files, the few numbers of a row."""

import re
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

import stages.compare_policies
from preference_study.analysis.policies import compare_policies
from preference_study.analysis.price import correct_prices, policy_price, prices_in_words
from preference_study.artifacts import read_json, read_rows, write_json, write_rows, write_table
from preference_study.data.pairs import pair_id
from preference_study.data.prompts import choose_prompts
from preference_study.methods import named
from preference_study.report import figures
from preference_study.texts import keywords
from preference_study.texts.keywords import keyword_table, log_odds, top_differences
from preference_study.texts.measures import measured
from stages.compare_policies import in_training, measured_responses, policies_row, write_keywords
from tests.conftest import asked
from tests.workspace import change, tiny_params

pytestmark = pytest.mark.usefixtures("few_resamples")

METHODS, READ = ["dpo", "simpo"], ["DPO", "SimPO"]
SMALLEST, RIGHT = {"win_rate": 0.2, "gold_rate": 0.3}, {"holds": False, "reasons": ["it is a coin"]}
VAL = pd.DataFrame({"id": [str(i) for i in range(8)], "cluster": list("pqrspqpp")})


@pytest.fixture
def folder(tmp_path, monkeypatch):
    tiny_params(tmp_path)
    change(tmp_path, policy={"methods": METHODS}, verdict={"smallest_difference": SMALLEST})
    write_json(tmp_path / "metrics/reward.json", {"right_to_judge": RIGHT})
    rng = np.random.default_rng(1)
    rows = [
        {
            "id": str(i), "cluster": str(i // 2), "prompt": asked(f"prompt {i}"), "policy": policy,
            "response": " ".join(["word"] * int(rng.integers(3, 30))) + ".",
            "tokens": 9, "finished": bool(rng.random() < 0.5), "reward": float(rng.normal()),
            "prompt_truncated": bool(i < {"base": 3, "dpo": 4, "simpo": 5}[policy]),
            "truncated": bool(i < {"base": 0, "dpo": 1, "simpo": 2}[policy]),
        }
        for policy in ("base", *METHODS)
        for i in rng.permutation(12)
    ]  # fmt: skip
    write_rows(tmp_path / "data/responses/scored.parquet", rows)
    for policy in ("base", *METHODS):
        logps = [
            {
                "id": str(i), "chosen_logp": float(rng.normal(-9)), "rejected_logp": float(rng.normal(-9)),
                "chosen_tokens": 5 + int(i), "rejected_tokens": 20 - int(i),
            }
            for i in rng.permutation(8)
        ]  # fmt: skip
        write_json(tmp_path / f"data/logps/{policy}/val.json", logps)
    for place, method in enumerate(METHODS):
        kl = [{"policy_logps": [-1.0, -1.5], "base_logps": [-1.0, -2.0 - place]}, {"policy_logps": [-1.0], "base_logps": [-2.0]}]
        kl = [row | {"cluster": number} for number, row in enumerate(kl)]
        write_json(tmp_path / f"data/kl/{method}.json", kl)
    for method, beta in (("dpo", 0.3), ("simpo", None)):
        write_json(tmp_path / f"metrics/train_policy/{method}.json", {"implicit_beta": beta})
    train = {"prompt": [asked("another")], "chosen": ["good words here"], "rejected": ["bad words"]}
    write_table(tmp_path / "data/prepared/train.parquet", pd.DataFrame(train))
    write_table(tmp_path / "data/prepared/val.parquet", VAL.sample(frac=1, random_state=1))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def prices_of(price: dict) -> list:
    """What does not hang on the order of rows, as a bootstrap does."""
    sides = [price["logps"][side] for side in ("chosen", "rejected")]
    values = [side[name]["value"] for side in sides for name in ("nats_per_response", "nats_per_token", "fell")]
    values += [row[name]["value"] for row in price["form"] for name in ("base", "policy", "change")]
    return [round(value, 9) for value in values] + [side["p_holm"] for side in sides] + [row["p_holm"] for row in price["form"]]


def test_policies_are_compared_on_the_same_prompts_and_pairs_whatever_their_order(folder, monkeypatch):
    priced, add = [], stages.compare_policies.add_to_verdict
    monkeypatch.setattr(stages.compare_policies, "add_to_verdict", lambda *given: priced.append(given[2]) or add(*given))
    stages.compare_policies.main()
    assert priced == ["DPO", "SimPO"]
    rows = read_rows("data/responses/scored.parquet").sort_values("id")
    responses = {policy: measured(rows[rows["policy"] == policy].set_index("id"))[0] for policy in ("base", *METHODS)}
    logps = {
        policy: pd.DataFrame(read_json(f"data/logps/{policy}/val.json")).set_index("id").sort_index().join(VAL.set_index("id"))
        for policy in responses
    }
    kl = {method: read_json(f"data/kl/{method}.json") for method in METHODS}
    prices = {m: policy_price(responses["base"], responses[m], logps["base"], logps[m], kl[m], seed=1) for m in METHODS}
    correct_prices(prices)
    wanted = compare_policies(responses, logps, {"dpo": 0.3, "simpo": None}, 1, SMALLEST, RIGHT)
    found = read_json("metrics/policies.json")
    for policy in responses:
        for measure in (
            "reward_mean",
            "words_mean",
            "finished",
            "implicit_accuracy",
            "likelihood_accuracy",
            "implicit_reward_mean",
        ):
            assert found[policy][measure] == pytest.approx(wanted[policy][measure]), (policy, measure)
    for method in METHODS:
        for measure in ("wins", "losses", "win_rate", "reward_difference", "words_difference"):
            assert found[method]["against_base"][measure] == pytest.approx(wanted[method]["against_base"][measure])
    told = [[prices_of(found[method]["price"]), prices_of(prices[method])] for method in METHODS]
    assert told[0][0] == told[0][1] != told[1][0] == told[1][1]
    assert all(found[m]["against_base"]["verdict"]["price"] == prices_in_words(found[m]["price"]) for m in METHODS)
    assert [found[method]["price"]["kl"] for method in METHODS] == [prices[method]["kl"] for method in METHODS]
    assert prices["dpo"]["kl"] != prices["simpo"]["kl"]
    assert [found["dpo"][name]["clusters"] for name in ("words_mean", "implicit_accuracy")] == [6, 4]
    for method in METHODS:
        verdict = found[method]["against_base"]["verdict"]
        assert verdict["reward"] == "withheld" and "it is a coin" in verdict["sentence"]
        assert verdict["seen"]["reward"]["smallest"] == 0.2
        plain = wanted[method]["against_base"]["verdict"]
        sentences = [re.sub(r"p = [0-9.]+", "p", sentence) for sentence in (verdict["sentence"], plain["sentence"])]
        assert sentences[0].startswith(sentences[1])  # p hangs on the order of rows, as drawn; the price comes after
        assert verdict == plain | {"sentence": verdict["sentence"], "price": verdict["price"]}
    assert found["simpo"]["implicit_reward_mean"] is None
    assert [found[policy]["prompts_truncated"] for policy in ("base", *METHODS)] == [3, 4, 5]
    assert [found[policy]["truncated_for_reward"] for policy in ("base", *METHODS)] == [0, 1, 2]
    assert found["base"]["reading_grade_left_out"].keys() == {"empty", "code", "not English", "too short"}
    assert read_json("metrics/summary/policies.json") == policies_row(found, METHODS)
    texts = {policy: table["response"].tolist() for policy, table in zip(["base", *READ], responses.values(), strict=True)}
    words = keyword_table(texts | {"training set": ["good words here", "bad words"]})
    pd.testing.assert_frame_equal(plotted("keywords"), words, check_dtype=False)


def test_the_few_numbers_of_a_row_are_those():
    one = {"value": 0.1, "low": 0.0, "high": 0.2}
    against = {"win_rate": one, "win_rate_length_controlled": one | {"value": 0.2}, "words_difference": one | {"value": 0.3}}
    against["win_rate_style_controlled"] = one | {"value": 0.6}
    truth = {"gold_rate": one | {"value": 0.4}, "letter_rate": one | {"value": 0.5}}
    verdict = {"verdict": {"reward": "withheld", "gold": "better", "sentence": "...", "price": ["it loops", "it refuses"]}}
    form = {"finished": one | {"value": 0.7}, "refusals": one | {"value": 0.8}}
    price = {"price": {"form": [{"outcome": "echoes", "policy": one}, {"outcome": "loops", "policy": one | {"value": 0.9}}]}}
    metrics = {"dpo": truth | form | price | {"words_mean": one | {"value": 9.0}, "against_base": against | verdict}}
    assert policies_row(metrics, ["dpo"]) == {
        "dpo": {
            "win_rate": 0.1, "win_rate_length_controlled": 0.2, "win_rate_style_controlled": 0.6, "gold_rate": 0.4,
            "letter_rate": 0.5, "words_difference": 0.3, "finished": 0.7, "refusals": 0.8, "loops": 0.9, "price": 2,
            "verdict_by_reward": "withheld", "verdict_by_gold": "better",
        }
    }  # fmt: skip
    metrics["dpo"]["against_base"]["verdict"]["gold"] = None
    del metrics["dpo"]["gold_rate"], metrics["dpo"]["letter_rate"]
    assert policies_row(metrics, ["dpo"])["dpo"].keys() == {*against, *form, "loops", "price", "verdict_by_reward"}


@pytest.fixture
def drawn(tmp_path, monkeypatch) -> SimpleNamespace:
    """Responses whose columns all differ, drawn; the pictures by the name of their file without ending."""
    monkeypatch.chdir(tmp_path)
    columns = {
        "reward": [1.0, 2.5, 2.0, 4.0], "words": [10, 20, 40, 30], "reading_grade": [5.0, np.nan, 7.5, 9.0],
        "response": ["tea cats", "tea", "milk", "cats"],
    }  # fmt: skip
    base = pd.DataFrame(columns)
    dpo = base.assign(reward=[3.0, 2.0, 2.5, 9.0], words=[11, 22, 43, 34], reading_grade=[1.0, 2.5, 3.0, np.nan])
    dpo["response"] = ["dogs tea", "dogs", "dogs milk", "dogs cats"]
    simpo = base.assign(reward=[0.0, -1.0, 1.5, 3.0], words=[5, 6, 8, 7], reading_grade=[11.0, 12.5, np.nan, 14.0])
    simpo["response"] = ["birds tea", "birds", "birds milk", "birds cats"]
    responses = {"base": base, "dpo": dpo, "simpo": simpo}
    share = {"value": 0.5, "low": 0.25, "high": 0.75, "n": 4}
    metrics = {policy: {"finished": share | {"value": value}} for policy, value in (("base", 0.3), ("dpo", 0.4), ("simpo", 0.6))}
    pictures = {}
    monkeypatch.setattr(stages.compare_policies, "write_png", lambda path, figure: pictures.update({path.stem: figure}))
    stages.compare_policies.draw_policies(responses, metrics, METHODS)
    return SimpleNamespace(pictures=pictures, responses=responses, metrics=metrics)


def plotted(name: str) -> pd.DataFrame:
    return pd.read_csv(stages.compare_policies.PLOTS / f"{name}.csv")


def test_each_plot_is_of_its_own_column(drawn):
    wanted = {
        name: {policy: rows[name] for policy, rows in named(drawn.responses).items()}
        for name in ("reward", "words", "reading_grade")
    }
    wanted["reward_differences"] = {"DPO": [2.0, -0.5, 0.5, 5.0], "SimPO": [-1.0, -3.5, -0.5, -1.0]}
    for name, groups in wanted.items():
        for kind, rows in (("histogram", figures.histogram_rows(groups, READ)), ("kde", figures.kde_rows(groups, READ))):
            pd.testing.assert_frame_equal(plotted(f"{name}_{kind}"), rows, check_dtype=False)
    pd.testing.assert_frame_equal(plotted("shares"), figures.share_rows(named(drawn.metrics), READ), check_dtype=False)
    both = {f"{name}_{kind}" for name in wanted for kind in ("histogram", "kde")}
    assert set(drawn.pictures) == both | {"reward_scatter", "shares"}


@pytest.mark.parametrize(
    ("name", "title", "label", "unit"),
    [
        ("reward", "Rewards of responses", "reward (reward model's units)", "responses"),
        ("reward_differences", "Reward minus base's, same prompt", "reward (reward model's units)", "prompts"),
        ("words", "Length of responses", "words", "responses"),
        ("reading_grade", "Flesch-Kincaid grade", "grade", "responses"),
    ],
)
def test_each_picture_says_what_it_shows(drawn, name, title, label, unit):
    histogram, kde = (drawn.pictures[f"{name}_{kind}"] for kind in ("histogram", "kde"))
    for picture in (histogram, kde):
        texts = [*(axes.get_title() for axes in picture.axes), picture.get_suptitle()]
        assert any(text.startswith(title) for text in texts)
        assert picture.axes[-1].get_xlabel() == label
    assert f"share of each group's {unit}" in [axes.get_ylabel() for axes in histogram.axes]


def test_the_scatter_has_base_across_and_each_method_up(drawn):
    panels = [panel for panel in drawn.pictures["reward_scatter"].axes if panel.collections]
    base = drawn.responses["base"]["reward"]
    for method, name, panel in zip(METHODS, READ, panels, strict=True):
        assert panel.collections[0].get_offsets().tolist() == np.column_stack([base, drawn.responses[method]["reward"]]).tolist()
        assert panel.get_legend().get_texts()[0].get_text() == name


def test_keywords_of_each_policy_and_what_it_says_more_than_base(drawn):
    training = ["tea cats birds", "dogs"]
    write_keywords(drawn.responses, training)
    texts = {policy: rows["response"].tolist() for policy, rows in zip(["base", *READ], drawn.responses.values(), strict=True)}
    wanted = keyword_table(texts | {"training set": training})
    pd.testing.assert_frame_equal(plotted("keywords"), wanted, check_dtype=False)
    found = plotted("log_odds")
    tables = [
        top_differences(log_odds(texts[name], texts["base"], training), stages.compare_policies.MOST_DIFFERENT).assign(
            comparison=f"{name} against base"
        )
        for name in READ
    ]
    pd.testing.assert_frame_equal(found, pd.concat(tables, ignore_index=True), check_dtype=False)
    assert found.groupby("comparison")["word"].first().tolist() == ["dogs", "birds"]  # said more than by base


def test_the_words_of_a_large_training_set_are_of_some_pairs_of_it(folder, monkeypatch):
    monkeypatch.setattr(keywords, "MOST_PAIRS", 2)
    train = {
        "prompt": [asked("x")] * 3,
        "chosen": ["good cats", "good tea", "good sand"],
        "rejected": ["bad dogs", "bad birds", "bad fish"],
    }
    write_table("data/prepared/train.parquet", pd.DataFrame(train))
    stages.compare_policies.main()
    found = plotted("keywords").query("group == 'training set'")["word"]
    assert set(found) == {"good", "bad", "cats", "dogs", "sand", "fish"}


def test_prompts_that_were_trained_on_are_counted(folder, monkeypatch):
    monkeypatch.setattr(stages.compare_policies, "PIECE", 2)
    asked_in_training = [asked("prompt 3"), asked("x"), asked("prompt 7"), asked("prompt 3"), asked("prompt 11")]
    texts = [str(number) for number in range(5)]
    write_table(
        "data/prepared/train.parquet", pd.DataFrame({"prompt": asked_in_training, "chosen": texts, "rejected": texts[::-1]})
    )
    assert in_training(pair_id(f"prompt {number}") for number in range(10)) == 2
    answered = choose_prompts(read_rows("data/prepared/train.parquet"), None, 0, "t")
    assert in_training(answered["id"]) == len(answered) == 4
    scored = read_rows("data/responses/scored.parquet")
    known = scored["id"].map({"5": answered["id"][0], "9": answered["id"][2]})
    write_rows("data/responses/scored.parquet", scored.assign(id=known.fillna(scored["id"])).to_dict("records"))
    stages.compare_policies.main()
    assert read_json("metrics/policies.json")["base"]["prompts_in_training"] == 2


def test_the_truth_is_known_where_it_is_of_all_pieces():
    """A policy of which one piece cannot be checked has no truth, and no truth with gaps."""

    def piece(start: int, instruction: str) -> pd.DataFrame:
        rows = [
            {
                "id": str(i),
                "cluster": str(i),
                "prompt": asked("Why tea? End with a question."),
                "policy": policy,
                "finished": True,
            }
            | {"response": f"Is it tea {i}?", "instruction": instruction if policy == "dpo" else "ends_with_question"}
            for i in range(start, start + 2)
            for policy in ("base", "dpo")
        ]
        return pd.DataFrame(rows)

    tables, left_out = measured_responses([piece(0, "ends_with_question"), piece(2, "no such kind")], ["base", "dpo"])
    assert {"letter", "gold", "flaw"} <= set(tables["base"]) and not {"letter", "gold", "flaw"} & set(tables["dpo"])
    assert list(tables["base"].index) == list(tables["dpo"].index) == list("0123")
    assert list(tables["base"]["letter"]) == [True] * 4 and tables["dpo"]["words"].notna().all()
    assert sum(left_out["dpo"].values()) == sum(left_out["base"].values()) == 4
