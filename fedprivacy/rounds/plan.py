"""The plan: what everyone agrees on before a run, in `privacy.toml`; public, canonical, hashed."""

from __future__ import annotations

import enum
import math
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from fedprivacy.crypto import Suite
from fedprivacy.dp import Clip, PerUnit
from fedprivacy.errors import ConfigurationError
from fedprivacy.rounds.config import Section, load_toml, parse_toml
from fedprivacy.rounds.quorum import Quorum, choose_quorum
from fedprivacy.secagg import PROTOCOLS, Adversary
from fedprivacy.vector import FixedPoint, Pipeline, Stage, Weigh, Weights
from fedprivacy.wire import digest

__all__ = [
    "AUTO",
    "CLIENT_UNIT",
    "Adjacency",
    "AggregationRules",
    "DatasetRules",
    "NoiseRules",
    "Plan",
    "SamplingRules",
    "Trust",
    "UpdateRules",
]

AUTO = "auto"
"""The protocol of a plan that leaves the choice open; `settle` makes it before anything runs."""
CLIENT_UNIT = "client"
"""The unit of a plan that protects a client as a whole, whatever it holds."""

_Name = Annotated[str, Meta(min_length=1, max_length=128)]
_Codepoint = Annotated[str, Meta(min_length=1, max_length=64)]
_Count = Annotated[int, Meta(ge=1, lt=1 << 31)]


class Adjacency(enum.Enum):
    """When two data sets are neighbours."""

    ADD_OR_REMOVE_ONE = "add-or-remove-one"
    REPLACE_ONE = "replace-one"


class Trust(enum.Enum):
    """Who adds noise, and so who need not be trusted; in the order of what it protects from."""

    NONE = "none"


class DatasetRules(Section, frozen=True, kw_only=True):
    """Whose data, and whom the protection speaks of."""

    id: _Name
    unit: _Name
    """`client`, or what one person is called: `patient`, `user`."""
    adjacency: Adjacency = Adjacency.ADD_OR_REMOVE_ONE
    max_records_per_unit: _Count = 1


class AggregationRules(Section, frozen=True, kw_only=True):
    """How the sum is computed, and against whom."""

    protocol: _Codepoint
    suite: _Codepoint = Suite(1).label
    adversary: Adversary
    min_clients: _Count
    """The fewest survivors over whom a sum is released."""
    corrupt: Annotated[int, Meta(ge=0, lt=1 << 31)] = 0
    """c: enrolled identities that may collude with the server, as a number."""
    threshold: Annotated[int, Meta(ge=0, lt=1 << 31)] = 0
    """t; zero takes the least that is safe for the cohort."""
    degree: Annotated[int, Meta(ge=0, lt=1 << 20)] = 0
    """k: neighbours of a client on a sparse graph; zero takes the least that is safe."""
    dropout: Annotated[float, Meta(ge=0.0, lt=1.0)] = 0.0
    """The share of a cohort that may be lost; a sparse graph is made for it."""
    attempts: Annotated[int, Meta(ge=1, le=16)] = 2
    """At one round, over one committed cohort."""


class UpdateRules(Section, frozen=True, kw_only=True):
    """How a client's update becomes integers."""

    clip: Annotated[float, Meta(gt=0.0)]
    """L2 norm of one unit's vector."""
    value_bits: Annotated[int, Meta(ge=2, le=32)]
    """Bits of one coordinate of one unit's clipped vector."""
    weights: Weights = Weights.SUMMED
    max_units_per_client: _Count = 1
    """Units at one client; with the client as unit, the largest weight it may give itself."""
    max_clients_per_unit: _Count = 1


class NoiseRules(Section, frozen=True, kw_only=True):
    """Where noise enters."""

    trust: Trust = Trust.NONE


class SamplingRules(Section, frozen=True, kw_only=True):
    """How a round's cohort is drawn."""

    scheme: Literal["all"] = "all"


class Plan(Section, frozen=True, kw_only=True):
    """What everyone agrees on before a run; the meaning of each key stands beside it."""

    schema: Literal["fedprivacy/plan/1"]
    dataset: DatasetRules
    aggregation: AggregationRules
    update: UpdateRules
    noise: NoiseRules = NoiseRules()
    sampling: SamplingRules = SamplingRules()

    @classmethod
    def from_toml(cls, path: str | Path) -> Plan:
        """The plan in a file; raises `ConfigurationError` naming key, value, bound and remedy."""
        plan = load_toml(cls, Path(path), "plan")
        plan.check()
        return plan

    @classmethod
    def parse(cls, text: str) -> Plan:
        """The plan in a TOML text; raises as `from_toml` does."""
        plan = parse_toml(cls, text, "plan")
        plan.check()
        return plan

    def fault(self) -> str | None:
        """What no cohort can make good; None for a plan that can be run."""
        rules = self.aggregation
        if fault := _protocol_fault(rules):
            return fault
        if rules.suite not in {suite.label for suite in Suite}:
            return f"plan.aggregation.suite = {rules.suite} is unknown: leave it out"
        if rules.min_clients < 2:
            return f"plan.aggregation.min_clients = {rules.min_clients} sums nobody: at least 2"
        if not math.isfinite(self.update.clip):
            return f"plan.update.clip = {self.update.clip} is not finite: give an L2 norm"
        return None

    def check(self) -> None:
        """Raise `ConfigurationError` for a plan that no cohort could run."""
        if fault := self.fault():
            raise ConfigurationError(fault)

    @property
    def suite(self) -> Suite:
        return next(suite for suite in Suite if suite.label == self.aggregation.suite)

    @property
    def protects_units(self) -> bool:
        """Whether the unit is smaller than a client."""
        return self.dataset.unit != CLIENT_UNIT

    def quorum(self, cohort_size: int) -> Quorum:
        """Degree and threshold for a cohort of n clients: the plan's, or the least that are safe.

        Raises `ConfigurationError` where no sparse graph will do, and where the protocol is open.
        """
        if self.aggregation.protocol == AUTO:
            raise ConfigurationError(
                f"plan.aggregation.protocol = {AUTO} is open: settle it for a cohort first"
            )
        return choose_quorum(self.aggregation, cohort_size)

    def pipeline(self, length: int, clip: float | None = None) -> Pipeline:
        """How an update of `length` parameters is encoded, the same on every side.

        `clip` is the norm in force, where it is not the plan's own.
        """
        rules = self.update
        bounded: list[Stage] = [Clip(clip or rules.clip)]
        if self.protects_units:
            bounded.append(FixedPoint(rules.value_bits))
            stages: list[Stage] = [PerUnit(*bounded, max_units=rules.max_units_per_client)]
        else:
            if rules.weights is Weights.SUMMED:
                bounded.append(Weigh(rules.max_units_per_client))
            stages = [*bounded, FixedPoint(rules.value_bits)]
        return Pipeline.of(length, *stages, weights=rules.weights)

    def digest(self) -> bytes:
        """The 32 bytes by which records and receipts name this plan."""
        return digest("plan", msgspec.msgpack.encode(self))


def _protocol_fault(rules: AggregationRules) -> str | None:
    if rules.protocol == AUTO:
        return _auto_fault(rules)
    protocol = PROTOCOLS.get(rules.protocol)
    if protocol is None:
        known = ", ".join([*sorted(PROTOCOLS), AUTO])
        return f"plan.aggregation.protocol = {rules.protocol} is unknown: choose from {known}"
    if rules.adversary not in protocol.adversaries:
        able = ", ".join(sorted(a.value for a in protocol.adversaries))
        others = sorted(p.name for p in PROTOCOLS.values() if rules.adversary in p.adversaries)
        return (
            f"plan.aggregation.adversary = {rules.adversary.value} is more than {rules.protocol} "
            f"withstands: choose from {able}, or protocol = {' or '.join(others)}"
        )
    if rules.degree and not protocol.sparse:
        return f"plan.aggregation.degree = {rules.degree} has no use with {rules.protocol}"
    return None


def _auto_fault(rules: AggregationRules) -> str | None:
    for key, value in (("threshold", rules.threshold), ("degree", rules.degree)):
        if value:
            return (
                f"plan.aggregation.{key} = {value} has no use with protocol = {AUTO}: leave it "
                "out, or name the protocol"
            )
    return None
