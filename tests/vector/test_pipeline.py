import math
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fedprivacy.arithmetic import from_residues, to_residues
from fedprivacy.errors import ConfigurationError, PeerError, Reason
from fedprivacy.randomness import InsecureTestRng
from fedprivacy.vector import FixedPoint, Pipeline, Update, VectorSpec, Weigh, Weights

RNG = InsecureTestRng(0)


@dataclass(frozen=True)
class Bounded:
    """The least stage that bounds: values outside are a test's own mistake."""

    bound: float = 1.0

    def admit(self, spec):
        return replace(spec, bound=self.bound)

    def encode(self, update, spec, *, rng):
        spec.check(update.values)
        return update

    def decode(self, values, spec):
        return values


@dataclass(frozen=True)
class Permuted:
    """Two of these seldom commute, so a decode in the wrong order or left out shows."""

    order: tuple[int, ...]

    def admit(self, spec):
        return spec

    def encode(self, update, spec, *, rng):
        return Update(update.values[list(self.order)], update.weight)

    def decode(self, values, spec):
        return values[np.argsort(self.order)]


def pipeline(*stages, length=3, weights=Weights.UNIFORM):
    return Pipeline.of(length, *stages, weights=weights)


def exact_sum(vectors):
    return [sum(Fraction(v) for v in column) for column in zip(*vectors, strict=True)]


@st.composite
def cohorts(draw):
    length, clients = draw(st.integers(1, 6)), draw(st.integers(1, 8))
    bound = draw(st.sampled_from([0.1, 1.0, 1 / 3, 1e-9, 1e9]))
    shape = (clients, length)
    values = draw(hnp.arrays(np.float64, shape, elements=st.floats(-1, 1))) * bound
    weights = draw(st.lists(st.integers(0, 50), min_size=clients, max_size=clients))
    return bound, values, weights, draw(st.integers(2, 32)), draw(st.integers(0, 2**32))


def total_of(built, updates, seed):
    """The sum as a protocol takes it: modulo 2**bits, in unsigned words."""
    bits = built.modulus_bits(len(updates))
    rng = InsecureTestRng(seed)
    total = np.zeros(built.total_length, dtype=np.uint64)
    for update in updates:
        encoded = np.asarray(built.encode(update, rng=rng))
        assert encoded.dtype == np.int64
        assert encoded.shape == (built.total_length,)
        assert np.abs(encoded).max() <= built.client_bound
        total += to_residues(encoded, bits)
    return from_residues(total, bits)


@given(cohorts())
def test_a_uniform_sum_is_within_the_quantisation_bound(cohort):
    bound, values, _, bits, seed = cohort
    built = pipeline(Bounded(bound), FixedPoint(bits), length=values.shape[1])
    total = total_of(built, [Update(row) for row in values], seed)
    aggregate = built.decode(total, clients=len(values))
    assert aggregate.weight == len(values)
    limit = built.quantisation_bound(aggregate.weight)
    assert 0 < limit < 1.01 * len(values) * bound / (2 ** (bits - 1) - 1)
    for decoded, exact in zip(aggregate.sum.tolist(), exact_sum(values.tolist()), strict=True):
        assert abs(Fraction(decoded) - exact) < limit
    assert np.abs(aggregate.sum - values.sum(axis=0)).max() < limit
    assert np.array_equal(aggregate.mean, aggregate.sum / len(values))


@given(cohorts())
def test_a_weighted_sum_is_within_the_quantisation_bound(cohort):
    bound, values, weights, bits, seed = cohort
    stages = Bounded(bound), Weigh(50), FixedPoint(bits)
    built = pipeline(*stages, length=values.shape[1], weights=Weights.SUMMED)
    updates = [Update(row, weight) for row, weight in zip(values, weights, strict=True)]
    aggregate = built.decode(total_of(built, updates, seed), clients=len(values))
    assert aggregate.weight == sum(weights)
    limit = built.quantisation_bound(aggregate.weight)
    assert limit > 0
    weighted = [
        [Fraction(v) * w for v in u.values.tolist()] for u, w in zip(updates, weights, strict=True)
    ]
    for decoded, exact in zip(aggregate.sum.tolist(), exact_sum(weighted), strict=True):
        assert abs(Fraction(decoded) - exact) < limit
    if not sum(weights):
        assert aggregate.mean.tolist() == [0.0] * values.shape[1]


def test_a_vector_of_weight_zero_adds_nothing():
    built = pipeline(Bounded(), Weigh(9), FixedPoint(16), weights=Weights.SUMMED)
    encoded = np.asarray(built.encode(Update(np.array([0.3, -0.9, 1.0]), 0), rng=RNG))
    assert encoded.tolist() == [0, 0, 0, 0]


def test_the_weight_is_the_last_coordinate_and_counts_for_the_bound():
    built = pipeline(Bounded(), Weigh(1000), FixedPoint(4), weights=Weights.SUMMED)
    assert built.total_length == 4
    assert built.client_bound == 1000
    assert np.asarray(built.encode(Update(np.ones(3), 1000), rng=RNG)).tolist() == [7, 7, 7, 1000]
    assert built.modulus_bits(1) == 11
    assert built.modulus_bits(100) == 18
    uniform = pipeline(Bounded(), Weigh(1000), FixedPoint(4))
    assert (uniform.total_length, uniform.client_bound) == (3, 7)


def test_the_modulus_holds_the_largest_sum_of_either_sign():
    built = pipeline(Bounded(), FixedPoint(16))
    for clients in (1, 2, 3, 100):
        for sign in (1, -1):
            total = total_of(built, [Update(np.full(3, float(sign)))] * clients, 0)
            assert total.tolist() == [sign * clients * 32767] * 3
        assert 2 ** (built.modulus_bits(clients) - 1) < 2 * clients * 32767 + 1


def test_stages_are_undone_in_reverse():
    built = pipeline(Permuted((1, 2, 0)), Bounded(), Permuted((1, 0, 2)), FixedPoint(32))
    values = np.array([0.5, -1.0, 0.25])
    encoded = np.asarray(built.encode(Update(values), rng=RNG))
    assert encoded / encoded[0] == pytest.approx([1, -4, 2])
    assert built.decode(encoded, clients=1).sum == pytest.approx(values, abs=1e-8)


def test_an_encoding_is_determined_by_the_rng():
    built = pipeline(Bounded(), FixedPoint(3), length=50)
    update = Update(np.linspace(-1, 1, 50))
    first, again, other = (
        np.asarray(built.encode(update, rng=InsecureTestRng(seed))).tolist() for seed in (1, 1, 2)
    )
    assert first == again != other


def test_a_decoded_total_and_the_encoded_values_are_not_changed():
    built = pipeline(Bounded(), FixedPoint(3), weights=Weights.SUMMED)
    total = np.array([1, 2, 3, 1])
    built.decode(total, clients=1).sum[:] = 9
    assert total.tolist() == [1, 2, 3, 1]


def test_quantisation_bound_is_positive_and_grows():
    built = pipeline(Bounded(), FixedPoint(16))
    bounds = [built.quantisation_bound(weight) for weight in (0, 1, 2, 1000, 10**6)]
    assert bounds[0] == bounds[1] > 1 / 32767
    assert bounds[1:] == sorted(set(bounds[1:]))
    assert math.isclose(bounds[3], 1000 / 32767, rel_tol=1e-6)


@pytest.mark.parametrize(
    ("stages", "words"),
    [
        ((), "a pipeline must end in integers: put FixedPoint last"),
        ((Bounded(),), "a pipeline must end in integers: put FixedPoint last"),
        ((FixedPoint(8),), "FixedPoint needs a bounded vector: put Clip before it"),
        ((FixedPoint(8), Bounded()), "FixedPoint needs a bounded vector: put Clip before it"),
        ((Weigh(3), Bounded(), FixedPoint(8)), "Weigh needs a bounded vector: put Clip before it"),
        ((Bounded(), FixedPoint(8), Weigh(3)), "Weigh needs real values: put it before FixedPoint"),
        ((Bounded(), FixedPoint(8), FixedPoint(8)), "leave one of them out"),
    ],
)
def test_a_wrong_order_is_refused_when_built(stages, words):
    with pytest.raises(ConfigurationError, match=words):
        pipeline(*stages)


@pytest.mark.parametrize("length", [0, -1, 2.0, 2**32 + 1])
def test_a_length_out_of_range_is_refused(length):
    with pytest.raises(ConfigurationError, match=r"^length = "):
        pipeline(Bounded(), FixedPoint(8), length=length)


def test_a_modulus_beyond_62_bits_is_refused():
    heavy = pipeline(Bounded(), Weigh(2**53), FixedPoint(8), weights=Weights.SUMMED)
    assert heavy.modulus_bits(2**7) == 62
    with pytest.raises(ConfigurationError) as caught:
        heavy.modulus_bits(2**8)
    assert str(caught.value) == (
        "clients = 256 of up to 9007199254740992 each need a modulus of 63 bits where 62 are the "
        "most: lower value_bits, max_units or max_weight"
    )
    for clients in (0, -1, 2**33):
        with pytest.raises(ConfigurationError, match=r"^clients = "):
            heavy.modulus_bits(clients)


@pytest.mark.parametrize(
    ("total", "clients", "words"),
    [
        (np.array([15, 0, 0, 1]), 2, "the total has a coordinate 15 where 2 clients reach 14"),
        (np.array([0, -15, 0, 1]), 2, "the total has a coordinate -15 where 2 clients reach 14"),
        (np.array([-(2**63), 0, 0, 1]), 2, "a coordinate -9223372036854775808 where"),
        (np.array([0, 0, 0, 11]), 2, "the total weight is 11 where 2 clients weigh 0 to 10"),
        (np.array([0, 0, 0, -1]), 2, "the total weight is -1 where 2 clients weigh 0 to 10"),
    ],
)
def test_a_total_that_no_honest_clients_reach_is_refused(total, clients, words):
    built = pipeline(Bounded(), Weigh(5), FixedPoint(4), weights=Weights.SUMMED)
    assert built.decode(np.array([14, -14, 0, 10]), clients=2).weight == 10
    with pytest.raises(PeerError, match=words) as caught:
        built.decode(total, clients=clients)
    assert caught.value.reason is Reason.SUM_RANGE
    assert caught.value.culprits == ()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("total", "clients", "words"),
    [
        (np.array([0, 0, 0]), 2, "the total has 3 values where the pipeline makes 4"),
        (np.array([0, 0, 0, 1], "u8"), 2, "the total is uint64 where int64 is wanted"),
        (np.array([0, 0, 0, 1]), 0, "clients = 0 is not a whole number from 1"),
    ],
)
def test_what_is_no_total_is_refused(total, clients, words):
    built = pipeline(Bounded(), Weigh(5), FixedPoint(4), weights=Weights.SUMMED)
    with pytest.raises(ConfigurationError, match=words) as caught:
        built.decode(total, clients=clients)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("weight", [0, 2, -1])
def test_a_weight_that_no_stage_uses_is_refused(weight):
    for weights in Weights:
        built = pipeline(Bounded(), FixedPoint(8), weights=weights)
        with pytest.raises(ConfigurationError, match=rf"^update\.weight = {weight} where no stage"):
            np.asarray(built.encode(Update(np.zeros(3), weight), rng=RNG))


def test_what_a_client_has_no_business_printing_is_not_printed():
    assert "0.123" not in repr(Update(np.array([0.123])))
    built = pipeline(Bounded(), FixedPoint(8), length=1)
    assert "sum" not in repr(built.decode(np.array([5]), clients=1))


def test_equal_pipelines_are_equal_values():
    assert pipeline(Bounded(), FixedPoint(8)) == pipeline(Bounded(), FixedPoint(8))
    assert pipeline(Bounded(), FixedPoint(8)) != pipeline(Bounded(), FixedPoint(9))
    assert pipeline(Bounded(), FixedPoint(8)).specs[0] == VectorSpec(3)
