import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fedprivacy.errors import ConfigurationError
from fedprivacy.randomness import InsecureTestRng, Keystream
from fedprivacy.vector import BLOCK_VALUES, FixedPoint, Update, VectorSpec, Weigh

FINITE = st.floats(allow_nan=False, allow_infinity=False)
EXTREMES = [0.0, -0.0, 5e-324, -5e-324, 1.7e308, -1.7e308, 2.0**-1022, 1.0, -1.0, 1 - 2**-53]


def bounded(length, bound=1.0, **others):
    return VectorSpec(length, bound=bound, l2=bound, **others)


def encode(stage, values, spec, seed=0, weight=1):
    out = stage.encode(Update(values, weight), spec, rng=InsecureTestRng(seed))
    return Update(np.asarray(out.values), out.weight)


class Words:
    """An rng whose seeds are recorded, so that a test can draw the same words."""

    def __init__(self):
        self.seeds = []
        self.source = InsecureTestRng(7)

    def bytes(self, count):
        self.seeds.append(self.source.bytes(count))
        return self.seeds[-1]

    def child(self, purpose):
        raise NotImplementedError


@given(
    hnp.arrays(np.float64, st.integers(1, 40), elements=FINITE | st.sampled_from(EXTREMES)),
    st.integers(2, 32),
    st.sampled_from([1e-100, 1e-3, 0.3, 1.0, 7.0, 1e100]),
    st.integers(0, 2**32),
)
def test_the_integer_bound_holds_for_any_float(values, bits, bound, seed):
    stage, spec = FixedPoint(bits), bounded(len(values), bound)
    with np.errstate(over="ignore"):
        out = encode(stage, values, spec, seed)
    assert out.values.dtype == np.int64
    assert np.abs(out.values).max() <= 2 ** (bits - 1) - 1 == stage.admit(spec).bound


@given(
    hnp.arrays(np.float64, st.integers(1, 40), elements=st.floats(-1, 1)),
    st.integers(2, 32),
    st.integers(0, 2**32),
)
def test_each_value_moves_by_less_than_one_step(values, bits, seed):
    stage, spec = FixedPoint(bits), bounded(len(values))
    out = encode(stage, values, spec, seed).values
    for integer, value in zip(out.tolist(), values.tolist(), strict=True):
        exact = Fraction(value) * (2 ** (bits - 1) - 1)
        assert abs(integer - exact) < 1 + Fraction(1, 2**20)  # scaling is rounded to float64


@given(st.integers(2, 32), st.integers(0, 2**32))
def test_whole_numbers_and_zeros_are_never_moved(bits, seed):
    limit = 2 ** (bits - 1) - 1
    values = np.array([0.0, -0.0, 1.0, -1.0, 0.0])
    out = encode(FixedPoint(bits), values, bounded(5), seed).values
    assert out.tolist() == [0, 0, limit, -limit, 0]


def test_the_least_uniform_moves_no_whole_number():
    scaled, words = np.array([3.0, 0.0, -2.0, 7.0, 0.5]), np.zeros(5, dtype="<u4")
    assert FixedPoint(4)._round(scaled, words).tolist() == [3, 0, -2, 7, 0]


def test_the_largest_uniform_moves_no_whole_number():
    scaled, words = np.array([3.0, 0.0, -2.0, 7.0, 0.5]), np.full(5, 2**32 - 1, dtype="<u4")
    assert FixedPoint(4)._round(scaled, words).tolist() == [3, 0, -2, 7, 1]


def test_the_draw_is_one_word_a_value_from_one_seed_a_row():
    rng = Words()
    values = np.linspace(-1, 1, 2 * 37).reshape(2, 37)
    spec = bounded(37, per_unit=True, max_units=2)
    out = np.asarray(FixedPoint(9).encode(Update(values), spec, rng=rng).values)
    assert [len(seed) for seed in rng.seeds] == [32, 32]
    for row, seed, expected in zip(values, rng.seeds, out, strict=True):
        words = np.frombuffer(Keystream(seed).read(37 * 4), "<u4").tolist()
        for value, word, integer in zip(row.tolist(), words, expected.tolist(), strict=True):
            scaled = round(value * 255.0 * 2**32)
            assert integer == math.floor((scaled + word) / 2**32)


def test_long_vectors_draw_the_same_words_as_short_ones():
    length = 2 * BLOCK_VALUES + 5
    rng = Words()
    values = np.full(length, 0.3)
    out = np.asarray(FixedPoint(2).encode(Update(values), bounded(length), rng=rng).values)
    words = np.frombuffer(Keystream(rng.seeds[0]).read(4 * length), "<u4")
    assert len(rng.seeds) == 1
    assert np.array_equal(out, (words >= 2**32 - round(0.3 * 2**32)).astype(np.int64))


def test_values_are_read_once_and_in_order():
    out = FixedPoint(4).encode(Update(np.zeros(9)), bounded(9), rng=InsecureTestRng(1)).values
    assert out[..., 0:4].tolist() == [0] * 4
    for again in (slice(0, 4), slice(5, 9)):
        with pytest.raises(ValueError, match="4 are next"):
            out[..., again]
    assert out[..., 4:99].tolist() == [0] * 5


def test_a_row_is_rounded_alike_alone_and_among_others():
    values = np.linspace(-1, 1, 300).reshape(30, 10)
    together = encode(FixedPoint(5), values, bounded(10, per_unit=True, max_units=30)).values
    rng = InsecureTestRng(0)
    alone = [
        np.asarray(FixedPoint(5).encode(Update(row), bounded(10), rng=rng).values) for row in values
    ]
    assert np.array_equal(together, alone)


def test_rounding_is_unbiased():
    # 64 values, 40,000 draws each. Hoeffding for draws in an interval of length 1:
    # P[|mean - y| >= t] <= 2 exp(-2 n t^2); t = 0.0195 makes it 1.2e-13 a value, and the chance of
    # a false alarm over all of them below 1e-11. The seed is fixed, so it fails always or never.
    draws = 40_000
    values = np.concatenate([np.linspace(-1, 1, 60), [2**-9, -(2**-9), 1e-9, -1e-9]])
    spec = bounded(len(values), per_unit=True, max_units=draws)
    total = np.zeros(len(values))
    for seed in range(10):
        rows = np.broadcast_to(values, (draws // 10, len(values)))
        total += encode(FixedPoint(4), rows, spec, seed).values.sum(axis=0)
    assert np.abs(total / draws - values * 7).max() < 0.0195


def test_neighbouring_values_are_rounded_independently():
    # Correlation of 200,000 pairs of fair coins: 6 standard deviations, a false alarm 2e-9.
    length = 400_000
    out = encode(FixedPoint(2), np.full(length, 0.5), bounded(length), seed=3).values * 2 - 1
    assert abs((out[::2] * out[1::2]).sum()) < 6 * math.sqrt(length / 2)


def test_admit_states_bound_scale_and_inflated_norm():
    out = FixedPoint(16).admit(bounded(100, 0.5))
    assert out.integer
    assert out.bound == 32767
    assert out.scale == 65534.0
    assert 32767 + 10 <= out.l2 <= (32767 + 10) * (1 + 1e-12)
    # The norm of a short vector of few bits is bounded by its coordinates first.
    coarse = FixedPoint(2).admit(bounded(100))
    assert 10 <= coarse.l2 <= 10 * (1 + 1e-12)
    assert FixedPoint(2).admit(VectorSpec(4, bound=1.0)).l2 >= 2


@given(
    hnp.arrays(np.float64, st.integers(1, 30), elements=st.floats(-1, 1)),
    st.integers(2, 32),
    st.integers(0, 2**32),
)
def test_the_inflated_norm_holds(values, bits, seed):
    norm = math.sqrt(math.fsum(v * v for v in values.tolist())) or 1.0
    spec = VectorSpec(len(values), bound=1.0, l2=norm * (1 + 1e-14))
    out = encode(FixedPoint(bits), values, spec, seed).values
    admitted = FixedPoint(bits).admit(spec).l2
    assert sum(v * v for v in out.tolist()) <= Fraction(admitted) ** 2


def test_the_input_is_left_as_it_is():
    values = np.array([0.25, -0.75])
    encode(FixedPoint(8), values, bounded(2))
    encode(Weigh(5), values, bounded(2), weight=5)
    assert values.tolist() == [0.25, -0.75]


@given(
    hnp.arrays(np.float64, 5, elements=st.floats(-1, 1)),
    st.integers(0, 1000),
    st.sampled_from([0.1, 1.0, 1 / 3]),
)
def test_weigh_multiplies_within_its_bound(values, weight, bound):
    spec = bounded(5, bound)
    out = encode(Weigh(1000), values * bound, spec, weight=weight)
    admitted = Weigh(1000).admit(spec)
    assert out.weight == weight
    assert np.array_equal(out.values, values * bound * weight)
    assert np.abs(out.values).max() <= admitted.bound
    assert (admitted.bound, admitted.l2, admitted.max_weight) == (bound * 1000, bound * 1000, 1000)


@pytest.mark.parametrize("bits", [-1, 0, 1, 33, 2.0, True, "16"])
def test_value_bits_out_of_range_are_refused(bits):
    with pytest.raises(ConfigurationError, match=r"^FixedPoint\.value_bits = .* from 2 to 32: "):
        FixedPoint(bits)


@pytest.mark.parametrize("weight", [0, -3, 2**53 + 1, 1.5])
def test_a_largest_weight_out_of_range_is_refused(weight):
    with pytest.raises(ConfigurationError, match=r"^Weigh\.max_weight = "):
        Weigh(weight)


@pytest.mark.parametrize("weight", [-1, 11, 2.0])
def test_a_weight_out_of_range_is_refused(weight):
    with pytest.raises(ConfigurationError, match=r"^update\.weight = .* from 0 to 10: "):
        encode(Weigh(10), np.zeros(2), bounded(2), weight=weight)


@pytest.mark.parametrize(
    ("stage", "spec", "words"),
    [
        (FixedPoint(8), VectorSpec(3), "FixedPoint needs a bounded vector: put Clip before it"),
        (FixedPoint(8), VectorSpec(3, integer=True, bound=7), "leave one of them out"),
        (Weigh(3), VectorSpec(3), "Weigh needs a bounded vector: put Clip before it"),
        (Weigh(3), VectorSpec(3, integer=True, bound=7), "put it before FixedPoint"),
        (Weigh(3), bounded(3, per_unit=True), "in PerUnit each unit counts one"),
        (Weigh(3), bounded(3, max_weight=2), "leave one Weigh out"),
    ],
)
def test_a_wrong_order_is_refused_with_the_remedy(stage, spec, words):
    with pytest.raises(ConfigurationError, match=words):
        stage.admit(spec)
