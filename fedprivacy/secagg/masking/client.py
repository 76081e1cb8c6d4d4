"""A client of masked aggregation: one attempt at one sum, then dead.

Source: Bonawitz et al., "Practical Secure Aggregation for Privacy-Preserving Machine Learning",
CCS 2017, figure 4; the parts that only the malicious setting has are underlined there. The client
trusts nobody: what it is sent is checked before it is used, each phase is left before its answer
is computed, and whatever raises ends the client and erases its secrets.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import TypeVar

from fedprivacy.crypto import Directory, Identity, agree, public_key, verify
from fedprivacy.errors import ConfigurationError, PeerError, Reason
from fedprivacy.randomness import Keystream
from fedprivacy.secagg.cohort import Membership
from fedprivacy.secagg.contract import (
    SERVER,
    Adversary,
    Done,
    Effect,
    Mark,
    Persist,
    Send,
    SendChunk,
    Source,
    SumPlan,
)
from fedprivacy.secagg.masking.keys import (
    KEYS_LABEL,
    SURVIVORS_LABEL,
    Secret,
    pairwise_seed,
    self_seed,
    session_id,
    signed_keys,
    signed_survivors,
)
from fedprivacy.secagg.masking.masks import MaskedVector, Term
from fedprivacy.secagg.masking.messages import (
    ConsistencySignature,
    KeyAdvertisement,
    MaskedInput,
    OpenedShare,
    Roster,
    RosterEntry,
    ShareDelivery,
    SurvivorSet,
    UnmaskRequest,
    UnmaskShares,
    server_limit,
)
from fedprivacy.secagg.masking.roster import check_roster
from fedprivacy.secagg.masking.shares import HeldShares, deal, open_box
from fedprivacy.secagg.uploads import PackedUpload, chunk_slices
from fedprivacy.wire import Message, decode, encode

M = TypeVar("M", bound=Message)

__all__ = ["RAND_BYTES", "ClientPhase", "MaskingClient"]

_FIELDS = ("seal_private", "mask_private", "seed", "coefficients", "salts")
RAND_BYTES = 32 * len(_FIELDS)


class ClientPhase(enum.Enum):
    """What the client has done; the value is the name of the phase it is in."""

    NEW = "new"
    ADVERTISED = "keys"
    DEALT = "shares"
    HOLDING = "input"
    SENT = "sent"
    SIGNED = "consistency"
    ANSWERING = "unmasking"
    ENDED = "ended"
    FAILED = "failed"


_BEFORE_SENT = (ClientPhase.NEW, ClientPhase.ADVERTISED, ClientPhase.DEALT, ClientPhase.HOLDING)


class _Secrets:
    """The client's secrets; `erase` overwrites them, as far as Python allows."""

    def __init__(self, rand: bytes) -> None:
        if len(rand) != RAND_BYTES:
            raise ConfigurationError(f"rand has {len(rand)} bytes, not {RAND_BYTES}")
        self._rand = bytearray(rand)
        self.held: dict[int, HeldShares] = {}

    def __getitem__(self, name: str) -> bytes:
        start = 32 * _FIELDS.index(name)
        return bytes(self._rand[start : start + 32])

    def erase(self) -> None:
        self._rand[:] = bytes(len(self._rand))
        self.held.clear()

    def __repr__(self) -> str:
        return "<secrets>"


class MaskingClient:
    """One member's side of masked aggregation on the complete graph.

    `rand` are `RAND_BYTES` uniform bytes, used for nothing else. `floor` is the client's own least
    number of members in any set that it deals to, masks for or answers about; it is never taken
    from the server. In the malicious setting `identity` must be enrolled in `directory`.
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
        if plan.adversary is not Adversary.HONEST_BUT_CURIOUS and directory is None:
            raise ConfigurationError(f"adversary {plan.adversary.value} needs a directory: pin one")
        self._plan = plan
        self._me = membership
        self._identity = identity
        self._directory = directory
        # What the plan promises holds beside the client's own floor: the server keeps neither.
        self._least = max(plan.floor, floor)
        self._secrets = _Secrets(rand)
        self._limit = server_limit(plan)
        self._phase = ClientPhase.NEW
        self._source: Source | None = None
        self._own: RosterEntry | None = None
        self._roster: dict[int, RosterEntry] = {}
        self._session = b""
        self._dealers: tuple[int, ...] = ()
        self._unopened: tuple[int, ...] = ()
        self._survivors: tuple[int, ...] = ()

    @property
    def phase(self) -> ClientPhase:
        return self._phase

    @property
    def _signs(self) -> bool:
        return self._plan.adversary is not Adversary.HONEST_BUT_CURIOUS

    # ------------------------------------------------------------------ inputs

    def start(self) -> Iterator[Effect]:
        """Phase keys: advertise the round's public keys."""
        with _FatalTo(self):
            self._enter(ClientPhase.NEW, ClientPhase.ADVERTISED)
            yield Send(SERVER, encode(self._advertisement()))

    def receive(self, sender: str, message: bytes) -> Iterator[Effect]:
        """Take one message of the server; raises `PeerError` and nothing else because of it."""
        with _FatalTo(self):
            if sender != SERVER:
                raise PeerError(Reason.UNKNOWN_SENDER, "only the server speaks to a client")
            match self._phase:
                case ClientPhase.ADVERTISED:
                    yield from self._receive_roster(self._decode(Roster, message))
                case ClientPhase.DEALT:
                    yield from self._receive_shares(self._decode(ShareDelivery, message))
                case ClientPhase.SENT if self._signs:
                    yield from self._sign(self._decode(SurvivorSet, message))
                case ClientPhase.SENT:
                    survivors = self._accept_survivors(self._decode(SurvivorSet, message))
                    self._enter(ClientPhase.SENT, ClientPhase.ANSWERING)
                    yield self._persist_answer(survivors)
                    yield from self._unmask()
                case ClientPhase.SIGNED:
                    self._check_quorum(self._decode(UnmaskRequest, message))
                    yield from self._unmask()
                case ClientPhase.ENDED:
                    raise PeerError(Reason.ANSWERED, "this client has ended and answers no more")
                case _:
                    raise PeerError(Reason.UNEXPECTED, f"no message is due: {self._phase.value}")

    def contribute(self, source: Source) -> Iterator[Effect]:
        """The vector is ready; it leaves once the shares have come as well, in either order."""
        with _FatalTo(self):
            if self._source is not None or self._phase not in _BEFORE_SENT:
                raise ConfigurationError("this client takes no vector any more: make a new one")
            if len(source) != self._plan.length:
                raise ConfigurationError(
                    f"vector has {len(source)} values, the plan {self._plan.length}"
                )
            self._source = source
            if self._phase is ClientPhase.HOLDING:
                yield from self._send_input()

    # ------------------------------------------------------------------ phases

    def _advertisement(self) -> KeyAdvertisement:
        # > [BIK+17, round 0] (c_u^PK, c_u^SK) <- KA.gen, (s_u^PK, s_u^SK) <- KA.gen
        seal_key = public_key(self._secrets["seal_private"])
        mask_key = public_key(self._secrets["mask_private"])
        signature = b""
        if self._signs:
            # > [BIK+17, round 0] sigma_u <- SIG.sign(d_u^SK, c_u^PK || s_u^PK)
            signed = signed_keys(self._plan, self._me.index, seal_key, mask_key)
            signature = self._identity.key.sign(KEYS_LABEL, *signed)
        self._own = RosterEntry(self._me, seal_key, mask_key, signature)
        return KeyAdvertisement(seal_key, mask_key, signature)

    def _receive_roster(self, roster: Roster) -> Iterator[Effect]:
        plan, entries = self._plan, roster.entries
        # > [BIK+17, round 1] assert |U1| >= t, all keys differ, all signatures hold
        check_roster(plan, entries, self._own, least=self._least, directory=self._directory)
        self._enter(ClientPhase.ADVERTISED, ClientPhase.DEALT)
        self._roster = {entry.membership.index: entry for entry in entries}
        self._session = session_id(plan, entries)
        message = deal(
            self._session,
            self._me.index,
            {
                Secret.MASK_KEY: self._secrets["mask_private"],
                Secret.SEED: self._secrets["seed"],
            },
            self._secrets["seal_private"],
            entries,
            threshold=plan.threshold,
            coefficients=Keystream(self._secrets["coefficients"]),
            salts=Keystream(self._secrets["salts"]),
        )
        yield Send(SERVER, encode(message))

    def _receive_shares(self, delivery: ShareDelivery) -> Iterator[Effect]:
        dealers = tuple(box.peer for box in delivery.boxes)
        _check_ascending(dealers)
        if strangers := [d for d in dealers if d not in self._roster]:
            detail = f"a share from member {strangers[0]}, who is not in the roster"
            raise PeerError(Reason.UNKNOWN_DEALER, detail)
        # > [BIK+17, round 2] assert U2 is a subset of U1, |U2| >= t
        if len(dealers) < self._least:
            detail = f"{len(dealers)} dealers where {self._least} are needed"
            raise PeerError(Reason.ROSTER_SIZE, detail)
        if self._me.index not in dealers:
            raise PeerError(Reason.OWN_ENTRY, "this client's own shares were not delivered")
        self._enter(ClientPhase.DEALT, ClientPhase.HOLDING)
        self._dealers = dealers
        unopened = []
        for box in delivery.boxes:
            dealer = self._roster[box.peer]
            try:
                # A bad box costs its dealer a holder, not this client its round.
                self._secrets.held[box.peer] = open_box(
                    self._session, dealer, self._me.index, self._secrets["seal_private"], box
                )
            except PeerError:
                unopened.append(box.peer)
        self._unopened = tuple(unopened)
        if self._source is not None:
            yield from self._send_input()

    def _send_input(self) -> Iterator[Effect]:
        self._enter(ClientPhase.HOLDING, ClientPhase.SENT)
        source, self._source = self._source, None
        if source is None:
            raise ConfigurationError("there is no vector to send: contribute one first")
        yield Persist(Mark.SPENT, "input")
        masked = MaskedVector(self._plan.modulus_bits, self._masks())
        upload = PackedUpload(self._plan.modulus_bits)
        for part in chunk_slices(self._plan.length):
            yield SendChunk(SERVER, upload.chunk(masked.add_to(source[part])))
        yield Send(SERVER, encode(MaskedInput(upload.digest(), self._unopened)))

    def _masks(self) -> Iterator[Term]:
        """The terms of y_u: +PRG(b_u), +PRG(s_uv) for u < v, -PRG(s_uv) for u > v, v in U2."""
        me, private = self._me.index, self._secrets["mask_private"]
        yield Term(+1, self_seed(self._session, self._secrets["seed"], me))
        for v in self._dealers:
            if v != me:
                # > [BIK+17, round 2] s_{u,v} <- KA.agree(s_u^SK, s_v^PK)
                shared = agree(private, self._roster[v].mask_key)
                yield Term(+1 if me < v else -1, pairwise_seed(self._session, shared, me, v))

    def _accept_survivors(self, message: SurvivorSet) -> tuple[int, ...]:
        survivors = message.survivors
        _check_ascending(survivors)
        if strangers := sorted(set(survivors) - set(self._dealers)):
            detail = f"survivor {strangers[0]} dealt no shares"
            raise PeerError(Reason.SURVIVOR_UNKNOWN, detail)
        if self._me.index not in survivors:
            raise PeerError(Reason.NOT_SURVIVOR, "the survivor set leaves this client out")
        # > [BIK+17, round 3] assert U3 is a subset of U2, |U3| >= t
        if len(survivors) < self._least:
            detail = f"{len(survivors)} survivors where {self._least} are needed"
            raise PeerError(Reason.SURVIVORS_FEW, detail)
        self._survivors = survivors
        return survivors

    def _persist_answer(self, survivors: Sequence[int]) -> Persist:
        names = tuple(self._roster[i].membership.client_id for i in survivors)
        return Persist(Mark.ANSWERED, "unmasking", names)

    def _sign(self, message: SurvivorSet) -> Iterator[Effect]:
        survivors = self._accept_survivors(message)
        self._enter(ClientPhase.SENT, ClientPhase.ANSWERING)
        yield self._persist_answer(survivors)
        # Only with the mark committed is there a phase in which a request to unmask is taken.
        self._enter(ClientPhase.ANSWERING, ClientPhase.SIGNED)
        # > [BIK+17, round 3] sigma'_u <- SIG.sign(d_u^SK, U3)
        statement = signed_survivors(self._session, self._plan.broadcast, survivors)
        signature = self._identity.key.sign(SURVIVORS_LABEL, *statement)
        yield Send(SERVER, encode(ConsistencySignature(signature)))

    def _check_quorum(self, request: UnmaskRequest) -> None:
        """> [BIK+17, round 4] assert U4 subset of U3, |U4| >= t, every signature is over U3."""
        signers = [s.signer for s in request.signatures]
        _check_ascending(signers)
        statement = signed_survivors(self._session, self._plan.broadcast, self._survivors)
        for relayed in request.signatures:
            key = self._identity_of(relayed.signer)
            if key is None or not verify(key, relayed.signature, SURVIVORS_LABEL, *statement):
                detail = f"member {relayed.signer} has not signed these survivors"
                raise PeerError(Reason.CONSISTENCY_SIGNATURE, detail)
        if len(signers) < self._plan.threshold:
            detail = f"{len(signers)} signatures where {self._plan.threshold} are needed"
            raise PeerError(Reason.CONSISTENCY_QUORUM, detail)

    def _identity_of(self, index: int) -> bytes | None:
        if index not in self._survivors or self._directory is None:
            return None
        return self._directory.key_of(self._roster[index].membership.client_id)

    def _unmask(self) -> Iterator[Effect]:
        survivors = set(self._survivors)
        opened = []
        for dealer, held in sorted(self._secrets.held.items()):
            # Exactly one of the two, by whether the dealer survived: never both.
            # > [BIK+17, round 4] s_v^SK for v in U2 \ U3, b_v for v in U3
            secret = Secret.SEED if dealer in survivors else Secret.MASK_KEY
            opened.append(OpenedShare(dealer, held.shares[secret], held.salts[secret]))
        self._phase = ClientPhase.ENDED
        self._erase()
        yield Send(SERVER, encode(UnmaskShares(tuple(opened))))
        yield Done()

    # ------------------------------------------------------------------ state

    def _enter(self, before: ClientPhase, after: ClientPhase) -> None:
        if self._phase is not before:
            raise PeerError(Reason.UNEXPECTED, f"not due in phase {self._phase.value}")
        self._phase = after

    def fail(self) -> None:
        """End without (further) answers and erase what is secret."""
        if self._phase is not ClientPhase.ENDED:
            self._phase = ClientPhase.FAILED
        self._erase()

    def _erase(self) -> None:
        self._source = None
        self._secrets.erase()

    def _decode(self, kind: type[M], message: bytes) -> M:
        return decode(kind, message, limit=self._limit)

    def __repr__(self) -> str:
        return f"MaskingClient({self._me.client_id}, {self._phase.value})"


class _FatalTo:
    """Whatever is raised inside, or a stream of effects left unread, ends the client."""

    def __init__(self, client: MaskingClient) -> None:
        self._client = client

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self._client.fail()


def _check_ascending(indices: Sequence[int]) -> None:
    if any(a >= b for a, b in pairwise(indices)):
        raise PeerError(Reason.NON_CANONICAL, "members are not in ascending order")
