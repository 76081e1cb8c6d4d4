"""A client of a networked run: takes part in round after round until the run is over."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from fedprivacy.crypto import Identity
from fedprivacy.errors import FedPrivacyError, PeerError, Reason
from fedprivacy.ledger import ClientStore
from fedprivacy.randomness import Rng
from fedprivacy.rounds import ClientPolicy, RoundClient
from fedprivacy.rounds.messages import begins_attempt
from fedprivacy.secagg import SERVER, Done, Effect, Send
from fedprivacy.transport.tls.link import Came, Ended, Link, Restarted
from fedprivacy.vector import Update

__all__ = ["Participant", "Said"]


_QUIET = 40
"""Half seconds without a message after which a client that is to go does so in mid-round."""


@dataclass(frozen=True, slots=True)
class Said:
    """What a client has to tell those who watch it."""

    what: str
    """`invited`, `trained`, `answered`, `left`, `restarted`."""
    round: int = 0
    attempt: int = 0
    error: FedPrivacyError | None = None


@dataclass(slots=True)
class Participant:
    """Answers the server's messages, an attempt at a time, with what `train` makes of a broadcast.

    `link` is started; `leaves` is asked between messages whether this client is to go once no
    attempt is under way.
    """

    link: Link
    policy: ClientPolicy
    identity: Identity
    store: ClientStore
    train: Callable[[RoundClient], Update]
    rng: Rng
    watch: Callable[[Said], None] = lambda _: None
    leaves: Callable[[], bool] = lambda: False
    answered: int = 0
    """Attempts that this client saw through."""
    error: FedPrivacyError | None = None
    """Why it last left an attempt early."""
    _client: RoundClient | None = None
    _attempts: int = 0
    _trained: bool = False
    _busy: bool = False
    """Whether an attempt is under way, as far as this client knows."""
    _number: tuple[int, int] = field(default=(0, 0))

    def run(self) -> PeerError | None:
        """Until the run is over, or this client leaves; why there is no connection, if it broke."""
        quiet = 0
        while True:
            event = self.link.next(0.5)
            quiet = quiet + 1 if event is None else 0
            match event:
                case None:
                    # An attempt that the server gave up reaches this client as silence.
                    if self.leaves() and (not self._busy or quiet > _QUIET):
                        return None
                case Came():
                    self._take(event)
                    self.link.done(event)
                case Restarted():
                    self._client, self._busy = None, False
                    self._tell("restarted")
                case Ended(error):
                    return error

    def _take(self, came: Came) -> None:
        if begins_attempt(came.message):
            self._client = RoundClient(
                self.policy,
                self.identity,
                self.store,
                rng=self.rng.child(f"client/{self._attempts}"),
            )
            self._trained, self._busy = False, True
            self._attempts += 1
        client = self._client
        if client is None:
            return  # of an attempt that this client has left
        self._attempt(came.session, client, client.receive(SERVER, came.message))
        plan = client.round_plan
        if plan is not None and not self._trained and not client.has_left:
            self._trained = True
            self._number = plan.round, plan.attempt
            self._tell("invited")
            self._attempt(came.session, client, self._contribution(client))

    def _contribution(self, client: RoundClient) -> Iterator[Effect]:
        update = self.train(client)
        self._tell("trained")
        yield from client.contribute(update)

    def _attempt(self, session: bytes, client: RoundClient, effects: Iterable[Effect]) -> None:
        try:
            for effect in effects:
                match effect:
                    case Send(message=message):
                        self.link.send(session, message)
                    case Done():
                        self.answered += 1
                        self._busy = False
                        self._tell("answered")
                    case _:
                        pass  # an abort reaches this client as silence
        except FedPrivacyError as error:
            if isinstance(error, PeerError) and error.reason is Reason.WRONG_ROUND:
                return  # only late
            self.error = error
            if client.has_left:
                self._client, self._busy = None, False
            self._tell("left", error)

    def _tell(self, what: str, error: FedPrivacyError | None = None) -> None:
        self.watch(Said(what, *self._number, error))
