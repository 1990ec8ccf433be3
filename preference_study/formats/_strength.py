"""Rows in which a column says by how much which of two responses was preferred."""

from collections import Counter
from collections.abc import Iterable

from preference_study.errors import BadInput
from preference_study.formats._rows import STRAY_SHARE, Row, Rows, Source, as_word, by_preference

STRONGEST = 3


def by_strength(prompt: str, first: str, second: str, strength: str) -> Rows:
    """Rows of two responses and a strength, from -3 (the first one) over 0 (a tie) to 3 (the second one)."""
    sides = {str(value): "first" if value < 0 else "second" if value else "tie" for value in range(-STRONGEST, STRONGEST + 1)}
    coding = ("first", "second"), ("tie",)
    rows = by_preference(prompt, first, second, strength, *coding, word=lambda cell: sides.get(as_word(cell), ""))

    def of(source: Source) -> Iterable[Row]:
        found = Counter(map(as_word, source.cells(strength)))
        stray = sorted(word for word in found if word and word not in sides)
        if sum(found[word] for word in stray) > STRAY_SHARE * found.total():
            raise BadInput(
                f"{source.name}: column {strength!r} holds {', '.join(stray[:6])}, where whole numbers from -3 (the first "
                "response is much better) to 3 (the second is) belong; write them so, or use data.columns"
            )
        return rows(source)

    return of
