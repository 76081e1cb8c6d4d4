"""Rounding that is done again until the integers are no longer than the stated norm."""

import math
import tracemalloc
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fedprivacy.dp import Clip, PerUnit
from fedprivacy.errors import ConfigurationError
from fedprivacy.randomness import InsecureTestRng
from fedprivacy.vector import (
    BLOCK_VALUES,
    FixedPoint,
    Pipeline,
    Rotate,
    Rounding,
    Update,
    VectorSpec,
    Weigh,
    Weights,
)

FLOATS = st.floats(allow_nan=False, allow_infinity=False)


def stage(bits):
    return FixedPoint(bits, Rounding.CONDITIONAL)


def encode(bits, values, spec, seed=0):
    out = stage(bits).encode(Update(values), spec, rng=InsecureTestRng(seed))
    return np.asarray(out.values)


def bounded(length, bound=1.0, **others):
    return VectorSpec(length, bound=bound, l2=bound, **others)


def square(row):
    return sum(v * v for v in row.tolist())


class Counting:
    """Counts the seeds that are drawn."""

    def __init__(self, seed=0):
        self.drawn = 0
        self.source = InsecureTestRng(seed)

    def bytes(self, count):
        self.drawn += 1
        return self.source.bytes(count)

    def child(self, purpose):
        raise NotImplementedError


def test_the_stated_norm_is_the_papers():
    for length, bits, bound in ((1, 2, 1.0), (100, 16, 0.5), (10**6, 10, 3.0), (7, 32, 1e9)):
        limit = 2 ** (bits - 1) - 1
        admitted = stage(bits).admit(bounded(length, bound))
        root = math.sqrt(length)
        papers = min(limit + root, math.sqrt(limit**2 + length / 4 + limit + root / 2))
        papers = min(papers, limit * root)
        assert papers <= admitted.l2 <= papers * (1 + 1e-14)
        assert admitted.unit_l2 == admitted.l2
        most = admitted.l2 * min(root, admitted.l2)
        assert most <= admitted.unit_l1 <= most * (1 + 1e-14)
        plain = FixedPoint(bits).admit(bounded(length, bound))
        assert plain.unit_l2 == plain.l2 >= admitted.l2
        assert (admitted.bound, admitted.scale) == (plain.bound, plain.scale)


@given(
    hnp.arrays(np.float64, st.integers(1, 40), elements=FLOATS),
    st.integers(2, 32),
    st.sampled_from([1e-3, 0.3, 1.0, 7.0]),
    st.integers(0, 2**32),
)
def test_the_norm_holds_exactly_whatever_comes_in(values, bits, bound, seed):
    """Clipped or not: what is far too long becomes zeros."""
    spec = bounded(len(values), bound)
    admitted = stage(bits).admit(spec)
    clipped = Clip(bound).encode(Update(values), spec, rng=InsecureTestRng(seed)).values
    for given_values in (values, np.array(clipped)):
        with np.errstate(over="ignore"):
            out = encode(bits, given_values, spec, seed)
        assert square(out) <= Fraction(admitted.l2) ** 2
        assert sum(abs(v) for v in out.tolist()) <= Fraction(admitted.unit_l1)
        assert np.abs(out).max() <= admitted.bound
    scaled = np.array(clipped) * admitted.scale
    assert (np.abs(out - scaled) < 1 + 2.0**-20).all()  # nothing admitted becomes zeros


def test_a_vector_that_cannot_fit_becomes_zeros_in_the_end():
    spec, rng = bounded(4), Counting()
    out = stage(8).encode(Update(np.ones(4)), spec, rng=rng)
    assert np.asarray(out.values).tolist() == [0] * 4
    assert rng.drawn == 256


def test_plain_rounding_breaks_the_norm_that_conditional_rounding_keeps():
    """A vector at its norm whose coordinates lie just below a whole number."""
    length = 64
    spec = bounded(length)
    values = np.full(length, 1 / 8)
    values *= 1 - 1e-12
    bits = 6  # 31 steps: each coordinate is 3.875 of them
    most = Fraction(stage(bits).admit(spec).l2) ** 2
    plain = [
        square(
            np.asarray(FixedPoint(bits).encode(Update(values), spec, rng=InsecureTestRng(s)).values)
        )
        for s in range(300)
    ]
    assert max(plain) > most
    assert min(plain) <= most
    conditional = [square(encode(bits, values, spec, s)) for s in range(300)]
    assert max(conditional) <= most
    assert len(set(conditional)) > 10


def test_what_is_accepted_at_once_is_the_plain_rounding():
    values = np.linspace(-1, 1, 500) / 40
    spec = bounded(500)
    plain = FixedPoint(12).encode(Update(values), spec, rng=InsecureTestRng(3)).values
    rng = Counting(3)
    out = stage(12).encode(Update(values), spec, rng=rng).values
    assert rng.drawn == 1
    assert np.array_equal(np.asarray(out), np.asarray(plain))


def test_the_distribution_is_the_plain_one_given_that_it_is_accepted():
    """Two values a half each: four outcomes, of which the longest is never seen.

    20,000 draws of three equal outcomes: chi-square with 2 degrees of freedom beyond 27.6, 1e-6.
    """
    count = 20_000
    spec = VectorSpec(2, bound=1.0, l2=0.5, per_unit=True, max_units=count)
    rows = np.full((count, 2), 0.5)
    admitted = stage(2).admit(spec)
    assert 1 <= admitted.l2**2 < 2
    out = encode(2, rows, spec)
    seen = np.bincount(out[:, 0] * 2 + out[:, 1], minlength=4)
    assert seen[3] == 0
    expected = count / 3
    assert ((seen[:3] - expected) ** 2 / expected).sum() < 27.6


def test_the_bias_is_within_what_the_docstring_says():
    """The same vector: rejected with probability 1/4, so off by at most sqrt(2) / 3 steps."""
    spec = VectorSpec(2, bound=1.0, l2=0.5, per_unit=True, max_units=40_000)
    mean = encode(2, np.full((40_000, 2), 0.5), spec).mean(axis=0)
    assert 0.2 < np.linalg.norm(mean - 0.5) < math.sqrt(2) / 3
    assert mean == pytest.approx([1 / 3, 1 / 3], abs=0.015)  # 6 standard deviations


def test_rows_keep_their_first_seeds_and_only_the_long_draw_again():
    spec = VectorSpec(2, bound=1.0, l2=0.5, per_unit=True, max_units=30)
    rng = Counting()
    rows = np.full((30, 2), 0.5)
    rows[::2] = 0.0
    out = np.asarray(stage(2).encode(Update(rows), spec, rng=rng).values)
    plain = np.asarray(FixedPoint(2).encode(Update(rows), spec, rng=InsecureTestRng(0)).values)
    short = plain.sum(axis=1) < 2
    assert not short.all()
    assert np.array_equal(out[short], plain[short])
    assert 30 < rng.drawn < 60


def test_squares_of_the_widest_values_are_summed_exactly():
    """Squares of 62 bits: a sum of more than two overflows a word."""
    length = BLOCK_VALUES + 9
    values = np.full(length, 1.0)
    spec = VectorSpec(length, bound=1.0, l2=math.sqrt(length))
    out = encode(32, values, spec)
    assert (out == 2**31 - 1).all()
    assert square(out) > 2**77
    too_long = VectorSpec(length, bound=1.0, l2=math.sqrt(length) * (1 - 2e-9))
    rng = Counting()
    assert not np.asarray(stage(32).encode(Update(values), too_long, rng=rng).values).any()


def test_a_clipped_vector_is_read_again_without_lying_in_memory():
    length = 12 * BLOCK_VALUES + 7
    built = Pipeline.of(length, Clip(1.0), Weigh(3), stage(16), weights=Weights.SUMMED)
    values = np.full(length, 2.0, dtype=np.float32)
    values.flags.writeable = False
    tracemalloc.start()
    try:
        sent = built.encode(Update(values, 2), rng=InsecureTestRng(1))
        for start in range(0, len(sent), BLOCK_VALUES):
            assert sent[start : start + BLOCK_VALUES].dtype == np.int64
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2 * values.nbytes
    again = np.asarray(built.encode(Update(values, 2), rng=InsecureTestRng(1)))
    assert square(again[:-1]) <= Fraction(built.specs[-1].l2) ** 2
    assert np.abs(again[:-1] * length**0.5 / 2 / (32767 / 3) - 1).max() < 1.0


def test_what_comes_out_is_still_read_once():
    out = encode_lazily = stage(4).encode(Update(np.zeros(9)), bounded(9), rng=InsecureTestRng(1))
    assert out.values[..., 0:4].tolist() == [0] * 4
    with pytest.raises(ValueError, match="4 are next"):
        encode_lazily.values[..., 0:4]


def test_units_keep_their_own_norm():
    unit = PerUnit(Clip(1.0), Rotate(bytes(32)), stage(5), max_units=64)
    built = Pipeline.of(21, unit, weights=Weights.UNIFORM)
    spec = built.specs[-1]
    assert spec.unit_l2 * 64 == spec.l2
    rows = np.random.default_rng(0).normal(size=(64, 21))
    for i in range(64):
        only = np.asarray(built.encode(Update(rows[i : i + 1]), rng=InsecureTestRng(i)))
        assert square(only) <= Fraction(spec.unit_l2) ** 2
    whole = np.asarray(built.encode(Update(rows), rng=InsecureTestRng(0)))
    less = np.asarray(built.encode(Update(rows[:-1]), rng=InsecureTestRng(0)))
    assert whole.shape == less.shape == (32,)


def test_a_vector_without_a_norm_is_refused():
    with pytest.raises(ConfigurationError, match="conditional rounding needs a norm: put Clip"):
        stage(8).admit(VectorSpec(3, bound=1.0))
