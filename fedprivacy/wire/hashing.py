"""One hash for everything: SHA-256 over a labelled, injective encoding."""

from __future__ import annotations

import hashlib

__all__ = ["DIGEST_BYTES", "Digester", "digest"]

DIGEST_BYTES = 32


def _prefix(label: str) -> bytes:
    name = f"fedprivacy/{label}".encode()
    return len(name).to_bytes(8, "big") + name


def digest(label: str, *parts: bytes) -> bytes:
    """The 32-byte hash of `parts` under a label.

    SHA-256(len(name) || name || len(part_1) || part_1 || ...), where name is `fedprivacy/` followed
    by the label, and each length has eight bytes, big-endian: no two inputs share an encoding.
    """
    state = hashlib.sha256(_prefix(label))
    for part in parts:
        state.update(len(part).to_bytes(8, "big"))
        state.update(part)
    return state.digest()


class Digester:
    """The running hash of one long byte string under a label, fed in pieces.

    SHA-256(len(name) || name || bytes): one string only, so its length needs no prefix.
    """

    def __init__(self, label: str) -> None:
        self._state = hashlib.sha256(_prefix(label))

    def update(self, data: bytes | bytearray | memoryview) -> None:
        self._state.update(data)

    def digest(self) -> bytes:
        return self._state.digest()
