"""The page of two experiments: hostile texts and names, with one judge and with two; where there is a browser, in it."""

import html
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from preference_study.compare import compare
from preference_study.numbers import decimal
from preference_study.report.comparison import render_comparison
from preference_study.revisions import Study
from tests.browser import ARGUMENTS, BROWSERS
from tests.report.example import HOSTILE, responses
from tests.report.test_page import differences, starting, tables

pytestmark = pytest.mark.usefixtures("few_resamples")

NAME = "<b>'a' & \"b\"</b>"


def study(revision: str, policy: str, beta: object, reward_model: str = "1") -> Study:
    judge = {
        "name": "standard",
        "reward_model": reward_model,
        "base_model": "2",
        "max_length": 9,
        "aggregate": {},
        "stands": True,
    }
    identity = {"commit": "c" * 40, "date": "2026-01-02", "names": [NAME], "changed": False}
    params = {
        "seed": 1,
        "policy": {"dpo": {"beta": beta}},
        "verdict": {"smallest_difference": {"win_rate": 0.1, "gold_rate": 0.2}},
    }
    rows = [row for row in responses(["base", "dpo"], 24, True) if row["policy"] == policy]
    return Study(revision, identity, rows, params, judge, {"holds": False, "reasons": ["<i>no</i>"]})


def made(reward_model: str = "1") -> tuple[dict, str]:
    found, rows = compare(study("HEAD", "base", 0.1), study(NAME, "dpo", "<u>0.2</u>", reward_model), "base", "dpo")
    return found, render_comparison(found, rows)


@pytest.fixture(scope="module")
def of_one_judge() -> tuple[dict, str]:
    return made()


@pytest.fixture(scope="module")
def of_two_judges() -> tuple[dict, str]:
    return made("another")


def test_of_a_policy_that_was_trained_against_the_judge_it_gives_no_verdict():
    sides = []
    for name, policy in (("HEAD", "base"), ("other", "dpo")):
        one = study(name, policy, 0.1)
        rows = [row | {"policy": {"dpo": "rloo"}.get(policy, policy)} for row in one.responses]
        sides.append(replace(one, responses=rows, right_to_judge={"holds": True, "reasons": []}))
    found, rows = compare(*sides, "base", "rloo")
    verdict, page = found["b_against_a"]["verdict"], render_comparison(found, rows)
    assert verdict["reward"] == "withheld" and "for B was trained against this reward model" in verdict["sentence"]
    assert "<b>B was trained against it</b>" in page and "Reward: withheld" in page
    assert "trained against" not in made()[1]


def test_its_rows_are_in_two_revisions(of_one_judge):
    _, page = of_one_judge
    assert "Every prompt that both answered with" in page
    assert "in each revision’s <code>data/responses/scored.parquet" in page and "Response_of_DPO_n_Ori" not in page


def test_names_parameters_and_texts_are_escaped(of_one_judge):
    found, page = of_one_judge
    assert found["b"]["called"] == f"DPO of {NAME}" and "DPO of &lt;b&gt;" in page
    for text in (NAME, "<u>0.2</u>", "<i>no</i>", *(text for text in HOSTILE if "<" in text)):
        assert text not in page
    assert not re.search(r"(?:src|href|url)\W{1,2}(?:https?:)?//", page)


def test_each_side_stands_in_its_own_column(of_one_judge):
    found, page = of_one_judge
    of_runs = tables(page, "runs")
    assert starting(of_runs, "Parameters that differ")[1] == ["policy.dpo.beta", "0.1", html.escape("<u>0.2</u>")]
    rows = {row[0]: row[1:] for row in starting(of_runs, "The two sides")[1:]}
    assert rows["Policy"] == ["base", "dpo"] and [html.unescape(cell) for cell in rows["Revision"]] == ["HEAD", NAME]
    of_responses = tables(page, "responses")
    a, b = starting(of_responses, "The responses of each")[1:]
    for row, side in ((a, "a"), (b, "b")):
        assert row[1].startswith(f"{decimal(found[side]['responses']['gold_rate']['value'])} [")
    form = {row[0]: row for row in starting(of_responses, "Form of the responses")[1:]}
    words = found["form"][-1]
    assert [form["words"][2].split()[0], form["words"][3].split()[0]] == [decimal(words[side]["value"], 1) for side in ("a", "b")]
    assert {row[0] for row in starting(of_responses, "Style of the responses")[1:]} == {"headings", "list items", "bold"}


def test_under_two_judges_the_page_compares_no_reward(of_one_judge, of_two_judges):
    one, two = of_one_judge[1], of_two_judges[1]
    for said in ("Win rate by reward", "Biggest wins", "The reward model prefers B", "Mean reward", '"reward":'):
        assert said in one and said not in two, said
    assert "Rewards are not compared" in two and "Rewards are not compared" not in one
    assert "Gold gained" in two and "Form of the responses" in two


@pytest.mark.parametrize("judges", ["of_one_judge", "of_two_judges"])
def test_the_page_in_a_browser(judges, request, tmp_path: Path):
    sync_api = pytest.importorskip("playwright.sync_api", reason="the Python package playwright is not installed")
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.skip(f"no browser: none of {', '.join(BROWSERS)} is installed")
    (tmp_path / "compare.html").write_text(request.getfixturevalue(judges)[1], encoding="utf-8")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=list(ARGUMENTS))
        page, wrong = browser.new_page(viewport={"width": 390, "height": 800}), []
        page.on("console", lambda message: wrong.append(message.text))
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.goto((tmp_path / "compare.html").as_uri())
        assert page.get_by_role("status").inner_text().startswith("24 of 24 prompts")
        assert page.locator(".response h4").all_inner_texts()[:2] == ["A", "B"]
        shown = page.locator(".response:nth-child(2) .text").evaluate_all("found => found.map((e) => e.textContent)")
        assert shown[: len(HOSTILE)] == [text or "(empty)" for text in HOSTILE]
        assert all(text.startswith("B minus A: ") for text in page.locator(".where span:last-child").all_inner_texts())
        assert ("reward" in page.locator("#case-list").inner_text()) == (judges == "of_one_judge")
        assert "NaN" not in page.locator("main").inner_text() and "undefined" not in page.locator("main").inner_text()
        words = differences(page, "words")
        assert len(words) == 10 and page.evaluate("window.injected") is None
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        page.get_by_role("button", name="Gold gained").click()
        browser.close()
    assert wrong == []
