"""What a client's own checks stop, on real rounds, each beside an honest twin that completes."""

import msgspec
import numpy as np
import pytest

from fedprivacy.attacks.federation import Federation, Losing, SwappedBroadcast, accepting
from fedprivacy.errors import PolicyRefused
from fedprivacy.randomness import InsecureTestRng
from fedprivacy.rounds import Plan

CLIENTS, LENGTH = 12, 8


@pytest.fixture
def plan(project):
    return Plan.from_toml(project / "attacks" / "plans" / "secagg.toml")


@pytest.fixture
def federation(plan):
    with Federation.of(plan, CLIENTS, rng=InsecureTestRng(1)) as made:
        yield made


def attempt(federation, number, broadcast=b"model", channel=None):
    return federation.round(
        number,
        lambda name, sent: np.full(LENGTH, 0.01 * len(sent)),
        broadcast=broadcast,
        length=LENGTH,
        channel=channel,
    )


def test_a_client_trains_on_nothing_but_the_broadcast_that_the_plan_names(federation):
    liars = frozenset(federation.names[1:])
    lied = attempt(federation, 1, channel=SwappedBroadcast(liars, b"another"))
    assert lied.stopped == "broadcast"
    assert set(lied.outcome.refused) == liars
    # The one who was told the truth has nothing to object to, and nothing of it is revealed.
    assert lied.view.sum is None
    honest = attempt(federation, 2, channel=SwappedBroadcast(liars, b"model"))
    assert honest.stopped == ""
    assert np.allclose(honest.view.total, CLIENTS * 0.05, atol=1e-5)


def test_under_one_broadcast_no_two_sums_differ_by_fewer_than_the_floor(federation):
    assert attempt(federation, 1).stopped == ""
    without = Losing(frozenset(federation.names[:1]))
    again = attempt(federation, 2, channel=without)
    assert again.stopped == "survivors-overlap"
    # A limit of the check: another broadcast, by a single byte, and each answers.
    assert attempt(federation, 3, broadcast=b"mode1", channel=without).stopped == ""


def test_no_sum_over_fewer_than_the_cohort_that_was_agreed_on(federation):
    few = attempt(federation, 1, channel=Losing(frozenset(federation.names[:3])))
    assert few.stopped == "too-few"
    assert attempt(federation, 2, channel=Losing(frozenset(federation.names[:2]))).stopped == ""


def test_a_plan_with_a_smaller_cohort_is_below_a_clients_own_floor(plan):
    rules = msgspec.structs.replace(plan.aggregation, min_clients=3)
    small = msgspec.structs.replace(plan, aggregation=rules)
    with pytest.raises(PolicyRefused, match="min_clients = 3 is below your policy's 10"):
        accepting(plan).check(small)
    rng = InsecureTestRng(2)
    names = tuple(f"c-{i}" for i in range(4))
    with Federation(small, names, rng, policy=accepting(plan)) as floored:
        assert attempt(floored, 1).stopped == "policy-cohort"
    with Federation(small, names, rng) as accepting_three:
        assert attempt(accepting_three, 1).stopped == ""
