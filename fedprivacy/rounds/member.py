"""A committee member's side of one attempt at one round.

It checks the plan against its own policy and store before it says a word. Its store commits that
it answers before the answer leaves: once in a round, across attempts and restarts.
"""

from __future__ import annotations

from collections.abc import Iterator

from fedprivacy.crypto import Directory, Identity
from fedprivacy.errors import (
    ConfigurationError,
    FedPrivacyError,
    PeerError,
    PolicyRefused,
    Reason,
)
from fedprivacy.ledger import ClientStore, Role
from fedprivacy.randomness import Rng
from fedprivacy.rounds.admission import (
    check_directory,
    check_ledger,
    check_place,
    check_server_apart,
)
from fedprivacy.rounds.client_state import SeatState
from fedprivacy.rounds.messages import (
    ENVELOPE_LIMIT,
    SUMMONS_LIMIT,
    MemberEnvelope,
    MemberRefusal,
    Summons,
)
from fedprivacy.rounds.policy import ClientPolicy
from fedprivacy.rounds.round_plan import RoundPlan
from fedprivacy.secagg import (
    COMMITTEES,
    SERVER,
    CommitteeParty,
    Effect,
    Mark,
    Membership,
    Persist,
    Send,
)
from fedprivacy.wire import DIGEST_BYTES, decode, encode

__all__ = ["RoundMember"]

_UNKNOWN = bytes(DIGEST_BYTES)


class RoundMember:
    """One member of the committee in one attempt at one round; afterwards the object is dead.

    `receive` yields what to send. When something is refused, a `MemberRefusal` for the server comes
    first and the error is raised after it; the member has then left. Only an envelope of another
    attempt (`WRONG_ROUND`) is refused without a word, and changes nothing. `policy`, `identity` and
    `store` are the member's own; one who is a client as well has the same store in both roles.

    Between two messages it can leave memory, as a client can: `suspend`, `resume`.
    """

    def __init__(
        self, policy: ClientPolicy, identity: Identity, store: ClientStore, *, rng: Rng
    ) -> None:
        self._policy = policy
        self._identity = identity
        self._store = store
        self._rng = rng
        self._party: CommitteeParty | None = None
        self._plan: RoundPlan | None = None
        self._membership: Membership | None = None
        self._directory: Directory | None = None
        self._round_id = _UNKNOWN
        self._dead = False

    @property
    def round_plan(self) -> RoundPlan | None:
        """The plan of the attempt, once this member has accepted it."""
        return self._plan

    @property
    def has_left(self) -> bool:
        """Whether it refused, was suspended, or something was not carried out: it is over."""
        return self._dead

    def receive(self, sender: str, message: bytes) -> Iterator[Effect]:
        """Take one message; raises `PeerError` or `PolicyRefused`, after yielding a refusal.

        So it does before `ConfigurationError`, where no authority is pinned or a store cannot be
        used. `WRONG_ROUND` is raised without one, and only says that nothing was done.
        """
        if self._dead:
            raise PeerError(Reason.UNEXPECTED, "this member has left the attempt")
        # As a client does: what is not carried out to its end, the member does not go on from.
        self._dead = True
        try:
            yield from self._take(sender, message)
            self._dead = False
        except FedPrivacyError as error:
            reason = error.reason if isinstance(error, PeerError | PolicyRefused) else Reason.FAILED
            if reason is Reason.WRONG_ROUND:
                self._dead = False
                raise
            yield Send(SERVER, encode(MemberRefusal(self._round_id, reason.value)))
            raise
        finally:
            if self._dead and self._party is not None:
                self._party.fail()

    # ------------------------------------------------------------------ between two messages

    def suspend(self) -> bytes:
        """This member's state, sealed; the object is then dead, and its secrets are erased.

        Raises `ConfigurationError`, and changes nothing, before a plan is accepted and once the
        member has left or answered. Where the store cannot record it (`ConfigurationError`,
        `PolicyRefused`) the member has left.
        """
        party, plan, place = self._party, self._plan, self._membership
        if self._dead or party is None or plan is None or place is None:
            raise ConfigurationError(
                "this member has left, takes a message or has accepted no plan: suspend it between "
                "two messages"
            )
        state = encode(SeatState(plan, place, party.suspend()))
        self._dead = True
        return self._store.suspend(
            plan.run_id,
            plan.round,
            plan.attempt,
            plan.round_id,
            state,
            identity=self._identity,
            directory=encode(self._directory) if self._directory else b"",
            rng=self._rng.child("sealed-state"),
            role=Role.MEMBER,
        )

    @classmethod
    def resume(
        cls,
        sealed: bytes,
        policy: ClientPolicy,
        identity: Identity,
        store: ClientStore,
        *,
        rng: Rng,
    ) -> RoundMember:
        """The member that was suspended with these bytes, once; as `RoundClient.resume`."""
        state, directory = store.resume(sealed, identity=identity, role=Role.MEMBER)
        found = decode(SeatState, state, limit=len(state))
        plan = found.round_plan
        member = cls(policy, identity, store, rng=rng)
        member._plan, member._membership = plan, found.membership
        member._round_id = plan.round_id
        member._directory = Directory.decode(directory) if directory else None
        member._party = COMMITTEES[plan.plan.aggregation.protocol].resume_member(
            found.party,
            plan.sum_plan(),
            found.membership,
            identity=identity,
            directory=member._directory,
            floor=policy.floor,
        )
        return member

    # ------------------------------------------------------------------ messages

    def _take(self, sender: str, message: bytes) -> Iterator[Effect]:
        if sender != SERVER:
            raise PeerError(Reason.UNKNOWN_SENDER, "only the server speaks to a member")
        if self._party is None:
            yield from self._accept(decode(Summons, message, limit=SUMMONS_LIMIT))
            return
        told = decode(MemberEnvelope, message, limit=ENVELOPE_LIMIT)
        if told.round_id != self._round_id:
            raise PeerError(Reason.WRONG_ROUND, "the message names another attempt")
        yield from self._carry_out(self._party.receive(SERVER, told.body))

    def _accept(self, summons: Summons) -> Iterator[Effect]:
        plan = summons.round_plan
        self._round_id = plan.round_id
        # In the order of a client's checks: docs/decisions/0002-order-of-checks.md.
        plan.check()
        agreed = plan.sum_plan()
        protocol = COMMITTEES.get(plan.plan.aggregation.protocol)
        if protocol is None or agreed.committee is None:
            raise PeerError(Reason.PLAN, "a member where the plan has no committee")
        committee = agreed.committee
        check_place(summons.membership, committee.root, committee.size, self._identity, "committee")
        head = check_ledger(plan, summons.ledger)
        directory = check_directory(plan, summons.directory, self._identity, self._store)
        check_server_apart(plan, directory, head)
        self._policy.check(plan.plan, threshold=plan.threshold, cohort=plan.cohort_size)
        with self._store.together():
            self._store.begin(
                plan.run_id,
                plan.round,
                plan.attempt,
                plan.round_id,
                plan.broadcast,
                terms=plan.terms,
                role=Role.MEMBER,
            )
            if head is not None:
                self._store.keep_head(head, operator=head.operator)
        self._party = protocol.member(
            agreed,
            summons.membership,
            identity=self._identity,
            directory=directory,
            floor=self._policy.floor,
            rand=self._rng.child("round-secrets").bytes(protocol.member_rand_bytes),
        )
        self._plan, self._membership, self._directory = plan, summons.membership, directory
        yield from self._carry_out(self._party.start())

    def _carry_out(self, effects: Iterator[Effect]) -> Iterator[Effect]:
        """Commit what must be durable, and address the rest."""
        for effect in effects:
            match effect:
                case Persist():
                    self._commit(effect)
                case Send(recipient, body):
                    yield Send(recipient, encode(MemberEnvelope(self._round_id, body)))
                case _:
                    yield effect

    def _commit(self, effect: Persist) -> None:
        plan = self._plan
        if plan is None or effect.mark is not Mark.ANSWERED:
            raise ConfigurationError(f"a member has nothing to record in phase {effect.phase}")
        self._store.mark_answered(
            plan.run_id,
            plan.round,
            plan.attempt,
            plan.broadcast,
            effect.members,
            max(self._policy.floor, plan.plan.aggregation.min_clients),
        )

    def __repr__(self) -> str:
        return f"RoundMember({self._identity.client_id})"
