"""A plan before it runs: what it guarantees and costs, and whether a policy accepts it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import msgspec
from rich.console import RenderableType
from rich.text import Text

from fedprivacy.errors import BudgetExhausted, ConfigurationError, PolicyRefused
from fedprivacy.reporting.machine import expected_seconds
from fedprivacy.reporting.promises import promises
from fedprivacy.reporting.tables import add_rows, figures, titled, titled_table
from fedprivacy.reporting.text import byte_count, counted, printable, seconds
from fedprivacy.rounds import ClientPolicy, Guarantee, Plan
from fedprivacy.rounds.auto import settle
from fedprivacy.rounds.privacy import check_accepts
from fedprivacy.rounds.quorum import expected_losses, quorum_fault
from fedprivacy.rounds.record import GuaranteeRecord
from fedprivacy.rounds.traffic import download_bytes, upload_bytes
from fedprivacy.secagg import Plain

__all__ = ["PlanReport", "Seconds"]


class Seconds(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Expected computing time on the machine that made the report, one core, network apart."""

    client: float
    server: float
    member: float | None = None
    """Of the committee, where there is one."""


class PlanReport(msgspec.Struct, frozen=True, kw_only=True):
    """What follows from a plan for one cohort and one length of update."""

    schema: Literal["fedprivacy/plan-report/1"] = "fedprivacy/plan-report/1"
    plan_hash: str
    """Of the plan with its protocol settled."""
    protocol: str
    why: str
    """Of a protocol that was left open; empty otherwise."""
    degree: int
    """Neighbours of a client: everyone else on the complete graph, nobody without any graph."""
    threshold: int
    min_sum_size: int
    """The least number of honest clients in any sum that is revealed."""
    modulus_bits: int
    """What each parameter takes on its way up; with a committee, before it is encrypted."""
    length: int
    """Parameters in one update."""
    losses: int
    """Clients whose loss the plan is ready for: the server's seconds are with them."""
    upload_bytes: int
    """One client's messages in a round in which nobody is lost."""
    upload_bytes_by_phase: dict[str, int]
    download_bytes: int
    """The server's messages to that client, without the model and the directory."""
    download_bytes_by_phase: dict[str, int]
    seconds: Seconds
    guarantee: GuaranteeRecord
    accepted: bool | None
    """By the policy; none where there is no policy."""
    refusal: str
    """Why not; empty unless the policy refuses."""

    @classmethod
    def of(
        cls, plan: Plan, *, clients: int, length: int, policy: ClientPolicy | None
    ) -> PlanReport:
        """The report; raises `ConfigurationError` for a cohort with which the plan cannot run.

        It measures this machine, which takes a fifth of a second.
        """
        settled = settle(plan, clients)
        plan = settled.plan
        quorum = plan.quorum(clients)
        fault = quorum_fault(plan.aggregation, clients, quorum.threshold, quorum.degree)
        if fault:
            raise ConfigurationError(f"plan.aggregation: {fault}")
        refusal = ""
        try:
            if policy is not None:
                check_accepts(plan, policy, cohort=clients, length=length)
        except (PolicyRefused, BudgetExhausted) as refused:
            refusal = str(refused)
        guarantee = Guarantee.of(plan, clients, length)
        alone = guarantee.protocol == Plain.name or plan.aggregation.committee.count
        others = 0 if alone else clients - 1
        up = upload_bytes(plan, clients=clients, length=length)
        down = download_bytes(plan, clients=clients, length=length)
        expected = expected_seconds(plan, clients=clients, length=length)
        return cls(
            plan_hash=plan.digest().hex(),
            protocol=guarantee.protocol,
            why=settled.why,
            degree=quorum.degree or others,
            threshold=quorum.threshold,
            min_sum_size=guarantee.honest_in_sum,
            modulus_bits=plan.pipeline(length, clients).modulus_bits(clients),
            length=length,
            losses=expected_losses(plan.aggregation, clients),
            upload_bytes=sum(up.values()),
            upload_bytes_by_phase=up,
            download_bytes=sum(down.values()),
            download_bytes_by_phase=down,
            seconds=Seconds(**expected._asdict()),
            guarantee=GuaranteeRecord.of(guarantee),
            accepted=None if policy is None else not refusal,
            refusal=refusal,
        )

    def to_json(self) -> str:
        """The report as one JSON document."""
        return msgspec.json.format(msgspec.json.encode(self), indent=2).decode() + "\n"

    def parts(self) -> Iterator[RenderableType]:
        """The report for a person, in order; legible at 80 columns."""
        yield Text(f"plan {self.plan_hash}")
        yield Text()
        yield titled(
            f"{printable(self.protocol)} among {counted(self.guarantee.cohort, 'client')}, "
            f"{counted(self.length, 'parameter')}"
        )
        if self.why:
            yield Text(self.why)
        yield figures(self._figures())
        yield Text()
        yield from self._traffic()
        yield Text()
        yield from self._time()
        yield Text()
        yield from promises(self.guarantee)
        if self.accepted is not None:
            yield Text()
            yield Text(f"Your policy {'accepts' if self.accepted else 'refuses'} this plan.")

    def _figures(self) -> Iterator[tuple[str, str]]:
        if self.degree:
            takes = "neighbours that it takes to unmask a client (threshold)"
            if not self.guarantee.degree:
                takes = "clients that it takes to unmask a sum (threshold)"
            yield "neighbours of a client (degree)", f"{self.degree:,}"
            yield takes, f"{self.threshold:,}"
            yield "honest clients in any sum, at least (min_sum_size)", f"{self.min_sum_size:,}"
        if committee := self.guarantee.committee:
            whose = "drawn from the clients" if committee.drawn else "named by the plan"
            yield f"members of the committee, {whose} (size)", f"{committee.size:,}"
            yield "members that it takes to open a sum (threshold)", f"{committee.threshold:,}"
            yield "honest clients in any sum, at least (min_sum_size)", f"{self.min_sum_size:,}"
            yield "bits of a value before it is encrypted (modulus)", str(self.modulus_bits)
            return
        yield "bits of a parameter on its way up (modulus)", str(self.modulus_bits)

    def _traffic(self) -> Iterator[RenderableType]:
        yield titled("What one client sends and receives if nobody is lost")
        table = titled_table(["phase"], ["sent", "received"])
        up, down = self.upload_bytes_by_phase, self.download_bytes_by_phase
        rows = [(p, byte_count(up[p]), byte_count(down[p]) if p in down else "") for p in up]
        rows.append(("together", byte_count(self.upload_bytes), byte_count(self.download_bytes)))
        add_rows(table, rows)
        yield table
        yield Text("The model, the directory of those enrolled, and TLS come on top.")

    def _time(self) -> Iterator[RenderableType]:
        yield titled("Expected seconds on this machine, one core, training and network apart")
        lost = f", with {counted(self.losses, 'client')} lost" if self.losses else ""
        rows = [
            ("one client", seconds(self.seconds.client)),
            (f"the server{lost}", seconds(self.seconds.server)),
        ]
        if self.seconds.member is not None:
            rows.append(("one member of the committee", seconds(self.seconds.member)))
        yield figures(rows)
