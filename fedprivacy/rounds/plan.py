"""The plan: what everyone agrees on before a run, in `privacy.toml`; public, canonical, hashed."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Literal

import msgspec

from fedprivacy.crypto import Suite
from fedprivacy.dp import Clip, DiscreteGaussian, NonFinite, PerUnit, Skellam
from fedprivacy.errors import ConfigurationError
from fedprivacy.rounds.config import Section, load_toml, parse_toml
from fedprivacy.rounds.quorum import Quorum, choose_quorum
from fedprivacy.rounds.rules import (
    AUTO,
    CLIENT_UNIT,
    AggregationRules,
    DatasetRules,
    Mechanism,
    NoiseRules,
    SamplingRules,
    Trust,
    UpdateRules,
)
from fedprivacy.secagg import PROTOCOLS, Plain
from fedprivacy.vector import FixedPoint, Pipeline, Rounding, Stage, Weigh, Weights
from fedprivacy.wire import digest

__all__ = ["Plan"]


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
        return _noise_fault(self) or _sampling_fault(self)

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

    def pipeline(self, length: int, cohort_size: int, clip: float | None = None) -> Pipeline:
        """How an update of `length` parameters is encoded in a cohort of n, the same on every side.

        `clip` is the norm in force, where it is not the plan's own. Raises `ConfigurationError`
        where no honest client is assured whose noise would count.
        """
        rules = self.update
        noisy = self.noise.trust is not Trust.NONE
        rounded = FixedPoint(rules.value_bits, Rounding.CONDITIONAL if noisy else Rounding.UNBIASED)
        bad = NonFinite.ZERO if noisy else NonFinite.REFUSED
        bounded: list[Stage] = [Clip(clip or rules.clip, bad)]
        if self.protects_units:
            units = PerUnit(*bounded, rounded, max_units=rules.max_units_per_client)
            stages: list[Stage] = [units]
        else:
            if rules.weights is Weights.SUMMED:
                bounded.append(Weigh(rules.max_units_per_client))
            stages = [*bounded, rounded]
        if self.noise.trust in (Trust.DISTRIBUTED, Trust.CLIENT):
            stages.append(self.noise_stage(cohort_size))
        pipeline = Pipeline.of(length, *stages, weights=rules.weights)
        if self.noise.trust is Trust.SERVER:
            # Noise that the server could not draw is no more of a plan than a client's.
            self.noise_stage(cohort_size).admit(pipeline.specs[-1])
        return pipeline

    def noise_stage(self, cohort_size: int) -> Skellam | DiscreteGaussian:
        """The noise of a client or, where it is trusted with it, of the server.

        One unit may be at several clients: the noise is for all that it adds to the sum.
        """
        multiplier = self.noise.noise_multiplier * self.update.max_clients_per_unit
        shares = self.noise_shares(cohort_size)
        if self.noise.mechanism is Mechanism.SKELLAM:
            return Skellam(multiplier, shares)
        return DiscreteGaussian(multiplier, shares)

    def noise_shares(self, cohort_size: int) -> int:
        """How many shares of noise are assured: of honest clients whose input is in the sum.

        The corrupt may leave theirs out, or subtract what they know of it; who is lost adds none.
        """
        if self.noise.trust is not Trust.DISTRIBUTED:
            return 1
        assured = self.quorum(cohort_size).honest_in_sum
        if assured < 1:
            raise ConfigurationError(
                f"plan.noise.trust = {self.noise.trust.value}: no honest client is assured in a "
                "sum: raise min_clients, or choose trust = client"
            )
        return assured

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


def _noise_fault(plan: Plan) -> str | None:
    rules, path = plan.noise, "plan.noise"
    figures = {
        "noise_multiplier": rules.noise_multiplier,
        "epsilon": rules.epsilon,
        "delta": rules.delta,
        "rounds": rules.rounds,
    }
    if rules.trust is Trust.NONE:
        return next(
            (
                f"{path}.{k} = {v} with trust = none adds no noise: name who does"
                for k, v in figures.items()
                if v
            ),
            None,
        )
    for key, value in figures.items():
        if not 0 < value < math.inf:
            return (
                f"{path}.{key} = {value} with trust = {rules.trust.value}: give a positive number"
            )
    if plan.update.weights is Weights.SUMMED:
        return (
            "plan.update.weights = summed under noise would release how many units there are: "
            "choose uniform, and a public_weight to divide by"
        )
    if rules.trust is Trust.DISTRIBUTED and plan.aggregation.protocol == Plain.name:
        return (
            f"{path}.trust = distributed with protocol = {Plain.name} leaves each client with a "
            "share of the noise alone: choose trust = client, or secagg"
        )
    return None


_LEAST_RATE = 2.0**-53


def _sampling_fault(plan: Plan) -> str | None:
    rules = plan.sampling
    if (rules.scheme == "all") != (rules.rate == 1.0):
        return f"plan.sampling.rate = {rules.rate} with scheme = {rules.scheme}: choose either"
    if rules.rate < _LEAST_RATE:
        return f"plan.sampling.rate = {rules.rate} is below {_LEAST_RATE}: no coin is that uneven"
    counted = rules.scheme != "all" and not plan.update.public_weight
    if counted and plan.noise.trust is not Trust.NONE:
        return (
            "plan.update.public_weight = 0 with a sample that is to stay hidden divides by how "
            "many were drawn: set it to the number that is expected"
        )
    if plan.update.public_weight and plan.update.weights is Weights.SUMMED:
        return (
            f"plan.update.public_weight = {plan.update.public_weight} with weights = summed: the "
            "sum has its weight: leave one of them out"
        )
    return None


def _auto_fault(rules: AggregationRules) -> str | None:
    for key, value in (("threshold", rules.threshold), ("degree", rules.degree)):
        if value:
            return (
                f"plan.aggregation.{key} = {value} has no use with protocol = {AUTO}: leave it "
                "out, or name the protocol"
            )
    return None
