"""One hash for everything: SHA-256 over a labelled, injective encoding."""

from __future__ import annotations

import hashlib

__all__ = ["DIGEST_BYTES", "digest"]

DIGEST_BYTES = 32


def digest(label: str, *parts: bytes) -> bytes:
    """The 32-byte hash of `parts` under a label.

    SHA-256(len(name) || name || len(part_1) || part_1 || ...), where name is `fedprivacy/` followed
    by the label, and each length has eight bytes, big-endian: no two inputs share an encoding.
    """
    state = hashlib.sha256()
    for part in (f"fedprivacy/{label}".encode(), *parts):
        state.update(len(part).to_bytes(8, "big"))
        state.update(part)
    return state.digest()
