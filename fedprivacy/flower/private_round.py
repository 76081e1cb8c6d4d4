"""One private round over a Grid: its cohort, its committee, and the attempts at a sum."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from flwr.app import Message
from flwr.serverapp import Grid

from fedprivacy.crypto import Directory
from fedprivacy.errors import BudgetExhausted, ConfigurationError
from fedprivacy.flower.attempt import GridAttempt, Timeouts
from fedprivacy.flower.parameters import Parameters
from fedprivacy.flower.records import Broadcast
from fedprivacy.flower.template import content_digests
from fedprivacy.ledger import Reservation
from fedprivacy.rounds import Plan, RoundPlan, RoundRecord, RoundServer
from fedprivacy.rounds.record import AttemptRecord
from fedprivacy.rounds.sampling import cohort_fault, committee_for, drawn
from fedprivacy.secagg import Adversary, Cohort, Mark, Persist
from fedprivacy.transport import Outcome
from fedprivacy.transport.attempts import attempt_record, untried
from fedprivacy.vector import Aggregate
from fedprivacy.wire import DIGEST_BYTES, encode

if TYPE_CHECKING:
    from fedprivacy.flower.run import PrivateRun

__all__ = ["PrivateRound"]

_LOG = logging.getLogger("flwr.fedprivacy")


@dataclass(slots=True)
class PrivateRound:
    """One round: its cohort, and the attempts over it."""

    run_: PrivateRun
    grid: Grid
    number: int
    template: Message
    parameters: Parameters
    clients: dict[int, str]
    """By node."""
    seats: dict[str, int]
    """Of members whom the plan names, with their nodes."""
    timeout: float
    attempts: list[AttemptRecord] = field(default_factory=list)
    clip: float = 0.0

    @property
    def plan(self) -> Plan:
        return self.run_.plan

    def run(self) -> tuple[RoundRecord, Aggregate | None]:
        """The round's record, and its sum."""
        rng, names = self.run_.terms.rng, tuple(self.clients.values())
        asked = drawn(names, self.plan.sampling, rng=rng.child(f"sample/{self.number}"))
        if fault := cohort_fault(self.plan, len(asked)):
            # A small sample is chance. Too few nodes from the start are a mistake.
            if not names and not self.run_.had_sum:
                problem = self.run_.members.problem
                raise ConfigurationError(f"no node takes part in the first round; {problem}")
            if self.plan.sampling.scheme == "all" and not self.run_.had_sum:
                raise ConfigurationError(
                    f"plan.aggregation with {len(asked)} clients: {fault}; {self._more}"
                )
            _LOG.warning("with %d clients: %s; %s", len(asked), fault, self._more)
            self.attempts.append(untried())
            return self._ended("aborted"), None
        self.run_.note_cohort(asked)
        cohort = Cohort.of(asked, rng=rng.child(f"cohort/{self.number}"))
        try:
            drawing = rng.child(f"committee/{self.number}")
            committee = committee_for(self.plan, cohort.members, rng=drawing)
            return self._tried(cohort, committee)
        except BudgetExhausted as error:
            return self._ended("refused", refusal=str(error)), None

    @property
    def _more(self) -> str:
        """How more nodes come to be asked, in Flower's words."""
        kind = self.template.metadata.message_type.partition(".")[0]
        fewest = self.plan.aggregation.min_clients
        if kind == "query":
            return f"set min_nodes to at least {fewest}, and see that as many are connected"
        return (
            f"set min_{kind}_nodes and min_available_nodes of the strategy to at least {fewest}: a "
            "round begins as soon as that many nodes are connected"
        )

    def _tried(
        self, cohort: Cohort, committee: Cohort | None
    ) -> tuple[RoundRecord, Aggregate | None]:
        """Attempts over one cohort; none after clients were asked for an answer: they give one."""
        out: set[str] = set()
        for attempt in range(1, self.plan.aggregation.attempts + 1):
            outcome, record = self._attempt(attempt, cohort, committee, out)
            self.attempts.append(record)
            aggregate = outcome.aggregate
            if aggregate is not None and aggregate.weight:
                return self._ended("sum", weight=aggregate.weight), aggregate
            if aggregate is not None or outcome.answers_requested:
                break  # a total weight of zero: nobody had anything to train on
            out |= {*outcome.refused, *outcome.excluded, *record.culprits}
        return self._ended("aborted"), None

    def _attempt(
        self, attempt: int, cohort: Cohort, committee: Cohort | None, out: set[str]
    ) -> tuple[Outcome, AttemptRecord]:
        books, reserved, rng = self.run_.books, None, self.run_.terms.rng
        if books is not None:
            reserved = books.reserve(self.run_.run_id, self.number, attempt, len(cohort.members))
        head = books.head() if books is not None else None
        broadcast, directory = encode(self._broadcast()), self._directory
        plan = RoundPlan.freeze(
            self.plan,
            cohort,
            run_id=self.run_.run_id,
            number=self.number,
            attempt=attempt,
            broadcast=broadcast,
            length=self.parameters.length,
            directory=directory,
            ledger_head=head.head if head else bytes(DIGEST_BYTES),
            clip=self.run_.clip or None,
            committee=committee,
            rng=rng.child(f"nonce/{self.number}/{attempt}"),
        )
        server = RoundServer(
            plan,
            cohort,
            directory,
            broadcast,
            rng=rng.child(f"graph/{self.number}/{attempt}"),
            ledger=head,
            pool=self.run_.worker,
            committee=committee,
            admission=self.run_.terms.admission,
        )
        nodes = {name: node for node, name in self.clients.items()} | self.seats
        drive = GridAttempt(
            self.grid,
            server,
            nodes,
            self.template,
            broadcast,
            Timeouts(self.run_.terms.phase_timeout, self.timeout),
            lambda mark: self._journal(mark, reserved),
        )
        asked = [*cohort.members, *(committee.members if committee else ())]
        outcome = drive.run([name for name in asked if name in nodes and name not in out])
        if books is not None and reserved is not None:
            books.close_attempt(reserved, may_be_known=outcome.unmasking_requested)
        self.run_.clip = server.next_clip
        self.clip = plan.clip
        return outcome, attempt_record(plan, outcome)

    @property
    def _directory(self) -> Directory | None:
        curious = self.plan.aggregation.adversary is Adversary.HONEST_BUT_CURIOUS
        return None if curious else self.run_.terms.directory

    def _broadcast(self) -> Broadcast:
        about = self.template.metadata
        return Broadcast(
            about.message_type,
            about.group_id,
            self.run_.members.run_config(next(iter(self.clients))),
            self.run_.terms.weighted_by,
            self.parameters.names,
            content_digests(self.template.content),
        )

    def _journal(self, mark: Persist, reserved: Reservation | None) -> None:
        books = self.run_.books
        if mark.mark is Mark.UNMASKING and books is not None and reserved is not None:
            books.unmasks(reserved)

    def _ended(
        self, outcome: Literal["sum", "aborted", "refused"], *, weight: int = 0, refusal: str = ""
    ) -> RoundRecord:
        books = self.run_.books
        return RoundRecord(
            round=self.number,
            outcome=outcome,
            weight=weight,
            clip=self.clip if outcome == "sum" else 0.0,
            attempts=tuple(self.attempts),
            budget=books.record if books is not None else None,
            refusal=refusal,
        )
