"""The only door to the operating system's entropy, and the AES-CTR stream keyed from it.

Everything random in this package comes through an `Rng`, handed in by the edges: 32-byte seeds for
what is expanded (`Keystream`), raw bytes for the rest. Nothing here has a default source.
"""

from __future__ import annotations

import hashlib
import os
from typing import Any, Protocol

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from numpy.typing import NDArray

__all__ = ["SEED_BYTES", "InsecureTestRng", "Keystream", "Rng", "SystemRng", "uniform_below"]

SEED_BYTES = 32
_CHUNK = 1 << 18  # bytes of zeros encrypted at a time: fits the L2 cache beside its output
_ZEROS = bytes(_CHUNK)


class Rng(Protocol):
    """A source of uniform bytes."""

    def bytes(self, count: int) -> bytes:
        """`count` uniform bytes."""
        ...

    def child(self, purpose: str) -> Rng:
        """A source for one purpose, independent of how much others draw."""
        ...


class SystemRng:
    """The operating system's generator."""

    def bytes(self, count: int) -> bytes:
        return os.urandom(count)

    def child(self, purpose: str) -> SystemRng:
        return self

    def __repr__(self) -> str:
        return "SystemRng()"


class InsecureTestRng:
    """A reproducible source for tests, vectors and simulations; it protects nothing.

    Two sources with one seed give the same bytes; `child` derives another from a purpose.
    """

    def __init__(self, seed: int | bytes) -> None:
        material = seed if isinstance(seed, bytes) else str(seed).encode()
        self._seed = hashlib.sha256(b"fedprivacy/insecure-test-rng" + material).digest()
        self._stream = Keystream(self._seed)

    def bytes(self, count: int) -> bytes:
        return self._stream.read(count)

    def child(self, purpose: str) -> InsecureTestRng:
        return InsecureTestRng(self._seed + purpose.encode())

    def __repr__(self) -> str:
        return "InsecureTestRng()"


class Keystream:
    """The AES-256-CTR keystream of a 32-byte key: the encryption of zeros, counter from zero.

    A key must be used for one stream only, of less than 2**36 bytes. Source: NIST SP 800-38A, 6.5;
    the generator of Bonawitz et al., CCS 2017, section 3 ("PRG").
    """

    def __init__(self, key: bytes, start: int = 0) -> None:
        """`start` is the first byte that is given, a multiple of 16."""
        if len(key) != SEED_BYTES:
            raise ValueError(f"a keystream's key has {SEED_BYTES} bytes, not {len(key)}")
        block, inside = divmod(start, 16)
        if inside or start < 0:
            raise ValueError(f"a keystream cannot start at byte {start}: at multiples of 16")
        self._first = b""
        """What is given before the encryptor's output."""
        self._encryptor: Any
        aes = algorithms.AES(key)
        if block:
            self._encryptor = Cipher(aes, modes.CTR(block.to_bytes(16, "big"))).encryptor()
        else:
            # With a nonce of zeros GCM encrypts under the counters from 2 on (NIST SP 800-38D,
            # 7.1). Where processors have vector AES, OpenSSL uses it for GCM and not for CTR; the
            # tag is never asked for.
            self._first = Cipher(aes, modes.CTR(bytes(16))).encryptor().update(bytes(32))
            self._encryptor = Cipher(aes, modes.GCM(bytes(12))).encryptor()

    def read(self, count: int) -> bytes:
        """The next `count` bytes."""
        out = bytearray(count)
        self.fill(out)
        return bytes(out)

    def fill(self, out: bytearray | memoryview | NDArray[Any]) -> None:
        """Overwrite a contiguous buffer with the next bytes of the stream, without a copy."""
        view = memoryview(out).cast("B")  # type: ignore[arg-type]  # numpy's stubs lack the buffer
        first = self._first[: len(view)]
        view[: len(first)] = first
        self._first = self._first[len(first) :]
        for start in range(len(first), len(view), _CHUNK):
            part = view[start : start + _CHUNK]
            # Both modes are streams: OpenSSL writes exactly as many bytes as it reads.
            self._encryptor.update_into(_ZEROS[: len(part)] if len(part) < _CHUNK else _ZEROS, part)

    def __repr__(self) -> str:
        return "Keystream()"


def uniform_below(bound: int, count: int, stream: Keystream) -> NDArray[np.uint64]:
    """`count` uniform integers in [0, bound), 1 <= bound <= 2**63, by rejection of 64-bit words.

    The words are little-endian and taken in order; a word at or above the largest multiple of
    `bound` that is at most 2**64 is skipped, so that no residue is favoured. Returns `(count,)`
    uint64.
    """
    if not 1 <= bound <= 1 << 63:
        raise ValueError(f"bound {bound} is outside [1, 2**63]")
    limit = (1 << 64) // bound * bound
    out = np.empty(count, dtype=np.uint64)
    filled = 0
    while filled < count:
        words = np.empty(count - filled, dtype="<u8")
        stream.fill(words)
        if limit < 1 << 64:
            words = words[words < np.uint64(limit)]
        out[filled : filled + len(words)] = words % np.uint64(bound)
        filled += len(words)
    return out
