"""A party of a networked run: takes part in round after round until the run is over."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

from fedprivacy.crypto import Identity
from fedprivacy.errors import FedPrivacyError, PeerError, Reason
from fedprivacy.ledger import ClientStore
from fedprivacy.randomness import Rng
from fedprivacy.rounds import ClientPolicy, RoundClient, RoundMember, RoundPlan
from fedprivacy.rounds.messages import begins_attempt, is_of_committee, is_summons
from fedprivacy.secagg import SERVER, Done, Effect, GroupKey, Send
from fedprivacy.transport.tls.frames import Role
from fedprivacy.transport.tls.link import Came, Ended, Link, Restarted
from fedprivacy.vector import Update

__all__ = ["Participant", "Said"]


_QUIET = 40
"""Half seconds without a message after which a client that is to go does so in mid-round."""


@dataclass(frozen=True, slots=True)
class Said:
    """What a party has to tell those who watch it."""

    what: str
    """`invited`, `trained`, `answered`, `left`, `restarted`; a member: `summoned`, `opened`."""
    round: int = 0
    attempt: int = 0
    error: FedPrivacyError | None = None


@dataclass(slots=True)
class _Training:
    """What an attempt's client trains, in the worker's thread."""

    session: bytes
    client: RoundClient
    plan: RoundPlan
    trained: Future[Update]
    is_contributed: bool = False


@dataclass(slots=True)
class Participant:
    """Answers the server's messages, an attempt at a time, with what `train` makes of a broadcast.

    Where it is summoned as a member of the committee it answers as that, too; without `train` it is
    nothing else. `train` is called in a thread of its own, one attempt's after the other's, while
    this party agrees on keys. `link` is started; `leaves` is asked between messages whether this
    party is to go once no attempt is under way. `group_key` is the clients' part of a key ceremony.
    """

    link: Link
    policy: ClientPolicy
    identity: Identity
    store: ClientStore
    train: Callable[[RoundClient], Update] | None
    rng: Rng
    watch: Callable[[Said], None] = lambda _: None
    leaves: Callable[[], bool] = lambda: False
    group_key: GroupKey | None = None
    answered: int = 0
    """How often this party saw an attempt through, in either role."""
    error: FedPrivacyError | None = None
    """Why it last left an attempt early."""
    _client: RoundClient | None = None
    _member: RoundMember | None = None
    _attempts: int = 0
    _training: _Training | None = None
    """What the present client trains, or trained."""
    _busy: set[Role] = field(default_factory=set)
    """As what it is in an attempt that is under way, as far as it knows."""

    def run(self) -> FedPrivacyError | None:
        """Until the run is over, or this party leaves; why there is no connection, if it broke."""
        quiet = 0
        with ThreadPoolExecutor(1, "fedprivacy-training") as worker:
            while True:
                event = self.link.next(0.5)
                quiet = quiet + 1 if event is None else 0
                match event:
                    case None:
                        # An attempt that the server gave up reaches this party as silence.
                        if self.leaves() and (not self._busy or quiet > _QUIET):
                            return None
                    case Came():
                        self._take(event, worker)
                        self.link.done(event)
                    case Restarted():
                        self._client = self._member = None
                        self._drop_training()
                        self._busy.clear()
                        self._tell("restarted")
                    case Ended(error):
                        return error
                self._contribute()

    def _take(self, came: Came, worker: ThreadPoolExecutor) -> None:
        if is_of_committee(came.message):
            self._take_as_member(came)
        elif self.train is not None:
            self._take_as_client(came, self.train, worker)

    def _take_as_member(self, came: Came) -> None:
        is_new = is_summons(came.message)
        if is_new:
            rng = self.rng.child(f"member/{self._attempts}")
            self._member = RoundMember(self.policy, self.identity, self.store, rng=rng)
            self._begin(Role.MEMBER)
        member = self._member
        if member is None:
            return  # of an attempt that this member has left
        self._attempt(came.session, member, member.receive(SERVER, came.message))
        if is_new and member.round_plan is not None:
            self._tell("summoned", member.round_plan)

    def _take_as_client(
        self, came: Came, train: Callable[[RoundClient], Update], worker: ThreadPoolExecutor
    ) -> None:
        if begins_attempt(came.message):
            self._client = RoundClient(
                self.policy,
                self.identity,
                self.store,
                rng=self.rng.child(f"client/{self._attempts}"),
                group_key=self.group_key,
            )
            self._drop_training()
            self._begin(Role.CLIENT)
        client = self._client
        if client is None:
            return  # of an attempt that this client has left
        self._attempt(came.session, client, client.receive(SERVER, came.message))
        plan = client.round_plan
        if plan is not None and self._training is None and not client.has_left:
            self._tell("invited", plan)
            trained = worker.submit(train, client)
            self._training = _Training(came.session, client, plan, trained)
            trained.add_done_callback(lambda _: self.link.wake())

    def _begin(self, role: Role) -> None:
        self._attempts += 1
        self._busy.add(role)

    def _drop_training(self) -> None:
        """Nobody waits for it any more; what has begun goes on to its end, unheard."""
        if self._training is not None:
            self._training.trained.cancel()
            self._training = None

    def _contribute(self) -> None:
        """Have sent what was trained, once it is there, if its attempt is still under way."""
        training = self._training
        if training is None or training.is_contributed or not training.trained.done():
            return
        training.is_contributed = True
        if training.client is self._client and not training.client.has_left:
            self._attempt(training.session, training.client, self._contribution(training))

    def _contribution(self, training: _Training) -> Iterator[Effect]:
        update = training.trained.result()
        self._tell("trained", training.plan)
        yield from training.client.contribute(update)

    def _attempt(
        self, session: bytes, party: RoundClient | RoundMember, effects: Iterable[Effect]
    ) -> None:
        is_client = isinstance(party, RoundClient)
        role = Role.CLIENT if is_client else Role.MEMBER
        try:
            for effect in effects:
                match effect:
                    case Send(message=message):
                        self.link.send(session, message)
                    case Done():
                        self.answered += 1
                        self._busy.discard(role)
                        self._tell("answered" if is_client else "opened", party.round_plan)
                    case _:
                        pass  # an abort reaches this party as silence
        except FedPrivacyError as error:
            if isinstance(error, PeerError) and error.reason is Reason.WRONG_ROUND:
                return  # only late
            self.error = error
            if party.has_left:
                self._leave(role)
            self._tell("left", party.round_plan, error)

    def _leave(self, role: Role) -> None:
        self._busy.discard(role)
        if role is Role.CLIENT:
            self._client = None
        else:
            self._member = None

    def _tell(
        self, what: str, plan: RoundPlan | None = None, error: FedPrivacyError | None = None
    ) -> None:
        number = (plan.round, plan.attempt) if plan is not None else (0, 0)
        self.watch(Said(what, *number, error))
