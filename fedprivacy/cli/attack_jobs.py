"""What `fedprivacy attack run` runs: scenarios with what the user brings, one after the other."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from fedprivacy.attacks.registry import ATTACKS
from fedprivacy.attacks.result import AttackResult
from fedprivacy.attacks.scenario import Scenario
from fedprivacy.attacks.suite_folder import SuiteFolder
from fedprivacy.attacks.suites import Ended, Suite, run_kept
from fedprivacy.attacks.worlds import OwnWorld
from fedprivacy.cli.consoles import accompanying
from fedprivacy.cli.progress import counting
from fedprivacy.errors import ConfigurationError, FedPrivacyError
from fedprivacy.reporting.attacks import trial_line
from fedprivacy.rounds import Plan
from fedprivacy.shipped import shipped_path

__all__ = ["Job", "Yours", "interruptible", "run_all", "suite_jobs"]


@dataclass(frozen=True, slots=True)
class Yours:
    """What the user brings in place of what ships."""

    world: OwnWorld | None
    plan: Plan | None
    options: Mapping[str, float]

    @classmethod
    def read(
        cls, model: str | None, data: str | None, plan: Path | None, options: Sequence[str]
    ) -> Yours:
        """From the command line's words."""
        if (model is None) != (data is None):
            raise ConfigurationError("--model and --data belong together: give both")
        given = {}
        for pair in options:
            name, _, value = pair.partition("=")
            try:
                given[name] = float(value)
            except ValueError:
                raise ConfigurationError(f"--option {pair}: write NAME=NUMBER") from None
        world = None if model is None or data is None else OwnWorld.load(model, data)
        return cls(world, None if plan is None else Plan.from_toml(plan), given)

    def over(self, scenario: Scenario) -> Scenario:
        """The scenario with it."""
        if self.world is not None:
            scenario = scenario.of_world(self.world)
        if self.plan is not None:
            scenario = scenario.against(self.plan)
        return scenario.with_options(self.options) if self.options else scenario


@dataclass(frozen=True, slots=True)
class Job:
    """One scenario from a file, and the seeds that it is run with."""

    path: Path
    scenario: Scenario
    seeds: tuple[int, ...]

    @classmethod
    def of(cls, scenario: Path, yours: Yours, seeds: tuple[int, ...]) -> Job:
        """The file, or the one that ships for an attack of that name."""
        name = str(scenario)
        if name in ATTACKS and not scenario.is_file():
            scenario = shipped_path(f"attacks/{name}/scenario.toml")
        read = yours.over(Scenario.from_toml(scenario))
        return cls(scenario, read, seeds or read.file.seeds)


def suite_jobs(name: str, yours: Yours, seeds: tuple[int, ...]) -> list[Job]:
    """All scenarios that ship; those that the user's plan is not for are left out, with a line."""
    for flag, given in (("--model", yours.world), ("--option", yours.options)):
        if given:
            raise ConfigurationError(f"{flag} goes with one attack, and --suite runs all: name one")
    jobs = []
    for scenario, own in Suite(name).scenarios():
        path = shipped_path(f"attacks/{scenario.attack.name}/scenario.toml")
        try:
            jobs.append(Job(path, yours.over(scenario), seeds or own))
        except ConfigurationError as error:
            _left_out(scenario, error)
    return jobs


def run_all(
    jobs: Sequence[Job], out: Path | None, *, leaves_out: tuple[type[FedPrivacyError], ...]
) -> dict[Path, tuple[AttackResult, ...]]:
    """The results by scenario; what ends in one of `leaves_out` is left out, with a line."""
    kept = None if out is None else SuiteFolder.open(out)
    found: dict[Path, tuple[AttackResult, ...]] = {}
    count = sum(len(job.scenario.settings) * len(job.seeds) for job in jobs)
    with interruptible(out), counting(accompanying(), "trials", count) as tell:
        for job in jobs:
            ended: list[Ended] = []
            prefix = f"{job.scenario.attack.name}, " if len(jobs) > 1 else ""
            try:
                for one in run_kept(job.scenario, job.seeds, kept, time.perf_counter):
                    ended.append(one)
                    tell(prefix + trial_line(one.trial) + (" (kept)" if one.earlier else ""))
            except leaves_out as error:
                _left_out(job.scenario, error)
                continue
            found[job.path] = job.scenario.results([one.trial for one in ended])
            if kept is not None:
                kept.finish(found[job.path])
    return found


@contextmanager
def interruptible(kept: Path | None) -> Iterator[None]:
    """An interruption says where what had ended is kept."""
    try:
        yield
    except KeyboardInterrupt:
        where = "" if kept is None else f"what had ended is in {kept}: run the same to go on"
        raise KeyboardInterrupt(*filter(None, [where])) from None


def _left_out(scenario: Scenario, why: Exception) -> None:
    accompanying().print(f"{scenario.attack.name} is left out: {why}", soft_wrap=True)
