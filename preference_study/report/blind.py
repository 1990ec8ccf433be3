"""The page on which people judge blind: one file that needs no server and no internet."""

import base64
import hashlib
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined


def render(page: dict) -> str:
    """The page of a drawing.

    Args:
        page: from `preference_study.blind.draw`: {study, seed, cases}. Its texts are a model's and the data's: they enter the
            page as text nodes, and no script but the page's own can run.
    """
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    script = environment.get_template("blind.js").render()
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return environment.get_template("blind.html").render(page=page, script_digest=digest)
