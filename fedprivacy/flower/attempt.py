"""One attempt at a round over a Grid: an exchange a phase, until the server's side is done."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from time import perf_counter

from flwr.app import Message, RecordDict
from flwr.serverapp import Grid

from fedprivacy.errors import PeerError
from fedprivacy.flower.polling import replies
from fedprivacy.flower.records import Answer, Exchange, pack, unpack
from fedprivacy.rounds import RoundServer
from fedprivacy.secagg import Aborted, Done, Effect, Persist, Send
from fedprivacy.transport import Outcome, PhaseMeter

__all__ = ["GridAttempt", "Timeouts"]

_INPUT = "input"
"""The phase in which clients send what they trained."""


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds that nodes have to answer."""

    phase: float
    training: float


@dataclass(slots=True)
class GridAttempt:
    """Drives one attempt to its end; each phase is one message to each node, and its reply.

    `template` is an ordinary message of the round: what clients train on, and where it is sent.
    A node that does not answer, or answers with an error, is lost; one that sends what no honest
    client does is out, and nobody else.
    """

    grid: Grid
    server: RoundServer
    nodes: Mapping[str, int]
    """By client."""
    template: Message
    broadcast: bytes
    timeouts: Timeouts
    journal: Callable[[Persist], None]
    _outcome: Outcome = field(default_factory=lambda: Outcome([]))
    _over: bool = False
    _invited: bool = False

    def run(self, members: Iterable[str]) -> Outcome:
        """The attempt's outcome; `members` are those to invite."""
        outbox, meter = self._carry_out(self.server.invite(members)), PhaseMeter(self.server.phase)
        while not self._over:
            self._exchange(outbox, meter)
            meter.lost = tuple(sorted(self.server.waiting_for))
            started = perf_counter()
            outbox = self._carry_out(self.server.advance())
            meter.seconds += perf_counter() - started
            self._outcome.phases.append(meter)
            meter = PhaseMeter(self.server.phase)
        outcome, server = self._outcome, self.server
        outcome.refused = server.refused
        outcome.answers_requested = server.answers_requested
        outcome.unmasking_requested = server.unmasking_requested
        outcome.aggregate = server.aggregate
        return outcome

    def _exchange(self, outbox: Mapping[str, list[bytes]], meter: PhaseMeter) -> None:
        """One message to each client that has mail, and whatever comes back in time."""
        trains = self.server.phase == _INPUT
        messages = [self._message(name, frames, trains=trains) for name, frames in outbox.items()]
        meter.down.update({name: sum(map(len, frames)) for name, frames in outbox.items()})
        self._invited = True
        clients = {self.nodes[name]: name for name in outbox}
        timeout = self.timeouts.training if trains else self.timeouts.phase
        for node, reply in replies(self.grid, messages, timeout=timeout):
            started = perf_counter()
            self._take(clients[node], reply, meter)
            meter.seconds += perf_counter() - started
            if self._over:
                return

    def _message(self, name: str, frames: list[bytes], *, trains: bool) -> Message:
        begins = 0 if self._invited else 1
        order = Exchange(begins, tuple(frames), self.broadcast if trains else b"")
        beside: RecordDict | None = self.template.content if trains else None
        about = self.template.metadata
        return Message(
            pack(order, beside),
            dst_node_id=self.nodes[name],
            message_type=about.message_type,
            group_id=about.group_id,
            ttl=about.ttl,
        )

    def _take(self, name: str, reply: Message, meter: PhaseMeter) -> None:
        if not reply.has_content():
            return  # lost: it is waited for until the phase closes
        try:
            frames = unpack(reply.content, Answer).frames
        except PeerError as error:
            self.server.exclude(name)
            self._outcome.excluded.setdefault(name, error.blame(name))
            return
        meter.up[name] += sum(map(len, frames))
        for frame in frames:
            try:
                self._carry_out(self.server.receive(name, frame))
            except PeerError as error:
                for culprit in error.culprits:
                    self._outcome.excluded.setdefault(culprit, error)

    def _carry_out(self, effects: Iterable[Effect]) -> dict[str, list[bytes]]:
        """What is to be sent, by client."""
        outbox: dict[str, list[bytes]] = defaultdict(list)
        for effect in effects:
            match effect:
                case Send(recipient, message):
                    outbox[recipient].append(message)
                case Persist():
                    self.journal(effect)
                case Done(survivors=survivors):
                    self._over = True
                    self._outcome.survivors = survivors
                case Aborted(error):
                    self._over = True
                    self._outcome.error = error
        return dict(outbox)
