"""A client's side of one attempt at one round.

It checks the plan against its own policy and store before it says a word, and the store commits
each mark before the bytes that the mark speaks of leave.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypedDict

from fedprivacy.crypto import Directory, Identity
from fedprivacy.errors import (
    BudgetExhausted,
    ConfigurationError,
    FedPrivacyError,
    PeerError,
    PolicyRefused,
    Reason,
)
from fedprivacy.ledger import Charge, ClientStore, Once, SignedHead
from fedprivacy.randomness import Rng
from fedprivacy.rounds.admission import (
    check_directory,
    check_ledger,
    check_place,
    check_server_apart,
)
from fedprivacy.rounds.client_state import ClientState
from fedprivacy.rounds.messages import (
    ENVELOPE_LIMIT,
    INVITATION_LIMIT,
    Envelope,
    Invitation,
    Refusal,
    Settled,
)
from fedprivacy.rounds.policy import ClientPolicy
from fedprivacy.rounds.privacy import check_claim, client_charge
from fedprivacy.rounds.round_plan import RoundPlan, broadcast_digest
from fedprivacy.rounds.rules import Trust
from fedprivacy.secagg import (
    PROTOCOLS,
    SERVER,
    SHARED_KEYS,
    Adversary,
    ClientParty,
    Effect,
    GroupKey,
    Mark,
    Membership,
    Persist,
    Plain,
    Send,
    SendChunk,
)
from fedprivacy.vector import Update
from fedprivacy.wire import DIGEST_BYTES, decode, encode

__all__ = ["RoundClient"]

_UNKNOWN = bytes(DIGEST_BYTES)


class _Mine(TypedDict):
    """What a party is given of this client itself."""

    identity: Identity
    directory: Directory | None
    floor: int


class RoundClient:
    """One client in one attempt at one round; afterwards the object is dead.

    `receive` and `contribute` yield what to send. When something is refused, a `Refusal` for the
    server comes first and the error is raised after it; the client has then left. Only an envelope
    of another attempt (`WRONG_ROUND`) is refused without a word to the server, and changes nothing.
    `identity`, `policy` and `store` are this client's own; nothing that the server sends replaces
    them.

    Between two messages the client can leave memory: `suspend` gives its sealed state, with which
    `resume` goes on in another process, once.

    `group_key` is the clients' part of a key ceremony, for a protocol whose clients share one.
    """

    def __init__(
        self,
        policy: ClientPolicy,
        identity: Identity,
        store: ClientStore,
        *,
        rng: Rng,
        group_key: GroupKey | None = None,
    ) -> None:
        self._policy = policy
        self._group_key = group_key
        self._identity = identity
        self._store = store
        self._rng = rng
        self._party: ClientParty | None = None
        self._plan: RoundPlan | None = None
        self._membership: Membership | None = None
        self._directory: Directory | None = None
        self._round_id = _UNKNOWN
        self._broadcast = b""
        self._receipt: Settled | None = None
        self._dead = False

    @property
    def round_plan(self) -> RoundPlan | None:
        """The plan of the attempt, once this client has accepted it."""
        return self._plan

    @property
    def has_left(self) -> bool:
        """Whether this object goes on no more.

        It refused, or something was not carried out, or it was suspended.
        """
        return self._dead

    @property
    def broadcast(self) -> bytes:
        """What the server sent to train on, its hash checked.

        Empty before the plan is accepted, and once it was resumed: whoever trains after that keeps
        it elsewhere, and holds it against `round_plan.broadcast`, its `broadcast_digest`.
        """
        return self._broadcast

    def receive(self, sender: str, message: bytes) -> Iterator[Effect]:
        """Take one message; raises `PeerError` or `PolicyRefused`, after yielding a `Refusal`.

        So it does before `BudgetExhausted`, where this client's own budget does not hold the round,
        and `ConfigurationError`, where no authority is pinned or a store cannot be used.
        `WRONG_ROUND` is raised without one, and only says that nothing was done; so is whatever is
        wrong with a receipt.
        """
        yield from self._guarded(self._take(sender, message))
        receipt, self._receipt = self._receipt, None
        if receipt is not None and self._plan is not None:
            # Beyond the guard: a receipt that will not do ends nothing.
            self._keep(receipt, self._plan)

    def contribute(self, update: Update) -> Iterator[Effect]:
        """Encode the update by the accepted plan's pipeline and send it when its time has come."""
        if self._party is None or self._plan is None:
            raise ConfigurationError("there is no round to contribute to: accept a plan first")
        yield from self._guarded(self._contribute(self._party, self._plan, update))

    # ------------------------------------------------------------------ between two messages

    def suspend(self) -> bytes:
        """This client's state, sealed; the object is then dead, and its secrets are erased.

        Raises `ConfigurationError`, and changes nothing, before a plan is accepted, while a
        contributed vector waits for its time, and once the client has left or ended. Where the
        store cannot record it (`ConfigurationError`, `PolicyRefused`) the client has left.
        """
        if self._dead:
            raise ConfigurationError(
                "this client has left, or a message is still being taken: suspend it between two "
                "messages, once what they yield is pulled to the end"
            )
        party, plan, place = self._party, self._plan, self._membership
        if party is None or plan is None or place is None:
            raise ConfigurationError("there is nothing to suspend yet: accept a plan first")
        state = encode(ClientState(plan, place, party.suspend()))
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
        group_key: GroupKey | None = None,
    ) -> RoundClient:
        """The client that was suspended with these bytes, exactly where it was.

        They may come from anybody: all but those of this very client and store, used once, are
        refused with `PeerError` (`SEALED_STATE`). They are used up before the object exists: if it
        is lost, the client has left the attempt. `policy` may have changed: the plan was accepted
        and is not checked again, but sets are held against the present floor, and the present
        budget is asked when the input leaves. Raises `ConfigurationError` and `PolicyRefused` where
        the store cannot be used.
        """
        state, directory = store.resume(sealed, identity=identity)
        found = decode(ClientState, state, limit=len(state))
        client = cls(policy, identity, store, rng=rng, group_key=group_key)
        client._plan, client._membership = found.round_plan, found.membership
        client._round_id = found.round_plan.round_id
        client._directory = Directory.decode(directory) if directory else None
        name, agreed = found.round_plan.plan.aggregation.protocol, found.round_plan.sum_plan()
        mine = _Mine(identity=identity, directory=client._directory, floor=policy.floor)
        if (shared := SHARED_KEYS.get(name)) is not None:
            party = shared.resume(found.party, agreed, found.membership, **mine, key=group_key)
        else:
            party = PROTOCOLS[name].resume(found.party, agreed, found.membership, **mine)
        client._party = party
        return client

    # ------------------------------------------------------------------ invitation

    def _take(self, sender: str, message: bytes) -> Iterator[Effect]:
        if sender != SERVER:
            raise PeerError(Reason.UNKNOWN_SENDER, "only the server speaks to a client")
        if self._party is None:
            yield from self._accept(message)
        else:
            yield from self._pass_on(self._party, message)

    def _accept(self, message: bytes) -> Iterator[Effect]:
        invitation = decode(Invitation, message, limit=INVITATION_LIMIT)
        plan = invitation.round_plan
        self._round_id = plan.round_id
        # What the bytes show by themselves comes first, the client's own floors and rounds last:
        # docs/decisions/0002-order-of-checks.md.
        plan.check()
        place = invitation.membership
        check_place(place, plan.cohort_root, plan.cohort_size, self._identity, "cohort")
        if broadcast_digest(invitation.broadcast) != plan.broadcast:
            raise PeerError(Reason.BROADCAST, "the broadcast is not the one that the plan names")
        head = check_ledger(plan, invitation.ledger)
        directory = check_directory(plan, invitation.directory, self._identity, self._store)
        check_server_apart(plan, directory, head)
        self._policy.check(plan.plan, threshold=plan.threshold, cohort=plan.cohort_size)
        check_claim(plan.plan, self._policy, cohort=plan.cohort_size, length=plan.length)
        charge = self._charge(plan)
        if charge is not None:
            self._store.check_affordable(charge, plan.run_id, plan.round)
        with self._store.together():
            self._store.begin(
                plan.run_id,
                plan.round,
                plan.attempt,
                plan.round_id,
                plan.broadcast,
                terms=plan.terms,
            )
            if head is not None:
                self._store.keep_head(head, operator=head.operator)
        self._party = self._made(plan, place, directory)
        self._plan, self._broadcast = plan, invitation.broadcast
        self._membership, self._directory = place, directory
        yield from self._carry_out(self._party.start())

    def _made(self, plan: RoundPlan, place: Membership, directory: Directory | None) -> ClientParty:
        name, agreed = plan.plan.aggregation.protocol, plan.sum_plan()
        protocol = PROTOCOLS[name]
        rand = self._rng.child("round-secrets").bytes(protocol.rand_bytes)
        mine = _Mine(identity=self._identity, directory=directory, floor=self._policy.floor)
        if (shared := SHARED_KEYS.get(name)) is not None:
            return shared.client(agreed, place, **mine, rand=rand, key=self._group_key)
        return protocol.client(agreed, place, **mine, rand=rand)

    def _charge(self, plan: RoundPlan) -> Charge | None:
        """What the round costs this client, by its policy as it is now."""
        size, length = plan.cohort_size, plan.length
        return client_charge(plan.plan, self._policy, cohort=size, length=length, clip=plan.clip)

    # ------------------------------------------------------------------ later messages

    def _pass_on(self, party: ClientParty, message: bytes) -> Iterator[Effect]:
        told: Envelope | Settled = decode(Envelope | Settled, message, limit=ENVELOPE_LIMIT)
        if told.round_id != self._round_id:
            raise PeerError(Reason.WRONG_ROUND, "the message names another attempt")
        if isinstance(told, Settled):
            self._receipt = told
        else:
            yield from self._carry_out(party.receive(SERVER, told.body))

    def _keep(self, receipt: Settled, plan: RoundPlan) -> None:
        """Keep a receipt that goes on from the head that the plan names."""
        if plan.ledger_head == _UNKNOWN:
            raise PeerError(Reason.UNEXPECTED, "a receipt where the plan names no ledger's head")
        self._store.keep_receipt(SignedHead.decode(receipt.ledger), after=plan.ledger_head)

    def _contribute(self, party: ClientParty, plan: RoundPlan, update: Update) -> Iterator[Effect]:
        vector = plan.pipeline.encode(update, rng=self._rng.child("encoding"))
        yield from self._carry_out(party.contribute(vector))

    # ------------------------------------------------------------------ effects

    def _carry_out(self, effects: Iterator[Effect]) -> Iterator[Effect]:
        """Commit what must be durable, and address the rest."""
        for effect in effects:
            match effect:
                case Persist():
                    self._commit(effect)
                case SendChunk(recipient, body):
                    yield SendChunk(recipient, encode(Envelope(self._round_id, body)))
                case Send(recipient, body):
                    yield Send(recipient, encode(Envelope(self._round_id, body)))
                case _:
                    yield effect

    def _commit(self, effect: Persist) -> None:
        plan = self._plan
        if plan is None:
            raise ConfigurationError("there is no round to record: accept a plan first")
        if effect.mark is Mark.SPENT:
            # Over two rings a server could open one input twice, in sums that differ by few; and
            # what leaves unmasked twice has two draws of noise, of which one is charged.
            rules, noise = plan.plan.aggregation, plan.plan.noise
            is_open = rules.protocol == Plain.name and noise.trust is not Trust.NONE
            once = rules.adversary is Adversary.SEMI_MALICIOUS or is_open
            self._store.mark_spent(
                plan.run_id,
                plan.round,
                plan.attempt,
                once_in=Once.ROUND if once else Once.ATTEMPT,
                charge=self._charge(plan),
            )
        elif effect.mark is Mark.ANSWERED:
            self._store.mark_answered(
                plan.run_id,
                plan.round,
                plan.attempt,
                plan.broadcast,
                effect.members,
                self._policy.floor,
            )

    def _guarded(self, effects: Iterator[Effect]) -> Iterator[Effect]:
        """Tell the server that this client is out, and why, before the error is raised here."""
        if self._dead:
            raise PeerError(Reason.UNEXPECTED, "this client has left the attempt")
        # Whatever is not carried out to its end, the client does not go on from: a mark that could
        # not be committed, an effect that was not pulled.
        self._dead = True
        try:
            yield from effects
            self._dead = False
        except FedPrivacyError as error:
            reason = Reason.FAILED
            if isinstance(error, PeerError | PolicyRefused):
                reason = error.reason
            elif isinstance(error, BudgetExhausted):
                reason = Reason.BUDGET
            if reason is Reason.WRONG_ROUND:
                # Only late, and refused before anything was done: it costs neither side anything.
                self._dead = False
                raise
            yield Send(SERVER, encode(Refusal(self._round_id, reason.value)))
            raise
        finally:
            if self._dead and self._party is not None:
                self._party.fail()

    def __repr__(self) -> str:
        return f"RoundClient({self._identity.client_id})"
