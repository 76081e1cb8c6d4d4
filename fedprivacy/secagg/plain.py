"""No protection: every client sends its vector in the clear, and the server adds.

The baseline and the comparison. It runs through the same contract as the protocols that protect,
and every default policy refuses it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import numpy as np

from fedprivacy.arithmetic import from_residues, to_residues, word_dtype
from fedprivacy.crypto import Directory, Identity
from fedprivacy.errors import ConfigurationError, PeerError, Reason, RoundAborted
from fedprivacy.randomness import Rng
from fedprivacy.secagg.cohort import Cohort, Digest, Membership
from fedprivacy.secagg.contract import (
    SERVER,
    Aborted,
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
from fedprivacy.secagg.uploads import (
    MAX_CHUNK_BYTES,
    MaskedChunk,
    PackedUpload,
    Spool,
    chunk_sizes,
    chunk_slices,
)
from fedprivacy.wire import DIGEST_BYTES, Message, decode, encode

__all__ = ["Plain", "PlainClient", "PlainInput", "PlainServer"]

_LIMIT = MAX_CHUNK_BYTES + 64


class PlainInput(Message, frozen=True, tag="plain-input"):
    """Closes a client's upload."""

    digest: Digest


class PlainClient:
    """Sends its vector, once."""

    def __init__(self, plan: SumPlan) -> None:
        self._plan = plan
        self._spent = False

    def start(self) -> Iterator[Effect]:
        """Nothing to say before the vector is ready."""
        return iter(())

    def receive(self, sender: str, message: bytes) -> Iterator[Effect]:
        """The server of this protocol sends nothing after its invitation."""
        raise PeerError(Reason.UNEXPECTED, "the plain protocol has no message for a client")

    def contribute(self, source: Source) -> Iterator[Effect]:
        if self._spent:
            raise ConfigurationError("this client has sent its vector: make a new one")
        if len(source) != self._plan.length:
            raise ConfigurationError(
                f"vector has {len(source)} values, the plan {self._plan.length}"
            )
        self._spent = True
        yield Persist(Mark.SPENT, "input")
        upload = PackedUpload(self._plan.modulus_bits)
        for part in chunk_slices(self._plan.length):
            residues = to_residues(source[part], self._plan.modulus_bits)
            yield SendChunk(SERVER, upload.chunk(residues))
        yield Send(SERVER, encode(PlainInput(upload.digest())))
        yield Done()

    def fail(self) -> None:
        self._spent = True


class PlainServer:
    """Adds what arrives until the deadline."""

    def __init__(self, plan: SumPlan, cohort: Cohort) -> None:
        self._plan = plan
        self._members = frozenset(cohort.members)
        self._waiting = set(self._members)
        self._spools: dict[str, Spool] = {}
        self._survivors: list[str] = []
        self._total = np.zeros(plan.length, dtype=word_dtype(plan.modulus_bits))
        self._over = False

    @property
    def phase(self) -> str:
        return "done" if self._over else "input"

    @property
    def waiting_for(self) -> frozenset[str]:
        return frozenset() if self._over else frozenset(self._waiting)

    def exclude(self, client_id: str) -> None:
        self._waiting.discard(client_id)
        self._spools.pop(client_id, None)

    def receive(self, sender: str, message: bytes) -> Iterator[Effect]:
        if sender not in self._members:
            raise PeerError(Reason.UNKNOWN_SENDER, "not a member of this round", (sender,))
        if not self._over and sender in self._survivors:
            raise PeerError(Reason.DUPLICATE, "this sender's input is in the sum", (sender,))
        if self._over or sender not in self._waiting:
            raise PeerError(Reason.LATE, "this sender is out of the round", (sender,))
        try:
            self._take(sender, decode(MaskedChunk | PlainInput, message, limit=_LIMIT))
        except PeerError as error:
            self.exclude(sender)
            raise error.blame(sender) from None
        return iter(())

    def _take(self, sender: str, message: MaskedChunk | PlainInput) -> None:
        plan = self._plan
        spool = self._spools.setdefault(sender, Spool(plan.length, plan.modulus_bits))
        if isinstance(message, MaskedChunk):
            spool.take(message)
            return
        spool.fold_into(self._total, message.digest)
        self.exclude(sender)
        self._survivors.append(sender)

    def advance(self) -> Iterator[Effect]:
        if self._over:
            raise ConfigurationError("the round is over: nothing to advance")
        self._over = True
        plan = self._plan
        self._spools.clear()
        if len(self._survivors) < plan.floor:
            detail = f"{len(self._survivors)} inputs where {plan.floor} are needed"
            yield Aborted(RoundAborted(Reason.TOO_FEW, detail))
            return
        total = from_residues(self._total.astype(np.uint64), plan.modulus_bits)
        yield Done(total, tuple(sorted(self._survivors)))


class Plain:
    """The protocol's entry in the registry."""

    name: ClassVar[str] = "plain"
    claim: ClassVar[str] = "plain-no-protection"
    adversaries: ClassVar[frozenset[Adversary]] = frozenset({Adversary.HONEST_BUT_CURIOUS})
    rand_bytes: ClassVar[int] = 0
    sparse: ClassVar[bool] = False

    @staticmethod
    def upload_sizes(
        adversary: Adversary, *, members: int, degree: int, length: int, modulus_bits: int
    ) -> Iterator[tuple[str, int]]:
        for size in chunk_sizes(length, modulus_bits):
            yield "input", size
        yield "input", len(encode(PlainInput(bytes(DIGEST_BYTES))))

    @staticmethod
    def server(
        plan: SumPlan, cohort: Cohort, directory: Directory | None, *, rng: Rng
    ) -> PlainServer:
        return PlainServer(plan, cohort)

    @staticmethod
    def client(
        plan: SumPlan,
        membership: Membership,
        *,
        identity: Identity,
        directory: Directory | None,
        floor: int,
        rand: bytes,
    ) -> PlainClient:
        return PlainClient(plan)
