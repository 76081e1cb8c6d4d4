"""Suites: every attack that ships, with one seed or with all, and what is kept of each."""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from fedprivacy.attacks.registry import ATTACKS
from fedprivacy.attacks.scenario import Scenario, Trial
from fedprivacy.attacks.suite_folder import SuiteFolder
from fedprivacy.shipped import shipped_path

__all__ = ["Ended", "Suite", "run_kept"]


class Suite(enum.Enum):
    """How much of it is run."""

    QUICK = "quick"
    """Every attack in every setting with its first seed."""
    FULL = "full"
    """With all of its seeds."""

    def scenarios(self) -> tuple[tuple[Scenario, tuple[int, ...]], ...]:
        """The scenarios that ship, in the order in which attacks are listed, with their seeds."""
        found = [Scenario.from_toml(shipped_path(f"attacks/{n}/scenario.toml")) for n in ATTACKS]
        some = None if self is Suite.FULL else 1
        return tuple((scenario, scenario.file.seeds[:some]) for scenario in found)


@dataclass(frozen=True, slots=True)
class Ended:
    """A trial that has ended: now, or in an earlier run of the same."""

    trial: Trial
    seconds: float
    earlier: bool


def run_kept(
    scenario: Scenario,
    seeds: tuple[int, ...],
    kept: SuiteFolder | None,
    clock: Callable[[], float],
) -> Iterator[Ended]:
    """Each seed in each setting; what stands in the folder already is not run again."""
    for setting in scenario.settings:
        for seed in seeds:
            known = kept.kept(scenario, setting, seed) if kept else None
            if known is not None:
                yield Ended(known, 0.0, earlier=True)
                continue
            start = clock()
            trial = scenario.trial(setting, seed)
            seconds = clock() - start
            if kept is not None:
                kept.append(scenario, trial, seconds)
            yield Ended(trial, seconds, earlier=False)
