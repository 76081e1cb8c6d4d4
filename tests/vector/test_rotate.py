import math
import tracemalloc
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fedprivacy.arithmetic import hadamard_inflation
from fedprivacy.dp import Clip, PerUnit
from fedprivacy.errors import ConfigurationError, PeerError
from fedprivacy.randomness import InsecureTestRng
from fedprivacy.vector import (
    BLOCK_VALUES,
    FixedPoint,
    Pipeline,
    Rotate,
    Update,
    VectorSpec,
    Weigh,
    Weights,
)

RNG = InsecureTestRng(0)
SEED = bytes(range(32))
FLOATS = st.floats(allow_nan=False, allow_infinity=False)


def rotate(values, spec, seed=SEED):
    return np.asarray(Rotate(seed).encode(Update(values), spec, rng=RNG).values)


def bounded(length, l2=1.0, **others):
    return VectorSpec(length, bound=l2, l2=l2, **others)


@given(hnp.arrays(np.float64, st.integers(1, 70), elements=FLOATS), st.binary(min_size=32))
def test_the_admitted_norm_holds_and_decoding_restores(values, seed):
    stage, spec = Rotate(seed[:32]), bounded(len(values), 5.0)
    clipped = Clip(5.0).encode(Update(values), VectorSpec(len(values)), rng=RNG).values
    before = np.array(clipped)
    out = rotate(before, spec, seed[:32])
    admitted = stage.admit(spec)
    assert out.shape == (admitted.length,)
    assert admitted.length == 1 << max(0, len(values) - 1).bit_length()
    assert sum(Fraction(v) ** 2 for v in out.tolist()) <= Fraction(admitted.l2) ** 2
    assert np.abs(out).max() <= admitted.bound == admitted.l2
    assert admitted.l2 == 5.0 * hadamard_inflation(admitted.length) > 5.0
    assert np.allclose(stage.decode(out, spec), before, rtol=0, atol=1e-14)


def test_decoding_a_sum_is_the_sum():
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(9, 100))
    total = sum(rotate(v, bounded(100)) for v in vectors)
    kept = total.copy()
    assert np.allclose(Rotate(SEED).decode(total, bounded(100)), vectors.sum(axis=0), atol=1e-12)
    assert np.array_equal(total, kept)


def test_a_spike_is_spread_and_a_flat_vector_stays_so():
    """Each coordinate of a rotated unit vector is 2**-6; one of equal ones is a sum of signs.

    Hoeffding: 4096 coordinates beyond 2**-6 sqrt(2 ln(2 4096 / p)) with p = 1e-9.
    """
    spike = np.zeros(4096)
    spike[77] = 1.0
    assert np.array_equal(np.abs(rotate(spike, bounded(4096))), np.full(4096, 2.0**-6))
    flat = rotate(np.full(4096, 2.0**-6), bounded(4096))
    assert np.abs(flat).max() < 2.0**-6 * math.sqrt(2 * math.log(8192 / 1e-9))


def test_signs_differ_with_the_seed_and_about_half_are_negative():
    length = 3 * BLOCK_VALUES
    spec = bounded(length)

    def signs(seed):
        # Its own inverse: what decoding does to the transform of ones is the signs.
        ones = np.zeros(1 << 18)
        ones[0] = 2.0**9
        return Rotate(seed).decode(ones, spec)

    first, other = signs(SEED), signs(bytes(32))
    assert set(np.unique(first)) == {-1.0, 1.0}
    # 6 standard deviations, 2e-9, each.
    assert abs(first.sum()) < 6 * math.sqrt(length)
    assert abs((first * other).sum()) < 6 * math.sqrt(length)
    assert abs((first[:BLOCK_VALUES] * first[BLOCK_VALUES:][:BLOCK_VALUES]).sum()) < 6 * 256


def test_a_pipeline_with_a_rotation_returns_the_sum_in_its_own_length():
    length, clients = BLOCK_VALUES + 3, 4
    built = Pipeline.of(length, Clip(1.0), Rotate(SEED), FixedPoint(20), weights=Weights.UNIFORM)
    assert built.total_length == 2 * BLOCK_VALUES
    vectors = np.random.default_rng(1).normal(size=(clients, length)) / 400
    assert (np.linalg.norm(vectors, axis=1) < 1).all()
    total = sum(np.asarray(built.encode(Update(v), rng=RNG)) for v in vectors)
    out = np.empty(length, dtype=np.float32)
    aggregate = built.decode(total, clients=clients, out=out)
    assert aggregate.sum is out
    aggregate = built.decode(total, clients=clients)
    assert aggregate.sum.shape == (length,)
    bound = built.quantisation_bound(clients)
    difference = aggregate.sum - vectors.sum(axis=0)
    assert np.abs(difference).max() < bound
    # Each coordinate errs by a fair mean of roundings: far below the worst case.
    assert np.abs(difference).max() < 6 * math.sqrt(clients) / 2 / (2**19 - 1) < bound


@given(
    hnp.arrays(
        np.float64, st.tuples(st.integers(1, 5), st.integers(1, 9)), elements=st.floats(-1, 1)
    ),
    st.integers(2, 24),
)
def test_the_quantisation_bound_holds_with_a_rotation(vectors, bits):
    length = vectors.shape[1]
    built = Pipeline.of(length, Clip(9.0), Rotate(SEED), FixedPoint(bits), weights=Weights.UNIFORM)
    total = sum(np.asarray(built.encode(Update(v), rng=RNG)) for v in vectors)
    aggregate = built.decode(total, clients=len(vectors))
    exact = [sum(Fraction(v) for v in column) for column in vectors.T.tolist()]
    limit = built.quantisation_bound(len(vectors))
    for decoded, wanted in zip(aggregate.sum.tolist(), exact, strict=True):
        assert abs(Fraction(decoded) - wanted) < limit


def test_units_are_rotated_alike_and_the_weight_stays_last():
    unit = PerUnit(Clip(1.0), Rotate(SEED), FixedPoint(24), max_units=8)
    built = Pipeline.of(5, unit, weights=Weights.SUMMED)
    assert (built.total_length, built.specs[-1].length) == (9, 8)
    rows = np.random.default_rng(3).normal(size=(6, 5)) / 10
    encoded = np.asarray(built.encode(Update(rows), rng=RNG))
    assert encoded[-1] == 6
    aggregate = built.decode(encoded, clients=1)
    assert aggregate.weight == 6
    assert np.abs(aggregate.sum - rows.sum(axis=0)).max() < built.quantisation_bound(6) < 1e-5
    with pytest.raises(PeerError, match="the total weight is 9 where"):
        built.decode(np.array([0] * 8 + [9]), clients=1)


def test_a_unit_longer_than_a_block_is_rotated():
    length = BLOCK_VALUES + 1
    unit = PerUnit(Clip(1.0), Rotate(SEED), FixedPoint(24), max_units=2)
    built = Pipeline.of(length, unit, weights=Weights.UNIFORM)
    rows = np.zeros((2, length))
    rows[:, -1] = 0.25
    aggregate = built.decode(np.asarray(built.encode(Update(rows), rng=RNG)), clients=1)
    assert aggregate.sum[-1] == pytest.approx(0.5, abs=1e-5)


def test_weights_pass_a_rotation():
    built = Pipeline.of(
        3, Clip(1.0), Rotate(SEED), Weigh(5), FixedPoint(24), weights=Weights.SUMMED
    )
    encoded = np.asarray(built.encode(Update(np.array([0.1, -0.2, 0.3]), 4), rng=RNG))
    aggregate = built.decode(encoded, clients=1)
    assert aggregate.mean == pytest.approx([0.1, -0.2, 0.3], abs=1e-5)


def test_memory_is_that_of_the_padded_vector_and_some_blocks():
    length = 12 * BLOCK_VALUES
    built = Pipeline.of(length, Clip(1.0), Rotate(SEED), FixedPoint(16), weights=Weights.UNIFORM)
    values = np.full(length, 1e-4)
    values.flags.writeable = False
    tracemalloc.start()
    try:
        sent = built.encode(Update(values), rng=RNG)
        for start in range(0, len(sent), BLOCK_VALUES):
            assert sent[start : start + BLOCK_VALUES].dtype == np.int64
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 8 * built.total_length + 12 * 8 * BLOCK_VALUES


@pytest.mark.parametrize("seed", [b"", bytes(31), bytes(33), "x" * 32, None, bytearray(32)])
def test_what_is_no_seed_is_refused(seed):
    with pytest.raises(ConfigurationError, match=r"^Rotate\.seed is not 32 bytes: derive it"):
        Rotate(seed)


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (VectorSpec(3), "Rotate needs a bounded norm: put Clip before it"),
        (VectorSpec(3, bound=1.0), "Rotate needs a bounded norm: put Clip before it"),
        (bounded(3, integer=True), "Rotate needs real values: put it before FixedPoint"),
    ],
)
def test_a_wrong_order_is_refused_with_the_remedy(spec, words):
    with pytest.raises(ConfigurationError, match=words):
        Rotate(SEED).admit(spec)


def test_equal_rotations_are_equal_and_print_no_seed():
    assert Rotate(SEED) == Rotate(bytes(range(32))) != Rotate(bytes(32))
    assert hash(Rotate(SEED)) == hash(Rotate(SEED))
    assert repr(Rotate(SEED)) == "Rotate(tail=0.0)"
