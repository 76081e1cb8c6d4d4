import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fedprivacy.arithmetic import hadamard_inflation, walsh_hadamard


def transformed(values):
    out = np.array(values, dtype=np.float64)
    walsh_hadamard(out)
    return out


@pytest.mark.parametrize("bits", range(13))
def test_it_is_the_matrix_of_signs(bits):
    length = 1 << bits
    index = np.arange(length)
    shared = np.bitwise_count(index[:, None] & index[None, :])
    matrix = np.where(shared % 2, -1.0, 1.0) / math.sqrt(length)
    rows = np.random.default_rng(bits).normal(size=(3, length))
    assert np.allclose(transformed(rows), rows @ matrix, rtol=0, atol=1e-13 * math.sqrt(length))


@pytest.mark.parametrize("bits", [16, 17, 20])
def test_long_rows_one_coordinate_at_a_time(bits):
    """A unit vector becomes a row of signs: exactly known, wherever its one stands."""
    length = 1 << bits
    for at in (0, 1, 255, 256, length // 2 + 3, length - 1):
        unit = np.zeros(length)
        unit[at] = 1.0
        odd = np.bitwise_count(np.arange(length) & at) % 2 == 1
        assert np.array_equal(transformed(unit), np.where(odd, -1.0, 1.0) * 2.0 ** (-bits / 2))


@given(
    hnp.arrays(
        np.float64,
        st.tuples(st.integers(0, 4), st.sampled_from([1, 2, 4, 64, 512, 1024])),
        elements=st.floats(-1e100, 1e100),
    )
)
def test_the_norm_is_kept_within_the_inflation_and_twice_is_the_identity(rows):
    out = transformed(rows)
    inflation = Fraction(hadamard_inflation(rows.shape[1]))
    for before, after in zip(rows, out, strict=True):
        square = sum(Fraction(v) ** 2 for v in before.tolist())
        # Subnormal results, which the product with the scale may round up, add next to nothing.
        least = Fraction(2) ** -1000
        assert sum(Fraction(v) ** 2 for v in after.tolist()) <= square * inflation**2 + least
        norm = math.hypot(*before.tolist())
        assert np.abs(transformed(after) - before).max() <= 1e-14 * norm + 1e-300


def test_each_row_is_transformed_on_its_own():
    rows = np.random.default_rng(0).normal(size=(2, 3, 128))
    together = transformed(rows)
    for i in range(2):
        for j in range(3):
            assert np.array_equal(together[i, j], transformed(rows[i, j]))


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (np.zeros(3), "a length of 3 is not a power of two"),
        (np.zeros(0), "a length of 0 is not a power of two"),
        (np.zeros(()), "a length of 0 is not a power of two"),
        (np.zeros(4, np.float32), "takes contiguous float64"),
        (np.zeros((4, 4)).T[:, ::2], "takes contiguous float64|not a power"),
        (np.zeros(8)[::2], "takes contiguous float64"),
    ],
)
def test_what_cannot_be_transformed_is_refused(values, words):
    with pytest.raises(ValueError, match=words):
        walsh_hadamard(values)
