"""Renyi curves: the bound that composes by addition and holds for every event and delta."""

from __future__ import annotations

import contextlib
import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from fedprivacy.accounting.charges import Charge, neighbouring
from fedprivacy.accounting.library import library
from fedprivacy.dp.events import (
    Adjacency,
    DiscreteGaussianEvent,
    DistributedDiscreteGaussianEvent,
    Event,
    GaussianEvent,
    SkellamEvent,
)

__all__ = ["ORDERS", "composed_curve", "curve", "renyi_epsilon"]

ORDERS: tuple[float, ...] = (
    *(1 + x / 10 for x in range(1, 100)),
    *map(float, range(11, 64)),
    128.0,
    256.0,
    512.0,
    1024.0,
)
_CACHED = 1 << 14
_EXACT_TERMS = 1000


def renyi_epsilon(rdp: NDArray[np.float64], delta: float, orders: Sequence[float]) -> float:
    """The epsilon at this delta of a curve, `(orders,)`; infinite where no order is finite.

    Source: the conversion of dp_accounting, by Canonne, Kamath, Steinke, "The discrete Gaussian
    for differential privacy" (2020), proposition 12.
    """
    if not np.isfinite(rdp).any():
        return math.inf
    return float(library().rdp.compute_epsilon(orders, rdp, delta)[0])


def composed_curve(
    counts: Mapping[Charge, int], adjacency: Adjacency, orders: tuple[float, ...] = ORDERS
) -> NDArray[np.float64]:
    """The curve of all charges together, `(orders,)`."""
    total = np.zeros(len(orders))
    for charge, count in counts.items():
        with np.errstate(over="ignore"):  # infinite: nothing is promised at that order
            total += count * curve(charge, adjacency, orders)
    return total


@lru_cache(maxsize=_CACHED)
def curve(
    charge: Charge, adjacency: Adjacency, orders: tuple[float, ...] = ORDERS
) -> NDArray[np.float64]:
    """The Renyi divergence of one charge at each order, at most, read-only; infinite if unknown.

    `orders` ascend.

    Under replace-one no amplification is counted: neighbours are then two mixtures, for which the
    divergence is at most that without sampling, by joint quasi-convexity.
    """
    event = neighbouring(charge.event, adjacency)
    rate = charge.rate if adjacency is Adjacency.ADD_OR_REMOVE_ONE else 1.0
    # Far from ordinary noise some orders overflow, or do not converge: they come out infinite or
    # NaN and are not used, so the warnings say nothing.
    with np.errstate(all="ignore"), _without_remarks():
        if isinstance(event, GaussianEvent):
            rdp = _gaussian(event.noise_multiplier, rate, orders)
        elif rate < 1:
            rdp = _sampled(event, rate, orders)
        else:
            rdp = _whole(event, np.ceil(orders))
    rdp = np.where(rdp >= 0, rdp, np.inf)
    # A divergence does not fall with its order, so that of a larger one holds as well: at
    # fractional orders dp_accounting adds up magnitudes where signs alternate, which can be far
    # too much.
    rdp = np.minimum.accumulate(rdp[::-1])[::-1]
    rdp.setflags(write=False)
    return rdp


def _gaussian(multiplier: float, rate: float, orders: tuple[float, ...]) -> NDArray[np.float64]:
    dp = library()
    event = dp.GaussianDpEvent(multiplier)
    accountant = dp.rdp.RdpAccountant(orders)
    accountant.compose(event if rate == 1 else dp.PoissonSampledDpEvent(rate, event))
    return np.asarray(accountant.rdp, dtype=np.float64)


@contextlib.contextmanager
def _without_remarks() -> Iterator[None]:
    logger = logging.getLogger("absl")

    def silent(_: logging.LogRecord) -> bool:
        return False

    logger.addFilter(silent)
    try:
        yield
    finally:
        logger.removeFilter(silent)


def _whole(event: Event, orders: NDArray[np.float64]) -> NDArray[np.float64]:
    """The curve at whole orders without sampling; at others, that of the next whole one holds."""
    match event:
        case DiscreteGaussianEvent():
            # Canonne, Kamath, Steinke (2020), theorem 14 and corollary for many coordinates.
            return orders * (event.l2 / math.sqrt(event.variance)) ** 2 / 2
        case DistributedDiscreteGaussianEvent():
            return _distributed(event, orders)
        case SkellamEvent():
            return _skellam(event, orders)
        case GaussianEvent():
            return orders / event.noise_multiplier**2 / 2


def _distributed(
    event: DistributedDiscreteGaussianEvent, orders: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Kairouz, Liu, Steinke, "The distributed discrete Gaussian mechanism" (2021), section 3.

    A is the order, D2 and D1 the sensitivities over the deviation of the sum, d the dimension.
    """
    deviation = math.sqrt(event.shares * event.local_variance)
    d2, d1, d = event.l2 / deviation, event.l1 / deviation, event.dimension
    tau = _distance(event.local_variance, event.shares)
    by_each = orders * d2**2 / 2 + tau * d
    by_l1 = orders / 2 * (d2**2 + 2 * d1 * tau + tau**2 * d)
    by_l2 = orders / 2 * (d2 + math.sqrt(d) * tau) ** 2
    return np.minimum(by_each, np.minimum(by_l1, by_l2))


def _distance(variance: float, shares: int) -> float:
    """tau, how far a sum of discrete Gaussians is from one: 10 sum_k exp(-2 pi^2 s^2 k/(k+1))."""
    k = np.arange(1, min(shares, _EXACT_TERMS + 1), dtype=np.float64)
    terms = np.exp(-2 * math.pi**2 * variance * (k / (k + 1)))
    # The terms fall with k: those left out are each at most the last one kept.
    rest = (shares - 1 - len(k)) * float(terms[-1]) if shares > _EXACT_TERMS + 1 else 0.0
    return 10 * (float(terms.sum()) + rest)


def _skellam(event: SkellamEvent, orders: NDArray[np.float64]) -> NDArray[np.float64]:
    """Agarwal, Kairouz, Liu, "The Skellam mechanism" (2021), theorem 3.5; mu is the variance."""
    mu, l1 = event.variance, event.l1
    square = event.l2**2
    beyond = np.minimum(
        ((2 * orders - 1) * square + 6 * l1) / (4 * mu) / mu, np.float64(3 * l1 / (2 * mu))
    )
    return orders * (square / (2 * mu)) + beyond


def _sampled(event: Event, rate: float, orders: tuple[float, ...]) -> NDArray[np.float64]:
    """The curve with Poisson sampling, for any event that has one without it.

    Zhu, Wang, "Poisson subsampled Renyi differential privacy" (2019), theorem 5. Its smaller
    constant (theorem 6) needs a condition that is not proved of these events.
    """
    whole = np.unique(np.ceil(orders))
    base = _whole(event, np.arange(2, int(whole[-1]) + 1, dtype=np.float64))
    amplified = {float(a): _sampled_order(int(a), base, rate) for a in whole}
    out = np.array([amplified[math.ceil(order)] for order in orders])
    whole_curve = _whole(event, np.ceil(orders))
    return np.where(out < whole_curve, out, whole_curve)


def _sampled_order(order: int, base: NDArray[np.float64], rate: float) -> float:
    """One whole order; `base` holds the curve without sampling at 2, 3, ..."""
    from scipy.special import gammaln, logsumexp

    stay, draw = math.log1p(-rate), math.log(rate)
    nobody = (order - 1) * stay + math.log1p((order - 1) * rate)
    drawn = np.arange(2, order + 1, dtype=np.float64)
    ways = gammaln(order + 1) - gammaln(drawn + 1) - gammaln(order - drawn + 1)
    terms = ways + (order - drawn) * stay + drawn * draw + (drawn - 1) * base[: order - 1]
    terms[1:] += math.log(3)
    return float(logsumexp([nobody, *terms])) / (order - 1)
