"""A networked run at the server: rounds over a hub, what they cost, and how a restart goes on."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Literal, Protocol

import msgspec

from fedprivacy.crypto import Directory
from fedprivacy.errors import BudgetExhausted, ConfigurationError, Reason, RoundAborted
from fedprivacy.ledger import Reservation, ReservationState
from fedprivacy.randomness import Rng
from fedprivacy.rounds import Guarantee, Plan, RoundPlan, RoundRecord, RoundServer, RunRecord
from fedprivacy.rounds.books import Books
from fedprivacy.rounds.record import AttemptRecord, GuaranteeRecord, SimulatedRound, SimulatedRun
from fedprivacy.rounds.run_folder import RunFolder
from fedprivacy.rounds.sampling import cohort_fault, committee_for, drawn, weakest_cohort
from fedprivacy.secagg import Admission, Adversary, Cohort, Mark, Persist
from fedprivacy.transport.attempts import attempt_record, untried
from fedprivacy.transport.inprocess import Outcome, PhaseMeter
from fedprivacy.transport.tls.attempt import TlsAttempt, Waits
from fedprivacy.transport.tls.hub import Hub
from fedprivacy.transport.tls.journal import Journal, Step
from fedprivacy.transport.tls.sizes import longest_message
from fedprivacy.vector import Aggregate
from fedprivacy.wire import DIGEST_BYTES

__all__ = ["Model", "NetworkedRun", "Watcher"]

_MODEL = "model.json"


class Model(Protocol):
    """What the server trains."""

    @property
    def length(self) -> int:
        """Values in an update."""
        ...

    @property
    def broadcast(self) -> bytes:
        """All that clients are sent to train on."""
        ...

    def step(
        self, aggregate: Aggregate, survivors: tuple[str, ...], plan: RoundPlan
    ) -> SimulatedRound | None:
        """Take the step of a round's sum; what is to be recorded of it."""
        ...

    def idle(self) -> SimulatedRound | None:
        """What is to be recorded of a round without a sum."""
        ...

    def summary(self, rounds: tuple[RoundRecord, ...]) -> SimulatedRun | None:
        """What is to be recorded of the whole run."""
        ...

    def save(self) -> bytes:
        """All that a later process needs to go on."""
        ...

    def restore(self, state: bytes) -> None:
        """Go on from there."""
        ...


class Watcher(Protocol):
    """Who watches a run; every method is called from the run's own thread."""

    def round_started(self, number: int, of: int) -> None: ...
    def phase_ended(self, number: int, attempt: int, meter: PhaseMeter) -> None: ...
    def round_ended(self, record: RoundRecord) -> None: ...


class _Checkpoint(msgspec.Struct, frozen=True):
    """The model after a round, with that round's record: both are there, or neither."""

    record: RoundRecord
    state: str
    clip: float


@dataclass(slots=True)
class NetworkedRun:
    """One run in one folder; a process that is started anew goes on after the last round begun.

    `stops` is asked before each round whether there is to be another one. `admission` is the
    server's part of a key ceremony, for a protocol whose clients share a key; native code then
    reads what they send in a process of `pool`, whose owner ends it.
    """

    plan: Plan
    model: Model
    directory: Directory
    hub: Hub
    journal: Journal
    files: RunFolder
    waits: Waits
    rounds: int
    rng: Rng
    watcher: Watcher
    books: Books | None = None
    stops: Callable[[], bool] = lambda: False
    admission: Admission | None = None
    pool: Executor | None = None
    _records: list[RoundRecord] = field(default_factory=list)
    _clip: float = 0.0
    _charged: bool = False
    """Whether the last attempt of an earlier process is."""

    @property
    def run_id(self) -> bytes:
        return self.journal.past.run_id

    # ------------------------------------------------------------------ a restart

    def recover(self) -> None:
        """Take up what an earlier process left: its records, its model, and its open round."""
        self._clip = self.plan.first_clip
        self._records = _read_rounds(self.files.path / "rounds.jsonl")
        kept = self.files.path / _MODEL
        if kept.exists():
            checkpoint = msgspec.json.decode(kept.read_bytes(), type=_Checkpoint)
            self.model.restore(base64.b64decode(checkpoint.state))
            self._clip = checkpoint.clip
            if checkpoint.record.round > len(self._records):
                self._append(checkpoint.record)
        last = self._close_reservations()
        past = self.journal.past
        if past.open is not None and past.open.round > len(self._records):
            self._append(self._ended(past.open.round, "aborted", (self._interrupted(past.open),)))
        if past.open is not None:
            self.journal.write(Step("ended", round=past.open.round))
        if last is not None and last.round == len(self._records) + 1:
            # Reserved, and not yet begun: a ledger reserves for an attempt once.
            self._append(self._ended(last.round, "aborted", (self._interrupted(last),)))
            self.journal.write(Step("ended", round=last.round))

    def _close_reservations(self) -> Step | None:
        """Charge what may be known, and nothing else; the last attempt that was reserved for."""
        if self.books is None:
            return None
        last = None
        for reservation in self.books.ledger.reservations():
            request, state = reservation.request, reservation.state
            if request.run != self.run_id:
                continue
            last = Step("begun", round=request.round, attempt=request.attempt)
            known = state is ReservationState.UNMASKING
            self._charged = known or state is ReservationState.SETTLED
            if known or state is ReservationState.RESERVED:
                self.books.close_attempt(reservation, may_be_known=known)
        return last

    def _interrupted(self, step: Step) -> AttemptRecord:
        return AttemptRecord(
            attempt=step.attempt,
            round_id=step.round_id,
            outcome="aborted",
            reason="failed",
            survivors=(),
            refused={},
            excluded={},
            culprits=(),
            unmasking_requested=self._charged or self.journal.past.unmasking is not None,
            phases=(),
        )

    # ------------------------------------------------------------------ rounds

    def gather(self, clients: int, seconds: float) -> None:
        """Wait until so many clients, and a named committee, are there, or so long.

        The clients are the run's. Raises `ConfigurationError` where clients or members are too few,
        `RoundAborted` where it is stopped.
        """
        until, members = time.monotonic() + seconds, set(self.plan.aggregation.committee.members)
        while time.monotonic() < until and not self.stops():
            if len(self._clients_connected()) >= clients and members <= self.hub.connected:
                break
            time.sleep(0.05)
        if self.stops():
            raise RoundAborted(Reason.CHANNEL_CLOSING, "stopped before a round was begun")
        self._note_clients()
        names = self.journal.past.clients
        if fault := cohort_fault(self.plan, len(names)):
            raise ConfigurationError(
                f"{len(names)} clients are connected after {seconds:g} seconds: {fault}"
            )
        self._check_committee(seconds)
        self._allow(names)

    def _allow(self, names: Sequence[str]) -> None:
        """A message may be as long as an honest one is among so many clients."""
        self.hub.allow(longest_message(self.plan, clients=len(names), length=self.model.length))

    def _check_committee(self, seconds: float) -> None:
        rules = self.plan.aggregation.committee
        if not rules.members:
            return  # drawn from the clients of each round
        absent = [name for name in rules.members if name not in self.hub.connected]
        if len(rules.members) - len(absent) < rules.opens_with:
            raise ConfigurationError(
                f"{', '.join(absent)} of the committee's {len(rules.members)} members are not "
                f"connected after {seconds:g} seconds, and {rules.opens_with} open a sum: start "
                "them, or raise server.times.gather"
            )

    def run(self) -> RunRecord:
        """Every round that is left, or until the budget is spent or somebody stops it."""
        while len(self._records) < self.rounds and not self.stops():
            number = len(self._records) + 1
            self.watcher.round_started(number, self.rounds)
            self._note_clients()
            record = self._round(number)
            self._append(record)
            self.journal.write(Step("ended", round=number))
            self.watcher.round_ended(record)
            if record.outcome == "refused":
                break
        return self._finish()

    def _note_clients(self) -> None:
        """Whoever has been there once belongs to every later cohort."""
        names = tuple(sorted({*self.journal.past.clients, *self._clients_connected()}))
        if names != self.journal.past.clients:
            self.journal.write(Step("clients", clients=names))

    def _clients_connected(self) -> frozenset[str]:
        """A member of a committee alone is no client."""
        return self.hub.connected - self.hub.members

    def _append(self, record: RoundRecord) -> None:
        self._records.append(record)
        self.files.append(record)

    def _round(self, number: int) -> RoundRecord:
        plan, seated = self.plan, self.hub.members
        names = tuple(name for name in self.journal.past.clients if name not in seated)
        asked = drawn(names, plan.sampling, rng=self.rng.child(f"sample/{number}"))
        if cohort_fault(plan, len(asked)):
            return self._ended(number, "aborted", (untried(),))
        self._allow(names)  # they may be more than when the run began
        cohort = Cohort.of(asked, rng=self.rng.child(f"cohort/{number}"))
        committee = self._committee(number, cohort)
        attempts: list[AttemptRecord] = []
        out: set[str] = set()
        for attempt in range(1, plan.aggregation.attempts + 1):
            try:
                outcome, frozen = self._attempt(number, attempt, cohort, committee, out)
            except BudgetExhausted as error:
                return self._ended(number, "refused", tuple(attempts), refusal=str(error))
            record = attempt_record(frozen, outcome)
            attempts.append(record)
            if outcome.aggregate is not None:
                return self._summed(frozen, outcome, outcome.aggregate, tuple(attempts))
            if outcome.answers_requested:
                break  # a later attempt would be declined
            out |= {*outcome.refused, *outcome.excluded, *record.culprits}
        return self._ended(number, "aborted", tuple(attempts))

    def _committee(self, number: int, cohort: Cohort) -> Cohort | None:
        """One for all attempts at a round; a sample is of who is there, if they are enough."""
        there = [name for name in cohort.members if name in self.hub.connected]
        enough = len(there) >= self.plan.aggregation.committee.count
        rng = self.rng.child(f"committee/{number}")
        return committee_for(self.plan, there if enough else cohort.members, rng=rng)

    def _attempt(
        self,
        number: int,
        attempt: int,
        cohort: Cohort,
        committee: Cohort | None,
        out: Iterable[str],
    ) -> tuple[Outcome, RoundPlan]:
        books, reserved = self.books, None
        if books is not None:
            reserved = books.reserve(self.run_id, number, attempt, len(cohort.members))
        head = books.head() if books is not None else None
        curious = self.plan.aggregation.adversary is Adversary.HONEST_BUT_CURIOUS
        directory, broadcast = None if curious else self.directory, self.model.broadcast
        plan = RoundPlan.freeze(
            self.plan,
            cohort,
            run_id=self.run_id,
            number=number,
            attempt=attempt,
            broadcast=broadcast,
            length=self.model.length,
            directory=directory,
            ledger_head=head.head if head else bytes(DIGEST_BYTES),
            clip=self._clip,
            committee=committee,
            rng=self.rng.child(f"nonce/{number}/{attempt}"),
        )
        round_id = plan.round_id.hex()
        self.journal.write(Step("begun", round=number, attempt=attempt, round_id=round_id))
        server = RoundServer(
            plan,
            cohort,
            directory,
            broadcast,
            rng=self.rng.child(f"graph/{number}/{attempt}"),
            ledger=head,
            pool=self.pool,
            committee=committee,
            admission=self.admission,
        )
        drive = TlsAttempt(
            self.hub,
            server,
            self.waits,
            journal=lambda mark: self._journal(mark, plan, reserved),
            observe=lambda meter: self.watcher.phase_ended(number, attempt, meter),
        )
        present = self.hub.sessions
        asked = dict.fromkeys([*cohort.members, *(committee.members if committee else ())])
        outcome = drive.run([n for n in asked if n not in out and n in present])
        if books is not None and reserved is not None:
            books.close_attempt(reserved, may_be_known=outcome.unmasking_requested)
            if outcome.unmasking_requested:
                drive.settle(books.head())
        self._clip = server.next_clip
        return outcome, plan

    def _journal(self, mark: Persist, plan: RoundPlan, reserved: Reservation | None) -> None:
        """On the disk before anything that follows from it leaves."""
        if mark.mark is Mark.UNMASKING and self.books is not None and reserved is not None:
            self.books.unmasks(reserved)
        event: Literal["unmasking", "phase"] = (
            "unmasking" if mark.mark is Mark.UNMASKING else "phase"
        )
        self.journal.write(
            Step(
                event,
                round=plan.round,
                attempt=plan.attempt,
                round_id=plan.round_id.hex(),
                phase=mark.phase,
                clients=mark.members,
            )
        )

    def _summed(
        self,
        frozen: RoundPlan,
        outcome: Outcome,
        aggregate: Aggregate,
        attempts: tuple[AttemptRecord, ...],
    ) -> RoundRecord:
        measured = self.model.step(aggregate, outcome.survivors, frozen)
        record = RoundRecord(
            round=frozen.round,
            outcome="sum",
            weight=aggregate.weight,
            clip=frozen.clip,
            attempts=attempts,
            budget=self.books.record if self.books else None,
            simulation_only=measured,
        )
        state = base64.b64encode(self.model.save()).decode()
        self.files.keep(
            _MODEL, msgspec.json.encode(_Checkpoint(record, state, self._clip)).decode()
        )
        return record

    def _ended(
        self,
        number: int,
        outcome: Literal["aborted", "refused"],
        attempts: tuple[AttemptRecord, ...],
        *,
        refusal: str = "",
    ) -> RoundRecord:
        return RoundRecord(
            round=number,
            outcome=outcome,
            weight=0,
            attempts=attempts,
            budget=self.books.record if self.books else None,
            refusal=refusal,
            simulation_only=self.model.idle(),
        )

    def _finish(self) -> RunRecord:
        names = self.journal.past.clients
        guarantee = Guarantee.of(
            self.plan, weakest_cohort(self.plan, len(names)), self.model.length
        )
        rounds = tuple(self._records)
        record = RunRecord(
            fedprivacy=version("fedprivacy"),
            run_id=self.run_id.hex(),
            plan=self.plan,
            plan_hash=self.plan.digest().hex(),
            guarantee=GuaranteeRecord.of(guarantee),
            clients=names,
            rounds=rounds,
            simulation_only=self.model.summary(rounds),
        )
        self.files.finish(record)
        return record


def _read_rounds(path: Path) -> list[RoundRecord]:
    """The rounds that ended; a line that was cut short is taken back."""
    if not path.exists():
        return []
    text = path.read_bytes()
    whole = text.rfind(b"\n") + 1
    if whole < len(text):
        with path.open("r+b") as file:
            file.truncate(whole)
    return [msgspec.json.decode(line, type=RoundRecord) for line in text[:whole].splitlines()]
