"""An estimate of epsilon, never a bound, from canary clients in one federated run."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedprivacy.attacks.auditing.gaussians import two_gaussians_epsilon
from fedprivacy.errors import ConfigurationError

__all__ = ["Estimate", "estimate_of", "one_shot_estimate"]

LEAST_DIMENSION = 1000
"""From here on the cosine of two random directions is as good as normal."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """An estimate of epsilon: it may lie on either side of the true one."""

    epsilon: float
    delta: float

    def __str__(self) -> str:
        return f"an estimate, not a bound: epsilon = {self.epsilon:.2f} at delta = {self.delta:g}"


def one_shot_estimate(cosines: NDArray[np.float64], dimension: int, delta: float) -> Estimate:
    """From the cosines of uniform canary directions with the released sum.

    Without a canary its cosine is normal of variance 1 / dimension; with it, normal of the mean and
    deviation that the cosines show: epsilon is that of telling these two apart. Many canaries, of
    the order of dimension times the noise's variance, add up themselves and lower it. Source:
    Andrew et al., "One-shot empirical privacy estimation for federated learning" (2023), section 4.
    """
    if len(cosines) < 2:
        raise ConfigurationError(f"{len(cosines)} canaries show no deviation: take more")
    return estimate_of(float(np.mean(cosines)), float(np.std(cosines)), dimension, delta)


def estimate_of(mean: float, deviation: float, dimension: int, delta: float) -> Estimate:
    """The same from the cosines' mean and deviation, those of several runs pooled as well."""
    if dimension < LEAST_DIMENSION:
        raise ConfigurationError(
            f"dimension = {dimension} is below {LEAST_DIMENSION}: the estimate takes cosines for "
            "normal; use the one-run bound"
        )
    if not deviation:
        return Estimate(math.inf, delta)
    epsilon = two_gaussians_epsilon(0.0, 1 / math.sqrt(dimension), mean, deviation, delta)
    return Estimate(epsilon, delta)
