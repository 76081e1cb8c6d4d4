"""Bounds move the way privacy does, and methods never contradict each other."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accounts import ADD, REPLACE, bound, gaussian, hidden
from fedprivacy.accounting import Accountant, epsilon_of
from fedprivacy.accounting.charges import charges
from fedprivacy.accounting.losses import pld_epsilon
from fedprivacy.accounting.renyi import ORDERS, composed_curve, renyi_epsilon
from fedprivacy.dp.events import (
    DiscreteGaussianEvent,
    DistributedDiscreteGaussianEvent,
    GaussianEvent,
    Release,
    Sample,
    SkellamEvent,
)

SIGMAS, RATES = st.floats(0.4, 20), st.floats(0.001, 1)
ROUNDS, DELTAS = st.integers(1, 2000), st.floats(-11, -2).map(lambda x: 10**x)
FACTORS = st.floats(1.05, 4)
SLACK = 1 + 1e-4  # of the grid on which losses lie


@given(SIGMAS, RATES, ROUNDS, DELTAS, FACTORS, st.sampled_from([ADD, REPLACE]))
@settings.get_profile("dear")
def test_more_noise_fewer_rounds_rarer_samples_or_a_larger_delta_cost_less(
    sigma, q, rounds, delta, factor, adjacency
):
    found = bound(sigma, q, rounds, delta, adjacency).epsilon
    assert found >= 0
    less = [
        bound(sigma * factor, q, rounds, delta, adjacency),
        bound(sigma, q / factor, rounds, delta, adjacency),
        bound(sigma, q, max(1, int(rounds / factor)), delta, adjacency),
        bound(sigma, q, rounds, min(0.5, delta * factor), adjacency),
    ]
    for other in less:
        assert other.epsilon <= found * SLACK + 1e-4


@given(SIGMAS, RATES, ROUNDS, DELTAS)
@settings.get_profile("dear")
def test_the_lower_bound_is_below_every_upper_one(sigma, q, rounds, delta):
    counts = charges([gaussian(sigma, q, rounds)])
    found = bound(sigma, q, rounds, delta)
    renyi = renyi_epsilon(composed_curve(counts, ADD), delta, ORDERS)
    losses = pld_epsilon(counts, ADD, delta, renyi)
    assert found.epsilon <= renyi * (1 + 1e-8)
    # Not by being cut off: each is compared with the lower bound on its own.
    for upper in (renyi, losses):
        assert upper is None or found.lower <= upper * SLACK + 1e-6


EVENTS = st.one_of(
    st.floats(0.5, 9).map(GaussianEvent),
    st.floats(0.5, 9).map(lambda z: DiscreteGaussianEvent(64.0, (64 * z) ** 2)),
    st.floats(0.5, 9).map(lambda z: SkellamEvent(64.0, 640.0, (64 * z) ** 2)),
    st.floats(1.0, 9).map(
        lambda z: DistributedDiscreteGaussianEvent(64.0, 640.0, 100, (64 * z) ** 2 / 100, 100)
    ),
)
RELEASES = st.builds(
    Release,
    EVENTS,
    st.just(Sample()) | st.sampled_from([0.01, 0.3]).map(hidden),
    st.integers(1, 5),
)


@given(st.lists(RELEASES, min_size=1, max_size=4), st.sampled_from([ADD, REPLACE]))
@settings(max_examples=30)
def test_counting_equals_repeating(releases, adjacency):
    one_by_one = Accountant(adjacency)
    for release in releases:
        for _ in range(release.count):
            one_by_one.add(Release(release.event, release.sample))
    counted = epsilon_of(releases, 1e-6, adjacency)
    assert one_by_one.bound(1e-6) == counted


@given(st.lists(RELEASES, max_size=3), st.lists(RELEASES, max_size=3))
@settings(max_examples=30)
def test_curves_add_up(first, second):
    curves = [composed_curve(charges(part), ADD) for part in (first, second, first + second)]
    assert np.allclose(curves[0] + curves[1], curves[2], rtol=1e-12)
    assert (curves[2][:-1] <= curves[2][1:]).all()  # it does not fall with the order


GAUSSIANS = st.builds(
    gaussian, st.floats(0.5, 9), st.sampled_from([0.01, 0.3, 1.0]), st.integers(1, 5)
)


@given(GAUSSIANS, GAUSSIANS, DELTAS)
@settings.get_profile("dear")
def test_two_runs_cost_at_most_their_sum(first, second, delta):
    """So it is of Gaussians, of which losses are known: two Renyi bounds may be worse together."""
    together = epsilon_of([first, second], delta).epsilon
    apart = sum(epsilon_of([part], delta / 2).epsilon for part in (first, second))
    assert together <= apart * SLACK + 1e-4


@pytest.mark.parametrize(
    ("sigma", "q", "T", "delta", "estimate"),
    [
        (4.0, 0.01, 10_000, 1e-5, 0.947),
        (1.0, 5000 / 763430, 5000, 1e-9, 3.899),
        (0.8, 0.001, 200_000, 1e-8, 5.065),
        (0.3, 0.01, 100, 1e-5, 26.836),
    ],
)
def test_renyi_losses_and_random_variables_are_in_order(sigma, q, T, delta, estimate):  # noqa: N803
    prv = pytest.importorskip("prv_accountant", reason="a second accountant to compare with")
    counts = charges([gaussian(sigma, q, T)])
    renyi = renyi_epsilon(composed_curve(counts, ADD), delta, ORDERS)
    losses = pld_epsilon(counts, ADD, delta, renyi)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it was written for an older numpy
        mechanism = prv.PoissonSubsampledGaussianMechanism(
            noise_multiplier=sigma, sampling_probability=q
        )
        accountant = prv.PRVAccountant(
            prvs=mechanism, max_self_compositions=T, eps_error=0.01, delta_error=delta / 1000
        )
        lower, middle, upper = accountant.compute_epsilon(delta=delta, num_self_compositions=T)
    assert renyi >= losses >= lower
    assert losses <= upper
    assert middle == pytest.approx(estimate, abs=0.002)
    assert bound(sigma, q, T, delta).lower <= upper


@pytest.mark.nightly
# Its PRV accountant bounds its domain by Renyi orders of its own, of which the largest is best.
@pytest.mark.filterwarnings("ignore:Optimal order is the largest alpha:UserWarning")
def test_opacus_agrees():
    accountants = pytest.importorskip("opacus.accountants", reason="the extra `torch`")
    for sigma, q, rounds, delta in ((1.5, 0.04, 2250, 1e-5), (4.0, 0.01, 10_000, 1e-5)):
        theirs = accountants.RDPAccountant()
        theirs.history = [(sigma, q, rounds)]
        counts = charges([gaussian(sigma, q, rounds)])
        ours = renyi_epsilon(composed_curve(counts, ADD), delta, ORDERS)
        told = theirs.get_epsilon(delta, alphas=list(ORDERS))
        assert ours == pytest.approx(told, abs=3e-4)
        prv = accountants.PRVAccountant()
        prv.history = [(sigma, q, rounds)]
        assert bound(sigma, q, rounds, delta).epsilon == pytest.approx(
            prv.get_epsilon(delta), abs=0.02
        )
