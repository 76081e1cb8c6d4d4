"""Results of attacks in a run's folder: a line after each trial, a file when an attack is done.

An interrupted suite loses nothing that had ended: the lines are read again, and what stands there
is not run anew.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

import msgspec

from fedprivacy.attacks.registry import ATTACKS
from fedprivacy.attacks.result import AttackResult, Measured
from fedprivacy.attacks.scenario import Scenario, Setting, Trial
from fedprivacy.attacks.stage import Stopped
from fedprivacy.errors import ConfigurationError

__all__ = ["SuiteFolder", "kept_results", "write_results"]

_FOLDER, _TRIALS = "attacks", "trials.jsonl"


class _Line(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One trial that ended."""

    key: str
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
    path = _made(folder) / f"{name}.json"
    part = path.with_suffix(".part")
    text = f"[{','.join(each.to_json().rstrip() for each in results)}]\n"
    with part.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
    return path


def _made(folder: Path) -> Path:
    path = folder / _FOLDER
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror or error}") from None
    return path


@dataclass(slots=True)
class SuiteFolder:
    """The trials of a suite that have ended, in a run's folder."""

    folder: Path
    _kept: dict[str, _Line] = field(default_factory=dict)

    @classmethod
    def open(cls, folder: Path) -> SuiteFolder:
        """What earlier runs left there; a last line that was cut off is dropped."""
        path = _made(folder) / _TRIALS
        opened = cls(folder)
        if not path.exists():
            return opened
        text = path.read_bytes()
        whole, _, torn = text.rpartition(b"\n")
        for number, line in enumerate(whole.splitlines(), 1):
            try:
                found = msgspec.json.decode(line, type=_Line)
            except (msgspec.MsgspecError, RecursionError) as error:
                raise ConfigurationError(f"{path}, line {number}: {error}") from None
            opened._kept[found.key] = found
        if torn:
            with path.open("r+b") as file:
                file.truncate(len(text) - len(torn))
        return opened

    def kept(self, scenario: Scenario, setting: Setting, seed: int) -> Trial | None:
        """The trial of that seed, where it ended before under the same plan, options and code."""
        line = self._kept.get(_key(scenario, setting, seed))
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
        with (self.folder / _FOLDER / _TRIALS).open("ab") as file:
            file.write(msgspec.json.encode(line) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        self._kept[line.key] = line

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
