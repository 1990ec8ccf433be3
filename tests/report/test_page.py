"""The report: what its parts make of their inputs, and the page in Chromium; where there is none, that half is skipped."""

import csv
import html
import io
import json
import re
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from preference_study.artifacts import read_dicts, read_json, write_json
from preference_study.numbers import with_interval
from preference_study.report.page import (
    asides,
    beside_original,
    cases,
    check_one_run,
    decimals,
    keyword_columns,
    log_odds_sides,
    lookup,
    number,
    p_value,
    render,
    scale,
    some_prompts,
    statistic,
)
from preference_study.texts.perturbations import PERTURBATIONS
from stages.report import gather, main
from tests.browser import watched
from tests.conftest import ROOT, asked
from tests.report.example import EARLIER, FILLER, HOSTILE, people_outputs, write_example
from tests.workspace import alternative_params, tiny_params

PARAMS = alternative_params("tiny")
MADE_ON = {"processor": "one <made up>"}
RUN_OF = {
    "code": "commit 0123456789ab with uncommitted changes: <b>params.yaml",
    "experiment": "sharp-bast",
    "made": "2026-02-03 04:05:06+01:00",
    "seed": "17",
    "data": [
        {"what": "training pairs", "file": "data/train.parquet", "md5": "d41d8cd98f00b204e9800998ecf8427e"},
        {"what": "prompts", "file": "data/prompts.parquet", "md5": None},
    ],
}


def page_of(folder: Path, methods: list[str], people: Sequence[str] = ()) -> str:
    return render(gather(folder, methods, "standard", people=people), PARAMS.model_dump(), MADE_ON, RUN_OF)


def estimate(value, low, high):
    return {"value": value, "low": low, "high": high, "n": 9}


def test_numbers_are_rounded_for_reading():
    assert (number(0.775), number(-0.001), number(-1.25, 1), number(3.21, signed=True)) == ("0.78", "0.00", "−1.3", "+3.21")
    assert (number(1600), number(-3, signed=True), number(None)) == ("1,600", "−3", "–")
    assert [decimals(e) for e in (estimate(0.78, 0.71, 0.83), estimate(26.6, 24.6, 28.6), estimate(0.04, 0.03, 0.05))] == [
        2,
        1,
        3,
    ]
    assert decimals(estimate(0.0, 0.0, 0.0)) == decimals(estimate(1.0, None, None)) == 2
    assert [p_value(p) for p in (0.495, 0.0166, 1.0, 4.8e-5, 5.41e-33, 0.0)] == [
        "0.5",
        "0.017",
        "1",
        "4.8×10⁻⁵",
        "5.4×10⁻³³",
        "<10⁻⁹⁹",
    ]
    told = [statistic(x) for x in (107.0, 4.156, None, 8931.0, 17774.5, -2345.0)]
    assert told == ["107", "4.16", "–", "8,931", "17,774.5", "−2,345"]


def test_intervals_are_drawn_to_scale():
    assert scale(estimate(0.6, 0.5, 0.7), share=True) == {"low": 0.5, "value": 0.6, "high": 0.7}
    drawn = scale(estimate(-2.0, -4.0, 1.0), share=False)
    assert 0 < drawn["low"] < drawn["value"] < 0.5 < drawn["high"] < 1
    assert scale(estimate(0.0, None, None), share=False) == {"low": 0.5, "value": 0.5, "high": 0.5}


def test_lookup_finds_or_says_none():
    metrics = {"a": {"tests": [{"outcome": "words", "test": "t", "p": 1}, {"outcome": "reward", "test": "unpaired t", "p": 2}]}}
    assert lookup(metrics, "a.tests.outcome=reward&test=unpaired t")["p"] == 2
    assert lookup(metrics, "a.tests.outcome=reward&test=other") is None
    assert lookup(metrics, "a.b.c") is None and lookup(None, "a") is None and lookup(3, "a") is None


def test_every_path_of_the_original_study_exists(tmp_path):
    write_example(tmp_path, ["dpo"])
    study = gather(tmp_path, ["dpo"], "standard") | {"params": PARAMS.model_dump()}
    original = read_json(ROOT / "preference_study/report/original_study.json")
    rows = beside_original(original, study)
    assert [row["what"] for row in rows if row["ours"] is None] == []
    for row in rows:
        if "right" in row:  # what was printed is the count over n, and lies in the interval
            assert round(row["right"] / row["n"], 4) == pytest.approx(float(row["reported"]), abs=1e-4)
            assert row["interval"]["low"] < float(row["reported"]) < row["interval"]["high"]
    assert next(row for row in rows if row["row"] == "3")["interval"]["n"] == 501


def test_word_tables_are_pivoted():
    table = pd.DataFrame({"group": ["a", "a", "b"], "rank": [2, 1, 1], "word": ["y", "x", "x"], "weight": [1, 2, 3]})
    assert keyword_columns(table) == {"groups": ["a", "b"], "rows": [["x", "x"], ["y", ""]], "alone": {"y"}}
    odds = pd.DataFrame({"comparison": "p", "word": list("abc"), "z": [1.0, 3.0, -2.0]})
    sides = log_odds_sides(odds)["p"]
    assert [row["word"] for row in sides["a"]] == ["b", "a"] and [row["word"] for row in sides["b"]] == ["c"]


def test_asides_lose_nothing():
    sentence = "Better (0.60 [0.53, 0.67]); at equal length (x) it is."
    assert "".join(asides(sentence)) == sentence and asides(sentence)[1::2] == ["(0.60 [0.53, 0.67])", "(x)"]


def test_cases_pair_the_responses_by_prompt():
    shared = {"prompt": asked("p"), "id": "1", "tokens": 1, "finished": True, "reward": 1.0}
    rows = [shared | {"policy": "dpo", "response": "Two words?"}, shared | {"policy": "base", "response": "", "reward": 2.0}]
    (case,) = cases(rows)
    wanted = {"text": "", "words": 0, "repetition": 0, "loops": False, "echoes": False, "reward": 2.0, "finished": True}
    assert case["responses"]["base"] == wanted and case["category"] is None
    (case,) = cases([row | {"instruction": "ends_with_question"} for row in rows])
    assert case["category"] == "ends_with_question"
    (case,) = cases([row | {"category": float("nan"), "instruction": "x"} for row in rows])
    assert case["category"] is None
    for own in ({"instruction": "Name a fruit."}, {"instruction": "Name a fruit.", "category": "Name a fruit."}):
        (case,) = cases([row | own for row in rows])
        assert case["category"] is None
    (case,) = cases([row | {"instruction": "Name a fruit.", "category": "food"} for row in rows])
    assert case["category"] == "food"
    (case,) = cases([row | {"category": 3, "instruction": "ends_with_question"} for row in rows])
    assert case["category"] == "3"
    truth = [[case["responses"][policy][name] for name in ("letter", "gold", "flaw")] for policy in ("base", "dpo")]
    assert truth == [[False, False, "does not obey"], [True, False, "says nothing"]]


def test_of_too_many_prompts_the_furthest_apart_and_a_sample_are_shown():
    order = np.random.default_rng(3).permutation(60)
    base = pd.Series(range(60), index=[f"p{number}" for number in range(60)], dtype=float)
    rewards = pd.DataFrame({"base": base, "dpo": base + order, "ipo": base - order})
    assert some_prompts(rewards, 60, seed=1) is None
    found = some_prompts(rewards[["base", "dpo"]], 13, seed=1)
    by_gain = base.index[np.argsort(order)]
    assert {*by_gain[:4], *by_gain[-4:]} <= set(found["ids"]) and len(found["ids"]) == 13
    assert found["ids"] == [name for name in base.index if name in found["ids"]]
    assert (found["of"], found["furthest"], found["sampled"]) == (60, 4, 5)
    again = some_prompts(rewards[["base", "dpo"]], 13, seed=2)
    assert len(set(found["ids"]) & set(again["ids"])) < 13 and some_prompts(rewards[["base", "dpo"]], 13, seed=1) == found
    # The other policy's furthest are the same prompts, so more are sampled.
    both = some_prompts(rewards, 13, seed=1)
    assert (both["furthest"], both["sampled"], len(both["ids"])) == (2, 9, 13)


def test_a_page_of_some_prompts_says_so(tmp_path):
    write_example(tmp_path, ["dpo"], whole=False)
    study = gather(tmp_path, ["dpo"], "standard", max_cases=12, seed=1)
    check_one_run(study)  # all rewards are looked at, not those of the cases alone
    written = render(study, PARAMS.model_dump(), MADE_ON, RUN_OF)
    assert "12 of 40 prompts with base’s response and DPO’s: the 4 on which DPO’s reward is furthest above base’s" in written
    assert "4 of the others, drawn at random" in written and len(study["responses"]) == 24
    assert "Every prompt with base’s response" in page_of(tmp_path, ["dpo"])


@pytest.mark.usefixtures("few_resamples")
def test_what_people_noted_leads_to_the_case_that_is_shown(tmp_path):
    """A page of some prompts numbers those alone, and has none for the others."""
    write_example(tmp_path, ["dpo"], whole=False)
    people_outputs(tmp_path, "dpo")
    study = gather(tmp_path, ["dpo"], "standard", people=["dpo"], max_cases=12, seed=1)
    shown = [row["id"] for row in study["responses"] if row["policy"] == "base"]
    others = [row["id"] for row in read_dicts(tmp_path / "data/responses/scored.parquet") if row["id"] not in shown]
    note = study["people"]["dpo"]["comments"][0]
    study["people"]["dpo"]["comments"] = [note | {"id": id} for id in (shown[4], others[0], shown[11])]
    page = render(study, PARAMS.model_dump(), MADE_ON, RUN_OF)
    _, *noted = starting(tables(page, "people"), "Flags and comments on DPO")
    assert [row[1] for row in noted] == ["Prompt 5", "not among the cases below", "Prompt 12"]
    assert 'href="#case-5"' in page and 'href="#case-12"' in page


def test_responses_that_the_reward_model_saw_in_part_are_said(tmp_path):
    write_example(tmp_path, ["dpo"])
    study, told = gather(tmp_path, ["dpo"], "standard"), "only in part, they or their prompts"
    for counts, times in (({}, 0), ({"base": 0, "dpo": 0}, 0), ({"base": 0, "dpo": 7}, 1), ({"base": 3, "dpo": 7}, 2)):
        changed = {
            policy: found | ({"truncated_for_reward": counts[policy]} if policy in counts else {})
            for policy, found in study["policies"].items()
        }
        page = render(study | {"policies": changed}, PARAMS.model_dump(), MADE_ON, RUN_OF)
        assert page.count(told) == times and (times == 0 or f"DPO’s responses the reward model saw 7 {told}" in page)


@pytest.mark.parametrize(
    ("shorter", "judge", "told"),
    [(0.49, "standard", True), (0.49, "ensemble", True), (0.5, "standard", False), (0.49, "length_margin", False),
     (0.49, "product_of_experts", False), (None, "standard", False)],
)  # fmt: skip
def test_of_a_judge_that_goes_by_length_the_page_says_what_resists_it(tmp_path, shorter, judge, told):
    write_example(tmp_path, ["dpo"])
    study, params = gather(tmp_path, ["dpo"], "standard"), PARAMS.model_dump()
    of_pairs = None if shorter is None else {"value": shorter, "low": 0.3, "high": 0.6, "n": 20, "clusters": 20}
    reward = study["reward"] | {"right_to_judge": study["reward"]["right_to_judge"] | {"shorter_chosen": of_pairs}}
    page = render(study | {"reward": reward}, params | {"reward": params["reward"] | {"judge": judge}}, MADE_ON, RUN_OF)
    assert ("are trained to resist that" in page) == told


def test_few_clusters_and_prompts_of_training_are_said_on_the_first_screen(tmp_path):
    write_example(tmp_path, ["dpo"])
    study = gather(tmp_path, ["dpo"], "standard")

    def told(**base) -> str:
        changed = study["policies"] | {"base": study["policies"]["base"] | base}
        page = render(study | {"policies": changed}, PARAMS.model_dump(), MADE_ON, RUN_OF)
        return " ".join(re.sub(r"<[^>]*>", "", page.split('<section id="summary"')[1].split("</section>")[0]).split())

    mean = study["policies"]["base"]["words_mean"]
    few = "They come in 20 clusters: with fewer than 25, intervals may be too narrow. The judge"
    seen = "stand in the training pairs too"
    assert mean["clusters"] == 20 and few in told() and seen not in told() and seen not in told(prompts_in_training=0)
    assert f"3 of these prompts {seen}: what was learned by heart" in told(prompts_in_training=3)
    for clusters in (mean["n"], 25):
        assert "They come in" not in told(words_mean=mean | {"clusters": clusters})


@pytest.mark.parametrize("methods", [["dpo"], ["dpo", "simpo"]])
def test_sentences_are_apart(tmp_path, methods):
    write_example(tmp_path, methods)
    for paragraph in re.findall(r"<p[ >].*?</p>", page_of(tmp_path, methods), flags=re.DOTALL):
        assert not re.search(r"[a-z’)\d]\.[A-Z]", re.sub(r"<code>.*?</code>|<[^>]*>", "", paragraph)), paragraph


def test_cases_say_what_loops_and_what_echoes():
    shared = {"id": "1", "policy": "base", "finished": True, "reward": 1.0}
    asked_for = asked("Tell me all about the old town hall of Sheffield")
    for text, wanted in (
        ("because because because because because", (1 - 1 / 3, True, False)),
        ("All about the old town hall of Sheffield.", (0, False, True)),
        ("It has a tall tower.", (0, False, False)),
    ):
        (case,) = cases([shared | {"prompt": asked_for, "response": text}])
        found = case["responses"]["base"]
        assert (found["repetition"], found["loops"], found["echoes"]) == (pytest.approx(wanted[0], abs=1e-4), *wanted[1:])


def test_the_stage_writes_the_page(tmp_path, monkeypatch):
    write_example(tmp_path, ["dpo"])
    tiny_params(tmp_path)
    monkeypatch.chdir(tmp_path)
    main()
    page = (tmp_path / "reports/index.html").read_text(encoding="utf-8")
    verdict = read_json("metrics/policies.json")["dpo"]["against_base"]["verdict"]
    assert f"Reward: {verdict['reward']}" in page and "A new picture" in page
    assert f"<dt>transformers</dt><dd>{version('transformers')}</dd>" in page
    assert "from code of an unknown commit: this folder is not a git repository" in page
    assert page.count("<img ") == 14 and "density" not in page and "<img src=x" not in page
    assert not re.search(r"(?:src|href|url)\W{1,2}(?:https?:)?//", page)


def test_the_page_says_which_run_it_is_of(tmp_path):
    write_example(tmp_path, ["dpo"])
    page = page_of(tmp_path, ["dpo"])
    top = page.split('<section id="summary"')[0]
    assert "Experiment <b>sharp-bast</b>, made 2026-02-03 04:05:06+01:00 from commit 0123456789ab" in top
    assert "&lt;b&gt;params.yaml; seed 17" in top
    assert "number for number, on the same kind of processor with as many threads. Elsewhere rounding differs" in page
    _, *rows = starting(tables(page, "settings"), "The data files")
    assert rows == [
        ["training pairs", "data/train.parquet", "d41d8cd98f00b204e9800998ecf8427e"],
        ["prompts", "data/prompts.parquet", "was not there"],
    ]


def test_every_parameter_is_shown_with_its_value(tmp_path):
    write_example(tmp_path, ["dpo"])
    found = re.findall(r"<dt>([^<]+)</dt><dd>([^<]*)</dd>", page_of(tmp_path, ["dpo"]).split('class="settings"')[1])
    shown = dict(reversed(found))  # of names that two sections have the first
    assert shown["dpo.learning_rate"] == "0.0001" and shown["kto.desirable_weight"] == "1.0" and shown["seed"] == "1"
    assert shown["aggregate.by"] == "worst" and shown["gradient_checkpointing"] == "false" and shown["methods"] == "dpo"


@pytest.mark.parametrize("mix", ["pairs", "rewards", "responses", "methods"])
def test_inputs_of_two_runs_are_refused(tmp_path, mix):
    write_example(tmp_path, ["dpo"])
    study = gather(tmp_path, ["dpo"], "standard")
    check_one_run(study)
    if mix == "pairs":
        study["reward_analysis"]["n"] = 48
    elif mix == "rewards":
        study["policies"]["base"]["reward_mean"]["value"] += 0.01
    elif mix == "responses":
        study["all_rewards"]["dpo"] = study["all_rewards"]["dpo"][1:]
    else:
        study["method_table"]["methods"]["ipo"] = study["method_table"]["methods"]["dpo"]
    with pytest.raises(SystemExit, match=r"different runs.*(40.*48|base a mean reward|dpo a mean reward|differ in win rates)"):
        check_one_run(study)


def test_what_is_missing_is_left_out(tmp_path):
    write_example(tmp_path, ["dpo"], sandbox=False, whole=False)
    policies = read_json(tmp_path / "metrics/policies.json")
    del policies["dpo"]["refusals"], policies["base"]["refusals"]
    policies["dpo"]["reading_grade_mean"] = None
    write_json(tmp_path / "metrics/policies.json", policies)
    page = page_of(tmp_path, ["dpo"])
    for absent in (
        "beyed to the letter",
        "Gold",
        "Calibration",
        "Keywords",
        "Refused",
        "<img ",
        'id="methods"',
        "Under pressure",
        'id="stress"',
        "#methods",
    ):
        assert absent not in page, absent
    assert "not in this run" in page and "Mean reward" in page and "Reading grade" in page


def test_a_row_for_each_of_several_methods(tmp_path):
    methods = ["dpo", "ipo", "kto", "simpo"]
    write_example(tmp_path, methods)
    page = page_of(tmp_path, methods)
    table = page.split("<caption><span>Form of each policy’s responses")[1].split("</table>")[0]
    assert re.findall(r'class="policy"[^>]*>(\w+)<', table) == ["base", "DPO", "IPO", "KTO", "SimPO"]
    assert page.count('class="sentence"') == 4 and "&lt;made up&gt;" in page


def tables(page: str, section: str = "methods") -> dict[str, list[list[str]]]:
    """The texts of the cells of a section: {caption: rows}."""
    section = page.split(f'<section id="{section}"')[1].split("</section>")[0]

    def text(html: str) -> str:
        return " ".join(re.sub("<[^>]*>", " ", html).split())

    found = {}
    for table in section.split("<caption>")[1:]:
        rows = re.findall("<tr>(.*?)</tr>", table.split("</table>")[0], re.DOTALL)
        found[text(table.split("</caption>")[0])] = [
            [text(cell) for cell in re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.DOTALL)] for row in rows
        ]
    return found


def starting(found: dict[str, list[list[str]]], start: str) -> list[list[str]]:
    (rows,) = (rows for caption, rows in found.items() if caption.startswith(start))
    return rows


def test_six_methods_side_by_side(tmp_path):
    methods = ["dpo", "ipo", "kto", "simpo", "orpo", "rloo"]
    names = ["DPO", "IPO", "KTO", "SimPO", "ORPO", "RLOO"]
    write_example(tmp_path, methods)
    page = page_of(tmp_path, methods)
    made = read_json(tmp_path / "metrics/methods.json")
    found = tables(page)
    assert len(found) == 8
    needs = starting(found, "What each method needs")
    assert [row[0] for row in needs[1:]] == names
    assert needs[4][1:4] == ["not needed", "not needed", "needed"] and needs[6][1:4] == ["needed", "needed", "not needed"]
    came = starting(found, "What came of it")
    assert [row[0] for row in came[1:]] == names and {len(row) for row in came} == {12}
    gold = made["methods"]["dpo"]["gold_rate"]
    assert came[1][1] == f"{with_interval(gold)} n = 40 prompts in 20 clusters"
    assert came[1][4] == f"{with_interval(made['methods']['dpo']['letter_rate'])} n = 40 prompts in 20 clusters"
    spread = starting(found, "Spread over seeds 1, 2, 3: ")
    assert spread[1][1] == "0.550 ± 0.050 0.500 to 0.600, 3 seeds" and spread[2][1] == "not measured for these parameters"
    ranked = starting(found, "Ranking by the reward model")
    assert [int(row[0]) for row in ranked[1:]] == [row["rank"] for row in made["ranking"]["reward"]]
    assert ranked[-1][3].split(", ")[-1] in ["base", *names]
    square = starting(found, "Win rate by reward of the row")
    assert square[0] == ["Policy", "base", *names] and [row[0] for row in square[1:]] == ["base", *names]
    assert [square[i][i] for i in range(1, 8)] == ["·"] * 7
    scored = [cell for row in square for cell in row]
    told_apart = sum(pair["reward_p_holm"] < 0.05 for pair in made["pairs"])
    assert sum("▲ better" in cell for cell in scored) == sum("▼ worse" in cell for cell in scored) == told_apart > 0
    cost = starting(found, "Cost of training")
    assert cost[2][1:4] == ["150.0", "1.25×", "0.61"] and len(cost) == 7
    assert "start from the same base model and answer the same 40 prompts" in page
    assert "Every policy against every other" in page and 'href="#methods"' in page
    assert "RLOO was trained on 2,468 responses of its own to prompts of 1,234 pairs" in page
    assert "KTO was trained on the responses of 1,234 pairs, each by itself" in page
    assert len(set(re.findall(r"--policy: (#\w+)", page))) == 7


def test_the_price_with_its_numbers(tmp_path):
    methods = ["dpo", "ipo"]
    write_example(tmp_path, methods)
    page, metrics = page_of(tmp_path, methods), read_json(tmp_path / "metrics/policies.json")
    found, price = tables(page, "price"), metrics["ipo"]["price"]
    rows = {row[0].split(" ▼")[0]: row for row in starting(found, "What became of the responses of IPO")[1:]}
    assert list(rows) == ["loops", "echoes", "cut off", "refusals", "words"]
    for told in price["form"]:
        row = rows[told["outcome"]]
        assert ("▼" in row[0]) == told["worse"]
        assert [row[2], row[3]] == [with_interval(told[name], decimals(told[name])) for name in ("base", "policy")]
        assert row[6:] == [p_value(told["p"]), p_value(told["p_holm"])]
    logps = starting(found, "Log-probability of the validation pairs")
    assert [row[1] for row in logps[1:]] == ["chosen ▼ worse", "rejected"] * 2
    chosen = price["logps"]["chosen"]
    assert logps[3][4] == p_value(chosen["p_holm"]) and logps[3][7] == p_value(chosen["fell_p_holm"])
    assert logps[3][3] == with_interval(chosen["nats_per_response_median"], 1).replace("-", "−")
    assert logps[3][6] == with_interval(chosen["fell"])
    kl = starting(found, "KL divergence from base")
    assert [row[0] for row in kl[1:]] == ["DPO", "IPO"]
    assert kl[2][2].startswith(with_interval(price["kl"]["nats_per_response_median"]))
    assert kl[2][4].startswith(with_interval(price["kl"]["k1"]["nats_per_response"]))
    told = page.split("IPO against base")[1].split("</article>")[0]
    assert told.count("What got worse") == 1 and told.count("became less likely") == 1  # the verdict says it, once
    assert 'What is shown to have got worse stands above: <a href="#price">' in told and "KL divergence from base" in told
    rejected = price["logps"]["rejected"]
    fell = f"that of rejected responses fell in {number(rejected['fell']['value'])} of them, and changed by "
    assert fell + with_interval(rejected["nats_per_response"], 1, signed=True).replace("-", "−") + " on average" in told


def test_kl_that_was_not_measured(tmp_path):
    write_example(tmp_path, ["dpo"])
    metrics = read_json(tmp_path / "metrics/policies.json")
    assert "k3 is Schulman" in page_of(tmp_path, ["dpo"])
    metrics["dpo"]["price"]["kl"] = None
    write_json(tmp_path / "metrics/policies.json", metrics)
    page = page_of(tmp_path, ["dpo"])
    assert "KL divergence from base was not measured" in page and "k3 is Schulman" not in page


@pytest.mark.parametrize(("counts", "told"), [((1, 1, 1), "1 win, 1 loss, 1 tie;"), ((2, 0, 38), "2 wins, 0 losses, 38 ties;")])
def test_one_is_no_plural(tmp_path, counts, told):
    write_example(tmp_path, ["dpo"])
    metrics = read_json(tmp_path / "metrics/policies.json")
    metrics["dpo"]["against_base"] |= dict(zip(("wins", "losses", "ties"), counts, strict=True))
    write_json(tmp_path / "metrics/policies.json", metrics)
    assert told in page_of(tmp_path, ["dpo"])


def test_where_the_policies_gained(tmp_path):
    write_example(tmp_path, ["dpo"], prompts=200)
    groups = read_json(tmp_path / "metrics/groups.json")
    rows = starting(tables(page_of(tmp_path, ["dpo"]), "groups"), "Policies and judge by category")[1:]
    assert len(rows) == len(groups)
    assert "no category" not in page_of(tmp_path, ["dpo"])
    for (name, group), row in zip(groups.items(), rows, strict=True):
        assert row[0] == name.replace("_", " ") + "*" * group["small"]
        assert row[1:3] == [str(group["prompts"]), str(group["training_pairs"])]
        dpo = group["policies"]["dpo"]
        assert row[3:6] == [with_interval(e) for e in (group["policies"]["base"]["gold_rate"], dpo["gold_rate"], dpo["win_rate"])]
        assert row[6].startswith(with_interval(group["judge"])) if group["judge"] else row[6] == "–"


def minus(text: str) -> str:
    return text.replace("-", "−")


def test_what_carries_over_to_categories_that_were_not_trained_on(tmp_path):
    write_example(tmp_path, ["dpo"], prompts=200)
    found = read_json(tmp_path / "metrics/transfer.json")
    page = page_of(tmp_path, ["dpo"])
    known, new, between = (found[part] for part in ("in_training", "not_in_training", "difference"))
    rows = starting(tables(page, "groups"), "In categories that training pairs have")[1:]
    labels = {"gold_difference": "gold, change", "letter_difference": "to the letter, change", "win_rate": "win rate over base"}
    for (name, label), row in zip(labels.items(), rows, strict=False):
        of_dpo = [part["policies"]["dpo"][name] for part in (known, new, between)]
        shown = [minus(with_interval(e, signed=name != "win_rate")) for e in of_dpo[:2]]
        sizes = [f"{shown[i]} n = {of_dpo[i]['n']} prompts in {of_dpo[i]['clusters']} clusters" for i in range(2)]
        assert row == [f"DPO : {label}", *sizes, minus(with_interval(of_dpo[2], signed=True))]
    judges = [part["judge"] for part in (known, new, between)]
    assert rows[3][0] == "Judge right on validation pairs" and rows[3][3] == minus(with_interval(judges[2], signed=True))
    assert [row.split(" n = ")[0] for row in rows[3][1:3]] == [with_interval(e) for e in judges[:2]]
    key = re.search("<dt>Gold, change, in categories that no training pair has</dt><dd>(.*?)</dd>", page, re.DOTALL)[1]
    gold, letter = "gold_difference", "letter_difference"
    assert minus(f"in the others {with_interval(known['policies']['dpo'][gold], signed=True)}; to the letter ") in key
    assert minus(f"to the letter {with_interval(new['policies']['dpo'][letter], signed=True)}.") in key
    assert (
        f"right on {with_interval(judges[1])} of their n = {judges[1]['n']} validation pairs, on {with_interval(judges[0])} of"
        in key
    )
    assert f"n = {new['prompts']} prompts" in key


def test_of_a_policy_that_was_trained_against_the_judge_the_page_gives_no_verdict_by_it(tmp_path):
    write_example(tmp_path, ["dpo", "rloo"])
    page = page_of(tmp_path, ["dpo", "rloo"])
    verdicts = {
        name: found["against_base"]["verdict"]
        for name, found in read_json(tmp_path / "metrics/policies.json").items()
        if name != "base"
    }
    assert verdicts["rloo"]["reward"] == "withheld" != verdicts["dpo"]["reward"] and verdicts["rloo"]["gold"] != "withheld"
    rows = read_json(tmp_path / "metrics/methods.json")["methods"]
    assert {name: row["verdict_by_reward"] for name, row in rows.items()} == {
        name: verdict["reward"] for name, verdict in verdicts.items()
    }
    assert f"Reward: withheld, it would have said: {verdicts['rloo']['reward_would_be']}" in page
    said = "<b>RLOO was trained against this reward model</b>: whatever goes by reward of it, rankings too"
    for section in ("summary", "methods"):
        assert said in page.split(f'<section id="{section}"')[1].split("</section>")[0]


def test_the_change_in_gold_stands_beside_both_rates_and_the_test_that_was_made(tmp_path):
    write_example(tmp_path, ["dpo"])
    study = gather(tmp_path, ["dpo"], "standard")
    gold = study["policies"]["dpo"]["against_base"]["gold"]

    def told() -> str:
        page = render(study, PARAMS.model_dump(), MADE_ON, RUN_OF)
        return " ".join(re.search("<dt>Gold, change</dt><dd>(.*?)</dd>", page, re.DOTALL)[1].split())

    counts = f"{gold['gained']} gained, {gold['lost']} lost, "
    assert (
        f"The truth: from {number(gold['before'])} to {number(gold['after'])}; {counts}p by random signs of clusters = " in told()
    )
    gold |= {"before": 0.0, "after": 0.0}
    gold["difference"]["clusters"] = gold["difference"]["n"]
    assert f"The truth: neither has it in any response; {counts}McNemar p = " in told()


def test_tests_of_clusters_are_called_what_they_are(tmp_path):
    """The example's clusters hold two prompts each."""
    write_example(tmp_path, ["dpo"])
    page = page_of(tmp_path, ["dpo"])
    assert "McNemar" not in page.split('<section id="cases"')[0] and "Sign test p" not in page
    found = {(row[0], row[1]) for row in starting(tables(page, "policies"), "Tests of DPO against base")[1:]}
    assert {("gold", "random signs of clusters"), ("reward", "random signs of clusters")} <= found
    assert ("reward", "signed ranks, random signs of clusters") in found and ("reward", "paired t") in found
    study = gather(tmp_path, ["dpo"], "standard")
    for row in study["policies"]["dpo"]["against_base"]["tests"]:
        row["clusters"] = row["n"]
    rows = starting(tables(render(study, PARAMS.model_dump(), MADE_ON, RUN_OF), "policies"), "Tests of DPO against base")
    assert {("gold", "McNemar"), ("reward", "Wilcoxon"), ("reward", "sign")} <= {(row[0], row[1]) for row in rows}


WAYS = [(0.01, 0.3, "gained"), (-0.3, -0.01, "lost"), (-0.1, 0.3, "no gain shown"), (None, None, "too few to tell")]


def carried(folder: Path, transfer: dict) -> str | None:
    """The tag that says whether DPO gained in categories that no training pair has."""
    write_json(folder / "metrics/transfer.json", transfer)
    found = re.search(r"Categories not trained on: ([^<]*)</li>", page_of(folder, ["dpo"]))
    return found and found[1]


@pytest.mark.parametrize(("low", "high", "said"), WAYS)
def test_whether_it_gained_where_it_was_not_trained_stands_beside_the_verdict(tmp_path, low, high, said):
    write_example(tmp_path, ["dpo"])
    found = read_json(tmp_path / "metrics/transfer.json")
    new = found["not_in_training"]
    dpo = new["policies"]["dpo"]
    dpo["gold_difference"] |= {"low": low, "high": high}
    dpo["letter_difference"] |= {"low": -0.3, "high": 0.0}
    assert not new["small"] and carried(tmp_path, found) == said
    dpo["letter_difference"]["high"] = -0.001
    assert carried(tmp_path, found) == f"{said}, lost to the letter"
    new["small"] = True
    assert carried(tmp_path, found) == "too few to tell"
    assert carried(tmp_path, {}) is None and "no training pair has" not in page_of(tmp_path, ["dpo"])


@pytest.mark.parametrize(("low", "high", "said"), WAYS)
def test_without_a_truth_only_a_judge_that_is_right_there_says_whether_it_gained(tmp_path, low, high, said):
    write_example(tmp_path, ["dpo"])
    found, policies = read_json(tmp_path / "metrics/transfer.json"), read_json(tmp_path / "metrics/policies.json")
    new = found["not_in_training"]
    for policy in ("base", "dpo"):
        del policies[policy]["gold_rate"]
        for part in found.values():
            for name in ("gold_difference", "letter_difference"):
                part["policies"].get(policy, {}).pop(name, None)
    write_json(tmp_path / "metrics/policies.json", policies)
    new["policies"]["dpo"]["win_rate"] |= {"low": low and 0.5 + low, "high": high and 0.5 + high}
    new["judge"] = estimate(0.6, 0.501, 0.7) | {"clusters": 9}
    assert carried(tmp_path, found) == said
    for judge in (new["judge"] | {"low": 0.5}, new["judge"] | {"low": None, "high": None}, None):
        new["judge"] = judge
        assert carried(tmp_path, found) == "the judge is not shown to be right there"
    policies["dpo"]["against_base"]["verdict"]["reward"] = "withheld"
    write_json(tmp_path / "metrics/policies.json", policies)
    assert carried(tmp_path, found) is None
    assert "It prefers it, in categories that no training pair has" in page_of(tmp_path, ["dpo"])


def test_one_method_has_neither_ranking_nor_matrix(tmp_path):
    write_example(tmp_path, ["dpo"])
    found = tables(page_of(tmp_path, ["dpo"]))
    assert [caption.split(";")[0].split(",")[0].split(":")[0] for caption in found] == [
        "What each method needs and was trained on", "What came of it", "Spread over seeds 1", "Cost of training",
    ]  # fmt: skip
    assert "relative to DPO" not in starting(found, "Cost of training")[0]


def test_a_row_for_each_perturbation_with_the_worst_marked(tmp_path):
    write_example(tmp_path, ["dpo"])
    page = page_of(tmp_path, ["dpo"])
    assert [page.index(f'<section id="{id}"') for id in ("length", "variants", "stress", "best_of_n", "policies")] == sorted(
        page.index(f'<section id="{id}"') for id in ("length", "variants", "stress", "best_of_n", "policies")
    )
    numbers = read_json(tmp_path / "metrics/stress.json")["scorers"]["standard"]
    found = tables(page, "stress")
    header, plain, *rows = starting(found, "Perturbed responses and the reward model “standard”, n = 40 validation pairs")
    assert {len(row) for row in (header, plain, *rows)} == {11} and plain[0] == "none"
    assert [row[0].removesuffix(" ▼ lowest accuracy") for row in rows] == [
        name.replace("_", " ") for name in numbers["perturbations"]
    ]
    assert [row[0] for row in rows if "▼" in row[0]] == ["formatting ▼ lowest accuracy"]
    for row, told in zip(rows, numbers["perturbations"].values(), strict=True):
        accuracy, change = told["accuracy"], told["change"]
        assert row[1] == told["strength"]
        assert row[3] == str(accuracy["n"]) == ("36" if row[0] == "truncation" else "40")
        assert row[4] == with_interval(accuracy)
        assert row[5].endswith(f"{change['gained']} gained, {change['lost']} lost") and row[6] == p_value(change["p_holm"])
    worst = starting(found, "The worst case of “standard”")
    assert [row[0] for row in worst[1:]] == ["Lowest accuracy", "Always right"] and "formatting" in worst[1][3]
    assert worst[2][1].startswith(with_interval(numbers["always_right"]))
    assert 'href="#stress"' in page and "a ring is the accuracy on the same pairs’ responses as they are" in page


def test_no_pressure_where_no_variant_was_measured(tmp_path):
    write_example(tmp_path, ["dpo"])
    write_json(tmp_path / "metrics/stress.json", {"scorers": {}, "ensembles": {}})
    write_json(tmp_path / "metrics/variants.json", {})
    write_json(tmp_path / "metrics/best_of_n.json", {})
    page = page_of(tmp_path, ["dpo"])
    assert not any(f'id="{section}"' in page for section in ("stress", "variants", "best_of_n"))


def test_a_row_for_each_reward_model(tmp_path):
    write_example(tmp_path, ["dpo"])
    page = page_of(tmp_path, ["dpo"])
    numbers = read_json(tmp_path / "metrics/variants.json")
    header, *rows = starting(tables(page, "variants"), "Reward models side by side, n = 40 validation pairs")
    assert {len(row) for row in (header, *rows)} == {9}
    assert [row[0] for row in rows] == ["standard", "product of experts"] and rows[0][5:] == ["–"] * 4
    change = numbers["product_of_experts"]["against_standard"]
    assert rows[1][5].endswith(f"{change['right']['gained']} gained, {change['right']['lost']} lost")
    assert rows[1][8] == p_value(change["length"]["p_holm"])
    assert "The bias-only expert of “product of experts”" in page

    ensemble = starting(tables(page, "stress"), "The members of “ensemble” summed up")
    assert ensemble[0][2:5] == ["Accuracy, mean of the members", "ensemble (mean), minus that", "p, Holm’s correction"]
    assert [row[0] for row in ensemble[1:3]] == ["none", next(iter(PERTURBATIONS))]


def test_every_judge_has_its_row(tmp_path):
    """Each number from its own judge; what a judge has not is a dash; texts of models are texts."""
    write_example(tmp_path, ["dpo", "ipo"])
    page = page_of(tmp_path, ["dpo", "ipo"])
    numbers, found = read_json(tmp_path / "metrics/judges.json"), tables(page, "judges")
    header, *rows = starting(found, "Judges on the validation pairs")
    assert [row[:2] for row in rows] == [["standard", "the study’s own"], ["guesses", "cross fitted"], ["asked", "endpoint"]]
    for name, row in zip(("standard", "guesses", "asked"), rows, strict=True):
        own = numbers["judges"][name]["pairs"]
        assert row[2].startswith(f"{with_interval(own['accuracy'])} n = {own['accuracy']['n']} pairs")
        keys = ("accuracy_longer_chosen", "accuracy_shorter_chosen", "prefers_longer")
        assert row[3:6] == [with_interval(own[key]) for key in keys]
        assert ("no better than chance" in row[2]) == (own["accuracy"]["low"] <= 0.5 <= own["accuracy"]["high"])
        assert row[8] == ("yes" if own["right_to_judge"]["holds"] else "no")
    assert header[6:8] == ["Takes what stands first", "The same in both orders"] and rows[0][6:8] == rows[1][6:8] == ["–", "–"]
    assert rows[2][6:8] == [
        with_interval(numbers["judges"]["asked"]["pairs"]["position"][key]) for key in ("first", "consistent")
    ]
    verdicts = starting(found, "The verdict of each judge")[1:]
    assert [row[:2] for row in verdicts] == [[judge, p] for judge in ("standard", "guesses", "asked") for p in ("DPO", "IPO")]
    asked_of = numbers["judges"]["asked"]["policies"]["ipo"]
    assert verdicts[5][2].startswith(with_interval(asked_of["win_rate"])) and verdicts[5][3:5] == [
        with_interval(asked_of["win_rate_length_controlled"]), p_value(asked_of["tests"][0]["p_holm"]),
    ]  # fmt: skip
    assert verdicts[5][5].startswith("withheld; it would have said: ") and verdicts[5][6] == with_interval(
        asked_of["agrees_with_gold"]
    )
    rates = starting(found, "Win rates corrected by the truth")[6]
    corrected = asked_of["corrected"]
    assert (
        rates[:2] == ["asked", "IPO"] and rates[6] == f"{with_interval(corrected['labels_alone'])} {corrected['labels']} labels"
    )
    keys = ("uncorrected", "rogan_gladen", "prediction_powered", "power_tuned")
    wanted = ["–" if corrected[key]["value"] is None else with_interval(corrected[key]) for key in keys]
    assert rates[2:6] == wanted and rates[7] == with_interval(corrected["truth"]) and len({*rates[2:]}) >= 5
    agree = starting(found, "Agreement of judges")
    assert [row[0] for row in agree[1:]] == ["all", "standard and guesses", "standard and asked", "guesses and asked"]
    two = [numbers["agreement"][of]["two"][2] for of in ("responses", "pairs")]
    assert [cell.replace("−", "-") for cell in agree[4][1:]] == [
        with_interval(one[key]) for one in two for key in ("alpha", "same")
    ]
    apart = starting(found, "Where judges lie furthest apart")
    assert len(apart) == 11 and apart[0][-4:] == ["standard", "guesses", "asked", "Gold"]
    assert "asked named no answer to 15 of 96 questions; <code>answer_tokens</code> cut off 4 of its answers" in page
    none = {policy: compared["unanswered"] for policy, compared in numbers["judges"]["asked"]["policies"].items()}
    assert (none["dpo"]["cases"], none["dpo"]["too_many"], none["ipo"]["too_many"]) == (9, True, False)
    left = (
        f"asked left 9 of {none['dpo']['of']} responses of DPO unanswered: they are left out of its numbers. <b>That is more than"
    )
    assert f"{left} one in ten, and not at random: its verdict on them is withheld.</b></p>" in page
    assert f"asked left 1 of {none['ipo']['of']} responses of IPO unanswered: they are left out of its numbers.</p>" in page
    assert re.search(r"asked left 2 of \d+ validation pairs unanswered: they are left out of its numbers.</p>", page)
    assert page.count("unanswered: they are") == 3 and "guesses read 3 cases shortened" in page
    assert verdicts[4][5].startswith("withheld, for it left too many unanswered; it would have said: ")
    assert "<script>window.injected" not in page

    write_json(tmp_path / "metrics/judges.json", {})
    assert 'id="judges"' not in page_of(tmp_path, ["dpo", "ipo"])


def test_the_truth_along_best_of_n(tmp_path):
    write_example(tmp_path, ["dpo"])
    found = tables(page_of(tmp_path, ["dpo"]), "best_of_n")
    header, *rows = starting(found, "Best of 8 against one response: gold, n = 20 prompts")
    assert header[1:5] == ["n = 1", "n = 2", "n = 4", "n = 8"] and [row[0] for row in rows] == ["standard", "ensemble (worst)"]
    gold = read_json(tmp_path / "metrics/best_of_n.json")["standard"]["curve"][-1]["gold"]
    assert rows[0][4] == with_interval(gold)
    assert starting(found, "Best of 8 against one response: the judge’s reward")


def test_the_look_at_the_data_has_each_number_in_its_place(tmp_path):
    write_example(tmp_path, ["dpo"])
    page = page_of(tmp_path, ["dpo"])
    _, *rows = starting(tables(page, "data"), "A look at the data")
    share = with_interval(read_json(tmp_path / "metrics/data_analysis.json")["train"]["doubted"]) + " n = 40 training pairs"
    assert [row[1:] for row in rows] == [["23, 7", "21, 8"], ["–", "79, 9"], ["3", "5"], ["4", "6"], [share, "–"], [share, "–"]]
    assert "2 of 21 validation prompts are nearly one of training’s" in page and "drop_near_duplicates: true" in page
    (tmp_path / "metrics/data_analysis.json").unlink()
    assert "A look at the data" not in page_of(tmp_path, ["dpo"])


@pytest.mark.usefixtures("few_resamples")
def test_what_people_say(tmp_path):
    methods = ["ipo", "dpo"]
    write_example(tmp_path, methods)
    people_outputs(tmp_path, "ipo")
    page, found = page_of(tmp_path, methods, ["ipo"]), read_json(tmp_path / "metrics/people/ipo.json")
    sections = tables(page, "people")
    rows = {row[0]: row for row in starting(sections, "What people said of IPO")[1:]}
    assert list(rows) == ["Win rate", "Agreement of people", "Agreement with themselves", "The first response"]
    for label, name in zip(rows, ("win_rate", "agreement", "self_agreement", "first_side"), strict=True):
        assert rows[label][1] == with_interval(found[name]).replace("-", "−") and rows[label][2].startswith(str(found[name]["n"]))
    _, *judges = starting(sections, "Judges of IPO beside people")
    assert [row[0] for row in judges] == ["standard", "other &lt;judge&gt;", "the truth (gold)"]
    for row, numbers in zip(judges, [*found["judges"].values(), found["truth"] | {"where_truth_differs": None}], strict=True):
        corrected = numbers.get("corrected") or {"uncorrected": None, "power_tuned": None}
        for cell, name in zip(row[1:], ("share", "alpha", "uncorrected", "power_tuned", "where_truth_differs"), strict=True):
            number = (numbers | corrected)[name]
            told = with_interval(number).replace("-", "−") if number else "–"
            assert cell.startswith(told), (row, name)
    _, *people = starting(sections, "Who answered about IPO")
    assert [row[1:] for row in people] == [
        [str(row[name]) for name in ("answered", "ties", "skipped", "flagged")] + [f"{row['same']} of {row['twice']}"]
        for row in found["annotators"]
    ]
    assert people[0][0].startswith("&lt;img src=x") and people[1][0] == "Bob" and people[1][5] == "1 of 3"
    _, *noted = starting(sections, "Flags and comments on IPO")
    assert len(noted) == 2 and [row[2] for row in noted] == ["flagged"] * 2
    ids = [row["id"] for row in read_dicts(tmp_path / "data/responses/scored.parquet") if row["policy"] == "base"]
    numbers = [ids.index(row["id"]) + 1 for row in found["comments"]]
    assert [row[1] for row in noted] == [f"Prompt {number}" for number in numbers]
    assert f'href="#case-{numbers[0]}-ipo"' in page
    assert not any(text in page for text in HOSTILE if "<" in text)
    summary = page.split('<section id="summary"')[1].split("</section>")[0]
    ipo, dpo = summary.split("DPO against base")
    assert f"People: {found['verdict']['people']}" in ipo and html.escape(found["verdict"]["sentence"]) in ipo.replace(
        "&#39;", "&#x27;"
    )
    assert "People" not in dpo and 'id="people"' not in page_of(tmp_path, methods)
    # Each policy beside its own.
    own = found["verdict"] | {"people": "as good", "sentence": "DPO is as good."}
    write_json(tmp_path / "metrics/people/dpo.json", found | {"verdict": own})
    summary = page_of(tmp_path, methods, methods).split('<section id="summary"')[1].split("</section>")[0]
    ipo, dpo = summary.split("DPO against base")
    assert "DPO is as good." in dpo and "People: as good" in dpo and "DPO is as good." not in ipo


@pytest.mark.usefixtures("few_resamples")
@pytest.mark.parametrize("which", ["random", "disagreement"])
def test_where_people_contradict_the_reward_model_the_summary_says_so(tmp_path, which):
    write_example(tmp_path, ["dpo"])
    people_outputs(tmp_path, "dpo")
    assert "People contradict" not in page_of(tmp_path, ["dpo"], ["dpo"])
    found = read_json(tmp_path / "metrics/people/dpo.json")
    verdict = {
        "people": "worse",
        "people_would_be": None,
        "against_reward": "contradicts",
        "seen": {},
        "sentence": "So <i>it</i> is.",
    }
    if which == "disagreement":
        verdict |= {"people": "withheld", "people_would_be": "worse", "against_reward": None}
    write_json(tmp_path / "metrics/people/dpo.json", found | {"which": which, "verdict": verdict})
    page = page_of(tmp_path, ["dpo"], ["dpo"])
    summary = page.split('<section id="summary"')[1].split("</section>")[0]
    assert ("People contradict the reward model" in summary) == (which == "random") and "So &lt;i&gt;it&lt;/i&gt; is." in summary
    assert ("they would have said: worse" in summary) == (which == "disagreement")
    assert ("a random sample of the prompts" in page) == (which == "random")


def test_where_nobody_has_answered_yet(tmp_path):
    write_example(tmp_path, ["dpo"])
    nobody = {"study": "s", "which": "random", "cases": 30, "repeats": 6, "annotators": [], "comments": [], "win_rate": None}
    write_json(tmp_path / "metrics/people/dpo.json", nobody)
    page = page_of(tmp_path, ["dpo"], ["dpo"])
    assert "Nobody has answered yet" in page and "reports/blind/dpo.html" in page and "People:" not in page


def test_an_interrupted_training_has_no_time(tmp_path):
    write_example(tmp_path, ["dpo", "ipo"])
    assert "interrupted" not in page_of(tmp_path, ["dpo", "ipo"])
    cost = read_json(tmp_path / "metrics/methods_cost.json")
    cost["ipo"] |= {"seconds": None, "seconds_relative_to_dpo": None, "seconds_per_1000_tokens": None}
    write_json(tmp_path / "metrics/methods_cost.json", cost)
    page = page_of(tmp_path, ["dpo", "ipo"])
    assert starting(tables(page), "Cost of training")[2] == ["IPO", "–", "–", "–", "4.00", "cpu", "bfloat16"]
    assert "There is no time of a training that was interrupted" in page


def test_without_truth_and_without_other_seeds_the_methods_say_so(tmp_path):
    write_example(tmp_path, ["ipo", "kto"], sandbox=False)
    page = page_of(tmp_path, ["ipo", "kto"])
    found = tables(page)
    assert "Spread over seeds: not measured for these parameters." in page
    assert len(starting(found, "What came of it")[0]) == 8
    assert not any("truth" in caption or "Gold" in caption or "gold" in caption for caption in found)
    assert [row[2] for row in starting(found, "Cost of training")[1:]] == ["–", "–"]  # DPO was not trained


@pytest.fixture(scope="module")
def address(tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("report")
    write_example(folder, ["dpo", "ipo"])
    (folder / "index.html").write_text(page_of(folder, ["dpo", "ipo"]), encoding="utf-8")
    return (folder / "index.html").as_uri()


@pytest.fixture
def page(browser, address):
    """The page, opened; fails where it asks the network, writes to the console or opens a dialog."""
    with watched(browser.new_page(viewport={"width": 1280, "height": 900})) as opened:
        opened.goto(address)
        yield opened


def differences(page, what: str) -> list[float]:
    """The differences in reward or words that the cases on this page show."""
    texts = page.locator(".where").all_inner_texts()
    return [float(re.search(rf"{what} ([+−\d.]+)", text)[1].replace("−", "-")) for text in texts]


def data(page, what: str) -> list:
    """Of each case of the page's data what the JavaScript expression says of `c`."""
    return page.evaluate(f"() => JSON.parse(document.getElementById('case-data').textContent).cases.map((c) => {what})")


def numbers(page) -> list[int]:
    return [int(re.search(r"Prompt (\d+)", text)[1]) for text in page.locator(".where").all_inner_texts()]


def test_cases_are_sorted(page):
    assert numbers(page) == list(range(1, 11))
    order, direction = page.get_by_label("Order"), page.get_by_label("Direction")
    assert not direction.is_visible()  # the data's own order has none
    for measure in ("reward", "words", "repetition"):
        order.select_option(f"difference {measure}")
        for way in ("down", "up"):
            direction.select_option(way)
            shown = differences(page, measure)
            assert shown == sorted(shown, reverse=way == "down"), (measure, way)
        for whose, policy in (("policy", "dpo"), ("base", "base")):
            order.select_option(f"{whose} {measure}")
            values = data(page, f"c.responses.{policy}.{measure}")
            assert [values[i - 1] for i in numbers(page)] == sorted(values)[:10], (measure, whose)
            direction.select_option("down")
            assert [values[i - 1] for i in numbers(page)] == sorted(values, reverse=True)[:10], (measure, whose)
            direction.select_option("up")
        assert direction.is_visible()
    order.select_option("original")
    assert numbers(page) == list(range(1, 11)) and not direction.is_visible()


def test_quick_filters(page):
    everything = page.evaluate("""() => JSON.parse(document.getElementById("case-data").textContent).cases.map(
        (c) => [c.responses.dpo.reward - c.responses.base.reward, c.responses.base.gold, c.responses.dpo.gold])""")
    wins = [d for d, _, _ in everything if d > 0]
    page.get_by_role("button", name="Biggest wins").click()
    assert differences(page, "reward")[0] == pytest.approx(max(wins), abs=0.006)
    assert page.get_by_role("status").inner_text().startswith(f"{len(wins)} of 40 prompts")
    page.get_by_role("button", name="Biggest losses").click()
    assert differences(page, "reward")[0] == pytest.approx(min(d for d, _, _ in everything), abs=0.006)
    page.get_by_role("button", name="Ties").click()
    assert set(differences(page, "reward")) == {0.0} and len(numbers(page)) == sum(d == 0 for d, _, _ in everything) > 0
    assert page.get_by_role("button", name="Ties").get_attribute("aria-pressed") == "true"
    for name, before, after in (("Gold gained", False, True), ("Gold lost", True, False)):
        page.get_by_role("button", name=name).click()
        assert numbers(page) == [i for i, (_, b, a) in enumerate(everything, 1) if (b, a) == (before, after)][:10] != []


def test_filters_for_what_a_judge_is_fooled_by(page):
    everything = page.evaluate(
        """() => JSON.parse(document.getElementById("case-data").textContent).cases.map((c) => c.responses)"""
    )
    page.get_by_role("button", name="Judge says better, truth does not").click()
    better = [r for r in everything if r["dpo"]["reward"] > r["base"]["reward"]]
    wanted = [r for r in better if not r["dpo"]["gold"] > r["base"]["gold"]]
    assert len(wanted) < len(better)
    assert page.get_by_role("status").inner_text().startswith(f"{len(wanted)} of 40 prompts") and len(wanted) > 3
    assert differences(page, "reward")[0] == pytest.approx(
        max(r["dpo"]["reward"] - r["base"]["reward"] for r in wanted), abs=0.006
    )
    for name in ("loops", "echoes"):
        page.get_by_role("button", name=name.capitalize()).click()
        wanted = [i for i, r in enumerate(everything, 1) if r["dpo"][name]]
        assert numbers(page) == wanted[:10] != [] and len(wanted) < 20
        assert all(name in text for text in page.locator(".response:nth-child(2) .facts").all_inner_texts())


def test_one_category_alone(page):
    categories = page.evaluate(
        """() => JSON.parse(document.getElementById("case-data").textContent).cases.map((c) => c.category)"""
    )
    chosen = page.locator("#case-category")
    assert chosen.locator("option").all_inner_texts()[0] == "all"
    assert chosen.locator("option").all_inner_texts()[1:] == [f"{c} ({categories.count(c)})" for c in sorted(set(categories))]
    chosen.select_option(categories[3])
    assert numbers(page) == [i for i, c in enumerate(categories, 1) if c == categories[3]]
    assert all(f"· {categories[3]}" in text for text in page.locator(".where").all_inner_texts())


def test_a_link_opens_its_case(browser, expect, address):
    opened = browser.new_page(viewport={"width": 1280, "height": 900})
    opened.goto(f"{address}#case-23-ipo")

    def focused() -> str:
        return opened.evaluate("document.activeElement.id")

    assert focused() == "case-23" and opened.locator(".page-number").first.inner_text() == "page 3 of 4"
    assert opened.locator("#case-method").input_value() == "ipo"
    top = opened.evaluate("document.activeElement.getBoundingClientRect().top")
    assert 0 <= top < 600
    opened.get_by_role("button", name="Ties").click()
    assert "case-5" not in opened.locator(".case").evaluate_all("found => found.map((e) => e.id)")
    opened.evaluate("location.hash = '#case-5'")
    expect(opened.locator("#case-5")).to_be_focused()
    assert opened.locator("[data-filter=all]").get_attribute("aria-pressed") == "true"
    assert opened.locator("#case-method").input_value() == "ipo"
    opened.locator("#case-7 .where a").click()
    expect(opened.locator("#case-7")).to_be_focused()
    assert opened.url.endswith("#case-7-ipo")
    for nonsense in ("#case-0", "#case-41", "#case-3-other", "#case-1e1"):
        opened.evaluate(
            """(hash) => new Promise((handled) => {  // resolved after the page's own listener has run
            addEventListener("hashchange", () => setTimeout(handled), {once: true});
            location.hash = hash;
        })""",
            nonsense,
        )
        assert focused() == "case-7"
    opened.close()


def saved(page, button) -> list[list[str]]:
    """The rows of the CSV file that a button saves."""
    with page.expect_download() as download:
        button.click()
    raw = Path(download.value.path()).read_bytes()
    assert raw.startswith(b"\xef\xbb\xbf") and raw.endswith(b"\r\n")
    return list(csv.reader(io.StringIO(raw.decode("utf-8-sig"), newline="")))


def test_the_cases_shown_as_csv(page):
    everything = data(page, "c")
    header, *rows = saved(page, page.get_by_role("button", name="CSV of these prompts"))
    assert len(rows) == 40 and {len(row) for row in rows} == {len(header)}
    column = {name: [row[i] for row in rows] for i, name in enumerate(header)}
    assert column["number"] == [str(i) for i in range(1, 41)] and column["category"] == [c["category"] for c in everything]
    assert column["dpo response"] == [c["responses"]["dpo"]["text"] for c in everything]
    assert [float(x) for x in column["base reward"]] == [c["responses"]["base"]["reward"] for c in everything]
    assert set(column["dpo gold"]) == {"true", "false"} and "does not obey" in column["base flaw"]
    assert column["prompt"][0] == everything[0]["prompt"][0]["content"]
    assert column["prompt"][4].startswith("system: Be <b>brief</b>.\n\nuser: Do hedgehogs knit?\n\nassistant: <img")
    page.get_by_role("button", name="Ties").click()
    _, *ties = saved(page, page.get_by_role("button", name="CSV of these prompts"))
    assert [int(row[0]) for row in ties] == numbers(page)


@pytest.mark.parametrize("text", ["=1+1", "+1+1", "-1+1", "@SUM(A1)", " =1", "\t=1", "\r1", "\n1", "＝1", "-"])
def test_no_cell_becomes_a_formula(page, text):
    cell = page.evaluate("(text) => spreadsheet.cell(text)", text)
    assert next(csv.reader(io.StringIO(cell, newline=""))) == [f"'{text}"]


def test_other_cells_stay_what_they_are(page):
    for value, cell in (
        ("a", '"a"'), ('say "x, y"', '"say ""x, y"""'), (-1.5, "-1.5"), ("-1.5", "-1.5"), (None, '""'), (False, '"false"'),
        (1e-7, "1e-7"), ("a=1", '"a=1"'),
    ):  # fmt: skip
        assert page.evaluate("(value) => spreadsheet.cell(value)", value) == cell


def test_every_table_as_csv(page):
    captions = page.locator(".scroll").evaluate_all("found => found.map((e) => e.dataset.caption)")
    buttons = page.get_by_role("button", name=re.compile("^CSV of the table: "))
    assert buttons.count() == len(captions) > 15
    names = buttons.evaluate_all("found => found.map((e) => e.getAttribute('aria-label'))")
    assert names == [f"CSV of the table: {caption}" for caption in captions]
    widths = page.locator(".scroll table").evaluate_all("""found => found.map((table) =>
        [...table.rows].map((row) => [...row.cells].reduce((sum, cell) => sum + cell.colSpan, 0)))""")
    for place in (0, len(captions) // 2, len(captions) - 1):
        assert [len(row) for row in saved(page, buttons.nth(place))] == widths[place]
    header, *rows = saved(page, page.get_by_role("button", name="CSV of the table: Data card"))
    assert header == ["Rows", "Training", "Validation"] and ["Rows read", "44", "44"] in rows
    ranked = saved(page, page.get_by_role("button", name="CSV of the table: What became of the responses of DPO"))
    shown = page.locator("[data-caption^='What became of the responses of DPO'] tbody tr").all()
    for row, cells in zip(ranked[1:], shown, strict=True):
        told = cells.locator("th, td").all_inner_texts()
        assert row[0].split()[0] == told[0].split()[0] and "▼" not in row[0] and row[2] == " ".join(told[2].split())
    spread = saved(page, page.get_by_role("button", name="CSV of the table: What each method needs"))
    assert spread[1][:2] == ["DPO", "needed"] and spread[1][4] == "1234"


def test_a_response_says_letter_gold_and_why_it_is_not(page):
    given = page.evaluate("""() => JSON.parse(document.getElementById("case-data").textContent).cases.slice(0, 10).flatMap(
        (c) => ["base", "dpo"].map((p) => [c.responses[p].letter, c.responses[p].gold, c.responses[p].flaw]))""")
    wanted = []
    for letter, gold, flaw in given:
        refused = f"✗ not gold: {flaw}" if letter else "✗ not gold"
        wanted.append(["✓ letter" if letter else "✗ letter", "✓ gold" if gold else refused])
    facts = [box.locator("li").all_inner_texts() for box in page.locator("#case-list .facts").all()]
    assert [[text for text in found if text[0] in "✓✗"] for found in facts] == wanted
    assert {gold for _, gold, _ in given} == {True, False} and any(letter and flaw for letter, _, flaw in given)


def test_search_needs_all_words_and_takes_them_literally(page, expect):
    search, status = page.get_by_role("searchbox"), page.get_by_role("status")
    search.fill("CHICKENS number")
    expected = page.evaluate("""() => JSON.parse(document.getElementById("case-data").textContent).cases
        .filter((c) => c.prompt[0].content.includes("chickens")).length""")
    assert 0 < expected < 40
    expect(status).to_have_text(re.compile(f"^{expected} of 40 prompts"))
    assert {mark.lower() for mark in page.locator("mark").all_inner_texts()} == {"chickens", "number"}
    search.fill('onerror="window.injected (.*')
    expect(status).to_have_text("0 of 40 prompts")
    everything = data(page, "[...c.prompt.map((turn) => turn.content), c.responses.base.text, c.responses.dpo.text]")

    def holding(*terms: str) -> int:
        return sum(all(any(term in text.lower() for text in texts) for term in terms) for texts in everything)

    first, second = next((a, b) for a in FILLER for b in FILLER if 0 < holding(f"{a} {b}") < holding(a, b))
    phrase = f"{first} {second}"
    for typed in (f'"{first.upper()}  {second}"', f"“{phrase}”", f'"{phrase}'):
        search.fill("")
        expect(status).to_have_text(re.compile("^40 of 40 prompts"))
        search.fill(typed)
        expect(status).to_have_text(re.compile(f"^{holding(phrase)} of 40 prompts"))
        assert phrase in {mark.lower() for mark in page.locator("mark").all_inner_texts()}
    search.fill(f'"{phrase}" number ""')
    expect(status).to_have_text(re.compile(f"^{holding(phrase, 'number')} of 40 prompts"))
    search.fill("</script>")
    expect(status).to_have_text(re.compile("^1 of 40 prompts"))
    search.fill("")
    expect(status).to_have_text(re.compile("^40 of 40 prompts"))


def test_pages_and_methods_by_keyboard(page):
    page.get_by_role("searchbox").focus()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "case-method"
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    page.keyboard.press("i")
    assert outline == "solid" and "IPO" in page.locator(".response h4").all_inner_texts()
    for expected in ("case-category", "case-order"):
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.id") == expected
    page.keyboard.press("ArrowDown")  # an order that has a direction
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "case-direction"
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert page.locator("[data-filter=wins]").get_attribute("aria-pressed") == "true"
    page.locator("[data-filter=all]").press("Space")
    following = page.locator("[data-step='1']").first
    for expected in (11, 21, 31, 31):  # at the end the button stays where the keyboard is and does nothing
        following.press("Enter")
        assert numbers(page)[0] == expected
        assert page.evaluate("document.activeElement.dataset.step") == "1"
    page.locator("[data-step='-1']").last.press("Enter")
    assert numbers(page)[0] == 21


def test_a_conversation_is_shown_turn_by_turn(page):
    case = page.locator("#case-list article").nth(4)
    assert case.locator(".role").all_inner_texts() == ["system", "user", "assistant", "user"]
    assert case.locator(".turn").all_inner_texts() == [turn["content"] for turn in EARLIER]
    assert page.locator("#case-list article").first.locator(".role").count() == 0
    page.get_by_role("searchbox").fill("hedgehogs knit")
    page.locator("mark").first.wait_for()
    assert page.get_by_role("status").inner_text().startswith("1 of 40 prompts")


def test_hostile_texts_are_texts(page):
    shown = page.locator(".response:nth-child(2) .text").evaluate_all("found => found.map((e) => e.textContent)")
    assert shown[: len(HOSTILE)] == [text or "(empty)" for text in HOSTILE]
    assert page.evaluate("window.injected") is None
    assert page.locator("#case-list :is(img, svg, script)").count() == 0
    assert page.locator("script").count() == 2


def test_a_script_that_got_in_would_not_run(browser, address):
    opened = browser.new_page()
    opened.goto(address)
    with opened.expect_event("requestfailed") as failed:
        opened.evaluate("""() => {
            const script = document.createElement("script");
            script.textContent = "window.injected = 1";
            document.body.append(script);
            document.body.insertAdjacentHTML("beforeend", "<img src=https://example.org/x onerror='window.injected = 2'>");
        }""")
    assert failed.value.failure == "csp"
    assert opened.evaluate("fetch('https://example.org/').then(() => 'fetched', () => 'refused')") == "refused"
    assert opened.evaluate("window.injected") is None
    opened.close()


def test_where_both_are_gold_the_truth_does_not_say_better(browser, tmp_path):
    write_example(tmp_path, ["dpo"])
    html, found = page_of(tmp_path, ["dpo"]), r'(?s)(<script type="application/json" id="case-data">)(.*?)(</script>)'
    data = json.loads(re.search(found, html)[2])
    for case in data["cases"]:
        case["responses"]["base"]["gold"] = case["responses"]["dpo"]["gold"] = True
    both = json.dumps(data).replace("<", "\\u003c")
    (tmp_path / "gold.html").write_text(re.sub(found, lambda part: part[1] + both + part[3], html), encoding="utf-8")
    better = sum(case["responses"]["dpo"]["reward"] > case["responses"]["base"]["reward"] for case in data["cases"])
    with watched(browser.new_page()) as opened:
        opened.goto((tmp_path / "gold.html").as_uri())
        opened.get_by_role("button", name="Judge says better, truth does not").click()
        assert opened.locator("#case-count").inner_text().startswith(f"{better} of ") and better > 3


@pytest.mark.parametrize("width", [320, 360, 390, 768, 1280])
def test_nothing_is_wider_than_the_screen(page, width):
    page.set_viewport_size({"width": width, "height": 800})
    page.evaluate("""() => {  // the longest reason there is
        document.querySelector(".facts li").textContent = "✗ not gold: quotes within the answer, not around it";
    }""")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    wide = page.evaluate("""() => [...document.querySelectorAll("main *")].filter(
        (e) => !e.closest(".scroll") && e.getBoundingClientRect().right > innerWidth + 1
    ).map((e) => e.outerHTML.slice(0, 80))""")
    assert wide == []


def test_every_section_can_be_reached_in_a_low_window(page):
    page.set_viewport_size({"width": 1300, "height": 300})
    last = page.locator("nav a").last
    assert last.bounding_box()["y"] > 300
    last.scroll_into_view_if_needed()
    assert last.bounding_box()["y"] + last.bounding_box()["height"] < 301 and page.evaluate("scrollY") == 0


def test_a_long_prompt_scrolls_in_its_place(browser, tmp_path):
    write_example(tmp_path, ["dpo"])
    html = page_of(tmp_path, ["dpo"])
    asked = read_dicts(tmp_path / "data/responses/scored.parquet")[0]["prompt"][-1]["content"]
    (tmp_path / "long.html").write_text(html.replace(json.dumps(asked)[1:-1], "word " * 4000), encoding="utf-8")
    with watched(browser.new_page(viewport={"width": 400, "height": 800})) as opened:
        opened.goto((tmp_path / "long.html").as_uri())
        prompt = opened.locator(".prompt").first
        assert prompt.inner_text().startswith("word word") and prompt.bounding_box()["height"] < 500
        opened.emulate_media(media="print")
        assert prompt.bounding_box()["height"] > 5000


@pytest.mark.parametrize("width", [390, 1280])
def test_tables_that_scroll_say_so_and_the_others_take_no_tab_stop(page, expect, width):
    page.set_viewport_size({"width": width, "height": 800})
    expect(page.locator(".scroll[tabindex]")).not_to_have_count(0)
    boxes = page.locator(".scroll").evaluate_all("""boxes => boxes.map((e) => ({
        wide: e.scrollWidth > e.clientWidth + 1, stop: e.tabIndex === 0, role: e.getAttribute("role"),
        said: e.previousElementSibling.checkVisibility(), name: e.getAttribute("aria-label"),
    }))""")
    assert len(boxes) > 15 and 0 < sum(box["wide"] for box in boxes) < len(boxes)
    for box in boxes:
        assert box["wide"] == box["stop"] == box["said"] == (box["role"] == "region") == (box["name"] is not None)


def test_headers_have_words_and_landmarks_names_of_their_own(page):
    """As axe-core's rules empty-table-header and landmark-unique ask."""
    assert page.locator("th").evaluate_all("found => found.every((e) => e.textContent.trim())")
    names = page.evaluate("""() => [...document.querySelectorAll("nav, main, section, [role=region], [role=search]")].map((e) =>
        `${e.getAttribute("role") ?? e.tagName} ` + (e.getAttribute("aria-label")
            ?? document.getElementById(e.getAttribute("aria-labelledby"))?.textContent ?? "").toLowerCase())""")
    assert len(names) > 12 and len(set(names)) == len(names)


def test_print_has_what_is_shown_and_no_controls(page):
    page.get_by_role("button", name="Ties").click()
    colour = "getComputedStyle(document.querySelector('.bad')).color"
    on_screen = page.evaluate(colour)
    page.emulate_media(media="print", color_scheme="dark")
    assert page.evaluate(colour) == on_screen  # ink for white paper, whatever the screen's scheme
    for hidden in ("nav", "#case-controls", ".pager >> nth=0", "button.csv >> nth=0"):
        assert not page.locator(hidden).is_visible(), hidden
    assert page.locator(".case").count() == page.locator(".case:visible").count() > 0
    assert page.locator(".case").count() == int(page.get_by_role("status").inner_text().split()[0])
    assert len(page.pdf()) > 10_000


def test_without_javascript_the_rest_stands(browser, address):
    context = browser.new_context(java_script_enabled=False)
    opened = context.new_page()
    opened.goto(address)
    assert opened.locator("noscript").is_visible() and not opened.locator("#browser").is_visible()
    assert opened.locator(".sentence").count() == 2
    context.close()


def test_as_many_cases_as_a_page_shows_can_be_filtered(browser, tmp_path):
    write_example(tmp_path, ["dpo"], whole=False)
    study = gather(tmp_path, ["dpo"], "standard")
    copies = PARAMS.report.max_cases // 40
    study["responses"] = [
        row | {"id": f"{row['id']}-{copy}", "response": row["response"] + " word" * 200}
        for copy in range(copies)
        for row in study["responses"]
    ]
    wins = copies * study["policies"]["dpo"]["against_base"]["wins"]
    (tmp_path / "large.html").write_text(render(study, PARAMS.model_dump(), MADE_ON, RUN_OF), encoding="utf-8")
    with watched(browser.new_page()) as opened:
        opened.goto((tmp_path / "large.html").as_uri())
        assert opened.get_by_role("status").inner_text().startswith("2000 of 2000")
        opened.locator("[data-filter=wins]").click()
        assert 0 < wins < 2000 and opened.get_by_role("status").inner_text().startswith(f"{wins} of 2000")
