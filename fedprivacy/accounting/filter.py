"""A privacy filter: admits each release, however it was chosen, only while a budget holds."""

from __future__ import annotations

import math

import numpy as np

from fedprivacy.accounting.accountant import check_delta, check_epsilon
from fedprivacy.accounting.charges import Charge, charge_of
from fedprivacy.accounting.renyi import ORDERS, curve, renyi_epsilon
from fedprivacy.dp.events import Adjacency, GaussianEvent, Release
from fedprivacy.errors import BudgetExhausted

__all__ = ["RdpFilter"]

_SET_ASIDE = 1e-3  # the share of delta for mass by which real noise differs from the ideal


class RdpFilter:
    """Holds (epsilon, delta) over releases whose noise, rate and number may depend on earlier ones.

    Before each release it is asked, and what it admits is charged; what it refuses must not
    happen. The order of the Renyi divergence is fixed at the start, as the theorem wants it: the
    one that would admit most releases like `expected`, a Gaussian to all where none is given. A
    privacy loss distribution or the best of several orders would not hold here.

    Source: Feldman, Zrnic, "Individual privacy accounting via a Renyi filter" (2021), here with
    all units charged alike; compare Whitehouse et al., "Fully adaptive composition in differential
    privacy" (2023).
    """

    def __init__(
        self,
        epsilon: float,
        delta: float,
        *,
        adjacency: Adjacency = Adjacency.ADD_OR_REMOVE_ONE,
        expected: Release | None = None,
    ) -> None:
        check_delta(delta)
        check_epsilon(epsilon)
        self.epsilon = float(epsilon)
        self.delta = delta
        self.adjacency = adjacency
        self._delta = delta * (1 - _SET_ASIDE)
        usual = Release(GaussianEvent(1.0)) if expected is None else expected
        self._best = _best_order(self.epsilon, self._delta, charge_of(usual)[0], adjacency)
        self._spent = 0.0
        self._lost = 0.0

    @property
    def order(self) -> float:
        """The order at which divergences are added up."""
        return ORDERS[self._best]

    @property
    def spent(self) -> float:
        """The epsilon that all admitted releases amount to: at most the budget's."""
        return self._epsilon(self._spent) if self._spent else 0.0

    def admits(self, release: Release) -> bool:
        """Whether the budget still holds with this release."""
        rdp, lost = self._after(release)
        # Mass lost: see Accountant; epsilon is the budget's, however much of it is spent.
        return self._epsilon(rdp) <= self.epsilon and math.log1p(
            math.exp(-self.epsilon)
        ) + self.epsilon + _log(lost) <= math.log(self.delta) + math.log(_SET_ASIDE)

    def charge(self, release: Release) -> None:
        """Spend a release, before it happens; raises `BudgetExhausted` and spends nothing."""
        if not self.admits(release):
            raise BudgetExhausted(
                f"one more release of {release.event} would exceed epsilon = {self.epsilon} at "
                f"delta = {self.delta}, of which {self.spent:.4g} is spent: stop here, add noise "
                "or agree on a larger budget"
            )
        self._spent, self._lost = self._after(release)

    def _after(self, release: Release) -> tuple[float, float]:
        charge, count = charge_of(release)
        rdp = float(curve(charge, self.adjacency)[self._best])
        lost = release.event.delta_extra * release.count
        # Upwards: sums of floats must not lose what many small charges add up to.
        spent = self._spent + count * rdp
        return (math.nextafter(spent, math.inf) if rdp else spent), self._lost + lost

    def _epsilon(self, rdp: float) -> float:
        return renyi_epsilon(np.array([rdp]), self._delta, (self.order,))


def _best_order(epsilon: float, delta: float, charge: Charge, adjacency: Adjacency) -> int:
    """The place in `ORDERS` of the one that admits most of these charges."""
    costs = curve(charge, adjacency)
    # The conversion adds to a divergence what depends on order and delta only.
    added = [renyi_epsilon(np.ones(1), delta, (order,)) - 1 for order in ORDERS]
    with np.errstate(invalid="ignore"):  # infinite over infinite: an order without any use
        admitted = (epsilon - np.array(added)) / costs
    return int(np.nanargmax(admitted))


def _log(value: float) -> float:
    return math.log(value) if value else -math.inf
