"""TRL's with an implicit prompt, of messages or of texts; and HH-RLHF's transcripts with "Human:" and "Assistant:" turns."""

from collections.abc import Iterable

from preference_study.data.conversations import is_other_transcript, is_plain
from preference_study.data.pairs import system_column
from preference_study.errors import BadInput
from preference_study.formats import Format
from preference_study.formats._rows import Row, Source, two_sides

COLUMNS = ("chosen", "rejected")


def rows(source: Source) -> Iterable[Row]:
    """The rows as they are; of texts that are no transcripts, with no other column, the prompt is what both begin with, as TRL
    takes it; in transcripts that are not read that would be a part of the response too."""
    others = [name for name in source.table.columns if name not in (*COLUMNS, system_column(source.table))]
    for number, row in enumerate(two_sides(None, *COLUMNS)(source), start=1):
        both = (row.chosen, row.rejected)
        if not all(isinstance(text, str) and is_plain(text) for text in both):
            yield row
            continue
        if others:
            raise BadInput(
                f"{source.name}: column 'prompt' is missing, and row {number}'s texts under 'chosen' and 'rejected' are no "
                f"conversations; if {' or '.join(map(repr, others[:4]))} holds the prompt, say so under data in params.yaml:\n"
                f"  columns: {{prompt: {others[0]}, chosen: chosen, rejected: rejected}}\n"
                "If none does, take these columns out of the file: what both texts begin with is then the prompt"
            )
        if any(map(is_other_transcript, both)):
            yield row._replace(problem="turns_in_text")
            continue
        prompt = common_beginning(*both)
        if not prompt.strip() and all(text.strip() for text in both):
            raise BadInput(
                f"{source.name}: column 'prompt' is missing, and row {number}'s texts under 'chosen' and 'rejected' are neither "
                "conversations nor begin alike; add the prompt"
            )
        yield row._replace(prompt=prompt, chosen=both[0][len(prompt) :], rejected=both[1][len(prompt) :])


def common_beginning(chosen: str, rejected: str) -> str:
    """What two texts begin with alike, without the space before they differ (TRL's `extract_prompt`)."""
    shortest = min(len(chosen), len(rejected))
    place = next((i for i in range(shortest) if chosen[i] != rejected[i]), shortest)
    return chosen[: place - 1] if place and chosen[place - 1] == " " else chosen[:place]


FORMAT = Format(COLUMNS, 14, rows)
