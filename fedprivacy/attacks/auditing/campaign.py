"""An audit of a plan: several runs with canaries, one verdict that was fixed before the first."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from fedprivacy.attacks.auditing.auditor import guessed
from fedprivacy.attacks.auditing.canaries import CanaryRun
from fedprivacy.attacks.auditing.verdict import Registered
from fedprivacy.errors import ConfigurationError
from fedprivacy.randomness import InsecureTestRng
from fedprivacy.rounds import Plan
from fedprivacy.rounds.record import AuditRecord

__all__ = ["Audit", "most_canaries"]

_MOST_EPSILON = 64.0
"""Above what so few guesses could show; JSON has no infinity."""
_MOST_CANARIES = 1024


def most_canaries(plan: Plan, clients: int, silent: int) -> int:
    """The largest power of two, 1,024 at most, for which honest clients have room."""
    room = plan.update.max_units_per_client * (clients - silent)
    return min(_MOST_CANARIES, 1 << (max(room, 2).bit_length() - 1))


@dataclass(frozen=True, slots=True)
class Audit:
    """So many runs of one plan, each a function of its seed, and the claim they are held against.

    Raises `ConfigurationError` where no outcome could refuse the claim.
    """

    run: CanaryRun
    runs: int
    guesses: int
    delta: float
    first_seed: int = 1

    def __post_init__(self) -> None:
        if self.guesses < 2 or self.guesses % 2 or self.guesses > self.run.canaries:
            raise ConfigurationError(
                f"guesses = {self.guesses} about {self.run.canaries} canaries: an even number from "
                "2 to as many"
            )
        _ = self.registered  # which refuses a test that could accuse nobody

    @property
    def registered(self) -> Registered:
        """The test, before anything runs."""
        claimed, canaries = self.run.epsilon(self.delta), self.run.canaries
        return Registered(claimed, self.delta, canaries, self.guesses, self.runs)

    @property
    def seeds(self) -> tuple[int, ...]:
        return tuple(range(self.first_seed, self.first_seed + self.runs))

    def carry_out(self, observe: Callable[[int, int], None]) -> AuditRecord:
        """Run all, and no more; `observe` is told each seed and how many guesses were right."""
        correct = []
        for seed in self.seeds:
            rng = InsecureTestRng(f"audit/{seed}".encode())
            correct.append(guessed(self.run.scores(rng=rng), self.guesses))
            observe(seed, correct[-1])
        test = self.registered
        found = test.verdict(correct)
        return AuditRecord(
            epsilon=test.epsilon,
            lower_bound=min(found.lower_bound, _MOST_EPSILON),
            delta=self.delta,
            error=test.error,
            runs=self.runs,
            rounds=self.run.rounds,
            clients=self.run.clients,
            silent=self.run.silent,
            canaries=self.run.canaries,
            guesses=self.guesses,
            correct=found.correct,
            p_value=found.p_value,
            accused=found.accused,
            seeds=self.seeds,
        )
