"""The filter never admits beyond its budget, whoever chooses the releases."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accounts import ADD, REPLACE, gaussian, hidden
from fedprivacy.accounting import RdpFilter, epsilon_of
from fedprivacy.accounting.charges import charges
from fedprivacy.accounting.renyi import ORDERS, composed_curve, renyi_epsilon
from fedprivacy.dp.events import DiscreteGaussianEvent, GaussianEvent, Release, Sample, SkellamEvent
from fedprivacy.errors import BudgetExhausted, ConfigurationError

RELEASES = st.builds(
    Release,
    st.one_of(
        st.floats(0.5, 50).map(GaussianEvent),
        st.floats(0.5, 50).map(lambda z: SkellamEvent(64.0, 640.0, (64 * z) ** 2)),
        st.floats(1, 9).map(lambda z: DiscreteGaussianEvent(1.0, z**2, delta_extra=1e-16)),
    ),
    st.just(Sample()) | st.sampled_from([0.01, 0.3]).map(hidden),
    st.integers(1, 5),
)


@given(
    st.lists(RELEASES, max_size=12),
    st.floats(0.5, 8),
    st.floats(-9, -3).map(lambda x: 10**x),
    st.sampled_from([ADD, REPLACE]),
)
def test_what_it_admits_is_within_the_budget(releases, epsilon, delta, adjacency):
    held = RdpFilter(epsilon, delta, adjacency=adjacency)
    admitted = []
    for release in releases:
        if held.admits(release):
            held.charge(release)
            admitted.append(release)
        else:
            before = held.spent
            with pytest.raises(BudgetExhausted):
                held.charge(release)
            assert held.spent == before
    assert 0 <= held.spent <= epsilon
    # At the order that was fixed; the best order, and other methods, can only tell less.
    order = (held.order,)
    curve = composed_curve(charges(admitted), adjacency)[ORDERS.index(held.order)]
    lost = sum(r.event.delta_extra * r.count for r in admitted)
    room = delta - (1 + math.exp(epsilon)) * lost
    assert renyi_epsilon(curve.reshape(1), room, order) <= epsilon
    assert epsilon_of(admitted, delta, adjacency).epsilon <= epsilon * (1 + 1e-6)


def test_the_last_release_is_the_last():
    held = RdpFilter(4.0, 1e-6)
    count = 0
    while held.admits(gaussian(10.0)):
        held.charge(gaussian(10.0))
        count += 1
    # No other order would have admitted more, but for the share of delta that is set aside.
    costs = [epsilon_of([gaussian(10.0, T=n)], 1e-6).epsilon for n in (count, count + 1)]
    assert costs[0] <= 4.0
    curve = composed_curve(charges([gaussian(10.0, T=count + 1)]), ADD)
    assert renyi_epsilon(curve, 1e-6 * (1 - 1e-3), ORDERS) > 4.0
    with pytest.raises(BudgetExhausted, match=r"would exceed epsilon = 4\.0 at delta = 1e-06"):
        held.charge(gaussian(10.0))
    assert BudgetExhausted.exit_code == 4


def test_the_order_is_that_of_the_releases_that_are_expected():
    usual = gaussian(0.8, 0.01)
    counts = []
    for expected in (None, usual):
        held = RdpFilter(4.0, 1e-6, expected=expected)
        count = 0
        while held.admits(usual):
            held.charge(usual)
            count += 1
        counts.append(count)
    assert counts[0] < counts[1]


def test_many_small_charges_are_not_lost_in_a_large_sum():
    held = RdpFilter(4.0, 1e-6)
    held.charge(gaussian(2.0))
    spent = held.spent
    for _ in range(1000):
        held.charge(gaussian(1e9))
    assert held.spent > spent


def test_lost_mass_is_held_to_its_share():
    event = DiscreteGaussianEvent(1.0, 10.0**6, delta_extra=1e-12)
    held = RdpFilter(4.0, 1e-6)
    count = 0
    while held.admits(Release(event)):
        held.charge(Release(event))
        count += 1
    assert count == int(1e-9 / (1 + math.exp(4)) / 1e-12)


def test_a_budget_that_is_spent_refuses_the_dearest_first():
    held = RdpFilter(1.0, 1e-6)
    held.charge(gaussian(6.0))
    assert not held.admits(gaussian(1.0))
    assert held.admits(gaussian(100.0))
    assert not RdpFilter(1.0, 1e-6).admits(gaussian(1e-100))


@pytest.mark.parametrize("epsilon", [0, -1.0, math.nan, math.inf])
def test_what_is_no_budget_is_refused(epsilon):
    with pytest.raises(ConfigurationError, match=r"^epsilon = "):
        RdpFilter(epsilon, 1e-6)
    with pytest.raises(ConfigurationError, match=r"^delta = "):
        RdpFilter(1.0, epsilon)
