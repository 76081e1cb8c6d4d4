"""A scenario, in `scenario.toml`: an attack, its adversary, the plans it is tried on, the seeds."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, field

from fedprivacy.attacks.registry import ATTACKS
from fedprivacy.attacks.result import AttackResult, Measured
from fedprivacy.attacks.stage import Attack, Stage, Stopped
from fedprivacy.attacks.threats import ThreatModel
from fedprivacy.attacks.worlds import OwnWorld
from fedprivacy.errors import ConfigurationError
from fedprivacy.rounds import Plan
from fedprivacy.rounds.auto import settle
from fedprivacy.rounds.config import Section, load_toml
from fedprivacy.rounds.rules import Trust
from fedprivacy.secagg import Plain

__all__ = ["Scenario", "ScenarioFile", "Setting", "SettingFile", "Trial", "noise_of"]

_Seed = Annotated[int, Meta(ge=0, lt=1 << 53)]


class SettingFile(Section, frozen=True, kw_only=True):
    """One plan that the attack is tried on."""

    name: Annotated[str, Meta(min_length=1, max_length=64)]
    plan: str
    """A path, relative to the scenario."""
    options: dict[str, float] = field(default_factory=dict)
    """Of this setting alone, over the scenario's."""


class ScenarioFile(Section, frozen=True, kw_only=True):
    """`scenario.toml` as it is written."""

    schema: Literal["fedprivacy/scenario/1"]
    attack: str
    clients: Annotated[int, Meta(ge=2, le=10_000)]
    seeds: Annotated[tuple[_Seed, ...], Meta(min_length=1)]
    threat: ThreatModel
    settings: Annotated[tuple[SettingFile, ...], Meta(min_length=1)]
    options: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Setting:
    """A setting with its plan read and its options whole."""

    name: str
    plan: Plan
    options: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Trial:
    """One seed in one setting, and what came of it."""

    setting: Setting
    seed: int
    found: Measured | Stopped


@dataclass(frozen=True, slots=True)
class Scenario:
    """A scenario that can be run; its plans are read."""

    file: ScenarioFile
    attack: Attack
    settings: tuple[Setting, ...]
    world: OwnWorld | None = None
    """A user's own model and data, in place of what ships."""

    @classmethod
    def from_toml(cls, path: str | Path) -> Scenario:
        """The scenario in a file; raises `ConfigurationError` naming key, value and remedy."""
        path = Path(path)
        file = load_toml(ScenarioFile, path, "scenario")
        attack = ATTACKS.get(file.attack)
        if attack is None:
            raise ConfigurationError(
                f"scenario.attack = {file.attack} is unknown: choose from {', '.join(ATTACKS)}"
            )
        if len(set(file.seeds)) < len(file.seeds):
            raise ConfigurationError("scenario.seeds names a seed twice: name each once")
        names = [setting.name for setting in file.settings]
        if len(set(names)) < len(names):
            raise ConfigurationError("scenario.settings has one name twice: name each its own")
        file.threat.check_covers(attack.needs, "scenario.threat")
        _check_options(file.options, attack, "scenario.options")
        settings = []
        for i, setting in enumerate(file.settings):
            _check_options(setting.options, attack, f"scenario.settings[{i}].options")
            plan = Plan.from_toml(path.parent / setting.plan)
            _check_unit(plan, attack)
            options = {**attack.options, **file.options, **setting.options}
            settings.append(Setting(setting.name, plan, options))
        return cls(file, attack, tuple(settings))

    @property
    def is_changed(self) -> bool:
        """Whether a model, plan or options are others than the file's: nothing is expected then."""
        written = [
            {**self.attack.options, **self.file.options, **setting.options}
            for setting in self.file.settings
        ]
        return (
            self.world is not None
            or written != [dict(s.options) for s in self.settings]
            or [s.name for s in self.settings] != [s.name for s in self.file.settings]
        )

    def of_world(self, world: OwnWorld) -> Scenario:
        """The same attack on a user's own model and data."""
        if not self.attack.takes_model:
            able = ", ".join(attack.name for attack in ATTACKS.values() if attack.takes_model)
            raise ConfigurationError(
                f"{self.attack.name} is tried on what ships only: of your model, {able}"
            )
        return dataclasses.replace(self, world=world)

    def against(self, plan: Plan) -> Scenario:
        """The scenario's first setting, and the same attack against a user's own plan.

        Both with more clients than the scenario's, where the plan takes no fewer. Options are those
        of the first setting in which the server sees as much: each update, or sums.
        """
        clients = max(self.file.clients, plan.aggregation.min_clients)
        settled = settle(plan, clients).plan
        first, alike = (
            self.settings[0],
            [s for s in self.settings if _open(s.plan) is _open(settled)],
        )
        options = dict((alike or [first])[0].options)
        _check_unit(settled, self.attack)
        if settled.noise.rounds and "rounds" in options:
            options["rounds"] = min(options["rounds"], settled.noise.rounds)
        settings = (first, Setting("your plan", settled, options))
        file = msgspec.structs.replace(self.file, clients=clients)
        return dataclasses.replace(self, file=file, settings=settings)

    def with_options(self, options: Mapping[str, float]) -> Scenario:
        """Every setting with these options over its own."""
        _check_options(options, self.attack, "--option")
        settings = tuple(
            dataclasses.replace(setting, options={**setting.options, **options})
            for setting in self.settings
        )
        return dataclasses.replace(self, settings=settings)

    def run(self, seeds: tuple[int, ...] | None = None) -> Iterator[Trial]:
        """Each seed in each setting, as it ends; by default the scenario's own seeds."""
        for setting in self.settings:
            for seed in seeds or self.file.seeds:
                yield self.trial(setting, seed)

    def trial(self, setting: Setting, seed: int) -> Trial:
        """One seed in one setting."""
        stage = Stage(setting.plan, self.file.clients, seed, setting.options, self.world)
        return Trial(setting, seed, self.attack.trial(stage))

    def results(self, trials: list[Trial]) -> tuple[AttackResult, ...]:
        """One result a setting, from the trials of a run."""
        return tuple(self._result(setting, trials) for setting in self.settings)

    def _result(self, setting: Setting, trials: list[Trial]) -> AttackResult:
        found = [t.found for t in trials if t.setting is setting]
        reasons = [each.reason for each in found if isinstance(each, Stopped)]
        return AttackResult(
            fedprivacy=version("fedprivacy"),
            attack=self.attack.name,
            setting=setting.name,
            metric=self.attack.metric,
            threat=self.file.threat,
            protocol=setting.plan.aggregation.protocol,
            noise=noise_of(setting.plan),
            plan_hash=setting.plan.digest().hex(),
            options=dict(setting.options),
            measured=tuple(each for each in found if isinstance(each, Measured)),
            # A run that was stopped for some seeds only was not stopped.
            stopped=reasons[0] if len(reasons) == len(found) and reasons else "",
        )


def _check_options(options: Mapping[str, float], attack: Attack, path: str) -> None:
    for name in options:
        if name not in attack.options:
            near = difflib.get_close_matches(name, attack.options, n=1, cutoff=0.0)
            hint = f": did you mean {near[0]}?" if near else f": {attack.name} has none"
            raise ConfigurationError(f"{path}.{name} is not an option{hint}")


def _check_unit(plan: Plan, attack: Attack) -> None:
    if attack.averages and plan.protects_units:
        raise ConfigurationError(
            f"plan.dataset.unit = {plan.dataset.unit}: under {attack.name} clients send how far "
            "they trained, which is a client's and no unit's: take a plan with unit = client"
        )


def _open(plan: Plan) -> bool:
    """Whether the server sees every update."""
    return plan.aggregation.protocol == Plain.name


def noise_of(plan: Plan) -> str:
    """Who adds it, and with which multiplier; `none` where nobody does."""
    rules = plan.noise
    if rules.trust is Trust.NONE:
        return "none"
    return f"{rules.trust.value}, multiplier {rules.noise_multiplier:g}"
