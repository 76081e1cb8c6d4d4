"""A client of masked aggregation: one attempt at one sum, then dead.

Source: Bonawitz et al., "Practical Secure Aggregation for Privacy-Preserving Machine Learning",
CCS 2017, figure 4; the parts that only the malicious setting has are underlined there. What the
graph decides stands in `complete` and `sparse`. The client trusts nobody: what it is sent is
checked before it is used, each phase is left before its answer is computed, and whatever raises
ends the client and erases its secrets.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from fedprivacy.crypto import Directory, Identity
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
from fedprivacy.secagg.fatal import FatalTo
from fedprivacy.secagg.masking.acknowledgements import (
    are_acknowledged,
    check_boxes,
    check_committed,
    split_acknowledgements,
)
from fedprivacy.secagg.masking.client_secrets import ClientSecrets
from fedprivacy.secagg.masking.client_state import ClientPhase, MaskingState, PeerState
from fedprivacy.secagg.masking.keys import (
    KEYS_LABEL,
    Secret,
    pairwise_seed,
    self_seed,
    signed_keys,
)
from fedprivacy.secagg.masking.masks import MaskedVector, Term
from fedprivacy.secagg.masking.messages import (
    ACKNOWLEDGEMENT_BYTES,
    AcknowledgedInput,
    AcknowledgedSurvivors,
    KeyAdvertisement,
    MaskedInput,
    OpenedShare,
    RosterEntry,
    ShareDelivery,
    SurvivorSet,
    UnmaskRequest,
    UnmaskShares,
    server_limit,
)
from fedprivacy.secagg.masking.neighbours import ClientGraph, check_ascending
from fedprivacy.secagg.masking.shares import deal, open_box
from fedprivacy.secagg.uploads import PackedUpload, chunk_slices
from fedprivacy.wire import Message, decode, encode

M = TypeVar("M", bound=Message)

__all__ = ["MaskingClient"]

_BEFORE_SENT = (ClientPhase.NEW, ClientPhase.ADVERTISED, ClientPhase.DEALT, ClientPhase.HOLDING)
_BETWEEN_MESSAGES = (*_BEFORE_SENT[1:], ClientPhase.SENT, ClientPhase.SIGNED)


@dataclass(frozen=True, slots=True)
class _Peer:
    """A member that was shown to the client."""

    client_id: str
    mask_key: bytes


class MaskingClient:
    """One member's side of masked aggregation.

    `state` is a new one, or where an earlier object of this client was suspended. `graph` has the
    plan, and the client's own least number of members, which is never taken from the server. Where
    survivors sign, `identity` must be enrolled in `directory`.
    """

    def __init__(
        self,
        plan: SumPlan,
        membership: Membership,
        graph: ClientGraph,
        *,
        identity: Identity,
        directory: Directory | None,
        state: MaskingState,
    ) -> None:
        if plan.adversary is not Adversary.HONEST_BUT_CURIOUS and directory is None:
            raise ConfigurationError(f"adversary {plan.adversary.value} needs a directory: pin one")
        self._plan = plan
        self._me = membership
        self._graph = graph
        self._identity = identity
        self._directory = directory
        self._limit = server_limit(plan)
        self._told_in = AcknowledgedSurvivors if are_acknowledged(plan) else SurvivorSet
        self._source: Source | None = None
        self._phase = state.phase
        self._secrets = secrets = ClientSecrets(state.rand)
        peers = state.peers
        secrets.channels = {p.index: p.channel for p in peers if p.channel}
        secrets.acknowledgements = {p.index: p.acknowledgement for p in peers if p.acknowledgement}
        secrets.held = {p.index: p.held for p in peers if p.held}
        self._session = state.session
        self._peers = {p.index: _Peer(p.client_id, p.mask_key) for p in peers}
        self._unopened = state.unopened
        self._survivors = state.survivors
        self._own: RosterEntry | None = None

    @property
    def phase(self) -> ClientPhase:
        return self._phase

    @property
    def _signs(self) -> bool:
        return self._plan.adversary is not Adversary.HONEST_BUT_CURIOUS

    # ------------------------------------------------------------------ inputs

    def start(self) -> Iterator[Effect]:
        """Phase keys: advertise the round's public keys."""
        with FatalTo(self):
            self._enter(ClientPhase.NEW, ClientPhase.ADVERTISED)
            own = self._entry()
            yield Send(SERVER, encode(KeyAdvertisement(own.seal_key, own.mask_key, own.signature)))

    def receive(self, sender: str, message: bytes) -> Iterator[Effect]:
        """Take one message of the server; raises `PeerError` and nothing else because of it."""
        with FatalTo(self):
            if sender != SERVER:
                raise PeerError(Reason.UNKNOWN_SENDER, "only the server speaks to a client")
            match self._phase:
                case ClientPhase.ADVERTISED:
                    yield from self._receive_roster(self._decode(self._graph.shown_in, message))
                case ClientPhase.DEALT:
                    yield from self._receive_shares(self._decode(ShareDelivery, message))
                case ClientPhase.SENT if self._signs:
                    yield from self._sign(self._decode(self._told_in, message))
                case ClientPhase.SENT:
                    survivors = self._accept_survivors(self._decode(self._told_in, message))
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
        with FatalTo(self):
            if self._source is not None or self._phase not in _BEFORE_SENT:
                raise ConfigurationError("this client takes no vector any more: make a new one")
            if len(source) != self._plan.length:
                raise ConfigurationError(
                    f"vector has {len(source)} values, the plan {self._plan.length}"
                )
            self._source = source
            if self._phase is ClientPhase.HOLDING:
                yield from self._send_input()

    def suspend(self) -> bytes:
        """What this client needs to go on, secrets and all; the object is then dead."""
        if self._source is not None:
            raise ConfigurationError(
                "a contributed vector waits for its time: suspend before contributing it, or once "
                "it has left"
            )
        if self._phase not in _BETWEEN_MESSAGES:
            raise ConfigurationError(
                f"a client in phase {self._phase.value} cannot be suspended: only between two "
                "messages of its round"
            )
        state = encode(self._state())
        self.fail()
        return state

    def _state(self) -> MaskingState:
        secrets, is_sent = self._secrets, self._phase not in _BEFORE_SENT
        peers = tuple(
            PeerState(
                index=v,
                client_id=peer.client_id,
                mask_key=b"" if is_sent else peer.mask_key,
                channel=secrets.channels.get(v, b""),
                acknowledgement=secrets.acknowledgements.get(v, b""),
                held=secrets.held.get(v),
            )
            for v, peer in self._peers.items()
        )
        return MaskingState(
            self._phase, secrets.rand, self._session, peers, self._unopened, self._survivors
        )

    # ------------------------------------------------------------------ phases

    def _entry(self) -> RosterEntry:
        """How the others are to see this client: with the keys that it sent."""
        if self._own is None:
            self._own = self._sign_keys()
        return self._own

    def _sign_keys(self) -> RosterEntry:
        # > [BIK+17, round 0] (c_u^PK, c_u^SK) <- KA.gen, (s_u^PK, s_u^SK) <- KA.gen
        seal_key, mask_key = self._secrets.seal.public, self._secrets.mask.public
        signature = b""
        if self._signs:
            # > [BIK+17, round 0] sigma_u <- SIG.sign(d_u^SK, c_u^PK || s_u^PK)
            signed = signed_keys(self._plan, self._me.index, seal_key, mask_key)
            signature = self._identity.key.sign(KEYS_LABEL, *signed)
        return RosterEntry(self._me, seal_key, mask_key, signature)

    def _receive_roster(self, shown: Message) -> Iterator[Effect]:
        neighbours = self._graph.accept(shown, self._entry())
        self._enter(ClientPhase.ADVERTISED, ClientPhase.DEALT)
        self._session = neighbours.session
        entries = {entry.membership.index: entry for entry in neighbours.entries}
        self._peers = {v: _Peer(e.membership.client_id, e.mask_key) for v, e in entries.items()}
        secrets, seal = self._secrets, self._secrets.seal
        # > [BIK+17, round 1] KA.agree(c_u^SK, c_v^PK)
        secrets.channels = {v: seal.agree(e.seal_key) for v, e in entries.items()}
        salts = Keystream(secrets["salts"])
        if are_acknowledged(self._plan):
            secrets.acknowledgements = {v: salts.read(ACKNOWLEDGEMENT_BYTES) for v in entries}
        message = deal(
            self._session,
            self._me.index,
            {Secret.MASK_KEY: secrets["mask_private"], Secret.SEED: secrets["seed"]},
            secrets.channels,
            secrets.acknowledgements,
            threshold=self._plan.threshold,
            coefficients=Keystream(secrets["coefficients"]),
            salts=salts,
        )
        secrets.erase_dealing()
        yield Send(SERVER, encode(message))

    def _receive_shares(self, delivery: ShareDelivery) -> Iterator[Effect]:
        check_boxes(self._plan, delivery.boxes)
        dealers = tuple(box.peer for box in delivery.boxes)
        check_ascending(dealers)
        if strangers := [d for d in dealers if d not in self._peers]:
            detail = f"a share from member {strangers[0]}, whom this client was not shown"
            raise PeerError(Reason.UNKNOWN_DEALER, detail)
        # > [BIK+17, round 2] assert U2 is a subset of U1, |U2| >= t
        if len(dealers) < self._graph.least:
            detail = f"{len(dealers)} dealers where {self._graph.least} are needed"
            raise PeerError(Reason.ROSTER_SIZE, detail)
        if self._me.index not in dealers:
            raise PeerError(Reason.OWN_ENTRY, "this client's own shares were not delivered")
        self._enter(ClientPhase.DEALT, ClientPhase.HOLDING)
        # Who dealt no shares is none of this client's peers any more.
        self._peers = {d: self._peers[d] for d in dealers}
        unopened = []
        for box in delivery.boxes:
            try:
                # A bad box costs its dealer a holder, not this client its round.
                self._secrets.held[box.peer] = open_box(
                    self._session, self._me.index, self._secrets.channels[box.peer], box
                )
            except PeerError:
                unopened.append(box.peer)
        self._secrets.erase_channels()
        self._unopened = tuple(unopened)
        if self._source is not None:
            yield from self._send_input()

    def _send_input(self) -> Iterator[Effect]:
        self._enter(ClientPhase.HOLDING, ClientPhase.SENDING)
        source, self._source = self._source, None
        if source is None:
            raise ConfigurationError("there is no vector to send: contribute one first")
        yield Persist(Mark.SPENT, "input")
        masked = MaskedVector(self._plan.modulus_bits, self._masks())
        upload = PackedUpload(self._plan, self._me.index)
        for part in chunk_slices(self._plan.length):
            yield SendChunk(SERVER, upload.chunk(masked.add_to(source[part])))
        closing = encode(self._closing(upload.checksum()))
        self._secrets.erase_input()
        # Only with the whole input gone is there a phase in which survivors are taken.
        self._enter(ClientPhase.SENDING, ClientPhase.SENT)
        yield Send(SERVER, closing)

    def _closing(self, checksum: bytes) -> MaskedInput:
        if not are_acknowledged(self._plan):
            return MaskedInput(checksum, self._unopened)
        given = self._secrets.acknowledgements
        masked_with = b"".join(given[v] for v in self._peers if v != self._me.index)
        return AcknowledgedInput(checksum, self._unopened, masked_with)

    def _masks(self) -> Iterator[Term]:
        """The terms of y_u: +PRG(b_u), +PRG(s_uv) for u < v, -PRG(s_uv) for u > v, v in U2."""
        me, mask = self._me.index, self._secrets.mask
        yield Term(+1, self_seed(self._session, self._secrets["seed"], me))
        for v, peer in self._peers.items():
            if v != me:
                # > [BIK+17, round 2] s_{u,v} <- KA.agree(s_u^SK, s_v^PK)
                shared = mask.agree(peer.mask_key)
                yield Term(+1 if me < v else -1, pairwise_seed(self._session, shared, me, v))

    def _accept_survivors(self, message: SurvivorSet) -> tuple[int, ...]:
        survivors = message.survivors
        check_ascending(survivors)
        if strangers := sorted(set(survivors) - set(self._peers)):
            detail = f"survivor {strangers[0]} dealt no shares"
            raise PeerError(Reason.SURVIVOR_UNKNOWN, detail)
        if self._me.index not in survivors:
            raise PeerError(Reason.NOT_SURVIVOR, "the survivor set leaves this client out")
        # > [BIK+17, round 3] assert U3 is a subset of U2, |U3| >= t
        if len(survivors) < self._graph.least:
            detail = f"{len(survivors)} survivors where {self._graph.least} are needed"
            raise PeerError(Reason.SURVIVORS_FEW, detail)
        if isinstance(message, AcknowledgedSurvivors):
            self._check_acknowledged(message)
        self._survivors = survivors
        return survivors

    def _check_acknowledged(self, message: AcknowledgedSurvivors) -> None:
        others = [v for v in message.survivors if v != self._me.index]
        given = split_acknowledgements(message.acknowledgements, len(others))
        for v, acknowledgement in zip(others, given, strict=True):
            # Of whose box did not open this client holds no share: it could not answer for it.
            if held := self._secrets.held.get(v):
                commitment = held.acknowledgement
                check_committed(self._session, v, self._me.index, acknowledgement, commitment)

    def _persist_answer(self, survivors: Sequence[int]) -> Persist:
        names = self._graph.answers_for([self._peers[i].client_id for i in survivors])
        return Persist(Mark.ANSWERED, "unmasking", names)

    def _sign(self, message: SurvivorSet) -> Iterator[Effect]:
        survivors = self._accept_survivors(message)
        self._enter(ClientPhase.SENT, ClientPhase.ANSWERING)
        yield self._persist_answer(survivors)
        # Only with the mark committed is there a phase in which a request to unmask is taken.
        self._enter(ClientPhase.ANSWERING, ClientPhase.SIGNED)
        key, me = self._identity.key, self._me.index
        yield Send(SERVER, encode(self._graph.sign(key, self._session, me, survivors)))

    def _check_quorum(self, request: UnmaskRequest) -> None:
        self._graph.check_request(
            request, self._session, self._me.index, self._survivors, self._identity_of
        )

    def _identity_of(self, index: int) -> bytes | None:
        if index not in self._survivors or self._directory is None:
            return None
        return self._directory.key_of(self._peers[index].client_id)

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
