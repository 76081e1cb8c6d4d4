"""What a ledger charges: equal rounds by the best bound, rounds that differ by a filter."""

import math

import pytest

from fedprivacy.accounting import RdpFilter, epsilon_of
from fedprivacy.dp.events import Adjacency, Release, SkellamEvent
from fedprivacy.errors import ConfigurationError
from fedprivacy.ledger import BudgetTerms, LedgerAccountant, spend_of

ADD, REPLACE = (a.value for a in (Adjacency.ADD_OR_REMOVE_ONE, Adjacency.REPLACE_ONE))


def release(multiplier, count=1):
    return Release(
        SkellamEvent(l2=1000.0, l1=5000.0, variance=(1000 * multiplier) ** 2), count=count
    )


def charged(*releases, epsilon=4.0, adjacency=ADD):
    terms = BudgetTerms(adjacency, epsilon, 1e-5)
    return LedgerAccountant().epsilon([spend_of(r) for r in releases], terms)


def test_equal_rounds_cost_what_a_fixed_number_of_them_does():
    assert charged(release(4, 10)) == epsilon_of([release(4, 10)], 0.9 * 1e-5).epsilon
    assert charged(release(4, 10), adjacency=REPLACE) > charged(release(4, 10))


def test_rounds_that_differ_are_charged_by_a_filter_and_cost_no_less():
    mixed = [release(4, 5), release(5, 5)]
    filtered = RdpFilter(4.0, (1 - 0.9) * 1e-5)
    for one in mixed:
        filtered.charge(one)
    assert charged(*mixed) == filtered.spent
    assert charged(*mixed) >= epsilon_of(mixed, 1e-5).epsilon
    assert charged(*mixed) > charged(release(5, 10))


def test_beyond_the_budget_a_filter_says_no_figure():
    assert charged(release(4, 50), release(5, 50)) == math.inf


def test_an_adjacency_of_another_name_is_refused():
    with pytest.raises(ConfigurationError, match="adjacency = cousins is unknown"):
        charged(release(4), adjacency="cousins")
