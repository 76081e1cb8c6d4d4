"""One attempt at a round with every party in this process.

Messages are delivered in order, one at a time. A `Channel` stands between the parties and may lose,
change, repeat or reorder what passes: faults are injected there. A phase's deadline passes when
nothing is under way any more.
"""

from __future__ import annotations

import enum
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from time import perf_counter

from fedprivacy.errors import FedPrivacyError, PeerError, Reason, RoundAborted
from fedprivacy.ledger import SignedHead
from fedprivacy.rounds import RoundClient, RoundMember, RoundServer
from fedprivacy.rounds.messages import is_of_committee
from fedprivacy.secagg import SERVER, Aborted, Done, Effect, Persist, Send
from fedprivacy.vector import Aggregate, Update
from fedprivacy.wire import Transcript

__all__ = ["Channel", "Delivery", "InProcess", "Outcome", "PhaseMeter", "Role"]


@dataclass(frozen=True, slots=True)
class Delivery:
    """A message under way, in the server's phase at the time it was sent."""

    sender: str
    recipient: str
    phase: str
    message: bytes = field(repr=False)

    @property
    def client(self) -> str:
        """The end that is not the server."""
        return self.recipient if self.sender == SERVER else self.sender


Channel = Callable[[Delivery], Iterable[Delivery]]
"""What becomes of a message: nothing, itself, or others."""


def _faithful(delivery: Delivery) -> Iterable[Delivery]:
    return (delivery,)


class Role(enum.Enum):
    """As what a party computes."""

    CLIENT = "client"
    SERVER = "server"
    MEMBER = "member"
    """Of a committee."""


def _role(delivery: Delivery) -> Role:
    if delivery.recipient == SERVER:
        return Role.SERVER
    return Role.MEMBER if is_of_committee(delivery.message) else Role.CLIENT


@dataclass(slots=True)
class PhaseMeter:
    """What one phase took: computing seconds of all, bytes by client and member, who was lost."""

    phase: str
    seconds: float = 0.0
    up: Counter[str] = field(default_factory=Counter)
    down: Counter[str] = field(default_factory=Counter)
    committee_up: Counter[str] = field(default_factory=Counter)
    committee_down: Counter[str] = field(default_factory=Counter)
    """Those of members of a committee, as such."""
    lost: tuple[str, ...] = ()
    seconds_by_role: dict[Role, float] = field(default_factory=dict)

    def spend(self, role: Role, seconds: float) -> None:
        """Count what a party computed."""
        self.seconds += seconds
        self.seconds_by_role[role] = self.seconds_by_role.get(role, 0.0) + seconds


@dataclass(slots=True)
class Outcome:
    """How an attempt ended: an aggregate over survivors, or an error; and what it took."""

    phases: list[PhaseMeter]
    aggregate: Aggregate | None = None
    survivors: tuple[str, ...] = ()
    error: RoundAborted | None = None
    refused: dict[str, Reason] = field(default_factory=dict)
    excluded: dict[str, PeerError] = field(default_factory=dict)
    failed: dict[str, FedPrivacyError] = field(default_factory=dict)
    """What ended each client that ended badly: on its own side, in its own words."""
    failed_members: dict[str, FedPrivacyError] = field(default_factory=dict)
    answers_requested: bool = False
    unmasking_requested: bool = False
    training_seconds: float = 0.0


class InProcess:
    """Drives one attempt to its end.

    `train` makes a client's update once the client has accepted the plan. `committee` are the
    members of one, by name; a client may be among them. `journal` commits what
    the server must have on durable storage; `observe` hears of each phase that is over.
    """

    def __init__(
        self,
        server: RoundServer,
        clients: Mapping[str, RoundClient],
        train: Callable[[str, RoundClient], Update],
        *,
        committee: Mapping[str, RoundMember] | None = None,
        channel: Channel = _faithful,
        journal: Callable[[Persist], None] = lambda _: None,
        observe: Callable[[PhaseMeter], None] = lambda _: None,
        transcript: Transcript | None = None,
    ) -> None:
        self._server = server
        self._clients = clients
        self._committee = committee or {}
        self._train = train
        self._channel = channel
        self._journal = journal
        self._observe = observe
        self._transcript = transcript
        self._queue: deque[Delivery] = deque()
        self._trained: set[str] = set()
        self._meter = PhaseMeter(server.phase)
        self._outcome = Outcome([])
        self._over = False

    def run(self, members: Iterable[str] | None = None) -> Outcome:
        """The attempt's outcome; `members` are those to ask, by default everyone."""
        asked = tuple([*self._clients, *self._committee] if members is None else members)
        self._carry_out(SERVER, self._server.invite(asked))
        while not self._over:
            self._deliver_all()
            self._close_phase()
        self._outcome.refused = self._server.refused
        self._outcome.answers_requested = self._server.answers_requested
        self._outcome.unmasking_requested = self._server.unmasking_requested
        self._outcome.aggregate = self._server.aggregate
        return self._outcome

    def settle(self, ledger: SignedHead) -> None:
        """After the run: give everyone who took part a receipt, the head signed since.

        What that takes counts to the last phase.
        """
        self._meter = self._outcome.phases[-1]
        self._carry_out(SERVER, self._server.settled(ledger))
        self._deliver_all()

    # ------------------------------------------------------------------ phases

    def _deliver_all(self) -> None:
        while self._queue:
            delivery = self._queue.popleft()
            started = perf_counter()
            idle = self._outcome.training_seconds
            if delivery.recipient == SERVER:
                self._to_server(delivery)
            elif is_of_committee(delivery.message):
                self._to_member(delivery)
            else:
                self._to_client(delivery)
            trained = self._outcome.training_seconds - idle
            self._meter.spend(_role(delivery), perf_counter() - started - trained)

    def _close_phase(self) -> None:
        self._meter.lost = tuple(sorted(self._server.waiting_for))
        closing, self._meter = self._meter, PhaseMeter("")
        self._outcome.phases.append(closing)
        started = perf_counter()
        effects = list(self._server.advance())
        closing.spend(Role.SERVER, perf_counter() - started)
        self._meter.phase = self._server.phase
        self._observe(closing)
        self._carry_out(SERVER, effects)

    # ------------------------------------------------------------------ parties

    def _to_server(self, delivery: Delivery) -> None:
        try:
            self._carry_out(SERVER, self._server.receive(delivery.sender, delivery.message))
        except PeerError as error:
            for culprit in error.culprits:
                self._outcome.excluded.setdefault(culprit, error)

    def _to_client(self, delivery: Delivery) -> None:
        name = delivery.recipient
        client = self._clients.get(name)
        if client is None or name in self._outcome.failed:
            return
        self._attempt(name, client, client.receive(delivery.sender, delivery.message))
        if client.round_plan is not None and name not in self._trained:
            self._trained.add(name)
            self._attempt(name, client, self._contribution(name, client))

    def _to_member(self, delivery: Delivery) -> None:
        name = delivery.recipient
        member = self._committee.get(name)
        if member is None or name in self._outcome.failed_members:
            return
        try:
            self._carry_out(name, member.receive(delivery.sender, delivery.message))
        except FedPrivacyError as error:
            if member.has_left:
                self._outcome.failed_members.setdefault(name, error)

    def _contribution(self, name: str, client: RoundClient) -> Iterator[Effect]:
        started = perf_counter()
        update = self._train(name, client)
        self._outcome.training_seconds += perf_counter() - started
        yield from client.contribute(update)

    def _attempt(self, name: str, client: RoundClient, effects: Iterator[Effect]) -> None:
        try:
            self._carry_out(name, effects)
        except FedPrivacyError as error:
            if client.has_left:
                self._outcome.failed.setdefault(name, error)

    # ------------------------------------------------------------------ effects

    def _carry_out(self, sender: str, effects: Iterable[Effect]) -> None:
        for effect in effects:
            match effect:
                case Send(recipient, message):
                    self._send(Delivery(sender, recipient, self._server.phase, message))
                case Persist():
                    self._journal(effect)
                case Done(survivors=survivors) if sender == SERVER:
                    self._over = True
                    self._outcome.survivors = survivors
                case Aborted(error):
                    self._over = True
                    self._outcome.error = error
                case _:
                    pass  # a client that is done

    def _send(self, delivery: Delivery) -> None:
        for arriving in self._channel(delivery):
            self._traffic(arriving)[arriving.client] += len(arriving.message)
            if self._transcript is not None:
                self._transcript.add(
                    arriving.sender, arriving.recipient, arriving.phase, arriving.message
                )
            self._queue.append(arriving)

    def _traffic(self, arriving: Delivery) -> Counter[str]:
        meter, upwards = self._meter, arriving.recipient == SERVER
        if is_of_committee(arriving.message):
            return meter.committee_up if upwards else meter.committee_down
        return meter.up if upwards else meter.down
