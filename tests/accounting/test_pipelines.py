"""Epsilon of the very pipelines that draw the noise, beside that of a Gaussian on real numbers."""

import pytest

from fedprivacy.accounting.charges import charges
from fedprivacy.accounting.renyi import ORDERS, composed_curve, renyi_epsilon
from fedprivacy.dp import Clip, DiscreteGaussian, Skellam, event_of
from fedprivacy.dp.events import Adjacency, GaussianEvent, Release
from fedprivacy.vector import FixedPoint, Pipeline, Rounding, Weights

LENGTH, SHARES, ROUNDS, DELTA = 1 << 20, 100, 100, 1e-6


def by_renyi(event):
    counts = charges([Release(event, count=ROUNDS)])
    return renyi_epsilon(composed_curve(counts, Adjacency.ADD_OR_REMOVE_ONE), DELTA, ORDERS)


def pipeline_of(bits, noise):
    rounding = FixedPoint(bits, Rounding.CONDITIONAL)
    return Pipeline.of(LENGTH, Clip(1.0), rounding, noise, weights=Weights.UNIFORM)


@pytest.mark.parametrize("noise", [Skellam, DiscreteGaussian])
def test_at_16_bits_integers_cost_less_than_one_percent(noise):
    """The same deviation, once for rounded and once for real vectors of norm 1."""
    multiplier = 4.0
    pipeline = pipeline_of(16, noise(multiplier, SHARES))
    before = pipeline.specs[-2]
    real = GaussianEvent(multiplier * before.unit_l2 / (1.0 * before.scale))
    assert by_renyi(real) < by_renyi(event_of(pipeline)) < 1.01 * by_renyi(real)


def test_at_10_bits_rounding_inflates_the_sensitivity():
    """Which is what the noise is measured by: epsilon stays, and the noise grows."""
    inflation = {}
    for bits in (10, 16):
        pipeline = pipeline_of(bits, Skellam(4.0, SHARES))
        before = pipeline.specs[-2]
        inflation[bits] = before.unit_l2 / before.scale
    assert inflation[10] == pytest.approx(1.42, abs=0.01)
    assert 1 < inflation[16] < 1.001
