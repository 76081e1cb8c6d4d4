"""Distributed noise: the published figures, and where its bounds meet the Gaussian's."""

import math

import pytest

from accounts import ADD, hidden
from fedprivacy.accounting import epsilon_of
from fedprivacy.accounting.charges import Charge
from fedprivacy.accounting.renyi import ORDERS, composed_curve, curve
from fedprivacy.dp.events import (
    DiscreteGaussianEvent,
    DistributedDiscreteGaussianEvent,
    GaussianEvent,
    Release,
    SkellamEvent,
)

# 2**20 coordinates, 100 of 3,400 clients, 1,500 rounds, multiplier 1, clip 1.
DIMENSION, SHARES, CLIENTS, ROUNDS = 2**20, 100, 3400, 1500
DELTA = 1 / CLIENTS
TABLE = {12: 15.14, 14: 8.05, 16: 7.51, 18: 7.477}


def lattice(bits):
    """Sensitivities and variance of the papers' scaling to a modulus of so many bits.

    Kairouz, Liu, Steinke (2021), with four deviations before a wrap and beta = exp(-1/2).
    """
    k, local = 4, 1 / math.sqrt(SHARES)
    spread = math.sqrt(SHARES**2 / DIMENSION + SHARES * local**2)
    scale = math.sqrt(2 ** (2 * bits) - SHARES * k**2) / (2 * k * spread)
    root = math.sqrt(DIMENSION)
    l2 = min(scale + root, math.sqrt(scale**2 + DIMENSION / 4 + (scale + root / 2)))
    return l2, l2 * min(root, l2), scale**2


def cost(event):
    return epsilon_of([Release(event, hidden(SHARES / CLIENTS), ROUNDS)], DELTA).epsilon


@pytest.mark.parametrize("bits", TABLE)
def test_the_published_table_of_bits(bits):
    l2, l1, variance = lattice(bits)
    skellam = cost(SkellamEvent(l2, l1, variance))
    shares = cost(DistributedDiscreteGaussianEvent(l2, l1, DIMENSION, variance / SHARES, SHARES))
    assert skellam == pytest.approx(TABLE[bits], abs=0.006)
    assert skellam == pytest.approx(shares, abs=5e-4)


def test_the_generic_sampling_bound_is_what_it_costs():
    generic = cost(DiscreteGaussianEvent(1.0, 1.0))
    assert generic == pytest.approx(7.475, abs=1e-3)
    assert cost(GaussianEvent(1.0)) == pytest.approx(5.97, abs=0.01)
    assert cost(SkellamEvent(*lattice(16))) <= 1.01 * generic


def test_many_bits_lead_to_the_gaussian():
    deviation = 2.0**20
    gaussian = curve(Charge(DiscreteGaussianEvent(deviation, deviation**2), 1.0), ADD)
    for event in (
        SkellamEvent(deviation, 4 * deviation, deviation**2),
        DistributedDiscreteGaussianEvent(deviation, 4 * deviation, 16, deviation**2 / 10, 10),
    ):
        assert curve(Charge(event, 1.0), ADD) == pytest.approx(gaussian, rel=1e-4)


def test_theorems_at_figures_worked_out_by_hand():
    # Skellam, order 2: 2*9/(2*100) + min((3*9 + 6*5)/(4*10^4), 15/200).
    found = curve(Charge(SkellamEvent(3.0, 5.0, 100.0), 1.0), ADD, (2.0,))
    assert found[0] == pytest.approx(0.09 + 57 / 40_000, rel=1e-12)
    # Two shares of variance 4: tau = 10 exp(-4 pi^2).
    tau = 10 * math.exp(-4 * math.pi**2)
    event = DistributedDiscreteGaussianEvent(3.0, 5.0, 7, 4.0, 2)
    found = curve(Charge(event, 1.0), ADD, (2.0,))
    assert found[0] == pytest.approx(9 / 8 + min(7 * tau, 1), rel=1e-9)
    # Poisson, order 2, base divergence r: log(1 - q^2 + q^2 e^r).
    q, r = 0.1, 2 * 9 / 200
    found = curve(Charge(DiscreteGaussianEvent(3.0, 100.0), q), ADD, (2.0,))
    assert found[0] == pytest.approx(math.log(1 - q**2 + q**2 * math.exp(r)), rel=1e-9)


def test_an_order_between_two_whole_ones_takes_the_next():
    for event in (SkellamEvent(3.0, 5.0, 100.0), DiscreteGaussianEvent(3.0, 100.0)):
        for rate in (1.0, 0.1):
            charge = Charge(event, rate)
            assert curve(charge, ADD, (2.5,))[0] == curve(charge, ADD, (3.0,))[0]


def test_sampling_never_costs_more_than_none():
    for rate in (1e-6, 0.5, 0.999999):
        charge = Charge(SkellamEvent(3.0, 5.0, 1.0), rate)
        sampled = composed_curve({charge: 1}, ADD)
        assert (sampled <= curve(Charge(charge.event, 1.0), ADD)).all()


def test_the_distance_of_many_shares_is_bounded():
    one = DistributedDiscreteGaussianEvent(3.0, 5.0, 7, 4.0, 1000)
    many = DistributedDiscreteGaussianEvent(3.0, 5.0, 7, 4.0, 10**6)
    # A thousand times the shares, less divergence: the terms left out are counted, and small.
    assert (curve(Charge(many, 1.0), ADD) < curve(Charge(one, 1.0), ADD)).all()
    assert len(ORDERS) == len(curve(Charge(many, 1.0), ADD))
