"""The private rounds of one run over a Grid: whom to ask, what it costs, what came of it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import BrokenExecutor
from dataclasses import dataclass, field
from importlib.metadata import version

from flwr.app import Array, ArrayRecord, Message, MetricRecord, RecordDict
from flwr.serverapp import Grid

from fedprivacy.accounting import downwards, upwards
from fedprivacy.errors import ConfigurationError
from fedprivacy.flower.members import Members
from fedprivacy.flower.parameters import Parameters, floating_names
from fedprivacy.flower.private_round import PrivateRound
from fedprivacy.flower.template import common_message
from fedprivacy.flower.terms import Terms
from fedprivacy.rounds import Guarantee, Plan, RoundRecord, RunRecord
from fedprivacy.rounds.auto import settle
from fedprivacy.rounds.books import Books
from fedprivacy.rounds.record import GuaranteeRecord
from fedprivacy.rounds.rules import Trust
from fedprivacy.rounds.run_folder import RunFolder
from fedprivacy.rounds.sampling import smallest_cohort
from fedprivacy.secagg.homomorphic import WorkerProcess
from fedprivacy.secagg.homomorphic.native import warm
from fedprivacy.vector import Aggregate

__all__ = ["PrivateRun"]

_LOG = logging.getLogger("flwr.fedprivacy")


@dataclass(slots=True)
class PrivateRun:
    """One run: every batch of messages becomes one private round."""

    terms: Terms
    run_id: bytes
    members: Members
    plan: Plan
    """With its protocol settled, once the first round has begun."""
    beside: PrivateRun | None = None
    """The run whose result goes down with this one, where one starts both."""
    clip: float = 0.0
    """The norm in force in the next round; zero: a run's first."""
    ended: str = ""
    """Why no further round takes place; empty while there may be one."""
    _parameters: Parameters | None = None
    _books: Books | None = None
    _files: RunFolder | None = None
    _worker: WorkerProcess | None = None
    """Loads what nodes send, where that is ciphertexts."""
    _rounds: list[RoundRecord] = field(default_factory=list)
    _clients: set[str] = field(default_factory=set)
    _cohort: int = 0
    """The smallest with which a round was tried: of it the guarantee speaks."""

    @classmethod
    def start(cls, terms: Terms, *, beside: PrivateRun | None = None) -> PrivateRun:
        """A run without rounds; the folder, if any, is made now."""
        run_id = terms.rng.child("run").bytes(16)
        members = Members(run_id, terms.plan, terms.directory, terms.phase_timeout)
        files = None if terms.folder is None else RunFolder.make(terms.folder)
        return cls(terms, run_id, members, terms.plan, beside, _files=files)

    def round(self, grid: Grid, messages: Sequence[Message], *, timeout: float) -> list[Message]:
        """One private round of training over the nodes of these messages.

        What the strategy gets in the place of their replies: one, of the model with the mean added,
        or none where there is no sum. `timeout` is in seconds, of the training alone.
        """
        aggregate = self.sum(grid, messages, timeout=timeout)
        if aggregate is None or self._parameters is None:
            return []
        ((name, arrays),) = messages[0].content.array_records.items()
        found = Parameters.of(arrays, self._parameters.names)
        moved: ArrayRecord = found.moved(arrays, aggregate.mean)
        weight = MetricRecord({self.terms.weighted_by: aggregate.weight})
        return [Message(RecordDict({name: moved, "metrics": weight}), reply_to=messages[0])]

    def sum(
        self,
        grid: Grid,
        messages: Sequence[Message],
        arrays: Mapping[str, Array] | None = None,
        *,
        timeout: float,
    ) -> Aggregate | None:
        """The sum of what the nodes of these messages compute; None where there is none.

        It has the names and shapes of `arrays`, by default the arrays that are sent. `last` and
        `ended` say why there is none.
        """
        if self.ended:
            _LOG.info("no round: %s", self.ended)
            return None
        try:
            return self._sum(grid, messages, arrays, timeout)
        except ConfigurationError as error:
            # What never worked is told at once; what has worked so far is not lost with its result.
            if not self.had_sum:
                raise
            self._end(str(error))
            return None

    def _sum(
        self,
        grid: Grid,
        messages: Sequence[Message],
        arrays: Mapping[str, Array] | None,
        timeout: float,
    ) -> Aggregate | None:
        template = common_message(messages)
        nodes = [message.metadata.dst_node_id for message in messages]
        if arrays is None:
            (arrays,) = template.content.array_records.values()
        number, parameters = len(self._rounds) + 1, self._known_parameters(arrays, len(nodes))
        if self.plan.noise.trust is not Trust.NONE and number > self.plan.noise.rounds:
            self._end(f"plan.noise.rounds = {self.plan.noise.rounds} have taken place")
            return None
        named = self.plan.aggregation.committee.members
        met = self.members.meet(grid, nodes, template.metadata.message_type)
        # A member whose first hello was late is known by now: it opens sums and does not train.
        clients = {node: name for node, name in met.items() if name not in named}
        seats = self._seats(grid, template.metadata.message_type)
        step = PrivateRound(self, grid, number, template, parameters, clients, seats, timeout)
        record, aggregate = step.run()
        self._rounds.append(record)
        self._write(lambda files: files.append(record))
        self._tell(record)
        return aggregate

    def finish(self) -> None:
        """Write the record, where a folder was named, and let go of the ledger."""
        if self._cohort:
            self._write(lambda files: files.finish(self._record()))
        if self._files is not None:
            self._files.leave()
        if self._books is not None:
            self._books.close()
        if self._worker is not None:
            self._worker.shutdown()

    def _write(self, what: Callable[[RunFolder], None]) -> None:
        """Do this to the folder, if there is one; what it does not hold costs no result."""
        if self._files is None:
            return
        try:
            what(self._files)
        except OSError as error:
            _LOG.error("the run's record lacks what is not written: %s", error)

    def _seats(self, grid: Grid, message_type: str) -> dict[str, int]:
        """The nodes of the members of the committee whom the plan names; none where it names none.

        Raises `ConfigurationError` where so many are nowhere that they open nothing.
        """
        rules, at = self.plan.aggregation.committee, self.members.nodes
        if rules.members:
            connected = list(grid.get_node_ids())
            if any(at.get(name) not in connected for name in rules.members):
                self.members.meet(grid, connected, message_type)
                at = self.members.nodes
        seats = {name: at[name] for name in rules.members if name in at}
        missing = [name for name in rules.members if name not in at]
        if missing and len(seats) < rules.opens_with:
            raise ConfigurationError(
                f"plan.aggregation.committee: {', '.join(missing)} at no node, and {len(seats)} of "
                f"{rules.count} members are there where {rules.opens_with} open a sum: start their "
                f"SuperNodes with their own client.toml; {self.members.problem}"
            )
        for name in missing:
            _LOG.warning("plan.aggregation.committee: %s lives at no node", name)
        return seats

    # ------------------------------------------------------------------ the first round

    def _known_parameters(self, arrays: Mapping[str, Array], nodes: int) -> Parameters:
        if self._parameters is None:
            self._parameters = Parameters.of(arrays, floating_names(arrays))
            settled = settle(self.plan, smallest_cohort(self.plan, nodes))
            if settled.why:
                _LOG.info("%s", settled.why)
            self.plan = settled.plan
            self._open_books(self._parameters.length)
            self._start_worker()
        # What was summed once is summed ever after: some strategies turn whole numbers into floats,
        # or float32 into float64.
        found = Parameters.of(arrays, self._parameters.names)
        if found.shapes != self._parameters.shapes:
            raise ConfigurationError("the model has other arrays than in the first round: keep one")
        found.check_finite(arrays)
        return found

    def _open_books(self, length: int) -> None:
        ledger, operator = self.terms.ledger, self.terms.operator
        if self.plan.noise.trust is Trust.NONE or ledger is None or operator is None:
            return
        _LOG.info("the budget is charged in the ledger %s", self.terms.kept_at)
        self._books = Books.open(
            self.plan,
            length,
            ledger,
            operator=operator,
            reason="Flower",
            clock=lambda: int(time.time()),
            rng=self.terms.rng.child("ledger"),
        )

    def _start_worker(self) -> None:
        if self.terms.admission is None:
            return
        self._worker = WorkerProcess()
        try:
            self._worker.submit(warm, self.plan.aggregation.protocol).result()
        except BrokenExecutor:
            raise ConfigurationError(
                "the worker process, in which ciphertexts are read, did not start: see what it "
                "wrote to stderr"
            ) from None

    # ------------------------------------------------------------------ what is told

    def _end(self, why: str) -> None:
        self.ended = why
        _LOG.warning("no further round takes place: %s", why)

    def _tell(self, record: RoundRecord) -> None:
        budget = ""
        if record.budget is not None:
            spent, limit = upwards(record.budget.epsilon, 3), downwards(record.budget.limit, 3)
            of = f"{spent} of {limit}"
            budget = f"; epsilon {of} is charged for one {record.budget.unit}"
        last = record.attempts[-1] if record.attempts else None
        if record.outcome == "refused":
            self._end(record.refusal)
        elif record.outcome == "sum" and last is not None:
            _LOG.info("the sum of %d clients, one by one unseen%s", len(last.survivors), budget)
        else:
            why = last.reason if last is not None else "aborted"
            _LOG.warning("a round without a sum (%s)%s", why, budget)
        for name, what in _problems(record):
            _LOG.warning("%s: %s", name, what)

    def _record(self) -> RunRecord:
        return RunRecord(
            fedprivacy=version("fedprivacy"),
            run_id=self.run_id.hex(),
            plan=self.plan,
            plan_hash=self.plan.digest().hex(),
            guarantee=GuaranteeRecord.of(self._guarantee(self._cohort)),
            clients=tuple(sorted(self._clients)),
            rounds=tuple(self._rounds),
        )

    # ------------------------------------------------------------------ for a round

    @property
    def books(self) -> Books | None:
        return self._books

    @property
    def worker(self) -> WorkerProcess | None:
        return self._worker

    @property
    def last(self) -> RoundRecord | None:
        """The last round that was begun."""
        return self._rounds[-1] if self._rounds else None

    @property
    def had_sum(self) -> bool:
        """Whether there is a result to lose, of this run or of the one beside it."""
        if self.beside is not None and self.beside.had_sum:
            return True
        return any(record.outcome == "sum" for record in self._rounds)

    def note_cohort(self, names: Sequence[str]) -> None:
        """A round with these clients is tried."""
        self._clients |= set(names)
        if not self._cohort:
            for line in str(self._guarantee(len(names))).splitlines():
                _LOG.info("%s", line)
        self._cohort = min(self._cohort or len(names), len(names))

    def _guarantee(self, cohort: int) -> Guarantee:
        length = 1 if self._parameters is None else self._parameters.length
        return Guarantee.of(self.plan, cohort, length, runs_any_app=self.terms.runs_any_app)


def _problems(record: RoundRecord) -> Iterator[tuple[str, str]]:
    for attempt in record.attempts:
        for name, reason in attempt.refused.items():
            yield name, f"declined ({reason}): its own log says why"
        for name, reason in attempt.excluded.items():
            yield name, f"sent what no honest client sends ({reason})"
        for name in sorted({name for phase in attempt.phases for name in phase.lost}):
            yield name, "was lost"
