"""Message authentication under a secret key: HMAC-SHA-256 (RFC 2104) over labelled parts."""

from __future__ import annotations

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hmac import HMAC

__all__ = ["MAC_BYTES", "mac", "verify_mac"]

MAC_BYTES = 32


def mac(key: bytes, label: str, *parts: bytes | memoryview) -> bytes:
    """32 bytes that only those with the key can make, for exactly this label and these parts."""
    return _state(key, label, parts).finalize()


def verify_mac(key: bytes, tag: bytes, label: str, *parts: bytes | memoryview) -> bool:
    """Whether `tag` is that of these parts, in a time that does not tell where it differs."""
    try:
        _state(key, label, parts).verify(tag)
    except InvalidSignature:
        return False
    return True


def _state(key: bytes, label: str, parts: tuple[bytes | memoryview, ...]) -> HMAC:
    state = HMAC(key, SHA256())
    # As `wire.digest` encodes them: no two lists of parts, and no two labels, have one encoding.
    for part in (f"fedprivacy/{label}".encode(), *parts):
        state.update(len(part).to_bytes(8, "big"))
        state.update(bytes(part))
    return state
