"""Lower bounds on epsilon from one run with many canaries, each in or out by its own coin."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from scipy.optimize import brentq
from scipy.special import expit, ndtr, ndtri
from scipy.stats import binom

from fedprivacy.attacks.auditing.gaussians import gaussian_delta
from fedprivacy.errors import ConfigurationError

__all__ = ["check_guesses", "fdp_epsilon", "one_run_epsilon", "one_run_p_value"]

_MOST = 64.0
"""Above every epsilon that so few guesses could show."""


def check_guesses(canaries: int, guesses: int, correct: int) -> None:
    """Refuse counts that no audit ends with."""
    if not 0 <= correct <= guesses <= canaries or not canaries:
        raise ConfigurationError(
            f"{correct} correct of {guesses} guesses about {canaries} canaries cannot be: guess "
            "about each at most once"
        )


def one_run_p_value(
    canaries: int, guesses: int, correct: int, epsilon: float, delta: float
) -> float:
    """How likely an (epsilon, delta)-DP mechanism lets so many guesses be correct, at most.

    m canaries, each in with probability 1/2, r guesses of which v are correct: with B binomial of r
    and e^eps / (1 + e^eps), min(1, P[B >= v] + 2 m delta max_{1<=i<=v} P[v - i <= B < v] / i).
    Source: Steinke, Nasr, Jagielski, "Privacy auditing with one (1) training run" (2023), corollary
    5.4 and appendix D. The number of guesses must not hang on how good they are.
    """
    check_guesses(canaries, guesses, correct)
    rate = float(expit(epsilon))
    tail = float(binom.sf(correct - 1, guesses, rate))
    if not delta or not correct:
        return min(1.0, tail)
    i = np.arange(1, correct + 1)
    below = binom.cdf(correct - 1, guesses, rate) - binom.cdf(correct - i - 1, guesses, rate)
    return min(1.0, tail + 2 * canaries * delta * float(np.max(below / i)))


def one_run_epsilon(
    canaries: int, guesses: int, correct: int, delta: float, error: float = 0.05
) -> float:
    """The largest epsilon that is refused with this error, by `one_run_p_value`; zero if none is.

    With probability at least 1 - error, a mechanism's own epsilon at `delta` is at least this.
    """

    def refused(epsilon: float) -> float:
        return error - one_run_p_value(canaries, guesses, correct, epsilon, delta)

    return _largest(refused)


def fdp_epsilon(
    canaries: int, guesses: int, correct: int, delta: float, error: float = 0.05
) -> float:
    """The largest epsilon at `delta` of a Gaussian mechanism that is refused with this error.

    It takes the mechanism's trade-off curve for a Gaussian's, and is larger for it. Source:
    Mahloujifar, Melis, Chaudhuri, "Auditing f-differential privacy in one run" (2024), algorithm 3:
    r and h are the joint probabilities of right and of wrong guesses, from the last to the first.
    """
    check_guesses(canaries, guesses, correct)

    def refused(epsilon: float) -> float:
        mu = _mu_of(epsilon, delta)
        right, wrong = error * correct / canaries, error * (guesses - correct) / canaries
        for i in range(correct - 1, -1, -1):
            least = max(wrong, float(ndtr(ndtri(right) - mu)))
            if least == wrong:
                break
            right = min(right + i / (guesses - i) * (least - wrong), 1.0)
            wrong = least
        return right + wrong - guesses / canaries

    return _largest(refused) if correct else 0.0


def _mu_of(epsilon: float, delta: float) -> float:
    """The mu of the Gaussian whose epsilon at delta this is."""
    most = 1.0
    while gaussian_delta(most, epsilon) < delta:
        most *= 2
    return float(brentq(lambda mu: gaussian_delta(mu, epsilon) - delta, 1e-12, most, xtol=1e-12))


def _largest(refused: Callable[[float], float]) -> float:
    """Where a function that falls from above zero crosses it; zero where it is never above."""
    if refused(0.0) <= 0:
        return 0.0
    if refused(_MOST) > 0:
        return math.inf
    return float(brentq(refused, 0.0, _MOST, xtol=1e-9))
