"""HKDF with SHA-256 (RFC 5869) under a label for each purpose."""

from __future__ import annotations

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

__all__ = ["derive"]


def derive(
    secret: bytes, *, salt: bytes, label: str, context: bytes = b"", length: int = 32
) -> bytes:
    """`length` bytes from a secret, for one purpose: independent of those for any other.

    info = `fedprivacy/` || label || 0x00 || context; the label holds no zero byte, so that no two
    pairs of label and context share an info.
    """
    if "\0" in label:
        raise ValueError("a label holds no zero byte")
    return _hkdf(secret, salt, b"fedprivacy/" + label.encode() + b"\0" + context, length)


def _hkdf(secret: bytes, salt: bytes, info: bytes, length: int) -> bytes:
    return HKDF(SHA256(), length=length, salt=salt, info=info).derive(secret)
