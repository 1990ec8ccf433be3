"""Everything that is measured of a response's text."""

import pandas as pd

from preference_study.texts.gold import loops, with_truth
from preference_study.texts.readability import reading_grades
from preference_study.texts.responses import echoes, refuses, repetition
from preference_study.texts.style import style
from preference_study.texts.words import words


def measured(responses: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, int]]:
    """One policy's responses with words, headings, list_items, bold, reading_grade, repetition, loops, echoes and refuses;
    on the sandbox also letter, gold and flaw.

    Returns:
        The table, and how many responses have no reading grade, by reason.
    """
    texts = responses["response"]
    grades, left_out = reading_grades(texts)
    responses = responses.assign(
        words=[len(words(text)) for text in texts],
        **pd.DataFrame([style(text) for text in texts], texts.index),
        reading_grade=grades,
        repetition=[repetition(text) for text in texts],
        loops=[loops(text) for text in texts],
        echoes=[
            echoes(text, "\n".join(turn["content"] for turn in prompt))
            for text, prompt in zip(texts, responses["prompt"], strict=True)
        ],
        refuses=[refuses(text) for text in texts],
    )
    return with_truth(responses), left_out
