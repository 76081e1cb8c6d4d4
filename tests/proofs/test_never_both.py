"""At most one survivor set is unmasked: by counting, in full, for every small cohort."""

import itertools

import pytest

from fedprivacy.rounds.quorum import least_threshold, quorum_fault
from fedprivacy.rounds.rules import AggregationRules
from fedprivacy.secagg import Adversary

COHORTS = [(n, c) for n in range(1, 9) for c in range(n)]


def fault(n, t, c, floor):
    """What a client says to a threshold of a server that may lie."""
    rules = AggregationRules(
        protocol="secagg", adversary=Adversary.MALICIOUS, min_clients=floor, corrupt=c
    )
    return quorum_fault(rules, n, t, 0)


def reachable(n, c):
    """How many signatures two different sets can come to have, over all that honest clients can do.

    Each of the n - c honest clients signs one of the two sets, or neither; the corrupt sign both.
    """
    choices = itertools.product(("first", "second", "neither"), repeat=n - c)
    return {(c + chosen.count("first"), c + chosen.count("second")) for chosen in choices}


@pytest.mark.parametrize(("n", "c"), COHORTS)
def test_two_sets_reach_t_signatures_exactly_where_the_rule_is_broken(n, c):
    pairs = reachable(n, c)
    for t in range(1, n + 1):
        both = any(first >= t and second >= t for first, second in pairs)
        assert both == (2 * t <= n + c)


@pytest.mark.parametrize(("n", "c"), COHORTS)
def test_plans_keep_the_rule(n, c):
    """What a client accepts of a lying server is safe, and all that is safe is accepted."""
    pairs = reachable(n, c)
    for t, floor in itertools.product(range(n + 2), range(n + 2)):
        refused = fault(n, t, c, floor)
        both = any(first >= t and second >= t for first, second in pairs)
        alone = max(t, floor) - c < 2  # the corrupt subtract their own and see the rest
        by_the_corrupt = t <= c
        impossible = max(t, floor) > n
        assert bool(refused) == (both or alone or by_the_corrupt or impossible)


@pytest.mark.parametrize(("n", "c"), [(n, c) for n, c in COHORTS if n >= c + 2])
def test_the_default_threshold_is_the_least_safe_one(n, c):
    safe = [t for t in range(n + 1) if not fault(n, t, c, 2)]
    assert least_threshold(n, c) == min(safe)
