"""Numbers as people read them."""

from decimal import ROUND_HALF_UP, Decimal


def decimal(value: float, places: int = 2, signed: bool = False) -> str:
    """A number with so many decimals, rounded as at school: 0.495 is 0.50, though as a binary number it lies below.

    Args:
        value: finite.
        signed: with a plus sign too, where it is above zero; zero has none.
    """
    exact = Decimal(repr(float(value))).quantize(Decimal(1).scaleb(-places), ROUND_HALF_UP) + 0  # no minus zero
    return f"{exact:{'+' if signed and exact else ''}f}"


def with_interval(estimate: dict, places: int = 2, signed: bool = False) -> str:
    """An estimate and its interval, where it has one: 0.76 [0.71, 0.81]."""
    value = decimal(estimate["value"], places, signed)
    if estimate["low"] is None:
        return value
    return f"{value} [{decimal(estimate['low'], places)}, {decimal(estimate['high'], places)}]"


def p_in_words(p: float | None, of: str = "corrected p") -> str:
    """A p-value in a sentence: corrected p = 0.020; None where no test was possible."""
    if p is None:
        return "no test possible"
    return f"{of} < 0.001" if p < 0.001 else f"{of} = {decimal(p, 3)}"
