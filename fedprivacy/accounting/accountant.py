"""Epsilon of a run: the least of the upper bounds that hold, and how it was reached."""

from __future__ import annotations

import enum
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from fedprivacy.accounting.charges import (
    Charge,
    assumptions,
    charge_of,
    lost_mass,
    neighbouring,
)
from fedprivacy.accounting.exact import exact_gaussian, lower_epsilon
from fedprivacy.accounting.losses import pld_epsilon
from fedprivacy.accounting.renyi import ORDERS, composed_curve, renyi_epsilon
from fedprivacy.dp.events import Adjacency, GaussianEvent, Release
from fedprivacy.errors import ConfigurationError

__all__ = ["Accountant", "Bound", "Method", "check_delta", "check_epsilon", "epsilon_of"]

# Shares of delta that are set aside for lost mass: the first that holds it is taken.
_SET_ASIDE = (1e-6, 1e-4, 1e-2, 0.1, 0.5, 0.9)
_INF = math.inf
_MOST_EXPONENT = 700.0  # exp of it is still a float


class Method(enum.Enum):
    """Which bound gave epsilon."""

    EXACT = "exact Gaussian"
    """The closed form: all releases are together one Gaussian."""
    PLD = "PLD"
    """A privacy loss distribution, connect-the-dots."""
    RDP = "RDP"
    """Renyi differential privacy, at the best order."""


@dataclass(frozen=True, slots=True)
class Bound:
    """The (epsilon, delta) of a run: upper and lower bound on epsilon, and what they rest on.

    `epsilon` is infinite where nothing can be promised at this delta. `lower` says what epsilon is
    at least where a unit uses its full sensitivity; zero says nothing.
    """

    epsilon: float
    lower: float
    delta: float
    method: Method
    assumptions: tuple[str, ...]


def epsilon_of(
    releases: Iterable[Release],
    delta: float,
    adjacency: Adjacency = Adjacency.ADD_OR_REMOVE_ONE,
) -> Bound:
    """What these releases cost together; raises `ConfigurationError` for a delta outside (0, 1).

    Their parameters are fixed in advance. Where they depend on what was released, a filter says
    whether a budget holds: `RdpFilter`.
    """
    accountant = Accountant(adjacency)
    for release in releases:
        accountant.add(release)
    return accountant.bound(delta)


class Accountant:
    """A run's releases so far. One more costs one more curve, whatever came before.

    Equal releases are kept as one with a count, so that memory grows with the distinct ones.
    """

    def __init__(self, adjacency: Adjacency = Adjacency.ADD_OR_REMOVE_ONE) -> None:
        self.adjacency = adjacency
        self._counts: dict[Charge, int] = {}
        self._releases: dict[Release, int] = {}

    def add(self, release: Release) -> None:
        """Count one more release, `release.count` times."""
        charge, count = charge_of(release)
        self._counts[charge] = self._counts.get(charge, 0) + count
        one = Release(release.event, release.sample)
        self._releases[one] = self._releases.get(one, 0) + release.count

    def bound(self, delta: float) -> Bound:
        """What all of it costs; raises `ConfigurationError` for a delta outside (0, 1)."""
        check_delta(delta)
        releases = [Release(r.event, r.sample, count) for r, count in self._releases.items()]
        epsilon, method = _with_lost_mass(self._counts, self.adjacency, delta, lost_mass(releases))
        lower = lower_epsilon(releases, self.adjacency, delta)
        return Bound(
            epsilon=epsilon,
            lower=min(lower, epsilon),
            delta=delta,
            method=method,
            assumptions=assumptions(releases, self.adjacency),
        )


def check_delta(delta: object) -> None:
    """Refuse what is no delta."""
    if isinstance(delta, bool) or not isinstance(delta, int | float) or not 0 < delta < 1:
        raise ConfigurationError(
            f"delta = {delta!r} is outside (0, 1): choose it well below 1 / number of units"
        )


def check_epsilon(epsilon: object) -> None:
    """Refuse what is no budget; an infinite one would bound nothing."""
    if isinstance(epsilon, bool) or not isinstance(epsilon, int | float) or not 0 < epsilon < _INF:
        raise ConfigurationError(f"epsilon = {epsilon!r} is outside (0, inf): choose a budget")


def _with_lost_mass(
    counts: Mapping[Charge, int], adjacency: Adjacency, delta: float, lost: float
) -> tuple[float, Method]:
    """Upper bound and method where the real releases are `lost` from the ideal ones.

    If P' is within t of P and Q' of Q, then P' <= e^eps Q' + delta + (1 + e^eps) t.
    """
    if not lost:
        return _ideal(counts, adjacency, delta)
    for share in _SET_ASIDE:
        epsilon, method = _ideal(counts, adjacency, delta * (1 - share))
        if epsilon < _MOST_EXPONENT and (1 + math.exp(epsilon)) * lost <= delta * share:
            return epsilon, method
    return math.inf, Method.RDP


def _ideal(
    counts: Mapping[Charge, int], adjacency: Adjacency, delta: float
) -> tuple[float, Method]:
    if not counts:
        return 0.0, Method.EXACT
    whole = _one_gaussian(counts, adjacency)
    if whole is not None and (exact := exact_gaussian(whole, delta)[1]) < math.inf:
        return exact, Method.EXACT
    by_rdp = renyi_epsilon(composed_curve(counts, adjacency), delta, ORDERS)
    by_pld = pld_epsilon(counts, adjacency, delta, by_rdp)
    if by_pld is not None and by_pld < by_rdp:
        return by_pld, Method.PLD
    return by_rdp, Method.RDP


def _one_gaussian(counts: Mapping[Charge, int], adjacency: Adjacency) -> float | None:
    """The multiplier of the one Gaussian that all charges amount to, or None."""
    inverse: float = 0.0
    for charge, count in counts.items():
        if charge.rate < 1 or not isinstance(charge.event, GaussianEvent):
            return None
        inverse += count * neighbouring(charge.event, adjacency).noise_multiplier ** -2
    return 1 / math.sqrt(inverse)
