"""Rows in which a column says by how much which of two responses was preferred."""

from preference_study.formats._rows import Rows, Source, as_word, by_preference

STRONGEST = 3


def by_strength(prompt: str, first: str, second: str, strength: str) -> Rows:
    """Rows of two responses and a strength, from -3 (the first one) over 0 (a tie) to 3 (the second one)."""
    sides = {str(value): "first" if value < 0 else "second" if value else "tie" for value in range(-STRONGEST, STRONGEST + 1)}
    rows = by_preference(prompt, first, second, strength, ("first", "second"), ("tie",))

    def of(source: Source):
        words = [as_word(cell) for cell in source.table[strength]]
        return rows(source._replace(table=source.table.assign(**{strength: [sides.get(word, word) for word in words]})))

    return of
