"""What is known exactly of a Gaussian, and tests that show what epsilon is at least.

Whatever an adversary computes from the releases is post-processing: a test with power p and level
a shows that epsilon is at least log((p - delta) / a), where a unit uses its full sensitivity.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedprivacy.accounting.charges import neighbouring
from fedprivacy.accounting.library import library
from fedprivacy.dp.events import Adjacency, GaussianEvent, Release, Sampling

__all__ = ["exact_gaussian", "lower_epsilon"]

_ROUNDING = 1e-9  # relative: more than the float64 functions in use are off
_ROOT = 1e-11  # absolute: more than a root is off that they find
_LEAST, _MOST = 1e-6, 1e8  # multipliers for which that was compared with 60 digits
_MOST_TESTS = 8
_REACH = 12.0  # deviations: beyond, there is less mass than any delta
_POINTS = 400


def exact_gaussian(multiplier: float, delta: float) -> tuple[float, float]:
    """The epsilon of one Gaussian release by the closed form: just below and just above it.

    Infinite above, and zero below, for a multiplier under 1e-6. Source: Balle, Wang, "Improving
    the Gaussian mechanism for differential privacy" (2018).
    """
    if multiplier < _LEAST:
        return 0.0, math.inf
    with np.errstate(all="ignore"):  # far from the root, tails underflow: the search goes on
        found = float(library().get_epsilon_gaussian(min(multiplier, _MOST), delta))
    low = 0.0 if multiplier > _MOST else max(0.0, found * (1 - _ROUNDING) - _ROOT)
    return low, (found * (1 + _ROUNDING) + _ROOT if found else 0.0)


def lower_epsilon(releases: Iterable[Release], adjacency: Adjacency, delta: float) -> float:
    """A lower bound on epsilon at this delta; zero where no test is known.

    Gaussian releases to all are together one Gaussian. Of those to Poisson samples, each group of
    equal ones is tested on its own, whether the sample is seen or not; under replace-one, by the
    neighbours of which one counts as zero.
    """
    inverse = 0.0
    sampled: dict[tuple[float, float], int] = {}
    for release in releases:
        event, sample = release.event, release.sample
        if not isinstance(event, GaussianEvent) or event.delta_extra:
            continue
        if sample.rate == 1:
            inverse += release.count * neighbouring(event, adjacency).noise_multiplier ** -2
        elif sample.scheme is Sampling.POISSON:
            key = event.noise_multiplier, sample.rate
            sampled[key] = sampled.get(key, 0) + release.count
    # By the shift in deviations: where it is largest, the tests are best.
    best = sorted(sampled, key=lambda k: sampled[k] * (k[1] / k[0]) ** 2)[-_MOST_TESTS:]
    found = [test(*key, sampled[key], delta) for key in best for test in (_by_sum, _by_peak)]
    if inverse:
        found.append(exact_gaussian(1 / math.sqrt(inverse), delta)[0])
    return max([0.0, *found])


def _by_sum(multiplier: float, rate: float, count: int, delta: float) -> float:
    """By the sum of all releases: a binomial number of shifts, and one Gaussian."""
    from scipy import stats

    taken, mass = _takes(count, rate)
    deviation = multiplier * math.sqrt(count)
    bars = np.linspace(0, taken[-1] + _REACH * deviation, _POINTS)
    power = stats.norm.sf((bars[:, None] - taken) / deviation) @ mass
    return _shown(power, stats.norm.logsf(bars / deviation), delta)


def _by_peak(multiplier: float, rate: float, count: int, delta: float) -> float:
    """By whether any release exceeds a bar: good where noise is small and samples are rare."""
    from scipy import stats

    bars = np.linspace(0, 1 + _REACH * multiplier, _POINTS)
    without = stats.norm.sf(bars / multiplier)
    with_unit = rate * stats.norm.sf((bars - 1) / multiplier) + (1 - rate) * without
    power = -np.expm1(count * np.log1p(-with_unit))
    with np.errstate(divide="ignore"):  # a tail that underflows makes no test
        level = np.log(-np.expm1(count * np.log1p(-without)))
    return _shown(power, level, delta)


def _takes(count: int, rate: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """How often a unit is drawn, and with which probability, but for negligible ones."""
    from scipy import stats

    mean, deviation = count * rate, math.sqrt(count * rate * (1 - rate))
    low = max(0, math.floor(mean - _REACH * deviation))
    high = min(count, math.ceil(mean + _REACH * (deviation + 1)))
    taken = np.unique(np.linspace(low, high, min(high - low + 1, _POINTS)).round())
    # Mass between two points counts at the lower one: the test only looks worse than it is.
    steps = stats.binom.cdf(taken - 1, count, rate)
    return taken, np.maximum(np.diff(np.append(steps, 1.0)), 0.0)


def _shown(power: NDArray[Any], level: NDArray[Any], delta: float) -> float:
    gain = power * (1 - _ROUNDING) - delta
    usable = (gain > 0) & np.isfinite(level)
    if not usable.any():
        return 0.0
    return float(np.max(np.log(gain[usable]) - level[usable])) - _ROUNDING
