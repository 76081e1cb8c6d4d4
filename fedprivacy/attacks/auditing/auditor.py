"""The score-only auditor: from how present each canary looks to lower bounds on epsilon."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedprivacy.attacks.auditing.one_run import fdp_epsilon, one_run_epsilon
from fedprivacy.attacks.auditing.rates import (
    Confusion,
    bayesian_interval,
    clopper_pearson_epsilon,
    gdp_epsilon,
)
from fedprivacy.attacks.drawing import Draw
from fedprivacy.attacks.view import CanaryScores
from fedprivacy.errors import ConfigurationError
from fedprivacy.randomness import Rng

__all__ = ["Auditor", "guessed"]

Floats = NDArray[np.float64]
_CUTS = 65
"""Thresholds that are tried: quantiles of all scores."""


def guessed(canaries: CanaryScores, guesses: int) -> int:
    """How many of so many guesses are right: the highest half "in", the lowest half "out".

    `guesses` must be fixed before the scores are seen.
    """
    count = len(canaries.scores)
    if not 2 <= guesses <= count or guesses % 2:
        raise ConfigurationError(
            f"guesses = {guesses} about {count} canaries: an even number from 2 to {count}"
        )
    order = np.argsort(canaries.scores, kind="stable")
    half = guesses // 2
    present, absent = canaries.included[order[-half:]], canaries.included[order[:half]]
    return int(present.sum() + (~absent).sum())


@dataclass(frozen=True, slots=True)
class Auditor:
    """Lower bounds on epsilon at `delta`, each of which fails with probability `error` at most.

    Needs numpy and scipy alone. `one_run` and `fdp` take the canaries of a single run, each in by a
    fair coin of its own; the others take scores of independent runs, half of which choose the test
    and half of which count. `fdp` and `gdp` take the mechanism for a Gaussian one; `bayesian` is a
    credible interval, and covers as often as it says only on average over its prior.
    """

    canaries: CanaryScores
    delta: float
    error: float = 0.05

    def __post_init__(self) -> None:
        if not 0 <= self.delta < 1:
            raise ConfigurationError(f"delta = {self.delta} is outside [0, 1): choose one")
        if not 0 < self.error < 1:
            raise ConfigurationError(f"error = {self.error} is outside (0, 1): choose one")

    def one_run(self, guesses: int) -> float:
        correct = guessed(self.canaries, guesses)
        count = len(self.canaries.scores)
        return one_run_epsilon(count, guesses, correct, self.delta, self.error)

    def fdp(self, guesses: int) -> float:
        correct = guessed(self.canaries, guesses)
        return fdp_epsilon(len(self.canaries.scores), guesses, correct, self.delta, self.error)

    def clopper_pearson(self, rng: Rng) -> float:
        choosing, counting = self._split(rng)
        cut = _best(choosing, lambda c: clopper_pearson_epsilon(c, self.delta, self.error))
        return clopper_pearson_epsilon(_confusion(cut, counting), self.delta, self.error)

    def gdp(self, rng: Rng) -> float:
        choosing, counting = self._split(rng)
        # The same test is best for both: the search by the simpler bound is quicker.
        cut = _best(choosing, lambda c: -sum(c.most_errors(self.error)))
        return gdp_epsilon(_confusion(cut, counting), self.delta, self.error)

    def bayesian(self, rng: Rng) -> tuple[float, float]:
        choosing, counting = self._split(rng)
        cut = _best(choosing, lambda c: -sum(c.most_errors(self.error)))
        draw = Draw(rng.child("posterior"))
        return bayesian_interval(
            _confusion(cut, counting), self.delta, draw=draw, error=2 * self.error
        )

    def _split(self, rng: Rng) -> tuple[tuple[Floats, Floats], tuple[Floats, Floats]]:
        """Half of the scores with, and of those without, and the other halves."""
        draw = Draw(rng.child("split"))
        kinds = self.canaries.of_included, self.canaries.of_excluded
        if min(map(len, kinds)) < 4:
            raise ConfigurationError(
                f"{len(kinds[0])} scores with and {len(kinds[1])} without are too few to choose a "
                "test by one half: take more runs"
            )
        halves = [draw.halves(len(scores)) for scores in kinds]
        first = kinds[0][halves[0]], kinds[1][halves[1]]
        second = kinds[0][~halves[0]], kinds[1][~halves[1]]
        return first, second


def _confusion(threshold: float, scores: tuple[Floats, Floats]) -> Confusion:
    return Confusion.at(threshold, *scores)


def _best(scores: tuple[Floats, Floats], worth: Callable[[Confusion], float]) -> float:
    """The threshold that is worth most on these scores."""
    cuts = np.quantile(np.concatenate(scores), np.linspace(0, 1, _CUTS))
    return float(max(cuts, key=lambda cut: worth(_confusion(cut, scores))))
