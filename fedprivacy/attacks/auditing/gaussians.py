"""What two Gaussians tell apart: the deltas, epsilons and error rates of Gaussian mechanisms."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from scipy.optimize import brentq
from scipy.special import ndtr, ndtri
from scipy.stats import norm

from fedprivacy.errors import ConfigurationError

__all__ = [
    "auc_bound",
    "gaussian_delta",
    "gaussian_epsilon",
    "power_bound",
    "success_bound",
    "two_gaussians_epsilon",
]

_MOST = 4096.0


def gaussian_delta(mu: float, epsilon: float) -> float:
    """The delta at epsilon of a mechanism that is mu-GDP.

    Source: Dong, Roth, Su, "Gaussian differential privacy" (2019), corollary 2.13.
    """
    if mu <= 0:
        return 0.0
    # e^eps Phi(-eps/mu - mu/2) in logarithms: either factor alone leaves float64's range.
    second = math.exp(min(0.0, epsilon + float(norm.logcdf(-epsilon / mu - mu / 2))))
    return max(0.0, float(ndtr(-epsilon / mu + mu / 2)) - second)


def gaussian_epsilon(mu: float, delta: float) -> float:
    """The epsilon at delta of a mechanism that is mu-GDP."""
    if not 0 < delta < 1:
        raise ConfigurationError(f"delta = {delta} is outside (0, 1): choose one")
    return _least(lambda epsilon: gaussian_delta(mu, epsilon) - delta)


def power_bound(mu: float, level: float) -> float:
    """The most true positives at this rate of false ones, under mu-GDP."""
    return float(ndtr(ndtri(level) + mu))


def auc_bound(mu: float) -> float:
    """The largest area under a ROC curve under mu-GDP: that of the trade-off curve itself."""
    return float(ndtr(mu / math.sqrt(2)))


def success_bound(mu: float) -> float:
    """The largest share of right guesses between two equally likely neighbours under mu-GDP."""
    return float(ndtr(mu / 2))


def two_gaussians_epsilon(
    mean: float, deviation: float, other_mean: float, other_deviation: float, delta: float
) -> float:
    """The least epsilon at which neither Gaussian exceeds e^eps times the other by over delta."""
    one, other = (mean, deviation), (other_mean, other_deviation)

    def excess(epsilon: float) -> float:
        return max(_hockey_stick(one, other, epsilon), _hockey_stick(other, one, epsilon)) - delta

    return _least(excess)


def _hockey_stick(p: tuple[float, float], q: tuple[float, float], epsilon: float) -> float:
    """The integral of max(0, p - e^eps q) over the line, for two normal densities.

    The logarithm of p / q is a quadratic in x: where it exceeds epsilon is one interval, or all but
    one.
    """
    (m, s), (n, t) = p, q
    a = (1 / t**2 - 1 / s**2) / 2
    b = m / s**2 - n / t**2
    c = (n / t) ** 2 / 2 - (m / s) ** 2 / 2 + math.log(t / s) - epsilon
    if abs(a) * max(s, t) ** 2 < 1e-12:
        if not b:
            return 0.0
        cut, up = -c / b, b > 0
        return _mass_beyond(p, cut, up=up) - math.exp(epsilon) * _mass_beyond(q, cut, up=up)
    root = b * b - 4 * a * c
    if root <= 0:
        return 0.0 if a < 0 else max(0.0, 1 - math.exp(min(epsilon, 700.0)))
    low, high = sorted(((-b - math.sqrt(root)) / (2 * a), (-b + math.sqrt(root)) / (2 * a)))
    first, second = _mass_between(p, low, high), _mass_between(q, low, high)
    if a > 0:
        first = _mass_beyond(p, low, up=False) + _mass_beyond(p, high, up=True)
        second = _mass_beyond(q, low, up=False) + _mass_beyond(q, high, up=True)
    return first - (math.exp(epsilon + math.log(second)) if second > 0 else 0.0)


def _mass_beyond(p: tuple[float, float], cut: float, *, up: bool) -> float:
    z = (cut - p[0]) / p[1]
    return float(ndtr(-z if up else z))


def _mass_between(p: tuple[float, float], low: float, high: float) -> float:
    first, second = (low - p[0]) / p[1], (high - p[0]) / p[1]
    if first > 0:  # in the tail where the difference is exact
        first, second = -second, -first
    return float(ndtr(second) - ndtr(first))


def _least(excess: Callable[[float], float]) -> float:
    """Where a falling function reaches zero."""
    if excess(0.0) <= 0:
        return 0.0
    most = 1.0
    while excess(most) > 0:
        most *= 2
        if most > _MOST:
            return math.inf
    with np.errstate(under="ignore"):
        return float(brentq(excess, most / 2 if most > 1 else 0.0, most, xtol=1e-10))
