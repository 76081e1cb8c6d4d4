"""The plan: what everyone agrees on before a run, in `privacy.toml`; public, canonical, hashed."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Literal

import msgspec

from fedprivacy.crypto import Suite
from fedprivacy.dp import (
    Clip,
    CountWithin,
    DiscreteGaussian,
    GeometricClip,
    NonFinite,
    PerUnit,
    Skellam,
    count_ratio,
    count_share,
)
from fedprivacy.errors import ConfigurationError
from fedprivacy.randomness import SEED_BYTES
from fedprivacy.rounds.config import Section, load_toml, parse_toml
from fedprivacy.rounds.quorum import Quorum, choose_quorum
from fedprivacy.rounds.rules import (
    AUTO,
    CLIENT_UNIT,
    AdaptiveRules,
    AggregationRules,
    CommitteeRules,
    DatasetRules,
    Mechanism,
    NoiseRules,
    Rotation,
    SamplingRules,
    Trust,
    UpdateRules,
)
from fedprivacy.secagg import COMMITTEES, PROTOCOLS, SHARED_KEYS, Plain
from fedprivacy.vector import (
    FixedPoint,
    Pipeline,
    Rotate,
    Rounding,
    Stage,
    VectorSpec,
    Weigh,
    Weights,
    chain,
)
from fedprivacy.wire import digest

__all__ = ["Plan"]

_TAIL = 2.0**-40
"""The chance with which a rotated vector has a coordinate that is cut off."""
_MOST_INFLATION = 4 / 3
"""Of the sensitivity, by rounding: beyond, bits are saved at the price of noise."""


class Plan(Section, frozen=True, kw_only=True):
    """What everyone agrees on before a run; the meaning of each key stands beside it."""

    schema: Literal["fedprivacy/plan/1"]
    dataset: DatasetRules
    aggregation: AggregationRules
    update: UpdateRules
    noise: NoiseRules = NoiseRules()
    sampling: SamplingRules = SamplingRules()
    adaptive: AdaptiveRules = AdaptiveRules()

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
        return _noise_fault(self) or _sampling_fault(self) or _adaptive_fault(self)

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

    def pipeline(
        self,
        length: int,
        cohort_size: int,
        clip: float | None = None,
        seed: bytes = bytes(SEED_BYTES),
    ) -> Pipeline:
        """How an update of `length` parameters is encoded in a cohort of n, the same on every side.

        `clip` is the norm in force, where it is not the plan's own, and `seed` that of a rotation,
        of which no bound depends. Raises `ConfigurationError` where no honest client is assured
        whose noise would count, and where so few bits for so many parameters would cost too much
        noise.
        """
        rules = self.update
        stages = self._rounded(clip or rules.clip, rules.value_bits, seed)
        if self.noise.trust is not Trust.NONE:
            self._check_inflation(length, clip or rules.clip)
        if self.adaptive.quantile:
            ratio = count_ratio(self._multiplier, self.adaptive.count_deviation)
            widest = CountWithin(*self._rounded(rules.clip, rules.value_bits, seed), ratio=ratio)
            # One mark under every clip: a round's price must not hang on the one in force.
            mark = widest.magnitude(VectorSpec(length))
            stages = [CountWithin(*stages, ratio=ratio, mark=mark)]
        if self.protects_units:
            stages = [PerUnit(*stages, max_units=rules.max_units_per_client)]
        if self.noise.trust in (Trust.DISTRIBUTED, Trust.CLIENT):
            stages.append(self.noise_stage(cohort_size))
        pipeline = Pipeline.of(length, *stages, weights=rules.weights)
        if self.noise.trust is Trust.SERVER:
            # Noise that the server could not draw is no more of a plan than a client's.
            self.noise_stage(cohort_size).admit(pipeline.specs[-1])
        return pipeline

    def _rounded(self, clip: float, value_bits: int, seed: bytes) -> list[Stage]:
        """From one unit's vector to its integers."""
        rules, noisy = self.update, self.noise.trust is not Trust.NONE
        bad = NonFinite.ZERO if noisy else NonFinite.REFUSED
        stages: list[Stage] = [Clip(clip, bad)]
        if rules.rotation is Rotation.HADAMARD:
            stages.append(Rotate(seed, _TAIL))
        if rules.weights is Weights.SUMMED and not self.protects_units:
            stages.append(Weigh(rules.max_units_per_client))
        rounding = Rounding.CONDITIONAL if noisy else Rounding.UNBIASED
        return [*stages, FixedPoint(value_bits, rounding)]

    def _inflation(self, length: int, clip: float, value_bits: int) -> float:
        """By how much rounding raises the norm of one unit: 1 is not at all."""
        stages = self._rounded(clip, value_bits, bytes(SEED_BYTES))
        spec = chain(stages, VectorSpec(length))[-1]
        return (spec.l2 or 0.0) / (clip * (spec.scale or 1.0))

    def _check_inflation(self, length: int, clip: float) -> None:
        bits = self.update.value_bits
        if (found := self._inflation(length, clip, bits)) <= _MOST_INFLATION:
            return
        enough = next(
            (b for b in range(bits, 33) if self._inflation(length, clip, b) <= _MOST_INFLATION), 32
        )
        rotated = self.update.rotation is Rotation.HADAMARD
        raise ConfigurationError(
            f"plan.update.value_bits = {bits} for {length:,} parameters: rounding makes one unit's "
            f"vector, and the noise for it, {found:.2f} times as large, where "
            f"{_MOST_INFLATION:.2f} is the most: raise it to {enough}"
            + ("" if rotated else ", or set rotation = hadamard")
        )

    @property
    def first_clip(self) -> float:
        """The norm in force in a run's first round."""
        return self.adaptive.initial or self.update.clip

    def next_clip(self, pipeline: Pipeline, last: int) -> float:
        """The norm in force in the next round, by the last integer of a sum, noise included.

        `pipeline` is that of the round, of a plan that adapts.
        """
        rules = self.adaptive
        clip, share = count_share(pipeline, last, self.update.public_weight)
        step = GeometricClip(rules.quantile, rules.rate)
        return min(step.next(clip, share), self.update.clip)

    @property
    def _multiplier(self) -> float:
        """Deviation of the noise / what one unit's integers have as their norm at one client."""
        return self.noise.noise_multiplier * self.update.max_clients_per_unit

    def noise_stage(self, cohort_size: int) -> Skellam | DiscreteGaussian:
        """The noise of a client or, where it is trusted with it, of the server.

        One unit may be at several clients: the noise is for all that it adds to the sum.
        """
        multiplier = self._multiplier
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
        able_too = (p.name for p in PROTOCOLS.values() if rules.adversary in p.adversaries)
        others = sorted(set(able_too) - set(COMMITTEES))
        return (
            f"plan.aggregation.adversary = {rules.adversary.value} is more than {rules.protocol} "
            f"withstands: choose from {able}, or protocol = {' or '.join(others)}"
        )
    if rules.degree and not protocol.sparse:
        return f"plan.aggregation.degree = {rules.degree} has no use with {rules.protocol}"
    return _shared_key_fault(rules) or _committee_fault(rules)


def _shared_key_fault(rules: AggregationRules) -> str | None:
    """What does not go with a secret key that every client has."""
    if rules.protocol not in SHARED_KEYS:
        return None
    if rules.corrupt:
        return (
            f"plan.aggregation.corrupt = {rules.corrupt} with {rules.protocol}, whose clients "
            "share the secret key: one that colludes with the server is enough to see every "
            "update: set corrupt = 0, or choose secagg"
        )
    if rules.threshold:
        return (
            f"plan.aggregation.threshold = {rules.threshold} with {rules.protocol}: each client "
            "can decrypt alone: leave it out"
        )
    return None


def _committee_fault(rules: AggregationRules) -> str | None:
    committee, path = rules.committee, "plan.aggregation.committee"
    if rules.protocol not in COMMITTEES:
        idle = committee == CommitteeRules()
        return None if idle else f"{path} has no use with {rules.protocol}: leave it out"
    if not committee.count:
        return f"{path} is missing: name its members, or give the size of a sample of the clients"
    if committee.members and committee.size not in (0, len(committee.members)):
        return (
            f"{path}.size = {committee.size} where {len(committee.members)} members are named: "
            "leave it out"
        )
    if len(set(committee.members)) < len(committee.members):
        return f"{path}.members names somebody twice: list each member once"
    if rules.threshold:
        return (
            f"plan.aggregation.threshold = {rules.threshold} has no use with {rules.protocol}: "
            "set committee.threshold"
        )
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
    return _who_adds_fault(plan)


def _who_adds_fault(plan: Plan) -> str | None:
    """Why this protocol leaves no room for those who are to add the noise."""
    rules, path, protocol = plan.noise, "plan.noise", plan.aggregation.protocol
    if protocol in SHARED_KEYS and not SHARED_KEYS[protocol].exact:
        return (
            f"{path}.trust = {rules.trust.value} with protocol = {protocol}: its sums are "
            "approximate, and noise is accounted for as exact integers: choose bfv, or none"
        )
    if protocol in SHARED_KEYS and rules.trust is Trust.SERVER:
        return (
            f"{path}.trust = server with protocol = {protocol}: clients decrypt the sum before the "
            "server adds to it: choose trust = distributed"
        )
    if rules.trust is Trust.DISTRIBUTED and protocol == Plain.name:
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


def _adaptive_fault(plan: Plan) -> str | None:
    rules, path = plan.adaptive, "plan.adaptive"
    if not rules.quantile:
        for key, value in (("initial", rules.initial), ("count_deviation", rules.count_deviation)):
            if value:
                return f"{path}.{key} = {value} without a quantile adapts nothing: set quantile"
        return None
    least = plan.noise.noise_multiplier * plan.update.max_clients_per_unit / 2
    faults = {
        f"{path}.quantile = {rules.quantile} with noise.trust = none counts units exactly: add "
        "noise, or keep the clip fixed": plan.noise.trust is Trust.NONE,
        f"{path}.quantile = {rules.quantile} is a share of a public number of units: set "
        "update.public_weight to the number that is expected": not plan.update.public_weight,
        f"{path}.initial = {rules.initial} is above update.clip = {plan.update.clip}: raise the "
        "clip, which is the most that it may become": not rules.initial <= plan.update.clip,
        f"{path}.count_deviation = {rules.count_deviation} is not above {least}, so that the count "
        "takes all of the noise: a twentieth of the units is usual": not (
            least < rules.count_deviation < math.inf
        ),
    }
    return next((fault for fault, is_there in faults.items() if is_there), None)


def _auto_fault(rules: AggregationRules) -> str | None:
    committee = rules.committee.count
    chosen = {"threshold": rules.threshold, "degree": rules.degree, "committee.size": committee}
    for key, value in chosen.items():
        if value:
            return (
                f"plan.aggregation.{key} = {value} has no use with protocol = {AUTO}: leave it "
                "out, or name the protocol"
            )
    return None
