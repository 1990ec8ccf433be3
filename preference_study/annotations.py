"""What people said: the lines that a blind page exports, read and checked."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Literal

import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from preference_study.errors import BadInput


class Annotation(BaseModel):
    """A line of an export.

    Attributes:
        annotator: the name that a person gave.
        seed, study: of the drawing, as its key has them.
        case: the case's number, as the key has it.
        answer: the response that is better, 1 the first; a tie; or skip, no answer.
        flag: whether something is wrong with the case.
        comment: in the person's own words; empty where there is none.
        time: when it was answered.
    """

    model_config = ConfigDict(extra="forbid", strict=True)

    annotator: Annotated[str, Field(pattern=r"\S")]
    seed: int
    study: str
    case: str
    answer: Literal["1", "2", "tie", "skip"]
    flag: bool
    comment: str
    time: datetime


COLUMNS = list(Annotation.model_fields)


def read_annotations(files: Mapping[str, str], keys: Mapping[str, dict]) -> pd.DataFrame:
    """The lines of all exports as a table, the columns those of `Annotation`; none where there is no line.

    Args:
        files: by path, what each holds; a line an annotation, empty lines are passed over.
        keys: by method, the keys of the pages that are drawn now, as `blind.draw` returns them.

    Raises:
        BadInput: a line is malformed, of another study, of a case that the study does not have, or there twice. The message has
            the file, the row and the remedy.
    """
    studies = {key["study"]: (key["seed"], {case["case"] for case in key["cases"]}) for key in keys.values()}
    now = ", ".join(f"{key['study']} ({method})" for method, key in keys.items())
    rows, seen = [], {}
    for file, text in files.items():
        # Not splitlines: it takes characters that may stand in a comment for ends of lines.
        for number, line in enumerate(text.removeprefix("\ufeff").split("\n"), start=1):
            if not line.strip():
                continue
            where = f"{file}, row {number}"
            row = _parsed(line, where)
            if row.study not in studies:
                raise BadInput(
                    f"{where}: column study is {row.study!r}, and the pages drawn now are {now}: it was exported from a page of "
                    "other responses, or drawn otherwise. Move the file elsewhere and have people answer the new page, or go "
                    "back to the commit whose page they answered"
                )
            seed, cases = studies[row.study]
            if row.seed != seed:
                raise BadInput(f"{where}: column seed is {row.seed}, and that study's is {seed}: export it from the page again")
            if row.case not in cases:
                raise BadInput(
                    f"{where}: column case is {row.case!r}, which study {row.study} does not have: export it from the page again"
                )
            annotator = row.annotator.strip()
            if earlier := seen.get(answered := (annotator, row.study, row.case)):
                raise BadInput(
                    f"{where}: {annotator!r} answered case {row.case} in {earlier} already: keep a person's newest export alone, "
                    "or, where two people gave one name, write another into column annotator of one's file"
                )
            seen[answered] = where
            rows.append(row.model_dump() | {"annotator": annotator})
    return pd.DataFrame(rows, columns=COLUMNS)


def _parsed(line: str, where: str) -> Annotation:
    try:
        return Annotation.model_validate_json(line)
    except ValidationError as error:
        first = error.errors()[0]
        column = "the line" if not first["loc"] else f"column {'.'.join(map(str, first['loc']))}"
        raise BadInput(
            f"{where}: {column} is not as the page exports it ({first['msg']}): export it from the page again, or delete the row"
        ) from None
