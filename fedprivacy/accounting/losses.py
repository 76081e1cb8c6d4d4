"""Privacy loss distributions, for Gaussian events: tighter than Renyi, within limits that are kept.

Below a delta of 1e-12 the mass lost to truncation and to floats is not small any more, and each
distinct event costs most of a second: outside these limits there is no answer from here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np

from fedprivacy.accounting.charges import Charge
from fedprivacy.accounting.library import library
from fedprivacy.dp.events import Adjacency, GaussianEvent

__all__ = ["LEAST_DELTA", "MOST_DISTINCT", "pld_epsilon"]

LEAST_DELTA = 1e-12
"""Below, "pessimistic" distributions have been seen to fall under the exact answer."""
MOST_DISTINCT = 8
"""Distinct sampled events in one distribution."""
_INTERVALS = (1e-4, 1e-3, 1e-2)
_MOST_POINTS = 2e6
_MOST_COUNT = 10**9
_EACH = 1 << 6
_TOTALS = 1 << 4


def pld_epsilon(
    counts: Mapping[Charge, int], adjacency: Adjacency, delta: float, likely: float
) -> float | None:
    """An upper bound by connect-the-dots, or None where this is not the accountant to ask.

    `likely` is a bound from elsewhere: it sizes the grid. Source: Doroshenko et al., "Connect the
    dots: tighter discrete approximations of privacy loss distributions" (2022).
    """
    if delta < LEAST_DELTA:
        return None
    parts = _parts(counts)
    if parts is None or sum(rate < 1 for _, rate in parts) > MOST_DISTINCT:
        return None
    if max(parts.values()) > _MOST_COUNT:
        return None
    interval = _interval(parts, likely)
    if interval is None:
        return None
    total: Any = None
    for (multiplier, rate), count in parts.items():
        one = _composed(multiplier, rate, count, adjacency, interval)
        total = one if total is None else total.compose(one)
    with np.errstate(over="ignore"):  # a ratio of masses may be infinite: then epsilon is, too
        epsilon = float(total.get_epsilon_for_delta(delta))
    return epsilon if math.isfinite(epsilon) else None


def _parts(counts: Mapping[Charge, int]) -> dict[tuple[float, float], int] | None:
    """Multiplier and rate of each Gaussian with its count; None where some event is no Gaussian.

    Those without sampling are together one Gaussian.
    """
    parts: dict[tuple[float, float], int] = {}
    inverse = 0.0
    for charge, count in counts.items():
        if not isinstance(charge.event, GaussianEvent):
            return None
        if charge.rate < 1:
            parts[charge.event.noise_multiplier, charge.rate] = count
        else:
            inverse += count * charge.event.noise_multiplier**-2
    if inverse:
        parts[1 / math.sqrt(inverse), 1.0] = 1
    return parts


def _interval(parts: Mapping[tuple[float, float], int], likely: float) -> float | None:
    """The finest interval whose grid stays within what memory and patience bear."""
    # A loss is mostly within 10 deviations of its mean: 1/(2 z^2) + 10/z, four times for replacing.
    span = max([likely, *(2 / z**2 + 20 / z for z, _ in parts)])
    return next((h for h in _INTERVALS if span / h <= _MOST_POINTS), None)


@lru_cache(maxsize=_EACH)
def _single(multiplier: float, rate: float, adjacency: Adjacency, interval: float) -> Any:
    dp = library()
    relation = {
        Adjacency.ADD_OR_REMOVE_ONE: dp.NeighboringRelation.ADD_OR_REMOVE_ONE,
        Adjacency.REPLACE_ONE: dp.NeighboringRelation.REPLACE_ONE,
    }
    # Tails underflow to zero, and the logarithm of zero is the infinite loss that is meant.
    with np.errstate(all="ignore"):
        found = dp.pld.privacy_loss_distribution.from_gaussian_mechanism(
            standard_deviation=multiplier,
            value_discretization_interval=interval,
            sampling_prob=rate,
            neighboring_relation=relation[adjacency],
        )
    # A short distribution is kept sparse, and before composing n of size s the library computes
    # s**n, which never ends for many rounds. Dense ones are composed at once.
    remove, add = found._pmf_remove, found._pmf_add  # noqa: SLF001 - there is no other way in
    return dp.pld.privacy_loss_distribution.PrivacyLossDistribution(
        remove.to_dense_pmf(), None if add is remove else add.to_dense_pmf()
    )


@lru_cache(maxsize=_TOTALS)
def _composed(
    multiplier: float, rate: float, count: int, adjacency: Adjacency, interval: float
) -> Any:
    single = _single(multiplier, rate, adjacency, interval)
    with np.errstate(all="ignore"):  # as above
        return single if count == 1 else single.self_compose(count)
