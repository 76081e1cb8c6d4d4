"""A client of homomorphic aggregation: it encrypts its vector, and later decrypts the sum.

It holds the secret key that all clients share. It decrypts one sum a round, of which the marks
say that it is this round's and that of the survivors who are named, itself and enough others
among them.
"""

from __future__ import annotations

import enum
import hashlib
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from fedprivacy.arithmetic import to_residues
from fedprivacy.errors import ConfigurationError, PeerError, Reason
from fedprivacy.secagg.ceremony import GroupKey
from fedprivacy.secagg.cohort import Membership
from fedprivacy.secagg.contract import (
    SERVER,
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
from fedprivacy.secagg.homomorphic.encoding import Marks, read_slots, slots_of
from fedprivacy.secagg.homomorphic.messages import (
    CiphertextChunk,
    DecryptedSum,
    EncryptedSum,
    Seals,
    sum_limit,
)
from fedprivacy.secagg.homomorphic.native import NativeContext
from fedprivacy.secagg.homomorphic.schemes import Scheme, layout_of
from fedprivacy.secagg.homomorphic.structure import check_structure
from fedprivacy.secagg.uploads import CHUNK_VALUES, PackedUpload
from fedprivacy.wire import Message, decode, encode

__all__ = ["HomomorphicClient", "PlainDigest", "opened_context"]


class HomomorphicPhase(enum.Enum):
    """What the client has done."""

    WAITING = "waiting"
    """For its own vector."""
    SENT = "input"
    """It waits for the sum."""
    DECRYPTING = "decryption"
    ENDED = "ended"
    FAILED = "failed"


class _State(Message, frozen=True, tag="homomorphic-client"):
    """What a client is suspended with: everything secret lies in its ceremony's file."""

    sent: bool


_STATE_LIMIT = 64


class PlainDigest:
    """SHA-256 of a decrypted sum: two clients' are alike."""

    def __init__(self, plan: SumPlan, index: int) -> None:
        self._state = hashlib.sha256(plan.round_id)

    def update(self, data: bytes | memoryview) -> None:
        self._state.update(data)

    def value(self) -> bytes:
        return self._state.digest()


def opened_context(scheme: Scheme, key: GroupKey) -> NativeContext:
    """The key's context; raises `ConfigurationError` for a key of another scheme."""
    if key.protocol != scheme.name:
        raise ConfigurationError(
            f"the ceremony's key is for {key.protocol}, the plan says {scheme.name}: take the one "
            "of its own ceremony"
        )
    try:
        return NativeContext.load(scheme, key.context)
    except ValueError:
        raise ConfigurationError(
            "the ceremony's key file is damaged: copy it again from another client"
        ) from None


class HomomorphicClient:
    """One client's side; `floor` is its own least number of clients in a sum that it decrypts."""

    def __init__(
        self,
        scheme: Scheme,
        plan: SumPlan,
        membership: Membership,
        *,
        key: GroupKey,
        floor: int,
        sent: bool = False,
    ) -> None:
        self._layout = layout_of(scheme, plan)
        self._plan = plan
        self._me = membership
        self._floor = max(plan.floor, floor)
        self._phase = HomomorphicPhase.SENT if sent else HomomorphicPhase.WAITING
        self._context: NativeContext | None = opened_context(scheme, key)
        self._marks_key = key.membership
        self._seals = Seals(plan, key.admission)
        self._survivors: tuple[str, ...] = ()
        self._marks: Iterator[NDArray[np.int64]] = iter(())
        self._next = 0
        self._left = plan.length
        self._upload = PackedUpload(plan, membership.index, PlainDigest)
        self._decrypted: list[NDArray[np.int64]] = []

    @classmethod
    def resumed(
        cls,
        state: bytes,
        scheme: Scheme,
        plan: SumPlan,
        membership: Membership,
        *,
        key: GroupKey,
        floor: int,
    ) -> HomomorphicClient:
        """The client that was suspended with this state; raises `PeerError` for other bytes."""
        sent = decode(_State, state, limit=_STATE_LIMIT).sent
        return cls(scheme, plan, membership, key=key, floor=floor, sent=sent)

    @property
    def phase(self) -> HomomorphicPhase:
        return self._phase

    def start(self) -> Iterator[Effect]:
        """Nothing to say before the vector is ready."""
        return iter(())

    # ------------------------------------------------------------------ input

    def contribute(self, source: Source) -> Iterator[Effect]:
        """Encrypt the vector and send it, one ciphertext at a time."""
        with FatalTo(self):
            if self._phase is not HomomorphicPhase.WAITING:
                raise ConfigurationError("this client takes no vector any more: make a new one")
            if len(source) != self._plan.length:
                raise ConfigurationError(
                    f"vector has {len(source)} values, the plan {self._plan.length}"
                )
            self._phase = HomomorphicPhase.SENT
            yield Persist(Mark.SPENT, "input")
            context, mine = self._opened(), self._marks_of((self._me.client_id,))
            for sequence, slots in enumerate(slots_of(self._layout, source, mine)):
                chunk = self._seals.seal(self._me.index, sequence, context.encrypt(slots))
                yield SendChunk(SERVER, encode(chunk))

    def _opened(self) -> NativeContext:
        if self._context is None:
            raise ConfigurationError("this client has ended: make a new one")
        return self._context

    def _marks_of(self, members: tuple[str, ...]) -> Marks:
        return Marks(self._layout, self._marks_key, self._plan.round_id, members)

    # ------------------------------------------------------------------ decryption

    def receive(self, sender: str, message: bytes) -> Iterator[Effect]:
        """Take the encrypted sum; raises `PeerError` and nothing else because of it."""
        with FatalTo(self):
            if sender != SERVER:
                raise PeerError(Reason.UNKNOWN_SENDER, "only the server speaks to a client")
            limit = sum_limit(self._plan, self._layout.scheme)
            told: EncryptedSum | CiphertextChunk = decode(
                EncryptedSum | CiphertextChunk, message, limit=limit
            )
            if isinstance(told, EncryptedSum):
                yield from self._take_survivors(told.survivors)
            else:
                yield from self._take_ciphertext(told)

    def _take_survivors(self, survivors: tuple[str, ...]) -> Iterator[Effect]:
        if self._phase is HomomorphicPhase.ENDED or self._survivors:
            raise PeerError(Reason.ANSWERED, "this client decrypts one sum in a round")
        if self._phase is not HomomorphicPhase.SENT:
            raise PeerError(Reason.UNEXPECTED, f"no sum is due: {self._phase.value}")
        if list(survivors) != sorted(set(survivors)):
            raise PeerError(Reason.MALFORMED, "the survivors are not ascending, each once")
        if self._me.client_id not in survivors:
            raise PeerError(Reason.NOT_SURVIVOR, "the sum leaves this client out")
        if not self._floor <= len(survivors) <= self._plan.cohort_size:
            detail = f"{len(survivors)} survivors of {self._plan.cohort_size}, at least "
            raise PeerError(Reason.SURVIVORS_FEW, f"{detail}{self._floor} are wanted")
        self._survivors, self._phase = survivors, HomomorphicPhase.DECRYPTING
        self._marks = iter(self._marks_of(survivors))
        yield Persist(Mark.ANSWERED, "decryption", survivors)

    def _take_ciphertext(self, chunk: CiphertextChunk) -> Iterator[Effect]:
        if self._phase is not HomomorphicPhase.DECRYPTING:
            raise PeerError(Reason.UNEXPECTED, f"no ciphertext is due: {self._phase.value}")
        if chunk.sequence != self._next:
            detail = f"ciphertext {chunk.sequence} where {self._next} is next"
            raise PeerError(Reason.CHUNK_ORDER, detail)
        self._seals.check(None, chunk)
        check_structure(self._layout.scheme, chunk.data)
        self._next += 1
        try:
            slots = self._opened().decrypt(bytes(chunk.data))
        except ValueError as error:
            raise PeerError(Reason.CIPHERTEXT, str(error)) from None
        values = read_slots(self._layout, slots, next(self._marks), len(self._survivors))
        values = values[: self._left]
        self._left -= len(values)
        self._decrypted.append(values)
        yield from self._send_whole_chunks()

    def _send_whole_chunks(self) -> Iterator[Effect]:
        """Of the sum in the clear, what fills a chunk; at its end, the rest."""
        while (held := sum(map(len, self._decrypted))) >= CHUNK_VALUES or (held and not self._left):
            values = np.concatenate(self._decrypted)
            part, rest = values[:CHUNK_VALUES], values[CHUNK_VALUES:]
            self._decrypted = [rest] if len(rest) else []
            residues = to_residues(part, self._plan.modulus_bits)
            yield SendChunk(SERVER, self._upload.chunk(residues))
        if not self._left:
            self._phase = HomomorphicPhase.ENDED
            self._erase()
            yield Send(SERVER, encode(DecryptedSum(self._upload.checksum())))
            yield Done(survivors=self._survivors)

    # ------------------------------------------------------------------ its end

    def suspend(self) -> bytes:
        """Before its vector, or while it waits for the sum."""
        if self._phase not in (HomomorphicPhase.WAITING, HomomorphicPhase.SENT):
            raise ConfigurationError(f"nothing to suspend: {self._phase.value}")
        state = encode(_State(self._phase is HomomorphicPhase.SENT))
        self.fail()
        return state

    def fail(self) -> None:
        """End without (further) messages and forget what is secret."""
        if self._phase is not HomomorphicPhase.ENDED:
            self._phase = HomomorphicPhase.FAILED
        self._erase()

    def _erase(self) -> None:
        self._context = None
        self._marks_key = b""
        self._decrypted = []

    def __repr__(self) -> str:
        return f"HomomorphicClient({self._me.client_id}, {self._phase.value})"
