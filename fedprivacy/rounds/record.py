"""What happened in a run, as data for people and programs; its JSON Schema is published.

Nothing here could not be known to the server of a real deployment, except what stands under
`simulation_only`.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from fedprivacy.rounds.guarantee import Guarantee
from fedprivacy.rounds.plan import Plan
from fedprivacy.rounds.privacy import PrivacyClaim
from fedprivacy.rounds.rules import CommitteeRules

__all__ = [
    "AttemptRecord",
    "AuditRecord",
    "BudgetRecord",
    "CommitteeRecord",
    "GuaranteeRecord",
    "NoiseRecord",
    "PhaseRecord",
    "RoundRecord",
    "RunRecord",
    "SimulatedRound",
    "SimulatedRun",
    "record_schema",
]

_Seconds = Annotated[float, Meta(ge=0.0)]
_Bytes = Annotated[int, Meta(ge=0)]


class _Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The base of a record's parts."""


class PhaseRecord(_Part, frozen=True, kw_only=True):
    """One phase of one attempt."""

    phase: str
    seconds: _Seconds
    """Computing time of server and clients together."""
    bytes_up: _Bytes
    """Sent by all clients."""
    bytes_up_most: _Bytes
    """Sent by the client that sent most."""
    bytes_down: _Bytes
    committee_bytes_up: _Bytes = 0
    """Sent by all members of the committee, as such."""
    committee_bytes_down: _Bytes = 0
    lost: tuple[str, ...]
    """Clients, or members of the committee, from whom nothing came in time."""


class AttemptRecord(_Part, frozen=True, kw_only=True):
    """One attempt at one round."""

    attempt: int
    round_id: str
    """Empty where too few were drawn: no plan was frozen."""
    outcome: Literal["sum", "aborted"]
    reason: str
    """Of the abort; empty for a sum."""
    survivors: tuple[str, ...]
    refused: dict[str, str]
    """Clients that declined, with their reasons."""
    excluded: dict[str, str]
    """Clients whose messages were refused, with the reasons."""
    culprits: tuple[str, ...]
    """Whom an abort was traced to."""
    unmasking_requested: bool
    phases: tuple[PhaseRecord, ...]


class NoiseRecord(_Part, frozen=True, kw_only=True):
    """The noise that was drawn into one sum, in the integer units of the sum."""

    deviation: float
    """Root mean square over the coordinates."""
    planned: float
    """Of the noise that the plan counts: that of the assured shares."""


class SimulatedRound(_Part, frozen=True, kw_only=True):
    """What only a simulation can know of a round."""

    accuracy: float
    """On held-out data, after this round's step; a share."""
    accuracy_unprotected: float
    """The same, had every update been summed as it is, in float64."""
    largest_difference: float | None
    """Between the decoded secure sum and the float64 sum of the same clipped updates; none where
    nobody here knows the noise that is in the sum."""
    quantisation_bound: float
    """What the difference stays below, as derived from the pipeline."""
    training_seconds: _Seconds
    noise: NoiseRecord | None = None
    """Of the noise in the sum; none where there is none."""


class BudgetRecord(_Part, frozen=True, kw_only=True):
    """What the ledger charges one unit with, and what it may be charged with at most."""

    epsilon: Annotated[float, Meta(ge=0.0)]
    limit: Annotated[float, Meta(gt=0.0)]
    delta: Annotated[float, Meta(gt=0.0, lt=1.0)]
    adjacency: str
    unit: str
    method: str


class RoundRecord(_Part, frozen=True, kw_only=True):
    """One round, with every attempt at it."""

    round: int
    outcome: Literal["sum", "aborted", "refused"]
    """`refused`: the budget did not hold it, and nobody was asked."""
    weight: int
    """What the released sum is divided by; zero without a sum."""
    clip: Annotated[float, Meta(ge=0.0)] = 0.0
    """The norm that each unit was clipped to; zero without a sum."""
    attempts: tuple[AttemptRecord, ...]
    budget: BudgetRecord | None = None
    """After this round; none where no budget is charged."""
    refusal: str = ""
    """Why the budget did not hold it; empty for another outcome."""
    simulation_only: SimulatedRound | None = None


class CommitteeRecord(_Part, frozen=True, kw_only=True):
    """Who opens the sums."""

    size: int
    threshold: int
    corrupt: int
    drawn: bool
    """By the server, from the clients of each round; else the plan names its members."""


class GuaranteeRecord(_Part, frozen=True, kw_only=True):
    """The guarantee, as derived."""

    protocol: str
    claim: str
    adversary: str
    cohort: int
    corrupt: int
    threshold: int
    degree: int
    """Zero: everyone is everyone's neighbour."""
    losses: int
    """Clients that may be lost at any moment."""
    committee: CommitteeRecord | None = None
    """None where clients unmask: `threshold` is then theirs."""
    honest_in_sum: int
    unit: str
    noise: str
    epsilon: float | None
    """Of all rounds that the plan allows, at `delta`; none where nothing bounds it."""
    delta: float
    holds: tuple[str, ...]
    does_not_hold: tuple[str, ...]

    @classmethod
    def of(cls, guarantee: Guarantee) -> GuaranteeRecord:
        return cls(
            protocol=guarantee.protocol,
            claim=guarantee.claim,
            adversary=guarantee.adversary.value,
            cohort=guarantee.cohort,
            corrupt=guarantee.corrupt,
            threshold=guarantee.threshold,
            degree=guarantee.degree,
            losses=guarantee.losses,
            committee=_committee(guarantee.committee),
            honest_in_sum=guarantee.honest_in_sum,
            unit=guarantee.unit,
            noise=guarantee.noise.value,
            epsilon=_bounded(guarantee.privacy),
            delta=guarantee.privacy.bound.delta if guarantee.privacy else 0.0,
            holds=guarantee.holds(),
            does_not_hold=guarantee.does_not_hold(),
        )


def _committee(rules: CommitteeRules) -> CommitteeRecord | None:
    if not rules.count:
        return None
    return CommitteeRecord(
        size=rules.count,
        threshold=rules.opens_with,
        corrupt=rules.corrupt,
        drawn=not rules.members,
    )


def _bounded(claim: PrivacyClaim | None) -> float | None:
    return claim.bound.epsilon if claim and math.isfinite(claim.bound.epsilon) else None


class SimulatedRun(_Part, frozen=True, kw_only=True):
    """What only a simulation can know of a run."""

    seed: int
    held_out: int
    """Units that no client trained on."""
    majority: float
    """What always naming the commoner class scores on them; a share."""
    accuracy: float
    accuracy_unprotected: float
    largest_difference: float | None
    quantisation_bound: float
    """The bound of the round in which the difference came closest to it."""


class AuditRecord(_Part, frozen=True, kw_only=True):
    """What canaries in further runs of the same plan showed, beside what is accounted for them.

    Every run is of so many rounds, each over the whole cohort, with vectors of `length` values.
    """

    unit: str
    """What one canary is: a `client` with all that it sends, or what the plan's unit is called."""
    epsilon: Annotated[float, Meta(ge=0.0)]
    """What the accountant says of one such run at `delta`, at most."""
    lower_bound: Annotated[float, Meta(ge=0.0)]
    """What the runs show together, at least; false with probability `error` at most."""
    estimate: Annotated[float, Meta(ge=0.0)]
    """Of epsilon by the cosines of the canaries (Andrew et al. 2023): it may lie on either side of
    the true one, and bounds nothing."""
    delta: Annotated[float, Meta(gt=0.0, lt=1.0)]
    error: Annotated[float, Meta(gt=0.0, lt=1.0)]
    """With which a correct mechanism is accused, at most; fixed before the first run."""
    runs: Annotated[int, Meta(ge=1)]
    rounds: Annotated[int, Meta(ge=1)]
    clients: Annotated[int, Meta(ge=1)]
    silent: Annotated[int, Meta(ge=0)]
    """Corrupt clients among them, that left out their noise."""
    length: Annotated[int, Meta(ge=1)]
    """Values of an update."""
    canaries: Annotated[int, Meta(ge=1)]
    """In each run, as large as one unit may be, each in or out by a coin."""
    guesses: Annotated[int, Meta(ge=1)]
    """In each run."""
    correct: Annotated[int, Meta(ge=0)]
    """Of all guesses."""
    p_value: Annotated[float, Meta(ge=0.0, le=1.0)]
    accused: bool
    """Whether the claim is refused at that error."""
    seeds: tuple[int, ...] = ()


class RunRecord(_Part, frozen=True, kw_only=True):
    """A whole run."""

    schema: Literal["fedprivacy/record/1"] = "fedprivacy/record/1"
    fedprivacy: str
    """The version that made the record."""
    run_id: str
    plan: Plan
    plan_hash: str
    guarantee: GuaranteeRecord
    clients: tuple[str, ...]
    rounds: tuple[RoundRecord, ...]
    simulation_only: SimulatedRun | None = None
    audit: AuditRecord | None = None
    """Of this run's plan, where it was audited."""

    def to_json(self) -> str:
        """The text of `record.json`."""
        return msgspec.json.format(msgspec.json.encode(self), indent=2).decode() + "\n"

    @classmethod
    def from_json(cls, text: str | bytes) -> RunRecord:
        """The record in a text; raises `msgspec.ValidationError` for anything else."""
        return msgspec.json.decode(text, type=cls)


def record_schema() -> dict[str, Any]:
    """The JSON Schema of `record.json`."""
    schema = msgspec.json.schema(RunRecord)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
