"""A job from its first round to its record: identities, stores, rounds, attempts, files."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import BrokenExecutor
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from fedprivacy.crypto import SigningKey
from fedprivacy.errors import BudgetExhausted, ConfigurationError
from fedprivacy.ledger import Reservation
from fedprivacy.randomness import SEED_BYTES, InsecureTestRng, Rng, SystemRng
from fedprivacy.rounds import (
    Guarantee,
    RoundClient,
    RoundMember,
    RoundPlan,
    RoundRecord,
    RoundServer,
    RunRecord,
)
from fedprivacy.rounds.books import Books
from fedprivacy.rounds.record import (
    AttemptRecord,
    GuaranteeRecord,
    NoiseRecord,
    SimulatedRound,
    SimulatedRun,
)
from fedprivacy.rounds.rules import Trust
from fedprivacy.rounds.run_folder import RunFolder
from fedprivacy.rounds.sampling import cohort_fault, committee_for, drawn, weakest_cohort
from fedprivacy.secagg import SHARED_KEYS, Adversary, Cohort, Mark, Persist
from fedprivacy.secagg.homomorphic import WorkerProcess
from fedprivacy.secagg.homomorphic.native import warm
from fedprivacy.simulation.faults import Dropouts
from fedprivacy.simulation.job import Job, Stores
from fedprivacy.simulation.members import Members
from fedprivacy.simulation.training import Training
from fedprivacy.simulation.witness import Witness
from fedprivacy.transport import InProcess, Outcome, PhaseMeter
from fedprivacy.transport.attempts import attempt_record, untried
from fedprivacy.vector import Update, Weights
from fedprivacy.wire import DIGEST_BYTES, Transcript

__all__ = ["Observer", "Simulation"]


class Observer(Protocol):
    """Who watches a run; every method is called from the run's own thread."""

    def round_started(self, number: int, of: int) -> None: ...
    def phase_ended(self, number: int, attempt: int, meter: PhaseMeter) -> None: ...
    def round_ended(self, record: RoundRecord) -> None: ...


@dataclass(slots=True)
class Simulation:
    """One run of a job, all parties in this process.

    Identities, keys, masks and rounding come from `rng`; the job's seed deals the data and nothing
    else. `folder`, where given, receives `rounds.jsonl`, a line synced after each round, and
    `record.json`; where a budget is kept, `ledger.db`, with the key that signs its heads in
    `operator.pub`; the clients' stores lie in it as well, unless the job keeps them in memory.
    `run_id` has 16 bytes and is drawn where it is not given. With a `transcript`, `sums` keeps the
    decoded sums by round id, in hexadecimal, for those who attack the run.
    """

    job: Job
    folder: Path | None = None
    rng: Rng = field(default_factory=SystemRng)
    transcript: Transcript | None = None
    run_id: bytes = b""
    sums: dict[str, NDArray[np.float64]] = field(init=False, default_factory=dict, repr=False)
    training: Training = field(init=False, repr=False)
    _members: Members = field(init=False)
    _books: Books | None = None
    _worker: WorkerProcess | None = None
    _files: RunFolder | None = None
    _cohort: int = field(init=False)
    _clip: float = field(init=False)

    def __post_init__(self) -> None:
        file, plan = self.job.file, self.job.plan
        self.training = Training.start(self.job, rng=InsecureTestRng(file.seed))
        names = tuple(self.training.population.clients)
        # Refuse what no round could make good before anything is written.
        self._cohort = weakest_cohort(plan, len(names))
        self._clip = plan.first_clip
        quorum = plan.quorum(self._cohort)
        self.job.policy.check(plan, threshold=quorum.threshold, cohort=self._cohort)
        for size in (self._cohort, len(names)):  # of the largest sample, each share is smallest
            plan.pipeline(self.training.length, size)
        self.run_id = self.run_id or self.rng.child("run").bytes(16)
        if self.folder is not None:
            self._files = RunFolder.make(self.folder)
        if plan.noise.trust is not Trust.NONE:
            place = ":memory:" if self.folder is None else self.folder / "ledger.db"
            self._books = Books.open(
                plan,
                self.training.length,
                place,
                operator=SigningKey.from_seed(self.rng.child("operator").bytes(SEED_BYTES)),
                reason="simulation",
                clock=lambda: int(time.time()),
                rng=self.rng.child("ledger"),
            )
            if self._files is not None:
                self._files.keep("operator.pub", self._books.operator_text)
        self._members = Members.enrol(
            names,
            committee=plan.aggregation.committee.members,
            with_directory=plan.aggregation.adversary is not Adversary.HONEST_BUT_CURIOUS,
            ceremony=SHARED_KEYS.get(plan.aggregation.protocol),
            folder=self.folder if file.stores is Stores.FILES else None,
            rng=self.rng,
        )
        if self._members.group_key is not None:
            self._worker = WorkerProcess()
            try:
                self._worker.submit(warm, plan.aggregation.protocol).result()
            except BrokenExecutor:
                raise ConfigurationError(
                    "the worker process did not start: a script that starts a run of its own needs "
                    'its lines under `if __name__ == "__main__":`'
                ) from None

    def run(self, observer: Observer) -> RunRecord:
        """Every round of the job, or until its budget is spent; a round may end without a sum."""
        rounds = []
        for number in range(1, self.job.file.rounds + 1):
            observer.round_started(number, self.job.file.rounds)
            record = self._round(number, observer)
            rounds.append(record)
            if self._files is not None:
                self._files.append(record)
            observer.round_ended(record)
            if record.outcome == "refused":
                break
        return self._finish(tuple(rounds))

    def close(self) -> None:
        """Let go of the ledger, the clients' stores and the worker."""
        if self._books is not None:
            self._books.close()
        if self._worker is not None:
            self._worker.shutdown()
        self._members.close()

    # ------------------------------------------------------------------ rounds

    def _round(self, number: int, observer: Observer) -> RoundRecord:
        plan = self.job.plan
        asked = drawn(self._members.names, plan.sampling, rng=self.rng.child(f"sample/{number}"))
        if plan.sampling.scheme != "all" and cohort_fault(plan, len(asked)):
            return self._without_sum(number, "aborted", (untried(),))
        cohort = Cohort.of(asked, rng=self.rng.child(f"cohort/{number}"))
        # One for all attempts at a round.
        committee = committee_for(plan, cohort.members, rng=self.rng.child(f"committee/{number}"))
        attempts: list[AttemptRecord] = []
        out: set[str] = set()
        try:
            for outcome, frozen, witness in self._attempts(
                number, cohort, committee, out, observer
            ):
                record = attempt_record(frozen, outcome)
                attempts.append(record)
                if outcome.aggregate is not None:
                    return self._summed(frozen, outcome, witness, tuple(attempts))
                out |= {*outcome.refused, *outcome.excluded, *record.culprits}
        except BudgetExhausted as error:
            return self._without_sum(number, "refused", tuple(attempts), str(error))
        return self._without_sum(number, "aborted", tuple(attempts))

    def _attempts(
        self,
        number: int,
        cohort: Cohort,
        committee: Cohort | None,
        out: set[str],
        observer: Observer,
    ) -> Iterator[tuple[Outcome, RoundPlan, Witness]]:
        """Attempts over one cohort; none after clients were asked for an answer: they give one."""
        for attempt in range(1, self.job.plan.aggregation.attempts + 1):
            outcome, frozen, witness = self._attempt(
                number, attempt, cohort, committee, out, observer
            )
            yield outcome, frozen, witness
            if outcome.answers_requested:
                return

    def _attempt(
        self,
        number: int,
        attempt: int,
        cohort: Cohort,
        committee: Cohort | None,
        out: set[str],
        observer: Observer,
    ) -> tuple[Outcome, RoundPlan, Witness]:
        books, reserved = self._books, None
        if books is not None:
            reserved = books.reserve(self.run_id, number, attempt, len(cohort.members))
        head = books.head() if books is not None else None
        training, witness, key = self.training, Witness(), self._members.group_key
        broadcast = training.broadcast
        plan = RoundPlan.freeze(
            self.job.plan,
            cohort,
            run_id=self.run_id,
            number=number,
            attempt=attempt,
            broadcast=broadcast,
            length=training.length,
            directory=self._members.directory,
            ledger_head=head.head if head else bytes(DIGEST_BYTES),
            clip=self._clip,
            committee=committee,
            rng=self.rng.child(f"nonce/{number}/{attempt}"),
        )
        clients = {
            name: RoundClient(
                self.job.policy,
                self._members.identities[name],
                self._members.store(name),
                rng=witness.watched(name, self.rng.child(f"client/{name}/{number}/{attempt}")),
                group_key=key,
            )
            for name in cohort.members
        }
        members = {
            name: RoundMember(
                self.job.policy,
                self._members.identities[name],
                self._members.store(name),
                rng=self.rng.child(f"member/{name}/{number}/{attempt}"),
            )
            for name in (committee.members if committee else ())
        }
        server = RoundServer(
            plan,
            cohort,
            self._members.directory,
            broadcast,
            rng=witness.watched("", self.rng.child(f"graph/{number}/{attempt}")),
            ledger=head,
            pool=self._worker,
            committee=committee,
            admission=None if key is None else key.server_part,
        )
        drive = InProcess(
            server,
            clients,
            self._train,
            committee=members,
            channel=Dropouts.of_round(self.job.file.faults.drop, number),
            journal=lambda mark: self._journal(mark, reserved),
            observe=lambda meter: observer.phase_ended(number, attempt, meter),
            transcript=self.transcript,
        )
        outcome = drive.run([name for name in {**clients, **members} if name not in out])
        if books is not None and reserved is not None:
            known = outcome.unmasking_requested
            books.close_attempt(reserved, may_be_known=known)
            if known:
                drive.settle(books.head())
        self._clip = server.next_clip
        return outcome, plan, witness

    def _journal(self, mark: Persist, reserved: Reservation | None) -> None:
        if mark.mark is Mark.UNMASKING and self._books is not None and reserved is not None:
            self._books.unmasks(reserved)

    def _train(self, name: str, client: RoundClient) -> Update:
        return self.training.update_of(name, client.broadcast)

    def _summed(
        self,
        frozen: RoundPlan,
        outcome: Outcome,
        witness: Witness,
        attempts: tuple[AttemptRecord, ...],
    ) -> RoundRecord:
        aggregate = outcome.aggregate
        if aggregate is None:
            raise ConfigurationError("there is no sum to record")
        if self.transcript is not None:
            self.sums[frozen.round_id.hex()] = aggregate.sum
        plan, noise = frozen.plan, witness.noise(frozen, outcome.survivors)
        difference = self.training.step(aggregate, outcome.survivors, noise.values, frozen.clip)
        summed = plan.update.weights is Weights.SUMMED
        counted = aggregate.weight if summed else len(outcome.survivors)
        bound = frozen.pipeline.quantisation_bound(counted)
        simulated = self._simulated(difference, bound, outcome.training_seconds, noise.record)
        return RoundRecord(
            round=frozen.round,
            outcome="sum",
            weight=aggregate.weight,
            clip=frozen.clip,
            attempts=attempts,
            budget=self._books.record if self._books else None,
            simulation_only=simulated,
        )

    def _without_sum(
        self,
        number: int,
        outcome: Literal["aborted", "refused"],
        attempts: tuple[AttemptRecord, ...],
        refusal: str = "",
    ) -> RoundRecord:
        return RoundRecord(
            round=number,
            outcome=outcome,
            weight=0,
            attempts=attempts,
            budget=self._books.record if self._books else None,
            refusal=refusal,
            simulation_only=self._simulated(0.0, 0.0, 0.0, None),
        )

    def _simulated(
        self, difference: float, bound: float, seconds: float, noise: NoiseRecord | None
    ) -> SimulatedRound:
        protected, unprotected = self.training.accuracies()
        return SimulatedRound(
            accuracy=protected,
            accuracy_unprotected=unprotected,
            largest_difference=difference,
            quantisation_bound=bound,
            training_seconds=seconds,
            noise=noise,
        )

    # ------------------------------------------------------------------ files

    def _finish(self, rounds: tuple[RoundRecord, ...]) -> RunRecord:
        plan, held_out = self.job.plan, self.training.population.held_out
        simulated = [r.simulation_only for r in rounds if r.outcome == "sum" and r.simulation_only]
        protected, unprotected = self.training.accuracies()
        closest = max(
            simulated,
            key=lambda s: (s.largest_difference or 0.0) / s.quantisation_bound,
            default=None,
        )
        record = RunRecord(
            fedprivacy=version("fedprivacy"),
            run_id=self.run_id.hex(),
            plan=plan,
            plan_hash=plan.digest().hex(),
            guarantee=GuaranteeRecord.of(Guarantee.of(plan, self._cohort, self.training.length)),
            clients=self._members.names,
            rounds=rounds,
            simulation_only=SimulatedRun(
                seed=self.job.file.seed,
                held_out=len(held_out),
                majority=held_out.majority,
                accuracy=protected,
                accuracy_unprotected=unprotected,
                largest_difference=closest.largest_difference if closest else 0.0,
                quantisation_bound=closest.quantisation_bound if closest else 0.0,
            ),
        )
        if self._files is not None:
            self._files.finish(record)
        return record
