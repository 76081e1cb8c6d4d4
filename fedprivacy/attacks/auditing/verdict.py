"""A verdict over several audited runs, by a test that is fixed before the first of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fedprivacy.attacks.auditing.one_run import one_run_epsilon, one_run_p_value
from fedprivacy.errors import ConfigurationError

__all__ = ["ERROR", "Registered", "Verdict"]

ERROR = 1e-3
"""The chance with which a correct mechanism is accused, at most, over all runs of one verdict."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether the claim is refused, and what the runs together show at least."""

    accused: bool
    p_value: float
    lower_bound: float
    """Of epsilon at the test's delta, with the test's error."""
    correct: int
    guesses: int

    def __str__(self) -> str:
        said = "the claim is false" if self.accused else "nothing speaks against the claim"
        return (
            f"{said}: {self.correct} of {self.guesses} guesses were right (p = {self.p_value:.2g}, "
            f"epsilon is at least {self.lower_bound:.2f})"
        )


@dataclass(frozen=True, slots=True)
class Registered:
    """A test of the claim "(epsilon, delta)-DP" over so many runs, fixed beforehand.

    All runs are one mechanism to the bound: a canary is in one of them, so that together they are
    (epsilon, delta)-DP for it if each is. The counts are added up, and the one-run test is taken
    once, with all canaries and guesses. Raises `ConfigurationError` where no outcome could refuse
    the claim.
    """

    epsilon: float
    delta: float
    canaries: int
    """In each run."""
    guesses: int
    """In each run."""
    runs: int
    error: float = ERROR

    def __post_init__(self) -> None:
        if self.runs < 1:
            raise ConfigurationError(f"runs = {self.runs}: a verdict needs at least one")
        every, canaries = self.runs * self.guesses, self.runs * self.canaries
        least = self._p_value(every)
        if least <= self.error:
            return
        said = f"even if every guess is right, p = {least:.2g} is above {self.error:g}"
        if one_run_p_value(canaries, every, every, self.epsilon, 0.0) > self.error:
            raise ConfigurationError(
                f"{every:,} guesses against epsilon = {self.epsilon:.3g}: {said}: take more runs, "
                "guesses or canaries"
            )
        raise ConfigurationError(
            f"delta = {self.delta:g} with {canaries:,} canaries: {said}: claim a smaller delta"
        )

    def verdict(self, correct: Sequence[int]) -> Verdict:
        """From the number of right guesses in each of the runs."""
        if len(correct) != self.runs:
            raise ConfigurationError(
                f"{len(correct)} runs where {self.runs} were registered: run them all, and no more"
            )
        total = sum(correct)
        p_value = self._p_value(total)
        return Verdict(
            accused=p_value <= self.error,
            p_value=p_value,
            lower_bound=one_run_epsilon(
                self.runs * self.canaries, self.runs * self.guesses, total, self.delta, self.error
            ),
            correct=total,
            guesses=self.runs * self.guesses,
        )

    def _p_value(self, correct: int) -> float:
        canaries, guesses = self.runs * self.canaries, self.runs * self.guesses
        return one_run_p_value(canaries, guesses, correct, self.epsilon, self.delta)
