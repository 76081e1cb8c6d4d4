"""The clip that follows a quantile, and the one integer by which it does."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedprivacy.dp import Clip, PerUnit, Skellam, event_of
from fedprivacy.dp.adaptive import CountWithin, GeometricClip, count_ratio, vector_multiplier
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

RNG = InsecureTestRng(0)
SEED = bytes(32)


def stages(clip=1.0, bits=12):
    return Clip(clip), Rotate(SEED), FixedPoint(bits, Rounding.CONDITIONAL)


def counted(length=10, ratio=0.5, **others):
    return Pipeline.of(length, CountWithin(*stages(**others), ratio=ratio), weights=Weights.UNIFORM)


# ------------------------------------------------------------------------- the rule


@given(st.floats(1e-3, 1e3), st.floats(0, 1), st.floats(0, 1), st.floats(1e-3, 1))
def test_too_many_within_lower_the_clip_and_too_few_raise_it(clip, share, quantile, rate):
    after = GeometricClip(quantile, rate).next(clip, share)
    assert after == pytest.approx(clip * math.exp(-rate * (share - quantile)))
    if share > quantile + 1e-9:
        assert after < clip
    if share < quantile - 1e-9:
        assert after > clip


@pytest.mark.parametrize("start", [0.01, 100.0])
@pytest.mark.parametrize("quantile", [0.2, 0.5, 0.9])
def test_it_finds_the_quantile_from_either_side(start, quantile):
    norms = np.random.default_rng(0).lognormal(sigma=0.7, size=2000)
    rule, clip = GeometricClip(quantile, 0.2), start
    for _ in range(300):
        clip = rule.next(clip, float((norms <= clip).mean()))
    assert clip == pytest.approx(np.quantile(norms, quantile), rel=0.02)


def test_what_noise_takes_out_of_range_is_put_back():
    rule = GeometricClip(0.5, 1.0)
    assert rule.next(2.0, -7.0) == rule.next(2.0, 0.0) == 2 * math.exp(0.5)
    assert rule.next(2.0, math.inf) == rule.next(2.0, 1.0) == 2 * math.exp(-0.5)
    assert Clip(rule.next(1e100, 0.0)) == Clip(1e100)
    assert Clip(rule.next(1e-100, 1.0)) == Clip(1e-100)
    with pytest.raises(ConfigurationError, match="share = nan is no share: count"):
        rule.next(1.0, math.nan)


# ------------------------------------------------------------------------- the noise of both


def test_the_vector_pays_for_the_count():
    """What 20, 50 and 100 units pay where sigma_b is a twentieth of them, at z = 1."""
    for units, overhead in ((20, 0.155), (50, 0.021), (100, 0.005)):
        assert vector_multiplier(1.0, units / 20) == pytest.approx(1 + overhead, abs=6e-4)
    z, deviation = 0.8, 3.0
    exact = (z**-2 - (2 * deviation) ** -2) ** -0.5
    assert vector_multiplier(z, deviation) == pytest.approx(exact)


@given(st.floats(0.1, 10), st.floats(6, 1000))
def test_one_noise_is_the_noise_of_both(z, deviation):
    """For a vector of norm c = 1: sigma / c is the vector's multiplier, sigma / 2k the count's."""
    k = count_ratio(z, deviation)
    sigma = z * math.hypot(1, k)
    assert sigma == pytest.approx(vector_multiplier(z, deviation))
    assert sigma / (2 * k) == pytest.approx(deviation)


@pytest.mark.parametrize("call", [vector_multiplier, count_ratio])
def test_a_count_that_leaves_nothing_is_refused(call):
    for z, deviation in ((2.0, 1.0), (2.0, 0.5)):
        with pytest.raises(
            ConfigurationError, match=r"^count_deviation = .* count with more noise"
        ):
            call(z, deviation)
    for z, deviation in ((0, 1.0), (math.nan, 1.0), (1.0, math.inf), (True, 1.0)):
        with pytest.raises(ConfigurationError, match="is no number from"):
            call(z, deviation)


# ------------------------------------------------------------------------- the integer


def test_the_mark_tells_the_norm_before_clipping_and_the_rest_is_as_without_it():
    built = counted(10)
    plain = Pipeline.of(10, *stages(), weights=Weights.UNIFORM)
    k = built.stages[0].magnitude(built.specs[0])
    assert k == round(0.5 * plain.specs[-1].unit_l2)
    for size, mark in ((0.0, k), (0.5, k), (1.0, k), (1.0001, -k), (50.0, -k), (1e300, -k)):
        values = np.zeros(10)
        values[3] = size
        out = np.asarray(built.encode(Update(values), rng=InsecureTestRng(4)))
        assert out.shape == (17,)
        assert out[-1] == mark
        without = np.asarray(plain.encode(Update(values), rng=InsecureTestRng(4)))
        assert np.array_equal(out[:-1], without)


def test_sensitivities_are_those_of_the_longer_vector():
    spec, longer = (
        Pipeline.of(10, *stages(), weights=Weights.UNIFORM).specs[-1],
        counted().specs[-1],
    )
    k = round(0.5 * spec.unit_l2)
    assert longer.length == spec.length + 1
    assert math.hypot(spec.unit_l2, k) <= longer.unit_l2 <= math.hypot(spec.unit_l2, k) + 1e-9
    assert longer.unit_l2 == longer.l2
    assert spec.unit_l1 + k <= longer.unit_l1 <= spec.unit_l1 + k + 1e-9
    assert longer.bound == spec.bound
    assert counted(ratio=3.0).specs[-1].bound == round(3 * spec.unit_l2) > spec.bound


def test_a_noisy_round_gives_the_sum_and_the_share():
    clients, length, z, deviation = 200, 30, 0.5, 4.0
    count = CountWithin(*stages(bits=16), ratio=count_ratio(z, deviation))
    built = Pipeline.of(length, count, Skellam(z, shares=clients), weights=Weights.UNIFORM)
    draw, rng = np.random.default_rng(1), InsecureTestRng(9)
    total, within, exact = np.zeros(built.total_length, dtype=np.int64), 0, np.zeros(length)
    for _ in range(clients):
        values = draw.normal(size=length)
        values *= draw.lognormal() / np.linalg.norm(values)
        within += np.linalg.norm(values) <= 1
        exact += values / max(1.0, np.linalg.norm(values))
        total += np.asarray(built.encode(Update(values), rng=rng))
    share = count.share(int(total[-1]), clients, built.specs[0])
    # Noise of deviation 4 on a count of 200: 6 deviations, 2e-9.
    assert abs(share * clients - within) < 6 * deviation * 1.01
    assert share * clients != within
    aggregate = built.decode(total, clients=clients)
    assert aggregate.sum.shape == (length,)
    assert np.abs(aggregate.sum - exact).max() < 6 * vector_multiplier(z, deviation) * 1.02
    event = event_of(built)
    assert event.l2 == built.specs[-2].unit_l2
    assert math.sqrt(event.variance) / event.l2 == pytest.approx(z)


def test_units_are_counted_each():
    unit = PerUnit(CountWithin(*stages(), ratio=0.25), max_units=8)
    built = Pipeline.of(5, unit, weights=Weights.UNIFORM)
    rows = np.zeros((6, 5))
    rows[:2, 0] = 9.0
    rows[2:, 1] = 0.5
    encoded = np.asarray(built.encode(Update(rows), rng=RNG))
    count, inner = unit.stages[0], VectorSpec(5, per_unit=True, max_units=8)
    assert encoded[-1] == (4 - 2) * count.magnitude(inner)
    assert count.share(int(encoded[-1]), 6, inner) == pytest.approx(4 / 6)
    aggregate = built.decode(encoded, clients=1)
    assert aggregate.sum == pytest.approx([2, 2, 0, 0, 0], abs=0.02)


def test_the_mark_is_the_last_of_many_blocks():
    built = counted(2 * BLOCK_VALUES)
    out = np.asarray(built.encode(Update(np.zeros(2 * BLOCK_VALUES)), rng=RNG))
    assert len(out) == 2 * BLOCK_VALUES + 1
    assert out[-1] == out.max() > 0 == np.abs(out[:-1]).max()
    assert built.decode(out, clients=1).sum.shape == (2 * BLOCK_VALUES,)


# ------------------------------------------------------------------------- refused


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: CountWithin(ratio=1.0), "put Clip first in it"),
        (lambda: CountWithin(Rotate(SEED), ratio=1.0), "put Clip first in it"),
        (lambda: CountWithin(Clip(1.0), ratio=0), r"^CountWithin\.ratio = 0 is no number"),
        (lambda: CountWithin(Clip(1.0), ratio=math.nan), r"^CountWithin\.ratio = nan is no"),
        (lambda: GeometricClip(quantile=1.1), r"^GeometricClip\.quantile = 1\.1 is no number"),
        (lambda: GeometricClip(rate=0), r"^GeometricClip\.rate = 0 is no number"),
        (lambda: GeometricClip(rate=True), r"^GeometricClip\.rate = True is no number"),
    ],
)
def test_what_is_out_of_range_is_refused(call, words):
    with pytest.raises(ConfigurationError, match=words):
        call()


@pytest.mark.parametrize(
    ("inner", "words"),
    [
        ((Clip(1.0),), "put FixedPoint last in it, and the noise behind it"),
        ((Clip(1.0), FixedPoint(8), Skellam(1.0, 1)), "and the noise behind it"),
        ((Clip(1.0), Weigh(3), FixedPoint(8)), "counts each alike: leave Weigh out"),
    ],
)
def test_a_wrong_order_is_refused_with_the_remedy(inner, words):
    with pytest.raises(ConfigurationError, match=words):
        Pipeline.of(3, CountWithin(*inner, ratio=1.0), weights=Weights.UNIFORM)
