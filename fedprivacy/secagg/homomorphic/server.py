"""The server of homomorphic aggregation: it adds ciphertexts, and is told the sum by the clients.

What a client sends is authenticated, then its structure is checked, then a worker process loads it;
only then is it kept. A client's vector counts once all of it is there. One sum is held, and what
has come of unfinished vectors.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, Executor
from typing import IO, TypeVar

from fedprivacy.errors import ConfigurationError, PeerError, Reason, RoundAborted
from fedprivacy.secagg.ceremony import Admission
from fedprivacy.secagg.cohort import Cohort
from fedprivacy.secagg.contract import (
    Aborted,
    Done,
    Effect,
    Mark,
    Persist,
    Send,
    SendChunk,
    SumPlan,
)
from fedprivacy.secagg.homomorphic.client import PlainDigest
from fedprivacy.secagg.homomorphic.messages import (
    CiphertextChunk,
    DecryptedSum,
    EncryptedSum,
    Seals,
    client_limit,
)
from fedprivacy.secagg.homomorphic.native import add, check
from fedprivacy.secagg.homomorphic.schemes import Scheme, layout_of
from fedprivacy.secagg.homomorphic.structure import check_structure
from fedprivacy.secagg.homomorphic.worker import WorkerProcess
from fedprivacy.secagg.uploads import MaskedChunk, Uploads, disk
from fedprivacy.wire import decode, encode

__all__ = ["HomomorphicServer"]

R = TypeVar("R")
_KEPT_IN_MEMORY = 1 << 22  # bytes of one unfinished vector
_Answer = MaskedChunk | DecryptedSum


class _Spool:
    """The ciphertexts of one vector until it is whole."""

    def __init__(self) -> None:
        self._file: IO[bytes] = tempfile.SpooledTemporaryFile(_KEPT_IN_MEMORY)  # noqa: SIM115
        self.sizes: list[int] = []

    def put(self, data: bytes) -> None:
        with disk():
            self._file.write(data)
        self.sizes.append(len(data))

    def ciphertexts(self) -> Iterator[bytes]:
        with disk():
            self._file.seek(0)
        for size in self.sizes:
            with disk():
                data = self._file.read(size)
            yield data

    def close(self) -> None:
        self._file.close()


class HomomorphicServer:
    """The server's side.

    `pool` runs what loads peers' bytes in another process, and goes on when one has died: a
    `WorkerProcess`. Without one the server makes its own, and ends it with the round.
    """

    def __init__(
        self,
        scheme: Scheme,
        plan: SumPlan,
        cohort: Cohort,
        *,
        admission: Admission,
        pool: Executor | None,
    ) -> None:
        if admission.protocol != scheme.name:
            raise ConfigurationError(
                f"the ceremony's part is for {admission.protocol}, the plan says {scheme.name}: "
                "take the one of its own ceremony"
            )
        self._scheme = scheme
        self._plan = plan
        self._layout = layout_of(scheme, plan)
        self._members = cohort.members
        self._index = {name: i for i, name in enumerate(cohort.members)}
        self._seals = Seals(plan, admission.admission)
        self._own = WorkerProcess()
        self._pool: Executor = self._own if pool is None else pool
        self._phase = "input"
        self._waiting = set(cohort.members)
        self._spools: dict[str, _Spool] = {}
        self._survivors: list[str] = []
        self._sum: list[bytes] = []
        self._uploads = Uploads(plan, PlainDigest)
        self._votes: dict[bytes, int] = {}
        self._kept = b""

    @property
    def phase(self) -> str:
        return self._phase

    @property
    def waiting_for(self) -> frozenset[str]:
        return frozenset(self._waiting)

    def exclude(self, client_id: str) -> None:
        self._waiting.discard(client_id)
        self._drop(client_id)
        if client_id in self._index:
            self._uploads.drop(self._index[client_id])

    def _drop(self, client_id: str) -> None:
        if (spool := self._spools.pop(client_id, None)) is not None:
            spool.close()

    def receive(self, sender: str, message: bytes) -> Iterator[Effect]:
        """Take a ciphertext, or a part of a decrypted sum; raises `PeerError` and nothing else."""
        if sender not in self._index:
            raise PeerError(Reason.UNKNOWN_SENDER, "not a member of this round", (sender,))
        if self._phase == "input" and sender in self._survivors:
            raise PeerError(Reason.DUPLICATE, "this sender's input is in the sum", (sender,))
        if sender not in self._waiting:
            raise PeerError(Reason.LATE, "this sender is out of the round", (sender,))
        try:
            self._take(sender, message)
        except PeerError as error:
            self.exclude(sender)
            raise error.blame(sender) from None
        except RoundAborted as error:
            return self._abort(error)
        return iter(())

    def _take(self, sender: str, message: bytes) -> None:
        limit = client_limit(self._scheme)
        if self._phase == "input":
            self._take_ciphertext(sender, decode(CiphertextChunk, message, limit=limit))
            return
        answer: _Answer = decode(_Answer, message, limit=limit)
        if isinstance(answer, MaskedChunk):
            self._uploads.take(self._index[sender], answer)
        else:
            self._take_answer(sender, answer.digest)

    # ------------------------------------------------------------------ input

    def _take_ciphertext(self, sender: str, chunk: CiphertextChunk) -> None:
        if sender not in self._spools:
            self._spools[sender] = _Spool()
        spool = self._spools[sender]
        if chunk.sequence != len(spool.sizes):
            detail = f"ciphertext {chunk.sequence} where {len(spool.sizes)} is next"
            raise PeerError(Reason.CHUNK_ORDER, detail)
        self._seals.check(self._index[sender], chunk)
        check_structure(self._scheme, chunk.data)
        data = bytes(chunk.data)
        self._native(check, self._scheme.name, data)
        spool.put(data)
        if len(spool.sizes) == self._layout.ciphertexts:
            self._fold(spool)
            self.exclude(sender)
            self._survivors.append(sender)

    def _native(self, work: Callable[..., R], *args: str | bytes) -> R:
        """What the worker makes of bytes; raises `PeerError` where it refuses them or dies."""
        try:
            future = self._pool.submit(work, *args)
        except BrokenExecutor:
            raise RoundAborted(Reason.FAILED, "the worker process is gone") from None
        try:
            return future.result()
        except BrokenExecutor:
            raise PeerError(Reason.CIPHERTEXT, "the process that loaded it has died") from None
        except ValueError as error:
            raise PeerError(Reason.CIPHERTEXT, str(error)) from None

    def _fold(self, spool: _Spool) -> None:
        if not self._sum:
            self._sum = list(spool.ciphertexts())
            return
        for sequence, data in enumerate(spool.ciphertexts()):
            try:
                total = self._native(add, self._scheme.name, self._sum[sequence], data)
            except PeerError as error:
                # Each was loaded before. Some of the vector is in the sum: it is lost.
                raise RoundAborted(Reason.FAILED, f"not added: {error.detail}") from None
            self._sum[sequence] = total

    # ------------------------------------------------------------------ decryption

    def _take_answer(self, sender: str, digest: bytes) -> None:
        """Keep the first sum that is whole, and count those who say the same."""
        index = self._index[sender]
        if not self._kept:
            self._uploads.fold(index, digest)
            self._kept = digest
        else:
            self._uploads.check(index, digest)
        self.exclude(sender)
        self._votes[digest] = self._votes.get(digest, 0) + 1

    def advance(self) -> Iterator[Effect]:
        if self._phase == "done":
            raise ConfigurationError("the round is over: nothing to advance")
        yield from self._close_input() if self._phase == "input" else self._close()

    def _close_input(self) -> Iterator[Effect]:
        for name in tuple(self._spools):
            self._drop(name)
        if len(self._survivors) < self._plan.floor:
            detail = f"{len(self._survivors)} inputs where {self._plan.floor} are needed"
            yield from self._abort(RoundAborted(Reason.TOO_FEW, detail))
            return
        survivors = tuple(sorted(self._survivors))
        self._phase, self._waiting = "decryption", set(survivors)
        yield Persist(Mark.UNMASKING, "decryption", survivors)
        header = encode(EncryptedSum(survivors))
        for name in survivors:
            yield Send(name, header)
        for sequence, data in enumerate(self._sum):
            chunk = encode(self._seals.seal(None, sequence, data))
            for name in survivors:
                yield SendChunk(name, chunk)
        self._sum = []

    def _close(self) -> Iterator[Effect]:
        answered, agreed = sum(self._votes.values()), self._votes.get(self._kept, 0)
        if not answered:
            detail = "none of the survivors decrypted the sum"
            yield from self._abort(RoundAborted(Reason.TOO_FEW, detail))
        elif 2 * agreed <= answered:
            detail = f"of {answered} clients, {agreed} decrypted the sum that is kept"
            yield from self._abort(RoundAborted(Reason.SUM_DISAGREES, detail))
        else:
            self._end()
            yield Done(self._uploads.total, tuple(sorted(self._survivors)))

    def _abort(self, error: RoundAborted) -> Iterator[Effect]:
        self._end()
        yield Aborted(error)

    def _end(self) -> None:
        self._phase, self._waiting, self._sum = "done", set(), []
        for name in tuple(self._spools):
            self._drop(name)
        self._uploads.clear()
        self._own.shutdown()

    def __repr__(self) -> str:
        return f"HomomorphicServer({self._scheme.name}, {self._phase})"
