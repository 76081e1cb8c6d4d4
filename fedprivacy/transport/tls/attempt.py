"""One attempt at a round over a hub: a phase at a time, until the server's side is done."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from time import perf_counter

from fedprivacy.errors import PeerError
from fedprivacy.ledger import SignedHead
from fedprivacy.rounds import RoundServer
from fedprivacy.rounds.messages import is_of_committee
from fedprivacy.secagg import Aborted, Done, Effect, Persist, Send
from fedprivacy.transport.inprocess import Outcome, PhaseMeter
from fedprivacy.transport.tls.hub import Arrived, Broke, Hub, HubEvent, Joined, Left

__all__ = ["TlsAttempt", "Waits"]

_INPUT = "input"
"""The phase in which clients send what they trained."""


@dataclass(frozen=True, slots=True)
class Waits:
    """Seconds that a party has to answer a phase, and to come back when a connection broke."""

    phase: float
    training: float
    reconnect: float


@dataclass(slots=True)
class TlsAttempt:
    """Drives one attempt to its end.

    A phase is over when everyone who is still there has answered, or its time has passed. A client,
    or a member of the committee, whose connection breaks has `waits.reconnect` seconds to come
    back; one that begins a new session is out of this attempt, in both roles.
    """

    hub: Hub
    server: RoundServer
    waits: Waits
    journal: Callable[[Persist], None] = lambda _: None
    observe: Callable[[PhaseMeter], None] = lambda _: None
    _outcome: Outcome = field(default_factory=lambda: Outcome([]))
    _meter: PhaseMeter = field(default_factory=lambda: PhaseMeter(""))
    _over: bool = False
    _sessions: dict[str, bytes] = field(default_factory=dict)
    """Of those who were asked: what belongs to another session is of another time."""
    _gone: dict[str, float] = field(default_factory=dict)
    """Who has no connection, and when they count as lost."""

    def run(self, members: Iterable[str]) -> Outcome:
        """The attempt's outcome; `members` are those to ask, of the cohort and the committee."""
        asked, sessions = set(members), self.hub.sessions
        self._sessions = {name: sessions[name] for name in asked & sessions.keys()}
        self._meter = PhaseMeter(self.server.phase)
        self._gone = dict.fromkeys(asked - sessions.keys(), 0.0)
        for name, since in self.hub.absent.items():
            self._gone.setdefault(name, since + self.waits.reconnect)
        self._carry_out(self.server.invite(asked))
        while not self._over:
            self._await_phase()
            self._close_phase()
        self.hub.let_go(unheard=self.waits.phase, absent=self.waits.reconnect)
        outcome, server = self._outcome, self.server
        outcome.refused = server.refused
        outcome.answers_requested = server.answers_requested
        outcome.unmasking_requested = server.unmasking_requested
        outcome.aggregate = server.aggregate
        return outcome

    def settle(self, ledger: SignedHead) -> None:
        """After the run: give everyone who took part a receipt, the head signed since."""
        self._meter = self._outcome.phases[-1]
        self._carry_out(self.server.settled(ledger))

    # ------------------------------------------------------------------ phases

    def _await_phase(self) -> None:
        training = self.server.phase == _INPUT
        until = time.monotonic() + (self.waits.training if training else self.waits.phase)
        while not self._over:
            self._back()  # nobody tells of who has come back
            now, waiting = time.monotonic(), self.server.waiting_for
            ends = [at for name, at in self._gone.items() if name in waiting]
            later = [at for at in ends if at > now]
            if len(waiting) == len(ends) - len(later) or now >= until:
                return
            if event := self.hub.next(min([until, *later]) - now):
                self._take(event)

    def _close_phase(self) -> None:
        if self._over:
            self._outcome.phases.append(self._meter)
            return
        self._meter.lost = tuple(sorted(self.server.waiting_for))
        closing, self._meter = self._meter, PhaseMeter("")
        self._outcome.phases.append(closing)
        started = perf_counter()
        effects = self.server.advance()
        first = next(effects, None)
        # The first effect is pulled with the old phase's name; what is sent belongs to the new one.
        self._meter.phase = self.server.phase
        closing.seconds += perf_counter() - started
        self.observe(closing)
        if first is not None:
            self._carry_out((first,))
        self._carry_out(effects)
        self._meter.phase = self.server.phase

    def _take(self, event: HubEvent) -> None:
        known = self._sessions.get(event.client) == event.session
        match event:
            case Arrived(client, _, _, message):
                started = perf_counter()
                if known or client not in self._sessions:
                    self._receive(client, message)
                self.hub.done(event)
                self._meter.seconds += perf_counter() - started
            case Joined(client) if not known:
                # What it had under way is lost with the process that had it.
                self._gone[client] = 0.0
            case Left(client, _, may_return) if known:
                until = time.monotonic() + self.waits.reconnect if may_return else 0.0
                self._gone[client] = min(until, self._gone.get(client, until))
            case Broke(client, _, error) if known:
                self._gone[client] = 0.0
                self._outcome.excluded.setdefault(client, error)
                self.server.exclude(client)

    def _back(self) -> None:
        if any(self._gone.values()):
            for name in self.hub.connected & self._gone.keys():
                if self._gone[name] > 0.0:
                    del self._gone[name]

    def _receive(self, client: str, message: bytes) -> None:
        self._traffic(message, self._meter.up, self._meter.committee_up)[client] += len(message)
        try:
            self._carry_out(self.server.receive(client, message))
        except PeerError as error:
            for culprit in error.culprits:
                self._outcome.excluded.setdefault(culprit, error)

    # ------------------------------------------------------------------ effects

    def _carry_out(self, effects: Iterable[Effect]) -> None:
        for effect in effects:
            match effect:
                case Send(recipient, message):
                    self._send(recipient, message)
                case Persist():
                    self.journal(effect)
                case Done(survivors=survivors):
                    self._over = True
                    self._outcome.survivors = survivors
                case Aborted(error):
                    self._over = True
                    self._outcome.error = error

    def _send(self, recipient: str, message: bytes) -> None:
        meter = self._meter
        self._traffic(message, meter.down, meter.committee_down)[recipient] += len(message)
        if self._is_lost(recipient):
            # What it misses is not kept for it, and what was is not for longer than this attempt:
            # there is no coming back into it.
            self._gone[recipient] = 0.0
        else:
            self.hub.send(recipient, message, timeout=self.waits.phase)

    def _is_lost(self, name: str) -> bool:
        until = self._gone.get(name)
        if until is None or until > time.monotonic():
            return False
        return until == 0.0 or name not in self.hub.connected

    @staticmethod
    def _traffic(message: bytes, plain: Counter[str], committee: Counter[str]) -> Counter[str]:
        return committee if is_of_committee(message) else plain
