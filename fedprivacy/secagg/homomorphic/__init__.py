"""Homomorphic aggregation by TenSEAL (extra `he`): the server adds ciphertexts under a key that the
clients share and it lacks, and the clients decrypt the sum.

Any one client in league with the server sees every update: it withstands only a server that
follows the protocol and colludes with nobody.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Executor
from typing import ClassVar

from fedprivacy.crypto import MAC_BYTES, Directory, Identity
from fedprivacy.errors import ConfigurationError
from fedprivacy.randomness import Rng
from fedprivacy.secagg.ceremony import Admission, GroupKey
from fedprivacy.secagg.cohort import Cohort, Membership
from fedprivacy.secagg.contract import Adversary, SumPlan
from fedprivacy.secagg.homomorphic.client import HomomorphicClient, opened_context
from fedprivacy.secagg.homomorphic.messages import CiphertextChunk, DecryptedSum, EncryptedSum
from fedprivacy.secagg.homomorphic.native import NativeContext, require
from fedprivacy.secagg.homomorphic.schemes import (
    BFV_4096,
    CKKS_4096,
    CKKS_8192,
    Layout,
    Scheme,
    layout_of,
)
from fedprivacy.secagg.homomorphic.server import HomomorphicServer
from fedprivacy.secagg.homomorphic.worker import WorkerProcess
from fedprivacy.secagg.uploads import chunk_sizes
from fedprivacy.secagg.work import Work
from fedprivacy.wire import DIGEST_BYTES, blob_size, encode

__all__ = [
    "BFV",
    "CKKS",
    "CKKS8192",
    "HomomorphicClient",
    "HomomorphicServer",
    "WorkerProcess",
]


class _Homomorphic:
    """What the schemes have in common as entries in the registry."""

    scheme: ClassVar[Scheme]
    exact: ClassVar[bool] = False
    adversaries: ClassVar[frozenset[Adversary]] = frozenset({Adversary.HONEST_BUT_CURIOUS})
    rand_bytes: ClassVar[int] = 0
    sparse: ClassVar[bool] = False

    def check(self, plan: SumPlan) -> None:
        """Raise `ConfigurationError` for a plan whose sums do not fit."""
        layout_of(self.scheme, plan)

    def ceremony(self, *, rng: Rng) -> GroupKey:
        """A fresh key for all clients; its secret part is drawn by the library itself."""
        require()
        context = NativeContext.generate(self.scheme).secret_bytes()
        return GroupKey(self.scheme.name, rng.bytes(32), rng.bytes(32), context)

    def check_key(self, key: GroupKey | None) -> None:
        """Raise `ConfigurationError` for none or another's key, `MissingExtra` for no library."""
        opened_context(self.scheme, self._known(key))

    def upload_sizes(self, plan: SumPlan) -> Iterator[tuple[str, int]]:
        """Ciphertexts at their longest: those of CKKS are compressed by a little."""
        layout = layout_of(self.scheme, plan)
        for sequence in range(layout.ciphertexts):
            yield "input", _ciphertext_size(layout, sequence)
        for size in chunk_sizes(plan.length, plan.modulus_bits):
            yield "decryption", size
        yield "decryption", len(encode(DecryptedSum(bytes(DIGEST_BYTES))))

    def download_sizes(self, plan: SumPlan, *, id_bytes: int) -> Iterator[tuple[str, int]]:
        layout = layout_of(self.scheme, plan)
        yield "decryption", len(encode(EncryptedSum(("c" * id_bytes,) * plan.cohort_size)))
        for sequence in range(layout.ciphertexts):
            yield "decryption", _ciphertext_size(layout, sequence)

    def work(self, plan: SumPlan, *, lost: int) -> tuple[Work, Work]:
        count, present = layout_of(self.scheme, plan).ciphertexts, plan.cohort_size - lost
        client = Work(
            ciphertexts_encrypted=count, ciphertexts_decrypted=count, values_packed=plan.length
        )
        server = Work(
            ciphertexts_added=present * count,
            values_folded=plan.length,
            values_released=plan.length,
        )
        return client, server

    def server(
        self,
        plan: SumPlan,
        cohort: Cohort,
        directory: Directory | None,
        *,
        rng: Rng,
        pool: Executor | None = None,
        admission: Admission | None = None,
    ) -> HomomorphicServer:
        require()
        if admission is None:
            raise ConfigurationError(
                f"{self.scheme.name} needs the server's part of a key ceremony: run `fedprivacy "
                "keys ceremony`"
            )
        return HomomorphicServer(self.scheme, plan, cohort, admission=admission, pool=pool)

    def client(
        self,
        plan: SumPlan,
        membership: Membership,
        *,
        identity: Identity,
        directory: Directory | None,
        floor: int,
        rand: bytes,
        key: GroupKey | None = None,
    ) -> HomomorphicClient:
        return HomomorphicClient(self.scheme, plan, membership, key=self._known(key), floor=floor)

    def resume(
        self,
        state: bytes,
        plan: SumPlan,
        membership: Membership,
        *,
        identity: Identity,
        directory: Directory | None,
        floor: int,
        key: GroupKey | None = None,
    ) -> HomomorphicClient:
        return HomomorphicClient.resumed(
            state, self.scheme, plan, membership, key=self._known(key), floor=floor
        )

    def _known(self, key: GroupKey | None) -> GroupKey:
        require()
        if key is None:
            raise ConfigurationError(
                f"policy.ceremony is missing, and {self.scheme.name} needs the clients' part of a "
                "key ceremony: name its file"
            )
        return key


def _ciphertext_size(layout: Layout, sequence: int) -> int:
    around = len(encode(CiphertextChunk(sequence, bytes(MAC_BYTES), memoryview(b""))))
    return around - blob_size(0) + blob_size(layout.scheme.most_bytes)


class BFV(_Homomorphic):
    """Exact sums of integers: degree 4096, moduli [60, 49], t of 46 bits."""

    exact: ClassVar[bool] = True
    scheme: ClassVar[Scheme] = BFV_4096
    name: ClassVar[str] = BFV_4096.name
    claim: ClassVar[str] = "bfv-shared-key"


class CKKS(_Homomorphic):
    """Approximate sums, rounded: degree 4096, moduli [54, 54], scale 2**40."""

    scheme: ClassVar[Scheme] = CKKS_4096
    name: ClassVar[str] = CKKS_4096.name
    claim: ClassVar[str] = "ckks-shared-key"


class CKKS8192(_Homomorphic):
    """Approximate sums, rounded, with what deployed systems use: 8192, [60, 40, 40], 2**40."""

    scheme: ClassVar[Scheme] = CKKS_8192
    name: ClassVar[str] = CKKS_8192.name
    claim: ClassVar[str] = "ckks-shared-key"
