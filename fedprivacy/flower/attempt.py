"""One attempt at a round over a Grid: an exchange a phase, until the server's side is done."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from time import perf_counter

from flwr.app import Message, RecordDict
from flwr.serverapp import Grid

from fedprivacy.errors import PeerError
from fedprivacy.flower.polling import replies, time_to_live
from fedprivacy.flower.records import Answer, Exchange, pack, unpack
from fedprivacy.rounds import RoundServer
from fedprivacy.secagg import COMMITTEES, Aborted, Done, Effect, Persist, Send, SendToMember
from fedprivacy.transport import Outcome, PhaseMeter, Role

__all__ = ["GridAttempt", "Timeouts"]

_INPUT = "input"
"""The phase in which clients send what they trained."""

_Party = tuple[Role, str]
"""One identity may be a client and a member."""


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds that nodes have to answer."""

    phase: float
    training: float


@dataclass(slots=True)
class GridAttempt:
    """Drives one attempt to its end; each phase is one message to each node, and its reply.

    What is for a party waits until a phase in which it has to answer. So where a committee opens
    the sum a client has one message, with all that it needs to train and to send its input, and a
    member one in each of the other phases.

    `template` is an ordinary message of the round: what clients train on, and where it is sent.
    A node that does not answer, or answers with an error, is lost; one that sends what no honest
    party does is out, and nobody else.
    """

    grid: Grid
    server: RoundServer
    nodes: Mapping[str, int]
    """By client and member."""
    template: Message
    broadcast: bytes
    timeouts: Timeouts
    journal: Callable[[Persist], None]
    _outcome: Outcome = field(default_factory=lambda: Outcome([]))
    _over: bool = False
    _begun: set[_Party] = field(default_factory=set)
    _mail: dict[_Party, list[bytes]] = field(default_factory=lambda: defaultdict(list))

    def run(self, members: Iterable[str]) -> Outcome:
        """The attempt's outcome; `members` are those to invite."""
        self._carry_out(self.server.invite(members))
        meter = PhaseMeter(self.server.phase)
        while not self._over:
            self._exchange(meter)
            meter.lost = tuple(sorted(self.server.waiting_for))
            started = perf_counter()
            self._carry_out(self.server.advance())
            meter.seconds += perf_counter() - started
            self._outcome.phases.append(meter)
            meter = PhaseMeter(self.server.phase)
        outcome, server = self._outcome, self.server
        outcome.refused = server.refused
        outcome.answers_requested = server.answers_requested
        outcome.unmasking_requested = server.unmasking_requested
        outcome.aggregate = server.aggregate
        return outcome

    @property
    def _role(self) -> Role:
        """Who answers in the present phase."""
        if self.server.phase == _INPUT or self.server.plan.aggregation.protocol not in COMMITTEES:
            return Role.CLIENT
        return Role.MEMBER

    def _exchange(self, meter: PhaseMeter) -> None:
        """One message to each party that has mail and has to answer; what comes back in time."""
        role, trains = self._role, self.server.phase == _INPUT
        parties = {self.nodes[party[1]]: party for party in self._mail if party[0] is role}
        messages = []
        for party in parties.values():
            frames = self._mail.pop(party)
            _traffic(meter, role)[0][party[1]] += sum(map(len, frames))
            messages.append(self._message(party, frames, trains=trains))
        if not messages:
            return
        for node, reply in replies(self.grid, messages, timeout=self._timeout(trains=trains)):
            started = perf_counter()
            self._take(parties[node], reply, meter)
            meter.seconds += perf_counter() - started
            if self._over:
                return

    def _timeout(self, *, trains: bool) -> float:
        return self.timeouts.training if trains else self.timeouts.phase

    def _message(self, party: _Party, frames: list[bytes], *, trains: bool) -> Message:
        begins = 0 if party in self._begun else 1
        self._begun.add(party)
        order = Exchange(begins, tuple(frames), self.broadcast if trains else b"")
        beside: RecordDict | None = self.template.content if trains else None
        about = self.template.metadata
        return Message(
            pack(order, beside),
            dst_node_id=self.nodes[party[1]],
            message_type=about.message_type,
            group_id=about.group_id,
            ttl=time_to_live(about.ttl, self._timeout(trains=trains)),
        )

    def _take(self, party: _Party, reply: Message, meter: PhaseMeter) -> None:
        role, name = party
        if not reply.has_content():
            return  # lost: it is waited for until the phase closes
        try:
            frames = unpack(reply.content, Answer).frames
        except PeerError as error:
            self.server.exclude(name)
            self._outcome.excluded.setdefault(name, error.blame(name))
            return
        _traffic(meter, role)[1][name] += sum(map(len, frames))
        for frame in frames:
            try:
                self._carry_out(self.server.receive(name, frame))
            except PeerError as error:
                for culprit in error.culprits:
                    self._outcome.excluded.setdefault(culprit, error)
                return  # no honest answer goes on after it, and there may be millions

    def _carry_out(self, effects: Iterable[Effect]) -> None:
        for effect in effects:
            match effect:
                case SendToMember(recipient, message):
                    self._mail[Role.MEMBER, recipient].append(message)
                case Send(recipient, message):
                    self._mail[Role.CLIENT, recipient].append(message)
                case Persist():
                    self.journal(effect)
                case Done(survivors=survivors):
                    self._over = True
                    self._outcome.survivors = survivors
                case Aborted(error):
                    self._over = True
                    self._outcome.error = error


def _traffic(meter: PhaseMeter, role: Role) -> tuple[Counter[str], Counter[str]]:
    """What went down, and what came up, to and from parties in this role."""
    if role is Role.MEMBER:
        return meter.committee_down, meter.committee_up
    return meter.down, meter.up
