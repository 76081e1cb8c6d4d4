"""A member of the committee: it holds a share of every client's key, and opens one sum of them.

It says which shares it can open before the survivors are fixed, signs one set of survivors, and
answers only for the set that t members have signed: at most once in a round, across all attempts,
as its store has it before it signs. It takes no one's word for who the clients are.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeVar

import numpy as np

from fedprivacy.arithmetic import share_from_bytes, share_to_bytes
from fedprivacy.crypto import Directory, Identity, KeyPair, verify
from fedprivacy.errors import ConfigurationError, PeerError, Reason
from fedprivacy.secagg.cohort import Membership
from fedprivacy.secagg.contract import SERVER, Done, Effect, Mark, Persist, Send, SumPlan
from fedprivacy.secagg.fatal import FatalTo
from fedprivacy.secagg.masking.messages import ConsistencySignature, SurvivorSet, UnmaskRequest
from fedprivacy.secagg.masking.neighbours import check_ascending
from fedprivacy.secagg.oneshot.keys import (
    INPUT_LABEL,
    KEY_LABEL,
    SURVIVORS_LABEL,
    check_roster,
    session_id,
    signed_input,
    signed_key,
    signed_survivors,
)
from fedprivacy.secagg.oneshot.member_state import (
    MEMBER_RAND_BYTES,
    SLEEPING,
    DealtState,
    MemberPhase,
    MemberState,
)
from fedprivacy.secagg.oneshot.messages import (
    CommitteeEntry,
    CommitteeKey,
    CommitteeRoster,
    InputsClosed,
    KeyShare,
    KeySum,
    ShareOpened,
    UnopenedShares,
    server_limit,
)
from fedprivacy.secagg.oneshot.parameters import committee_of, parameters_of
from fedprivacy.secagg.oneshot.shares import HeldShare, add_shares, open_box
from fedprivacy.wire import Message, decode, encode

__all__ = ["MEMBER_RAND_BYTES", "CommitteeMember", "MemberPhase"]

M = TypeVar("M", bound=Message)


class CommitteeMember:
    """One member's side; `rand` are `MEMBER_RAND_BYTES` uniform bytes, used for nothing else.

    `floor` is the member's own least number of clients in a sum that it helps to open.
    """

    def __init__(
        self,
        plan: SumPlan,
        membership: Membership,
        *,
        identity: Identity,
        directory: Directory | None,
        floor: int,
        rand: bytes,
    ) -> None:
        if directory is None:
            raise ConfigurationError("one-shot aggregation needs a directory: pin one")
        if len(rand) != MEMBER_RAND_BYTES:
            raise ConfigurationError(f"rand has {len(rand)} bytes, not {MEMBER_RAND_BYTES}")
        self._rand = bytearray(rand)
        self._plan = plan
        self._committee = committee_of(plan)
        self._parameters = parameters_of(plan)
        self._me = membership
        self._identity = identity
        self._directory = directory
        self._least = max(plan.floor, floor)
        self._pair: KeyPair | None = KeyPair(rand)
        self._own_key = self._pair.public
        self._phase = MemberPhase.NEW
        self._session = b""
        self._roster: dict[int, CommitteeEntry] = {}
        self._clients: dict[int, str] = {}
        """Whose shares came, opened or not."""
        self._names: set[str] = set()
        self._held: dict[int, HeldShare] = {}
        self._survivors: tuple[int, ...] = ()

    @property
    def phase(self) -> MemberPhase:
        return self._phase

    # ------------------------------------------------------------------ inputs

    def start(self) -> Iterator[Effect]:
        """Phase keys: advertise the key that shares are to be sealed to."""
        with FatalTo(self):
            self._enter(MemberPhase.NEW, MemberPhase.ADVERTISED)
            statement = signed_key(self._plan, self._me.index, self._own_key)
            signature = self._identity.key.sign(KEY_LABEL, *statement)
            yield Send(SERVER, encode(CommitteeKey(self._own_key, signature)))

    def receive(self, sender: str, message: bytes) -> Iterator[Effect]:
        """Take one message of the server; raises `PeerError` and nothing else because of it."""
        with FatalTo(self):
            if sender != SERVER:
                raise PeerError(Reason.UNKNOWN_SENDER, "only the server speaks to a member")
            match self._phase:
                case MemberPhase.ADVERTISED:
                    self._receive_roster(self._decode(CommitteeRoster, message))
                case MemberPhase.HOLDING:
                    limit = server_limit(self._plan, self._parameters)
                    taken = decode(KeyShare | InputsClosed, message, limit=limit)
                    if isinstance(taken, KeyShare):
                        yield from self._receive_share(taken)
                    else:
                        yield from self._tell_unopened(taken)
                case MemberPhase.TOLD:
                    yield from self._sign(self._decode(SurvivorSet, message))
                case MemberPhase.SIGNED:
                    self._check_quorum(self._decode(UnmaskRequest, message))
                    yield from self._answer()
                case MemberPhase.ENDED:
                    raise PeerError(Reason.ANSWERED, "this member has answered and does no more")
                case _:
                    raise PeerError(Reason.UNEXPECTED, f"no message is due: {self._phase.value}")

    # ------------------------------------------------------------------ phases

    def _receive_roster(self, roster: CommitteeRoster) -> None:
        check_roster(self._plan, roster.entries, self._directory)
        self._roster = {entry.membership.index: entry for entry in roster.entries}
        own = self._roster.get(self._me.index)
        if own is None or own.seal_key != self._own_key:
            raise PeerError(Reason.OWN_ENTRY, "this member is not shown with its own key")
        self._session = session_id(self._plan, roster.entries)
        self._enter(MemberPhase.ADVERTISED, MemberPhase.HOLDING)

    def _receive_share(self, message: KeyShare) -> Iterator[Effect]:
        who = message.membership
        self._check_client(message)
        self._clients[who.index] = who.client_id
        self._names.add(who.client_id)
        pair = self._pair
        if pair is None:
            raise PeerError(Reason.UNEXPECTED, "this member's key is erased")
        try:
            self._held[who.index] = open_box(
                message,
                self._parameters,
                session=self._session,
                member=self._me.index,
                pair=pair,
            )
        except PeerError:
            # A bad box costs its client a holder, not this member its round.
            return
        yield Send(SERVER, encode(ShareOpened(who.index)))

    def _check_client(self, message: KeyShare) -> None:
        """Nobody is counted who is not of the cohort, enrolled, and has signed this very input."""
        who = message.membership
        if not who.proves(self._plan.cohort_root, self._plan.cohort_size):
            detail = f"{who.client_id} is not proven to be in the committed cohort"
            raise PeerError(Reason.COHORT_PROOF, detail)
        if who.index in self._clients or who.client_id in self._names:
            raise PeerError(Reason.DUPLICATE_MEMBER, f"{who.client_id} is shown twice")
        identity = self._directory.key_of(who.client_id)
        if identity is None:
            raise PeerError(Reason.NOT_ENROLLED, f"{who.client_id} is not enrolled")
        statement = signed_input(
            self._session, who.index, message.agreement_key, message.ciphertext
        )
        if not verify(identity, message.signature, INPUT_LABEL, *statement):
            raise PeerError(Reason.KEY_SIGNATURE, f"{who.client_id} has not signed this input")

    def _tell_unopened(self, closed: InputsClosed) -> Iterator[Effect]:
        if closed.clients != tuple(sorted(self._clients)):
            raise PeerError(Reason.SHARE_MISSING, "the shares that came are not those announced")
        self._enter(MemberPhase.HOLDING, MemberPhase.TOLD)
        self._forget_key()
        unopened = tuple(i for i in closed.clients if i not in self._held)
        yield Send(SERVER, encode(UnopenedShares(unopened)))

    def _sign(self, message: SurvivorSet) -> Iterator[Effect]:
        survivors = message.survivors
        check_ascending(survivors)
        if strangers := [i for i in survivors if i not in self._held]:
            detail = f"survivor {strangers[0]} has no share that this member could open"
            raise PeerError(Reason.SURVIVOR_UNKNOWN, detail)
        # The floor that each client sealed with its share: the server had no hand in it.
        least = max([self._least, *(self._held[i].floor for i in survivors)])
        if len(survivors) < least:
            detail = f"{len(survivors)} survivors where {least} are needed"
            raise PeerError(Reason.SURVIVORS_FEW, detail)
        self._survivors = survivors
        self._enter(MemberPhase.TOLD, MemberPhase.ANSWERING)
        names = tuple(self._clients[i] for i in survivors)
        yield Persist(Mark.ANSWERED, "consistency", names)
        # Only with the mark committed is there a phase in which a request is taken.
        self._enter(MemberPhase.ANSWERING, MemberPhase.SIGNED)
        signature = self._identity.key.sign(SURVIVORS_LABEL, *self._statement())
        yield Send(SERVER, encode(ConsistencySignature(signature)))

    def _statement(self) -> tuple[bytes, ...]:
        return signed_survivors(self._session, self._plan.broadcast, self._survivors)

    def _check_quorum(self, request: UnmaskRequest) -> None:
        signers = [relayed.signer for relayed in request.signatures]
        check_ascending(signers)
        statement = self._statement()
        for relayed in request.signatures:
            entry = self._roster.get(relayed.signer)
            key = self._directory.key_of(entry.membership.client_id) if entry else None
            if key is None or not verify(key, relayed.signature, SURVIVORS_LABEL, *statement):
                detail = f"member {relayed.signer} has not signed these survivors"
                raise PeerError(Reason.CONSISTENCY_SIGNATURE, detail)
        if len(signers) < self._committee.threshold:
            detail = f"{len(signers)} signatures where {self._committee.threshold} are needed"
            raise PeerError(Reason.CONSISTENCY_QUORUM, detail)

    def _answer(self) -> Iterator[Effect]:
        shares = [self._held[i].share for i in self._survivors]
        total = add_shares(shares, self._parameters.key_elements)
        self._phase = MemberPhase.ENDED
        self._erase()
        yield Send(SERVER, encode(KeySum(total)))
        yield Done()

    # ------------------------------------------------------------------ state

    def suspend(self) -> bytes:
        """What it needs to go on, secrets and all; it is then dead.

        Raises `ConfigurationError`, and changes nothing, where it is not between two messages.
        """
        if self._phase not in SLEEPING:
            raise ConfigurationError(f"nothing to suspend in phase {self._phase.value}")
        state = encode(
            MemberState(
                self._phase,
                b"" if self._pair is None else bytes(self._rand),
                tuple(self._roster.values()),
                tuple(self._dealt(i) for i in sorted(self._clients)),
                self._survivors,
            )
        )
        self.fail()
        return state

    def _dealt(self, index: int) -> DealtState:
        name, held = self._clients[index], self._held.get(index)
        if held is None:
            return DealtState(index, name, 0, b"")
        return DealtState(index, name, held.floor, share_to_bytes(held.share.astype(np.uint64)))

    def wake(self, state: MemberState) -> None:
        """Go on where another object was suspended, which was given all else as this one."""
        self._phase = state.phase
        if not state.rand:
            self._pair = None
            self._rand[:] = bytes(MEMBER_RAND_BYTES)
        self._roster = {entry.membership.index: entry for entry in state.roster}
        if state.roster:
            self._session = session_id(self._plan, state.roster)
        self._clients = {dealt.index: dealt.client_id for dealt in state.dealt}
        self._names = set(self._clients.values())
        for dealt in state.dealt:
            if dealt.share:
                share = share_from_bytes(dealt.share, self._parameters.key_elements)
                self._held[dealt.index] = HeldShare(dealt.floor, share.astype(np.uint32))
        self._survivors = state.survivors

    def _enter(self, before: MemberPhase, after: MemberPhase) -> None:
        if self._phase is not before:
            raise PeerError(Reason.UNEXPECTED, f"not due in phase {self._phase.value}")
        self._phase = after

    def fail(self) -> None:
        """End without (further) answers and erase what is secret."""
        if self._phase is not MemberPhase.ENDED:
            self._phase = MemberPhase.FAILED
        self._erase()

    def _forget_key(self) -> None:
        self._pair = None
        self._rand[:] = bytes(MEMBER_RAND_BYTES)

    def _erase(self) -> None:
        self._forget_key()
        for held in self._held.values():
            held.share[:] = 0
        self._held.clear()

    def _decode(self, kind: type[M], message: bytes) -> M:
        return decode(kind, message, limit=server_limit(self._plan, self._parameters))

    def __repr__(self) -> str:
        return f"CommitteeMember({self._me.client_id}, {self._phase.value})"
