"""A person's round trip: a page drawn by dvc repro, judged in Chromium, exported, and read on the report's page."""

import json
import re
import shutil
import subprocess

from preference_study.numbers import with_interval
from tests.browser import watched
from tests.workspace import change, run, stages_run

ANSWERS = {"1": "1", "2": "2", "t": "tie", "s": "skip"}


def test_from_the_blind_page_to_the_report(finished, browser, tmp_path):
    folder = finished.folder
    assert not (folder / "reports/blind").exists() and not (folder / "data/blind").exists()
    change(folder, people={"methods": ["dpo"], "cases": 16, "repeats": 4}, generate={"max_prompts": 16})
    asked = {"draw_blind@dpo", "analyse_people@dpo"}
    ran = stages_run(run(folder, "dvc", "repro"))
    assert asked < ran and "train_policy@dpo" not in ran
    page = (folder / "reports/index.html").read_text()
    assert "Nobody has answered yet" in page and "People:" not in page
    assert json.loads((folder / "metrics/people/dpo.json").read_text())["annotators"] == []

    said = judge(browser, (folder / "reports/blind/dpo.html").as_uri(), folder / "data/annotations/kim.jsonl")
    key = json.loads((folder / "data/blind/dpo.json").read_text())
    assert len(said) == len(key["cases"]) == 20
    assert stages_run(run(folder, "dvc", "repro")) == {"analyse_people@dpo", "report"}

    # What came of it, by hand from the key.
    points = {}
    for case in key["cases"]:
        chosen = {"1": case["first"], "2": {"base": "dpo", "dpo": "base"}[case["first"]]}.get(said[case["case"]])
        points[case["case"]] = {"dpo": 1, "base": 0, None: 0.5 if said[case["case"]] == "tie" else None}[chosen]
    once = [points[case["case"]] for case in key["cases"] if not case["again"] and points[case["case"]] is not None]
    twice = [(points[case["case"]], points[case["again"]]) for case in key["cases"] if case["again"]]
    same = [one == other for one, other in twice if None not in (one, other)]
    found = json.loads((folder / "metrics/people/dpo.json").read_text())
    rate = found["win_rate"]
    assert rate["value"] == sum(once) / len(once) and rate["n"] == len(once) < 16
    assert found["self_agreement"]["value"] == sum(same) / len(same) and len(same) > 0

    with watched(browser.new_page()) as report:
        report.goto((folder / "reports/index.html").as_uri())
        row = report.locator("#people tr", has=report.get_by_role("rowheader", name="Win rate")).inner_text()
        assert with_interval(rate) in row and f"{rate['n']} answers" in row
        assert report.locator("#people tr", has_text="Kim <b>").count() == 2  # who answered, and the comment
        assert report.locator("#people b", has_text="bold").count() == 0
        beside = report.locator("#summary .tag", has_text="People:").inner_text()
        assert beside.endswith(found["verdict"]["people"])
        assert found["verdict"]["sentence"] in report.locator("#summary .people").inner_text()

    # The same answers to a page that is drawn otherwise are another study's.
    change(folder, people={"methods": ["dpo"], "cases": 15, "repeats": 4})
    done = subprocess.run(["dvc", "repro"], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode != 0 and "failed to reproduce 'analyse_people@dpo'" in done.stderr
    assert re.search(r"data/annotations/kim\.jsonl, row 1: column study is .*Move the file elsewhere", done.stdout + done.stderr)

    # And back to where the study was.
    run(folder, "git", "checkout", "-q", ".")
    for left in ("data/annotations/kim.jsonl", "metrics/people/dpo.json"):
        (folder / left).unlink(missing_ok=True)
    for left in ("reports/blind", "data/blind"):
        shutil.rmtree(folder / left)
    run(folder, "dvc", "checkout", "-q")
    assert stages_run(run(folder, "dvc", "repro")) == set() and run(folder, "git", "status", "--porcelain") == ""


def judge(browser, address: str, file) -> dict[str, str]:
    """Answer every case, by click and by key in turn, save the answers, and return them by case."""
    with watched(browser.new_page()) as page:
        page.goto(address)
        page.get_by_label("Your name").fill("Kim <b>")
        page.get_by_label("Your name").blur()
        count = int(page.locator("#place").inner_text().split()[-1])
        for number in range(count):
            key, answer = list(ANSWERS.items())[(number * 7 + number // 3) % 4]
            if number == 2:
                page.get_by_label("Comment").fill("<b>bold</b>")
            if number % 2:
                page.keyboard.press(key)
            else:
                page.locator(f'[data-answer="{answer}"]').click()
            if number == count // 2:
                page.reload()
                assert page.locator("#place").inner_text() == f"Case {number + 2} of {count}"
        with page.expect_download() as download:
            page.get_by_role("button", name="Save as a file").click()
        download.value.save_as(file)
    return {row["case"]: row["answer"] for row in map(json.loads, file.read_text().splitlines())}
