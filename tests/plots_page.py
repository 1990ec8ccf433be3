"""The page that `dvc plots` writes, opened in Chromium without the internet; skips a test where Chromium is missing.

The page loads Vega, Vega-Lite and Vega-Embed from jsdelivr.net. In their place it gets those that vl-convert-python holds, whose
oldest Vega-Lite (5.8) is newer than DVC's (5.2): what the two draw from our templates was compared by hand.
"""

import re
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.browser import ARGUMENTS, BROWSERS

# Chart by chart, which DVC makes in the order of their definitions, what was drawn.
DRAWN = """async () => {
    const charts = [];
    for (const [id, made] of Object.entries(window.made)) {
        await made;
        const all = (selector) => [...document.querySelectorAll(`${id} svg ${selector}`)];
        charts.push({
            title: all(".role-title-text text").at(-1).textContent, // after the headers of facets
            axes: new Set(all(".role-axis-title text").map((e) => e.textContent)).size,
            marks: all(":is(.mark-line, .mark-rect, .mark-symbol, .mark-rule).role-mark > *").length,
            texts: all("text").map((e) => e.textContent),
        });
    }
    return charts;
}"""
SPY = """
    const embed = window.vegaEmbed;
    window.made = {};
    window.vegaEmbed = (id, spec) => { window.made[id] = embed(id, spec, {renderer: "svg"}); };
"""


@dataclass(frozen=True)
class Page:
    """What is on a page.

    Attributes:
        charts: {title, axes: how many different titles of axes, marks: how many, texts: all of the chart} of each chart.
        images: whether each image was loaded.
        complaints: warnings and errors of the console.
    """

    charts: list[dict]
    images: list[bool]
    complaints: list[str]


def opened(index: Path) -> Page:
    """Open a page of `dvc plots` and wait until everything is drawn; skips the test without browser, playwright or scripts."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="the Python package playwright is not installed")
    vl_convert = pytest.importorskip("vl_convert", reason="the Python package vl-convert-python is not installed")
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.skip(f"no browser: none of {', '.join(BROWSERS)} is installed")
    scripts = vl_convert.javascript_bundle(vl_version="5.8") + SPY
    complaints = []

    def complain(message) -> None:
        # DVC's page and what Vega-Lite compiles to never name the versions that are loaded.
        if not re.match("The (input|compiled) spec uses .* but (the )?current version", message.text):
            complaints.append(f"{message.type}: {message.text}")

    def serve(route) -> None:
        wanted = route.request.url.startswith("https://cdn.jsdelivr.net/npm/vega-embed@")
        route.fulfill(body=scripts if wanted else "", content_type="application/javascript; charset=utf-8")

    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=list(ARGUMENTS))
        page = browser.new_page()
        page.on("console", complain)
        page.on("pageerror", lambda error: complaints.append(f"error: {error}"))
        page.route(re.compile("^https?:"), serve)
        page.goto(index.as_uri())
        charts = page.evaluate(DRAWN)
        images = page.locator("img").evaluate_all("found => found.map((e) => e.naturalWidth > 0)")
        browser.close()
    return Page(charts, images, complaints)
