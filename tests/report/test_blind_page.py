"""The page on which people judge blind: what its source tells, and a person at it, in Chromium."""

import json
import re
from datetime import UTC, datetime

import pandas as pd
import pytest

from preference_study.annotations import read_annotations
from preference_study.blind import Drawing, draw
from preference_study.report.blind import render
from preference_study.texts.gold import with_truth
from tests.browser import watched
from tests.report.example import EARLIER, HOSTILE, responses

ANSWERS = {"1": "1", "2": "2", "t": "tie", "s": "skip"}


@pytest.fixture(scope="module")
def drawn() -> Drawing:
    """16 prompts, among them a conversation and hostile texts, 4 of them twice."""
    rows = with_truth(pd.DataFrame(responses(["base", "dpo"], 16, sandbox=True)))
    base, dpo = (rows[rows["policy"] == policy].set_index("id") for policy in ("base", "dpo"))
    return draw(base, dpo, list(base.index), cases=16, repeats=4, seed=1)


@pytest.fixture(scope="module")
def address(drawn, tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("blind") / "dpo.html"
    path.write_text(render(drawn.page), encoding="utf-8")
    return path.as_uri()


@pytest.fixture
def page(browser, address):
    """The page on a desk, in a browser that knows nothing of it yet."""
    with watched(browser.new_page(viewport={"width": 1280, "height": 900})) as opened:
        opened.goto(address)
        yield opened


@pytest.fixture
def at(expect):
    """Waits until a page shows a case by its place."""
    return lambda page, place: expect(page.locator("#place")).to_have_text(f"Case {place} of 20")


def lines(page, tmp_path) -> list[dict]:
    with page.expect_download() as download:
        page.get_by_role("button", name="Save as a file").click()
    download.value.save_as(tmp_path / download.value.suggested_filename)
    text = (tmp_path / download.value.suggested_filename).read_text(encoding="utf-8")
    assert text.endswith("\n")
    return [json.loads(line) for line in text.split("\n")[:-1]]


def test_the_source_tells_neither_names_nor_scores(drawn):
    html = render(drawn.page)
    shown = json.loads(re.search(r'<script type="application/json" id="page-data">(.*?)</script>', html, re.DOTALL)[1])
    assert shown == drawn.page and len(shown["cases"]) == 20
    without = html.replace(re.search(r'id="page-data">(.*?)</script>', html, re.DOTALL)[1], "")
    assert not re.search(r"dpo|policy(?!\")|reward|gold|\bbase\b(?!-uri)", without, re.IGNORECASE)
    assert not re.search(r"(?:src|href|url)\W{1,2}(?:https?:)?//", html)
    assert not any(name in json.dumps(shown) for name in ('"policy"', '"reward"', '"gold"', '"first"', '"again"', '"cluster"'))


def test_twenty_cases_by_click_and_by_key(page, drawn, address, tmp_path, at):
    cases, given = drawn.page["cases"], {}
    before = datetime.now(UTC)
    page.get_by_label("Your name").fill("  Zoë K. ")
    for number, case in enumerate(cases[:10], start=1):
        at(page, number)
        assert page.locator("#prompt .asked").text_content() == case["prompt"][-1]["content"]
        assert [page.locator(f"#response-{side}").text_content() for side in (1, 2)] == [
            t if t.strip() else "(empty)" for t in case["responses"]
        ]
        answer = list(ANSWERS.values())[number % 4]
        if number == 3:
            page.get_by_role("button", name="Flag").click()
            page.get_by_label("Comment").fill('both wrong:\n"quotes" </script>\u2028&')
        page.locator(f'[data-answer="{answer}"]').click()
        given[case["case"]] = answer
    at(page, 11)
    assert "10 of 20 cases" in page.locator("#answered").inner_text()

    page.reload()  # it keeps its place, the name and what was said
    at(page, 11)
    assert page.get_by_label("Your name").input_value() == "  Zoë K. "
    page.keyboard.press("ArrowLeft")
    at(page, 10)
    assert page.locator('[data-answer][aria-pressed="true"]').get_attribute("data-answer") == given[cases[9]["case"]]
    page.keyboard.press("ArrowRight")

    for number, case in enumerate(cases[10:], start=11):
        at(page, number)
        key = list(ANSWERS)[number * 3 % 4]
        if number == 15:
            page.keyboard.press("f")
            page.keyboard.press("c")
            page.keyboard.type("2 st, 1 t")  # is no answer
            page.keyboard.press("Escape")
        if number == 16:
            page.keyboard.press("f")
            page.keyboard.press("F")  # not flagged after all
        page.keyboard.press(key)
        given[case["case"]] = ANSWERS[key]
    assert "All 20 cases are answered" in page.locator("#answered").inner_text()

    # The last case is answered again, otherwise: what counts is what was said last.
    at(page, 20)
    page.keyboard.press("2")
    given[cases[-1]["case"]] = "2"

    found = lines(page, tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == [f"{drawn.study}-zoë-k.jsonl"]
    assert {row["case"]: row["answer"] for row in found} == given and [row["case"] for row in found] == [c["case"] for c in cases]
    assert set(given.values()) == set(ANSWERS.values())
    assert {(row["annotator"], row["study"], row["seed"]) for row in found} == {("Zoë K.", drawn.study, 1)}
    assert [place for place, row in enumerate(found) if row["flag"]] == [2, 14]
    assert {place: row["comment"] for place, row in enumerate(found) if row["comment"]} == {
        2: 'both wrong:\n"quotes" </script>\u2028&', 14: "2 st, 1 t",
    }  # fmt: skip
    assert page.locator("#export").input_value() == "".join(
        json.dumps(row, ensure_ascii=False, separators=(",", ":")) + "\n" for row in found
    )
    read = read_annotations({"f": "\n".join(map(json.dumps, found))}, {"dpo": drawn.key})
    assert len(read) == 20 and before <= read["time"].min() <= read["time"].max() <= datetime.now(UTC)


def test_a_double_click_judges_one_case(page, at):
    for nth in (1, 2):  # as a double click does, wherever the buttons have moved in between
        page.locator('[data-answer="1"]').dispatch_event("click", {"detail": nth})
    at(page, 2)
    assert "1 of 20 cases" in page.locator("#answered").inner_text()
    page.locator('[data-answer="2"]').click(delay=20)
    at(page, 3)


def test_a_name_is_asked_for_and_half_the_cases_can_be_saved(page, drawn, tmp_path):
    page.keyboard.press("1")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("t")
    page.get_by_role("button", name="Save as a file").click()
    assert "Give your name" in page.locator("#answered").inner_text()
    page.keyboard.type("1 2 Bob")  # the cursor stands in the field, where keys are no answers
    found = lines(page, tmp_path)
    cases = [case["case"] for case in drawn.page["cases"]]
    assert [(row["case"], row["answer"], row["annotator"]) for row in found] == [
        (cases[0], "1", "1 2 Bob"), (cases[2], "tie", "1 2 Bob"),
    ]  # fmt: skip


def test_texts_are_shown_as_they_are(page, drawn):
    """Markup is text, and every turn of a conversation is there."""
    seen = set()
    for case in drawn.page["cases"]:
        for side, text in enumerate(case["responses"], start=1):
            assert page.locator(f"#response-{side}").text_content() == (text if text.strip() else "(empty)")
            seen.add(text)
        if len(case["prompt"]) > 1:
            assert page.locator("#prompt .turn").all_text_contents() == [turn["content"] for turn in EARLIER]
            seen.add("turns")
        page.keyboard.press("ArrowRight")
    assert set(HOSTILE) <= seen and "turns" in seen
    assert page.evaluate("() => window.injected") is None and page.locator("#case script, #case img").count() == 0


def test_on_a_phone(browser, address, drawn, at):
    context = browser.new_context(viewport={"width": 360, "height": 640}, has_touch=True, is_mobile=True)
    with watched(context.new_page()) as phone:
        phone.goto(address)
        phone.locator('[data-answer="2"]').tap()
        at(phone, 2)
        assert phone.evaluate("() => document.documentElement.scrollWidth") == 360
        for button in phone.locator(".answers button").all():
            box = button.bounding_box()
            assert box["height"] >= 44 and box["x"] >= 0 and box["x"] + box["width"] <= 360
        # What answers is on the screen wherever the text is scrolled to.
        phone.evaluate("() => { document.getElementById('response-1').textContent = 'a long response '.repeat(500); }")
        phone.evaluate("() => scrollTo(0, document.querySelector('.responses').offsetTop - 100)")
        last = phone.locator('[data-answer="skip"]').bounding_box()
        assert 0 < last["y"] < 640 - last["height"]
    context.close()


def test_a_browser_that_keeps_nothing_says_so(browser, address, at):
    context = browser.new_context()
    context.add_init_script("Object.defineProperty(window, 'localStorage', { get() { throw new Error('denied'); } })")
    with watched(context.new_page()) as opened:
        opened.goto(address)
        opened.keyboard.press("1")
        at(opened, 2)
        assert opened.locator("#kept").is_visible()
    context.close()


def test_another_study_begins_anew(browser, drawn, address, tmp_path, at):
    context = browser.new_context()
    with watched(context.new_page()) as opened:
        opened.goto(address)
        opened.locator('[data-answer="1"]').click()
        at(opened, 2)
        other = tmp_path / "other.html"
        other.write_text(render(drawn.page | {"study": "0" * 16}), encoding="utf-8")
        opened.goto(other.as_uri())
        at(opened, 1)
        # What one page kept may reach the next a moment later, where the browser gives each a process of its own.
        for _ in range(20):
            opened.goto(address)
            if opened.locator("#place").inner_text() != "Case 1 of 20":
                break
            opened.wait_for_timeout(500)
        at(opened, 2)
    context.close()
