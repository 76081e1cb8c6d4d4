import tracemalloc
from dataclasses import dataclass

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
    Update,
    VectorSpec,
    Weigh,
    Weights,
)

RNG = InsecureTestRng(0)
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
ROWS = hnp.arrays(np.float64, st.tuples(st.integers(0, 12), st.integers(1, 8)), elements=FLOATS)


def hospital(length, *, max_units=64, bits=16, norm=1.0, weights=Weights.SUMMED):
    unit = PerUnit(Clip(norm), FixedPoint(value_bits=bits), max_units=max_units)
    return Pipeline.of(length, unit, weights=weights)


def one_by_one(rows, bits, rng):
    single = Pipeline.of(rows.shape[1], Clip(1.0), FixedPoint(bits), weights=Weights.UNIFORM)
    total = np.zeros(rows.shape[1], dtype=np.int64)
    for row in rows:
        total += np.asarray(single.encode(Update(row), rng=rng))
    return total


@given(ROWS, st.integers(2, 32), st.integers(0, 2**32))
def test_it_is_the_sum_of_single_encodings_under_one_rng(rows, bits, seed):
    encoded = np.asarray(
        hospital(rows.shape[1], bits=bits).encode(Update(rows), rng=InsecureTestRng(seed))
    )
    assert np.array_equal(encoded[:-1], one_by_one(rows, bits, InsecureTestRng(seed)))
    assert encoded[-1] == len(rows)


def test_that_holds_across_blocks_of_rows():
    length = BLOCK_VALUES // 3
    rows = np.random.default_rng(0).normal(size=(8, length))
    encoded = np.asarray(hospital(length).encode(Update(rows), rng=InsecureTestRng(5)))
    assert np.array_equal(encoded[:-1], one_by_one(rows, 16, InsecureTestRng(5)))


@given(ROWS, st.integers(2, 32), st.integers(0, 2**32))
def test_the_bounds_hold_for_any_floats(rows, bits, seed):
    built = hospital(rows.shape[1], bits=bits, max_units=12)
    encoded = np.asarray(built.encode(Update(rows), rng=InsecureTestRng(seed)))
    limit = 2 ** (bits - 1) - 1
    assert built.client_bound == max(12 * limit, 12)
    assert np.abs(encoded[:-1]).max() <= len(rows) * limit
    spec = built.specs[-1]
    assert sum(v * v for v in encoded[:-1].tolist()) <= spec.l2**2 * (1 + 1e-12)


@given(ROWS.filter(len), st.integers(0, 2**32))
def test_removing_the_last_unit_changes_the_sum_by_its_own_integers(rows, seed):
    built = hospital(rows.shape[1])
    whole = np.asarray(built.encode(Update(rows), rng=InsecureTestRng(seed)))
    less = np.asarray(built.encode(Update(rows[:-1]), rng=InsecureTestRng(seed)))
    difference = (whole - less).astype(float)
    inflated = built.specs[-1].l2 / 64
    assert difference[-1] == 1
    assert np.linalg.norm(difference[:-1]) <= inflated * (1 + 1e-12)


def test_the_hospitals_sum_comes_back_within_the_quantisation_bound():
    built = hospital(31)
    rng, draw = InsecureTestRng(1), np.random.default_rng(2)
    total, exact, units = np.zeros(32, dtype=np.int64), np.zeros(31), 0
    for count in (0, 1, 64, 20, 33):
        rows = draw.normal(size=(count, 31))
        total += np.asarray(built.encode(Update(rows), rng=rng))
        exact += (rows / np.linalg.norm(rows, axis=1)[:, None]).sum(axis=0)
        units += count
    aggregate = built.decode(total, clients=5)
    assert aggregate.weight == units == 118
    assert np.abs(aggregate.sum - exact).max() < built.quantisation_bound(units)
    assert np.allclose(aggregate.mean, exact / units, atol=1e-3)
    assert built.modulus_bits(20) == (2 * 20 * 64 * 32767).bit_length() == 27


def test_uniform_weights_bound_the_rounding_of_every_possible_unit():
    summed, uniform = hospital(3), hospital(3, weights=Weights.UNIFORM)
    assert uniform.quantisation_bound(1) == summed.quantisation_bound(64)


@dataclass(frozen=True)
class Permuted:
    order: tuple[int, ...]

    def admit(self, spec):
        return spec

    def encode(self, update, spec, *, rng):
        return Update(update.values[:, list(self.order)], update.weight)

    def decode(self, values, spec):
        return values[np.argsort(self.order)]


def test_stages_on_units_are_undone_in_reverse():
    stages = Permuted((1, 2, 0)), Clip(9.0), Permuted((1, 0, 2)), FixedPoint(32)
    built = Pipeline.of(3, PerUnit(*stages, max_units=2), weights=Weights.UNIFORM)
    encoded = np.asarray(
        built.encode(Update(np.array([[0.5, -1.0, 0.25], [1.5, 0.0, 0.0]])), rng=RNG)
    )
    assert built.decode(encoded, clients=1).sum == pytest.approx([2.0, -1.0, 0.25], abs=1e-7)


def test_no_units_are_zeros_of_weight_zero():
    built = hospital(5)
    encoded = np.asarray(built.encode(Update(np.zeros((0, 5))), rng=RNG))
    assert encoded.tolist() == [0] * 6
    aggregate = built.decode(encoded, clients=1)
    assert (aggregate.weight, aggregate.mean.tolist()) == (0, [0.0] * 5)


def test_memory_does_not_grow_with_the_number_of_units():
    length, peaks = 64, []
    built = hospital(length, max_units=100_000)
    for units in (4_096, 65_536):
        rows = np.full((units, length), 0.5)
        tracemalloc.start()
        np.asarray(built.encode(Update(rows), rng=InsecureTestRng(0)))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0]
    assert peaks[1] < 10 * 8 * BLOCK_VALUES


def test_one_unit_longer_than_a_block_is_taken():
    length = BLOCK_VALUES + 1
    rows = np.zeros((2, length))
    rows[:, -1] = 3.0
    encoded = np.asarray(hospital(length).encode(Update(rows), rng=RNG))
    assert encoded[-2:].tolist() == [2 * 32767, 2]


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (np.zeros((65, 3)), "has 65 units where max_units is 64: hold back the excess"),
        (np.zeros(3), r"has shape \(3,\) where \(units, 3\) is wanted"),
        (np.zeros((2, 4)), r"has shape \(2, 4\) where \(units, 3\) is wanted"),
        (np.zeros((0, 0)), r"has shape \(0, 0\) where \(units, 3\) is wanted"),
        (np.zeros((2, 3), "f2"), "is float16 where float32 or float64 is wanted"),
        (np.array([[0, 0, 0], [0, np.nan, 0]]), "[1][1] = nan where a finite number is wanted"),
    ],
)
def test_what_does_not_fit_is_refused(values, words):
    pattern = words.replace("[1][1]", r"\[1\]\[1\]")
    with pytest.raises(ConfigurationError, match=rf"^update\.values ?{pattern}") as caught:
        np.asarray(hospital(3).encode(Update(values), rng=RNG))
    assert "\n" not in str(caught.value)


def test_a_value_beyond_the_first_block_is_named_by_its_own_index():
    rows = np.zeros((5, BLOCK_VALUES // 2))
    rows[4, 7] = -np.inf
    with pytest.raises(ConfigurationError, match=r"^update\.values\[4\]\[7\] = -inf where"):
        np.asarray(hospital(BLOCK_VALUES // 2).encode(Update(rows), rng=RNG))


def test_the_clients_weight_is_the_count_and_cannot_be_chosen():
    with pytest.raises(ConfigurationError, match=r"^update\.weight = 7 where no stage weighs"):
        np.asarray(hospital(3).encode(Update(np.zeros((2, 3)), 7), rng=RNG))


@pytest.mark.parametrize(
    ("stages", "words"),
    [
        ((PerUnit(max_units=4),), "PerUnit sums integers: put FixedPoint last in it"),
        ((PerUnit(Clip(1.0), max_units=4),), "PerUnit sums integers: put FixedPoint last in it"),
        ((PerUnit(FixedPoint(8), max_units=4),), "put Clip before it"),
        ((PerUnit(FixedPoint(8), Clip(1.0), max_units=4),), "put Clip before it"),
        ((Clip(1.0), PerUnit(Clip(1.0), FixedPoint(8), max_units=4)), "PerUnit must come first"),
        ((PerUnit(Clip(1.0), Weigh(3), FixedPoint(8), max_units=4),), "each unit counts one"),
        ((PerUnit(Clip(1.0), FixedPoint(8), max_units=4), Weigh(3)), "before FixedPoint"),
        ((PerUnit(Clip(1.0), FixedPoint(8), max_units=4), Clip(1.0)), "before FixedPoint"),
        (
            (PerUnit(PerUnit(Clip(1.0), FixedPoint(8), max_units=4), max_units=4),),
            "PerUnit must come first",
        ),
    ],
)
def test_a_wrong_order_is_refused_with_the_remedy(stages, words):
    with pytest.raises(ConfigurationError, match=words):
        Pipeline.of(3, *stages, weights=Weights.SUMMED)


def test_more_than_62_bits_for_one_client_are_refused():
    with pytest.raises(ConfigurationError, match=r"^clients = 1 of up to .* 64 bits where 62"):
        hospital(3, max_units=2**32, bits=32)


@pytest.mark.parametrize("max_units", [0, -1, 1.5, 2**33])
def test_a_number_of_units_out_of_range_is_refused(max_units):
    with pytest.raises(ConfigurationError, match=r"^PerUnit\.max_units = "):
        hospital(3, max_units=max_units)


def test_it_is_a_frozen_value():
    one, other = (PerUnit(Clip(1.0), FixedPoint(8), max_units=4) for _ in range(2))
    assert one == other
    assert hash(one) == hash(other)
    with pytest.raises(AttributeError):
        one.max_units = 5
    assert one.admit(VectorSpec(3)).max_weight == 4
