"""A bound that is written stays one, whichever digits are left."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedprivacy.accounting import downwards, upwards

BOUNDS = st.floats(1e-300, 1e300)


@given(BOUNDS, st.integers(1, 8))
def test_what_is_written_is_on_the_bounds_own_side(bound, digits):
    # But for the ninth figure: a limit that was kept up to float64 rounding is shown as it was.
    up, down = float(upwards(bound, digits)), float(downwards(bound, digits))
    assert bound * (1 - 1e-8) <= up <= bound * (1 + 10.0 ** (1 - digits) + 1e-8)
    assert bound * (1 - 10.0 ** (1 - digits) - 1e-8) <= down <= bound * (1 + 1e-8)
    assert down <= up


@pytest.mark.parametrize(
    ("bound", "digits", "up", "down"),
    [
        (3.83947417, 3, "3.84", "3.83"),
        (2.2951, 3, "2.30", "2.29"),
        (1.1, 3, "1.10", "1.10"),
        (0.07, 3, "0.0700", "0.0700"),
        (4.0, 6, "4", "4"),
        (11.0000001, 6, "11.0001", "11"),
        (0.0, 3, "0", "0"),
        (math.inf, 3, "infinity", "infinity"),
    ],
)
def test_examples(bound, digits, up, down):
    assert (upwards(bound, digits), downwards(bound, digits)) == (up, down)
