import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fedprivacy.dp import Clip, NonFinite, PerUnit
from fedprivacy.errors import ConfigurationError
from fedprivacy.randomness import InsecureTestRng
from fedprivacy.vector import FixedPoint, Pipeline, Update, VectorSpec, Weights

RNG = InsecureTestRng(0)
TINY, HUGE = 5e-324, np.finfo(np.float64).max
FLOATS = st.floats(allow_nan=False, allow_infinity=False) | st.sampled_from(
    [0.0, -0.0, TINY, -TINY, HUGE, -HUGE, 2.0**-1022, 1.0, -1.0]
)
NORMS = st.sampled_from([1e-100, 1e-9, 0.1, 1.0, 1 / 3, 5, 1e9, 1e100])


def clip(values, norm, spec=None):
    spec = spec or VectorSpec(values.shape[-1])
    return np.asarray(Clip(norm).encode(Update(values), spec, rng=RNG).values)


def squared_norm(values):
    return sum(Fraction(v) ** 2 for v in values.tolist())


@given(hnp.arrays(np.float64, st.integers(1, 50), elements=FLOATS), NORMS)
def test_the_norm_holds_over_the_reals_and_in_float64(values, norm):
    before = values.copy()
    out = clip(values, norm)
    assert np.array_equal(values, before)
    assert squared_norm(out) <= Fraction(norm) ** 2
    assert np.linalg.norm(out) <= norm
    assert math.sqrt(math.fsum(v * v for v in out.tolist())) <= norm
    assert np.abs(out).max() <= Clip(norm).admit(VectorSpec(len(values))).bound == norm


@given(hnp.arrays(np.float64, st.integers(1, 50), elements=FLOATS), NORMS)
def test_a_shorter_vector_is_unchanged_and_a_longer_one_keeps_its_direction(values, norm):
    out = clip(values, norm)
    square = squared_norm(values)
    if square <= (Fraction(norm) * (1 - Fraction(1, 10**13))) ** 2:
        assert np.array_equal(out, values)
    elif square > Fraction(norm) ** 2:
        assert squared_norm(out) >= (Fraction(norm) * (1 - Fraction(1, 10**13))) ** 2
        assert np.array_equal(np.sign(out)[out != 0], np.sign(values)[out != 0])
        peak = int(np.abs(values).argmax())
        with np.errstate(under="ignore"):
            assert np.allclose(out, values / values[peak] * out[peak], rtol=1e-12, atol=1e-300)


@pytest.mark.parametrize("values", [[0.0, 0.0], [-0.0, 0.0], [TINY, -TINY]])
def test_zero_and_almost_zero_pass(values):
    values = np.array(values)
    assert np.array_equal(clip(values, 1.0), values)


def test_vectors_whose_squares_overflow_or_vanish():
    assert np.allclose(
        clip(np.array([HUGE, HUGE, -HUGE, 0]), 2.0), np.array([1, 1, -1, 0]) * 3**-0.5 * 2
    )
    assert clip(np.array([HUGE, TINY]), 1.0).tolist() == pytest.approx([1.0, 0.0])
    tiny = np.full(4, 1e-200)
    assert np.array_equal(clip(tiny, 1e-100), tiny)


def test_a_long_vector_of_equal_values_stays_within_the_norm():
    # Naive summation of a million equal squares drifts; the margin covers it.
    values = np.full(1_000_000, 0.1)
    out = clip(values, 1.0)
    assert Fraction(out[0]) ** 2 * len(out) <= 1
    running = 0.0
    for square in (out[:100_000] ** 2).tolist():
        running += square
    assert running <= 0.1
    assert math.sqrt(Fraction(out[0]) ** 2 * len(out)) > 1 - 1e-8


@given(
    hnp.arrays(np.float64, st.tuples(st.integers(0, 6), st.integers(1, 9)), elements=FLOATS), NORMS
)
def test_each_unit_is_clipped_as_if_alone(rows, norm):
    spec = VectorSpec(rows.shape[1], per_unit=True, max_units=6)
    together = clip(rows, norm, spec)
    assert together.shape == rows.shape
    for row, out in zip(rows, together, strict=True):
        assert np.array_equal(out, clip(row, norm))


def test_two_clips_leave_the_smaller_bound():
    spec = Clip(3.0).admit(Clip(2.0).admit(VectorSpec(4)))
    assert (spec.bound, spec.l2) == (2.0, 2.0)
    spec = Clip(0.5).admit(Clip(2.0).admit(VectorSpec(4)))
    assert (spec.bound, spec.l2) == (0.5, 0.5)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_value_that_is_not_finite_is_named(value):
    values = np.zeros(100_000)
    values[70_000] = value
    with pytest.raises(ConfigurationError) as caught:
        clip(values, 1.0)
    assert str(caught.value).startswith(f"update.values[70000] = {value} where a finite number")
    rows = np.zeros((3, 4))
    rows[2, 1] = value
    with pytest.raises(ConfigurationError) as caught:
        clip(rows, 1.0, VectorSpec(4, per_unit=True, max_units=3))
    assert str(caught.value).startswith(f"update.values[2][1] = {value} where a finite number")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("values", "spec", "words"),
    [
        (np.zeros(3, "f2"), VectorSpec(3), "is float16 where float32 or float64 is wanted"),
        (np.zeros(3, "i8"), VectorSpec(3), "is int64 where float32 or float64 is wanted"),
        ([0.0], VectorSpec(1), "is list where float32 or float64 is wanted"),
        (np.zeros(2), VectorSpec(3), r"has shape \(2,\) where \(3,\) is wanted"),
        (np.zeros(0), VectorSpec(3), r"has shape \(0,\) where \(3,\) is wanted"),
        (np.zeros(()), VectorSpec(3), r"has shape \(\) where \(3,\) is wanted"),
        (np.zeros((1, 3)), VectorSpec(3), r"has shape \(1, 3\) where \(3,\) is wanted"),
        (
            np.zeros(3),
            VectorSpec(3, per_unit=True),
            r"has shape \(3,\) where \(units, 3\) is wanted",
        ),
        (
            np.zeros((2, 2, 3)),
            VectorSpec(3, per_unit=True, max_units=9),
            r"has shape \(2, 2, 3\) where \(units, 3\)",
        ),
        (
            np.zeros((3, 3)),
            VectorSpec(3, per_unit=True, max_units=2),
            "has 3 units where max_units is 2",
        ),
    ],
)
def test_what_does_not_fit_is_refused(values, spec, words):
    with pytest.raises(ConfigurationError, match=rf"^update\.values {words}.*: ") as caught:
        Clip(1.0).encode(Update(values), spec, rng=RNG)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("norm", [0, -1.0, np.nan, np.inf, 1e-101, 1e101])
def test_a_norm_out_of_range_is_refused(norm):
    with pytest.raises(ConfigurationError, match=r"^Clip\.norm = .* is outside .*: "):
        Clip(norm)


@pytest.mark.parametrize("norm", ["1", None, True])
def test_a_norm_that_is_no_number_is_refused(norm):
    with pytest.raises(ConfigurationError, match=r"^Clip\.norm = .* is not a number: "):
        Clip(norm)


def test_clip_comes_before_rounding_and_weighting():
    with pytest.raises(ConfigurationError, match="Clip needs real values: put it before FixedP"):
        Clip(1.0).admit(VectorSpec(3, integer=True, bound=1))
    with pytest.raises(ConfigurationError, match="Clip would undo the weights: put it before W"):
        Clip(1.0).admit(VectorSpec(3, bound=5.0, max_weight=5))


# ---------------------------------------------------------------------- what is not finite


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_unit_that_is_not_finite_counts_as_zero_where_a_refusal_would_tell(dtype, value):
    rows = np.full((4, 5), 0.1, dtype=dtype)
    rows[1, 3] = rows[2, 0] = value
    spec = VectorSpec(5, per_unit=True, max_units=4)
    clip = Clip(1.0, NonFinite.ZERO)
    clipped = np.asarray(clip.encode(Update(rows), spec, rng=InsecureTestRng(0)).values)
    assert not clipped[1:3].any()
    assert np.array_equal(clipped[[0, 3]], rows[[0, 3]])
    one = np.asarray(clip.encode(Update(rows[1]), VectorSpec(5), rng=InsecureTestRng(0)).values)
    assert one.dtype == dtype
    assert not one.any()


def test_a_row_whose_squares_overflow_is_finite_and_is_only_shortened():
    row = np.full(3, 1e200)
    clip = Clip(1.0, NonFinite.ZERO)
    clipped = np.asarray(clip.encode(Update(row), VectorSpec(3), rng=InsecureTestRng(0)).values)
    assert np.linalg.norm(clipped) == pytest.approx(1.0)


def test_one_bad_unit_adds_nothing_to_the_sum_of_the_others():
    rows = np.full((3, 4), 0.25)
    stages = (Clip(1.0, NonFinite.ZERO), FixedPoint(8))
    pipeline = Pipeline.of(4, PerUnit(*stages, max_units=3), weights=Weights.UNIFORM)
    whole = np.asarray(pipeline.encode(Update(rows[:2]), rng=InsecureTestRng(1)))
    bad = np.vstack([rows[:2], np.full((1, 4), np.nan)])
    assert np.array_equal(np.asarray(pipeline.encode(Update(bad), rng=InsecureTestRng(1))), whole)
