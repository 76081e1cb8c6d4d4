"""What the releases in a ledger cost, where later ones may depend on what earlier ones told."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from fedprivacy.accounting import RdpFilter, epsilon_of
from fedprivacy.dp.events import Adjacency
from fedprivacy.errors import BudgetExhausted, ConfigurationError
from fedprivacy.ledger.budget_events import BudgetTerms, Spend
from fedprivacy.ledger.budget_releases import release_of

__all__ = ["LedgerAccountant"]

_OF_EQUAL_ROUNDS = 0.9
"""The part of delta for runs whose rounds are all alike, as most are."""


@dataclass(frozen=True, slots=True)
class LedgerAccountant:
    """Rounds that are all alike by the best bound that holds; others by a filter.

    How many equal rounds a budget holds is known before the first of them: whatever they tell, a
    run only ends earlier, so that bounds for a fixed number hold. Where rounds differ, they may do
    so for what was told, and only a filter is valid. Whether they ever do may hang on that as well:
    a run fails by the one bound or by the other, and each has its own part of delta.
    """

    method: str = "equal rounds: the least of exact Gaussian, PLD and RDP; others: an RDP filter"

    def epsilon(self, spends: Sequence[Spend], terms: BudgetTerms) -> float:
        """Epsilon at the terms' delta and adjacency; infinite beyond the budget, with a filter."""
        adjacency = _adjacency(terms.adjacency)
        releases = [release_of(spend) for spend in spends]
        if len(releases) == 1:
            return epsilon_of(releases, _OF_EQUAL_ROUNDS * terms.delta, adjacency).epsilon
        left = (1 - _OF_EQUAL_ROUNDS) * terms.delta
        filtered = RdpFilter(terms.epsilon, left, adjacency=adjacency)
        try:
            for release in releases:
                filtered.charge(release)
        except BudgetExhausted:
            return math.inf
        return filtered.spent


def _adjacency(name: str) -> Adjacency:
    try:
        return Adjacency(name)
    except ValueError:
        known = ", ".join(a.value for a in Adjacency)
        raise ConfigurationError(f"adjacency = {name} is unknown: choose from {known}") from None
