"""Results of attacks in a run's folder: a line after each trial, a file when an attack is done.

An interrupted suite loses nothing that had ended: the lines are read again, and what stands there
is not run anew.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import msgspec

from fedprivacy.attacks.journal import Journal, Kept, made_folder
from fedprivacy.attacks.registry import ATTACKS
from fedprivacy.attacks.result import AttackResult, Measured
from fedprivacy.attacks.scenario import Scenario, Setting, Trial
from fedprivacy.attacks.stage import Stopped
from fedprivacy.errors import ConfigurationError

__all__ = ["SuiteFolder", "kept_results", "write_results"]

_FOLDER, _TRIALS = "attacks", "trials.jsonl"


class _Line(Kept, frozen=True, kw_only=True):
    """One trial that ended."""

    attack: str
    setting: str
    seed: int
    seconds: float
    measured: Measured | None = None
    stopped: str = ""


def kept_results(folder: Path) -> tuple[AttackResult, ...]:
    """All results in a run's folder, in the order in which attacks are listed."""
    found: list[AttackResult] = []
    for path in sorted((folder / _FOLDER).glob("*.json")):
        try:
            plain = msgspec.json.decode(path.read_bytes(), type=list[msgspec.Raw])
            found += [AttackResult.from_json(bytes(each)) for each in plain]
        except (msgspec.MsgspecError, RecursionError) as error:
            raise ConfigurationError(f"{path} holds no results of attacks: {error}") from None
    order = {name: i for i, name in enumerate(ATTACKS)}
    return tuple(sorted(found, key=lambda result: order.get(result.attack, len(order))))


def write_results(folder: Path, name: str, results: tuple[AttackResult, ...]) -> Path:
    """Put one attack's results, or those of one purpose, in place as a whole."""
    path = made_folder(folder / _FOLDER) / f"{name}.json"
    part = path.with_suffix(".part")
    text = f"[{','.join(each.to_json().rstrip() for each in results)}]\n"
    with part.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
    return path


@dataclass(frozen=True, slots=True)
class SuiteFolder:
    """The trials of a suite that have ended, in a run's folder."""

    folder: Path
    _journal: Journal[_Line]

    @classmethod
    def open(cls, folder: Path) -> SuiteFolder:
        """What earlier runs left there; a last line that was cut off is dropped."""
        return cls(folder, Journal.open(made_folder(folder / _FOLDER) / _TRIALS, _Line))

    def kept(self, scenario: Scenario, setting: Setting, seed: int) -> Trial | None:
        """The trial of that seed, where it ended before under the same plan, options and code."""
        line = self._journal.get(_key(scenario, setting, seed))
        if line is None:
            return None
        return Trial(setting, seed, line.measured or Stopped(line.stopped))

    def append(self, scenario: Scenario, trial: Trial, seconds: float) -> None:
        """One more line, synced."""
        found = trial.found
        line = _Line(
            key=_key(scenario, trial.setting, trial.seed),
            attack=scenario.attack.name,
            setting=trial.setting.name,
            seed=trial.seed,
            seconds=round(seconds, 3),
            measured=found if isinstance(found, Measured) else None,
            stopped=found.reason if isinstance(found, Stopped) else "",
        )
        self._journal.append(line)

    def finish(self, results: tuple[AttackResult, ...]) -> Path:
        """The results of one attack, as the report reads them."""
        return write_results(self.folder, results[0].attack, results)


def _key(scenario: Scenario, setting: Setting, seed: int) -> str:
    """What a trial is a function of."""
    parts = (
        version("fedprivacy"),
        scenario.attack.name,
        str(scenario.file.clients),
        setting.name,
        setting.plan.digest().hex(),
        repr(sorted(setting.options.items())),
        str(seed),
        scenario.world.digest if scenario.world else "",
    )
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]
