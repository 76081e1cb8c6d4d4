"""What is expected of a scenario's results, in `expected.json` beside it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import msgspec

from fedprivacy.attacks.result import AttackResult, Measured
from fedprivacy.errors import ConfigurationError
from fedprivacy.rounds.config import Section

__all__ = ["Bounds", "Expected"]


class Bounds(Section, frozen=True, kw_only=True):
    """What is expected of one setting, of every seed; what is left out is not expected."""

    target_least: float | None = None
    target_most: float | None = None
    control_most: float | None = None
    difference_least: float | None = None
    stopped: str = ""

    def faults(self, result: AttackResult) -> Iterator[str]:
        """Where the result departs from it, a line each."""
        where = f"{result.attack}, {result.setting}"
        if result.stopped != self.stopped:
            yield f"{where}: stopped by {result.stopped or 'nothing'}, not {self.stopped or 'so'}"
        for run in result.measured:
            yield from _above_limits(where, run)
            for name, value, least, most in (
                ("target", run.target, self.target_least, self.target_most),
                ("control", run.control, None, self.control_most),
                ("difference", run.difference, self.difference_least, None),
                ("target", run.target, None, run.bound),
            ):
                if least is not None and value < least:
                    yield f"{where}, seed {run.seed}: {name} = {value:.3f} is below {least:.3f}"
                if most is not None and value > most:
                    yield f"{where}, seed {run.seed}: {name} = {value:.3f} is above {most:.3f}"


def _above_limits(where: str, run: Measured) -> Iterator[str]:
    """Figures in the details that are above what stands beside them as their limit."""
    for name, most in run.details.items():
        figure = name.removesuffix("_limit")
        if figure != name and run.details[figure] > most:
            value = run.details[figure]
            yield f"{where}, seed {run.seed}: {figure} = {value:.3f} is above {most:.3f}"


class Expected(Section, frozen=True, kw_only=True):
    """`expected.json`: what is expected of each setting of a scenario, by name."""

    schema: Literal["fedprivacy/expected/1"]
    settings: dict[str, Bounds]

    @classmethod
    def beside(cls, scenario: Path) -> Expected | None:
        """The expectations in the scenario's folder; None where there are none."""
        path = scenario.parent / "expected.json"
        if not path.exists():
            return None
        try:
            return msgspec.json.decode(path.read_bytes(), type=cls)
        except msgspec.MsgspecError as error:
            raise ConfigurationError(f"{path}: {error}") from None

    def faults(self, results: tuple[AttackResult, ...]) -> list[str]:
        """Every departure of the results, a line each; a setting without expectations is one."""
        lines = []
        for result in results:
            bounds = self.settings.get(result.setting)
            if bounds is None:
                lines.append(f"{result.attack}, {result.setting}: nothing is expected of it")
            else:
                lines += bounds.faults(result)
        return lines
