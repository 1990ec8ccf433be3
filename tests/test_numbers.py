from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from preference_study.numbers import decimal, with_interval


@pytest.mark.parametrize(
    ("value", "places", "signed", "wanted"),
    [
        (0.495, 2, False, "0.50"),  # its binary number lies below: round() and format() give 0.49
        (0.345, 2, False, "0.35"),
        (2.5, 0, False, "3"),  # and not to the even one
        (-1.25, 1, False, "-1.3"),
        (-0.001, 2, False, "0.00"),
        (0.001, 2, True, "0.00"),
        (0.25, 2, True, "+0.25"),
        (-0.25, 2, True, "-0.25"),
        (1e-07, 2, False, "0.00"),
    ],
)
def test_rounded_as_at_school(value, places, signed, wanted):
    assert decimal(value, places, signed) == wanted


@given(st.floats(-1e6, 1e6), st.integers(0, 4))
def test_never_off_by_more_than_half(value, places):
    assert abs(Decimal(decimal(value, places)) - Decimal(repr(value))) <= Decimal("0.5").scaleb(-places)


def test_an_estimate_with_its_interval():
    assert with_interval({"value": 0.145, "low": -0.2, "high": 0.555, "n": 3}, signed=True) == "+0.15 [-0.20, 0.56]"
    assert with_interval({"value": 0.145, "low": None, "high": None, "n": 1}, 1) == "0.1"
