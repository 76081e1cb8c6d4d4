"""No protection: every client sends its vector in the clear, and the server adds.

The baseline and the comparison. It runs through the same contract as the protocols that protect,
and every default policy refuses it.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Executor
from typing import ClassVar

from fedprivacy.arithmetic import to_residues
from fedprivacy.crypto import CHECKSUM_BYTES, Directory, Identity
from fedprivacy.errors import ConfigurationError, PeerError, Reason, RoundAborted
from fedprivacy.randomness import Rng
from fedprivacy.secagg.cohort import Cohort, Membership
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
    Check,
    MaskedChunk,
    PackedUpload,
    Uploads,
    chunk_sizes,
    chunk_slices,
)
from fedprivacy.secagg.work import Work
from fedprivacy.wire import Message, decode, encode

__all__ = ["Plain", "PlainClient", "PlainInput", "PlainServer"]

_LIMIT = MAX_CHUNK_BYTES + 64


class PlainInput(Message, frozen=True, tag="plain-input"):
    """Closes a client's upload."""

    checksum: Check


class PlainClient:
    """Sends its vector, once."""

    def __init__(self, plan: SumPlan, membership: Membership) -> None:
        self._plan = plan
        self._me = membership
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
        upload = PackedUpload(self._plan, self._me.index)
        for part in chunk_slices(self._plan.length):
            residues = to_residues(source[part], self._plan.modulus_bits)
            yield SendChunk(SERVER, upload.chunk(residues))
        yield Send(SERVER, encode(PlainInput(upload.checksum())))
        yield Done()

    def suspend(self) -> bytes:
        """Nothing: before its vector is ready it has done nothing, and afterwards it has ended."""
        if self._spent:
            raise ConfigurationError("this client has ended: there is nothing to suspend")
        self._spent = True
        return b""

    def fail(self) -> None:
        self._spent = True


class PlainServer:
    """Adds what arrives until the deadline."""

    def __init__(self, plan: SumPlan, cohort: Cohort) -> None:
        self._plan = plan
        self._index = {name: i for i, name in enumerate(cohort.members)}
        self._waiting = set(self._index)
        self._survivors: list[str] = []
        self._uploads = Uploads(plan)
        self._seen = False
        self._over = False

    @property
    def phase(self) -> str:
        return "done" if self._over else "input"

    @property
    def waiting_for(self) -> frozenset[str]:
        return frozenset() if self._over else frozenset(self._waiting)

    def exclude(self, client_id: str) -> None:
        self._waiting.discard(client_id)
        if client_id in self._index:
            self._uploads.drop(self._index[client_id])

    def receive(self, sender: str, message: bytes) -> Iterator[Effect]:
        if sender not in self._index:
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
        except RoundAborted as error:
            self._over = True
            self._uploads.clear()
            return iter((Aborted(error),))
        # Nothing stands between an input and the server: with the first, something is known.
        first, self._seen = not self._seen, True
        return iter((Persist(Mark.UNMASKING, "input"),) if first else ())

    def _take(self, sender: str, message: MaskedChunk | PlainInput) -> None:
        index = self._index[sender]
        if isinstance(message, MaskedChunk):
            self._uploads.take(index, message)
            return
        self._uploads.fold(index, message.checksum)
        self.exclude(sender)
        self._survivors.append(sender)

    def advance(self) -> Iterator[Effect]:
        if self._over:
            raise ConfigurationError("the round is over: nothing to advance")
        self._over = True
        plan = self._plan
        self._uploads.clear()
        if len(self._survivors) < plan.floor:
            detail = f"{len(self._survivors)} inputs where {plan.floor} are needed"
            yield Aborted(RoundAborted(Reason.TOO_FEW, detail))
            return
        yield Done(self._uploads.total, tuple(sorted(self._survivors)))


class Plain:
    """The protocol's entry in the registry."""

    name: ClassVar[str] = "plain"
    claim: ClassVar[str] = "plain-no-protection"
    adversaries: ClassVar[frozenset[Adversary]] = frozenset({Adversary.HONEST_BUT_CURIOUS})
    rand_bytes: ClassVar[int] = 0
    sparse: ClassVar[bool] = False

    @staticmethod
    def upload_sizes(plan: SumPlan) -> Iterator[tuple[str, int]]:
        for size in chunk_sizes(plan.length, plan.modulus_bits):
            yield "input", size
        yield "input", len(encode(PlainInput(bytes(CHECKSUM_BYTES))))

    @staticmethod
    def download_sizes(plan: SumPlan, *, id_bytes: int) -> Iterator[tuple[str, int]]:
        return iter(())

    @staticmethod
    def work(plan: SumPlan, *, lost: int) -> tuple[Work, Work]:
        present, length = plan.cohort_size - lost, plan.length
        return (
            Work(values_packed=length),
            Work(values_folded=present * length, values_released=length),
        )

    @staticmethod
    def server(
        plan: SumPlan,
        cohort: Cohort,
        directory: Directory | None,
        *,
        rng: Rng,
        pool: Executor | None = None,
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
        return PlainClient(plan, membership)

    @staticmethod
    def resume(
        state: bytes,
        plan: SumPlan,
        membership: Membership,
        *,
        identity: Identity,
        directory: Directory | None,
        floor: int,
    ) -> PlainClient:
        if state:
            raise PeerError(Reason.MALFORMED, "a client of the plain protocol has no state")
        return PlainClient(plan, membership)
