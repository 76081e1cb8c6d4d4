"""A plan before it runs: what it guarantees and costs a client, whether a policy accepts it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import msgspec
from rich.console import RenderableType
from rich.text import Text

from fedprivacy.errors import ConfigurationError, PolicyRefused
from fedprivacy.reporting.promises import promises
from fedprivacy.reporting.tables import figures, titled
from fedprivacy.reporting.text import byte_count, counted, printable
from fedprivacy.rounds import ClientPolicy, Guarantee, Plan
from fedprivacy.rounds.quorum import quorum_fault
from fedprivacy.rounds.record import GuaranteeRecord
from fedprivacy.rounds.traffic import upload_bytes

__all__ = ["PlanReport"]


class PlanReport(msgspec.Struct, frozen=True, kw_only=True):
    """What follows from a plan for one cohort and one length of update."""

    schema: Literal["fedprivacy/plan-report/1"] = "fedprivacy/plan-report/1"
    plan_hash: str
    guarantee: GuaranteeRecord
    length: int
    """Parameters in one update."""
    modulus_bits: int
    """What each parameter takes on its way up."""
    upload_bytes: dict[str, int]
    """One client's messages, by phase, in a round in which nobody is lost."""
    accepted: bool | None
    """By the policy; none where there is no policy."""
    refusal: str
    """Why not; empty unless the policy refuses."""

    @classmethod
    def of(
        cls, plan: Plan, *, clients: int, length: int, policy: ClientPolicy | None
    ) -> PlanReport:
        """The report; raises `ConfigurationError` for a cohort with which the plan cannot run."""
        quorum = plan.quorum(clients)
        fault = quorum_fault(plan.aggregation, clients, quorum.threshold, quorum.degree)
        if fault:
            raise ConfigurationError(f"plan.aggregation: {fault}")
        refusal = ""
        try:
            if policy is not None:
                policy.check(plan, threshold=quorum.threshold, cohort=clients)
        except PolicyRefused as refused:
            refusal = str(refused)
        return cls(
            plan_hash=plan.digest().hex(),
            guarantee=GuaranteeRecord.of(Guarantee.of(plan, clients)),
            length=length,
            modulus_bits=plan.pipeline(length).modulus_bits(clients),
            upload_bytes=upload_bytes(plan, clients=clients, length=length),
            accepted=None if policy is None else not refusal,
            refusal=refusal,
        )

    def to_json(self) -> str:
        """The report as one JSON document."""
        return msgspec.json.format(msgspec.json.encode(self), indent=2).decode() + "\n"

    def parts(self) -> Iterator[RenderableType]:
        """The report for a person, in order; legible at 80 columns."""
        promise = self.guarantee
        yield Text(f"plan {self.plan_hash}")
        yield Text()
        yield titled(
            f"{printable(promise.protocol)} among {counted(promise.cohort, 'client')}, "
            f"{counted(self.length, 'parameter')}"
        )
        yield figures(
            [
                ("clients that it takes to unmask a sum (threshold)", str(promise.threshold)),
                ("bits of a parameter on its way up (modulus)", str(self.modulus_bits)),
            ]
        )
        yield Text()
        yield titled("What one client sends in a round in which nobody is lost")
        sizes = [(f"  {name}", byte_count(size)) for name, size in self.upload_bytes.items()]
        yield figures([*sizes, ("together", byte_count(sum(self.upload_bytes.values())))])
        yield Text()
        yield from promises(promise)
        if self.accepted is not None:
            yield Text()
            yield Text(f"Your policy {'accepts' if self.accepted else 'refuses'} this plan.")
