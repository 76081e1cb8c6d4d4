"""Noise shares in a pipeline: what is added, what is admitted, and what the event says of it."""

import math
import tracemalloc
from fractions import Fraction

import numpy as np
import pytest
from scipy import stats

from fedprivacy.arithmetic import from_residues, to_residues
from fedprivacy.dp import Clip, DiscreteGaussian, PerUnit, Skellam, event_of
from fedprivacy.dp.events import (
    DiscreteGaussianEvent,
    DistributedDiscreteGaussianEvent,
    SkellamEvent,
)
from fedprivacy.dp.sampling import discrete_gaussian, draw, skellam
from fedprivacy.errors import ConfigurationError, PeerError
from fedprivacy.randomness import InsecureTestRng, Keystream
from fedprivacy.vector import (
    BLOCK_VALUES,
    FixedPoint,
    Pipeline,
    Rotate,
    Rounding,
    Update,
    VectorSpec,
    Weights,
)

SEED = bytes(range(32))
NOISES = [Skellam, DiscreteGaussian]
SAMPLERS = {Skellam: skellam, DiscreteGaussian: discrete_gaussian}
CONDITIONAL = Rounding.CONDITIONAL


class Words:
    """An rng whose seeds are recorded."""

    def __init__(self):
        self.seeds = []
        self.source = InsecureTestRng(7)

    def bytes(self, count):
        self.seeds.append(self.source.bytes(count))
        return self.seeds[-1]

    def child(self, purpose):
        raise NotImplementedError


def client_level(noise, length=100, bits=12, clip=1.0):
    stages = Clip(clip), Rotate(SEED), FixedPoint(bits, CONDITIONAL), noise
    return Pipeline.of(length, *stages, weights=Weights.UNIFORM)


def per_unit(noise, length=20, bits=10, max_units=8):
    unit = PerUnit(Clip(1.0), Rotate(SEED), FixedPoint(bits, CONDITIONAL), max_units=max_units)
    return Pipeline.of(length, unit, noise, weights=Weights.UNIFORM)


def without_noise(built):
    return Pipeline.of(built.length, *built.stages[:-1], weights=Weights.UNIFORM)


# ------------------------------------------------------------------------- what is added


@pytest.mark.parametrize("noise", NOISES)
@pytest.mark.parametrize("length", [1, 100, 2 * BLOCK_VALUES])
def test_what_is_added_is_the_samplers_draw_from_one_seed(noise, length):
    built = client_level(noise(1.5, shares=4), length)
    values = np.random.default_rng(0).normal(size=length)
    rng, same = Words(), InsecureTestRng(7)
    noisy = np.asarray(built.encode(Update(values), rng=rng))
    plain = np.asarray(without_noise(built).encode(Update(values), rng=same))
    variance = (1.5 * built.specs[-2].unit_l2) ** 2 / 4
    expected = draw(SAMPLERS[noise](variance), built.total_length, Keystream(rng.seeds[-1]))
    assert noisy.dtype == np.int64
    assert np.array_equal(noisy - plain, expected)
    assert expected.any()


def test_two_clients_and_two_rounds_draw_different_noise():
    built = per_unit(Skellam(3.0, shares=2))
    rng = InsecureTestRng(1)
    first, again = (np.asarray(built.encode(Update(np.zeros((0, 20))), rng=rng)) for _ in range(2))
    assert not np.array_equal(first, again)


@pytest.mark.parametrize("noise", NOISES)
def test_zeros_and_no_units_still_carry_noise(noise):
    """Chi-square of 50,000 shares against a fresh sample's law, in bins: false alarm 1e-6."""
    built = per_unit(noise(0.2, shares=3), length=50_000, bits=4)
    out = np.asarray(built.encode(Update(np.zeros((0, 50_000))), rng=InsecureTestRng(3)))
    deviation = math.sqrt(built.stages[-1].local_variance(built.specs[-2]))
    assert abs(out.std() / deviation - 1) < 5 * math.sqrt(1 / 2 / len(out))
    edges = np.arange(-8, 9) * math.ceil(deviation / 4) + 0.5
    seen = np.bincount(np.searchsorted(edges, out), minlength=18)
    expected = np.diff(stats.norm.cdf(edges / deviation), prepend=0, append=1) * len(out)
    assert stats.chi2.sf(((seen - expected) ** 2 / expected).sum(), 17) > 1e-6


def test_shares_of_skellam_add_up_to_skellam_exactly():
    """Five shares of variance 0.4 against the law of variance 2: false alarm 1e-6."""
    spec = VectorSpec(10**5, integer=True, bound=1, l2=1.0, unit_l2=1.0, unit_l1=1.0)
    stage, rng = Skellam(math.sqrt(2), shares=5), InsecureTestRng(2)
    zeros = np.zeros(10**5, dtype=np.int64)
    total = sum(np.asarray(stage.encode(Update(zeros), spec, rng=rng).values) for _ in range(5))
    pmf = stats.skellam(1, 1).pmf(np.arange(-6, 7))
    expected = np.array([*pmf, 1 - pmf.sum()]) * len(total)
    inside = np.abs(total) <= 6
    seen = np.array([*np.bincount(total[inside] + 6, minlength=13), (~inside).sum()])
    assert stats.chi2.sf(((seen - expected) ** 2 / expected).sum(), 13) > 1e-6


@pytest.mark.parametrize("noise", NOISES)
def test_enough_shares_reach_the_multiplier(noise):
    """The deviation of the sum of four clients' noise, 60,000 coordinates: 5 deviations, 1e-6."""
    built = client_level(noise(0.7, shares=4), length=60_000, bits=8)
    rng, zeros = InsecureTestRng(5), np.zeros(60_000)
    total = sum(np.asarray(built.encode(Update(zeros), rng=rng)) for _ in range(4))
    wanted = 0.7 * built.specs[-2].unit_l2
    assert abs(total.std() / wanted - 1) < 5 * math.sqrt(1 / 2 / len(total))


# ------------------------------------------------------------------------- through a sum


@pytest.mark.parametrize("noise", NOISES)
def test_a_noisy_sum_passes_its_modulus_and_comes_back(noise):
    built = per_unit(noise(1.0, shares=3), length=300)
    rng, clients = InsecureTestRng(1), 3
    bits = built.modulus_bits(clients)
    rows = np.random.default_rng(2).normal(size=(clients, 8, 300))
    total, exact = np.zeros(built.total_length, dtype=np.uint64), np.zeros(built.total_length)
    for units in rows:
        encoded = np.asarray(built.encode(Update(units), rng=rng))
        assert np.abs(encoded).max() <= built.client_bound
        total += to_residues(encoded, bits)
        exact += encoded
    total = from_residues(total, bits)
    assert np.array_equal(total, exact)
    aggregate = built.decode(total, clients=clients)
    assert aggregate.weight == clients
    clipped = (rows / np.linalg.norm(rows, axis=2)[..., None]).sum(axis=(0, 1))
    deviation = built.specs[-2].unit_l2 / built.specs[-1].scale
    error = aggregate.sum - clipped
    assert 0.7 * deviation < error.std() < 1.3 * deviation
    assert built.quantisation_bound(24) == without_noise(built).quantisation_bound(24)
    beyond = total.copy()
    beyond[0] = clients * int(built.specs[-1].bound) + 1
    with pytest.raises(PeerError, match="the total has a coordinate"):
        built.decode(beyond, clients=clients)


@pytest.mark.parametrize("noise", NOISES)
def test_the_admitted_bound_includes_the_whole_table(noise):
    built = client_level(noise(2.0, shares=9), bits=10)
    before, after = built.specs[-2], built.specs[-1]
    most = SAMPLERS[noise]((2 * before.unit_l2) ** 2 / 9).most
    assert (after.noise, after.bound) == (most, before.bound + most)
    assert after.l2 >= before.l2 + most * math.sqrt(after.length)
    assert (after.unit_l2, after.unit_l1) == (before.unit_l2, before.unit_l1)
    assert built.client_bound == after.bound


def test_sensitivity_is_one_units_and_not_the_clients():
    built = per_unit(Skellam(1.0, shares=1), max_units=64)
    client, unit = (
        built.specs[-2],
        Pipeline.of(
            20, Clip(1.0), Rotate(SEED), FixedPoint(10, CONDITIONAL), weights=Weights.UNIFORM
        ).specs[-1],
    )
    assert client.unit_l2 == unit.l2 == client.l2 / 64
    assert built.stages[-1].local_variance(client) == unit.l2**2


# ------------------------------------------------------------------------- the event


def test_the_event_of_skellam_noise():
    built = client_level(Skellam(1.1, shares=7), length=1000)
    spec = built.specs[-2]
    event = event_of(built)
    assert isinstance(event, SkellamEvent)
    assert (event.l2, event.l1) == (spec.unit_l2, spec.unit_l1)
    local = built.stages[-1].local_variance(spec)
    assert 0 < 7 * Fraction(local) - Fraction(event.variance) < Fraction(local) / 2**48
    assert event.variance == pytest.approx((1.1 * spec.unit_l2) ** 2)
    apart = skellam(local).total_variation
    assert 7 * 1024 * apart <= event.delta_extra <= 7 * 1024 * apart * (1 + 1e-12)
    assert 0 < event.delta_extra < 2.0**-100


def test_the_event_of_central_gaussian_noise_is_the_discrete_gaussians():
    built = client_level(DiscreteGaussian(1.1, shares=1))
    spec = built.specs[-2]
    event = event_of(built)
    assert isinstance(event, DiscreteGaussianEvent)
    assert event.l2 == spec.unit_l2
    assert event.variance == built.stages[-1].local_variance(spec) == (1.1 * event.l2) ** 2
    assert 0 < event.delta_extra < 2.0**-100


def test_the_event_of_gaussian_shares_counts_them_and_the_padded_dimension():
    built = client_level(DiscreteGaussian(1.1, shares=30))
    event = event_of(built)
    assert isinstance(event, DistributedDiscreteGaussianEvent)
    assert (event.dimension, event.shares) == (128, 30)
    assert event.local_variance == (1.1 * event.l2) ** 2 / 30
    assert event.l1 == built.specs[-2].unit_l1


def test_a_pipeline_without_noise_has_no_event():
    assert event_of(without_noise(client_level(Skellam(1.0, shares=1)))) is None


def test_shares_too_small_for_a_sum_of_gaussians_are_refused():
    with pytest.raises(ConfigurationError, match=r"local_variance = .* is below 4\.0: scale"):
        client_level(DiscreteGaussian(0.5, shares=10**5), bits=8)
    assert client_level(Skellam(0.5, shares=10**5), bits=8).specs[-1].noise > 0


# ------------------------------------------------------------------------- values and refusals


def test_noise_is_made_while_it_is_read():
    length = 12 * BLOCK_VALUES
    stages = Clip(1.0), FixedPoint(16), Skellam(1.0, shares=100)
    built = Pipeline.of(length, *stages, weights=Weights.UNIFORM)
    values = np.full(length, 1e-5)
    values.flags.writeable = False
    tracemalloc.start()
    try:
        sent = built.encode(Update(values), rng=InsecureTestRng(0))
        for start in range(0, length, BLOCK_VALUES):
            assert sent[start : start + BLOCK_VALUES].shape == (BLOCK_VALUES,)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < values.nbytes


@pytest.mark.parametrize("noise", NOISES)
def test_a_wrong_order_is_refused_with_the_remedy(noise):
    share = noise(1.0, shares=10)
    whole = Clip(1.0), FixedPoint(8)
    for stages, words in (
        ((Clip(1.0), share), "adds integers: put FixedPoint before it"),
        ((Clip(1.0), share, FixedPoint(8)), "adds integers: put FixedPoint before it"),
        ((PerUnit(*whole, share, max_units=4),), "put it after PerUnit, not into it"),
        ((*whole, share, share), "there is noise already: leave one of them out"),
        ((*whole, share, FixedPoint(8)), "values are whole already"),
    ):
        with pytest.raises(ConfigurationError, match=words):
            Pipeline.of(3, *stages, weights=Weights.UNIFORM)
    with pytest.raises(ConfigurationError, match="would tell the total weight without noise: use"):
        Pipeline.of(3, *whole, share, weights=Weights.SUMMED)
    with pytest.raises(ConfigurationError, match="needs the sensitivity of the integers"):
        share.admit(VectorSpec(3, integer=True, bound=5))


@pytest.mark.parametrize("noise", NOISES)
@pytest.mark.parametrize("multiplier", [0, -1.0, math.nan, math.inf, 1e-7, 1e7, "1", None, True])
def test_a_multiplier_out_of_range_is_refused(noise, multiplier):
    with pytest.raises(ConfigurationError, match=rf"^{noise.__name__}\.noise_multiplier = .*: "):
        noise(multiplier, shares=1)


@pytest.mark.parametrize("noise", NOISES)
@pytest.mark.parametrize("shares", [0, -1, 1.0, True, None, 2**32 + 1])
def test_a_number_of_shares_out_of_range_is_refused(noise, shares):
    with pytest.raises(ConfigurationError, match=rf"^{noise.__name__}\.shares = .*: "):
        noise(1.0, shares)


@pytest.mark.parametrize("noise", NOISES)
def test_noise_beyond_the_samplers_range_is_refused_when_built(noise):
    with pytest.raises(ConfigurationError, match=r"variance .* is outside .*: choose another"):
        client_level(noise(1e6, shares=1), bits=32)


def test_they_are_frozen_values():
    assert Skellam(1.0, 2) == Skellam(1.0, shares=2) != Skellam(1.0, 3)
    assert Skellam(1.0, 2) != DiscreteGaussian(1.0, 2)
    assert hash(DiscreteGaussian(1.0, 2)) == hash(DiscreteGaussian(1.0, 2))
    assert client_level(Skellam(1.0, 2)) == client_level(Skellam(1.0, 2))
    with pytest.raises(AttributeError):
        Skellam(1.0, 2).shares = 1
