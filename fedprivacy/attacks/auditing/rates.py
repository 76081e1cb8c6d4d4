"""Lower bounds on epsilon from the error rates of one test, over many runs of the mechanism."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri
from scipy.stats import beta

from fedprivacy.attacks.auditing.gaussians import gaussian_epsilon
from fedprivacy.attacks.drawing import Draw
from fedprivacy.errors import ConfigurationError

__all__ = ["Confusion", "bayesian_interval", "clopper_pearson_epsilon", "gdp_epsilon"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Confusion:
    """How often a test was right and wrong, on trials that did not choose it."""

    true_positives: int
    false_positives: int
    true_negatives: int
    false_negatives: int

    def __post_init__(self) -> None:
        if min(self.included, self.excluded, self.true_positives, self.false_positives) < 0:
            raise ConfigurationError(f"{self} counts below zero: count trials")
        if not self.included or not self.excluded:
            raise ConfigurationError(
                f"{self.included} trials with and {self.excluded} without: both are needed"
            )

    @property
    def included(self) -> int:
        return self.true_positives + self.false_negatives

    @property
    def excluded(self) -> int:
        return self.true_negatives + self.false_positives

    @classmethod
    def at(cls, threshold: float, included: Floats, excluded: Floats) -> Confusion:
        """Of the test that says "present" from this score on."""
        hits, alarms = int((included >= threshold).sum()), int((excluded >= threshold).sum())
        return cls(hits, alarms, len(excluded) - alarms, len(included) - hits)

    def most_errors(self, error: float) -> tuple[float, float]:
        """Upper bounds on the rates of false alarms and of misses, that hold together.

        Each fails with probability error / 2 at most. Source: Clopper, Pearson (1934).
        """
        return (
            _upper(self.false_positives, self.excluded, error / 2),
            _upper(self.false_negatives, self.included, error / 2),
        )


def _upper(count: int, trials: int, error: float) -> float:
    if count == trials:
        return 1.0
    return float(beta.ppf(1 - error, count + 1, trials - count))


def clopper_pearson_epsilon(confusion: Confusion, delta: float, error: float = 0.05) -> float:
    """A lower bound on epsilon that fails with probability `error` at most.

    max(0, ln((1 - FNR - delta) / FPR), ln((1 - FPR - delta) / FNR)) with upper bounds for the
    rates. Source: Jagielski, Ullman, Oprea, "Auditing differentially private machine learning"
    (2020).
    """
    alarms, misses = confusion.most_errors(error)
    return _from_rates(alarms, misses, delta)


def _from_rates(alarms: float, misses: float, delta: float) -> float:
    found = [0.0]
    for power, level in ((1 - misses - delta, alarms), (1 - alarms - delta, misses)):
        if power > 0:
            found.append(math.log(power / level) if level > 0 else math.inf)
    return max(found)


def gdp_epsilon(confusion: Confusion, delta: float, error: float = 0.05) -> float:
    """A lower bound on the epsilon of a mechanism that is taken for a Gaussian one.

    mu is at least Phi^-1(1 - FPR) - Phi^-1(FNR). Source: Nasr et al., "Tight auditing of
    differentially private machine learning" (2023), section 4.
    """
    alarms, misses = confusion.most_errors(error)
    if alarms + misses >= 1:
        return 0.0
    return gaussian_epsilon(float(ndtri(1 - alarms) - ndtri(misses)), delta)


def bayesian_interval(
    confusion: Confusion, delta: float, *, draw: Draw, error: float = 0.1, samples: int = 100_000
) -> tuple[float, float]:
    """A credible interval for epsilon under Jeffreys' prior on both rates: not a coverage bound.

    Of each pair of rates, epsilon is the least that allows the test and its opposite. Source:
    Zanella-Beguelin et al., "Bayesian estimation of differential privacy" (2022), by draws from the
    two independent posteriors.
    """
    alarms = beta.ppf(
        draw.fractions(samples), 0.5 + confusion.false_positives, 0.5 + confusion.true_negatives
    )
    misses = beta.ppf(
        draw.fractions(samples), 0.5 + confusion.false_negatives, 0.5 + confusion.true_positives
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        shown = [
            np.log((1 - misses - delta) / alarms),
            np.log((1 - alarms - delta) / misses),
            np.log((alarms - delta) / (1 - misses)),
            np.log((misses - delta) / (1 - alarms)),
        ]
    # Not a number where a rate leaves delta no room: that inequality then says nothing.
    found = np.fmax.reduce([np.zeros(samples), *shown])
    low, high = np.quantile(found, [error / 2, 1 - error / 2])
    return float(low), float(high)
