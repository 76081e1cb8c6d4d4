"""The messages of homomorphic aggregation, in the order in which they are sent.

A decrypted sum travels in `MaskedChunk`, as values do under other protocols.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from fedprivacy.crypto import MAC_BYTES, derive, mac, verify_mac
from fedprivacy.errors import PeerError, Reason
from fedprivacy.secagg.cohort import MAX_COHORT, ClientId, Digest
from fedprivacy.secagg.contract import SumPlan
from fedprivacy.secagg.homomorphic.schemes import Scheme
from fedprivacy.secagg.uploads import MAX_CHUNK_BYTES
from fedprivacy.wire import Message

__all__ = ["CiphertextChunk", "DecryptedSum", "EncryptedSum", "Seals", "client_limit", "sum_limit"]

_MOST_BYTES = 1 << 20
_SUM = (1 << 32) - 1
"""In the place of a client's index: the sum."""


class CiphertextChunk(Message, frozen=True, tag="ciphertext"):
    """One ciphertext of a vector, or of the sum, in order."""

    sequence: Annotated[int, Meta(ge=0, lt=1 << 32)]
    mac: Annotated[bytes, Meta(min_length=MAC_BYTES, max_length=MAC_BYTES)]
    data: Annotated[memoryview, Meta(min_length=1, max_length=_MOST_BYTES)]

    def __repr__(self) -> str:
        return f"CiphertextChunk(sequence={self.sequence}, {len(self.data)} bytes)"


class EncryptedSum(Message, frozen=True, tag="encrypted-sum"):
    """Server, phase decryption: whose ciphertexts were added, ascending; the sum's come next."""

    survivors: Annotated[tuple[ClientId, ...], Meta(max_length=MAX_COHORT)]


class DecryptedSum(Message, frozen=True, tag="decrypted-sum"):
    """Client, phase decryption: closes the sum in the clear, with the hash of its bytes."""

    digest: Digest


class Seals:
    """The MACs of one round under the admission key."""

    def __init__(self, plan: SumPlan, admission: bytes) -> None:
        self._key = derive(admission, salt=plan.round_id, label="homomorphic/admission")

    def seal(self, index: int | None, sequence: int, data: bytes) -> CiphertextChunk:
        """A client's ciphertext at this place of its vector; `index` None: the sum's."""
        tag = mac(self._key, "ciphertext", *_place(index, sequence), data)
        return CiphertextChunk(sequence, tag, memoryview(data))

    def check(self, index: int | None, chunk: CiphertextChunk) -> None:
        """Raise `PeerError` (`CIPHERTEXT_MAC`) unless the chunk was sealed for this place."""
        place = _place(index, chunk.sequence)
        if not verify_mac(self._key, chunk.mac, "ciphertext", *place, chunk.data):
            raise PeerError(
                Reason.CIPHERTEXT_MAC, "not sealed by this ceremony's key for this round and place"
            )


def _place(index: int | None, sequence: int) -> tuple[bytes, bytes]:
    return (_SUM if index is None else index).to_bytes(4, "big"), sequence.to_bytes(4, "big")


def client_limit(scheme: Scheme) -> int:
    """The most bytes that an honest client sends in one message."""
    return max(scheme.most_bytes, MAX_CHUNK_BYTES) + 128


def sum_limit(plan: SumPlan, scheme: Scheme) -> int:
    """The most bytes that an honest server sends in one message."""
    return max(scheme.most_bytes + 128, 66 * plan.cohort_size + 64)
