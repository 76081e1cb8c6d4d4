"""An audit of a plan: several runs with canaries, one verdict that was fixed before the first."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from fedprivacy.attacks.auditing.auditor import guessed
from fedprivacy.attacks.auditing.canaries import CanaryRun, room
from fedprivacy.attacks.auditing.one_shot import estimate_of
from fedprivacy.attacks.auditing.verdict import Registered
from fedprivacy.attacks.journal import Journal, Kept, made_folder
from fedprivacy.errors import ConfigurationError
from fedprivacy.randomness import InsecureTestRng
from fedprivacy.rounds import Plan
from fedprivacy.rounds.record import AuditRecord

__all__ = ["Audit", "Observed", "audit_journal", "most_canaries"]

_MOST_EPSILON = 64.0
"""Above what so few guesses could show; JSON has no infinity."""
_MOST_CANARIES = 1024


def most_canaries(plan: Plan, clients: int, silent: int) -> int:
    """As many as honest clients have room for, 1,024 at most."""
    return min(_MOST_CANARIES, max(room(plan, clients, silent), 2))


class Observed(Kept, frozen=True, kw_only=True):
    """One run that has ended."""

    seed: int
    correct: int
    """Of the guesses."""
    cosines: int
    """Of canaries that were in: how many, and the sums of them and of their squares."""
    cosine_sum: float
    cosine_squares: float


def audit_journal(folder: Path) -> Journal[Observed]:
    """The runs of an interrupted audit, in a run's folder."""
    return Journal.open(made_folder(folder / "attacks") / "audit.jsonl", Observed)


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

    def carry_out(
        self, observe: Callable[[Observed, bool], None], kept: Journal[Observed] | None = None
    ) -> AuditRecord:
        """Run all, and no more.

        `observe` is told each run, and whether it had ended before: what is kept is not run anew.
        """
        seen = []
        for seed in self.seeds:
            earlier = kept.get(self.key_of(seed)) if kept else None
            seen.append(earlier or self._observed(seed))
            if kept is not None and earlier is None:
                kept.append(seen[-1])
            observe(seen[-1], earlier is not None)
        return self._record(seen)

    def _observed(self, seed: int) -> Observed:
        found = self.run.observed(rng=InsecureTestRng(f"audit/{seed}".encode()))
        return Observed(
            key=self.key_of(seed),
            seed=seed,
            correct=guessed(found.scores, self.guesses),
            cosines=len(found.cosines),
            cosine_sum=float(found.cosines.sum()),
            cosine_squares=float((found.cosines**2).sum()),
        )

    def key_of(self, seed: int) -> str:
        """What a run is a function of."""
        run = self.run
        sizes = (run.clients, run.silent, run.canaries, run.rounds, self.guesses)
        parts = (version("fedprivacy"), run.plan.digest().hex(), repr((sizes, run.strength, seed)))
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]

    def _record(self, seen: Sequence[Observed]) -> AuditRecord:
        test = self.registered
        found = test.verdict([each.correct for each in seen])
        return AuditRecord(
            unit=self.run.plan.dataset.unit,
            epsilon=test.epsilon,
            lower_bound=min(found.lower_bound, _MOST_EPSILON),
            estimate=self._estimate(seen),
            delta=self.delta,
            error=test.error,
            runs=self.runs,
            rounds=self.run.rounds,
            clients=self.run.clients,
            silent=self.run.silent,
            length=self.run.length,
            canaries=self.run.canaries,
            guesses=self.guesses,
            correct=found.correct,
            p_value=found.p_value,
            accused=found.accused,
            seeds=self.seeds,
        )

    def _estimate(self, seen: Sequence[Observed]) -> float:
        """Of all runs together."""
        count = sum(each.cosines for each in seen)
        if count < 2:
            return 0.0
        mean = sum(each.cosine_sum for each in seen) / count
        square = sum(each.cosine_squares for each in seen) / count
        spread = math.sqrt(max(square - mean**2, 0.0))
        return min(estimate_of(mean, spread, self.run.length, self.delta).epsilon, _MOST_EPSILON)
